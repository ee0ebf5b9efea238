//! Medians over rounds.

/// Figures of the same thing, one per round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[odd / 2],
            even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
        }
    }

    /// Half the distance between the lowest and the highest, as a share of the median.
    pub(crate) fn spread(&self) -> f64 {
        let low = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // All of them may be 0.
        if high > low { (high - low) / 2.0 / self.median() } else { 0.0 }
    }

    /// The median of the ratios of each round, which cancels what slows a whole round.
    pub(crate) fn ratio_to(&self, other: &Self) -> f64 {
        let mut ratios = Self::default();
        self.0.iter().zip(&other.0).for_each(|(a, b)| ratios.push(a / b));
        ratios.median()
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn medians_do_not_follow_outliers() {
        assert!((Figures(vec![9.0, 1.0, 2.0]).median() - 2.0).abs() < 1e-9);
        assert!((Figures(vec![4.0, 1.0, 2.0, 90.0]).median() - 3.0).abs() < 1e-9);
        assert!(Figures::default().median().is_nan());
    }

    #[test]
    fn a_ratio_compares_within_each_round() {
        let ours = Figures(vec![2.0, 20.0, 4.0]);
        assert!((ours.ratio_to(&Figures(vec![1.0, 10.0, 4.0])) - 2.0).abs() < 1e-9);
        assert!((Figures(vec![1.0, 1.0, 3.0]).spread() - 1.0).abs() < 1e-9);
    }
}
