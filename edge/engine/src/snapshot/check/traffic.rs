//! Checks of the traffic: slots, weights, routing rules, overrides and pins.

use rustc_hash::FxHashMap;

use super::{Checker, check_algorithm, check_rule_ids};
use crate::bucket::{BUCKETS, Bucketer, Domain, SIPHASH24_V1};
use crate::condition::{Compiler, Demand};
use crate::decision::ReleaseIndex;
use crate::limits::{MAX_PIN_SECONDS, MAX_REGIONS, MAX_ROLLED_BACK, MAX_RULES, MAX_TEXT_BYTES};
use crate::names::{ReleaseId, Slot};
use crate::problem::Problems;
use crate::snapshot::wire::TrafficWire;
use crate::token::TokenKey;
use crate::traffic::{Pin, RouteRule, Traffic};
use crate::unit::UnitList;

impl<'w> Checker<'w> {
    pub(super) fn traffic(&mut self, unit: &UnitList, problems: &mut Problems) -> (Option<Traffic>, Demand) {
        let wire = &self.wire.traffic;
        check_algorithm(&wire.algorithm, &[SIPHASH24_V1], problems);
        problems.at("salt", |problems| problems.over("bytes of text", wire.salt.len(), MAX_TEXT_BYTES));
        let active_release = self.slot_release(wire.active, problems);
        let candidate_release = self.slot_release(wire.active.other(), problems);
        let weight = problems.at("candidateWeight", |problems| {
            check_weight(wire.candidate_weight, candidate_release.is_some(), problems)
        });
        let regions = self.regions(candidate_release.is_some(), problems);
        let region = (!regions.is_empty()).then(|| self.attributes.intern("region", problems));
        let overrides = problems.at("override", |problems| self.overrides(wire, problems));
        let pin = wire.pin.as_ref().map(|pin| {
            if !(1..=MAX_PIN_SECONDS).contains(&pin.max_age_seconds) {
                problems.at("pin", |p| {
                    p.at("maxAgeSeconds", |p| p.add("out_of_range", format!("must be 1 to {MAX_PIN_SECONDS}")));
                });
            }
            let attribute = self.attributes.intern("cookie.bsc_pin", problems);
            Pin { attribute, key: self.token_key("p1"), max_age_seconds: i64::from(pin.max_age_seconds) }
        });
        let rolled_back = problems.at("rolledBack", |problems| {
            problems.over("releases", wire.rolled_back.len(), MAX_ROLLED_BACK);
            let known = wire.rolled_back.iter().take(MAX_ROLLED_BACK).enumerate();
            known.filter_map(|(i, id)| problems.at(i, |p| self.release(id, p))).collect()
        });
        let override_key = self.token_key("o1");
        let key = self.key;
        let bucketers =
            unit.hashed_names().map(|source| Bucketer::new(key, Domain::Traffic, &wire.salt, source)).collect();
        let mut compiler = self.compiler();
        let rules = problems.at("rules", |problems| route_rules(wire, &mut compiler, problems));
        let demand = compiler.demand;
        if active_release.is_none() && self.slot(wire.active).is_none() {
            problems.at("slots", |p| p.at(wire.active, |p| p.add("slot_empty", "the active slot must hold a release")));
        }
        let traffic = active_release.map(|active_release| Traffic {
            active: wire.active,
            active_release,
            candidate_release,
            weight,
            regions,
            region,
            rules,
            overrides,
            override_key,
            pin,
            rolled_back,
            bucketers,
        });
        (traffic, demand)
    }

    fn slot(&self, slot: Slot) -> Option<&'w ReleaseId> {
        let slots = &self.wire.traffic.slots;
        match slot {
            Slot::Blue => slots.blue.as_ref(),
            Slot::Green => slots.green.as_ref(),
        }
    }

    fn slot_release(&self, slot: Slot, problems: &mut Problems) -> Option<ReleaseIndex> {
        let id = self.slot(slot)?;
        problems.at("slots", |problems| problems.at(slot, |problems| self.release(id, problems)))
    }

    fn release(&self, id: &ReleaseId, problems: &mut Problems) -> Option<ReleaseIndex> {
        let index = self.names.release(id.as_str());
        if index.is_none() {
            problems.add("release_unknown", format!("there is no release `{id}`"));
        }
        index
    }

    fn regions(&self, has_candidate: bool, problems: &mut Problems) -> FxHashMap<Box<str>, u32> {
        problems.at("regions", |problems| {
            problems.over("regions", self.wire.traffic.regions.len(), MAX_REGIONS);
            let regions = self.wire.traffic.regions.iter();
            regions
                .map(|(name, region)| {
                    let weight = problems.at(name, |p| {
                        p.at("candidateWeight", |p| check_weight(region.candidate_weight, has_candidate, p))
                    });
                    (name.as_str().into(), weight)
                })
                .collect()
        })
    }

    fn overrides(&mut self, wire: &TrafficWire, problems: &mut Problems) -> Box<[u16]> {
        let Some(names) = &wire.r#override else { return Box::default() };
        let sources = [("header", &names.header), ("cookie", &names.cookie), ("query", &names.query)];
        let mut found = Vec::new();
        for (kind, name) in sources {
            let Some(name) = name else { continue };
            problems.at(kind, |problems| {
                if name.is_empty() {
                    problems.add("override_invalid", format!("name the {kind}, or leave it out"));
                }
                found.push(self.attributes.intern(&format!("{kind}.{name}"), problems));
            });
        }
        found.into()
    }

    fn token_key(&self, kind: &'static str) -> TokenKey {
        TokenKey::new(self.key, kind, self.wire.app.as_str(), self.wire.environment.as_str())
    }
}

fn check_weight(weight: u32, has_candidate: bool, problems: &mut Problems) -> u32 {
    if weight > BUCKETS {
        problems.add("out_of_range", format!("a weight is 0 to {BUCKETS} (100 %)"));
    }
    if weight > 0 && !has_candidate {
        problems.add("slot_empty", "the slot that is not active holds no release to send traffic to");
    }
    weight
}

fn route_rules<'w>(
    wire: &'w TrafficWire,
    compiler: &mut Compiler<'_, 'w>,
    problems: &mut Problems,
) -> Box<[RouteRule]> {
    if problems.over("rules", wire.rules.len(), MAX_RULES) {
        return Box::default();
    }
    check_rule_ids(wire.rules.iter().map(|rule| &rule.id), problems);
    let rules = wire.rules.iter().enumerate().filter_map(|(i, rule)| {
        problems.at(i, |problems| {
            let when = problems.at("when", |problems| compiler.condition(&rule.when, problems))?;
            Some(RouteRule { id: rule.id.clone(), when, slot: rule.slot })
        })
    });
    rules.collect()
}
