//! Messages for Slack: Block Kit, by an incoming webhook (docs.slack.dev, Block Kit reference: a header has at most 150
//! characters, a section 3000, a field 2000, and a section at most 10 fields).

use serde_json::{Value, json};
use verdict::grouped;

use super::{Announcement, cut, link, span};
use crate::integrations::Occasion;

const HEADER: usize = 150;
const SECTION: usize = 3000;
const FIELD: usize = 2000;

/// The body of the message.
pub fn message(told: &Announcement, base: Option<&str>) -> Value {
    let head = head(told);
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": cut(&head, HEADER), "emoji": true}}),
        section(&cut(&escaped(&told.sentence), SECTION)),
    ];
    let fields = fields(told);
    if !fields.is_empty() {
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    blocks.push(section(&format!("*What to do:* {}", escaped(to_do(told)))));
    let mut context = format!("rollout {} · by {}", told.rollout, escaped(&told.by));
    if told.rollout == 0 {
        context = format!("by {}", escaped(&told.by));
    }
    if let Some(base) = base {
        context = format!("{context} · <{}|details>", link(base, told));
    }
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": cut(&context, FIELD)}]}));
    // What notifications and old clients show.
    json!({"text": escaped(&head), "blocks": blocks})
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

/// Slack's own escapes: nothing else has a meaning inside text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn head(told: &Announcement) -> String {
    let Announcement { app, environment, release, stable, .. } = told;
    let place = format!("{app} {environment}");
    match told.occasion {
        Occasion::Started => format!("▶️ {place}: {release} rolls out against {stable}"),
        Occasion::Advanced => format!("⏩ {place}: {release} goes on"),
        Occasion::Held if told.page => format!("🚨 {place}: {release} is held, {stable} fails too"),
        Occasion::Held => format!("⏸️ {place}: {release} needs a person"),
        Occasion::RollingBack if told.page => format!("🚨 {place}: edges do not take {release} back"),
        Occasion::RollingBack => format!("⏪ {place}: {release} → {stable}, rolling back"),
        Occasion::RolledBack => format!("✅ {place}: {release} → {stable}, rolled back and verified"),
        Occasion::Failed => format!("🚨 {place}: the rollback of {release} could not be verified"),
        Occasion::Promoted => format!("🎉 {place}: {release} is the active release"),
    }
}

fn to_do(told: &Announcement) -> &'static str {
    match told.occasion {
        Occasion::Started | Occasion::Advanced => "nothing; the machine watches",
        Occasion::Held if told.page => "look at what both releases share: taking traffic back would not help",
        Occasion::Held => "read why, then promote, resume or abort",
        Occasion::RollingBack if told.page => "look at the edges that do not answer",
        Occasion::RollingBack => "nothing yet; it is being verified",
        Occasion::RolledBack => "find the fault before the next attempt",
        Occasion::Failed => "look now: traffic may not be back, or stable does not serve",
        Occasion::Promoted => "nothing; the release before is kept ready for a while",
    }
}

fn fields(told: &Announcement) -> Vec<Value> {
    let mut fields = Vec::new();
    let mut add = |name: &str, text: String| {
        fields.push(json!({"type": "mrkdwn", "text": cut(&format!("*{name}*\n{}", escaped(&text)), FIELD)}));
    };
    if let Some(known) = &told.evidence {
        let tally =
            |tally: verdict::Tally| format!("{} of {} requests failed", grouped(tally.bad), grouped(tally.total));
        add(&told.release, tally(known.candidate));
        add(&told.stable, tally(known.stable));
        add("Evidence", format!("{}: e-value {:.1}, bound {:.0}", known.criterion, known.e_value, known.bound));
        add("Visitors hurt", grouped(known.hurt));
    }
    if let Some(ms) = told.detected_after_ms {
        add("Time to detect", span(ms));
    }
    if let Some(ms) = told.rolled_back_after_ms {
        add("Time to roll back", span(ms));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn a_rollback_is_told_with_evidence_times_and_what_to_do() {
        let told = example(Occasion::RolledBack);
        let message = message(&told, Some("https://bascule.example"));
        let expected = json!({
            "text": "✅ web production: web-2 → web-1, rolled back and verified",
            "blocks": [
                {"type": "header", "text": {"type": "plain_text", "emoji": true,
                    "text": "✅ web production: web-2 → web-1, rolled back and verified"}},
                {"type": "section", "text": {"type": "mrkdwn", "text": told.sentence}},
                {"type": "section", "fields": [
                    {"type": "mrkdwn", "text": "*web-2*\n14 of 260 requests failed"},
                    {"type": "mrkdwn", "text": "*web-1*\n3 of 5 000 requests failed"},
                    {"type": "mrkdwn", "text": "*Evidence*\nerrors: e-value 5972.6, bound 200"},
                    {"type": "mrkdwn", "text": "*Visitors hurt*\n12"},
                    {"type": "mrkdwn", "text": "*Time to detect*\n4.2 s"},
                    {"type": "mrkdwn", "text": "*Time to roll back*\n38 ms"},
                ]},
                {"type": "section", "text": {"type": "mrkdwn",
                    "text": "*What to do:* find the fault before the next attempt"}},
                {"type": "context", "elements": [{"type": "mrkdwn", "text":
                    "rollout 7 · by the machine · \
                     <https://bascule.example/api/v1/apps/web/environments/production/rollouts/7|details>"}]},
            ],
        });
        assert_eq!(message, expected);
    }

    #[test]
    fn no_text_is_longer_than_slack_takes_and_none_is_a_command() {
        let mut told = example(Occasion::Held);
        told.sentence = "<!channel> & ".repeat(1000);
        told.release = "r".repeat(500);
        let message = message(&told, None);
        let text = message.to_string();
        assert!(!text.contains("<!channel>") && text.contains("&lt;!channel&gt; &amp;"));
        let blocks = message["blocks"].as_array().expect("blocks");
        let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
        assert_eq!(length(&blocks[0]["text"]["text"]), HEADER);
        assert_eq!(length(&blocks[1]["text"]["text"]), SECTION);
        assert!(blocks[2]["fields"].as_array().is_some_and(|fields| fields.len() <= 10));
    }
}
