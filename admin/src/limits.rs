//! How much may be under way at once, how often one may ask, and how long one may let us wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ids;

/// Requests under way. Beyond this a request is told to come back: the store has one writer, and a longer queue only
/// makes everybody's wait longer.
const REQUESTS: usize = 2_048;
/// Streams that may be open.
const STREAMS: usize = 20_000;
/// Edges that may be handed everything there is at the same time. Each holds a copy of what its connection has not taken
/// yet; beyond this the others wait outside, where they cost nothing.
const HANDOUTS: usize = 512;
/// Names that are remembered; those that were full again are forgotten first.
const NAMES: usize = 10_000;

/// How often one may ask, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Requests per second of one token, on average…
    pub rate: f64,
    /// …and at once.
    pub burst: f64,
    /// Wrong tokens per second from one address, on average…
    pub failures_rate: f64,
    /// …and at once.
    pub failures: f64,
    /// Streams that may be open.
    pub streams: usize,
    /// Edges that may be handed everything there is at the same time.
    pub handouts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rate: 200.0, burst: 400.0, failures_rate: 0.1, failures: 20.0, streams: STREAMS, handouts: HANDOUTS }
    }
}

/// How long a client may let us wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For a whole request head, for the first byte of a connection, and between two requests of one.
    pub head: Duration,
    /// For a whole body.
    pub body: Duration,
    /// For bytes of an answer to be taken.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { handshake: seconds(10), head: seconds(10), body: seconds(15), write: seconds(30) }
    }
}

/// Counts what is under way.
#[derive(Debug)]
pub struct Admission {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
    handouts: Arc<Semaphore>,
}

impl Admission {
    /// Nothing is under way.
    pub fn new(limits: &Limits) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self {
            requests: places(REQUESTS),
            streams: places(limits.streams),
            // However many listen to changes, there is always room for edges.
            listeners: places(limits.streams - limits.streams / 4),
            handouts: places(limits.handouts),
        }
    }

    /// A place for a request.
    pub fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.requests).try_acquire_owned().ok()
    }

    /// A place for a stream of somebody who listens to changes and serves nothing by them.
    pub fn listener(&self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        Some((Arc::clone(&self.listeners).try_acquire_owned().ok()?, self.stream()?))
    }

    /// A place for the stream of an edge.
    pub fn stream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.streams).try_acquire_owned().ok()
    }

    /// A place for handing an edge everything there is.
    pub fn handout(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.handouts).try_acquire_owned().ok()
    }
}

/// Whole seconds after which to come back, from 1 to this many: those who were refused together come back one by one.
pub fn come_back(within: u8) -> u64 {
    1 + u64::from(ids::random::<1>()[0] % within.max(1))
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// Token buckets by name.
#[derive(Debug, Default)]
pub struct Buckets {
    limits: Limits,
    requests: Mutex<HashMap<String, Bucket>>,
    failures: Mutex<HashMap<String, Bucket>>,
}

impl Buckets {
    /// Full buckets of these sizes.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Whether this token may ask now.
    pub fn take(&self, token: &str) -> bool {
        spend(&self.requests, token, self.limits.rate, self.limits.burst, 1.0)
    }

    /// Whether this address may still try tokens.
    pub fn failures_left(&self, address: &str) -> bool {
        spend(&self.failures, address, self.limits.failures_rate, self.limits.failures, 0.0)
    }

    /// A wrong token came from this address.
    pub fn failed(&self, address: &str) {
        spend(&self.failures, address, self.limits.failures_rate, self.limits.failures, 1.0);
    }
}

/// Takes from a bucket; whether it held at least one.
fn spend(buckets: &Mutex<HashMap<String, Bucket>>, name: &str, rate: f64, size: f64, amount: f64) -> bool {
    let now = Instant::now();
    let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
    if buckets.len() >= NAMES {
        let full_after = Duration::from_secs_f64(size / rate);
        buckets.retain(|_, bucket| now.saturating_duration_since(bucket.at) < full_after);
    }
    if buckets.len() >= NAMES && !buckets.contains_key(name) {
        return true;
    }
    let bucket = buckets.entry(name.to_owned()).or_insert(Bucket { left: size, at: now });
    let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
    *bucket = Bucket { left: passed.mul_add(rate, bucket.left).min(size), at: now };
    let has_one = bucket.left >= 1.0;
    if has_one {
        bucket.left -= amount;
    }
    has_one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_asks_too_often_has_to_wait_and_others_do_not() {
        let buckets = Buckets::default();
        let taken = (0..1_000).filter(|_| buckets.take("one")).count();
        assert!((400..600).contains(&taken), "{taken}");
        assert!(buckets.take("other"));
    }

    #[test]
    fn wrong_tokens_from_an_address_are_few() {
        let buckets = Buckets::default();
        for _ in 0..19 {
            buckets.failed("a");
        }
        assert!(buckets.failures_left("a"));
        buckets.failed("a");
        assert!(!buckets.failures_left("a") && buckets.failures_left("b"));
    }
}
