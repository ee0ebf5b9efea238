//! What was counted is told completely and once, whatever happens to the answers.

use std::collections::BTreeMap;

use admin_api::edge::{EnvironmentReport, ReleaseReport, Report};
use bytes::Bytes;
use serde_json::json;
use tests::control_plane::{Answer, Reporting};
use tests::{ControlPlane, Origin};

use super::{Story, document};
use crate::live::Client;

/// Each report once; fails when one came in two versions or a number is missing.
#[track_caller]
fn distinct(reports: &[Report]) -> Vec<Report> {
    let mut known: BTreeMap<u64, Report> = BTreeMap::new();
    for report in reports {
        let before = known.entry(report.sequence).or_insert_with(|| report.clone());
        assert_eq!(before, report, "a report that is sent again is the same");
    }
    assert!(known.keys().copied().eq(1..=known.len() as u64), "{:?}", known.keys());
    known.into_values().collect()
}

fn environments(reports: &[Report]) -> Vec<EnvironmentReport> {
    distinct(reports).into_iter().flat_map(|report| report.environments).collect()
}

/// The sums over all reports of a release.
#[track_caller]
fn release(reports: &[Report], id: &str) -> ReleaseReport {
    let mut sum = ReleaseReport { release: id.to_owned(), ..ReleaseReport::default() };
    for report in environments(reports).iter().flat_map(|it| &it.releases).filter(|release| release.release == id) {
        let errors = report.client_errors + report.server_errors + report.transport_errors;
        assert!(errors <= report.requests, "{report:?}");
        sum.requests += report.requests;
        sum.client_errors += report.client_errors;
        sum.server_errors += report.server_errors;
        sum.transport_errors += report.transport_errors;
    }
    sum
}

fn flag(reports: &[Report], variant: &str) -> u64 {
    let flags = environments(reports).into_iter().flat_map(|it| it.flags);
    flags.filter(|flag| flag.flag == "checkout" && flag.variant == variant).map(|flag| flag.count).sum()
}

#[test]
fn totals_over_lost_answers_are_the_requests_that_were_sent() {
    let story = Story::begin();
    let mut client = Client::new(story.gateway.address());
    let mut sent = 0;
    let mut send = |count: u64| {
        (0..count).for_each(|_| assert_eq!(client.get("u").unwrap().0, 200));
        sent += count;
        sent
    };
    let told = |total: u64| {
        story.plane.until_posted("the requests are told", |_, reports| {
            (release(reports, "web-1").requests >= total).then_some(())
        });
    };
    told(send(10));
    story.plane.reporting(Reporting::LosesTheAnswer);
    send(20);
    // The others wait behind the one that is sent again and again.
    let before = story.plane.reports().len();
    story.plane.until_posted("it is sent again", |_, reports| (reports.len() > before + 3).then_some(()));
    send(5);
    story.plane.reporting(Reporting::Takes);
    told(send(30));
    story.plane.reporting(Reporting::Refuses);
    send(7);
    story.plane.answers(Answer::Status(500, Vec::new(), Bytes::new()));
    story.plane.hang_up();
    story.until_reason("500");
    send(8);
    story.plane.reporting(Reporting::Takes);
    story.plane.answers(Answer::Stream);
    let total = send(20);
    told(total);
    let Story { gateway, plane, .. } = story;
    gateway.stop();
    let reports = plane.reports();
    assert!(reports.len() > distinct(&reports).len(), "some came twice, as they were");
    assert_eq!(release(&reports, "web-1").requests, total, "and count once");
    assert_eq!((flag(&reports, "on"), flag(&reports, "off")), (total, 0), "each decision of the forwarded flag");
}

#[test]
fn errors_are_told_by_whose_they_are() {
    let plane = ControlPlane::start();
    let origin = Origin::scripted(|exchange| match exchange.seen.target() {
        "/404" => exchange.respond("404 Not Found", "", "no"),
        "/503" => exchange.respond("503 Service Unavailable", "", "ill"),
        "/gone" => Err(std::io::ErrorKind::BrokenPipe.into()),
        _ => exchange.ok("fine"),
    });
    let mut snapshot = document("production", 1, &crate::live::Origin::start("unused"));
    snapshot["releases"]["web-1"]["upstreams"] = json!([{"url": origin.url()}]);
    plane.publish(&snapshot);
    let gateway = super::follow(&plane, &[]);
    plane.until_ack("production", 1);
    let mut client = Client::new(gateway.address());
    for (target, expected) in [("/", 200), ("/404", 404), ("/404", 404), ("/503", 503), ("/gone", 502), ("/", 200)] {
        let (status, _) = client.send(&format!("GET {target} HTTP/1.1\r\nhost: shop.example\r\n\r\n")).unwrap();
        assert_eq!(status, expected, "{target}");
    }
    gateway.stop();
    let expected = ReleaseReport {
        release: "web-1".to_owned(),
        requests: 6,
        client_errors: 2,
        server_errors: 1,
        transport_errors: 1,
        ..ReleaseReport::default()
    };
    assert_eq!(release(&plane.reports(), "web-1"), expected);
}

#[test]
fn a_candidate_whose_failure_is_hidden_is_told_on() {
    let plane = ControlPlane::start();
    let active = Origin::named("active");
    let candidate = Origin::scripted(|exchange| exchange.respond("500 Internal Server Error", "", "ill"));
    let mut snapshot = document("production", 1, &crate::live::Origin::start("unused"));
    snapshot["releases"] = json!({
        "web-1": {"version": "1", "upstreams": [{"url": active.url()}]},
        "web-2": {"version": "2", "upstreams": [{"url": candidate.url()}]},
    });
    snapshot["traffic"] = json!({
        "active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 1_000_000, "salt": "s",
    });
    snapshot["edge"]["shield"] = true.into();
    plane.publish(&snapshot);
    let gateway = super::follow(&plane, &[]);
    plane.until_ack("production", 1);
    let mut client = Client::new(gateway.address());
    for _ in 0..3 {
        assert_eq!(client.get("u").unwrap(), (200, "active".to_owned()));
    }
    gateway.stop();
    let reports = plane.reports();
    let (candidate, active) = (release(&reports, "web-2"), release(&reports, "web-1"));
    assert_eq!((candidate.requests, candidate.server_errors, candidate.transport_errors), (3, 3, 0));
    assert_eq!((active.requests, active.server_errors), (3, 0));
}

#[test]
fn environments_without_traffic_are_not_in_a_report() {
    let story = Story::begin();
    let reports =
        story.plane.until_posted("three reports", |_, reports| (reports.len() >= 3).then(|| reports.to_vec()));
    assert!(reports.iter().all(|report| report.environments.is_empty() && report.covers_ms > 0), "{reports:?}");
}
