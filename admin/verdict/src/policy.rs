//! What is judged, and how strictly: fixed before the first look.
//!
//! Invariant: a policy in use has passed [`Policy::check`], so the bounds of all of its tests together keep `alpha`.

use serde::{Deserialize, Serialize};

use crate::bernoulli::Objective;
use crate::grid::{Grid, GridError};

/// How a candidate is judged. Everything has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// The chance that a release without fault is ever rolled back, 0 < α ≤ 0.5, over all criteria and looks. Default 0.01.
    pub alpha: f64,
    /// How α is divided among the kinds of criteria that are in use.
    pub shares: Shares,
    /// What is counted: units where requests stick to units, requests where each is split anew. Default: units.
    pub level: Level,
    /// The odds ratios that tests for harm bet on.
    pub grid: Grid,
    /// The criterion of failed requests: 5xx, timeouts, transport errors.
    pub errors: Errors,
    /// The criterion of slow requests, if there is one.
    pub latency: Option<Latency>,
    /// Criteria of the app's own.
    pub custom: Vec<Custom>,
    /// What has to be shown before a step may advance.
    pub promotion: Promotion,
    /// α of the guard that units arrive in the ratio that was configured. Default 10⁻⁴.
    pub ratio_alpha: f64,
    /// How many of the newest windows stay open for late batches, 1 to 4096. Default 64.
    pub horizon: u32,
    /// How many bad events of distinct units are remembered. Default 262 144; more than that and the evidence is full.
    pub most_units: u32,
}

/// Shares of α, not negative. They are scaled so that those of the kinds in use sum to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Shares {
    /// Failed requests. Default 0.5. With an objective, a fifth of it goes to the test of that.
    pub errors: f64,
    /// Slow requests. Default 0.3.
    pub latency: f64,
    /// Own criteria together. Default 0.2.
    pub custom: f64,
}

/// The unit of randomisation, at which tests count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// Each unit counts once, at its first bad event. Right wherever a unit stays at its release.
    #[default]
    Unit,
    /// Each request counts. Right only where requests are split independently of each other, or nothing but counters
    /// is known; a few broken clients then look like a broken release.
    Request,
}

/// The criterion of failed requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Errors {
    /// ρ₀ ≥ 1: an odds ratio up to this is no harm. Default 1.
    pub tolerance: f64,
    /// The objective, as a share of requests. Default 0.01; without one, only the arms are compared.
    pub objective: Option<Objective>,
    /// How much worse, in shares of 1, the candidate must be seen to be before it is rolled back. Default 0.001.
    pub least_difference: f64,
    /// How many distinct units must have met the fault at the candidate. Default 3.
    pub least_units: u64,
}

/// The criterion of slow requests: several thresholds, judged by the mean of their e-values.
///
/// A mean of e-values is an e-value, so there is nothing to correct for; the best of them counts up to the factor of their number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Latency {
    /// Thresholds in milliseconds, ascending, 1 to 16: edges of the histogram that the edges keep. At the level of units
    /// they belong into the tail (above the 95th percentile), because nearly every unit has a slow request once. None at
    /// all: whoever starts the analysis chooses them; a policy in use has some.
    #[serde(default)]
    pub thresholds_ms: Vec<u32>,
    /// ρ₀ ≥ 1. Default 1.
    #[serde(default = "one")]
    pub tolerance: f64,
}

/// A criterion of the app's own, of which an edge or the app reports events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Custom {
    /// Its name, unique, not empty.
    pub name: String,
    /// Which way is bad.
    pub direction: Direction,
    /// ρ₀ ≥ 1. Default 1.
    #[serde(default = "one")]
    pub tolerance: f64,
}

/// Whether a release is bad that has more of something, or one that has fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// As complaints.
    MoreIsBad,
    /// As orders.
    FewerIsBad,
}

/// What has to be shown before a step may advance: not only that there is no alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Promotion {
    /// The chance to call a candidate good that is not, for each of the two ways. Default 0.05.
    pub alpha: f64,
    /// An e-value of 1 over this is a warning that keeps a step where it is. Default 0.1.
    pub warning: f64,
    /// The second way: the odds ratio ρ₁ > 1 that is shown to be excluded. None: only the objective counts.
    pub relative: Option<f64>,
}

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// A number outside of its range.
    #[error("{name} is {value}, and has to be {range}")]
    Range {
        /// Which one.
        name: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// The grid does not bet on harm.
    #[error("the grid of a policy has odds ratios above 1")]
    Grid(#[source] GridError),
    /// Thresholds that are none.
    #[error("latency has 1 to 16 thresholds in ascending order")]
    Thresholds,
    /// Own criteria that cannot be told apart.
    #[error("the name \"{0}\" of an own criterion is empty, too long or there twice")]
    Name(String),
    /// Too many of them.
    #[error("there are {0} own criteria, at most 16 are possible")]
    Customs(usize),
    /// A step could never advance.
    #[error("promotion needs an objective or an excluded odds ratio")]
    NoPromotion,
}

/// Thresholds, and criteria of one's own.
const MOST_CRITERIA: usize = 16;

impl Policy {
    /// Refuses a policy that could not keep its promise.
    pub fn check(&self) -> Result<(), PolicyError> {
        let open = |name, value: f64, most: f64, range| {
            if value > 0.0 && value <= most { Ok(()) } else { Err(PolicyError::Range { name, value, range }) }
        };
        open("alpha", self.alpha, 0.5, "above 0 and at most 0.5")?;
        open("ratioAlpha", self.ratio_alpha, 0.5, "above 0 and at most 0.5")?;
        open("promotion.alpha", self.promotion.alpha, 0.5, "above 0 and at most 0.5")?;
        open("promotion.warning", self.promotion.warning, 1.0, "above 0 and at most 1")?;
        open("horizon", self.horizon.into(), 4096.0, "1 to 4096")?;
        open("mostUnits", self.most_units.into(), 16_777_216.0, "1 to 16 777 216")?;
        let Shares { errors, latency, custom } = self.shares;
        open("shares.errors", errors, 1.0, "above 0 and at most 1")?;
        open("shares.latency", latency, 1.0, "above 0 and at most 1")?;
        open("shares.custom", custom, 1.0, "above 0 and at most 1")?;
        if !(0.0..1.0).contains(&self.errors.least_difference) {
            let (value, range) = (self.errors.least_difference, "at least 0 and below 1");
            return Err(PolicyError::Range { name: "errors.leastDifference", value, range });
        }
        self.grid.clone().harmful().map_err(PolicyError::Grid)?;
        if let Some(Latency { thresholds_ms: thresholds, .. }) = &self.latency {
            let ascending = thresholds.windows(2).all(|pair| pair[0] < pair[1]);
            if thresholds.is_empty() || thresholds.len() > MOST_CRITERIA || !ascending {
                return Err(PolicyError::Thresholds);
            }
        }
        self.check_ratios()?;
        self.check_names()
    }

    fn check_ratios(&self) -> Result<(), PolicyError> {
        let tolerances = self.custom.iter().map(|custom| custom.tolerance);
        let tolerances = tolerances.chain(self.latency.iter().map(|latency| latency.tolerance));
        for value in tolerances.chain([self.errors.tolerance]) {
            if !(1.0..=10.0).contains(&value) {
                return Err(PolicyError::Range { name: "tolerance", value, range: "1 to 10" });
            }
        }
        match self.promotion.relative {
            Some(value) if !(value > 1.0 && value <= 10.0) => {
                Err(PolicyError::Range { name: "promotion.relative", value, range: "above 1 and at most 10" })
            }
            None if self.errors.objective.is_none() => Err(PolicyError::NoPromotion),
            _ => Ok(()),
        }
    }

    fn check_names(&self) -> Result<(), PolicyError> {
        if self.custom.len() > MOST_CRITERIA {
            return Err(PolicyError::Customs(self.custom.len()));
        }
        for (index, Custom { name, .. }) in self.custom.iter().enumerate() {
            if name.is_empty() || name.len() > 128 || self.custom[..index].iter().any(|other| other.name == *name) {
                return Err(PolicyError::Name(name.clone()));
            }
        }
        Ok(())
    }

    /// The α of the comparison of failed requests.
    pub fn errors_alpha(&self) -> f64 {
        let share = self.scaled(self.shares.errors);
        if self.errors.objective.is_some() { share * 0.8 } else { share }
    }

    /// The α of the test of the objective.
    pub fn objective_alpha(&self) -> f64 {
        self.scaled(self.shares.errors) * 0.2
    }

    /// The α of latency.
    pub fn latency_alpha(&self) -> f64 {
        self.scaled(self.shares.latency)
    }

    /// The α of each own criterion.
    pub fn custom_alpha(&self) -> f64 {
        self.scaled(self.shares.custom) / self.custom.len().max(1) as f64
    }

    fn scaled(&self, share: f64) -> f64 {
        let Shares { errors, latency, custom } = self.shares;
        let latency = if self.latency.is_some() { latency } else { 0.0 };
        let custom = if self.custom.is_empty() { 0.0 } else { custom };
        self.alpha * share / (errors + latency + custom)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            shares: Shares::default(),
            level: Level::Unit,
            grid: Grid::default(),
            errors: Errors::default(),
            latency: None,
            custom: Vec::new(),
            promotion: Promotion::default(),
            ratio_alpha: 1e-4,
            horizon: 64,
            most_units: 262_144,
        }
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self { errors: 0.5, latency: 0.3, custom: 0.2 }
    }
}

impl Default for Errors {
    fn default() -> Self {
        Self { tolerance: 1.0, objective: Objective::new(0.01).ok(), least_difference: 0.001, least_units: 3 }
    }
}

impl Default for Promotion {
    fn default() -> Self {
        Self { alpha: 0.05, warning: 0.1, relative: None }
    }
}

fn one() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tests_together_keep_alpha() {
        let custom = |name: &str| Custom { name: name.into(), direction: Direction::MoreIsBad, tolerance: 1.0 };
        let latency = Latency { thresholds_ms: vec![500, 2000], tolerance: 1.0 };
        let full = Policy { latency: Some(latency), custom: vec![custom("a"), custom("b")], ..Policy::default() };
        assert_eq!(full.check(), Ok(()));
        let sum = full.errors_alpha() + full.objective_alpha() + full.latency_alpha() + 2.0 * full.custom_alpha();
        assert!((sum - full.alpha).abs() < 1e-15);
        let alone = Policy::default();
        assert!((alone.errors_alpha() + alone.objective_alpha() - alone.alpha).abs() < 1e-15);
    }

    #[test]
    fn what_could_not_keep_its_promise_is_refused() {
        let refused = |change: fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            policy.check().unwrap_err().to_string()
        };
        assert_eq!(refused(|policy| policy.alpha = 0.0), "alpha is 0, and has to be above 0 and at most 0.5");
        assert!(refused(|policy| policy.grid = Grid::non_inferiority()).contains("above 1"));
        assert!(refused(|policy| policy.errors.tolerance = 0.5).contains("tolerance"));
        assert!(refused(|policy| policy.errors.objective = None).contains("objective"));
        assert!(refused(|policy| policy.promotion.relative = Some(1.0)).contains("relative"));
        assert!(
            refused(|policy| policy.latency = Some(Latency { thresholds_ms: vec![2, 1], tolerance: 1.0 }))
                .contains("ascending")
        );
        let text = serde_json::to_string(&Policy::default()).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), Policy::default());
        assert_eq!(serde_json::from_str::<Policy>("{}").unwrap(), Policy::default());
    }
}
