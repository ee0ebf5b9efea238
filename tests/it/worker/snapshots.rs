//! Which snapshots a Worker takes, and what serves when it cannot get one.

use admin_api::edge::bucketing_key_id;
use serde_json::json;
use tests::Origin;

use super::runtime::{HOST, KEY, Setup, TOKEN, Worker, document, json_of, refused, sealed};

#[test]
fn without_a_snapshot_the_origin_serves() {
    let origin = Origin::named("origin");
    let worker = Worker::start(&origin);
    let answer = worker.client().get(HOST, "/a?b=c", "x-bascule-release: forged\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (200, "origin"));
    assert_eq!(origin.last().target(), "/a?b=c");
    assert_eq!(origin.last().field("x-bascule-release"), None);
}

#[test]
fn only_newer_snapshots_of_this_environment_that_a_trusted_key_signed_are_taken() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let worker = Worker::start(&blue);
    worker.publish(&document(5, &blue, &green, 0));
    // The same again is the same answer: a push may be repeated.
    worker.publish(&document(5, &blue, &green, 0));

    let newer = document(6, &blue, &green, 100);
    refused(&worker.push(&sealed(1, &document(4, &blue, &green, 100), &KEY)), 409, "older");
    refused(&worker.push(&sealed(1, &document(5, &blue, &green, 100), &KEY)), 409, "same_number");
    refused(&worker.push(&sealed(2, &newer, &KEY)), 422, "key_unknown");
    let mut forged = sealed(1, &newer, &KEY);
    forged.push(b' ');
    refused(&worker.push(&forged), 422, "signature_invalid");
    let mut other = newer.clone();
    other["environment"] = json!("staging");
    refused(&worker.push(&sealed(1, &other, &KEY)), 422, "document_invalid");
    let mut committed = newer.clone();
    committed["bucketingKeyId"] = json!(bucketing_key_id(&[8; 16]));
    refused(&worker.push(&sealed(1, &committed, &KEY)), 422, "document_invalid");
    let mut malformed = newer.clone();
    malformed["format"] = json!("v2");
    refused(&worker.push(&sealed(1, &malformed, &KEY)), 422, "format_unknown");
    refused(&worker.push(b"no head"), 422, "document_invalid");
    assert_eq!(worker.client().get(HOST, "/", "").text(), "blue");

    worker.publish(&newer);
    assert_eq!(worker.client().get(HOST, "/", "").text(), "green");
}

#[test]
fn the_own_paths_are_for_the_edge_token_alone() {
    let origin = Origin::named("origin");
    let worker = Worker::start(&origin);
    for (method, path) in [("PUT", "snapshot"), ("POST", "evaluate"), ("GET", "anything")] {
        refused(&worker.own(method, path, "bsc_edge_of_somebody", b"{}"), 401, "unauthorized");
        refused(&worker.own(method, path, "", b"{}"), 401, "unauthorized");
    }
    refused(&worker.own("GET", "anything", TOKEN, b""), 404, "not_found");
    refused(&worker.own("POST", "evaluate", TOKEN, b"{}"), 503, "no_snapshot");
    assert!(origin.seen().is_empty(), "nothing below the Worker's own prefix is forwarded");
}

#[test]
fn a_new_isolate_asks_the_object_and_without_the_object_the_copy_serves() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let mut worker = Worker::start(&blue);
    worker.publish(&document(3, &blue, &green, 100));
    assert_eq!(worker.client().get(HOST, "/", "").text(), "green");
    worker.restart(&Setup::new(&blue));
    assert_eq!(worker.client().get(HOST, "/", "").text(), "green", "the object kept it");
    refused(&worker.push(&sealed(1, &document(2, &blue, &green, 0), &KEY)), 409, "older");
    worker.restart(&Setup::new(&blue).object("none"));
    let answer = worker.client().get(HOST, "/", "");
    assert_eq!(answer.text(), "green", "the copy serves");
    refused(&worker.push(&sealed(1, &document(4, &blue, &green, 0), &KEY)), 503, "object_unavailable");
    let decision = json_of(&worker.own("POST", "evaluate", TOKEN, b"{}"));
    assert_eq!(decision["snapshot"], 3);
}
