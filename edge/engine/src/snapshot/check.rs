//! From the wire to a [`Snapshot`], or every problem with its place. Nothing downstream checks again.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::graph::{Graph, Total, Totals};
use super::wire::{FORMAT, FlagRuleWire, FlagType, FlagWire, RangeWire, SnapshotWire, TrafficWire};
use super::{Snapshot, edge};
use crate::attribute::Attributes;
use crate::bucket::{BUCKETS, Bucketer, BucketingKey, Domain, SIPHASH24_V1};
use crate::condition::{Compiler, Condition, Demand, Reference, Resolve};
use crate::context::RequestContext;
use crate::decide::Evaluation;
use crate::decision::{FlagIndex, ReleaseIndex, VariantIndex};
use crate::flag::{Flag, Prerequisite, Rule, Serve, Variant};
use crate::limits::{
    MAX_BULK_COST, MAX_FLAGS, MAX_PIN_SECONDS, MAX_PREREQUISITES, MAX_REGIONS, MAX_ROLLED_BACK, MAX_RULES,
    MAX_SEGMENTS, MAX_TEXT_BYTES, MAX_VARIANT_BYTES, MAX_VARIANT_DEPTH, MAX_VARIANTS,
};
use crate::names::{ReleaseId, RuleId, SegmentKey, Slot};
use crate::operator::Ledger;
use crate::problem::{Problem, Problems};
use crate::split::Split;
use crate::time::parse_rfc3339;
use crate::token::TokenKey;
use crate::traffic::{Pin, RouteRule, Traffic};
use crate::unit::{UnitList, UnitSources};

/// Checks a snapshot and compiles it under the environment's secret.
pub fn check(wire: SnapshotWire, key: &BucketingKey) -> Result<Snapshot, Vec<Problem>> {
    let mut problems = Problems::default();
    let snapshot = Checker::new(&wire, key, &mut problems).and_then(|checker| checker.run(&mut problems));
    let snapshot = snapshot.map(|snapshot| Snapshot { edge: wire.edge, ..snapshot });
    problems.finish(snapshot)
}

struct Checker<'w> {
    wire: &'w SnapshotWire,
    key: &'w BucketingKey,
    names: Names<'w>,
    attributes: Attributes,
    sources: UnitSources,
    ledger: Ledger,
}

/// Keys to indices: sorted, because whoever writes keys could make an unkeyed hash collide.
struct Names<'w> {
    releases: Vec<&'w str>,
    segments: Vec<&'w str>,
    flags: Vec<&'w str>,
    variants: Vec<Vec<(&'w str, VariantIndex)>>,
}

fn sorted<K: std::borrow::Borrow<str>, V>(map: &BTreeMap<K, V>) -> Vec<&str> {
    map.keys().map(std::borrow::Borrow::borrow).collect()
}

impl Names<'_> {
    fn release(&self, id: &str) -> Option<ReleaseIndex> {
        u16::try_from(self.releases.binary_search(&id).ok()?).ok().map(ReleaseIndex)
    }
}

impl Resolve for Names<'_> {
    fn segment(&self, key: &str) -> Option<u32> {
        u32::try_from(self.segments.binary_search(&key).ok()?).ok()
    }

    fn flag(&self, key: &str) -> Option<FlagIndex> {
        u32::try_from(self.flags.binary_search(&key).ok()?).ok().map(FlagIndex)
    }

    fn variant(&self, flag: FlagIndex, key: &str) -> Option<VariantIndex> {
        let variants = self.variants.get(flag.0 as usize)?;
        let position = variants.binary_search_by(|(known, _)| (*known).cmp(key)).ok()?;
        variants.get(position).map(|(_, index)| *index)
    }
}

fn sorted_variants(flag: &FlagWire) -> Vec<(&str, VariantIndex)> {
    let mut variants: Vec<_> = (0..=u16::MAX)
        .zip(&flag.variants)
        .map(|(index, variant)| (variant.key.as_str(), VariantIndex(index)))
        .collect();
    variants.sort_unstable_by_key(|(key, _)| *key);
    variants
}

fn variant_index(flag: &FlagWire, key: &str) -> Option<VariantIndex> {
    let position = flag.variants.iter().position(|variant| variant.key.as_str() == key)?;
    u16::try_from(position).ok().map(VariantIndex)
}

impl<'w> Checker<'w> {
    /// `None` when the document is so large or foreign that looking further is not worth it.
    fn new(wire: &'w SnapshotWire, key: &'w BucketingKey, problems: &mut Problems) -> Option<Self> {
        if wire.format != FORMAT {
            problems.at("format", |p| p.add("format_unknown", format!("this edge reads format `{FORMAT}` only")));
        }
        problems.at("flags", |problems| problems.over("flags", wire.flags.len(), MAX_FLAGS));
        problems.at("segments", |problems| problems.over("segments", wire.segments.len(), MAX_SEGMENTS));
        if !problems.is_empty() {
            return None;
        }
        if parse_rfc3339(&wire.created_at).is_none() {
            problems.at("createdAt", |p| {
                p.add("timestamp_invalid", "write an RFC 3339 timestamp such as 2026-01-31T12:00:00Z");
            });
        }
        let names = Names {
            releases: sorted(&wire.releases),
            segments: sorted(&wire.segments),
            flags: sorted(&wire.flags),
            variants: wire.flags.values().map(sorted_variants).collect(),
        };
        let (attributes, sources) = (Attributes::default(), UnitSources::default());
        Some(Self { wire, key, names, attributes, sources, ledger: Ledger::new(key) })
    }

    fn run(mut self, problems: &mut Problems) -> Option<Snapshot> {
        let wire = self.wire;
        let unit = problems.at("unit", |problems| self.sources.environment(&wire.unit, &mut self.attributes, problems));
        let releases = edge::releases(&wire.releases, problems);
        let (segments, segment_demands) = self.segments(problems);
        let (mut flags, flag_demands) = self.flags(problems);
        let (traffic, traffic_demand) = problems.at("traffic", |problems| self.traffic(&unit, problems));
        edge::check_edge(&wire.edge, problems);
        self.ledger.check(problems);
        if problems.is_full() {
            return None;
        }
        let graph = Graph { segments: &segment_demands, flags: &flag_demands };
        if let Some(totals) = graph.totals(problems, |reference| self.name(reference)) {
            self.check_totals(&totals, &traffic_demand, problems);
        }
        let (traffic, true) = (traffic?, problems.is_empty()) else { return None };
        let active_release = releases.get(usize::from(traffic.active_release.0))?.clone();

        for flag in &mut flags {
            flag.bucketers = if flag.splits() { self.bucketers_of(flag, &unit) } else { Box::default() };
        }
        let needs = self.attributes.into_list();
        let splits = |flag: &Flag| {
            let minted = flag.unit.as_ref().is_none_or(|own| own.minted(&needs).is_some());
            minted && flag.splits() && !flag.is_constant()
        };
        let minted = if traffic.splits() || flags.iter().any(splits) { unit.minted(&needs) } else { None };
        let forwarded =
            (0..).zip(wire.flags.values()).filter(|(_, flag)| flag.forward).map(|(i, _)| FlagIndex(i)).collect();
        let snapshot = Snapshot {
            app: wire.app.clone(),
            environment: wire.environment.clone(),
            number: wire.number,
            created_at: wire.created_at.as_str().into(),
            bucketing_key_id: wire.bucketing_key_id.as_str().into(),
            needs,
            unit_sources: self.sources.into_list(),
            unit,
            minted,
            traffic,
            releases,
            active_release,
            segments,
            flags,
            forwarded,
            edge: super::EdgeWire::default(),
        };
        Some(decide_constants(snapshot))
    }

    fn name(&self, reference: Reference) -> String {
        match reference {
            Reference::Segment(index) => {
                format!("segment {}", self.names.segments.get(index as usize).copied().unwrap_or_default())
            }
            Reference::Flag(index) => {
                format!("flag {}", self.names.flags.get(index.0 as usize).copied().unwrap_or_default())
            }
        }
    }

    fn compiler(&mut self) -> Compiler<'_> {
        Compiler {
            attributes: &mut self.attributes,
            ledger: &mut self.ledger,
            resolve: &self.names,
            demand: Demand::default(),
        }
    }

    fn segments(&mut self, problems: &mut Problems) -> (Box<[(SegmentKey, Condition)]>, Vec<Demand>) {
        let (mut segments, mut demands) = (Vec::new(), Vec::new());
        problems.at("segments", |problems| {
            for (key, segment) in &self.wire.segments {
                if problems.is_full() {
                    break;
                }
                let mut compiler = self.compiler();
                let condition =
                    problems.at(key, |p| p.at("when", |problems| compiler.condition(&segment.when, problems)));
                demands.push(compiler.demand);
                segments.extend(condition.map(|condition| (key.clone(), condition)));
            }
        });
        (segments.into(), demands)
    }

    fn flags(&mut self, problems: &mut Problems) -> (Box<[Flag]>, Vec<Demand>) {
        let (mut flags, mut demands) =
            (Vec::with_capacity(self.wire.flags.len()), Vec::with_capacity(self.wire.flags.len()));
        problems.at("flags", |problems| {
            check_ids(&self.wire.flags, problems);
            for (index, (key, wire)) in (0..).zip(&self.wire.flags) {
                if problems.is_full() {
                    break;
                }
                let (flag, demand) = problems.at(key, |problems| self.flag(FlagIndex(index), key, wire, problems));
                demands.push(demand);
                flags.extend(flag);
            }
        });
        (flags.into(), demands)
    }

    fn flag(
        &mut self,
        index: FlagIndex,
        key: &crate::FlagKey,
        wire: &FlagWire,
        problems: &mut Problems,
    ) -> (Option<Flag>, Demand) {
        check_algorithm(&wire.algorithm, problems);
        for (name, text) in [("id", Some(&wire.id)), ("salt", wire.salt.as_ref())] {
            problems.at(name, |problems| text.map(|text| problems.over("bytes of text", text.len(), MAX_TEXT_BYTES)));
        }
        let variants = problems.at("variants", |problems| variants(wire, problems));
        let off = problems.at("offVariant", |problems| resolve_variant(wire, wire.off_variant.as_str(), problems));
        let unit = wire
            .unit
            .as_ref()
            .map(|own| problems.at("unit", |problems| self.sources.own(own, &mut self.attributes, problems)));
        let mut compiler = self.compiler();
        let prerequisites = problems.at("prerequisites", |problems| prerequisites(wire, &mut compiler, problems));
        let rules = problems.at("rules", |problems| flag_rules(wire, &mut compiler, problems));
        let fallthrough = problems.at("fallthrough", |problems| {
            serve(wire, wire.fallthrough.serve.as_ref(), wire.fallthrough.split.as_deref(), problems)
        });
        let mut demand = compiler.demand;
        if wire.fallthrough.split.is_some() || wire.rules.iter().any(|rule| rule.split.is_some()) {
            demand.cost = demand.cost.saturating_add(SPLIT_STEPS);
        }
        let (Some(off), Some(fallthrough)) = (off, fallthrough) else { return (None, demand) };
        let flag = Flag {
            index,
            key: key.clone(),
            kind: wire.r#type,
            variants,
            off,
            enabled: wire.enabled,
            client_visible: wire.client_visible,
            prerequisites,
            rules,
            fallthrough,
            unit,
            bucketers: Box::default(),
            decided: None,
        };
        (Some(flag), demand)
    }

    fn bucketers_of(&self, flag: &Flag, environment: &UnitList) -> Box<[Bucketer]> {
        let wire = self.wire.flags.get(&flag.key);
        let salt = wire.map_or("", |wire| wire.salt.as_ref().unwrap_or(&wire.id));
        let unit = flag.unit.as_ref().unwrap_or(environment);
        unit.hashed_names().map(|source| Bucketer::new(self.key, Domain::Flag, salt, source)).collect()
    }

    fn check_totals(&self, totals: &Totals, traffic: &Demand, problems: &mut Problems) {
        problems.at("segments", |problems| {
            for (index, key) in self.wire.segments.keys().enumerate() {
                problems.at(key, |problems| totals.segment(index).check("the segment", problems));
            }
        });
        let mut forwarded = totals.with(traffic);
        let mut bulk: u64 = 0;
        problems.at("flags", |problems| {
            for (index, (key, flag)) in (0..).zip(&self.wire.flags) {
                let total = totals.flag(FlagIndex(index));
                problems.at(key, |problems| total.check("the flag", problems));
                bulk = bulk.saturating_add(total.cost);
                if flag.forward {
                    forwarded.cost = forwarded.cost.saturating_add(total.cost);
                }
            }
            if bulk > MAX_BULK_COST {
                let detail = format!("all flags take up to {bulk} steps, at most {MAX_BULK_COST} are allowed");
                problems.add("limit_exceeded", detail);
            }
        });
        problems.at("traffic", |problems| {
            Total { cost: forwarded.cost, ..totals.with(traffic) }.check("routing with all forwarded flags", problems);
        });
    }

    fn traffic(&mut self, unit: &UnitList, problems: &mut Problems) -> (Option<Traffic>, Demand) {
        let wire = &self.wire.traffic;
        check_algorithm(&wire.algorithm, problems);
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

    fn token_key(&self, kind: &'static str) -> TokenKey {
        TokenKey::new(self.key, kind, self.wire.app.as_str(), self.wire.environment.as_str())
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
}

/// Outcomes that no request can change are computed here, by the evaluator itself.
fn decide_constants(mut snapshot: Snapshot) -> Snapshot {
    let nothing = RequestContext { values: &[], now_ms: 0 };
    let decided: Vec<_> = snapshot
        .flags
        .iter()
        .map(|flag| flag.is_constant().then(|| Evaluation::new(&snapshot, &nothing).flag(flag.index)))
        .collect();
    for (flag, outcome) in snapshot.flags.iter_mut().zip(decided) {
        flag.decided = outcome;
    }
    snapshot
}

/// A split of one flag: finding the unit, hashing the longest one, finding its range.
const SPLIT_STEPS: u64 = 12;

/// Two flags of one id would share their default salt: their cohorts would be the same people.
fn check_ids(flags: &BTreeMap<crate::FlagKey, FlagWire>, problems: &mut Problems) {
    let mut ids: Vec<(&str, &crate::FlagKey)> = flags.iter().map(|(key, flag)| (flag.id.as_str(), key)).collect();
    ids.sort_unstable();
    for (i, (id, key)) in ids.iter().enumerate() {
        let twin = i.checked_sub(1).and_then(|before| ids.get(before)).filter(|(before, _)| before == id);
        let (code, detail) = match twin {
            _ if id.is_empty() => ("flag_id_empty", "a flag has an id that never changes".to_owned()),
            Some((_, other)) => ("flag_id_duplicate", format!("the flag `{other}` has this id already")),
            None => continue,
        };
        problems.at(*key, |problems| problems.at("id", |problems| problems.add(code, detail)));
    }
}

fn check_algorithm(name: &str, problems: &mut Problems) {
    if name != SIPHASH24_V1 {
        problems.at("algorithm", |p| p.add("algorithm_unknown", format!("this edge knows `{SIPHASH24_V1}` only")));
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

fn check_rule_ids<'r>(ids: impl Iterator<Item = &'r RuleId>, problems: &mut Problems) {
    let mut seen = FxHashSet::default();
    for (i, id) in ids.enumerate() {
        if !seen.insert(id) {
            problems
                .at(i, |p| p.at("id", |p| p.add("rule_duplicate", format!("another rule has the id `{id}` already"))));
        }
    }
}

fn route_rules(wire: &TrafficWire, compiler: &mut Compiler<'_>, problems: &mut Problems) -> Box<[RouteRule]> {
    if problems.over("rules", wire.rules.len(), MAX_RULES) {
        return Box::default();
    }
    check_rule_ids(wire.rules.iter().map(|rule| &rule.id), problems);
    let rules = wire.rules.iter().enumerate().filter_map(|(i, rule)| {
        problems.at(i, |problems| {
            let filled = match rule.slot {
                Slot::Blue => wire.slots.blue.is_some(),
                Slot::Green => wire.slots.green.is_some(),
            };
            if !filled {
                problems.at("slot", |p| p.add("slot_empty", format!("the slot {} holds no release", rule.slot)));
            }
            let when = problems.at("when", |problems| compiler.condition(&rule.when, problems))?;
            Some(RouteRule { id: rule.id.clone(), when, slot: rule.slot })
        })
    });
    rules.collect()
}

fn flag_rules(wire: &FlagWire, compiler: &mut Compiler<'_>, problems: &mut Problems) -> Box<[Rule]> {
    if problems.over("rules", wire.rules.len(), MAX_RULES) {
        return Box::default();
    }
    check_rule_ids(wire.rules.iter().map(|rule| &rule.id), problems);
    let mut rule = |rule: &FlagRuleWire, problems: &mut Problems| {
        let when = problems.at("when", |problems| compiler.condition(&rule.when, problems));
        let serve = serve(wire, rule.serve.as_ref(), rule.split.as_deref(), problems);
        Some(Rule { id: rule.id.clone(), when: when?, serve: serve? })
    };
    wire.rules.iter().enumerate().filter_map(|(i, wire)| problems.at(i, |problems| rule(wire, problems))).collect()
}

fn prerequisites(wire: &FlagWire, compiler: &mut Compiler<'_>, problems: &mut Problems) -> Box<[Prerequisite]> {
    if problems.over("prerequisites", wire.prerequisites.len(), MAX_PREREQUISITES) {
        return Box::default();
    }
    if !wire.prerequisites.is_empty() {
        compiler.demand.depth = compiler.demand.depth.max(1);
    }
    let resolved = wire.prerequisites.iter().enumerate().filter_map(|(i, prerequisite)| {
        let (flag, is) = problems
            .at(i, |problems| compiler.flag_reference(prerequisite.flag.as_str(), &prerequisite.is, problems))?;
        Some(Prerequisite { flag, is })
    });
    resolved.collect()
}

fn serve(
    flag: &FlagWire,
    variant: Option<&crate::VariantKey>,
    split: Option<&[RangeWire]>,
    problems: &mut Problems,
) -> Option<Serve> {
    match (variant, split) {
        (Some(variant), None) => {
            problems.at("serve", |problems| resolve_variant(flag, variant.as_str(), problems)).map(Serve::Variant)
        }
        (None, Some(ranges)) => problems
            .at("split", |problems| {
                Split::try_new(ranges, problems, |problems, range| {
                    resolve_variant(flag, range.variant.as_str(), problems)
                })
            })
            .map(Serve::Split),
        _ => {
            problems.add("serve_form", "exactly one of `serve` and `split` says what is served");
            None
        }
    }
}

fn resolve_variant(flag: &FlagWire, key: &str, problems: &mut Problems) -> Option<VariantIndex> {
    let index = variant_index(flag, key);
    if index.is_none() {
        let known = flag.variants.iter().map(|variant| variant.key.as_str()).take(10).collect::<Vec<_>>().join(", ");
        problems.add("variant_unknown", format!("there is no variant `{key}`; there are {known}"));
    }
    index
}

fn variants(wire: &FlagWire, problems: &mut Problems) -> Box<[Variant]> {
    if wire.variants.is_empty() {
        problems.add("variants_empty", "a flag has at least one variant");
    }
    if problems.over("variants", wire.variants.len(), MAX_VARIANTS) {
        return Box::default();
    }
    let each = wire.variants.iter().enumerate().map(|(i, variant)| {
        problems.at(i, |problems| {
            if wire.variants.iter().take(i).any(|before| before.key == variant.key) {
                problems.at("key", |p| {
                    p.add("variant_duplicate", format!("another variant has the key `{}`", variant.key));
                });
            }
            let fits = match wire.r#type {
                FlagType::Boolean => variant.value.is_boolean(),
                FlagType::String => variant.value.is_string(),
                FlagType::Number => variant.value.is_number(),
                FlagType::Object => variant.value.is_object(),
            };
            let json = variant.value.to_string();
            problems.at("value", |problems| {
                if !fits {
                    problems.add(
                        "variant_type",
                        format!("the value is not of the flag's type `{}`", type_name(wire.r#type)),
                    );
                }
                problems.over("bytes of value", json.len(), MAX_VARIANT_BYTES);
                problems.over("levels of value", depth(&variant.value), MAX_VARIANT_DEPTH);
            });
            Variant { key: variant.key.clone(), json: json.into() }
        })
    });
    each.collect()
}

/// Levels of lists and objects, counted without recursion: a document made in memory has no bound.
fn depth(value: &serde_json::Value) -> usize {
    let mut deepest = 0;
    let mut open = vec![(value, 0)];
    while let Some((value, above)) = open.pop() {
        let level = above + usize::from(value.is_array() || value.is_object());
        deepest = deepest.max(level);
        open.extend(value.as_array().into_iter().flatten().map(|inner| (inner, level)));
        open.extend(value.as_object().into_iter().flatten().map(|(_, inner)| (inner, level)));
    }
    deepest
}

fn type_name(kind: FlagType) -> &'static str {
    match kind {
        FlagType::Boolean => "boolean",
        FlagType::String => "string",
        FlagType::Number => "number",
        FlagType::Object => "object",
    }
}
