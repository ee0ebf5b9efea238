//! Which release serves a request.
//!
//! In this order: a signed override (`OVERRIDE`), the routing rules (`RULE`), the client's pin when it
//! names another release than the split would (`PIN`), the unit's bucket against the candidate's
//! weight (`SPLIT`). Without a candidate that takes traffic the active slot serves (`ACTIVE`), and
//! without a unit to split by as well (`FALLBACK`).
//!
//! The candidate owns the buckets below its weight, so raising the weight never moves a unit out.

use rustc_hash::FxHashMap;
use serde_json::json;

use crate::bucket::{BUCKETS, Bucketer};
use crate::condition::Condition;
use crate::context::{RequestContext, Value};
use crate::decide::Evaluation;
use crate::decision::{ReleaseIndex, Route, RouteReason, RuleIndex};
use crate::names::{ReleaseId, RuleId, Slot};
use crate::token::TokenKey;
use crate::trace::Trace;

/// The traffic of an environment.
#[derive(Debug)]
pub struct Traffic {
    pub(crate) active: Slot,
    pub(crate) active_release: ReleaseIndex,
    pub(crate) candidate_release: Option<ReleaseIndex>,
    pub(crate) weight: u32,
    pub(crate) regions: FxHashMap<Box<str>, u32>,
    pub(crate) region: Option<u16>,
    pub(crate) rules: Box<[RouteRule]>,
    /// Attributes that may hold an override.
    pub(crate) overrides: Box<[u16]>,
    pub(crate) override_key: TokenKey,
    pub(crate) pin: Option<Pin>,
    /// Releases whose pins are void.
    pub(crate) rolled_back: Box<[ReleaseIndex]>,
    /// One per source of the environment's unit.
    pub(crate) bucketers: Box<[Bucketer]>,
}

#[derive(Debug)]
pub(crate) struct RouteRule {
    pub(crate) id: RuleId,
    pub(crate) when: Condition,
    pub(crate) slot: Slot,
}

#[derive(Debug)]
pub(crate) struct Pin {
    pub(crate) attribute: u16,
    pub(crate) key: TokenKey,
    pub(crate) max_age_seconds: i64,
}

/// A pin that verified: `expires` in seconds since 1970.
struct Pinned {
    release: ReleaseIndex,
    while_active: bool,
    expires: i64,
}

/// Subjects of pins start with the role that the release had when the pin was given.
const PINNED_ACTIVE: &str = "a.";
const PINNED_CANDIDATE: &str = "c.";
/// Two edges' clocks may differ by this much, seconds.
const CLOCK_SKEW: i64 = 60;

impl Traffic {
    /// The slot that serves by default.
    pub fn active(&self) -> Slot {
        self.active
    }

    /// The release in a slot.
    pub fn release(&self, slot: Slot) -> Option<ReleaseIndex> {
        if slot == self.active { Some(self.active_release) } else { self.candidate_release }
    }

    /// The candidate's share outside of regions with an own weight; 1 000 000 = all.
    pub fn candidate_weight(&self) -> u32 {
        self.weight
    }

    /// The candidate's share at an edge in this region.
    pub fn weight_in(&self, region: Option<&str>) -> u32 {
        region.and_then(|region| self.regions.get(region).copied()).unwrap_or(self.weight)
    }

    /// The id of the routing rule with this index.
    pub fn rule(&self, index: RuleIndex) -> Option<&RuleId> {
        self.rules.get(usize::from(index.0)).map(|rule| &rule.id)
    }

    /// Whether this release was rolled back.
    pub fn is_rolled_back(&self, release: ReleaseIndex) -> bool {
        self.rolled_back.contains(&release)
    }

    /// Whether a request that went to this release for this reason could still go there. An edge
    /// ends what is open to a release when this turns false: weight 0 is a rollback, except that a pin
    /// keeps those whom the release served while it was active.
    pub fn still_routes(&self, release: ReleaseIndex, reason: RouteReason, while_active: bool) -> bool {
        if release == self.active_release {
            return true;
        }
        if self.candidate_release != Some(release) || self.is_rolled_back(release) {
            return false;
        }
        let by_reason = match reason {
            RouteReason::Override => !self.overrides.is_empty(),
            RouteReason::Rule => self.rules.iter().any(|rule| rule.slot != self.active),
            _ => false,
        };
        by_reason || self.splits() || (while_active && self.pin.is_some())
    }

    /// Whether some region sends traffic to the candidate by split.
    pub fn splits(&self) -> bool {
        self.candidate_release.is_some() && (self.weight > 0 || self.regions.values().any(|weight| *weight > 0))
    }

    pub(crate) fn to_active(&self, reason: RouteReason) -> Route {
        self.to(self.active, self.active_release, reason)
    }

    #[expect(clippy::unused_self, reason = "reads as `traffic.to(slot)` beside `to_active`")]
    fn to(&self, slot: Slot, release: ReleaseIndex, reason: RouteReason) -> Route {
        Route { slot, release, reason, rule: None, bucket: None, unit: None, renew_pin: false }
    }

    /// Decides in the order that the module's documentation states.
    pub(crate) fn route<T: Trace>(&self, evaluation: &mut Evaluation<'_, T>) -> Route {
        let unit = evaluation.unit.map(|unit| unit.source);
        let forced = self.overridden(evaluation).or_else(|| self.ruled(evaluation));
        let route = forced.unwrap_or_else(|| self.unforced(evaluation));
        Route { unit, ..route }
    }

    fn overridden<T: Trace>(&self, evaluation: &mut Evaluation<'_, T>) -> Option<Route> {
        let context = evaluation.context;
        self.overrides.iter().find_map(|attribute| {
            let Value::Text(token) = context.value(usize::from(*attribute)) else { return None };
            let slot = self.override_slot(token, context.now_ms);
            let snapshot = evaluation.snapshot;
            evaluation.trace.leaf(|| {
                let name = snapshot.needs().get(usize::from(*attribute)).map_or("", |attribute| attribute.name());
                json!({"step": "override", "attr": name, "slot": slot})
            });
            let slot = slot?;
            Some(self.to(slot, self.release(slot)?, RouteReason::Override))
        })
    }

    /// The slot that a valid override names.
    fn override_slot(&self, token: &[u8], now_ms: i64) -> Option<Slot> {
        let (subject, expires) = self.override_key.verify(token)?;
        let slot = [Slot::Blue, Slot::Green].into_iter().find(|slot| slot.as_str() == subject)?;
        (now_ms.div_euclid(1000) < expires && self.release(slot).is_some()).then_some(slot)
    }

    fn ruled<T: Trace>(&self, evaluation: &mut Evaluation<'_, T>) -> Option<Route> {
        (0..).zip(&self.rules).find_map(|(index, rule)| {
            evaluation.trace.open();
            let matches = rule.when.holds(evaluation);
            evaluation.trace.close(
                |inner| json!({"step": "rule", "id": rule.id, "when": inner.into_iter().next(), "result": matches}),
            );
            let release = self.release(rule.slot).filter(|_| matches)?;
            Some(Route { rule: Some(RuleIndex(index)), ..self.to(rule.slot, release, RouteReason::Rule) })
        })
    }

    /// The split, unless a pin holds the client at another release.
    fn unforced<T: Trace>(&self, evaluation: &mut Evaluation<'_, T>) -> Route {
        let weight = self.weight_at(evaluation.context);
        let split = self.split(weight, evaluation);
        let Some(pin) = &self.pin else { return split };
        let pinned = self.pinned(pin, weight, evaluation);
        match pinned {
            Some(pinned) if pinned.release != split.release => {
                let slot = if pinned.release == self.active_release { self.active } else { self.active.other() };
                Route { bucket: split.bucket, ..self.to(slot, pinned.release, RouteReason::Pin) }
            }
            Some(pinned) => {
                let fresh = pinned.while_active == (split.slot == self.active)
                    && pinned.expires - evaluation.context.now_ms.div_euclid(1000) > pin.max_age_seconds * 9 / 10;
                Route { renew_pin: !fresh, ..split }
            }
            None => Route { renew_pin: true, ..split },
        }
    }

    fn weight_at(&self, context: &RequestContext<'_>) -> u32 {
        let region = self.region.map_or(Value::Missing, |attribute| context.value(usize::from(attribute)));
        match region {
            Value::Text(name) => {
                std::str::from_utf8(name).ok().and_then(|name| self.regions.get(name)).copied().unwrap_or(self.weight)
            }
            _ => self.weight,
        }
    }

    fn split<T: Trace>(&self, weight: u32, evaluation: &mut Evaluation<'_, T>) -> Route {
        let Some(candidate) = self.candidate_release.filter(|_| weight > 0) else {
            evaluation.trace.leaf(|| json!({"step": "active", "slot": self.active}));
            return self.to_active(RouteReason::Active);
        };
        let bucket = evaluation.unit.filter(|_| weight < BUCKETS).and_then(|unit| unit.bucket(&self.bucketers));
        let route = match bucket {
            Some(bucket) if bucket >= weight => self.to_active(RouteReason::Split),
            None if weight < BUCKETS => self.to_active(RouteReason::Fallback),
            _ => self.to(self.active.other(), candidate, RouteReason::Split),
        };
        evaluation.trace.leaf(|| json!({"step": "split", "bucket": bucket, "weight": weight, "slot": route.slot}));
        Route { bucket, ..route }
    }

    /// The client's pin, when it verifies, has not expired and its release may still serve it.
    ///
    /// A release that was active when the pin was given is kept through the cut-over. One that was only
    /// the candidate is kept while it still takes traffic: weight 0 is a rollback.
    fn pinned<T: Trace>(&self, pin: &Pin, weight: u32, evaluation: &mut Evaluation<'_, T>) -> Option<Pinned> {
        let Value::Text(token) = evaluation.context.value(usize::from(pin.attribute)) else { return None };
        let now = evaluation.context.now_ms.div_euclid(1000);
        let snapshot = evaluation.snapshot;
        let pinned = pin.key.verify(token).and_then(|(subject, expires)| {
            let while_active = subject.starts_with(PINNED_ACTIVE);
            let id = subject.strip_prefix(PINNED_ACTIVE).or_else(|| subject.strip_prefix(PINNED_CANDIDATE))?;
            let release = self.in_slots().find(|index| snapshot.release(*index).id.as_str() == id)?;
            let in_time = now < expires && expires <= now + pin.max_age_seconds + CLOCK_SKEW;
            let serves = release == self.active_release || while_active || weight > 0;
            let good = in_time && serves && !self.is_rolled_back(release);
            good.then_some(Pinned { release, while_active, expires })
        });
        let release = pinned.as_ref().map(|pinned| &snapshot.release(pinned.release).id);
        evaluation.trace.leaf(|| json!({"step": "pin", "release": release}));
        pinned
    }

    fn in_slots(&self) -> impl Iterator<Item = ReleaseIndex> {
        [Some(self.active_release), self.candidate_release].into_iter().flatten()
    }

    /// A pin to a release, `None` when pins are off.
    pub(crate) fn sign_pin(&self, release: ReleaseIndex, id: &ReleaseId, now_ms: i64) -> Option<(String, i64)> {
        let pin = self.pin.as_ref()?;
        let role = if release == self.active_release { PINNED_ACTIVE } else { PINNED_CANDIDATE };
        let expires = now_ms.div_euclid(1000) + pin.max_age_seconds;
        Some((pin.key.sign(&format!("{role}{id}"), expires), pin.max_age_seconds))
    }
}
