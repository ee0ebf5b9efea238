//! The monotonic clock of everything that remembers since when something is bad.
//!
//! Milliseconds since the clock was made; a test moves a clock by hand. Wall time is elsewhere: a
//! jump of it must neither open nor close anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A source of monotonic milliseconds, cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    Real(Instant),
    Manual(Arc<AtomicU64>),
}

impl Default for Clock {
    fn default() -> Self {
        Self(Source::Real(Instant::now()))
    }
}

impl Clock {
    /// A clock that stands at 0 and moves only by the handle that comes with it.
    pub fn manual() -> (Self, Arc<AtomicU64>) {
        let hand = Arc::new(AtomicU64::new(0));
        (Self(Source::Manual(Arc::clone(&hand))), hand)
    }

    /// Milliseconds since the clock was made.
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::Real(start) => u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            Source::Manual(hand) => hand.load(Ordering::Relaxed),
        }
    }
}
