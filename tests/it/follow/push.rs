//! What is pushed decides, and is acknowledged as soon as it does.

use std::time::{Duration, Instant};

use admin_api::edge::{Access, EnvironmentAccess, OfrepToken, Scope};
use server::config::Config;
use server::config::layers::Layers;
use server::gateway::start::Gateway;
use server::lifecycle::Lifecycle;
use tests::ControlPlane;
use tests::control_plane::TOKEN;

use super::{Story, document};
use crate::live::{Client, Origin};
use crate::rig::{eventually, get};

#[test]
fn a_pushed_snapshot_decides_and_is_acknowledged_with_its_engine() {
    let story = Story::begin();
    let green = Origin::start("green");
    let mut client = Client::new(story.gateway.address());
    assert_eq!(client.get("u").unwrap(), (200, "blue".to_owned()));
    story.plane.publish(&document("production", 2, &green));
    let (ack, _) = story.plane.until_ack("production", 2);
    assert_eq!(client.get("u").unwrap(), (200, "green".to_owned()), "the acknowledgement is the truth");
    assert_eq!((ack.scope.app.as_str(), ack.engine.len()), ("web", 64), "an engine hash");
    let posted = story.plane.acks();
    assert!(posted.iter().all(|acks| acks.connection == "connection-1" && !acks.edge.is_empty()), "{posted:?}");
    let link = story.link();
    assert_eq!((&link["status"], &link["connected"], &link["reason"]), (&"healthy".into(), &true.into(), &().into()));
    assert_eq!(story.metric("bascule_control_plane_connected"), Some(1.0));
    assert_eq!(story.health()["checks"]["snapshot:web/production"]["origin"], "control-plane");
}

#[test]
fn who_connects_says_who_it_is_and_shows_its_token() {
    let story = Story::begin_with(&[("EDGE_ID", "edge/7".to_owned()), ("REGION", "eu".to_owned())]);
    let visit = story.plane.visits().remove(0);
    for part in ["edge=edge%2F7", "kind=gateway", "region=eu", "version=", "boot=", "engine="] {
        assert!(visit.target.contains(part), "{part} in {}", visit.target);
    }
    assert_eq!((visit.authorization, visit.last_id), (Some(format!("Bearer {TOKEN}")), None));
}

/// A push is measured from the hand-over to the control plane's socket until its acknowledgement is read there: both ways
/// over loopback, the check, the trial load, and the swap.
#[test]
fn a_small_snapshot_is_acknowledged_within_milliseconds() {
    let story = Story::begin();
    let mut times: Vec<(Duration, u64)> = (2..=40)
        .map(|number| {
            let document = story.document(number);
            let sent = Instant::now();
            story.plane.publish(&document);
            let (ack, at) = story.plane.until_ack("production", number);
            (at - sent, ack.applied_us)
        })
        .collect();
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("push to acknowledgement: median {median:?}, slowest {worst:?} (and what the edge says of it, in µs)");
    // The bound is for an unoptimised build beside other tests.
    assert!(median.0 < Duration::from_millis(50), "{times:?}");
}

#[test]
fn several_environments_at_the_connection_are_published_in_one_change() {
    let (plane, origin) = (ControlPlane::start(), Origin::start("blue"));
    let names: Vec<_> = (0..20).map(|n| format!("e{n}")).collect();
    for name in &names {
        plane.publish(&document(name, 3, &origin));
    }
    let gateway = super::follow(&plane, &[]);
    for name in &names {
        plane.until_ack(name, 3);
    }
    let publications = gateway.board().report().swaps.publications;
    assert!(publications < 10, "{publications} for {} snapshots", names.len());
}

#[test]
fn a_backlog_costs_one_preparation_per_environment() {
    let story = Story::begin();
    let before = story.gateway.board().report().swaps.publications;
    for number in 2..=200 {
        story.plane.publish(&story.document(number));
    }
    story.plane.until_ack("production", 200);
    let took = story.gateway.board().report().swaps.publications - before;
    assert!(took < 199, "{took} publications");
    let numbers: Vec<_> = story.plane.acks().iter().flat_map(|acks| &acks.acks).map(|ack| ack.number).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
}

#[test]
fn the_access_list_goes_to_whoever_asked_for_it_and_is_there_after_a_restart() {
    let (plane, folder) = (ControlPlane::start(), tempfile::tempdir().unwrap());
    let scope = Scope { app: "web".into(), environment: "production".into() };
    let token = OfrepToken { sha256: "ab".repeat(32), is_client: true, expires_at_ms: Some(7) };
    let access = Access { environments: vec![EnvironmentAccess { scope, tokens: vec![token] }] };
    plane.access(&access);
    let start = || {
        let mut config = Config::read(&Layers::default()).unwrap();
        (config.listen, config.ops) = ("127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap());
        config.state_dir = Some(folder.path().to_owned());
        config.follow = Some(server::config::follow::Follow {
            url: plane.url().parse().unwrap(),
            token: server::config::secret::Secret::new(TOKEN),
            public_keys: Vec::new(),
            edge_id: None,
            ca: None,
        });
        Gateway::start(&config, &Lifecycle::new()).unwrap()
    };
    let gateway = start();
    eventually("the list comes", || gateway.publisher().access(), |told| *told == access);
    gateway.stop();
    plane.answers(tests::control_plane::Answer::Hangs);
    let gateway = start();
    assert_eq!(gateway.publisher().access(), access, "from disk, before the start returns");
    assert_eq!(get(gateway.ops_address(), "/readyz").status, 503, "there is no snapshot yet");
}
