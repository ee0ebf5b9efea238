//! Changing the weights of a split so that the fewest possible units move.
//!
//! A variant that shrinks gives up its highest buckets; a variant that grows takes them, lowest
//! first. So exactly the sum of the growths moves, which is the least any assignment can do, and a
//! variant that only grows never loses a unit.

use crate::bucket::BUCKETS;
use crate::names::VariantKey;
use crate::snapshot::wire::RangeWire;

/// New ranges and how many units move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reweighted {
    /// Ranges that tile all buckets, neighbours of one variant merged.
    pub ranges: Vec<RangeWire>,
    /// Buckets that change their owner; 10 000 = 1 % of the units.
    pub moved: u32,
}

/// Moves the split `current` to `weights`, which must sum to 1 000 000 and name each variant once.
/// An empty `current` is a new split: the variants get their ranges in the order of `weights`.
///
/// Returns `None` when the weights do not sum up, name a variant twice, or `current` does not tile
/// all buckets.
pub fn reweight(current: &[RangeWire], weights: &[(VariantKey, u32)]) -> Option<Reweighted> {
    reweight_of(BUCKETS, current, weights)
}

/// [`reweight()`] for another number of buckets: a split with the bucketing of flagd has the sum of its weights.
/// To move few units its new weights keep that sum; multiplying all of them by one number moves nobody.
pub fn reweight_of(buckets: u32, current: &[RangeWire], weights: &[(VariantKey, u32)]) -> Option<Reweighted> {
    let sum: u64 = weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let twice = weights.iter().enumerate().any(|(i, (key, _))| weights.iter().take(i).any(|(other, _)| other == key));
    if sum != u64::from(buckets) || twice || !(current.is_empty() || tiles(current, buckets)) {
        return None;
    }
    let (kept, freed) = keep(current, weights, buckets);
    let moved = freed.iter().map(|(from, to)| to - from).sum();
    let mut ranges = kept;
    ranges.extend(fill(&ranges, &freed, weights));
    ranges.sort_by_key(|range| range.from);
    let moved = if current.is_empty() { 0 } else { moved };
    Some(Reweighted { ranges: merge(ranges), moved })
}

fn tiles(ranges: &[RangeWire], buckets: u32) -> bool {
    let mut next = 0;
    ranges.iter().all(|range| {
        let fits = range.from == next && range.to > range.from;
        next = range.to;
        fits
    }) && next == buckets
}

fn owned(ranges: &[RangeWire], variant: &VariantKey) -> u32 {
    ranges.iter().filter(|range| range.variant == *variant).map(|range| range.to - range.from).sum()
}

/// Walks each variant's ranges upwards until its weight is used up; the rest is freed.
fn keep(current: &[RangeWire], weights: &[(VariantKey, u32)], buckets: u32) -> (Vec<RangeWire>, Vec<(u32, u32)>) {
    if current.is_empty() {
        return (Vec::new(), vec![(0, buckets)]);
    }
    let mut left: Vec<(&VariantKey, u32)> = weights.iter().map(|(key, weight)| (key, *weight)).collect();
    let (mut kept, mut freed) = (Vec::new(), Vec::new());
    for range in current {
        let mut nothing = 0;
        let quota = left.iter_mut().find(|(key, _)| **key == range.variant).map_or(&mut nothing, |(_, quota)| quota);
        let cut = range.from + (range.to - range.from).min(*quota);
        *quota -= cut - range.from;
        if cut > range.from {
            kept.push(RangeWire { variant: range.variant.clone(), from: range.from, to: cut });
        }
        if cut < range.to {
            freed.push((cut, range.to));
        }
    }
    (kept, freed)
}

/// Hands the freed buckets to the variants that lack some, in the order of the weights.
fn fill(kept: &[RangeWire], freed: &[(u32, u32)], weights: &[(VariantKey, u32)]) -> Vec<RangeWire> {
    let mut lacking = weights
        .iter()
        .map(|(key, weight)| (key, weight.saturating_sub(owned(kept, key))))
        .filter(|(_, lack)| *lack > 0)
        .collect::<Vec<_>>()
        .into_iter();
    let mut taker = lacking.next();
    let mut filled = Vec::new();
    for (mut from, to) in freed.iter().copied() {
        while from < to {
            let Some((key, lack)) = &mut taker else { break };
            let until = to.min(from + *lack);
            filled.push(RangeWire { variant: (*key).clone(), from, to: until });
            *lack -= until - from;
            from = until;
            if *lack == 0 {
                taker = lacking.next();
            }
        }
    }
    filled
}

fn merge(ranges: Vec<RangeWire>) -> Vec<RangeWire> {
    let mut merged: Vec<RangeWire> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.variant == range.variant => last.to = range.to,
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weights(list: &[(&str, u32)]) -> Vec<(VariantKey, u32)> {
        list.iter().map(|(key, weight)| (VariantKey::new(*key).unwrap(), *weight)).collect()
    }

    fn shown(ranges: &[RangeWire]) -> String {
        ranges.iter().map(|r| format!("{}:{}..{}", r.variant, r.from, r.to)).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(steps: &[&[(&str, u32)]], expected: &str, moved: u32) {
        let mut ranges = Vec::new();
        let mut last = 0;
        for step in steps {
            let result = reweight(&ranges, &weights(step)).unwrap();
            (ranges, last) = (result.ranges, result.moved);
        }
        assert_eq!((shown(&ranges).as_str(), last), (expected, moved));
    }

    #[test]
    fn a_new_split_follows_the_order_of_the_weights() {
        check(&[&[("on", 100_000), ("off", 900_000)]], "on:0..100000 off:100000..1000000", 0);
    }

    #[test]
    fn growing_takes_only_what_is_lacking() {
        let on = |weight| [("on", weight), ("off", 1_000_000 - weight)];
        check(&[&on(100_000), &on(250_000)], "on:0..100000 off:100000..850000 on:850000..1000000", 150_000);
        check(&[&on(100_000), &on(250_000), &on(100_000)], "on:0..100000 off:100000..1000000", 150_000);
    }

    #[test]
    fn a_variant_may_come_and_go() {
        check(&[&[("a", 1_000_000)], &[("a", 0), ("b", 1_000_000)]], "b:0..1000000", 1_000_000);
        check(
            &[&[("a", 500_000), ("b", 500_000)], &[("b", 500_000), ("c", 500_000)]],
            "c:0..500000 b:500000..1000000",
            500_000,
        );
    }

    #[test]
    fn a_split_in_weights_keeps_their_sum() {
        let first = reweight_of(4, &[], &weights(&[("a", 1), ("b", 3)])).unwrap();
        assert_eq!(shown(&first.ranges), "a:0..1 b:1..4");
        let second = reweight_of(4, &first.ranges, &weights(&[("a", 2), ("b", 2)])).unwrap();
        assert_eq!((shown(&second.ranges).as_str(), second.moved), ("a:0..1 b:1..3 a:3..4", 1));
        assert_eq!(reweight_of(5, &first.ranges, &weights(&[("a", 2), ("b", 3)])), None);
    }

    #[test]
    fn bad_input_is_refused() {
        assert_eq!(reweight(&[], &weights(&[("a", 999_999)])), None);
        assert_eq!(reweight(&[], &weights(&[("a", 500_000), ("a", 500_000)])), None);
        let gap = [RangeWire { variant: VariantKey::new("a").unwrap(), from: 1, to: BUCKETS }];
        assert_eq!(reweight(&gap, &weights(&[("a", BUCKETS)])), None);
    }

    fn any_weights() -> impl Strategy<Value = Vec<(VariantKey, u32)>> {
        proptest::collection::vec(0u32..=BUCKETS, 3).prop_map(|mut cuts| {
            cuts.sort_unstable();
            let ends = [cuts[0], cuts[1], cuts[2], BUCKETS];
            let mut from = 0;
            ["a", "b", "c", "d"]
                .iter()
                .zip(ends)
                .map(|(key, end)| {
                    let weight = end - from;
                    from = end;
                    (VariantKey::new(*key).unwrap(), weight)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn the_minimum_moves_and_the_ranges_tile(steps in proptest::collection::vec(any_weights(), 1..6)) {
            let mut ranges: Vec<RangeWire> = Vec::new();
            for weights in steps {
                let result = reweight(&ranges, &weights).unwrap();
                prop_assert!(tiles(&result.ranges, BUCKETS));
                let growth: u32 = weights.iter().map(|(key, w)| w.saturating_sub(owned(&ranges, key))).sum();
                prop_assert_eq!(result.moved, if ranges.is_empty() { 0 } else { growth });
                for (key, weight) in &weights {
                    prop_assert_eq!(owned(&result.ranges, key), *weight);
                    if *weight >= owned(&ranges, key) {
                        for before in ranges.iter().filter(|r| r.variant == *key) {
                            for bucket in [before.from, before.to - 1] {
                                prop_assert!(result.ranges.iter().any(|r| r.variant == *key && (r.from..r.to).contains(&bucket)));
                            }
                        }
                    }
                }
                ranges = result.ranges;
            }
        }
    }
}
