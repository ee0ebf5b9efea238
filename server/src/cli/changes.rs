//! What changes, in words: `+` is new, `~` differs, `-` goes.
//!
//! Texts that come from the control plane were written by others: what could move a terminal's cursor is not shown.

use admin_api::answers::{Action, Change, Difference, Outcome};
use serde_json::Value;

use super::output::Paint;

/// Characters of a value in a line.
const MAX_VALUE: usize = 120;

/// Whether traffic moves or something is deleted, so that a person should have seen it.
pub(super) fn is_grave(outcome: &Outcome) -> bool {
    outcome.changes.iter().any(|change| change.action == Action::Delete || change.object.ends_with("/traffic"))
}

/// All of it, a line end behind each line.
pub(super) fn text(outcome: &Outcome, paint: Paint) -> String {
    if outcome.changes.is_empty() {
        return kept(outcome, paint) + "nothing to change\n";
    }
    let mut text = String::new();
    for change in &outcome.changes {
        text.push_str(&object(change, paint));
    }
    for moved in &outcome.moves {
        let what = moved.flag.as_deref().unwrap_or("the traffic");
        let rule = moved.rule.as_deref().map_or(String::new(), |rule| format!(", rule {rule}"));
        let line = format!("{} % of the units move: {what} in {}{rule}", moved.percent, moved.environment);
        text.push_str(&clean(&line));
        text.push('\n');
    }
    text + &kept(outcome, paint) + &snapshots(outcome)
}

/// The end of a change: how many objects, which snapshots.
pub(super) fn summary(outcome: &Outcome) -> String {
    let count = |action| outcome.changes.iter().filter(|change| change.action == action).count();
    let counts = [(Action::Create, "created"), (Action::Update, "changed"), (Action::Delete, "deleted")];
    let counts = counts.map(|(action, word)| (count(action), word)).into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
    if counts.is_empty() { "nothing to change\n".to_owned() } else { format!("{}\n", counts.join(", ")) }
}

fn snapshots(outcome: &Outcome) -> String {
    let shown = outcome.snapshots.iter().map(|snapshot| format!("{} {}", snapshot.environment, snapshot.number));
    let shown = shown.collect::<Vec<_>>().join(", ");
    if shown.is_empty() { shown } else { format!("snapshots: {}\n", clean(&shown)) }
}

fn kept(outcome: &Outcome, paint: Paint) -> String {
    let line =
        |kept: &String| format!("{}\n", paint.faint(&format!("  {} stays: only --prune deletes it", clean(kept))));
    outcome.kept.iter().map(line).collect()
}

fn object(change: &Change, paint: Paint) -> String {
    let name = clean(&change.object);
    let mut text = match change.action {
        Action::Create => paint.good(&format!("+ {name}")),
        Action::Update => paint.warning(&format!("~ {name}")),
        Action::Delete => paint.error(&format!("- {name}")),
    };
    text.push('\n');
    // What is deleted is gone as a whole.
    if change.action != Action::Delete {
        text.extend(change.differences.iter().map(difference));
    }
    text
}

/// One difference.
pub(super) fn difference(difference: &Difference) -> String {
    let Difference { pointer, before, after } = difference;
    let shown = match (before, after) {
        (Some(before), Some(after)) => format!("{} → {}", value(before), value(after)),
        (None, Some(after)) => value(after),
        (Some(before), None) => format!("{} → nothing", value(before)),
        (None, None) => String::new(),
    };
    format!("    {} {shown}\n", clean(pointer))
}

fn value(value: &Value) -> String {
    let text = clean(&value.to_string());
    if text.chars().count() <= MAX_VALUE {
        return text;
    }
    text.chars().take(MAX_VALUE).chain(['…']).collect()
}

/// The text with `?` for each control character.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
