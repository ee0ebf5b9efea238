//! New weights for a split that exists move as few units as possible.
//!
//! A document that says shares without ranges means "these shares, whoever gets them": the buckets come from the split
//! that was there (`edge_engine::reweight`), and are written into the document where they are not simply one after the
//! other. A document with ranges means exactly these.

use edge_engine::{
    BUCKETS, SIPHASH24_V1, VariantKey, reweight,
    wire::{FlagWire, RangeWire, ServeWire},
};
use serde_json::Value;

/// A split whose units move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The flag.
    pub flag: String,
    /// The environment.
    pub environment: String,
    /// The rule, or `None` for the fallthrough.
    pub rule: Option<String>,
    /// Buckets that change their variant; 10 000 = 1 % of the units that come here.
    pub buckets: u32,
}

/// Gives each split of `document` that says no ranges those that move the fewest units from `before` to `after`, the
/// same flag as it was and as the document reads alone.
pub(super) fn keep_ranges(document: &mut Value, before: &FlagWire, after: &FlagWire, variants: &[VariantKey]) {
    // An imported algorithm's split is a list of weights: its order says who owns which buckets.
    if [before, after].iter().any(|flag| flag.algorithm != SIPHASH24_V1) {
        return;
    }
    for (place, new) in serves(after) {
        let old = serves(before).find(|(other, _)| *other == place).and_then(|(_, old)| old.split);
        let (Some(old), Some(new)) = (old, new.split) else { continue };
        let Some(serve) = serve_of(document, place.as_deref()) else { continue };
        if serve.get("ranges").is_some() || serve.get("split").is_none() {
            continue;
        }
        let weights: Vec<_> = variants.iter().map(|key| (key.clone(), share(&new, key))).collect();
        // A variant of before that is gone has no weight; one that does not tile cannot be kept.
        if let Some(kept) = reweight(&old, &weights)
            && let Some(object) = serve.as_object_mut()
        {
            object.insert("ranges".to_owned(), serde_json::to_value(kept.ranges).unwrap_or_default());
        }
    }
}

/// What moves between two states of a flag in an environment.
pub(super) fn moves<'a>(
    environment: &'a str,
    flag: &'a str,
    before: &'a FlagWire,
    after: &'a FlagWire,
) -> impl Iterator<Item = Move> + 'a {
    let is_ours = [before, after].iter().all(|flag| flag.algorithm == SIPHASH24_V1);
    serves(after).filter(move |_| is_ours).filter_map(move |(rule, new)| {
        let (_, old) = serves(before).find(|(place, _)| *place == rule)?;
        let buckets = moved(&ranges(&old)?, &ranges(&new)?);
        (buckets > 0).then(|| Move { flag: flag.to_owned(), environment: environment.to_owned(), rule, buckets })
    })
}

/// Every place that serves something: the rules by id, then the fallthrough.
fn serves(flag: &FlagWire) -> impl Iterator<Item = (Option<String>, ServeWire)> + '_ {
    let rules = flag.rules.iter().map(|rule| {
        (Some(rule.id.as_str().to_owned()), ServeWire { serve: rule.serve.clone(), split: rule.split.clone() })
    });
    rules.chain(std::iter::once((None, flag.fallthrough.clone())))
}

/// The part of a targeting document that says what a rule, or the fallthrough, serves.
fn serve_of<'d>(document: &'d mut Value, rule: Option<&str>) -> Option<&'d mut Value> {
    let Some(id) = rule else { return document.get_mut("fallthrough") };
    let rules = document.get_mut("rules")?.as_array_mut()?;
    let named = |(index, rule): (usize, &Value)| match rule.get("id").and_then(Value::as_str) {
        Some(own) => own == id,
        None => id == format!("rule-{}", index + 1),
    };
    let index = rules.iter().enumerate().position(named)?;
    rules.get_mut(index)
}

/// One variant for all is a split with one range.
fn ranges(serve: &ServeWire) -> Option<Vec<RangeWire>> {
    let whole = |variant: &VariantKey| vec![RangeWire { variant: variant.clone(), from: 0, to: BUCKETS }];
    serve.split.clone().or_else(|| serve.serve.as_ref().map(whole))
}

fn share(ranges: &[RangeWire], variant: &VariantKey) -> u32 {
    ranges.iter().filter(|range| range.variant == *variant).map(|range| range.to - range.from).sum()
}

/// Buckets with another owner. Both lists are in order and tile.
fn moved(before: &[RangeWire], after: &[RangeWire]) -> u32 {
    let same: u32 = before
        .iter()
        .flat_map(|old| after.iter().filter(|new| new.variant == old.variant).map(move |new| (old, new)))
        .map(|(old, new)| old.to.min(new.to).saturating_sub(old.from.max(new.from)))
        .sum();
    BUCKETS.saturating_sub(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(variant: &str, from: u32, to: u32) -> RangeWire {
        RangeWire { variant: VariantKey::new(variant).unwrap(), from, to }
    }

    #[test]
    fn what_changes_its_owner_moves() {
        let before = [range("on", 0, 100_000), range("off", 100_000, BUCKETS)];
        let after = [range("on", 0, 100_000), range("off", 100_000, 850_000), range("on", 850_000, BUCKETS)];
        assert_eq!(moved(&before, &after), 150_000);
        assert_eq!(moved(&before, &before), 0);
        assert_eq!(moved(&before, &[range("off", 0, BUCKETS)]), 100_000);
    }
}
