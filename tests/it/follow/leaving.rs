//! A gateway that ends: it follows to the last request, reports, and says that it leaves.

use std::sync::atomic::Ordering;
use std::time::Duration;

use admin_api::edge::{Acks, Report};
use tests::ControlPlane;
use tests::control_plane::{Answer, BUCKETING_KEY, TOKEN};

use super::{Story, document};
use crate::live::{Client, Origin};
use crate::rig::eventually;
use crate::running::Process;

fn requests(reports: &[Report]) -> u64 {
    let mut seen: Vec<u64> = Vec::new();
    let first = reports.iter().filter(|report| {
        let is_new = !seen.contains(&report.sequence);
        seen.push(report.sequence);
        is_new
    });
    first.flat_map(|report| &report.environments).flat_map(|it| &it.releases).map(|release| release.requests).sum()
}

#[test]
fn while_it_drains_a_snapshot_still_arrives_and_then_it_reports_and_leaves() {
    let story = Story::begin();
    let address = story.gateway.address();
    story.origin.is_held.store(true, Ordering::SeqCst);
    let request = std::thread::spawn(move || Client::new(address).get("u").expect("it is answered"));
    let waiting = || story.origin.waiting.load(Ordering::SeqCst);
    eventually("the request is at the origin", waiting, |waiting| *waiting == 1);
    let Story { gateway, plane, origin } = story;
    let stopping = std::thread::spawn(move || gateway.stop());
    let refused = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err();
    eventually("no more requests are accepted", refused, |refused| *refused);
    plane.publish(&document("production", 2, &origin));
    plane.until_ack("production", 2);
    assert!(plane.acks().iter().all(|acks| !acks.leaving), "a request is still under way");
    origin.is_held.store(false, Ordering::SeqCst);
    assert_eq!(request.join().expect("no panic"), (200, "blue".to_owned()));
    stopping.join().expect("no panic");
    let posted = plane.acks();
    let (last, others) = posted.split_last().expect("it was acknowledged");
    assert!(last.leaving && others.iter().all(|acks| !acks.leaving), "{posted:?}");
    assert_eq!(requests(&plane.reports()), 1, "{:?}", plane.reports());
}

#[test]
fn leaving_is_said_at_sigterm_and_no_secret_is_in_the_log() {
    let (plane, origin) = (ControlPlane::start(), Origin::start("blue"));
    plane.publish(&document("production", 1, &origin));
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let state = folder.path().join("state");
    let (token, state) = (token.display().to_string(), state.display().to_string());
    let url = plane.url();
    let source = ["--admin", &url, "--token-file", &token, "--state-dir", &state];
    let process = Process::start_from(&source, "127.0.0.1:0", &[("LOG_LEVEL", "trace")], |_| ());
    plane.until_ack("production", 1);
    // A refusal says what is wrong, and nothing more.
    let mut other = document("production", 2, &origin);
    other["flags"] = 7.into();
    plane.publish(&other);
    plane.until_nack("production", 2);
    assert_eq!(Client::new(process.listen).get("u").unwrap(), (200, "blue".to_owned()));
    process.signal("-TERM");
    let (code, log) = process.end();
    assert_eq!(code, Some(0), "{log}");
    let leaving = |acks: &[Acks], _: &[Report]| acks.last().is_some_and(|acks| acks.leaving).then_some(());
    plane.until_posted("it says that it leaves", leaving);
    assert_eq!(requests(&plane.reports()), 1);
    for secret in [TOKEN, BUCKETING_KEY] {
        assert!(!log.contains(secret), "{log}");
    }
    assert!(log.contains("no public key is pinned"), "{log}");
}

#[test]
fn a_control_plane_that_is_away_does_not_hold_up_the_end() {
    let story = Story::begin();
    story.plane.answers(Answer::Hangs);
    story.plane.hang_up();
    eventually("it is away", || story.link(), |link| link["connected"] == false);
    let began = std::time::Instant::now();
    story.gateway.stop();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
