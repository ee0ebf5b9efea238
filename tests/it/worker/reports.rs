//! What a Worker tells the control plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use admin_api::edge::{EnvironmentReport, Failure, LATENCY_BOUNDS_US, Report};
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
    assert_eq!((counts.latency.len(), counts.latency.iter().sum::<u64>()), (LATENCY_BOUNDS_US.len() + 1, 4));
    let halves = counts.split.iter().fold((0, 0), |sum, half| (sum.0 + half.requests, sum.1 + half.failed));
    assert_eq!((counts.split.len(), halves), (2, (4, 3)));
    let counted =
        (&*counts.release, counts.requests, counts.client_errors, counts.server_errors, counts.transport_errors);
    assert_eq!(counted, ("web-2", 4, 1, 3, 0));
    assert_eq!((&*environment.flags[0].flag, environment.flags[0].count), ("checkout", 4));
    assert!(environment.exposed.is_empty(), "nobody is compared");
    // How fast this machine is is nobody's fault.
    let bad: Vec<_> = environment.first_bad.iter().filter(|bad| bad.failure != Failure::Slow).collect();
    let failures: Vec<_> = bad.iter().map(|bad| bad.failure).collect();
    assert_eq!(failures, [Failure::Status, Failure::ClientError, Failure::Status], "each unit once: {bad:?}");
    assert!(bad.iter().all(|bad| bad.is_candidate && bad.weight == 1_000_000));
    assert!(bad.iter().all(|bad| bad.unit.len() == 16) && bad[0].unit != bad[2].unit);
}

/// The bucket that an answer names.
fn bucket(decision: &str) -> u32 {
    let found = decision.split("; ").find_map(|part| part.strip_prefix("bucket="));
    found.and_then(|bucket| bucket.parse().ok()).unwrap_or_else(|| panic!("{decision}"))
}

#[test]
fn units_that_came_and_units_that_waited_are_told() {
    const USERS: u64 = 80;
    let control = Origin::scripted(|exchange| exchange.ok(r#"{"sequence":1}"#));
    let blue = Origin::named("blue");
    let green = Origin::scripted(|exchange| {
        std::thread::sleep(Duration::from_millis(80));
        exchange.ok("green")
    });
    let worker = Worker::of(&Setup::new(&blue).variable("CONTROL_PLANE", &control.url()));
    worker.publish(&document(1, &blue, &green, 20));
    let (mut sampled, mut odd) = (0, [0, 0]);
    for user in 0..USERS {
        let answer = worker.client().get(HOST, "/", &format!("x-user-id: u{user}\r\n"));
        let bucket = bucket(answer.field("x-bascule-decision").expect("debug is on"));
        sampled += usize::from(bucket.is_multiple_of(16));
        odd[usize::from(answer.text() == "green")] += u64::from(bucket % 2 == 1);
    }
    assert!(sampled > 0, "some are in the sample");
    let began = Instant::now();
    let told: Vec<EnvironmentReport> = loop {
        let reports = reports(&control, 1);
        let told: Vec<_> = reports.into_iter().flat_map(|report| report.environments).collect();
        let requests: u64 = told.iter().flat_map(|one| &one.releases).map(|release| release.requests).sum();
        assert!(began.elapsed() < Duration::from_secs(30), "{requests} of {USERS} requests");
        if requests == USERS {
            break told;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let exposed: Vec<_> = told.iter().flat_map(|one| &one.exposed).collect();
    assert_eq!(exposed.len(), sampled, "{exposed:?}");
    assert!(exposed.iter().all(|one| one.weight == 200_000 && one.unit.len() == 16));
    let slow: Vec<_> = told.iter().flat_map(|one| &one.first_bad).filter(|bad| bad.release == "web-2").collect();
    assert!(!slow.is_empty() && slow.iter().all(|bad| bad.failure == Failure::Slow && bad.is_candidate), "{slow:?}");
    assert!(slow.iter().all(|bad| bad.slower_than_ms >= Some(75)), "{slow:?}");
    for (index, release) in ["web-1", "web-2"].into_iter().enumerate() {
        let counts = told.iter().flat_map(|one| &one.releases).filter(|one| one.release == release);
        let (requests, halves) = counts.fold((0, [0, 0]), |(requests, halves), one| {
            let half = |half: usize| halves[half] + one.split[half].requests;
            (requests + one.requests, [half(0), half(1)])
        });
        assert_eq!(halves, [requests - odd[index], odd[index]], "{release}");
    }
}

#[test]
fn while_the_release_of_before_is_kept_ready_the_new_one_is_still_told_of() {
    let control = Origin::scripted(|exchange| exchange.ok(r#"{"sequence":1}"#));
    let old = Origin::named("old");
    let new = Origin::scripted(|exchange| exchange.respond("503 Service Unavailable", "", ""));
    let worker = Worker::of(&Setup::new(&old).variable("CONTROL_PLANE", &control.url()));
    worker.publish(&document(1, &new, &old, 0));
    worker.client().get(HOST, "/", "x-user-id: u1\r\n");
    let report = reports(&control, 1).remove(0);
    let environment = &report.environments[0];
    let bad: Vec<_> = environment.first_bad.iter().filter(|bad| bad.failure == Failure::Status).collect();
    assert_eq!(bad.len(), 1, "{environment:?}");
    assert_eq!((&*bad[0].release, bad[0].is_candidate, bad[0].weight), ("web-1", false, 0));
    assert!(environment.releases[0].split.is_empty() && environment.exposed.is_empty(), "nothing is split");
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
