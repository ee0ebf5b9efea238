//! Numbers that look random and are not: the same seed, the same numbers, on every machine.

use crate::interval::ln_gamma;

/// `SplitMix64` of Steele, Lea and Flood (OOPSLA 2014): a counter, well mixed. For simulations only.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

/// The finaliser of `SplitMix64`: a bijection in which every bit of the input changes half of the output.
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

impl Random {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self { state: mix(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)) }
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.state)
    }

    /// Uniform in 0 ≤ x < 1, 53 bits of it.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this chance.
    pub fn chance(&mut self, chance: f64) -> bool {
        self.fraction() < chance
    }

    /// Uniform in 0 ≤ i < `below`; 0 if `below` is.
    pub fn below(&mut self, below: usize) -> usize {
        let wide = (u128::from(self.bits()) * below as u128) >> 64;
        usize::try_from(wide).unwrap_or(0)
    }

    /// Standard normal, by the polar method of Marsaglia.
    pub fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.fraction() - 1.0, 2.0 * self.fraction() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * (-2.0 * square.ln() / square).sqrt();
            }
        }
    }

    /// Poisson with this mean, 0 for one that is not positive.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean <= 0.0 {
            0
        } else if mean < 12.0 {
            self.few(mean)
        } else {
            self.many(mean)
        }
    }

    /// Knuth's way: multiply until the product is below e to the minus mean.
    fn few(&mut self, mean: f64) -> u64 {
        let least = (-mean).exp();
        let (mut count, mut product) = (0, self.fraction());
        while product > least {
            count += 1;
            product *= self.fraction();
        }
        count
    }

    /// Transformed rejection (PTRS) of Hörmann, Insurance: Mathematics and Economics 12 (1993).
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and a simulated count")]
    fn many(&mut self, mean: f64) -> u64 {
        let spread = 0.931 + 2.53 * mean.sqrt();
        let skew = -0.059 + 0.024_83 * spread;
        let inverse = 1.1239 + 1.1328 / (spread - 3.4);
        let inner = 0.9277 - 3.6224 / (spread - 2.0);
        loop {
            let (u, v) = (self.fraction() - 0.5, self.fraction());
            let margin = 0.5 - u.abs();
            let count = ((2.0 * skew / margin + spread) * u + mean + 0.43).floor();
            if margin >= 0.07 && v <= inner {
                return count as u64;
            }
            if count < 0.0 || (margin < 0.013 && v > margin) {
                continue;
            }
            let height = (v * inverse / (skew / (margin * margin) + spread)).ln();
            if height <= count * mean.ln() - mean - ln_gamma(count + 1.0) {
                return count as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // The first numbers of the reference implementation for the state 1234567.
        let mut random = Random { state: 1_234_567 };
        let first: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn counts_have_the_mean_and_the_variance_of_their_law() {
        for mean in [0.3, 5.0, 11.9, 12.1, 80.0, 5000.0_f64] {
            let mut random = Random::new(7);
            let runs = 40_000;
            let values: Vec<f64> = (0..runs).map(|_| random.poisson(mean) as f64).collect();
            let average = values.iter().sum::<f64>() / f64::from(runs);
            let variance = values.iter().map(|value| (value - average).powi(2)).sum::<f64>() / f64::from(runs);
            let error = (mean / f64::from(runs)).sqrt();
            assert!((average - mean).abs() < 4.0 * error, "{mean}: {average}");
            assert!((variance / mean - 1.0).abs() < 0.05, "{mean}: {variance}");
        }
        assert_eq!(Random::new(1).poisson(0.0), 0);
    }
}
