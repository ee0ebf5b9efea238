//! Which release serves: slots, weights, forced rules, overrides, pins.

use std::collections::BTreeMap;

use edge_engine::{
    RegionName, ReleaseId, RuleId, SIPHASH24_V1, Slot,
    wire::{OverrideWire, PinWire, RegionWire, RouteRuleWire, SlotsWire, TrafficWire},
};

use super::{
    condition,
    declared::Declared,
    fields::{self, Fields},
    finding::Position,
    node::{Entry, Node},
    report::Report,
};

const SLOTS: [(&str, Slot); 2] = [("blue", Slot::Blue), ("green", Slot::Green)];
/// For an environment without a candidate; the environment's own key separates environments already.
const DEFAULT_SALT: &str = "traffic";

/// Reads `traffic`; an environment without it has empty slots.
pub(super) fn traffic(entry: Option<&Entry>, declared: &Declared, report: &mut Report) -> TrafficWire {
    let mut wire = TrafficWire {
        active: Slot::Blue,
        slots: SlotsWire::default(),
        candidate_weight: 0,
        salt: DEFAULT_SALT.to_owned(),
        algorithm: SIPHASH24_V1.to_owned(),
        rules: Vec::new(),
        r#override: None,
        pin: None,
        regions: BTreeMap::new(),
        rolled_back: Vec::new(),
    };
    let Some(entry) = entry else { return wire };
    let Some(mut fields) = Fields::of(&entry.value, entry.place(), "traffic", report) else { return wire };
    wire.slots = slots(fields.required("slots", report), declared, report);
    wire.active = active(&mut fields, &wire.slots, report);
    if let Some(entry) = fields.optional("candidateWeight") {
        wire.candidate_weight = fields::share(&entry.value, "a weight", report).unwrap_or_default();
    }
    let salt = fields.optional("salt").and_then(|entry| fields::text(&entry.value, "a salt", report));
    wire.salt = salt.unwrap_or(default_salt(&wire)).to_owned();
    algorithm(fields.optional("algorithm"), report);
    if let Some(entry) = fields.optional("rules") {
        let items = fields::list(&entry.value, "\"rules\"", report);
        wire.rules = items.iter().enumerate().filter_map(|(index, item)| rule(index, item, declared, report)).collect();
    }
    wire.r#override = fields.optional("override").and_then(|entry| signed_override(entry, report));
    wire.pin = fields.optional("pin").and_then(|entry| pin(entry, report));
    wire.regions = regions(fields.optional("regions"), report);
    wire.rolled_back = rolled_back(fields.optional("rolledBack"), declared, report);
    fields.done(report);
    wire
}

/// Checks that the traffic names the only algorithm it has.
fn algorithm(entry: Option<&Entry>, report: &mut Report) {
    if let Some(entry) = entry {
        fields::choice(&entry.value, "an algorithm", &[(SIPHASH24_V1, ())], report);
    }
}

fn slots(entry: Option<&Entry>, declared: &Declared, report: &mut Report) -> SlotsWire {
    let Some(entry) = entry else { return SlotsWire::default() };
    let Some(mut fields) = Fields::of(&entry.value, entry.place(), "slots", report) else {
        return SlotsWire::default();
    };
    let slots = SlotsWire {
        blue: fields.optional("blue").and_then(|entry| release(&entry.value, declared, report)),
        green: fields.optional("green").and_then(|entry| release(&entry.value, declared, report)),
    };
    fields.done(report);
    slots
}

/// Each candidate draws its own cohorts, so that it is not always the same users who go first.
pub(super) fn default_salt(wire: &TrafficWire) -> &str {
    candidate(wire).map_or(DEFAULT_SALT, ReleaseId::as_str)
}

/// The release in the slot that is not active.
fn candidate(wire: &TrafficWire) -> Option<&ReleaseId> {
    match wire.active {
        Slot::Blue => wire.slots.green.as_ref(),
        Slot::Green => wire.slots.blue.as_ref(),
    }
}

fn release(node: &Node, declared: &Declared, report: &mut Report) -> Option<ReleaseId> {
    let id = fields::text(node, "a release", report)?;
    if declared.release(id, node.at, report) { ReleaseId::new(id).ok() } else { None }
}

/// The active slot; when only one slot is filled nothing needs to be said.
fn active(fields: &mut Fields<'_>, slots: &SlotsWire, report: &mut Report) -> Slot {
    let only = match slots {
        SlotsWire { blue: Some(_), green: None } => Some(Slot::Blue),
        SlotsWire { blue: None, green: Some(_) } => Some(Slot::Green),
        _ => None,
    };
    let entry = match only {
        Some(_) => fields.optional("active"),
        None => fields.required("active", report),
    };
    entry.and_then(|entry| slot(&entry.value, report)).or(only).unwrap_or(Slot::Blue)
}

fn slot(node: &Node, report: &mut Report) -> Option<Slot> {
    fields::choice(node, "a slot", &SLOTS, report)
}

fn rule(index: usize, node: &Node, declared: &Declared, report: &mut Report) -> Option<RouteRuleWire> {
    let mut fields = Fields::of(node, node.at, "a routing rule", report)?;
    let id = rule_id(index, &mut fields, report);
    let when = condition::when(&mut fields, declared, report);
    let slot = fields.required("slot", report).and_then(|entry| slot(&entry.value, report));
    fields.done(report);
    Some(RouteRuleWire { id, when, slot: slot.unwrap_or(Slot::Blue) })
}

/// A rule's `id`, or its place in the list.
pub(super) fn rule_id(index: usize, fields: &mut Fields<'_>, report: &mut Report) -> RuleId {
    let id = fields.optional("id").and_then(|entry| fields::name(&entry.value, "an id", RuleId::new, report));
    id.unwrap_or_else(|| {
        RuleId::new(format!("rule-{}", index + 1)).expect("the grammar of names has letters, digits and '-'")
    })
}

fn signed_override(entry: &Entry, report: &mut Report) -> Option<OverrideWire> {
    let mut fields = Fields::of(&entry.value, entry.place(), "override", report)?;
    let mut name = |key: &'static str| {
        let entry = fields.optional(key);
        entry.and_then(|entry| fields::text(&entry.value, "a name", report)).map(str::to_owned)
    };
    let sources = OverrideWire { header: name("header"), cookie: name("cookie"), query: name("query") };
    fields.done(report);
    Some(sources)
}

fn pin(entry: &Entry, report: &mut Report) -> Option<PinWire> {
    let mut fields = Fields::of(&entry.value, entry.place(), "pin", report)?;
    let max_age_seconds = fields::integer(fields.required("maxAgeSeconds", report), report);
    fields.done(report);
    Some(PinWire { max_age_seconds: max_age_seconds? })
}

fn regions(entry: Option<&Entry>, report: &mut Report) -> BTreeMap<RegionName, RegionWire> {
    let mut regions = BTreeMap::new();
    for entry in fields::entries(entry, "\"regions\"", report) {
        let name = fields::key_name(&entry.key, entry.key_at, RegionName::new, report);
        let Some(mut fields) = Fields::of(&entry.value, entry.key_at, "a region", report) else { continue };
        let weight = fields.required("candidateWeight", report);
        let weight = weight.and_then(|entry| fields::share(&entry.value, "a weight", report));
        fields.done(report);
        if let (Some(name), Some(candidate_weight)) = (name, weight) {
            regions.insert(name, RegionWire { candidate_weight });
        }
    }
    regions
}

fn rolled_back(entry: Option<&Entry>, declared: &Declared, report: &mut Report) -> Vec<ReleaseId> {
    let Some(entry) = entry else { return Vec::new() };
    let items = fields::list(&entry.value, "\"rolledBack\"", report);
    items.iter().filter_map(|item| release(item, declared, report)).collect()
}

/// The list of unit sources of an environment or a flag.
pub(super) fn unit(entry: Option<&Entry>, report: &mut Report) -> Option<Vec<String>> {
    let items = fields::list(&entry?.value, "\"unit\"", report);
    Some(items.iter().filter_map(|item| unit_source(item, report)).collect())
}

fn unit_source(node: &Node, report: &mut Report) -> Option<String> {
    const KINDS: [&str; 3] = ["header", "cookie", "attribute"];
    let source = fields::text(node, "a unit source", report)?;
    if source == "targetingKey" {
        return Some(source.to_owned());
    }
    if let Some((kind, name)) = source.split_once(':')
        && KINDS.contains(&kind)
        && !name.is_empty()
    {
        return Some(source.to_owned());
    }
    unknown_unit(source, node.at, &KINDS, report);
    None
}

fn unknown_unit(source: &str, at: Position, kinds: &[&str], report: &mut Report) {
    let (kind, name) = source.split_once(':').unwrap_or((source, "NAME"));
    let help = match super::suggest::closest(kind, &kinds.iter().copied()) {
        Some(kind) => format!("did you mean \"{kind}:{name}\"?"),
        None => "write header:NAME, cookie:NAME, attribute:NAME or targetingKey".to_owned(),
    };
    let detail = format!("\"{}\" is not a unit source", super::node::excerpt(source));
    report.add(at, "unit_source_unknown", detail).help(help);
}
