//! How other threads speak to a worker: a new state, or the order to drain.
//!
//! Messages are few and rare; a worker that has none pays nothing. An installed state is
//! acknowledged after the swap, so no request whose head arrives after the acknowledgement is
//! decided by the state before.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::metrics::Shard;
use super::state::WorkerState;

/// A worker has a new state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swapped {
    /// When no request was decided by the old one any more.
    pub at: Instant,
    /// For how long the worker did nothing else.
    pub stall: Duration,
}

pub(super) enum Message {
    Install { state: Box<WorkerState>, done: oneshot::Sender<Swapped> },
    Drain,
}

#[derive(Default)]
pub(super) struct Mailbox {
    messages: Mutex<Messages>,
    arrived: Notify,
}

#[derive(Default)]
struct Messages {
    waiting: VecDeque<Message>,
    /// The worker has drained and serves nobody.
    is_over: bool,
}

impl Message {
    /// Nobody decides anything any more, so whatever was to be true of it is.
    fn void(self) {
        if let Self::Install { done, .. } = self {
            let _ = done.send(Swapped { at: Instant::now(), stall: Duration::ZERO });
        }
    }
}

impl Mailbox {
    fn post(&self, message: Message) {
        let mut messages = self.lock();
        if messages.is_over {
            return message.void();
        }
        messages.waiting.push_back(message);
        self.arrived.notify_one();
    }

    /// The worker has drained: it agrees to everything from now on, so that a snapshot that comes while others still
    /// drain does not wait for it.
    pub(super) fn finish(&self) {
        let mut messages = self.lock();
        messages.is_over = true;
        messages.waiting.drain(..).for_each(Message::void);
    }

    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn next(&self) -> Message {
        loop {
            let message = self.lock().waiting.pop_front();
            match message {
                Some(message) => return message,
                None => self.arrived.notified().await,
            }
        }
    }
}

/// A worker thread, seen from outside.
#[derive(Clone)]
pub struct WorkerHandle {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) shard: Arc<Shard>,
}

impl WorkerHandle {
    /// Hands over a prepared state. The receiver hears of the swap; it fails only when the worker is
    /// gone.
    pub fn install(&self, state: Box<WorkerState>) -> oneshot::Receiver<Swapped> {
        let (done, acknowledged) = oneshot::channel();
        self.mailbox.post(Message::Install { state, done });
        acknowledged
    }

    /// Stops accepting, finishes what is in flight, then ends the worker.
    pub fn drain(&self) {
        self.mailbox.post(Message::Drain);
    }

    /// The worker's counters.
    pub fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }
}

impl std::fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerHandle").finish_non_exhaustive()
    }
}
