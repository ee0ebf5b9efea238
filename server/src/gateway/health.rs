//! What this edge knows about each upstream: by asking it (active checks) and by using it (outliers).
//!
//! It owns one [`ReleaseHealth`] per release of an environment, with a record for each upstream and
//! the release's breaker, shared by all workers and by the prober, and kept across snapshots.
//! Invariant: a success after a success writes nothing, so healthy traffic does not make the
//! workers share a cache line. The records advise; the data path chooses and sends. Probing is in
//! [`probe`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::monotonic::Clock;
use super::scope::Scope;
use crate::gateway::breaker::{Admission, Breaker, Outcome, Policy, Transition};

pub mod probe;

/// Transport errors or 5xx in a row after which an upstream is left out for a while.
const EJECT_AFTER: u32 = 5;
/// Milliseconds of the first ejection; the n-th in a row lasts n times as long.
const EJECT_MS: u64 = 10_000;
/// An ejection never lasts longer than this many times the first.
const MAX_EJECT_FACTOR: u32 = 6;

/// Whether an upstream should get requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Availability {
    /// Nothing speaks against it.
    Healthy,
    /// Real requests failed; it rests, but serves when nothing better is left.
    Ejected,
    /// Its active check fails: it gets no requests.
    Unhealthy,
}

impl Availability {
    /// The name in health reports and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What is known about one upstream.
#[derive(Debug, Default)]
pub struct UpstreamHealth {
    check_fails: AtomicBool,
    failures: AtomicU32,
    /// 0 = not ejected.
    ejected_until: AtomicU64,
    ejections_in_a_row: AtomicU32,
    ejections: AtomicU64,
    checks: AtomicU64,
    failed_checks: AtomicU64,
}

impl UpstreamHealth {
    /// Whether it should get requests now.
    pub fn availability(&self, now_ms: u64) -> Availability {
        if self.check_fails.load(Ordering::Relaxed) {
            return Availability::Unhealthy;
        }
        let until = self.ejected_until.load(Ordering::Relaxed);
        if until == 0 {
            return Availability::Healthy;
        }
        if now_ms < until {
            return Availability::Ejected;
        }
        // Only the ejection that is over is cleared, not one that another thread has just begun; when
        // that happened, the next look sees it.
        let _ = self.ejected_until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
        Availability::Healthy
    }

    /// Whether nothing is known against it, without a look at the clock.
    fn is_calm(&self) -> bool {
        !self.check_fails.load(Ordering::Relaxed) && self.ejected_until.load(Ordering::Relaxed) == 0
    }

    /// A request to it succeeded.
    pub fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.ejections_in_a_row.load(Ordering::Relaxed) != 0 {
            self.ejections_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// A request to it failed. Answers for how many milliseconds it is now ejected, when this was
    /// the failure that made it so.
    pub fn failed(&self, now_ms: u64) -> Option<u64> {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < EJECT_AFTER || self.availability(now_ms) != Availability::Healthy {
            return None;
        }
        self.failures.store(0, Ordering::Relaxed);
        let row = self.ejections_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let for_ms = EJECT_MS * u64::from(row.clamp(1, MAX_EJECT_FACTOR));
        self.ejected_until.store(now_ms.saturating_add(for_ms).max(1), Ordering::Relaxed);
        self.ejections.fetch_add(1, Ordering::Relaxed);
        Some(for_ms)
    }

    /// How often real requests had it ejected.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// How many active checks there were.
    pub fn checks(&self) -> u64 {
        self.checks.load(Ordering::Relaxed)
    }

    /// How many active checks failed.
    pub fn failed_checks(&self) -> u64 {
        self.failed_checks.load(Ordering::Relaxed)
    }

    fn check_fails(&self) -> bool {
        self.check_fails.load(Ordering::Relaxed)
    }

    fn checked(&self, ok: bool) {
        self.checks.fetch_add(1, Ordering::Relaxed);
        if !ok {
            self.failed_checks.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn set_check_fails(&self, fails: bool) {
        self.check_fails.store(fails, Ordering::Relaxed);
    }
}

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

impl FailureKind {
    /// The name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Transport => "transport",
            Self::Timeout => "timeout",
            Self::Status => "status",
        }
    }
}

/// Names a release of an environment: what runs behind an address in another release is another
/// thing, so its record is another one too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseKey {
    /// The environment.
    pub scope: Scope,
    /// The release's id.
    pub release: Arc<str>,
}

/// Health of a release's upstreams and its breaker. Upstreams are named by their index in the
/// snapshot's release.
#[derive(Debug)]
pub struct ReleaseHealth {
    key: ReleaseKey,
    upstreams: Box<[(Arc<str>, Arc<UpstreamHealth>)]>,
    breaker: Arc<Breaker>,
    clock: Clock,
}

impl ReleaseHealth {
    /// Whether the upstream may be used: not ejected, and healthy when probed. When real requests had
    /// every one ejected that its check does not condemn, those may be used all the same: a guess
    /// must not take a release down.
    pub fn available(&self, upstream: usize) -> bool {
        let Some((_, record)) = self.upstreams.get(upstream) else { return false };
        if record.is_calm() {
            return true;
        }
        let now = self.clock.now_ms();
        match record.availability(now) {
            Availability::Healthy => true,
            Availability::Unhealthy => false,
            Availability::Ejected => {
                !self.upstreams.iter().any(|(_, other)| other.availability(now) == Availability::Healthy)
            }
        }
    }

    /// An exchange worked: a head with a status below 500 came.
    pub fn record_success(&self, upstream: usize) {
        if let Some((_, record)) = self.upstreams.get(upstream) {
            record.succeeded();
        }
        if !self.breaker.is_calm() {
            self.report_breaker(self.breaker.record(Outcome::Success, self.clock.now_ms()), None);
        }
    }

    /// An exchange failed.
    pub fn record_failure(&self, upstream: usize, kind: FailureKind) {
        let now = self.clock.now_ms();
        if let Some((url, record)) = self.upstreams.get(upstream)
            && let Some(for_ms) = record.failed(now)
        {
            tracing::warn!(
                app = self.key.scope.app(),
                environment = self.key.scope.environment(),
                release.id = &*self.key.release,
                upstream = &**url,
                cause = kind.as_str(),
                for_ms,
                "an upstream failed several requests in a row and rests"
            );
        }
        self.report_breaker(self.breaker.record(Outcome::Failure, now), Some(kind));
    }

    /// Whether a request for this release goes to the active one instead. Only asked for candidates,
    /// and once per request: when the time of an opening is over, one asker at a time is let through,
    /// and what [`ReleaseHealth::record_success`] or [`ReleaseHealth::record_failure`] then says decides.
    pub fn breaker_open(&self) -> bool {
        !self.breaker.is_closed() && self.breaker.admit(self.clock.now_ms()) == Admission::Divert
    }

    /// The release this is about.
    pub fn key(&self) -> &ReleaseKey {
        &self.key
    }

    /// Its breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Its upstreams: address and record, in the order of the snapshot.
    pub fn upstreams(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Arc<UpstreamHealth>)> {
        self.upstreams.iter().map(|(url, record)| (url, record))
    }

    fn report_breaker(&self, transition: Option<Transition>, cause: Option<FailureKind>) {
        let (app, environment, release) = (self.key.scope.app(), self.key.scope.environment(), &*self.key.release);
        match transition {
            None => {}
            Some(Transition::Opened { for_ms }) => tracing::warn!(
                app,
                environment,
                release.id = release,
                for_ms,
                cause = cause.map(FailureKind::as_str),
                "the breaker opened: the candidate's cohort goes to the active release"
            ),
            Some(Transition::Closed) => tracing::info!(
                app,
                environment,
                release.id = release,
                "the breaker closed: the candidate serves its cohort again"
            ),
        }
    }
}

/// A release as a snapshot describes it.
#[derive(Debug, Clone)]
pub struct ReleaseShape<'a> {
    /// Which one.
    pub key: ReleaseKey,
    /// The addresses of its upstreams, in order.
    pub urls: Vec<&'a str>,
    /// Its breaker's policy when it is the candidate; `None` = it is not, and its breaker never opens.
    pub breaker: Option<Policy>,
}

/// Never opens.
const UNARMED: Policy = Policy { consecutive_failures: 0, open_ms: 0 };

/// All records of this edge.
#[derive(Debug, Default)]
pub struct HealthRegistry {
    clock: Clock,
    releases: Mutex<BTreeMap<ReleaseKey, Known>>,
}

#[derive(Debug)]
struct Known {
    health: Arc<ReleaseHealth>,
    armed: bool,
}

impl HealthRegistry {
    /// A registry whose records live by this clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, releases: Mutex::default() }
    }

    /// The clock the records live by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The health of a release of a snapshot that is being prepared. What was known about the release
    /// and about each address that it keeps is kept; a breaker that becomes armed, or is no longer,
    /// starts afresh.
    pub fn release(&self, shape: &ReleaseShape<'_>) -> Arc<ReleaseHealth> {
        let mut releases = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
        let known = releases.get(&shape.key);
        let health = match known.map(|known| &known.health) {
            Some(health) if health.upstreams().map(|(url, _)| &**url).eq(shape.urls.iter().copied()) => {
                Arc::clone(health)
            }
            previous => Arc::new(self.rebuild(shape, previous.map(Arc::as_ref))),
        };
        let armed = shape.breaker.is_some();
        if known.is_some_and(|known| known.armed != armed) {
            health.breaker.reset();
        }
        health.breaker.set_policy(shape.breaker.unwrap_or(UNARMED));
        releases.insert(shape.key.clone(), Known { health: Arc::clone(&health), armed });
        health
    }

    fn rebuild(&self, shape: &ReleaseShape<'_>, previous: Option<&ReleaseHealth>) -> ReleaseHealth {
        let kept = |url: &str| {
            let (_, record) = previous?.upstreams().find(|(known, _)| ***known == *url)?;
            Some(Arc::clone(record))
        };
        ReleaseHealth {
            key: shape.key.clone(),
            upstreams: shape.urls.iter().map(|url| (Arc::from(*url), kept(url).unwrap_or_default())).collect(),
            breaker: previous.map_or_else(|| Arc::new(Breaker::new(UNARMED)), |known| Arc::clone(&known.breaker)),
            clock: self.clock.clone(),
        }
    }

    /// Every release that a running state still holds, in order; forgets the others.
    pub fn list(&self) -> Vec<Arc<ReleaseHealth>> {
        let mut releases = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
        releases.retain(|_, known| Arc::strong_count(&known.health) > 1);
        releases.values().map(|known| Arc::clone(&known.health)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn fail(upstream: &UpstreamHealth, times: u32, now: u64) -> Option<u64> {
        (0..times).map(|_| upstream.failed(now)).last().flatten()
    }

    fn registry() -> (HealthRegistry, Arc<AtomicU64>) {
        let (clock, hand) = Clock::manual();
        (HealthRegistry::new(clock), hand)
    }

    fn shape<'a>(urls: &[&'a str], candidate: bool) -> ReleaseShape<'a> {
        let key = ReleaseKey { scope: Scope::new("web", "production"), release: "web-1".into() };
        ReleaseShape { key, urls: urls.to_vec(), breaker: candidate.then(Policy::default) }
    }

    fn fail_release(health: &ReleaseHealth, upstream: usize, times: u32) {
        (0..times).for_each(|_| health.record_failure(upstream, FailureKind::Connect));
    }

    #[test]
    fn five_failures_in_a_row_eject_for_ten_seconds() {
        let upstream = UpstreamHealth::default();
        assert_eq!(fail(&upstream, 4, 100), None);
        assert_eq!(fail(&upstream, 1, 100), Some(10_000));
        assert_eq!(upstream.availability(10_099), Availability::Ejected);
        assert_eq!(upstream.availability(10_100), Availability::Healthy);
        assert_eq!(upstream.ejections(), 1);
    }

    #[test]
    fn a_success_between_failures_keeps_the_upstream() {
        let upstream = UpstreamHealth::default();
        fail(&upstream, 4, 0);
        upstream.succeeded();
        assert_eq!(fail(&upstream, 4, 0), None);
        assert_eq!(upstream.availability(0), Availability::Healthy);
    }

    #[test]
    fn ejections_in_a_row_grow_to_a_minute_and_a_success_resets_them() {
        let upstream = UpstreamHealth::default();
        let mut now = 0;
        for expected in [10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 60_000] {
            assert_eq!(fail(&upstream, 5, now), Some(expected));
            now += expected;
        }
        upstream.succeeded();
        assert_eq!(fail(&upstream, 5, now), Some(10_000));
    }

    #[test]
    fn failures_during_an_ejection_do_not_prolong_it() {
        let upstream = UpstreamHealth::default();
        fail(&upstream, 5, 0);
        assert_eq!(fail(&upstream, 20, 5_000), None);
        assert_eq!(upstream.availability(10_000), Availability::Healthy);
    }

    #[test]
    fn an_upstream_that_fails_rests_while_another_serves_and_comes_back() {
        let (registry, hand) = registry();
        let health = registry.release(&shape(&["http://a", "http://b"], false));
        fail_release(&health, 0, 5);
        assert!(!health.available(0));
        assert!(health.available(1));
        hand.store(10_000, Ordering::Relaxed);
        assert!(health.available(0));
    }

    #[test]
    fn the_last_upstream_is_used_even_when_it_fails() {
        let (registry, _) = registry();
        let health = registry.release(&shape(&["http://a", "http://b"], false));
        fail_release(&health, 0, 5);
        fail_release(&health, 1, 5);
        assert!(health.available(0) && health.available(1));
    }

    #[test]
    fn an_upstream_whose_check_fails_is_not_used_even_as_the_last_one() {
        let (registry, _) = registry();
        let health = registry.release(&shape(&["http://a"], false));
        health.upstreams[0].1.set_check_fails(true);
        assert!(!health.available(0));
        assert!(!health.available(7), "an index that the release does not have");
    }

    #[test]
    fn five_failures_of_the_candidate_open_its_breaker_and_one_request_tries_later() {
        let (registry, hand) = registry();
        let health = registry.release(&shape(&["http://a", "http://b"], true));
        fail_release(&health, 0, 3);
        assert!(!health.breaker_open());
        fail_release(&health, 1, 2);
        assert!(health.breaker_open());
        hand.store(30_000, Ordering::Relaxed);
        assert!(!health.breaker_open(), "the trial");
        assert!(health.breaker_open(), "everybody else");
        health.record_success(0);
        assert!(!health.breaker_open());
    }

    #[test]
    fn the_breaker_of_the_active_release_never_opens_and_arming_it_starts_afresh() {
        let (registry, _) = registry();
        let health = registry.release(&shape(&["http://a"], false));
        fail_release(&health, 0, 100);
        assert!(!health.breaker_open());
        let armed = registry.release(&shape(&["http://a"], true));
        fail_release(&armed, 0, 4);
        assert!(!armed.breaker_open());
        fail_release(&armed, 0, 1);
        assert!(armed.breaker_open());
        registry.release(&shape(&["http://a"], false));
        assert!(!armed.breaker_open(), "it became the active release");
    }

    #[test]
    fn records_survive_a_snapshot_that_keeps_the_release_and_changes_its_addresses() {
        let (registry, _) = registry();
        let before = registry.release(&shape(&["http://a", "http://b"], true));
        fail_release(&before, 0, 5);
        let same = registry.release(&shape(&["http://a", "http://b"], true));
        assert!(Arc::ptr_eq(&before, &same));
        let after = registry.release(&shape(&["http://b", "http://c", "http://a"], true));
        assert_eq!((0..3).map(|i| after.available(i)).collect::<Vec<_>>(), [true, true, false]);
        assert!(after.breaker_open());
    }

    #[test]
    fn a_release_that_nobody_holds_is_forgotten() {
        let (registry, _) = registry();
        let held = registry.release(&shape(&["http://a"], false));
        assert_eq!(registry.list().len(), 1);
        drop(held);
        assert_eq!(registry.list().len(), 0);
    }
}
