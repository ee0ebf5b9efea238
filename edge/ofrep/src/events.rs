//! The stream of changes: server-sent events that tell a client to fetch again.
//!
//! The stream carries no values, so it needs no context and one frame serves every client of an environment.

use edge_engine::{Snapshot, parse_rfc3339};

/// Sent at once, so that a client knows that the stream is open.
pub const OPENING: &[u8] = b": ok\n\n";
/// Sent while there is nothing to say, so that nobody on the way closes the stream.
pub const PING: &[u8] = b": ping\n\n";
/// How long a stream is silent before a ping.
pub const PING_SECONDS: u64 = 15;
/// How long a page may be hidden before its provider closes the stream.
pub(crate) const INACTIVITY_SECONDS: u32 = 120;

/// Names the flags' configuration: the validator that a stream announces, and the id of its events.
pub fn config_version(snapshot: &Snapshot) -> String {
    format!("{}-{:x}", snapshot.number(), parse_rfc3339(snapshot.created_at()).unwrap_or_default())
}

/// When the snapshot was made, seconds since 1970.
pub(crate) fn modified_seconds(snapshot: &Snapshot) -> i64 {
    parse_rfc3339(snapshot.created_at()).unwrap_or_default().div_euclid(1000)
}

/// The event that tells a client to fetch again.
pub fn refetch(snapshot: &Snapshot) -> String {
    let (version, seconds) = (config_version(snapshot), modified_seconds(snapshot));
    format!(
        "id: {version}\nevent: message\ndata: {{\"type\":\"refetchEvaluation\",\"etag\":\"{version}\",\"lastModified\":{seconds}}}\n\n"
    )
}

/// Whether a client that names the last event it has seen has missed one.
pub fn has_missed(last_event_id: Option<&[u8]>, snapshot: &Snapshot) -> bool {
    last_event_id.is_some_and(|seen| !seen.is_empty() && seen != config_version(snapshot).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn an_event_has_a_stable_id_and_says_what_to_do() {
        let snapshot = samples::snapshot();
        let frame = refetch(&snapshot);
        assert_eq!(frame, refetch(&snapshot));
        let (id, rest) = frame.strip_prefix("id: ").unwrap().split_once('\n').unwrap();
        assert_eq!(id, config_version(&snapshot));
        let data = rest.strip_prefix("event: message\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
        let json: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(json["type"], "refetchEvaluation");
        assert_eq!(json["etag"], id);
        assert_eq!(json["lastModified"], 1_767_225_600);
    }

    #[test]
    fn a_client_that_has_seen_the_last_event_has_missed_none() {
        let snapshot = samples::snapshot();
        assert!(!has_missed(None, &snapshot));
        assert!(!has_missed(Some(b""), &snapshot));
        assert!(!has_missed(Some(config_version(&snapshot).as_bytes()), &snapshot));
        assert!(has_missed(Some(b"6-0"), &snapshot));
    }
}
