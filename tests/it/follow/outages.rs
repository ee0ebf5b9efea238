//! A control plane that is away or ill: whatever it answers, what runs goes on, and the edge comes back.

use std::time::Duration;

use admin_api::edge::{Current, PublicKey, Welcome};
use bytes::Bytes;
use tests::control_plane::{Answer, event};

use super::Story;
use crate::rig::eventually;

/// Breaks the stream and has the control plane answer so; then it is well again.
#[track_caller]
fn survives(answer: Answer, reason: &str) {
    let mut story = Story::begin();
    let load = story.load();
    story.plane.answers(answer);
    story.plane.hang_up();
    story.until_reason(reason);
    let seen = story.plane.visits().len();
    story.plane.until_visits(seen + 1);
    assert_eq!(story.link()["connected"], false);
    recovers(&mut story);
    load.end();
}

/// A snapshot of now comes as soon as the control plane is well.
#[track_caller]
fn recovers(story: &mut Story) {
    assert_eq!(story.number(), Some(1), "the last good one goes on");
    story.plane.answers(Answer::Stream);
    story.plane.publish(&story.document(2));
    story.plane.until_ack("production", 2);
    story.until_connected();
    assert_eq!(story.link()["status"], "healthy");
    assert!(story.metric("bascule_control_plane_reconnects_total").is_some_and(|count| count >= 1.0));
}

fn status(code: u16) -> Answer {
    Answer::Status(code, Vec::new(), Bytes::from_static(b"no"))
}

fn welcome(connection: &str, key: PublicKey) -> Welcome {
    Welcome { connection: connection.to_owned(), heartbeat_ms: 60_000, report_ms: 1000, public_keys: vec![key] }
}

fn raw(text: &str, stays: bool) -> Answer {
    Answer::Raw { bytes: Bytes::from(text.to_owned()), stays }
}

#[test]
fn a_401_changes_nothing() {
    survives(status(401), "it answered 401");
}

#[test]
fn a_403_changes_nothing() {
    survives(status(403), "it answered 403");
}

#[test]
fn a_500_changes_nothing() {
    survives(status(500), "it answered 500");
}

#[test]
fn a_redirect_is_not_followed() {
    survives(
        Answer::Status(302, vec![("location", "http://127.0.0.1:1/".to_owned())], Bytes::new()),
        "it answered 302",
    );
}

#[test]
fn an_empty_answer_changes_nothing() {
    survives(Answer::Status(200, Vec::new(), Bytes::new()), "its answer is no stream of events");
}

#[test]
fn an_empty_stream_changes_nothing() {
    survives(raw("", false), "it closed the stream");
}

#[test]
fn a_page_instead_of_a_stream_changes_nothing() {
    let html = vec![("content-type", "text/html".to_owned())];
    survives(Answer::Status(200, html, Bytes::from_static(b"<h1>login</h1>")), "its answer is no stream of events");
}

#[test]
fn a_stream_that_does_not_greet_changes_nothing() {
    let current = event("current", &Current { sequence: 9, environments: Vec::new() }, Some(9));
    survives(Answer::Raw { bytes: current, stays: true }, "does not begin with a welcome");
}

#[test]
fn a_greeting_that_cannot_be_read_changes_nothing() {
    survives(raw("event: welcome\ndata: {\"connection\": 7}\n\n", true), "its welcome cannot be read");
}

#[test]
fn a_stream_of_garbage_changes_nothing() {
    survives(raw(&"\u{1f4a9}\0\r\n\r\n".repeat(10_000), false), "it closed the stream");
}

#[test]
fn a_huge_event_ends_the_stream_and_changes_nothing() {
    let mut bytes = vec![b'x'; 41 << 20];
    bytes[..6].copy_from_slice(b"data: ");
    survives(Answer::Raw { bytes: bytes.into(), stays: true }, "an event is larger than 40 MiB");
}

#[test]
fn a_stream_that_breaks_off_in_an_event_changes_nothing() {
    survives(raw("event: welcome\ndata: {\"connec", false), "it closed the stream");
}

#[test]
fn a_refused_connection_changes_nothing_and_the_edge_comes_back() {
    let mut story = Story::begin();
    let load = story.load();
    story.plane.close();
    story.until_reason("it cannot be reached");
    assert_eq!(story.metric("bascule_control_plane_connected"), Some(0.0));
    story.plane.open();
    recovers(&mut story);
    load.end();
}

#[test]
fn a_silent_stream_is_given_up_after_three_heartbeats() {
    let mut story = Story::begin();
    let load = story.load();
    story.plane.heartbeat(Duration::from_millis(50));
    story.plane.hang_up();
    story.until_reason("its stream was silent for 150 ms");
    story.plane.heartbeat(Duration::from_mins(1));
    recovers(&mut story);
    load.end();
}

#[test]
fn heartbeats_keep_a_stream() {
    let story = Story::begin();
    story.plane.heartbeat(Duration::from_millis(200));
    story.plane.hang_up();
    story.plane.until_visits(2);
    for _ in 0..20 {
        story.plane.send(&Bytes::from_static(b":\n\n"));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(story.plane.visits().len(), 2, "a second of comments, and no reconnect");
}

#[test]
fn retry_after_is_waited_for() {
    let story = Story::begin();
    story.plane.answers(Answer::Status(503, vec![("retry-after", "1".to_owned())], Bytes::new()));
    let started = std::time::Instant::now();
    story.plane.hang_up();
    story.until_reason("it answered 503");
    let first = story.plane.visits().len();
    let (before, _) = (started.elapsed(), story.plane.until_visits(first + 1));
    assert!(started.elapsed() > Duration::from_millis(950), "{before:?} and {:?}", started.elapsed());
}

#[test]
fn a_goodbye_says_within_which_time_to_come_back() {
    let story = Story::begin();
    story.plane.goodbye(100);
    story.plane.until_visits(2);
    story.until_connected();
    story.plane.publish(&story.document(2));
    story.plane.until_ack("production", 2);
}

#[test]
fn a_control_plane_that_says_nothing_but_goodbye_is_not_asked_in_a_loop() {
    let story = Story::begin();
    let mut bytes = event("welcome", &welcome("short", story.plane.public_key()), None).to_vec();
    bytes.extend_from_slice(&event("goodbye", &admin_api::edge::Goodbye { retry_ms: 0 }, None));
    story.plane.answers(Answer::Raw { bytes: bytes.into(), stays: false });
    story.plane.hang_up();
    story.plane.until_visits(4);
    let before = story.plane.visits().len();
    std::thread::sleep(Duration::from_millis(300));
    assert!(story.plane.visits().len() < before + 10, "{}", story.plane.visits().len());
}

#[test]
fn an_edge_that_comes_back_names_the_last_event_and_gets_what_came_since() {
    let story = Story::begin();
    story.plane.publish(&story.document(2));
    story.plane.until_ack("production", 2);
    // What is published while nobody listens comes at the next connection.
    story.plane.answers(status(500));
    story.plane.hang_up();
    story.until_reason("500");
    story.plane.publish(&story.document(3));
    story.plane.answers(Answer::Stream);
    story.plane.until_ack("production", 3);
    let visits = story.plane.visits();
    assert_eq!(visits.last().and_then(|visit| visit.last_id.as_deref()), Some("2"), "{visits:?}");
    assert!(visits.iter().all(|visit| visit.target == visits[0].target), "the same edge and process: {visits:?}");
}

#[test]
fn what_runs_is_said_again_on_every_new_stream() {
    let story = Story::begin();
    story.plane.hang_up();
    story.plane.until_visits(2);
    let again = story.plane.until_posted("an acknowledgement of the second stream", |acks, _| {
        acks.iter().find(|acks| acks.connection == "connection-2").cloned()
    });
    assert_eq!((again.acks.len(), again.acks[0].number), (1, 1));
}

#[test]
fn a_control_plane_with_other_keys_takes_nothing_away() {
    let story = Story::begin();
    let load = story.load();
    let key = PublicKey { id: "0".repeat(16), key: tests::control_plane::Signer::new(9).public() };
    let scope = admin_api::edge::Scope { app: "web".into(), environment: "production".into() };
    let other = admin_api::edge::Scope { environment: "staging".into(), ..scope.clone() };
    let mut bytes = event("welcome", &welcome("impostor", key), None).to_vec();
    bytes.extend_from_slice(&event("withdraw", &scope, Some(8)));
    bytes.extend_from_slice(&event("current", &Current { sequence: 9, environments: vec![other] }, Some(9)));
    bytes.extend_from_slice(&event("withdraw", &scope, Some(10)));
    story.plane.answers(Answer::Raw { bytes: bytes.into(), stays: true });
    story.plane.hang_up();
    story.until_reason("it signs with no key that this edge trusts");
    // The stream is read to its end: the number of its last event is what the edge names afterwards.
    story.plane.answers(Answer::Stream);
    let seen = story.plane.visits().len();
    story.plane.hang_up();
    let visits = story.plane.until_visits(seen + 1);
    assert_eq!(visits.last().and_then(|visit| visit.last_id.as_deref()), Some("10"));
    assert_eq!(story.number(), Some(1));
    load.end();
}

#[test]
fn a_reason_is_logged_once_and_the_gateway_stays_ready() {
    let story = Story::begin();
    story.plane.answers(status(401));
    story.plane.hang_up();
    let seen = story.plane.visits().len();
    story.plane.until_visits(seen + 3);
    let ready = crate::rig::get(story.gateway.ops_address(), "/readyz");
    assert_eq!(ready.status, 200, "{}", ready.body);
    eventually(
        "it is counted",
        || story.metric("bascule_control_plane_reconnects_total"),
        |count| count.is_some_and(|count| count >= 3.0),
    );
}
