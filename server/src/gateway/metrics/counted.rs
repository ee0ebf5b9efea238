//! What a control plane is told about the traffic: the workers' counts by environment, release and variant.
//!
//! It counts nothing itself. A release is told what it failed even when another one answered for it: a request
//! that was shielded is one of both releases.

use std::collections::BTreeMap;
use std::time::Instant;

use edge_engine::RouteReason;

use super::{Metrics, ReleaseTotals};
use crate::gateway::observe::Buckets;
use crate::gateway::scope::Scope;

/// Where 4xx and 5xx are among the classes.
const CLIENT_ERRORS: usize = 3;
const SERVER_ERRORS: usize = 4;

/// The counts of one environment since the process began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// Requests decided without the engine.
    pub fallbacks: u64,
    /// By release.
    pub releases: BTreeMap<Box<str>, CountedRelease>,
    /// By flag and variant, of the flags that are forwarded.
    pub flags: BTreeMap<(Box<str>, Box<str>), u64>,
}

/// The counts of one release since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CountedRelease {
    /// Requests that it served or failed.
    pub requests: u64,
    /// Answers from 400 to 499.
    pub client_errors: u64,
    /// Answers from 500 to 599 of an upstream.
    pub server_errors: u64,
    /// Requests without an answer of an upstream.
    pub transport_errors: u64,
    /// Answers by how long they took.
    pub latency: Buckets,
    /// How long they took together, in microseconds.
    pub latency_us: u64,
    /// Requests that the hash sent here, by whether their bucket is odd.
    pub split: [u64; 2],
    /// Those of them that failed.
    pub split_failed: [u64; 2],
}

impl CountedRelease {
    fn of(totals: &ReleaseTotals) -> Self {
        let hidden = totals.hidden_statuses + totals.hidden_faults;
        Self {
            // Each recorded request is in one bucket, whatever its status.
            requests: totals.buckets.iter().sum::<u64>() + hidden,
            client_errors: totals.classes[CLIENT_ERRORS],
            // The counters are not read at one instant, so a difference may be one short for a moment.
            server_errors: totals.classes[SERVER_ERRORS].saturating_sub(totals.unanswered) + totals.hidden_statuses,
            transport_errors: totals.unanswered + totals.hidden_faults,
            latency: totals.buckets,
            latency_us: totals.micros,
            split: totals.split,
            split_failed: totals.split_failed,
        }
    }
}

impl Metrics {
    /// What each environment counted since the process began.
    pub fn counted(&self) -> BTreeMap<Scope, Counted> {
        let totals = self.totals(Instant::now());
        let mut counted: BTreeMap<Scope, Counted> = BTreeMap::new();
        for ((scope, release), totals) in &totals.releases {
            let environment = counted.entry(scope.clone()).or_default();
            environment.fallbacks += totals.reasons[RouteReason::Fallback as usize];
            environment.releases.insert(release.clone(), CountedRelease::of(totals));
        }
        for (((scope, flag), variant), reasons) in &totals.flags {
            let environment = counted.entry(scope.clone()).or_default();
            environment.flags.insert((flag.clone(), variant.clone()), reasons.iter().sum());
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_release_failed_is_its_own_also_when_another_one_answered() {
        let metrics = Metrics::default();
        let shard = metrics.shard();
        let [active, candidate] = ["web-1", "web-2"].map(|release| shard.release("web", "production", release));
        // Shielded once after a 5xx and once after a fault; then one 503 that it answered, one that nobody did, and a 404.
        for is_status in [true, false] {
            candidate.hidden(is_status);
            active.record(200, RouteReason::Split, Duration::ZERO);
        }
        candidate.record(503, RouteReason::Split, Duration::ZERO);
        candidate.unanswered();
        candidate.record(502, RouteReason::Fallback, Duration::ZERO);
        candidate.record(404, RouteReason::Split, Duration::ZERO);
        let counted = &metrics.counted()[&Scope::new("web", "production")];
        let served = |requests| {
            let mut latency = Buckets::default();
            latency[0] = requests;
            CountedRelease { requests, latency, ..CountedRelease::default() }
        };
        let own = CountedRelease { requests: 5, client_errors: 1, server_errors: 2, transport_errors: 2, ..served(3) };
        assert_eq!(counted.releases["web-2"], own);
        assert_eq!(counted.releases["web-1"], served(2));
        assert_eq!(counted.fallbacks, 1);
    }
}
