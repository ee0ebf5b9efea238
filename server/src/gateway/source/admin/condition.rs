//! How the releases of an environment are, in the words of reports: told while there are two of them, and for a while after
//! one has left, because then it is asked whether the other one serves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use admin_api::edge::ReleaseHealth as Told;

use crate::gateway::breaker::Phase;
use crate::gateway::health::{Availability, HealthRegistry, ReleaseHealth};
use crate::gateway::scope::Scope;

/// How long after a release has left it is told how the other one is.
const AFTERWARDS: Duration = Duration::from_mins(2);
/// How long of that somebody waits for the word.
const AWAITED: Duration = Duration::from_secs(40);

/// What is told, and until when.
#[derive(Debug)]
pub(super) struct Conditions {
    health: Arc<HealthRegistry>,
    /// When an environment had two releases last.
    had_two: BTreeMap<Scope, Instant>,
    now: BTreeMap<Scope, Vec<Told>>,
    is_awaited: bool,
}

impl Conditions {
    pub(super) fn new(health: Arc<HealthRegistry>) -> Self {
        Self { health, had_two: BTreeMap::new(), now: BTreeMap::new(), is_awaited: false }
    }

    /// Looks.
    pub(super) fn look(&mut self, at: Instant) {
        let mut found: BTreeMap<Scope, Vec<Told>> = BTreeMap::new();
        let now_ms = self.health.clock().now_ms();
        for release in self.health.list() {
            found.entry(release.key().scope.clone()).or_default().push(told(&release, now_ms));
        }
        for (scope, _) in found.iter().filter(|(_, releases)| releases.len() > 1) {
            self.had_two.insert(scope.clone(), at);
        }
        self.had_two.retain(|_, last| at.saturating_duration_since(*last) < AFTERWARDS);
        found.retain(|scope, _| self.had_two.contains_key(scope));
        let left = |(scope, last): (&Scope, &Instant)| {
            let is_alone = found.get(scope).is_some_and(|releases| releases.len() == 1);
            is_alone && at.saturating_duration_since(*last) < AWAITED
        };
        self.is_awaited = self.had_two.iter().any(left);
        self.now = found;
    }

    /// Whether somebody waits for the word.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// How the releases of an environment were found.
    pub(super) fn of(&self, scope: &Scope) -> Vec<Told> {
        self.now.get(scope).cloned().unwrap_or_default()
    }
}

fn told(release: &ReleaseHealth, now_ms: u64) -> Told {
    let mut told = Told { release: release.key().release.to_string(), ..Told::default() };
    for (_, upstream) in release.upstreams() {
        told.upstreams += 1;
        match upstream.availability(now_ms) {
            Availability::Healthy => told.available += 1,
            Availability::Unhealthy => told.failing += 1,
            Availability::Ejected => {}
        }
    }
    told.breaker_open = release.breaker().phase(now_ms) != Phase::Closed;
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::breaker::Policy;
    use crate::gateway::health::{FailureKind, ReleaseKey, ReleaseShape};
    use crate::gateway::monotonic::Clock;

    fn release(registry: &HealthRegistry, name: &str, is_candidate: bool) -> Arc<ReleaseHealth> {
        let key = ReleaseKey { scope: Scope::new("web", "production"), release: name.into() };
        let breaker = is_candidate.then(Policy::default);
        registry.release(&ReleaseShape { key, urls: vec!["http://127.0.0.1:1"], breaker })
    }

    #[test]
    fn a_release_is_told_on_while_there_are_two_and_for_a_while_after() {
        let registry = Arc::new(HealthRegistry::new(Clock::manual().0));
        let (scope, start) = (Scope::new("web", "production"), Instant::now());
        let mut conditions = Conditions::new(Arc::clone(&registry));
        let stable = release(&registry, "web-1", false);
        conditions.look(start);
        assert_eq!((conditions.of(&scope), conditions.is_awaited()), (Vec::new(), false), "one by itself");
        let candidate = release(&registry, "web-2", true);
        (0..5).for_each(|_| candidate.record_failure(0, FailureKind::Connect));
        conditions.look(start);
        let good = Told { release: "web-1".into(), upstreams: 1, available: 1, ..Told::default() };
        let bad = Told { release: "web-2".into(), upstreams: 1, breaker_open: true, ..Told::default() };
        assert_eq!((conditions.of(&scope), conditions.is_awaited()), (vec![good.clone(), bad], false));
        drop(candidate);
        conditions.look(start + Duration::from_secs(1));
        assert_eq!((conditions.of(&scope), conditions.is_awaited()), (vec![good.clone()], true));
        conditions.look(start + Duration::from_mins(1));
        assert_eq!((conditions.of(&scope), conditions.is_awaited()), (vec![good], false));
        conditions.look(start + Duration::from_mins(3));
        assert_eq!(conditions.of(&scope), Vec::new());
        drop(stable);
    }
}
