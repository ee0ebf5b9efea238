//! Slow requests, by several thresholds at once.

use crate::simulate::{Random, spread};
use crate::{Counts, CountsFactor, Grid, Method, Product};

const EDGES: [f64; 6] = [100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0];
/// Requests of the candidate between two looks; it has a tenth of the traffic. What was published does not say how many
/// there were. With 20 the same changes are found after 15 to 40 % fewer requests.
const BATCH: u64 = 50;

/// The candidate's requests until the mean of the e-values reaches 100, or None within `most`.
fn requests_until_found(random: &mut Random, most: u64, slow: impl Fn(f64, &mut Random) -> f64) -> Option<u64> {
    let grid = Grid::default();
    let mut tests: Vec<Product> = EDGES.iter().map(|_| Product::new(grid.len())).collect();
    (1..=most / BATCH).map(|look| look * BATCH).find(|_| {
        let time = |random: &mut Random| 120.0 * (0.6 * random.normal()).exp();
        let candidate: Vec<f64> = (0..BATCH).map(|_| time(random)).collect();
        let candidate: Vec<f64> = candidate.into_iter().map(|time| slow(time, random)).collect();
        let stable: Vec<f64> = (0..BATCH * 9).map(|_| time(random)).collect();
        for (test, edge) in tests.iter_mut().zip(EDGES) {
            let above = |times: &[f64]| times.iter().filter(|time| **time > edge).count() as u64;
            let counts = Counts::new((BATCH, above(&candidate)), (BATCH * 9, above(&stable)));
            let factor = CountsFactor::new(&counts, 1.0, Method::Auto);
            test.multiply(grid.odds().map(|odds| factor.ln(odds)));
        }
        let sum: f64 = tests.iter().map(|test| test.e_value(grid.weights())).sum();
        sum / EDGES.len() as f64 >= 100.0
    })
}

fn median(seed: u64, slow: impl Fn(f64, &mut Random) -> f64) -> u64 {
    let mut random = Random::new(seed);
    let found = (0..200).filter_map(|_| requests_until_found(&mut random, 20_000, &slow));
    spread(found.collect()).median
}

fn is_near(found: u64, published: u32) -> bool {
    (found as f64 / f64::from(published) - 1.0).abs() <= 0.1
}

#[test]
fn slowness_of_all_requests_is_found_within_the_published_number_of_them() {
    for (times, published) in [(1.1, 1065), (1.2, 300), (1.5, 99)] {
        let found = median(1, |time, _| time * times);
        assert!(is_near(found, published), "{times}: {found} instead of {published}");
    }
}

#[test]
fn a_few_very_slow_requests_are_found_within_the_published_number_of_them() {
    for (share, more, published) in [(0.02, 2000.0, 215), (0.05, 1000.0, 107)] {
        let found = median(1, |time, random| if random.chance(share) { time + more } else { time });
        assert!(is_near(found, published), "{share} by {more} ms: {found} instead of {published}");
    }
}

#[test]
fn equal_latency_raises_no_alarm() {
    let mut random = Random::new(8);
    let alarms = (0..400).filter_map(|_| requests_until_found(&mut random, 5000, |time, _| time)).count();
    assert!(alarms <= 4 + 6, "{alarms} of 400");
}
