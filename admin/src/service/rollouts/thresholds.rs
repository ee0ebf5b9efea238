//! Which thresholds of latency a rollout judges by, when its plan names none: chosen once, at the start, by how fast stable
//! has been. Invariant: they are bounds that edges count by, in ascending order, and the deployment standard's is one.

use admin_api::edge::{LATENCY_BOUNDS_US, is_latency_threshold};
use rollout::THE_STANDARDS;

use crate::store::Usage;

/// How the counters are called.
pub(crate) const KIND: &str = "latency";
/// What is above all bounds.
pub(crate) const BEYOND: &str = "beyond";
/// Nobody notices less; and at a fast site any noise of the network is several times as slow.
const LEAST_MS: u32 = 100;
/// Shares of stable's answers that exceed the thresholds: its 95th and 99th percentile.
const TAILS: [f64; 2] = [0.05, 0.01];
/// Without a hundred answers, there is no 99th percentile.
const FEWEST: u64 = 100;

/// The bounds nearest above stable's p95 and p99, the next one above them, and the standard's.
pub(crate) fn choose(stable: &str, usage: &[Usage]) -> Vec<u32> {
    let bounds: Vec<u32> = LATENCY_BOUNDS_US.iter().filter_map(|us| u32::try_from(us / 1000).ok()).collect();
    let fit: Vec<u32> = bounds.iter().copied().filter(|ms| *ms >= LEAST_MS && is_latency_threshold(*ms)).collect();
    let count = |variant: &str| {
        let row = usage.iter().find(|row| row.kind == KIND && row.key == stable && row.variant == variant);
        row.map_or(0, |row| u64::try_from(row.count).unwrap_or(0))
    };
    let counts: Vec<u64> = LATENCY_BOUNDS_US.iter().map(|us| count(&us.to_string())).collect();
    let total = counts.iter().sum::<u64>() + count(BEYOND);
    let mut chosen = vec![THE_STANDARDS];
    for tail in TAILS {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let is_in_tail = |slower: u64| slower as f64 <= total as f64 * tail;
        let exceeding = |ms: &&u32| {
            let up_to = LATENCY_BOUNDS_US.partition_point(|us| *us <= u64::from(**ms) * 1000);
            let slower = total - counts.iter().take(up_to).sum::<u64>();
            total < FEWEST || is_in_tail(slower)
        };
        chosen.extend(fit.iter().find(exceeding));
    }
    let above = chosen.iter().skip(1).max().and_then(|highest| fit.iter().find(|ms| *ms > highest));
    chosen.extend(above);
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(us: &str, count: i64) -> Usage {
        Usage { kind: KIND.into(), key: "web-1".into(), variant: us.into(), count, last_at: 0 }
    }

    #[test]
    fn the_tail_of_stable_and_the_standard_are_thresholds() {
        assert_eq!(choose("web-1", &[]), [100, 250, 2000], "nothing is known");
        let fast = [usage("1000", 10_000)];
        assert_eq!(choose("web-1", &fast), [100, 250, 2000]);
        // p95 is 250 ms, p99 750 ms.
        let usual = [usage("100000", 900), usage("250000", 55), usage("750000", 36), usage("1000000", 9)];
        assert_eq!(choose("web-1", &usual), [250, 750, 1000, 2000]);
        let slow = [usage("5000000", 900), usage(BEYOND, 100)];
        assert_eq!(choose("web-1", &slow), [2000], "no bound is in its tail");
        assert_eq!(choose("web-2", &usual), [100, 250, 2000], "another release");
    }
}
