//! How releases fare, from what edges report: the deployment standard's metrics.
//!
//! Counters grow with each report that counts, from the start of this process; a minute of them is kept for the gauges, which are
//! for people without Prometheus. A release that nobody reports for an hour is forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use admin_api::edge::{LATENCY_BOUNDS_US, ReleaseReport, Report};
use admin_api::releases::{EnvironmentMetrics, ReleaseMetrics};

/// The length of what gauges are of.
pub const WINDOW_MS: i64 = 60_000;
/// When a release is forgotten.
const FORGET_MS: i64 = 3_600_000;
/// What the infrastructure uses is known for so long.
const USE_MS: i64 = 120_000;
/// Releases of this process' view; those beyond are not shown.
const MOST: usize = 5000;
const BUCKETS: usize = LATENCY_BOUNDS_US.len() + 1;

/// App, environment, release.
pub type Name = (String, String, String);

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Answers from 400 to 499.
    pub client_errors: u64,
    /// Answers from 500 to 599.
    pub server_errors: u64,
    /// Requests without an answer.
    pub transport_errors: u64,
    /// Answers by how long they took.
    pub latency: [u64; BUCKETS],
    /// How long they took together, in microseconds.
    pub latency_us: u64,
}

impl Counts {
    fn of(report: &ReleaseReport) -> Self {
        let mut latency = [0; BUCKETS];
        latency.iter_mut().zip(&report.latency).for_each(|(to, from)| *to = *from);
        Self {
            requests: report.requests,
            client_errors: report.client_errors,
            server_errors: report.server_errors,
            transport_errors: report.transport_errors,
            latency,
            latency_us: report.latency_us,
        }
    }

    fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.client_errors = self.client_errors.saturating_add(other.client_errors);
        self.server_errors = self.server_errors.saturating_add(other.server_errors);
        self.transport_errors = self.transport_errors.saturating_add(other.transport_errors);
        self.latency.iter_mut().zip(other.latency).for_each(|(to, from)| *to = to.saturating_add(from));
        self.latency_us = self.latency_us.saturating_add(other.latency_us);
    }

    /// The share of failed requests.
    pub fn error_ratio(&self) -> f64 {
        ratio(self.server_errors.saturating_add(self.transport_errors), self.requests)
    }

    /// A quantile of the latency in seconds, by interpolation within its bucket as Prometheus does it; above the highest bound,
    /// that one. `None` without answers.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total: u64 = self.latency.iter().sum();
        if total == 0 {
            return None;
        }
        let rank = q * number(total);
        let (mut below, mut lower) = (0.0, 0.0);
        for (count, bound) in self.latency.iter().zip(LATENCY_BOUNDS_US) {
            let (count, upper) = (number(*count), number(bound) / 1e6);
            if below + count >= rank && count > 0.0 {
                return Some(lower + (upper - lower) * (rank - below) / count);
            }
            below += count;
            lower = upper;
        }
        Some(lower)
    }
}

/// Everything of one release.
#[derive(Debug, Default)]
struct Release {
    counts: Counts,
    events: BTreeMap<String, u64>,
    recent: VecDeque<(i64, Counts)>,
    last_at: i64,
}

impl Release {
    fn window(&self, now: i64) -> Counts {
        let mut sum = Counts::default();
        self.recent.iter().filter(|(at, _)| at + WINDOW_MS > now).for_each(|(_, counts)| sum.add(counts));
        sum
    }
}

/// Where a rollout is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RolloutNow {
    /// The word for its state.
    pub state: String,
    /// The candidate's share, from 0 to 1.
    pub weight: f64,
    /// log10 of the e-value of harm, by criterion.
    pub harm: Vec<(String, f64)>,
}

#[derive(Debug, Default)]
struct Inner {
    releases: BTreeMap<Name, Release>,
    infrastructure: BTreeMap<Name, (f64, i64)>,
    rollouts: BTreeMap<(String, String), RolloutNow>,
    ended: BTreeMap<(String, String, String), u64>,
    rollbacks: Rollbacks,
}

/// How long rollbacks took, from the decision until every edge had acknowledged.
#[derive(Debug, Clone, Default)]
pub struct Rollbacks {
    /// By [`ROLLBACK_BOUNDS`].
    pub buckets: [u64; ROLLBACK_BOUNDS.len() + 1],
    /// Seconds together.
    pub seconds: f64,
}

/// Upper bounds in seconds.
pub const ROLLBACK_BOUNDS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// The board.
#[derive(Debug, Default)]
pub struct Releases(Mutex<Inner>);

impl Releases {
    /// Counts a report that was taken.
    pub fn reported(&self, report: &Report, now: i64) {
        let mut inner = self.lock();
        for environment in &report.environments {
            for one in &environment.releases {
                let name = (environment.scope.app.clone(), environment.scope.environment.clone(), one.release.clone());
                if let Some(release) = inner.release(name) {
                    let counts = Counts::of(one);
                    release.counts.add(&counts);
                    release.recent.push_back((now, counts));
                    release.last_at = now;
                    while release.recent.front().is_some_and(|(at, _)| at + WINDOW_MS <= now) {
                        release.recent.pop_front();
                    }
                }
            }
        }
    }

    /// Counts what happened in an app.
    pub fn event(&self, name: Name, criterion: &str, count: u64, now: i64) {
        let mut inner = self.lock();
        if let Some(release) = inner.release(name) {
            release.last_at = now;
            let known = release.events.entry(criterion.to_owned()).or_default();
            *known = known.saturating_add(count);
        }
    }

    /// Keeps what the infrastructure of an environment uses.
    pub fn used(&self, name: Name, value: f64, now: i64) {
        let mut inner = self.lock();
        if inner.infrastructure.len() < MOST || inner.infrastructure.contains_key(&name) {
            inner.infrastructure.insert(name, (value, now));
        }
    }

    /// Keeps where a rollout is; one that has ended is counted.
    pub fn rollout(&self, scope: (String, String), now: RolloutNow, has_ended: bool) {
        let mut inner = self.lock();
        let before = inner.rollouts.insert(scope.clone(), now.clone());
        if has_ended && before.is_none_or(|before| before.state != now.state) {
            *inner.ended.entry((scope.0, scope.1, now.state)).or_default() += 1;
        }
    }

    /// Every edge has acknowledged that traffic is taken back.
    pub fn rolled_back(&self, seconds: f64) {
        let mut inner = self.lock();
        let bucket = ROLLBACK_BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(ROLLBACK_BOUNDS.len());
        inner.rollbacks.buckets[bucket] += 1;
        inner.rollbacks.seconds += seconds;
    }

    /// What an environment looks like now.
    pub fn environment(&self, app: &str, environment: &str, now: i64) -> EnvironmentMetrics {
        let inner = self.lock();
        let is_it = |name: &Name| name.0 == app && name.1 == environment;
        let releases = inner.releases.iter().filter(|(name, _)| is_it(name)).map(|(name, release)| {
            let counts = release.window(now);
            ReleaseMetrics {
                release: name.2.clone(),
                requests_per_second: rate(counts.requests),
                error_ratio: counts.error_ratio(),
                p95_seconds: counts.quantile(0.95),
                p99_seconds: counts.quantile(0.99),
                requests: counts.requests,
                client_errors: counts.client_errors,
                server_errors: counts.server_errors,
                transport_errors: counts.transport_errors,
                events: release.events.clone(),
            }
        });
        let releases = releases.collect();
        let used = inner.infrastructure.iter().filter(|(name, (_, at))| is_it(name) && at + USE_MS > now);
        let infrastructure = used.map(|(name, (value, _))| (name.2.clone(), *value)).collect();
        EnvironmentMetrics { window_seconds: WINDOW_MS.unsigned_abs() / 1000, releases, infrastructure }
    }

    /// Everything, for a scrape; forgets what is too old.
    pub(super) fn scrape(&self, now: i64) -> Scraped {
        let mut inner = self.lock();
        inner.releases.retain(|_, release| release.last_at + FORGET_MS > now);
        inner.infrastructure.retain(|_, (_, at)| *at + USE_MS > now);
        Scraped {
            releases: inner
                .releases
                .iter()
                .map(|(name, release)| (name.clone(), release.counts, release.window(now), release.events.clone()))
                .collect(),
            infrastructure: inner.infrastructure.iter().map(|(name, (value, _))| (name.clone(), *value)).collect(),
            rollouts: inner.rollouts.clone().into_iter().collect(),
            ended: inner.ended.clone().into_iter().collect(),
            rollbacks: inner.rollbacks.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in it is ever half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn release(&mut self, name: Name) -> Option<&mut Release> {
        let has_room = self.releases.len() < MOST || self.releases.contains_key(&name);
        has_room.then(|| self.releases.entry(name).or_default())
    }
}

/// What a scrape shows.
#[derive(Debug)]
pub(super) struct Scraped {
    /// Name, since the start, in the last minute, events.
    pub(super) releases: Vec<(Name, Counts, Counts, BTreeMap<String, u64>)>,
    pub(super) infrastructure: Vec<(Name, f64)>,
    pub(super) rollouts: Vec<((String, String), RolloutNow)>,
    pub(super) ended: Vec<((String, String, String), u64)>,
    pub(super) rollbacks: Rollbacks,
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { number(part) / number(whole) }
}

/// Per second of the window.
pub(super) fn rate(count: u64) -> f64 {
    number(count) / number(WINDOW_MS.unsigned_abs()) * 1000.0
}

#[cfg(test)]
mod tests {
    use admin_api::edge::{EnvironmentReport, Scope};

    use super::*;

    fn report(requests: u64, server_errors: u64, slow: u64) -> Report {
        let mut latency = vec![0; BUCKETS];
        (latency[2], latency[11]) = (requests - slow, slow);
        let release = ReleaseReport {
            release: "web-2".into(),
            requests,
            server_errors,
            latency,
            latency_us: requests * 4000,
            ..ReleaseReport::default()
        };
        let scope = Scope { app: "web".into(), environment: "production".into() };
        let environments = vec![EnvironmentReport { scope, releases: vec![release], ..EnvironmentReport::default() }];
        Report { edge: "e".into(), boot: "b".into(), sequence: 1, covers_ms: 2000, lost: 0, environments }
    }

    #[test]
    fn gauges_are_of_the_last_minute_and_counters_of_everything() {
        let board = Releases::default();
        board.reported(&report(1000, 0, 0), 0);
        board.reported(&report(600, 12, 60), 100_000);
        let now = &board.environment("web", "production", 100_001).releases[0];
        assert_eq!((now.requests, now.server_errors), (600, 12));
        assert!((now.requests_per_second - 10.0).abs() < 1e-9 && (now.error_ratio - 0.02).abs() < 1e-9, "{now:?}");
        // Nine tenths took up to 5 ms, one tenth 0.75 s to 1 s.
        assert_eq!((now.p95_seconds, now.p99_seconds), (Some(0.875), Some(0.975)));
        let scraped = board.scrape(100_001);
        assert_eq!((scraped.releases[0].1.requests, scraped.releases[0].2.requests), (1600, 600));
        assert!(board.scrape(100_000 + FORGET_MS).releases.is_empty(), "nobody reports it any more");
        assert_eq!(Counts::default().quantile(0.95), None);
    }

    #[test]
    fn a_rollout_that_ends_is_counted_once() {
        let board = Releases::default();
        let scope = || ("web".to_owned(), "production".to_owned());
        let at = |state: &str| RolloutNow { state: state.into(), ..RolloutNow::default() };
        board.rollout(scope(), at("step"), false);
        board.rollout(scope(), at("rolledBack"), true);
        board.rollout(scope(), at("rolledBack"), true);
        board.rolled_back(0.03);
        let scraped = board.scrape(0);
        assert_eq!((scraped.ended[0].1, scraped.rollbacks.buckets[2]), (1, 1));
    }
}
