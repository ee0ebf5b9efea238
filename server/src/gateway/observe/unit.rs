//! Which unit a request is of, in the words of reports.

use std::sync::Arc;

use admin_api::edge::{EXPOSED_OF, Failure};
use edge_engine::{BUCKETS, Bucketer, Domain, Route, RouteReason, Slot, Value};

use super::{Observations, Seen};
use crate::gateway::context::{ContextPlan, Subject};
use crate::host::LoadedSnapshot;

/// Below this share of the candidate the buckets are too few for every sixteenth to stand for all.
const LEAST_WEIGHT: u32 = 10_000;

/// Tells the board of an environment what its units met.
#[derive(Debug)]
pub(in crate::gateway) struct Observer {
    board: Arc<Observations>,
    plan: Arc<ContextPlan>,
    /// One for each unit source: its attribute, and how its values are named.
    sources: Box<[(usize, Bucketer)]>,
    active: Slot,
    weight: u32,
    /// Whether the other slot has a release as well: a candidate, or what served before and is kept ready.
    has_other: bool,
}

impl Observer {
    /// For a snapshot at an edge of this region.
    pub(in crate::gateway) fn new(
        loaded: &LoadedSnapshot,
        plan: &Arc<ContextPlan>,
        region: Option<&str>,
        board: Arc<Observations>,
    ) -> Self {
        let (snapshot, salt) = (loaded.snapshot(), loaded.traffic_salt());
        let traffic = snapshot.traffic();
        let active = traffic.release(traffic.active()).map_or("", |index| snapshot.release(index).id.as_str());
        board.follow(active, salt, traffic.splits());
        let name = |source: &str| Bucketer::new(loaded.key(), Domain::Report, salt, source);
        let sources = snapshot.unit_sources().iter();
        Self {
            board,
            plan: Arc::clone(plan),
            sources: sources.map(|source| (usize::from(source.attribute), name(&source.name))).collect(),
            active: traffic.active(),
            weight: traffic.weight_in(region),
            has_other: traffic.release(traffic.active().other()).is_some(),
        }
    }

    /// Whether this request's unit stands for the others of its kind. The buckets of each release are shared out alike.
    pub(in crate::gateway) fn is_sampled(&self, route: &Route) -> bool {
        let is_split = route.reason == RouteReason::Split;
        let is_compared = is_split && (LEAST_WEIGHT..BUCKETS).contains(&self.weight) && self.watches(route);
        is_compared && route.bucket.is_some_and(|bucket| bucket.is_multiple_of(EXPOSED_OF))
    }

    /// A request was decided.
    pub(in crate::gateway) fn exposed(&self, route: &Route, values: &[Value<'_>], minted: Option<&[u8]>) {
        if let Some(seen) = self.seen(route, values, minted) {
            self.board.exposed(seen);
        }
    }

    /// A request was answered after this long; `failure` says with what, when that was no success.
    pub(in crate::gateway) fn answered(
        &self,
        (route, minted): (&Route, Option<&[u8]>),
        subject: Subject<'_>,
        (release, failure): (&str, Option<Failure>),
        elapsed: std::time::Duration,
    ) {
        let is_slow = self.board.is_slow(elapsed);
        if (failure.is_none() && !is_slow) || !self.watches(route) {
            return;
        }
        let Some(seen) = self.unit(route, minted, subject) else { return };
        if let Some(failure) = failure {
            self.board.failed(seen, release, failure);
        }
        if is_slow {
            self.board.slow(seen, release, elapsed);
        }
    }

    /// A release failed a request, and that is not what the client gets to see.
    pub(in crate::gateway) fn failed(
        &self,
        (route, minted): (&Route, Option<&[u8]>),
        subject: Subject<'_>,
        (release, failure): (&str, Failure),
    ) {
        if self.watches(route)
            && let Some(seen) = self.unit(route, minted, subject)
        {
            self.board.failed(seen, release, failure);
        }
    }

    /// Whether the request says something about a release that is being judged.
    fn watches(&self, route: &Route) -> bool {
        let is_judged = match route.reason {
            RouteReason::Split => true,
            // Everybody is at the new release, and the one of before is kept ready.
            RouteReason::Active => self.has_other,
            _ => false,
        };
        is_judged && self.board.is_wanted()
    }

    /// Reads the request once more: few need it, and those that do not pay nothing.
    fn unit(&self, route: &Route, minted: Option<&[u8]>, subject: Subject<'_>) -> Option<Seen> {
        let owned = self.plan.own(subject);
        let mut values = vec![Value::Missing; self.plan.len()];
        self.plan.pack(subject, &owned, &mut values);
        self.plan.pack_region(&mut values);
        self.seen(route, &values, minted)
    }

    fn seen(&self, route: &Route, values: &[Value<'_>], minted: Option<&[u8]>) -> Option<Seen> {
        let (attribute, bucketer) = self.sources.get(usize::from(route.unit?.0))?;
        let unit = match (minted.filter(|_| route.unit == self.plan.minted_source()), values.get(*attribute)) {
            (Some(minted), _) => bucketer.hash(minted),
            (None, Some(Value::Text(text))) => bucketer.hash(text),
            _ => return None,
        };
        Some(Seen { unit, is_candidate: route.slot != self.active, weight: self.weight })
    }
}
