//! What people and programs are told of a rollout, and in which words each kind of receiver has it. Pure.

pub mod pagerduty;
pub mod slack;
pub mod webhook;

use rollout::{Grounds, Transition};
use serde::{Deserialize, Serialize};
use verdict::{Finding, Tally};

use crate::integrations::Occasion;

/// Something that happened to a rollout, with everything that a message about it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Announcement {
    /// What.
    pub occasion: Occasion,
    /// Whether somebody has to look at once.
    pub page: bool,
    /// Where.
    pub app: String,
    /// Where.
    pub environment: String,
    /// Which rollout; 0 = a rollback without one.
    pub rollout: i64,
    /// The candidate.
    pub release: String,
    /// The release that serves otherwise.
    pub stable: String,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Who decided.
    pub by: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// What was decided and why, with numbers.
    pub sentence: String,
    /// What was known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Known>,
    /// Milliseconds from when the candidate had got its share until the decision to take it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected_after_ms: Option<u64>,
    /// Milliseconds from that decision until every edge had acknowledged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back_after_ms: Option<u64>,
}

/// What was known of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// Requests of the candidate, and those that failed.
    pub candidate: Tally,
    /// The same of stable.
    pub stable: Tally,
    /// Visitors who met a failure of the candidate.
    pub hurt: u64,
    /// The criterion that speaks most against it, in words.
    pub criterion: String,
    /// Its e-value.
    pub e_value: f64,
    /// The e-value at which harm is proven.
    pub bound: f64,
}

impl Known {
    /// What a decision rested on.
    pub fn of(grounds: &Grounds) -> Self {
        let strength = |finding: &&Finding| finding.e_value / finding.bound;
        let strongest = grounds.findings.iter().max_by(|one, other| strength(one).total_cmp(&strength(other)));
        let criterion = strongest.map(|finding| match serde_json::to_value(&finding.criterion) {
            Ok(serde_json::Value::String(name)) => name,
            Ok(other) => other["custom"].as_str().unwrap_or_default().to_owned(),
            Err(_) => String::new(),
        });
        Self {
            candidate: grounds.candidate,
            stable: grounds.stable,
            hurt: grounds.hurt,
            criterion: criterion.unwrap_or_default(),
            e_value: strongest.map_or(1.0, |finding| finding.e_value),
            bound: strongest.map_or(0.0, |finding| finding.bound),
        }
    }
}

/// What a transition is an occasion for; `None` = nothing that anybody is told.
pub fn occasion(transition: &Transition) -> Option<Occasion> {
    let Transition { from, to, .. } = transition;
    Some(match to.as_str() {
        "failed" => Occasion::Failed,
        "rollingBack" => Occasion::RollingBack,
        "rolledBack" | "aborted" | "superseded" => Occasion::RolledBack,
        "keepingWarm" => Occasion::Promoted,
        // From the bake at once, when a newer release needed the place.
        "promoted" if from != "keepingWarm" => Occasion::Promoted,
        // Held anew for another reason too.
        "held" | "waitingForApproval" => Occasion::Held,
        _ if from == "pending" => Occasion::Started,
        "step" | "baking" if from == "step" || from == "waitingForApproval" => Occasion::Advanced,
        "step" | "baking" if from == "held" => Occasion::Advanced,
        _ => return None,
    })
}

/// A text of at most so many characters, cut where it is too long.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A time in words: `4.2 s`, `3 min`.
fn span(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// Where people find it.
fn link(base: &str, told: &Announcement) -> String {
    let Announcement { app, environment, rollout, .. } = told;
    let place = format!("{base}/api/v1/apps/{app}/environments/{environment}");
    if *rollout == 0 { format!("{place}/traffic") } else { format!("{place}/rollouts/{rollout}") }
}

#[cfg(test)]
pub(crate) fn example(occasion: Occasion) -> Announcement {
    Announcement {
        occasion,
        page: occasion == Occasion::Failed,
        app: "web".into(),
        environment: "production".into(),
        rollout: 7,
        release: "web-2".into(),
        stable: "web-1".into(),
        from: "step".into(),
        to: occasion.as_str().into(),
        by: "the machine".into(),
        at_ms: 1_700_000_000_123,
        sentence:
            "All traffic goes back to stable from step: the verdict is against the candidate (the machine). Known \
                   then: 5xx: 12 of 240 units at web-2 against 3 of 4 560 at web-1, e-value 5 972 over the bound 200."
                .into(),
        evidence: Some(Known {
            candidate: Tally { total: 260, bad: 14 },
            stable: Tally { total: 5000, bad: 3 },
            hurt: 12,
            criterion: "errors".into(),
            e_value: 5972.6,
            bound: 200.0,
        }),
        detected_after_ms: Some(4_250),
        rolled_back_after_ms: (occasion == Occasion::RolledBack).then_some(38),
    }
}

#[cfg(test)]
mod tests {
    use rollout::By;

    use super::*;

    #[test]
    fn every_transition_that_matters_is_an_occasion_and_the_others_are_none() {
        let occasion = |from: &str, to: &str| {
            let (from, to, by) = (from.to_owned(), to.to_owned(), By::Machine);
            occasion(&Transition { from, to, at: 0, by, sentence: String::new(), grounds: None, changed: true })
        };
        for (from, to, expected) in [
            ("pending", "step", Some(Occasion::Started)),
            ("pending", "previewing", Some(Occasion::Started)),
            ("step", "step", Some(Occasion::Advanced)),
            ("step", "baking", Some(Occasion::Advanced)),
            ("step", "held", Some(Occasion::Held)),
            ("held", "held", Some(Occasion::Held)),
            ("held", "step", Some(Occasion::Advanced)),
            ("step", "waitingForApproval", Some(Occasion::Held)),
            ("step", "rollingBack", Some(Occasion::RollingBack)),
            ("rollingBack", "rollingBack", Some(Occasion::RollingBack)),
            ("rollingBack", "verifying", None),
            ("verifying", "rolledBack", Some(Occasion::RolledBack)),
            ("verifying", "aborted", Some(Occasion::RolledBack)),
            ("verifying", "failed", Some(Occasion::Failed)),
            ("baking", "keepingWarm", Some(Occasion::Promoted)),
            ("keepingWarm", "promoted", None),
            ("baking", "promoted", Some(Occasion::Promoted)),
            ("step", "paused", None),
        ] {
            assert_eq!(occasion(from, to), expected, "{from} to {to}");
        }
    }

    #[test]
    fn texts_are_cut_at_characters() {
        assert_eq!((cut("äöü", 3), cut("äöüx", 3)), ("äöü".to_owned(), "äö…".to_owned()));
        assert_eq!([38, 4_250, 180_000, 7_200_000].map(span), ["38 ms", "4.2 s", "3 min", "2 h"]);
    }
}
