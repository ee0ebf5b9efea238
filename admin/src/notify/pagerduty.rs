//! Events for PagerDuty's Events API v2: a trigger when somebody has to look at once, and a resolve with the same key when that
//! is over. A deduplication key has at most 255 characters, a summary 1024.

use serde_json::{Value, json};

use super::{Announcement, cut, link};
use crate::ids;
use crate::integrations::Occasion;

const SUMMARY: usize = 1024;
const KEY: usize = 255;

/// What is done with an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Somebody is called.
    Trigger,
    /// It is over.
    Resolve,
}

impl Action {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Resolve => "resolve",
        }
    }
}

/// The body of the event. `rollout` is the one that somebody was called for.
pub fn event(told: &Announcement, rollout: i64, action: Action, routing_key: &str, base: Option<&str>) -> Value {
    let Announcement { app, environment, release, .. } = told;
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": action.as_str(),
        "dedup_key": cut(&format!("bascule/{app}/{environment}/rollout-{rollout}"), KEY),
    });
    if action == Action::Resolve {
        return event;
    }
    let severity = if told.occasion == Occasion::Failed { "critical" } else { "error" };
    event["payload"] = json!({
        "summary": cut(&format!("{app} {environment}: {}", told.sentence), SUMMARY),
        "source": format!("bascule/{app}/{environment}"),
        "severity": severity,
        "timestamp": ids::rfc3339(told.at_ms),
        "component": release,
        "group": app,
        "class": told.occasion.as_str(),
        "custom_details": told,
    });
    event["client"] = json!("Bascule");
    if let Some(base) = base {
        event["links"] = json!([{"href": link(base, told), "text": "the rollout"}]);
    }
    event
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn a_failed_rollback_calls_somebody_and_its_end_resolves_the_same_incident() {
        let told = example(Occasion::Failed);
        let trigger = event(&told, 7, Action::Trigger, "key", Some("https://bascule.example"));
        assert_eq!((&trigger["event_action"], &trigger["routing_key"]), (&json!("trigger"), &json!("key")));
        assert_eq!(trigger["dedup_key"], "bascule/web/production/rollout-7");
        let payload = &trigger["payload"];
        assert_eq!(payload["severity"], "critical");
        assert_eq!(payload["timestamp"], "2023-11-14T22:13:20.123Z");
        assert_eq!(payload["source"], "bascule/web/production");
        assert_eq!(payload["custom_details"]["evidence"]["hurt"], 12);
        assert!(payload["summary"].as_str().is_some_and(|summary| summary.starts_with("web production: All traffic")));
        let later = example(Occasion::RolledBack);
        let resolve = event(&later, 7, Action::Resolve, "key", None);
        let expected =
            json!({"routing_key": "key", "event_action": "resolve", "dedup_key": "bascule/web/production/rollout-7"});
        assert_eq!(resolve, expected);
    }
}
