//! What a decision rests on: the verdict, its sentence, and the numbers behind it at that moment.

use serde::{Deserialize, Serialize};
use verdict::{Arm, Evidence, Finding, Names, Progress, Tally, Verdict};

/// JSON has no infinity, and beyond this nothing is any more certain.
const LARGEST: f64 = 1e300;

/// What is known when something is decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grounds {
    /// What follows from it.
    pub verdict: Verdict,
    /// The same in words, with numbers.
    pub sentence: String,
    /// How far the stay was.
    pub progress: Progress,
    /// How many groups of reports it takes in.
    pub batches: u64,
    /// Requests of the candidate.
    pub candidate: Tally,
    /// Requests of stable.
    pub stable: Tally,
    /// Visitors who met a failure of the candidate: distinct units, or where requests are judged, requests.
    #[serde(default)]
    pub hurt: u64,
    /// Each criterion with its e-value and its bound.
    pub findings: Vec<Finding>,
    /// The e-value that the candidate keeps the objective, of this step alone.
    pub kept: f64,
}

impl Grounds {
    /// What this evidence comes to now.
    #[must_use]
    pub fn of(evidence: &Evidence, progress: &Progress, names: Names<'_>, batches: u64) -> Self {
        let verdict = evidence.verdict(progress);
        let finite = |value: f64| if value.is_nan() { 1.0 } else { value.min(LARGEST) };
        let findings = evidence.findings().into_iter();
        let findings = findings.map(|finding| Finding {
            e_value: finite(finding.e_value),
            bound: finite(finding.bound),
            ..finding
        });
        Self {
            sentence: evidence.sentence(&verdict, progress, names),
            verdict,
            progress: *progress,
            batches,
            candidate: evidence.requests(Arm::Candidate),
            stable: evidence.requests(Arm::Stable),
            hurt: evidence.hurt(),
            findings: findings.collect(),
            kept: finite(evidence.kept()),
        }
    }
}
