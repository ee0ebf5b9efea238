//! The alternatives that a test bets on.
//!
//! Invariant: every odds ratio is finite, positive and not 1, and the prior weights sum to 1, so that a mixture of
//! e-values over a grid is an e-value.

use serde::{Deserialize, Serialize};

/// Odds ratios with prior weights: what a test considers possible besides its null hypothesis.
///
/// A mixture test bets the share π of its stake on the odds ratio δ. Whatever the grid, the promise about false alarms
/// holds; the grid decides only how fast a true difference is found. It must be fixed before the first look.
///
/// The default is the grid of harm: δ = 1.25, 1.5, 2, 3, 5, 10, 30, 100.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(f64, f64)>", into = "Vec<(f64, f64)>")]
pub struct Grid {
    points: Vec<(f64, f64)>,
}

/// Why a grid is refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum GridError {
    /// No points, or too many to be worth their time.
    #[error("a grid has 1 to {MOST_POINTS} points, not {0}")]
    Points(usize),
    /// An odds ratio that is no alternative.
    #[error("the odds ratio {0} is not a finite positive number other than 1")]
    Odds(f64),
    /// A weight that is none.
    #[error("the prior weight {0} is not between 0 and 1")]
    Weight(f64),
    /// The weights are no distribution.
    #[error("the prior weights sum to {0}, not to 1")]
    Sum(f64),
    /// The test of this grid needs all points on one side of 1.
    #[error("the odds ratio {0} is on the other side of 1 than this test asks for")]
    Side(f64),
}

/// More points cost time and find nothing earlier.
pub const MOST_POINTS: usize = 32;

impl Grid {
    /// A grid of (odds ratio, prior weight). The weights sum to 1 within 10⁻⁹.
    pub fn new(points: Vec<(f64, f64)>) -> Result<Self, GridError> {
        if points.is_empty() || points.len() > MOST_POINTS {
            return Err(GridError::Points(points.len()));
        }
        for &(odds, weight) in &points {
            if !odds.is_finite() || odds <= 0.0 || (odds - 1.0).abs() < f64::EPSILON {
                return Err(GridError::Odds(odds));
            }
            if !(weight > 0.0 && weight <= 1.0) {
                return Err(GridError::Weight(weight));
            }
        }
        let sum: f64 = points.iter().map(|&(_, weight)| weight).sum();
        if (sum - 1.0).abs() > 1e-9 {
            return Err(GridError::Sum(sum));
        }
        Ok(Self { points })
    }

    /// The same weight for every odds ratio.
    pub fn equal(odds: &[f64]) -> Result<Self, GridError> {
        let weight = 1.0 / odds.len().max(1) as f64;
        Self::new(odds.iter().map(|&odds| (odds, weight)).collect())
    }

    /// The grid for showing that a candidate is *not* worse: γ = 0.8, 0.65, 0.5, 0.35, 0.2 with equal weights.
    pub fn non_inferiority() -> Self {
        Self { points: [0.8, 0.65, 0.5, 0.35, 0.2].map(|odds| (odds, 0.2)).to_vec() }
    }

    /// The two-sided grid for the ratio of units: 1.02 to 5 and their inverses with equal weights.
    pub fn two_sided() -> Self {
        let up = [1.02, 1.05, 1.1, 1.25, 1.5, 2.0, 5.0];
        Self { points: up.into_iter().flat_map(|odds| [(odds, 1.0 / 14.0), (1.0 / odds, 1.0 / 14.0)]).collect() }
    }

    /// The grid if all of its odds ratios speak for harm, that is exceed 1.
    pub fn harmful(self) -> Result<Self, GridError> {
        match self.points.iter().find(|(odds, _)| *odds <= 1.0) {
            Some(&(odds, _)) => Err(GridError::Side(odds)),
            None => Ok(self),
        }
    }

    /// The odds ratios in order.
    pub fn odds(&self) -> impl Iterator<Item = f64> + '_ {
        self.points.iter().map(|&(odds, _)| odds)
    }

    /// The prior weights in order.
    pub fn weights(&self) -> impl Iterator<Item = f64> + '_ {
        self.points.iter().map(|&(_, weight)| weight)
    }

    /// The number of points.
    #[expect(clippy::len_without_is_empty, reason = "a grid is never empty")]
    pub fn len(&self) -> usize {
        self.points.len()
    }
}

impl Default for Grid {
    fn default() -> Self {
        let odds = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0];
        let weights = [0.10, 0.15, 0.20, 0.17, 0.14, 0.12, 0.07, 0.05];
        Self { points: odds.into_iter().zip(weights).collect() }
    }
}

impl TryFrom<Vec<(f64, f64)>> for Grid {
    type Error = GridError;

    fn try_from(points: Vec<(f64, f64)>) -> Result<Self, GridError> {
        Self::new(points)
    }
}

impl From<Grid> for Vec<(f64, f64)> {
    fn from(grid: Grid) -> Self {
        grid.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grids_that_come_with_it_are_sound() {
        for grid in [Grid::default(), Grid::non_inferiority(), Grid::two_sided()] {
            assert_eq!(Grid::new(grid.clone().into()), Ok(grid));
        }
        assert!(Grid::default().harmful().is_ok());
        assert_eq!(Grid::non_inferiority().harmful(), Err(GridError::Side(0.8)));
    }

    #[test]
    fn a_grid_of_ones_own_is_checked() {
        assert!(Grid::equal(&[1.5, 3.0]).is_ok());
        assert_eq!(Grid::equal(&[]), Err(GridError::Points(0)));
        assert_eq!(Grid::equal(&[1.0]), Err(GridError::Odds(1.0)));
        assert!(matches!(Grid::equal(&[f64::NAN]), Err(GridError::Odds(_))));
        assert_eq!(Grid::new(vec![(2.0, 0.0), (3.0, 1.0)]), Err(GridError::Weight(0.0)));
        assert_eq!(Grid::new(vec![(2.0, 0.5)]), Err(GridError::Sum(0.5)));
        assert!(serde_json::from_str::<Grid>("[[2.0, 0.5]]").is_err());
        let text = serde_json::to_string(&Grid::default()).unwrap();
        assert_eq!(serde_json::from_str::<Grid>(&text).unwrap(), Grid::default());
    }
}
