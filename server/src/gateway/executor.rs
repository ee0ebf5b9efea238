//! Runs hyper's HTTP/2 futures on the worker's own thread.

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
