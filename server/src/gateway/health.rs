//! Which upstreams of a release may be used.
//!
//! One object per release, shared by all workers and kept over publications. Reading costs an
//! atomic load; a success writes only when something was wrong before, so healthy traffic never
//! makes workers contend for a cache line.

use std::sync::atomic::{AtomicU32, Ordering};

use super::breaker::Breaker;

/// Why an exchange with an upstream counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection.
    Connect,
    /// The connection broke, or what came was not HTTP.
    Transport,
    /// No answer in time.
    Timeout,
    /// A status of 500 to 599.
    Status,
}

/// Health of a release's upstreams and its breaker.
#[derive(Debug)]
pub struct ReleaseHealth {
    consecutive: Box<[AtomicU32]>,
    breaker: Breaker,
}

impl ReleaseHealth {
    /// All upstreams available, the breaker closed.
    pub fn new(upstreams: usize, breaker: Breaker) -> Self {
        Self { consecutive: (0..upstreams).map(|_| AtomicU32::new(0)).collect(), breaker }
    }

    /// Whether the upstream may be used: not ejected, and healthy when probed.
    pub fn available(&self, _upstream: usize) -> bool {
        true
    }

    /// An exchange worked: a head with a status below 500 came.
    pub fn record_success(&self, upstream: usize) {
        if let Some(count) = self.consecutive.get(upstream)
            && count.load(Ordering::Relaxed) != 0
        {
            count.store(0, Ordering::Relaxed);
        }
        self.breaker.success();
    }

    /// An exchange failed.
    pub fn record_failure(&self, upstream: usize, _kind: FailureKind) {
        if let Some(count) = self.consecutive.get(upstream) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.breaker.failure();
    }

    /// Whether requests for this release go to the active one instead. Only asked for candidates.
    pub fn breaker_open(&self) -> bool {
        self.breaker.is_open()
    }
}
