//! From the wire to a [`Snapshot`], or every problem with its place. Nothing downstream checks again.

mod flag;
mod traffic;

use std::collections::{BTreeMap, HashMap};

use rustc_hash::FxHashSet;

use super::graph::{Graph, Total, Totals};
use super::wire::{FORMAT, FlagWire, SnapshotWire};
use super::{Snapshot, edge};
use crate::attribute::Attributes;
use crate::bucket::{Bucketer, BucketingKey, Domain, SIPHASH24_V1};
use crate::comparison::{self, Comparison, Comparisons};
use crate::condition::{Compiler, Condition, Demand, Reference, Resolve, Uses};
use crate::context::RequestContext;
use crate::decide::Evaluation;
use crate::decision::{FlagIndex, ReleaseIndex, VariantIndex};
use crate::flag::Flag;
use crate::flagd::{FLAGD_V2, FLAGD_V3, Flagd};
use crate::limits::{MAX_BULK_COST, MAX_FLAGS, MAX_SEGMENTS};
use crate::names::{RuleId, SegmentKey};
use crate::operator::{Keyed, Ledger};
use crate::problem::{Problem, Problems};
use crate::time::parse_rfc3339;
use crate::traffic::Traffic;
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
    comparisons: Comparisons<'w>,
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
        let comparisons = Comparisons::new(Keyed::new(key));
        Some(Self { wire, key, names, attributes, sources, comparisons, ledger: Ledger::new(key) })
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
        let forwarded: Box<[FlagIndex]> =
            (0..).zip(wire.flags.values()).filter(|(_, flag)| flag.forward).map(|(i, _)| FlagIndex(i)).collect();
        let comparisons = remembering(self.comparisons, &traffic, &flags, &forwarded, &segments);
        let mut flag_indices = HashMap::with_capacity_and_hasher(flags.len(), Keyed::new(self.key));
        flag_indices.extend(flags.iter().map(|flag| (flag.key.clone(), flag.index)));
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
            comparisons,
            segments,
            flag_indices,
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

    fn compiler(&mut self) -> Compiler<'_, 'w> {
        Compiler {
            attributes: &mut self.attributes,
            comparisons: &mut self.comparisons,
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

    fn bucketers_of(&self, flag: &Flag, environment: &UnitList) -> Box<[Bucketer]> {
        let wire = self.wire.flags.get(&flag.key);
        if wire.is_some_and(|wire| Flagd::from_name(&wire.algorithm).is_some()) {
            return Box::default();
        }
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
}

/// The comparisons, with memory for those that a request's decision repeats.
fn remembering(
    comparisons: Comparisons<'_>,
    traffic: &Traffic,
    flags: &[Flag],
    forwarded: &[FlagIndex],
    segments: &[(SegmentKey, Condition)],
) -> Box<[Comparison]> {
    let mut uses = Uses::default();
    let forwarded = forwarded.iter().filter_map(|index| flags.get(index.0 as usize));
    let of_flags = forwarded.flat_map(|flag| flag.rules.iter().map(|rule| &rule.when));
    for condition in traffic.rules.iter().map(|rule| &rule.when).chain(of_flags) {
        uses.count(condition, segments);
    }
    let mut list = comparisons.into_list();
    comparison::remember(&mut list, &uses.0);
    list
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

/// The algorithms of flags; traffic is split by the first of them only.
const ALGORITHMS: [&str; 3] = [SIPHASH24_V1, FLAGD_V2, FLAGD_V3];

fn check_algorithm(name: &str, known: &[&str], problems: &mut Problems) {
    if !known.contains(&name) {
        let detail = format!("`{name:.60}` is no algorithm here; this edge knows {}", known.join(", "));
        problems.at("algorithm", |p| p.add("algorithm_unknown", detail));
    }
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
