//! Messages for any receiver of Standard Webhooks: type, timestamp and data, signed (see `outbound::sign`).

use serde_json::{Value, json};

use super::Announcement;
use crate::ids;

/// The body of the message.
pub fn message(told: &Announcement) -> Value {
    json!({
        "type": format!("rollout.{}", told.occasion.as_str()),
        "timestamp": ids::rfc3339(told.at_ms),
        "data": told,
    })
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use crate::integrations::Occasion;

    #[test]
    fn a_message_says_its_type_its_time_and_everything_else() {
        let message = message(&example(Occasion::RolledBack));
        assert_eq!(
            (&message["type"], &message["timestamp"]),
            (&json!("rollout.rolledBack"), &json!("2023-11-14T22:13:20.123Z"))
        );
        let data = &message["data"];
        assert_eq!(
            (&data["release"], &data["rolledBackAfterMs"], &data["page"]),
            (&json!("web-2"), &json!(38), &json!(false))
        );
        assert_eq!(data["evidence"]["candidate"], json!({"total": 260, "bad": 14}));
    }
}
