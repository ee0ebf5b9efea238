//! Runs hyper's HTTP/2 futures on the worker's own thread.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use super::clock::Lifeline;
use super::metrics::Shard;

/// Spawns on the current `LocalSet`; nothing has to be `Send`.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Spawns the streams of one client connection. Each has a lifeline of its own: a stream that is blocked
/// because its client takes no bytes can be ended, which resets it, and the connection lives on.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    shard: Arc<Shard>,
    /// The lifeline of the stream that is executed next: hyper calls the service for a stream and executes
    /// the stream's future in one go.
    next: Rc<Cell<Option<Rc<Lifeline>>>>,
}

impl StreamExecutor {
    pub(super) fn new(shard: Arc<Shard>) -> Self {
        Self { shard, next: Rc::default() }
    }

    /// The lifeline of a stream whose service is being called.
    pub(super) fn open(&self) -> Rc<Lifeline> {
        let lifeline = Rc::new(Lifeline::default());
        self.next.set(Some(Rc::clone(&lifeline)));
        lifeline
    }
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        let (lifeline, shard) = (self.next.take().unwrap_or_default(), Arc::clone(&self.shard));
        tokio::task::spawn_local(async move {
            if let Some(why) = lifeline.until_killed(pin!(future)).await {
                shard.count(why.event());
            }
        });
    }
}
