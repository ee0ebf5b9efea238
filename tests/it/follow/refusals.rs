//! What is not taken: the last good snapshot serves on, under load, and the control plane hears why.

use std::fmt::Write as _;

use admin_api::edge::BucketingSecret;
use serde_json::{Value, json};
use tests::control_plane::{BUCKETING_KEY, Signer, snapshot_event};

use super::{Story, document};
use crate::live::Origin;
use crate::rig::eventually;

/// Sends an event that is not to be taken; the code under which it is refused.
#[track_caller]
fn refused(story: &Story, number: u64, event: &bytes::Bytes) -> String {
    let load = story.load();
    story.plane.send(event);
    let nack = story.plane.until_nack("production", number);
    assert_eq!(story.number(), Some(1), "the last good one goes on");
    let link = story.link();
    let shown = &link["refused"]["web/production"];
    assert_eq!(
        (&link["status"], &shown["code"], &shown["number"]),
        (&"warn".into(), &nack.code.as_str().into(), &number.into())
    );
    let series = format!("bascule_snapshots_refused_total{{source=\"control-plane\",reason=\"{}\"}}", nack.code);
    assert_eq!(story.metric(&series), Some(1.0), "{series}");
    // A good one is taken after it, which also clears the refusal.
    story.plane.publish(&story.document(1000));
    story.plane.until_ack("production", 1000);
    eventually("the refusal is history", || story.link(), |link| link["status"] == "healthy");
    assert!(!nack.detail.is_empty() && !nack.detail.contains(BUCKETING_KEY), "{}", nack.detail);
    load.end();
    nack.code
}

#[test]
fn a_bad_signature_is_refused() {
    let story = Story::begin();
    let document = story.document(2);
    let mut head = story.plane.signer().head(&document);
    let flipped = if head.signature.starts_with('0') { "1" } else { "0" };
    head.signature.replace_range(0..1, flipped);
    assert_eq!(refused(&story, 2, &snapshot_event(&head, &document.to_string(), 9)), "signature_invalid");
}

#[test]
fn a_document_that_was_changed_on_its_way_is_refused() {
    let story = Story::begin();
    let document = story.document(2);
    let head = story.plane.signer().head(&document);
    let changed = document.to_string().replace("\"version\":\"1\"", "\"version\":\"6\"");
    assert_ne!(changed, document.to_string());
    assert_eq!(refused(&story, 2, &snapshot_event(&head, &changed, 9)), "signature_invalid");
}

#[test]
fn a_bucketing_key_that_was_exchanged_on_its_way_is_refused() {
    let story = Story::begin();
    let mut document = story.document(2);
    let id = admin_api::edge::bucketing_key_id(&[7; 16]);
    document["bucketingKeyId"] = id.as_str().into();
    let mut head = story.plane.signer().head(&document);
    head.bucketing_key = BucketingSecret { id, key: "08".repeat(16) };
    assert_eq!(refused(&story, 2, &snapshot_event(&head, &document.to_string(), 9)), "document_invalid");
}

#[test]
fn an_unknown_key_is_refused_however_well_it_signs() {
    let story = Story::begin();
    let document = story.document(2);
    let head = Signer::new(2).head(&document);
    assert_eq!(refused(&story, 2, &snapshot_event(&head, &document.to_string(), 9)), "key_unknown");
}

#[test]
fn a_snapshot_of_another_environment_is_refused() {
    let story = Story::begin();
    let staging = document("staging", 2, &story.origin);
    // Signed as it is, and sent as production's.
    let head = story.plane.signer().head_of(&story.document(2), staging.to_string().as_bytes());
    assert_eq!(refused(&story, 2, &snapshot_event(&head, &staging.to_string(), 9)), "document_invalid");
}

#[test]
fn a_number_that_is_not_the_documents_is_refused() {
    let story = Story::begin();
    let other = story.document(3);
    let head = story.plane.signer().head_of(&story.document(2), other.to_string().as_bytes());
    assert_eq!(refused(&story, 2, &snapshot_event(&head, &other.to_string(), 9)), "document_invalid");
}

#[test]
fn a_lower_number_is_refused() {
    let story = Story::begin();
    let older = story.document(0);
    let head = story.plane.signer().head(&older);
    assert_eq!(refused(&story, 0, &snapshot_event(&head, &older.to_string(), 9)), "older");
}

#[test]
fn another_content_under_the_same_number_is_refused_and_the_same_one_is_acknowledged() {
    let story = Story::begin();
    let mut other = story.document(1);
    other["createdAt"] = "2026-02-02T00:00:00Z".into();
    let head = story.plane.signer().head(&other);
    assert_eq!(refused(&story, 1, &snapshot_event(&head, &other.to_string(), 9)), "same_number");
    let before = story.plane.acks().len();
    let publications = story.gateway.board().report().swaps.publications;
    story.plane.publish(&story.document(1000));
    eventually("it is acknowledged again", || story.plane.acks().len(), |count| *count > before);
    assert_eq!(story.gateway.board().report().swaps.publications, publications, "and nothing is swapped");
}

#[test]
fn a_truncated_document_is_refused() {
    let story = Story::begin();
    let document = story.document(2);
    let text = document.to_string();
    let half = &text[..text.len() / 2];
    let head = story.plane.signer().head(&document);
    assert_eq!(refused(&story, 2, &snapshot_event(&head, half, 9)), "signature_invalid");
}

#[test]
fn a_truncated_document_that_is_signed_is_refused() {
    let story = Story::begin();
    let text = story.document(2).to_string();
    let half = &text[..text.len() / 2];
    let head = story.plane.signer().head_of(&story.document(2), half.as_bytes());
    assert_eq!(refused(&story, 2, &snapshot_event(&head, half, 9)), "document_invalid");
}

#[test]
fn an_unknown_format_is_refused() {
    let story = Story::begin();
    let mut document = story.document(2);
    document["format"] = "v9".into();
    let head = story.plane.signer().head(&document);
    assert_eq!(refused(&story, 2, &snapshot_event(&head, &document.to_string(), 9)), "format_unknown");
}

#[test]
fn a_snapshot_with_the_bucketing_key_of_another_one_is_refused() {
    let story = Story::begin();
    let document = story.document(2);
    let mut head = story.plane.signer().head(&document);
    head.bucketing_key.id = "k9".to_owned();
    assert_eq!(refused(&story, 2, &snapshot_event(&head, &document.to_string(), 9)), "document_invalid");
}

#[test]
fn a_document_with_a_thousand_problems_is_refused_with_a_reason_that_one_can_read() {
    let story = Story::begin();
    let mut document = story.document(2);
    let flags = (0..1000).map(|n| (format!("f{n}"), json!({"id": format!("f{n}"), "type": "boolean"})));
    document["flags"] = Value::Object(flags.collect());
    let head = story.plane.signer().head(&document);
    assert_eq!(refused(&story, 2, &snapshot_event(&head, &document.to_string(), 9)), "document_invalid");
    assert!(story.plane.until_nack("production", 2).detail.len() <= 4096);
}

#[test]
fn garbage_between_the_events_is_passed_over() {
    let story = Story::begin();
    let load = story.load();
    let mut garbage = String::from("garbage\n\nevent: snapshot\ndata: {\n\nevent: snapshot\ndata\n\n");
    for name in ["withdraw", "access", "unheard-of", "snapshot"] {
        let _ = write!(garbage, "event: {name}\nid: 7\ndata: \u{1f4a9}{{]]\n\n:comment\r\n\r\nretry: x\n\n");
    }
    story.plane.send(&garbage.into());
    story.plane.publish(&story.document(2));
    story.plane.until_ack("production", 2);
    assert_eq!(story.plane.visits().len(), 1, "on the same stream");
    assert_eq!(
        story.metric("bascule_snapshots_refused_total{source=\"control-plane\",reason=\"head_invalid\"}"),
        Some(3.0)
    );
    load.end();
}

#[test]
fn one_poisoned_environment_among_good_ones_is_refused_alone() {
    let story = Story::begin();
    let load = story.load();
    let events = |number: u64| {
        let mut events = Vec::new();
        for n in 0..10 {
            let mut document = document(&format!("e{n}"), number, &story.origin);
            if n == 6 {
                // Fine in itself; but the host is production's.
                document["edge"]["hosts"] = json!(["shop.example"]);
            }
            let head = story.plane.signer().head(&document);
            events.extend_from_slice(&snapshot_event(&head, &document.to_string(), 100 + n));
        }
        events
    };
    story.plane.send(&events(1).into());
    for n in (0..10).filter(|n| *n != 6) {
        story.plane.until_ack(&format!("e{n}"), 1);
    }
    let nack = story.plane.until_nack("e6", 1);
    assert_eq!(nack.code, "host_taken");
    assert!(story.plane.acks().iter().flat_map(|acks| &acks.acks).all(|ack| ack.scope.environment != "e6"));
    assert_eq!(story.gateway.board().report().environments.len(), 10);
    load.end();
}

#[test]
fn a_host_moves_to_another_environment_as_soon_as_the_first_gives_it_up() {
    let story = Story::begin();
    let green = Origin::start("green");
    let mut other = document("other", 1, &green);
    other["edge"]["hosts"] = json!(["shop.example"]);
    story.plane.publish(&other);
    assert_eq!(story.plane.until_nack("other", 1).code, "host_taken");
    let mut production = story.document(2);
    production["edge"]["hosts"] = json!(["old.example"]);
    story.plane.publish(&production);
    story.plane.until_ack("production", 2);
    story.plane.until_ack("other", 1);
    let mut client = crate::live::Client::new(story.gateway.address());
    assert_eq!(client.get("u").unwrap(), (200, "green".to_owned()));
    eventually("nothing is refused any more", || story.link(), |link| link["status"] == "healthy");
}

#[test]
fn two_environments_that_swap_their_hosts_do_so_in_one_change() {
    let story = Story::begin();
    let green = Origin::start("green");
    story.plane.publish(&document("other", 1, &green));
    story.plane.until_ack("other", 1);
    let mut events = Vec::new();
    let (mut production, mut other) = (story.document(2), document("other", 2, &green));
    production["edge"]["hosts"] = json!(["other.example"]);
    other["edge"]["hosts"] = json!(["shop.example"]);
    for document in [&other, &production] {
        let head = story.plane.signer().head(document);
        events.extend_from_slice(&snapshot_event(&head, &document.to_string(), 50));
    }
    story.plane.send(&events.into());
    story.plane.until_ack("other", 2);
    story.plane.until_ack("production", 2);
    let mut client = crate::live::Client::new(story.gateway.address());
    assert_eq!(client.get("u").unwrap(), (200, "green".to_owned()));
}
