//! A verdict in a sentence with its numbers, for whoever is woken by it.

use super::{Criterion, Finding, HoldReason, Progress, RollBackReason, Verdict};
use crate::counts::Tally;
use crate::evidence::{Evidence, Measure};
use crate::policy::Level;
use crate::unit::Arm;

/// What the two releases are called: slots, or versions.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The candidate.
    pub candidate: &'a str,
    /// Stable.
    pub stable: &'a str,
}

impl Evidence {
    /// The verdict in a sentence, such as "5xx: 12 of 240 units at green against 3 of 4 560 at blue, e-value 5 972 over
    /// the bound 125". No name in it is of a unit.
    pub fn sentence(&self, verdict: &Verdict, progress: &Progress, names: Names<'_>) -> String {
        match verdict {
            Verdict::RollBack(RollBackReason::ObjectiveMissed) => {
                let missed = self.objective(Arm::Candidate, names);
                if self.requests(Arm::Stable).total == 0 {
                    return format!("{missed}; there is nothing to compare with");
                }
                format!("{missed}; {} keeps it", self.stable_rate(names))
            }
            Verdict::Hold(HoldReason::SharedIncident) => format!(
                "{}; {} is in trouble too: taking traffic back would not help",
                self.objective(Arm::Candidate, names),
                self.stable_rate(names)
            ),
            Verdict::RollBack(RollBackReason::Worse(criterion)) | Verdict::Hold(HoldReason::Warning(criterion)) => {
                self.about(criterion, names)
            }
            Verdict::Hold(HoldReason::SampleRatioMismatch) => format!(
                "{} of {} units at {}, which the configured weights do not explain (e-value {} over {}): routing or \
                 reports are broken, so nothing else is believed",
                grouped(self.units(Arm::Candidate)),
                grouped(self.units(Arm::Candidate) + self.units(Arm::Stable)),
                names.candidate,
                evidence(self.ratio()),
                evidence(1.0 / self.policy().ratio_alpha)
            ),
            Verdict::Hold(HoldReason::EvidenceFull) => format!(
                "more than {} units met a fault, later ones did not count: begin a new analysis",
                grouped(self.policy().most_units.into())
            ),
            Verdict::Hold(HoldReason::NoData) => {
                format!("not a single request at {} in {}", names.candidate, seconds(progress.elapsed_seconds))
            }
            Verdict::Hold(HoldReason::Inconclusive) => {
                format!(
                    "{} after {}: neither good nor bad is shown",
                    self.so_far(names),
                    seconds(progress.elapsed_seconds)
                )
            }
            Verdict::PromoteReady => self.so_far(names),
            Verdict::Continue if progress.elapsed_seconds < progress.minimum_seconds => format!(
                "{}; {} of {} are over",
                self.so_far(names),
                seconds(progress.elapsed_seconds),
                seconds(progress.minimum_seconds)
            ),
            Verdict::Continue => format!("{}; not enough to advance yet", self.so_far(names)),
        }
    }

    fn about(&self, criterion: &Criterion, names: Names<'_>) -> String {
        let findings = self.findings();
        let Some(finding) = findings.iter().find(|finding| finding.criterion == *criterion) else {
            return String::new();
        };
        let (seen, e_value) = (tallies(finding, names), evidence(finding.e_value));
        let bound = evidence(finding.bound);
        match (finding.e_value >= finding.bound, finding.noticeable) {
            (true, true) => format!("{seen}, e-value {e_value} over the bound {bound}"),
            (true, false) => {
                format!("{seen}, e-value {e_value} over the bound {bound}, but too small or seen by too few")
            }
            (false, _) => format!("{seen}, e-value {e_value} under the bound {bound}, but suspicious"),
        }
    }

    fn objective(&self, arm: Arm, names: Names<'_>) -> String {
        let name = if arm == Arm::Candidate { names.candidate } else { names.stable };
        let objective = self.policy().errors.objective.map_or(1.0, crate::Objective::rate);
        let units = match (self.policy().level, self.track(&Measure::Errors)) {
            (Level::Unit, Some(track)) => format!(" by {} units", grouped(track.bad_units(arm))),
            _ => String::new(),
        };
        let Tally { total, bad } = self.requests(arm);
        format!(
            "5xx: {} of {} requests{units} at {name}, more than the objective of {}, e-value {} over the bound {}",
            grouped(bad),
            grouped(total),
            percent(objective),
            evidence(self.missed(arm)),
            evidence(1.0 / self.policy().objective_alpha())
        )
    }

    fn stable_rate(&self, names: Names<'_>) -> String {
        let Tally { total, bad } = self.requests(Arm::Stable);
        format!("{} with {} of {}", names.stable, grouped(bad), grouped(total))
    }

    fn so_far(&self, names: Names<'_>) -> String {
        let requests = self.requests(Arm::Candidate);
        let good = if self.policy().errors.objective.is_some() { self.kept() } else { 0.0 };
        let good = if self.policy().promotion.relative.is_some() { good.max(self.not_inferior()) } else { good };
        format!(
            "5xx: {} of {} requests at {}, evidence that it is good {} of {}",
            grouped(requests.bad),
            grouped(requests.total),
            names.candidate,
            evidence(good),
            evidence(1.0 / self.policy().promotion.alpha)
        )
    }
}

fn tallies(finding: &Finding, names: Names<'_>) -> String {
    let Finding { candidate, stable, of_units, measure, .. } = finding;
    let what = match measure {
        Measure::Errors => "5xx".to_owned(),
        Measure::Slower(ms) => format!("slower than {} ms", grouped(u64::from(*ms))),
        Measure::Custom(name) => name.clone(),
    };
    let noun = if *of_units { "units" } else { "requests" };
    let share = |tally: &Tally| match tally.total {
        0 => grouped(tally.bad),
        total => format!("{} of {}", grouped(tally.bad), grouped(total)),
    };
    format!("{what}: {} {noun} at {} against {} at {}", share(candidate), names.candidate, share(stable), names.stable)
}

/// A count with its thousands apart: 4 560.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// An e-value: a few figures, and powers of ten where they are more than anyone reads.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below a million and not negative")]
fn evidence(e_value: f64) -> String {
    if e_value >= 1e6 {
        format!("10^{:.0}", e_value.log10().floor())
    } else if e_value >= 10.0 {
        grouped(e_value.round() as u64)
    } else {
        format!("{e_value:.2}")
    }
}

fn percent(rate: f64) -> String {
    let text = format!("{:.4}", rate * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn seconds(seconds: u64) -> String {
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!([0, 12, 999, 4560, 1_234_567].map(grouped), ["0", "12", "999", "4 560", "1 234 567"]);
        assert_eq!([0.5, 9.999, 100.0, 5972.6, 2e9].map(evidence), ["0.50", "10.00", "100", "5 973", "10^9"]);
        assert_eq!([0.01, 0.005, 0.9].map(percent), ["1 %", "0.5 %", "90 %"]);
        assert_eq!([5, 119, 540].map(seconds), ["5 s", "119 s", "9 min"]);
    }
}
