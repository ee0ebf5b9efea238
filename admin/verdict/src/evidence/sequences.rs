//! Which batches of an edge were counted.
//!
//! Invariant: a number that was counted is never answered as new, and memory is bounded, however many are lost.

use serde::{Deserialize, Serialize};

/// Numbers that were seen, as closed ranges in ascending order that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Sequences {
    ranges: Vec<(u64, u64)>,
}

/// Gaps that are remembered. When there are more, the oldest is given up: what was lost for so long would count as seen.
const MOST_RANGES: usize = 64;

impl Sequences {
    /// Whether the number is new; it is not new any more afterwards.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let at = self.ranges.partition_point(|&(_, last)| last < number);
        if self.ranges.get(at).is_some_and(|&(first, _)| first <= number) {
            return false;
        }
        let joins_next = self.ranges.get(at).is_some_and(|&(first, _)| first == number + 1);
        let joins_previous = at > 0 && self.ranges[at - 1].1 + 1 == number;
        match (joins_previous, joins_next) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at].1;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 = number,
            (false, true) => self.ranges[at].0 = number,
            (false, false) => self.ranges.insert(at, (number, number)),
        }
        if self.ranges.len() > MOST_RANGES {
            self.ranges[1].0 = self.ranges[0].0;
            self.ranges.remove(0);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once_in_whatever_order() {
        let mut seen = Sequences::default();
        for number in [5, 3, 4, 9, 0, u64::MAX, 1, 2, 8] {
            assert!(seen.insert(number), "{number}");
            assert!(!seen.insert(number), "{number}");
        }
        assert_eq!(seen.ranges, [(0, 5), (8, 9), (u64::MAX, u64::MAX)]);
    }

    #[test]
    fn memory_is_bounded_and_nothing_counts_twice() {
        let mut seen = Sequences::default();
        for number in 0..10_000_u64 {
            seen.insert(number * 2);
        }
        assert_eq!(seen.ranges.len(), MOST_RANGES);
        assert!((0..10_000).all(|number| !seen.insert(number * 2)));
        assert!(!seen.insert(1), "a gap that was given up is closed");
    }
}
