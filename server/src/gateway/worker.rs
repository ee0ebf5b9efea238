//! One worker thread: its state, its pools, its connections, and how a new state comes in.
//!
//! Nothing here is shared with another thread but counters, health and the mailbox, so nothing is
//! locked per request. A new state replaces the old one between two polls of any request; the old
//! one, with its engine instances, is dropped on another thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::access_log::AccessLog;
use super::clock::{Deadlines, Exchange};
use super::context::Subject;
use super::ids::Ids;
use super::limits::DataConfig;
use super::link::Link;
use super::listener::{Caps, Listener};
use super::mailbox::{Mailbox, Message, Swapped};
use super::metrics::Shard;
use super::ofrep::{Admitted, Desk};
use super::problem::Problem;
use super::route::{Choice, Diverted, Serving};
use super::state::{UpstreamRoute, WorkerState};
use super::upstream::pool::Pool;

/// How often pools are looked through for connections that are too old.
const PRUNE_INTERVAL: Duration = Duration::from_secs(1);

/// Milliseconds since 1970.
pub(super) fn unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    i64::try_from(now).unwrap_or(i64::MAX)
}

/// A worker, seen from its own thread.
pub(super) struct Worker {
    pub(super) config: Arc<DataConfig>,
    pub(super) tls: Option<tokio_rustls::TlsAcceptor>,
    pub(super) deadlines: Rc<Deadlines>,
    pub(super) ids: Ids,
    pub(super) shard: Arc<Shard>,
    pub(super) caps: Arc<Caps>,
    pub(super) access_log: Option<Arc<dyn AccessLog>>,
    pub(super) ofrep: Desk,
    state: RefCell<Box<WorkerState>>,
    pools: RefCell<Vec<Rc<Pool>>>,
    connections: RefCell<Connections>,
    is_draining: Cell<bool>,
    is_installed: CancellationToken,
    all_closed: Notify,
    reaper: mpsc::SyncSender<Box<WorkerState>>,
}

/// Open client connections.
#[derive(Default)]
struct Connections {
    links: Vec<Option<Rc<Link>>>,
    free: Vec<usize>,
    open: usize,
}

/// What a worker is made of.
pub(super) struct Parts {
    pub(super) config: Arc<DataConfig>,
    pub(super) tls: Option<tokio_rustls::TlsAcceptor>,
    pub(super) shard: Arc<Shard>,
    pub(super) caps: Arc<Caps>,
    pub(super) access_log: Option<Arc<dyn AccessLog>>,
    pub(super) reaper: mpsc::SyncSender<Box<WorkerState>>,
}

impl Worker {
    pub(super) fn new(parts: Parts) -> Rc<Self> {
        Rc::new(Self {
            config: parts.config,
            tls: parts.tls,
            deadlines: Deadlines::new(),
            ids: Ids::new(),
            shard: parts.shard,
            caps: parts.caps,
            access_log: parts.access_log,
            ofrep: Desk::default(),
            state: RefCell::default(),
            pools: RefCell::default(),
            connections: RefCell::default(),
            is_draining: Cell::new(false),
            is_installed: CancellationToken::new(),
            all_closed: Notify::new(),
            reaper: parts.reaper,
        })
    }

    /// Serves until it was told to drain and everything is done or the grace is over.
    pub(super) async fn run(self: Rc<Self>, listener: Listener, mailbox: &Arc<Mailbox>) {
        let deadlines = Rc::clone(&self.deadlines);
        let ticker = tokio::task::spawn_local(async move { deadlines.run().await });
        let pruning = Rc::clone(&self);
        let pruner = tokio::task::spawn_local(pruning.prune());
        let accepting = Rc::clone(&self);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let acceptor = tokio::task::spawn_local(async move { listener.run(accepting, stopped).await });
        self.obey(mailbox).await;
        let _ = stop.send(());
        let grace = self.config.drain.grace;
        let _ = tokio::time::timeout(grace, async {
            let _ = acceptor.await;
            while self.connections.borrow().open > 0 {
                self.all_closed.notified().await;
            }
        })
        .await;
        ticker.abort();
        pruner.abort();
    }

    /// Handles messages until the one that says to drain.
    async fn obey(self: &Rc<Self>, mailbox: &Arc<Mailbox>) {
        loop {
            match mailbox.next().await {
                Message::Install { state, done } => {
                    let _ = done.send(self.install(state));
                    self.tell_streams();
                }
                Message::Drain => {
                    self.drain();
                    // Snapshots still count: a rollback must reach requests that are draining.
                    let (worker, mailbox) = (Rc::clone(self), Arc::clone(mailbox));
                    tokio::task::spawn_local(async move {
                        while let Message::Install { state, done } = mailbox.next().await {
                            let _ = done.send(worker.install(state));
                        }
                    });
                    return;
                }
            }
        }
    }

    fn drain(&self) {
        self.is_draining.set(true);
        self.ofrep.streams.end();
        for link in self.connections.borrow().links.iter().flatten() {
            link.drain(self.config.drain.idle);
        }
    }

    /// Swaps in a new state and ends what the old one may no longer do.
    fn install(&self, mut state: Box<WorkerState>) -> Swapped {
        let began = Instant::now();
        self.connect_pools(&mut state);
        let old = self.state.replace(state);
        let state = self.state.borrow();
        self.deadlines.end_exchanges(|exchange| !state.keeps(exchange));
        self.is_installed.cancel();
        let at = Instant::now();
        // When the reaper is far behind, the state is dropped here.
        let _ = self.reaper.try_send(old);
        Swapped { at, stall: began.elapsed() }
    }

    /// Waits for the first state.
    pub(super) async fn has_state(&self) {
        self.is_installed.cancelled().await;
    }

    /// Gives every upstream its pool; pools of upstreams that are gone take nothing back.
    fn connect_pools(&self, state: &mut WorkerState) {
        let mut old: HashMap<Box<str>, Rc<Pool>> =
            self.pools.take().into_iter().map(|pool| (pool.target.key.clone(), pool)).collect();
        let mut pools: Vec<Rc<Pool>> = Vec::new();
        let mut known: HashMap<Box<str>, usize> = HashMap::new();
        state.for_each_upstream(|upstream| {
            let key = &upstream.target.key;
            upstream.pool = *known.entry(key.clone()).or_insert_with(|| {
                let fresh = || {
                    let limits = self.config.upstream.clone();
                    Pool::new(Arc::clone(&upstream.target), limits, Arc::clone(&self.shard))
                };
                pools.push(old.remove(key).unwrap_or_else(fresh));
                pools.len() - 1
            });
        });
        for gone in old.values() {
            gone.retire();
        }
        self.pools.replace(pools);
    }

    async fn prune(self: Rc<Self>) {
        loop {
            tokio::time::sleep(PRUNE_INTERVAL).await;
            self.deadlines.set_now(Instant::now());
            let now = self.deadlines.now_ms();
            for pool in self.pools.borrow().iter() {
                pool.prune(now);
            }
            if !self.ofrep.streams.is_empty() {
                self.ofrep.streams.tick(&self, unix_ms());
            }
        }
    }

    /// Has the open streams hear of a new state, after it was acknowledged.
    fn tell_streams(self: &Rc<Self>) {
        if !self.ofrep.streams.is_empty() {
            let worker = Rc::clone(self);
            tokio::task::spawn_local(async move { worker.ofrep.streams.follow(&worker, unix_ms()).await });
        }
    }

    /// Whether it only finishes what is in flight.
    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Looks at the state of now. Nothing in `look` may wait.
    pub(super) fn with_state<T>(&self, look: impl FnOnce(&mut WorkerState) -> T) -> T {
        look(&mut self.state.borrow_mut())
    }

    /// Whether a request is for OFREP and not for the app behind the gateway.
    #[inline]
    pub(super) fn admit<'r>(&self, parts: &'r http::request::Parts, host: &str, now_ms: i64) -> Option<Admitted<'r>> {
        self.state.borrow().admit(parts, host, now_ms)
    }

    /// Asks the engine.
    pub(super) fn decide(&self, subject: Subject<'_>, now_ms: i64) -> Result<Choice, Problem> {
        self.state.borrow_mut().decide(subject, now_ms, || self.ids.unit(), &self.shard)
    }

    /// The pool of an upstream; `None` when the upstream is not part of the current state.
    pub(super) fn pool(&self, upstream: &UpstreamRoute) -> Option<Rc<Pool>> {
        let pools = self.pools.borrow();
        let is_same = |pool: &&Rc<Pool>| pool.target.key == upstream.target.key;
        pools.get(upstream.pool).filter(is_same).or_else(|| pools.iter().find(is_same)).cloned()
    }

    /// Whether the release that serves may still get a request of this choice, by the state of now.
    pub(super) fn still_serves(&self, choice: &Choice, serving: &Serving) -> bool {
        let exchange = Exchange {
            release: Arc::clone(&serving.release),
            reason: choice.reason_at(serving),
            while_active: serving.is_active,
        };
        self.state.borrow().keeps(&exchange)
    }

    /// The active release of now.
    pub(super) fn active_now(&self, choice: &Choice, why: Diverted) -> Option<Serving> {
        let state = self.state.borrow();
        let routes = state.environment(&choice.routes.app, &choice.routes.environment)?;
        routes.active(Some(why)).filter(|active| !active.release.is_dead())
    }

    /// Registers a client connection; it stays registered until the guard is dropped.
    pub(super) fn register(self: &Rc<Self>, link: &Rc<Link>) -> Registered {
        let mut connections = self.connections.borrow_mut();
        connections.open += 1;
        let at = if let Some(at) = connections.free.pop() {
            connections.links[at] = Some(Rc::clone(link));
            at
        } else {
            connections.links.push(Some(Rc::clone(link)));
            connections.links.len() - 1
        };
        if self.is_draining.get() {
            link.drain(self.config.drain.idle);
        }
        Registered { worker: Rc::clone(self), at }
    }
}

/// A registered client connection.
pub(super) struct Registered {
    worker: Rc<Worker>,
    at: usize,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut connections = self.worker.connections.borrow_mut();
        connections.links[self.at] = None;
        connections.free.push(self.at);
        connections.open -= 1;
        if connections.open == 0 {
            self.worker.all_closed.notify_one();
        }
    }
}
