//! How the process ends: signals, the two stages of stopping, and waiting for every task.
//!
//! It owns the soft and the hard token. Invariant: hard implies soft, and both are only ever set,
//! never cleared. Soft means: take no new work, finish what is there. Hard means: drop what is
//! left. The first SIGTERM or SIGINT is soft; a second one, or the end of the grace, is hard.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why the process stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Everything was finished within the grace.
    Drained,
    /// The grace ended, or a second signal came, with work left.
    Cut,
}

/// The two tokens and the tasks that follow them; a clone shares them.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// A life that has just begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Set when no new work may be taken.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Set when work in progress must be dropped.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Where tasks are spawned that the end waits for.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Whether the process is on its way out.
    pub fn is_draining(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Begins the end, as the first signal does.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Ends at once, as the second signal does.
    pub fn kill(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Waits until `drained` is done after a stop, but no longer than the grace; then sets hard and
    /// waits for the tracked tasks, which follow it at once.
    pub async fn finish(&self, grace: Duration, drained: impl Future<Output = ()>) -> Stopped {
        self.soft.cancelled().await;
        let stopped = tokio::select! {
            biased;
            () = drained => Stopped::Drained,
            () = self.hard.cancelled() => Stopped::Cut,
            () = tokio::time::sleep(grace) => Stopped::Cut,
        };
        self.kill();
        self.tasks.close();
        self.tasks.wait().await;
        stopped
    }

    /// Turns signals into the two stages, for as long as the process lives. The handlers are in
    /// place when this returns, so that a signal right after start-up is not lost.
    pub fn follow_signals(&self) -> io::Result<impl Future<Output = ()> + use<>> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        ignore_file_size_signal()?;
        let life = self.clone();
        Ok(async move {
            let name = next(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = name, "stopping: finishing the requests under way");
            life.stop();
            let name = next(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name, "stopping at once: dropping the requests under way");
            life.kill();
        })
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// A write beyond a file size limit kills the process unless SIGXFSZ has a handler; with one it is
/// an error of that write (EFBIG), which the state directory treats like a full disk. The handler
/// stays when the stream is dropped.
pub fn ignore_file_size_signal() -> io::Result<()> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_ends_within_the_grace_is_drained() {
        let life = Lifecycle::new();
        life.stop();
        let drained = tokio::time::sleep(Duration::from_secs(9));
        assert_eq!(life.finish(Duration::from_secs(10), drained).await, Stopped::Drained);
    }

    #[tokio::test(start_paused = true)]
    async fn work_beyond_the_grace_is_cut() {
        let life = Lifecycle::new();
        life.stop();
        let drained = tokio::time::sleep(Duration::from_secs(11));
        assert_eq!(life.finish(Duration::from_secs(10), drained).await, Stopped::Cut);
        assert!(life.hard().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn killing_cuts_before_the_grace_is_over_and_waits_for_tracked_tasks() {
        let life = Lifecycle::new();
        let hard = life.hard().clone();
        let task = life.tasks().spawn(async move { hard.cancelled().await });
        life.kill();
        let started = tokio::time::Instant::now();
        assert_eq!(life.finish(Duration::from_secs(10), std::future::pending()).await, Stopped::Cut);
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert!(task.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_ends_before_a_stop() {
        let life = Lifecycle::new();
        let finish = life.finish(Duration::ZERO, std::future::ready(()));
        assert!(tokio::time::timeout(Duration::from_hours(1), finish).await.is_err());
        assert!(!life.is_draining());
    }
}
