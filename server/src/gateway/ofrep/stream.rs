//! Streams of changes: which are open in a worker, and what each has still to be told.
//!
//! A stream has at most one frame of each kind waiting, however slow its client is. It lives as long as its token counts
//! for its environment, and ends when the process drains, so that its client comes back to the next one.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use edge_ofrep::{Fingerprint, events};
use hyper::body::Frame;

use super::super::clock::{Lifeline, Timer};
use super::super::listener::Caps;
use super::super::metrics::Event;
use super::super::state::WorkerState;
use super::super::worker::Worker;

/// Streams that are looked at before a worker turns to its requests again.
const BATCH: usize = 256;

/// The open streams of a worker.
#[derive(Default)]
pub(in crate::gateway) struct Streams {
    rows: RefCell<Vec<Rc<Row>>>,
}

struct Row {
    token: Fingerprint,
    app: Box<str>,
    environment: Box<str>,
    expires_at_ms: Cell<i64>,
    /// What its client was last told of, or started with.
    version: RefCell<Box<str>>,
    waiting: RefCell<Waiting>,
    is_over: Cell<bool>,
    /// Of the worker's coarse clock.
    told_at: Cell<u64>,
    waker: RefCell<Option<Waker>>,
    /// Ends a client that takes no bytes.
    stall: Timer,
    at: Cell<usize>,
}

#[derive(Default)]
struct Waiting {
    opening: bool,
    refetch: Option<Bytes>,
    ping: bool,
}

/// The body of a stream's response.
pub(in crate::gateway) struct EventStream {
    row: Rc<Row>,
    worker: Rc<Worker>,
    _slot: Slot,
}

/// One of the streams that may be open in the process.
struct Slot(Arc<Caps>);

impl Slot {
    fn take(caps: &Arc<Caps>, most: usize) -> Option<Self> {
        let slot = Self(Arc::clone(caps));
        // Dropped again when there are too many.
        (slot.counter().fetch_add(1, Ordering::Relaxed) < most).then_some(slot)
    }

    fn counter(&self) -> &AtomicUsize {
        &self.0.streams
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.counter().fetch_sub(1, Ordering::Relaxed);
    }
}

impl EventStream {
    /// Opens a stream for a token; `None` when there are too many. `seen` is the last event that the client has.
    pub(super) fn open(
        worker: &Rc<Worker>,
        token: Fingerprint,
        lifeline: Rc<Lifeline>,
        seen: Option<&[u8]>,
        now_ms: i64,
    ) -> Option<Self> {
        let slot = Slot::take(&worker.caps, worker.config.client.ofrep_streams)?;
        let stall = worker.deadlines.timer(Some(lifeline));
        let row = worker.with_state(|state| {
            let grant = state.access.grant(&token, now_ms)?;
            let environment = state.environments.get(grant.environment)?;
            let has_missed = events::has_missed(seen, environment.decider.snapshot());
            Some(Row {
                token,
                app: environment.routes.app.clone(),
                environment: environment.routes.environment.clone(),
                expires_at_ms: Cell::new(grant.expires_at_ms),
                version: RefCell::new(environment.ofrep.version.clone()),
                waiting: RefCell::new(Waiting {
                    opening: true,
                    refetch: has_missed.then(|| environment.ofrep.refetch.clone()),
                    ping: false,
                }),
                is_over: Cell::new(worker.is_draining()),
                told_at: Cell::new(stall.now_ms()),
                waker: RefCell::new(None),
                stall,
                at: Cell::new(0),
            })
        })?;
        let row = Rc::new(row);
        worker.ofrep.streams.add(&row);
        worker.shard.count(Event::StreamOpened);
        Some(Self { row, worker: Rc::clone(worker), _slot: slot })
    }

    pub(in crate::gateway) fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let row = &self.row;
        if let Some(frame) = row.waiting.borrow_mut().take() {
            row.stall.disarm();
            row.told_at.set(row.stall.now_ms());
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        if row.is_over.get() {
            return Poll::Ready(None);
        }
        *row.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.worker.ofrep.streams.remove(&self.row);
        self.worker.shard.count(Event::StreamClosed);
    }
}

impl Waiting {
    fn take(&mut self) -> Option<Bytes> {
        let Self { opening, refetch, ping } = std::mem::take(self);
        match (opening, refetch) {
            (true, Some(refetch)) => Some([events::OPENING, &refetch].concat().into()),
            (true, None) => Some(Bytes::from_static(events::OPENING)),
            (false, Some(refetch)) => Some(refetch),
            (false, None) => ping.then(|| Bytes::from_static(events::PING)),
        }
    }
}

impl Row {
    fn tell(&self, worker: &Worker, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting.borrow_mut());
        self.stall.arm_fatal(worker.config.client.write_timeout);
        self.wake();
    }

    fn end(&self) {
        self.is_over.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Tells the client of what runs now, or ends the stream when its token no longer counts for its environment.
    fn follow(&self, worker: &Worker, state: &WorkerState, now_ms: i64) {
        let grant = state.access.grant(&self.token, now_ms);
        let environment = grant.and_then(|grant| state.environments.get(grant.environment));
        let environment = environment.filter(|environment| {
            *environment.routes.app == *self.app && *environment.routes.environment == *self.environment
        });
        let (Some(grant), Some(environment)) = (grant, environment) else { return self.end() };
        self.expires_at_ms.set(grant.expires_at_ms);
        if *self.version.borrow() != environment.ofrep.version {
            self.version.borrow_mut().clone_from(&environment.ofrep.version);
            self.tell(worker, |waiting| waiting.refetch = Some(environment.ofrep.refetch.clone()));
        }
    }
}

impl Streams {
    fn add(&self, row: &Rc<Row>) {
        let mut rows = self.rows.borrow_mut();
        row.at.set(rows.len());
        rows.push(Rc::clone(row));
    }

    fn remove(&self, row: &Row) {
        let mut rows = self.rows.borrow_mut();
        rows.swap_remove(row.at.get());
        if let Some(moved) = rows.get(row.at.get()) {
            moved.at.set(row.at.get());
        }
    }

    pub(in crate::gateway) fn is_empty(&self) -> bool {
        self.rows.borrow().is_empty()
    }

    /// Tells every client of the state of now. Not while the state is being swapped: ten thousand of them take a while.
    pub(in crate::gateway) async fn follow(&self, worker: &Worker, now_ms: i64) {
        let rows = self.rows.borrow().clone();
        for batch in rows.chunks(BATCH) {
            worker.with_state(|state| batch.iter().for_each(|row| row.follow(worker, state, now_ms)));
            tokio::task::yield_now().await;
        }
    }

    /// Keeps silent streams alive and ends those whose token has expired.
    pub(in crate::gateway) fn tick(&self, worker: &Worker, now_ms: i64) {
        let silence = events::PING_SECONDS * 1000;
        for row in self.rows.borrow().iter() {
            if row.expires_at_ms.get() <= now_ms {
                row.end();
            } else if row.told_at.get().saturating_add(silence) <= row.stall.now_ms() {
                row.told_at.set(row.stall.now_ms());
                row.tell(worker, |waiting| waiting.ping = true);
            }
        }
    }

    /// Ends them all, each after what it has still to say.
    pub(in crate::gateway) fn end(&self) {
        self.rows.borrow().iter().for_each(|row| row.end());
    }
}
