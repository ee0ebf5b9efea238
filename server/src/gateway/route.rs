//! From a request to the release that serves it: ask the engine, then look at what is alive.
//!
//! The engine's decision stands unless the release it names cannot answer: a candidate whose
//! breaker is open, or that has no usable upstream, is represented by the active release.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use edge_engine::{ReleaseIndex, RequestContext, Route, RouteReason, Slot, Value};

use super::context::{Owned, Subject};
use super::metrics::{Event, Shard};
use super::problem::{NO_SNAPSHOT, Problem, UNKNOWN_HOST};
use super::state::{EnvironmentState, ReleaseRoute, Routes, UpstreamRoute, WorkerState};
use crate::host::{Decided, FallbackCause};

/// Contexts up to this size are packed on the stack.
const SMALL_CONTEXT: usize = 16;

/// The engine's decision for one request, detached from the engine.
pub(super) struct Choice {
    pub(super) routes: Arc<Routes>,
    pub(super) route: Route,
    /// Value of `x-bascule-flags`.
    pub(super) flags: Vec<u8>,
    /// A unit that was minted and used.
    pub(super) unit: Option<[u8; 32]>,
    /// Value and age of a fresh pin.
    pub(super) pin: Option<(String, i64)>,
}

/// Why another release serves than the engine chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Diverted {
    /// The candidate's breaker is open.
    Breaker,
    /// No upstream of the chosen release can be used.
    Unhealthy,
    /// The candidate failed, and the active release answered instead.
    Shield,
}

impl Diverted {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::Unhealthy => "unhealthy",
            Self::Shield => "shield",
        }
    }
}

/// The release that serves, after a look at what is alive.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) release: Arc<ReleaseRoute>,
    pub(super) slot: Slot,
    pub(super) is_active: bool,
    pub(super) diverted: Option<Diverted>,
}

impl WorkerState {
    /// Asks the engine.
    pub(super) fn decide(
        &mut self,
        subject: Subject<'_>,
        now_ms: i64,
        mint: impl FnOnce() -> [u8; 32],
        shard: &Shard,
    ) -> Result<Choice, Problem> {
        if self.environments.is_empty() {
            return Err(NO_SNAPSHOT);
        }
        let Some(environment) = self.hosts.find(subject.host).and_then(|index| self.environments.get_mut(index)) else {
            shard.count(Event::UnknownHost);
            return Err(UNKNOWN_HOST);
        };
        let owned = environment.plan.own(subject);
        let size = environment.plan.len();
        if size <= SMALL_CONTEXT {
            let mut values = [Value::Missing; SMALL_CONTEXT];
            Ok(environment.decide(subject, &owned, &mut values[..size], now_ms, mint, shard))
        } else {
            let mut values = vec![Value::Missing; size];
            Ok(environment.decide(subject, &owned, &mut values, now_ms, mint, shard))
        }
    }
}

impl EnvironmentState {
    fn decide<'a>(
        &mut self,
        subject: Subject<'a>,
        owned: &'a Owned,
        values: &mut [Value<'a>],
        now_ms: i64,
        mint: impl FnOnce() -> [u8; 32],
        shard: &Shard,
    ) -> Choice {
        let Self { plan, decider, decision, routes, flags: counters, .. } = self;
        plan.pack(subject, owned, values);
        let minted = plan.wants_unit(values).map(|index| (index, mint()));
        let decided = Self::ask(plan, decider, decision, values, minted.as_ref(), now_ms);
        match decided {
            Decided::Engine => {}
            Decided::ShadowDiffered => shard.count(Event::ShadowDiffered),
            Decided::Fallback(FallbackCause::Deadline) => shard.count(Event::FallbackDeadline),
            Decided::Fallback(_) => shard.count(Event::FallbackTrap),
        }
        counters.record(&decision.flags);
        let route = decision.route;
        let used = route.unit.is_some() && route.unit == plan.minted_source();
        if routes.observer.is_sampled(&route) {
            routes.observer.exposed(&route, values, minted.as_ref().map(|(_, unit)| &unit[..]));
        }
        Choice {
            flags: flags(routes, decision),
            unit: minted.filter(|_| used).map(|(_, unit)| unit),
            pin: if route.renew_pin { decider.snapshot().pin_cookie(route.release, now_ms) } else { None },
            routes: Arc::clone(routes),
            route,
        }
    }

    fn ask(
        plan: &super::context::ContextPlan,
        decider: &mut crate::host::Decider,
        decision: &mut edge_engine::Decision,
        values: &[Value<'_>],
        minted: Option<&(usize, [u8; 32])>,
        now_ms: i64,
    ) -> Decided {
        // The region and the minted unit live shorter or longer than the request's own values.
        let mut all = [Value::Missing; SMALL_CONTEXT];
        let mut many = Vec::new();
        let all = if values.len() <= SMALL_CONTEXT {
            &mut all[..values.len()]
        } else {
            many.resize(values.len(), Value::Missing);
            &mut many[..]
        };
        all.copy_from_slice(values);
        plan.pack_region(all);
        if let Some((index, unit)) = minted
            && let Some(value) = all.get_mut(*index)
        {
            *value = Value::Text(unit);
        }
        decider.decide(&RequestContext { values: all, now_ms }, decision)
    }
}

fn flags(routes: &Routes, decision: &edge_engine::Decision) -> Vec<u8> {
    let mut text = Vec::with_capacity(if decision.flags.is_empty() { 0 } else { decision.flags.len() * 24 });
    for (outcome, variants) in decision.flags.iter().zip(&routes.forward) {
        if let Some(entry) = variants.get(usize::from(outcome.variant.0)) {
            if !text.is_empty() {
                text.push(b',');
            }
            text.extend_from_slice(entry);
        }
    }
    text
}

impl Choice {
    /// Who serves, now.
    pub(super) fn serving(&self, shard: &Shard) -> Option<Serving> {
        let chosen = self.routes.release(self.route.release)?;
        if self.route.release == self.routes.active_release {
            return self.routes.active(None);
        }
        let diverted = if chosen.health.breaker_open() {
            shard.count(Event::BreakerDiverted);
            Diverted::Breaker
        } else if chosen.is_dead() {
            shard.count(Event::UnhealthyDiverted);
            Diverted::Unhealthy
        } else {
            let release = Arc::clone(chosen);
            return Some(Serving { release, slot: self.route.slot, is_active: false, diverted: None });
        };
        self.routes.active(Some(diverted))
    }

    /// What `x-bascule-decision` says.
    pub(super) fn explain(&self, serving: &Serving) -> String {
        let Route { slot, reason, bucket, .. } = self.route;
        let mut text = format!("snapshot={}; slot={slot}; reason={}", self.routes.number, reason.as_str());
        if let Some(bucket) = bucket {
            text.push_str("; bucket=");
            text.push_str(&bucket.to_string());
        }
        if let Some(diverted) = serving.diverted {
            text.push_str("; served=");
            text.push_str(serving.slot.as_str());
            text.push_str("; because=");
            text.push_str(diverted.as_str());
        }
        text
    }

    /// The reason under which an exchange with this release is kept open over later snapshots.
    pub(super) fn reason_at(&self, serving: &Serving) -> RouteReason {
        if serving.diverted.is_some() { RouteReason::Active } else { self.route.reason }
    }
}

impl Routes {
    /// The active release.
    pub(super) fn active(&self, diverted: Option<Diverted>) -> Option<Serving> {
        let release = Arc::clone(self.release(self.active_release)?);
        Some(Serving { release, slot: self.active, is_active: true, diverted })
    }

    pub(super) fn index_of(&self, release: &str) -> Option<ReleaseIndex> {
        let at = self.releases.iter().position(|known| *known.id == *release)?;
        u16::try_from(at).ok().map(ReleaseIndex)
    }
}

impl ReleaseRoute {
    /// Whether no upstream can be used.
    pub(super) fn is_dead(&self) -> bool {
        !self.upstreams.iter().any(|upstream| self.health.available(upstream.index))
    }

    /// The upstream for the next request: of this edge's region first, healthy, in turns. `not` is
    /// one that has just failed.
    pub(super) fn pick(&self, not: Option<usize>) -> Option<&UpstreamRoute> {
        if let ([only], None) = (&self.upstreams[..], not) {
            return self.health.available(only.index).then_some(only);
        }
        let turn = self.next.load(Ordering::Relaxed);
        self.next.store(turn.wrapping_add(1), Ordering::Relaxed);
        let (local, remote) = self.upstreams.split_at(self.local);
        [local, remote].into_iter().find_map(|group| {
            let (after, before) = (group.iter().cycle().skip(turn % group.len().max(1)), group.len());
            after.take(before).find(|upstream| Some(upstream.index) != not && self.health.available(upstream.index))
        })
    }
}
