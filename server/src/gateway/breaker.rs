//! The local breaker: after enough failures in a row a candidate's cohort goes to the active release.

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts failures in a row.
#[derive(Debug)]
pub struct Breaker {
    threshold: u32,
    consecutive: AtomicU32,
}

impl Breaker {
    /// A closed breaker; a threshold of 0 never opens.
    pub fn new(threshold: u32) -> Self {
        Self { threshold, consecutive: AtomicU32::new(0) }
    }

    /// An exchange worked.
    pub fn success(&self) {
        if self.consecutive.load(Ordering::Relaxed) != 0 {
            self.consecutive.store(0, Ordering::Relaxed);
        }
    }

    /// An exchange failed.
    pub fn failure(&self) {
        self.consecutive.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it is open now.
    pub fn is_open(&self) -> bool {
        self.threshold != 0 && self.consecutive.load(Ordering::Relaxed) >= self.threshold
    }
}
