//! The words of sentences.

use crate::plan::Plan;
use crate::state::{Position, Why};
use crate::template::{Ms, Step};

pub(super) fn span(ms: Ms) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{} s", ms / 1000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

pub(super) fn step(at: Position, step: &Step, plan: &Plan) -> String {
    let (number, steps) = (at.step + 1, plan.template.steps.len());
    let waves = plan.template.waves.len();
    let wave = if waves > 1 { format!(" of wave {} of {waves}", at.wave + 1) } else { String::new() };
    format!("step {number} of {steps}{wave}, {} % for at least {}", step.weight, span(step.hold_ms))
}

pub(super) fn reason(why: &Why) -> String {
    match why {
        Why::Verdict(_) => "the verdict is against the candidate".into(),
        Why::Alarm(detail) | Why::Said(detail) => without_stop(detail).into(),
        Why::Inconclusive => "neither harm nor its absence was shown, and the plan says abort".into(),
        Why::MaximumDuration => "the maximum duration is over".into(),
        Why::Newer(release) => format!("{release} takes the place"),
    }
}

pub(super) fn denied(gate: &str, detail: &str) -> String {
    format!("gate {gate} said no: {detail}")
}

pub(super) fn without_stop(sentence: &str) -> &str {
    sentence.trim_end_matches('.')
}
