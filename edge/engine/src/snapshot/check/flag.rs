//! Checks of one flag: variants, prerequisites, rules, and what is served.

use super::{ALGORITHMS, Checker, check_algorithm, check_rule_ids, variant_index};
use crate::condition::{Compiler, Demand};
use crate::decision::{FlagIndex, VariantIndex};
use crate::flag::{Flag, Prerequisite, Rule, Serve, Variant};
use crate::flagd::{Flagd, Hashed};
use crate::limits::{MAX_PREREQUISITES, MAX_RULES, MAX_TEXT_BYTES, MAX_VARIANT_BYTES, MAX_VARIANT_DEPTH, MAX_VARIANTS};
use crate::problem::Problems;
use crate::snapshot::wire::{FlagRuleWire, FlagType, FlagWire, RangeWire};
use crate::split::Split;

/// A split of one flag: finding the unit, hashing the longest one, finding its range.
const SPLIT_STEPS: u64 = 12;
/// The same with the bucketing of flagd, which hashes the longest salt and unit byte by byte.
const FLAGD_STEPS: u64 = 150;

impl<'w> Checker<'w> {
    pub(super) fn flag(
        &mut self,
        index: FlagIndex,
        key: &crate::FlagKey,
        wire: &'w FlagWire,
        problems: &mut Problems,
    ) -> (Option<Flag>, Demand) {
        check_algorithm(&wire.algorithm, &ALGORITHMS, problems);
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
            let steps = if Flagd::from_name(&wire.algorithm).is_some() { FLAGD_STEPS } else { SPLIT_STEPS };
            demand.cost = demand.cost.saturating_add(steps);
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
}

fn flag_rules<'w>(wire: &'w FlagWire, compiler: &mut Compiler<'_, 'w>, problems: &mut Problems) -> Box<[Rule]> {
    if problems.over("rules", wire.rules.len(), MAX_RULES) {
        return Box::default();
    }
    check_rule_ids(wire.rules.iter().map(|rule| &rule.id), problems);
    let mut rule = |rule: &'w FlagRuleWire, problems: &mut Problems| {
        let when = problems.at("when", |problems| compiler.condition(&rule.when, problems));
        let serve = serve(wire, rule.serve.as_ref(), rule.split.as_deref(), problems);
        Some(Rule { id: rule.id.clone(), when: when?, serve: serve? })
    };
    wire.rules.iter().enumerate().filter_map(|(i, wire)| problems.at(i, |problems| rule(wire, problems))).collect()
}

fn prerequisites(wire: &FlagWire, compiler: &mut Compiler<'_, '_>, problems: &mut Problems) -> Box<[Prerequisite]> {
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
        (None, Some(ranges)) => {
            let salt = flag.salt.as_ref().unwrap_or(&flag.id).as_str();
            let flagd = Flagd::from_name(&flag.algorithm).map(|algorithm| Hashed { algorithm, salt: salt.into() });
            problems
                .at("split", |problems| {
                    Split::try_new(ranges, flagd, problems, |problems, range| {
                        resolve_variant(flag, range.variant.as_str(), problems)
                    })
                })
                .map(Serve::Split)
        }
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
