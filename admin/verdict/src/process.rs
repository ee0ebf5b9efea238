//! E-processes: evidence that may be looked at at any time.
//!
//! An e-value is what a bet against the null hypothesis has made of a stake of 1. Ville's inequality: if the hypothesis
//! is true, the chance that it *ever* reaches 1/α is at most α, however often one looks (Ville 1939; Ramdas, Grünwald,
//! Vovk, Shafer, arXiv 2210.01948). Invariant: what is multiplied in is a factor with expectation at most 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::nats::{MOST, Nats};

/// A product of factors for each point of a grid: the plain e-process E = Σ π exp(L).
///
/// It is the fastest test of a difference that was there from the beginning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Product {
    logs: Vec<Nats>,
}

impl Product {
    /// No evidence yet, for a mixture of `points`.
    pub fn new(points: usize) -> Self {
        Self { logs: vec![Nats::default(); points] }
    }

    /// Multiplies in a factor, given its logarithm (nats) for each of the points.
    pub fn multiply(&mut self, ln_factors: impl Iterator<Item = f64>) {
        for (log, ln) in self.logs.iter_mut().zip(ln_factors) {
            *log = log.plus(Nats::new(ln));
        }
    }

    /// Takes a factor back that was multiplied in; the logarithms are the same as then.
    pub(crate) fn divide(&mut self, ln_factors: impl Iterator<Item = f64>) {
        for (log, ln) in self.logs.iter_mut().zip(ln_factors) {
            *log = log.minus(Nats::new(ln));
        }
    }

    /// The e-value with these prior weights, 0 ≤ E ≤ 10²⁹⁰.
    pub fn e_value(&self, weights: impl Iterator<Item = f64>) -> f64 {
        let sum: f64 = self.logs.iter().zip(weights).map(|(log, weight)| weight * log.exp()).sum();
        sum.min(MOST)
    }
}

/// The stake that a bet which begins at window t ≥ 1 gets: ½ for the first, then 0.225 / (t ln²(t + 1)).
///
/// They sum to less than 1, and fall so slowly that a fault after hours is found nearly as fast as at once.
pub fn stake(window: u64) -> f64 {
    if window <= 1 {
        return 0.5;
    }
    let t = window as f64;
    0.225 / (t * (t + 1.0).ln().powi(2))
}

/// The restart mixture: e-processes that begin at every window, with the stakes of [`stake`].
///
/// ```text
/// M ← (M + a_t) · factor(window t)        E = Σ π M + (1 − Σ a)
/// ```
///
/// A convex combination of e-processes is one, so the same α holds, while evidence of a fault that sets in late is not
/// diluted by the hours before (the mixture form of the e-detectors of Shin, Ramdas, Rinaldo, arXiv 2203.03532).
///
/// Windows are numbered from 0 by the caller, by the time of what was observed. The last `horizon` windows are open: what is
/// added to them counts where it belongs, in any order, and can be taken back. Later than that, it counts in the oldest
/// open window: every bet that it then belongs to is still a product of sound factors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// How many windows are closed: the number of the oldest open one.
    closed: u64,
    /// The sum of the stakes of closed windows.
    staked: f64,
    /// M of each point after the closed windows.
    masses: Vec<f64>,
    open: BTreeMap<u64, Product>,
}

impl Restart {
    /// No evidence yet, for a mixture of `points`.
    pub fn new(points: usize) -> Self {
        Self { closed: 0, staked: 0.0, masses: vec![0.0; points], open: BTreeMap::new() }
    }

    /// The window in which something of `window` counts.
    pub fn effective(&self, window: u64) -> u64 {
        window.max(self.closed)
    }

    /// Multiplies a factor into the window in which something of `window` counts.
    pub fn multiply(&mut self, window: u64, ln_factors: impl Iterator<Item = f64>) {
        let (window, points) = (self.effective(window), self.masses.len());
        self.open.entry(window).or_insert_with(|| Product::new(points)).multiply(ln_factors);
        self.forget_if_empty(window);
    }

    /// Takes a factor back that was multiplied into an open window; the logarithms are the same as then.
    pub(crate) fn take_back(&mut self, window: u64, ln_factors: impl Iterator<Item = f64>) {
        let Some(product) = self.open.get_mut(&window) else { return };
        product.divide(ln_factors);
        self.forget_if_empty(window);
    }

    /// A window in which nothing happened is the same as one that was never opened.
    fn forget_if_empty(&mut self, window: u64) {
        if self.open.get(&window).is_some_and(|product| product.logs.iter().all(|log| log.is_zero())) {
            self.open.remove(&window);
        }
    }

    /// Closes all windows before this one.
    pub fn close_before(&mut self, window: u64) {
        while self.closed < window {
            let product = self.open.remove(&self.closed);
            let a = stake(self.closed + 1);
            step(&mut self.masses, a, product.as_ref());
            self.staked += a;
            self.closed += 1;
        }
    }

    /// The e-value with these prior weights, 0 ≤ E ≤ 10²⁹⁰.
    pub fn e_value(&self, weights: impl Iterator<Item = f64>) -> f64 {
        let mut staked = self.staked;
        let mut masses: Vec<f64> = self.masses.clone();
        // Windows in which nothing happened leave the sum as it is; those between two others do not.
        let last = self.open.last_key_value().map_or(self.closed, |(&last, _)| last + 1);
        for window in self.closed..last {
            let a = stake(window + 1);
            step(&mut masses, a, self.open.get(&window));
            staked += a;
        }
        let sum: f64 = masses.iter().zip(weights).map(|(mass, weight)| weight * mass).sum();
        (sum + (1.0 - staked).max(0.0)).min(MOST)
    }
}

fn step(masses: &mut [f64], stake: f64, product: Option<&Product>) {
    match product {
        None => masses.iter_mut().for_each(|mass| *mass = (*mass + stake).min(MOST)),
        Some(product) => {
            for (mass, log) in masses.iter_mut().zip(&product.logs) {
                *mass = ((*mass + stake) * log.exp()).min(MOST);
            }
        }
    }
}

/// An always-valid p-value: 1 over the largest e-value that was seen, at most 1.
///
/// Under the null hypothesis it is ever below p with a chance of at most p (Johari, Pekelis, Walsh, arXiv 1512.04922).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PValue(f64);

impl PValue {
    /// Takes note of an e-value at a look.
    pub fn observe(&mut self, e_value: f64) {
        if e_value > 1.0 {
            self.0 = self.0.min(1.0 / e_value);
        }
    }

    /// The p-value, 0 < p ≤ 1.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for PValue {
    fn default() -> Self {
        Self(1.0)
    }
}

/// Watches one rate for ever, where there is nothing to compare with and no end, as after a release took over.
///
/// ```text
/// R ← (R + 1) · factor        alarm when the mean of R over the bets ≥ `run_length`
/// ```
///
/// An error rate per release does not fit something without an end. Instead: while the rate keeps the objective, the
/// mean number of looks to a false alarm is at least `run_length` (the Shiryaev-Roberts e-detector of Shin, Ramdas,
/// Rinaldo, arXiv 2203.03532).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Detector {
    masses: Vec<f64>,
}

impl Detector {
    /// Nothing seen yet, for a mixture of `points` with equal weights.
    pub fn new(points: usize) -> Self {
        Self { masses: vec![0.0; points] }
    }

    /// One look: the logarithms of the factor since the last one. Answers the statistic, to be compared with the run length.
    pub fn look(&mut self, ln_factors: impl Iterator<Item = f64>) -> f64 {
        for (mass, ln) in self.masses.iter_mut().zip(ln_factors) {
            *mass = ((*mass + 1.0) * ln.exp().min(MOST)).min(MOST);
        }
        self.masses.iter().sum::<f64>() / self.masses.len().max(1) as f64
    }
}
