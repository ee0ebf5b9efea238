//! Upstreams that fail: who answers instead, what is tried again, and what never is.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;
use server::gateway::metrics::Event;
use tests::world::HOST;
use tests::{Origin, World};

/// A port where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn both_slots_down_is_a_503_with_retry_after_and_a_problem() {
    let world = World::of(&nobody(), &nobody()).weight(500_000).start();
    for user in 0..8 {
        let response = world.client().get(HOST, "/", &format!("x-user-id: u{user}\r\n"));
        assert_eq!((response.status, response.code().as_str()), (503, "upstream_unavailable"));
        assert_eq!(response.field("retry-after"), Some("1"));
    }
}

#[test]
fn a_candidate_that_is_down_is_represented_by_the_active_release() {
    let blue = Origin::named("blue");
    let world = World::of(&blue.url(), &nobody()).weight(1_000_000).start();
    for _ in 0..10 {
        let mut client = world.client();
        client.send(format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 2\r\n\r\nhi"));
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (200, "blue"));
        assert_eq!(response.field("x-bascule-release"), Some("web-1"));
        assert!(
            response.field("x-bascule-decision").is_some_and(|d| d.contains("slot=green") && d.contains("served=blue"))
        );
    }
    assert!(world.count(Event::Shielded) >= 5, "until the breaker opens");
    assert!(world.count(Event::BreakerDiverted) >= 1, "after five failures");
}

#[test]
fn a_failing_candidate_is_shielded_and_still_blamed() {
    let blue = Origin::named("blue");
    for failure in ["HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "garbage\r\n\r\n", ""] {
        let green = Origin::scripted(move |exchange| {
            exchange.write(failure)?;
            if failure.is_empty() { Err(std::io::ErrorKind::Other.into()) } else { Ok(()) }
        });
        let world = World::of(&blue.url(), &green.url())
            .weight(1_000_000)
            .snapshot(|snapshot| snapshot["edge"]["shield"] = true.into())
            .start();
        for _ in 0..8 {
            let response = world.client().get(HOST, "/", "");
            assert_eq!((response.status, response.text().as_str()), (200, "blue"), "{failure}");
        }
        assert_eq!(world.count(Event::Shielded), 5, "{failure}");
        assert_eq!(world.count(Event::BreakerDiverted), 3, "{failure}");
    }
}

#[test]
fn without_shielding_the_candidates_errors_are_its_own() {
    let (blue, green) = (Origin::named("blue"), Origin::scripted(|e| e.respond("500 Oops", "", "mine")));
    let world = World::of(&blue.url(), &green.url()).weight(1_000_000).start();
    let response = world.client().get(HOST, "/", "");
    assert_eq!((response.status, response.text().as_str()), (500, "mine"));
    let mut posting = world.client();
    posting.send(format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 0\r\n\r\n"));
    assert_eq!(posting.response().status, 500);
}

#[test]
fn a_request_with_a_body_is_never_shielded_once_it_was_sent() {
    let (blue, green) = (Origin::named("blue"), Origin::scripted(|_| Err(std::io::ErrorKind::Other.into())));
    let world = World::of(&blue.url(), &green.url())
        .weight(1_000_000)
        .snapshot(|snapshot| snapshot["edge"]["shield"] = true.into())
        .start();
    let mut client = world.client();
    client.send(format!("PUT / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 2\r\n\r\nhi"));
    assert_eq!(client.response().code(), "upstream_failed");
    assert!(blue.seen().is_empty());
}

#[test]
fn timeouts_towards_upstreams_are_kept_per_release() {
    let silent = Origin::scripted(|exchange| {
        let mut space = [0; 1];
        std::io::Read::read(exchange.stream(), &mut space).map(drop)
    });
    let half = Origin::scripted(|exchange| {
        exchange.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")?;
        let mut space = [0; 1];
        std::io::Read::read(exchange.stream(), &mut space).map(drop)
    });
    let world = World::of(&silent.url(), &half.url())
        .snapshot(|snapshot| {
            snapshot["releases"]["web-1"]["timeouts"] = json!({"readMs": 150});
            snapshot["edge"]["timeouts"] = json!({"readMs": 100});
            snapshot["traffic"]["rules"] =
                json!([{"id": "r", "when": {"attr": "http.path", "op": "eq", "values": ["/half"]}, "slot": "green"}]);
        })
        .start();
    let from = Instant::now();
    let response = world.client().get(HOST, "/", "");
    assert_eq!((response.status, response.code().as_str()), (504, "upstream_timeout"));
    assert!(from.elapsed() >= Duration::from_millis(150), "{:?}", from.elapsed());
    let mut client = world.client();
    client.send(format!("GET /half HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    assert!(client.try_response(false).is_err(), "cut off, not completed");
}

#[test]
fn a_total_timeout_ends_an_exchange_that_goes_on() {
    let origin = Origin::scripted(|exchange| {
        exchange.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        loop {
            exchange.write("1\r\nx\r\n")?;
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let world = World::of(&origin.url(), &origin.url())
        .snapshot(|snapshot| snapshot["edge"]["timeouts"] = json!({"totalMs": 300}))
        .start();
    let mut client = world.client();
    client.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    assert!(client.try_response(false).is_err(), "cut off, not completed");
}

#[test]
fn pooled_connections_are_given_up_before_the_upstream_does() {
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url())
        .config(|config| {
            config.workers = 1;
            config.data.upstream.pool_idle = Duration::from_millis(100);
        })
        .start();
    let mut client = world.client();
    client.get(HOST, "/", "");
    client.get(HOST, "/", "");
    assert_eq!(origin.connections(), 1);
    std::thread::sleep(Duration::from_millis(300));
    client.get(HOST, "/", "");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn requests_take_turns_among_upstreams_and_prefer_their_region() {
    let (a, b, far) = (Origin::named("a"), Origin::named("b"), Origin::named("far"));
    let upstreams = json!([
        {"url": far.url(), "region": "us"}, {"url": a.url(), "region": "eu"}, {"url": b.url(), "region": "eu"}
    ]);
    let world = World::of(&a.url(), &a.url())
        .config(|config| {
            config.workers = 1;
            config.data.region = Some("eu".to_owned());
        })
        .snapshot(|snapshot| snapshot["releases"]["web-1"]["upstreams"] = upstreams)
        .start();
    let mut client = world.client();
    for _ in 0..10 {
        client.get(HOST, "/", "");
    }
    assert_eq!((a.seen().len(), b.seen().len(), far.seen().len()), (5, 5, 0));
    drop(a);
    drop(b);
    for _ in 0..20 {
        client.get(HOST, "/", "");
    }
    assert!(!far.seen().is_empty(), "another region serves when the own one is down");
    assert_eq!(client.get(HOST, "/", "").text(), "far");
}
