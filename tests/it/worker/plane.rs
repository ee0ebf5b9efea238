//! A control plane and a Worker in the real runtime: pushed, rolled back under load, reported.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use admin::edges::workers::Worker as Configured;
use admin::store::Location;
use admin_api::edge::Scope;
use serde_json::{Value, json};
use tests::Origin;
use tests::admin::ControlPlane;

use super::runtime::{HOST, Setup, TWIN, Worker};
use crate::api::PRODUCTION;
use crate::rig::eventually;

/// A port that was free a moment ago: the control plane has to know where the Worker will be.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn file(blue: &Origin, green: &Origin) -> String {
    json!({
        "app": "web",
        "environments": {"production": {
            "hosts": [HOST, TWIN],
            "unit": ["header:x-user-id"],
            "traffic": {"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 100},
        }},
        "releases": {
            "web-1": {"version": "1.0.0", "upstreams": [{"url": blue.url()}]},
            "web-2": {"version": "2.0.0", "upstreams": [{"url": green.url()}]},
        },
        "flags": {"checkout": {"clientVisible": true, "environments": {"production": {"fallthrough": "on"}}}},
    })
    .to_string()
}

fn edge(plane: &ControlPlane) -> Value {
    let edges = plane.ask("GET", "/api/v1/edges", None);
    edges.body["items"]
        .as_array()
        .and_then(|items| items.iter().find(|edge| edge["id"] == "edge-cf"))
        .cloned()
        .unwrap_or_default()
}

#[test]
fn a_rollback_is_proved_by_the_object_and_every_isolate_follows_within_what_it_says() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("edge.token");
    let port = free_port();
    let configured = Configured {
        id: "edge-cf".to_owned(),
        scope: Scope { app: "web".to_owned(), environment: "production".to_owned() },
        url: format!("http://127.0.0.1:{port}"),
        token_file: token_file.clone(),
        region: None,
    };
    let database = Location::Sqlite(folder.path().join("bascule.db"));
    let plane = ControlPlane::start_pushing(folder, database, vec![configured]);
    assert_eq!(plane.apply(&file(&blue, &green)).status, 200);
    let token = plane.token("web", "production", "edge");
    std::fs::write(token_file, &token).unwrap();
    let keys = plane.ask("GET", "/api/v1/signing-keys", None);
    let setup = Setup::new(&blue)
        .port(port)
        .twin()
        .variable("PUBLIC_KEYS", keys.body["keys"][0]["key"].as_str().unwrap())
        .variable("EDGE_TOKEN", &token)
        .variable("EDGE", "edge-cf")
        .variable("CONTROL_PLANE", &plane.url());
    let worker = Worker::of(&setup);
    let listed = eventually("the Worker runs it", || edge(&plane), |edge| edge["environments"][0]["number"] == 1);
    assert_eq!((&listed["kind"], &listed["engine"]), (&json!("worker"), &json!("native")));
    let served = |host| worker.client().get(host, "/", "x-user-id: u1\r\n").text();
    eventually("both isolates follow", || (served(HOST), served(TWIN)), |both| both.0 == "green" && both.1 == "green");

    let is_over = AtomicBool::new(false);
    let (began, last) = (Instant::now(), AtomicU64::new(0));
    let answer = Mutex::new(None);
    let returned = std::thread::scope(|scope| {
        for host in [HOST, TWIN] {
            let (worker, is_over, last) = (&worker, &is_over, &last);
            scope.spawn(move || {
                let mut client = worker.client();
                while !is_over.load(Ordering::Relaxed) {
                    let asked = u64::try_from(began.elapsed().as_micros()).unwrap();
                    if client.get(host, "/", "x-user-id: u1\r\n").text() == "green" {
                        last.fetch_max(asked, Ordering::Relaxed);
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        let rolled = plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(json!({"reason": "errors"})));
        let returned = began.elapsed();
        *answer.lock().unwrap() = Some(rolled);
        std::thread::sleep(Duration::from_millis(1500));
        is_over.store(true, Ordering::Relaxed);
        returned
    });
    let rolled = answer.into_inner().unwrap().unwrap();
    assert_eq!(rolled.status, 200, "{rolled:?}");
    let proof = &rolled.body["edges"][0];
    assert_eq!((&proof["id"], &proof["kind"], &proof["boundMs"]), (&json!("edge-cf"), &json!("worker"), &json!(1000)));
    let bound = Duration::from_millis(proof["boundMs"].as_u64().unwrap());
    let late = Duration::from_micros(last.load(Ordering::Relaxed)).saturating_sub(returned);
    println!("the last request for the release came {late:?} after the rollback's answer; stated is {bound:?}");
    assert!(late <= bound, "{late:?}");

    // Behind the answers the isolates report what they counted, every ten seconds; a rate takes two reports.
    let began = Instant::now();
    while edge(&plane)["requestsPerSecond"].as_f64().is_none_or(|rate| rate <= 0.0) {
        assert!(began.elapsed() < Duration::from_mins(1), "{}", edge(&plane));
        assert_eq!(served(HOST), "blue");
        std::thread::sleep(Duration::from_millis(50));
    }
}
