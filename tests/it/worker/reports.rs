//! What a Worker tells the control plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use admin_api::edge::{Failure, Report};
use serde_json::json;
use tests::Origin;

use super::runtime::{HOST, Setup, TOKEN, Worker, document};

/// The reports that a stand-in for the control plane got, each once.
fn reports(control: &Origin, least: usize) -> Vec<Report> {
    let began = Instant::now();
    loop {
        let seen = control.seen();
        if seen.len() >= least || began.elapsed() > Duration::from_secs(30) {
            assert!(seen.len() >= least, "{} of {least} reports after 30 s", seen.len());
            return seen.iter().map(|seen| serde_json::from_slice(&seen.body).expect("a report")).collect();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn counters_and_first_bad_events_reach_the_control_plane_behind_the_answers() {
    let control = Origin::scripted(|exchange| exchange.ok(r#"{"sequence":1}"#));
    let blue = Origin::named("blue");
    let green = Origin::scripted(|exchange| {
        let status = if exchange.seen.target() == "/bad" { "503 Service Unavailable" } else { "404 Not Found" };
        exchange.respond(status, "", "")
    });
    let worker = Worker::of(&Setup::new(&blue).variable("CONTROL_PLANE", &control.url()).variable("EDGE", "edge-eu"));
    let mut document = document(1, &blue, &green, 100);
    document["edge"]["breaker"] = json!({"consecutiveFailures": 0});
    worker.publish(&document);
    for (target, user) in [("/bad", "u1"), ("/bad", "u1"), ("/fine", "u2"), ("/bad", "u3")] {
        worker.client().get(HOST, target, &format!("x-user-id: {user}\r\n"));
    }
    let report = reports(&control, 1).remove(0);
    let seen = control.last();
    assert_eq!(
        (seen.line.as_str(), seen.field("authorization")),
        ("POST /edge/v1/reports HTTP/1.1", Some(&*format!("Bearer {TOKEN}")))
    );
    assert_eq!((&*report.edge, report.sequence, report.lost), ("edge-eu", 1, 0));
    assert!(report.covers_ms >= 1000, "{}", report.covers_ms);
    let environment = &report.environments[0];
    let counts = &environment.releases[0];
    let counted =
        (&*counts.release, counts.requests, counts.client_errors, counts.server_errors, counts.transport_errors);
    assert_eq!(counted, ("web-2", 4, 1, 3, 0));
    assert_eq!((&*environment.flags[0].flag, environment.flags[0].count), ("checkout", 4));
    let bad = &environment.first_bad;
    assert_eq!(bad.len(), 2, "each unit once: {bad:?}");
    assert!(bad.iter().all(|bad| bad.is_candidate && bad.weight == 1_000_000 && bad.failure == Failure::Status));
    assert!(bad.iter().all(|bad| bad.unit.len() == 16) && bad[0].unit != bad[1].unit);
}

#[test]
fn a_report_that_was_not_taken_is_sent_again_and_what_a_trap_cost_is_counted() {
    let is_up = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&is_up);
    let control = Origin::scripted(move |exchange| {
        let status = if gate.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
        exchange.respond(status, "", "{}")
    });
    let blue = Origin::named("blue");
    let broken = Origin::scripted(|exchange| exchange.respond("500 Internal Server Error", "", ""));
    let worker = Worker::of(&Setup::new(&blue).trap().variable("CONTROL_PLANE", &control.url()));
    worker.publish(&document(1, &broken, &broken, 50));
    worker.client().get(HOST, "/", "x-user-id: u1\r\n");
    let first = reports(&control, 1).remove(0);
    is_up.store(true, Ordering::SeqCst);
    worker.client().get(HOST, "/", "x-user-id: u2\r\n");
    let sent = reports(&control, 3);
    assert_eq!(sent[1], first, "the same number with the same content");
    assert_eq!((sent[2].sequence, sent[2].environments[0].releases[0].requests), (2, 1));

    worker.client().get(HOST, "/", "x-user-id: u3\r\n");
    assert_eq!(worker.client().get(HOST, "/", "x-trap: 1\r\n").text(), "blue", "the origin");
    worker.client().get(HOST, "/", "x-user-id: u4\r\n");
    let after = reports(&control, 4).remove(3);
    assert_ne!(after.boot, first.boot, "another process");
    assert_eq!(after.sequence, 1);
    assert!((2..=3).contains(&after.lost), "u3 and the one that trapped are in no report: {}", after.lost);
}
