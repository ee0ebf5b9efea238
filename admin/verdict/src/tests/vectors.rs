//! Published e-values, to a millionth.

use crate::{Arm, Counts, CountsFactor, Grid, Method, Objective, PValue, Product, unit_log_factor};

fn close(value: f64, expected: f64) {
    assert!((value / expected - 1.0).abs() < 1e-6, "{value} instead of {expected}");
}

fn of_units(events: &[(f64, u32)]) -> f64 {
    let grid = Grid::default();
    let mut product = Product::new(grid.len());
    for &(weight, x) in events {
        let arm = if x == 1 { Arm::Candidate } else { Arm::Stable };
        product.multiply(grid.odds().map(|odds| unit_log_factor(odds, 1.0, weight, arm)));
    }
    product.e_value(grid.weights())
}

fn of_counts(batches: &[Counts], tolerance: f64, method: Method) -> f64 {
    let grid = Grid::default();
    let mut product = Product::new(grid.len());
    for counts in batches {
        let factor = CountsFactor::new(counts, tolerance, method);
        product.multiply(grid.odds().map(|odds| factor.ln(odds)));
    }
    product.e_value(grid.weights())
}

#[test]
fn first_events_of_units_give_the_published_e_values() {
    close(of_units(&[(0.05, 1); 3]), 420.862_474);
    close(of_units(&[(0.5, 1); 10]), 183.090_728);
    let stable = [(0.1, 0); 20];
    close(of_units(&[&[(0.1, 1); 5][..], &stable].concat()), 1.623_222);
    close(of_units(&[(0.05, 1), (0.25, 1), (0.25, 1), (0.25, 0), (0.25, 0), (0.25, 0)]), 2.170_256);
}

#[test]
fn counters_give_the_published_e_values() {
    let once = Counts::new((100, 5), (900, 5));
    for method in [Method::Auto, Method::Exact] {
        close(of_counts(&[once], 1.0, method), 49.872_527);
        close(of_counts(&[once, once], 1.0, method), 5_972.618_790);
        close(of_counts(&[Counts::new((50, 50), (450, 450))], 1.0, method), 1.0);
        close(of_counts(&[Counts::new((200, 4), (200, 0))], 1.0, method), 6.148_373);
        close(of_counts(&[once], 1.25, method), 25.043_015);
    }
    let rare = [Counts::new((1000, 10), (9000, 10))];
    close(of_counts(&rare, 1.0, Method::Exact), 5_340.098_714);
    close(of_counts(&rare, 1.0, Method::Bound), 5_184.894_223);
}

#[test]
fn the_bound_is_below_the_exact_value_and_takes_over_only_where_that_is_slow() {
    let large = [Counts::new((100_000, 150), (900_000, 1000))];
    let (exact, bound) = (of_counts(&large, 1.0, Method::Exact), of_counts(&large, 1.0, Method::Bound));
    assert!(bound <= exact && bound > 0.9 * exact, "{bound} {exact}");
    close(of_counts(&large, 1.0, Method::Auto), bound);
}

#[test]
fn a_batch_with_an_empty_arm_changes_nothing() {
    for counts in [Counts::new((0, 0), (900, 50)), Counts::new((100, 50), (0, 0)), Counts::new((100, 0), (900, 0))] {
        close(of_counts(&[counts], 1.0, Method::Auto), 1.0);
    }
}

#[test]
fn a_small_canary_needs_few_errors_of_its_own() {
    // While stable has none: how many at which weight, for α = 1 % and 0.1 %.
    for (weight, usual, strict) in [(0.01, 2, 3), (0.05, 3, 4), (0.10, 4, 5), (0.25, 5, 7), (0.50, 9, 13)] {
        let needed = |bound: f64| (1..100).find(|&count| of_units(&vec![(weight, 1); count]) >= bound).unwrap();
        assert_eq!((needed(100.0), needed(1000.0)), (usual, strict), "{weight}");
    }
}

#[test]
fn the_objective_is_missed_and_kept_by_the_stated_products() {
    let objective = Objective::new(0.01).unwrap();
    let mean = |bets: &[crate::RateBet], total, bad| {
        bets.iter().map(|bet| bet.ln(total, bad).exp()).sum::<f64>() / bets.len() as f64
    };
    // Ten of a hundred where one is allowed; computed with Python's floats from the formula.
    close(mean(&objective.missed(), 100, 10), 355_105.401_636);
    close(mean(&objective.kept(), 500, 0), 56.167_403);
}

#[test]
fn a_p_value_is_the_inverse_of_the_largest_e_value() {
    let mut p = PValue::default();
    for e_value in [0.5, 4.0, 20.0, 3.0] {
        p.observe(e_value);
    }
    assert!((p.get() - 0.05).abs() < 1e-15);
}
