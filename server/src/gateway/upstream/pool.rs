//! The connections of one worker to one upstream.
//!
//! Last in, first out, so that spare connections grow old and go. The idle time stays below that
//! of common servers, which close at five seconds. A retired pool takes nothing back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use edge_engine::wire::UpstreamProtocol;

use super::super::clock::Expired;
use super::super::limits::UpstreamLimits;
use super::super::metrics::{Event, Shard};
use super::super::state::Target;
use super::super::waits::Waits;
use super::connect::{ConnectError, Stream, connect};
use super::fault::{Cause, Fault};
use super::h1::H1;
use super::h2::H2;

/// Between two warnings that one upstream cannot be reached, in one worker.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Connections to one target.
pub(in crate::gateway) struct Pool {
    pub(in crate::gateway) target: Arc<Target>,
    idle: RefCell<Vec<Idle>>,
    open: Rc<Cell<usize>>,
    pub(super) h2: RefCell<H2>,
    is_retired: Cell<bool>,
    /// No warning before this time.
    silent_until: Cell<u64>,
    limits: UpstreamLimits,
    shard: Arc<Shard>,
}

struct Idle {
    connection: Box<H1>,
    since: u64,
}

impl Pool {
    pub(in crate::gateway) fn new(target: Arc<Target>, limits: UpstreamLimits, shard: Arc<Shard>) -> Rc<Self> {
        Rc::new(Self {
            target,
            idle: RefCell::default(),
            open: Rc::default(),
            h2: RefCell::default(),
            is_retired: Cell::new(false),
            silent_until: Cell::new(0),
            limits,
            shard,
        })
    }

    /// A connection that is idle, or else a new one. `fresh` asks for a new one.
    pub(in crate::gateway) async fn h1(&self, fresh: bool, waits: &Waits) -> Result<Box<H1>, Fault> {
        debug_assert_eq!(self.target.protocol, UpstreamProtocol::Http1);
        if !fresh && let Some(mut connection) = self.take_idle(waits.now_ms()) {
            connection.reuse();
            self.shard.count(Event::UpstreamReused);
            return Ok(connection);
        }
        if self.open.get() >= self.limits.pool_connections {
            return Err(Fault::unsent(Cause::Connect));
        }
        let stream = self.connect(waits).await?;
        Ok(H1::new(stream, Rc::clone(&self.open)))
    }

    pub(super) async fn connect(&self, waits: &Waits) -> Result<Stream, Fault> {
        waits.arm_connect();
        let mut connecting = std::pin::pin!(connect(&self.target));
        let outcome = std::future::poll_fn(|cx: &mut Context<'_>| {
            if let Poll::Ready(done) = connecting.as_mut().poll(cx) {
                return Poll::Ready(done.map_err(|error| {
                    self.warn(&error, waits.now_ms());
                    error.cause()
                }));
            }
            match waits.expired(cx) {
                None => Poll::Pending,
                Some(Expired::Deadline) => Poll::Ready(Err(Cause::Connect)),
                Some(Expired::RolledBack) => Poll::Ready(Err(Cause::RolledBack)),
            }
        });
        let stream = outcome.await.map_err(Fault::unsent)?;
        self.shard.count(Event::UpstreamConnected);
        Ok(stream)
    }

    /// Says why an upstream cannot be reached, but not for each of its requests.
    fn warn(&self, error: &ConnectError, now_ms: u64) {
        let (upstream, error) = (&*self.target.key, error as &dyn std::error::Error);
        if now_ms < self.silent_until.get() {
            tracing::debug!(upstream, error, "cannot connect with an upstream");
        } else {
            self.silent_until.set(now_ms.saturating_add(millis(WARN_INTERVAL)));
            tracing::warn!(upstream, error, "cannot connect with an upstream");
        }
    }

    /// Takes a connection back after an exchange that ended cleanly.
    pub(in crate::gateway) fn put(&self, connection: Box<H1>, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        if !self.is_retired.get() && connection.is_clean() && idle.len() < self.limits.pool_idle_connections {
            idle.push(Idle { connection, since: now_ms });
        }
    }

    /// Closes what has been idle for too long.
    pub(in crate::gateway) fn prune(&self, now_ms: u64) {
        let oldest = now_ms.saturating_sub(millis(self.limits.pool_idle));
        self.idle.borrow_mut().retain(|idle| idle.since >= oldest);
    }

    /// Closes all idle connections, now and in the future.
    pub(in crate::gateway) fn retire(&self) {
        self.is_retired.set(true);
        self.idle.borrow_mut().clear();
        self.h2.borrow_mut().clear();
    }

    fn take_idle(&self, now_ms: u64) -> Option<Box<H1>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { mut connection, since }) = idle.pop() {
            if since.saturating_add(millis(self.limits.pool_idle)) < now_ms {
                // All below it are older.
                idle.clear();
                return None;
            }
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
