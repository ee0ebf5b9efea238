//! A fault that sets in late.

use crate::simulate::{Random, spread};
use crate::{Arm, Detector, Grid, Objective, Product, Restart, unit_log_factor};

/// Seconds between looks, each with this many requests per second of the candidate at a tenth of the traffic.
const LOOK: u64 = 10;
const RATE: f64 = 5.0;
const WEIGHT: f64 = 0.1;

/// The median seconds from the onset of 1 % → 3 % to E ≥ 100: restart mixture, and plain product.
fn delays(onset: u64, runs: u32, random: &mut Random) -> (u64, u64) {
    let grid = Grid::default();
    let factors = |arm| grid.odds().map(|odds| unit_log_factor(odds, 1.0, WEIGHT, arm)).collect::<Vec<_>>();
    let (hit, miss) = (factors(Arm::Candidate), factors(Arm::Stable));
    let mut found = [Vec::new(), Vec::new()];
    for _ in 0..runs {
        let (mut restart, mut plain) = (Restart::new(grid.len()), Product::new(grid.len()));
        let mut missing = [true, true];
        for window in 0.. {
            let requests = RATE * LOOK as f64;
            let rate = if window * LOOK >= onset { 0.03 } else { 0.01 };
            let hits = random.poisson(requests * rate) as f64;
            let misses = random.poisson(requests * (1.0 - WEIGHT) / WEIGHT * 0.01) as f64;
            let ln = || hit.iter().zip(&miss).map(|(hit, miss)| hits * hit + misses * miss);
            restart.multiply(window, ln());
            restart.close_before(window + 1);
            plain.multiply(ln());
            let now = ((window + 1) * LOOK).saturating_sub(onset);
            for (index, e_value) in [restart.e_value(grid.weights()), plain.e_value(grid.weights())].iter().enumerate()
            {
                if missing[index] && *e_value >= 100.0 {
                    missing[index] = false;
                    found[index].push(now);
                }
            }
            if missing == [false, false] {
                break;
            }
        }
    }
    let [restart, plain] = found.map(|found| spread(found).median);
    (restart, plain)
}

#[test]
fn a_late_fault_is_found_nearly_as_fast_as_an_early_one() {
    let mut random = Random::new(5);
    for (minutes, restart, plain) in [(0, 110, 100), (60, 260, 610), (240, 290, 1290)] {
        let found = delays(minutes * 60, 300, &mut random);
        for (found, published) in [(found.0, restart), (found.1, plain)] {
            let off = found as f64 / f64::from(published) - 1.0;
            assert!(off.abs() <= 0.1, "after {minutes} min: {found} s instead of {published} s");
        }
    }
}

#[test]
fn a_restart_mixture_without_stakes_left_is_still_an_e_value() {
    // All stakes together are at most 1, so the mixture never creates evidence by restarting.
    // What follows after two million windows is less than 0.225 / ln(2 000 000).
    let sum: f64 = (1..2_000_000).map(crate::stake).sum();
    assert!(sum < 0.985, "{sum}");
    let grid = Grid::default();
    let mut restart = Restart::new(grid.len());
    restart.close_before(100_000);
    assert!((restart.e_value(grid.weights()) - 1.0).abs() < 1e-9, "nothing happened");
}

#[test]
fn the_restart_mixture_of_independent_failures_keeps_alpha() {
    let grid = Grid::default();
    let mut random = Random::new(11);
    for (weight, mean) in [(0.05, 4.0), (0.3, 1.0)] {
        let factors = |arm| grid.odds().map(|odds| unit_log_factor(odds, 1.0, weight, arm)).collect::<Vec<_>>();
        let (hit, miss) = (factors(Arm::Candidate), factors(Arm::Stable));
        let alarms = (0..4000).filter(|_| {
            let mut restart = Restart::new(grid.len());
            (0..120).any(|window| {
                for _ in 0..random.poisson(mean) {
                    let factors = if random.chance(weight) { &hit } else { &miss };
                    restart.multiply(window, factors.iter().copied());
                }
                restart.close_before(window + 1);
                restart.e_value(grid.weights()) >= 100.0
            })
        });
        let alarms = alarms.count();
        assert!(alarms <= 40 + 19, "{weight}: {alarms} of 4000");
    }
}

/// The mean number of looks, 20 requests each, until the detector reaches `run_length`.
fn run_length(rate: f64, run_length: f64, runs: u32) -> f64 {
    let bets = Objective::new(0.01).unwrap().missed();
    let mut random = Random::new(13);
    let looks = (0..runs).map(|_| {
        let mut detector = Detector::new(bets.len());
        let alarm = |_: &u64| {
            let bad = (0..20).filter(|_| random.chance(rate)).count() as u64;
            detector.look(bets.iter().map(|bet| bet.ln(20, bad))) >= run_length
        };
        (1..1_000_000_u64).find(alarm).unwrap_or(1_000_000)
    });
    looks.sum::<u64>() as f64 / f64::from(runs)
}

#[test]
fn a_detector_without_end_alarms_seldom_while_the_objective_is_kept_and_soon_when_not() {
    let healthy = run_length(0.01, 500.0, 200);
    assert!(healthy >= 450.0, "promised 500, less the error of 200 runs: {healthy}");
    let sick = run_length(0.05, 500.0, 200);
    assert!(sick <= 15.0, "{sick}");
}
