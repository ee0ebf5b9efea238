//! Rollouts in words.

use admin_api::rollouts::{Rollout, RolloutEvidence, RolloutGate, RolloutHead, RolloutTransition};
use serde_json::Value;

use super::super::{changes::clean, output::Paint, table::Table};

/// Where it is, what is known, and why it is there.
pub(super) fn status(rollout: &Rollout) -> String {
    let known = rollout.evidence.iter().map(|evidence| format!("known: {}", clean(&evidence.sentence)));
    let hurt = rollout.evidence.as_ref().map_or(0, |evidence| evidence.hurt);
    let hurt = (hurt > 0).then(|| format!("visitors hurt by the candidate so far: {}", verdict::grouped(hurt)));
    let gates = rollout.gates.iter().filter(|gate| gate.state != "passed").map(gate);
    let last = rollout.transitions.last().map(sentence);
    let deadline = rollout.head.deadline.iter().map(|at| format!("by itself at the latest at {}", clean(at)));
    let overruled = rollout.overruled.iter().map(|why| clean(why));
    let first = [line(&rollout.head)].into_iter().chain(overruled);
    lines(first.chain(known).chain(hurt).chain(gates).chain(last).chain(deadline))
}

/// A gate that is waited for, and what it said last.
fn gate(gate: &RolloutGate) -> String {
    let detail = gate.detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
    let failed = gate.failed_checks.map_or_else(String::new, |failed| format!(", {failed} failed checks"));
    clean(&format!("gate {} is {}, asked {} times{failed}{detail}", gate.name, gate.state, gate.asked))
}

/// With everything that was decided.
pub(super) fn whole(rollout: &Rollout) -> String {
    let findings = rollout.evidence.as_ref().map_or_else(String::new, |evidence| format!("\n{}", findings(evidence)));
    let decided = rollout.transitions.iter().map(|transition| {
        let (at, to) = (clean(&transition.at), clean(&transition.to));
        format!("{at}  {to}: {}", sentence(transition))
    });
    format!("{}{findings}\n{}", status(rollout), lines(decided))
}

fn findings(evidence: &RolloutEvidence) -> String {
    let mut table = Table::new(&["CRITERION", "CANDIDATE", "STABLE", "E-VALUE", "BOUND"]);
    for finding in &evidence.findings {
        let tally = |arm: &str| format!("{} of {}", finding[arm]["bad"], finding[arm]["total"]);
        let number = |name: &str| finding[name].as_f64().map_or_else(String::new, |value| format!("{value:.2}"));
        let criterion = &finding["criterion"];
        let criterion = criterion.as_str().map_or_else(|| criterion.to_string(), str::to_owned);
        table.row([criterion, tally("candidate"), tally("stable"), number("eValue"), number("bound")]);
    }
    table.text(Paint::stdout())
}

fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect()
}

pub(super) fn sentence(transition: &RolloutTransition) -> String {
    clean(&transition.sentence)
}

/// What a rollout would do.
pub(super) fn plan(rollout: &Rollout) -> String {
    let RolloutHead { release, stable, template, .. } = &rollout.head;
    let head = format!("{release} against {stable}, {}", if template.is_empty() { "own plan" } else { template });
    let mut table = Table::new(&["STEP", "WEIGHT", "AT LEAST", "AT MOST", "GATES", "APPROVAL"]);
    for (number, step) in (1..).zip(rollout.plan["steps"].as_array().into_iter().flatten()) {
        let gates = step["gates"].as_array().into_iter().flatten().filter_map(Value::as_str);
        table.row([
            format!("{number}"),
            format!("{} %", step["weight"]),
            span(&step["holdMs"]),
            span(&step["limitMs"]),
            gates.collect::<Vec<_>>().join(", "),
            if step["approval"] == true { "a person".to_owned() } else { String::new() },
        ]);
    }
    let (bake, limit) = (span(&rollout.plan["bakeMs"]), span(&rollout.plan["bakeLimitMs"]));
    table.row(["bake".to_owned(), "100 %".to_owned(), bake, limit, String::new(), String::new()]);
    let inconclusive = rollout.plan["inconclusive"].as_str().unwrap_or_default();
    let (warm, maximum) = (span(&rollout.plan["keepWarmMs"]), span(&rollout.plan["maximumMs"]));
    let rest =
        format!("without a result: {inconclusive}; {stable} is kept ready for {warm}; {maximum} in all at most\n");
    let overruled = rollout.overruled.as_ref().map_or_else(String::new, |why| format!("\n{}", clean(why)));
    let (head, rest) = (Paint::stdout().strong(&clean(&head)), clean(&rest));
    format!("{head}\n{}{}{overruled}\n", table.text(Paint::stdout()), rest.trim_end())
}

pub(super) fn list(rollouts: &[RolloutHead]) -> String {
    let mut table = Table::new(&["ID", "RELEASE", "AGAINST", "TEMPLATE", "STATE", "WEIGHT", "STARTED", "BY"]);
    for head in rollouts {
        table.row([
            head.id.to_string(),
            head.release.clone(),
            head.stable.clone(),
            head.template.clone(),
            head.state.clone(),
            format!("{} %", head.weight),
            head.started_at.clone(),
            head.started_by.clone(),
        ]);
    }
    table.text(Paint::stdout())
}

fn line(head: &RolloutHead) -> String {
    let RolloutHead { id, release, stable, state, weight, steps, since, .. } = head;
    let step = head.step.map_or_else(String::new, |step| format!(" {step} of {steps}"));
    let wave = head.wave.map_or_else(String::new, |wave| format!(", wave {wave} of {}", head.waves));
    let frozen = head.frozen.as_ref().map_or_else(String::new, |name| format!(", frozen by {name}"));
    let strained = head.strained.as_ref().map_or_else(String::new, |what| format!(", no step forward: {what}"));
    let text = format!(
        "rollout {id}: {release} against {stable}, {state}{step}{wave}, {weight} % since {since}{frozen}{strained}"
    );
    Paint::stdout().strong(&clean(&text))
}

fn span(ms: &Value) -> String {
    match ms.as_u64().unwrap_or(0) / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
