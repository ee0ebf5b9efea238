//! What a visitor sees while a Durable Object, a control plane or a release does not answer.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::{Origin, Response};

use super::runtime::{HOST, Setup, Worker, document, json_of};

fn get(worker: &Worker, fields: &str) -> Response {
    worker.client().get(HOST, "/", fields)
}

#[test]
fn an_object_that_hangs_costs_one_second_once_and_the_copy_serves() {
    let (origin, blue, green) = (Origin::named("origin"), Origin::named("blue"), Origin::named("green"));
    let setup = Setup::new(&origin);
    let mut worker = Worker::of(&setup);
    worker.publish(&document(3, &blue, &green, 100));
    while worker.copy().is_none() {}
    for how in ["hangs", "fails"] {
        worker.restart(&setup.clone().object(how));
        let began = Instant::now();
        let answers: Vec<_> = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| get(&worker, "").text())).collect();
            asked.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(answers, ["green"; 8], "{how}");
        assert!(began.elapsed() < Duration::from_secs(5), "{how}: {:?} for eight at once", began.elapsed());
        let began = Instant::now();
        assert_eq!(get(&worker, "").text(), "green");
        assert!(
            began.elapsed() < Duration::from_millis(700),
            "{how}: nobody waits again so soon: {:?}",
            began.elapsed()
        );
    }
}

#[test]
fn without_object_and_copy_the_origin_serves_and_few_wait() {
    let origin = Origin::named("origin");
    let worker = Worker::of(&Setup::new(&origin).object("hangs"));
    assert_eq!(get(&worker, "").text(), "origin");
    let began = Instant::now();
    for _ in 0..5 {
        assert_eq!(get(&worker, "").text(), "origin");
    }
    assert!(
        began.elapsed() < Duration::from_millis(2500),
        "five in a row wait at most once more: {:?}",
        began.elapsed()
    );
}

#[test]
fn a_candidate_that_fails_is_represented_by_the_active_release() {
    let blue = Origin::named("blue");
    let green = Origin::scripted(|exchange| exchange.respond("500 Internal Server Error", "", "green failed"));
    let worker = Worker::start(&blue);
    let mut document = document(1, &blue, &green, 100);
    document["edge"]["shield"] = json!(true);
    document["edge"]["breaker"] = json!({"consecutiveFailures": 3});
    worker.publish(&document);
    for _ in 0..2 {
        let answer = get(&worker, "");
        assert_eq!((answer.status, answer.text().as_str()), (200, "blue"));
        let decision = answer.field("x-bascule-decision").unwrap();
        assert_eq!(decision, "snapshot=1; slot=green; reason=SPLIT; served=blue; because=shield");
    }
    let post = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1\r\n\r\nx");
    let answer = worker.client().send(post).response();
    assert_eq!((answer.status, answer.text().as_str()), (500, "green failed"), "what may not be repeated is passed on");
    let diverted = get(&worker, "");
    assert!(diverted.field("x-bascule-decision").unwrap().ends_with("; served=blue; because=breaker"));
    assert_eq!(green.seen().len(), 3, "after three failures in a row nobody is sent there");
}

#[test]
fn another_upstream_is_asked_when_one_gives_no_answer() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let worker = Worker::start(&blue);
    let mut document = document(1, &blue, &green, 100);
    // Nobody listens on the first one.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    document["releases"]["web-2"]["upstreams"] = json!([{"url": format!("http://{closed}")}, {"url": green.url()}]);
    worker.publish(&document);
    for _ in 0..6 {
        assert_eq!(get(&worker, "").text(), "green");
    }
}

#[test]
fn an_upstream_that_says_nothing_ends_in_a_clear_answer() {
    let blue = Origin::named("blue");
    let silent = Origin::scripted(|_| {
        std::thread::sleep(Duration::from_secs(3));
        Ok(())
    });
    let worker = Worker::start(&blue);
    let mut document = document(1, &silent, &blue, 0);
    document["edge"]["timeouts"] = json!({"readMs": 300});
    worker.publish(&document);
    let began = Instant::now();
    let post = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1\r\n\r\nx");
    let answer = worker.client().send(post).response();
    assert_eq!((answer.status, &json_of(&answer)["code"]), (504, &json!("upstream_timeout")));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a_release_may_be_a_service_that_is_bound() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let worker = Worker::of(&Setup::new(&blue).service("WEB_V2", &green));
    let mut document = document(1, &blue, &green, 100);
    document["releases"]["web-2"]["upstreams"] = json!([{"url": "https://web-v2.binding"}]);
    worker.publish(&document);
    let answer = worker.client().get(HOST, "/a?b=c", "x-user-id: u1\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (200, "green"));
    assert_eq!(green.last().target(), "/a?b=c");
    assert_eq!(green.last().field("x-bascule-release"), Some("web-2"));
}
