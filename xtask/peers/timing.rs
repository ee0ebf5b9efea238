//! Nanoseconds per call, the same loop for every side of a comparison.
//!
//! Not criterion: it would run one side for minutes and then the other, while on a shared machine only sides that
//! alternate every second compare. `cargo xtask bench` alternates the programs and takes medians over the rounds.

use std::time::{Duration, Instant};

/// Long enough that two readings of the clock (50 ns) do not count.
const BATCH: Duration = Duration::from_millis(5);
/// The median of these is what a round gives; an interrupt spoils one of them.
const BATCHES: usize = 21;

/// The median of some batches.
pub(crate) fn ns_per_call(mut call: impl FnMut()) -> f64 {
    let calls = calls_in_a_batch(&mut call);
    let mut batches: Vec<f64> = (0..BATCHES).map(|_| batch(&mut call, calls)).collect();
    batches.sort_by(f64::total_cmp);
    batches[BATCHES / 2]
}

/// Doubles until a batch is long enough, which warms caches and branch predictors on the way.
fn calls_in_a_batch(call: &mut impl FnMut()) -> u32 {
    let mut calls = 1_u32;
    loop {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        if start.elapsed() >= BATCH {
            return calls;
        }
        calls = calls.saturating_mul(2);
    }
}

fn batch(call: &mut impl FnMut(), calls: u32) -> f64 {
    let start = Instant::now();
    (0..calls).for_each(|_| call());
    start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}
