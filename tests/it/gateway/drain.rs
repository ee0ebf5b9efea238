//! Going away, and changing under load, without losing a request.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::world::HOST;
use tests::{Client, Origin, World};

/// Sends requests on one connection until told to stop, opening a new one when the gateway said so.
fn keep_asking(address: std::net::SocketAddr, stop: &AtomicBool, answered: &AtomicUsize, one_shot: bool) {
    let mut client = Client::connect(address);
    while !stop.load(Ordering::SeqCst) {
        client.send(format!(
            "GET / HTTP/1.1\r\nhost: {HOST}\r\n{}\r\n",
            if one_shot { "connection: close\r\n" } else { "" }
        ));
        let response = client.try_response(false).expect("an answer to every request");
        assert_eq!(response.status, 200);
        answered.fetch_add(1, Ordering::SeqCst);
        if response.field("connection") == Some("close") {
            client.is_closed();
            client = Client::connect(address);
        }
    }
}

#[test]
fn a_restart_beside_its_successor_loses_no_request() {
    let origin = Origin::named("blue");
    let mut old = World::of(&origin.url(), &origin.url()).start();
    let address = old.address();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|n| {
                scope.spawn({
                    let (stop, answered) = (&stop, &answered);
                    move || keep_asking(address, stop, answered, n % 3 == 0)
                })
            })
            .collect();
        for _ in 0..3 {
            wait_for_more(&answered, 100);
            let successor = World::of(&origin.url(), &origin.url()).config(|config| config.listen = address).start();
            old.stop();
            wait_for_more(&answered, 100);
            old = successor;
        }
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().expect("no client saw an error");
        }
    });
}

fn wait_for_more(answered: &AtomicUsize, more: usize) {
    let (from, start) = (Instant::now(), answered.load(Ordering::SeqCst));
    while answered.load(Ordering::SeqCst) < start + more {
        assert!(from.elapsed() < Duration::from_secs(20), "the load stands still");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_draining_gateway_finishes_what_is_in_flight_and_says_close() {
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(1);
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::scripted(move |exchange| {
        wait.lock().unwrap().recv().map_err(std::io::Error::other)?;
        exchange.ok("late")
    });
    let mut world = World::of(&origin.url(), &origin.url()).start();
    let mut client = world.client();
    client.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    let from = Instant::now();
    while origin.seen().is_empty() {
        assert!(from.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| world.stop());
        std::thread::sleep(Duration::from_millis(100));
        go.send(()).unwrap();
        let response = client.response();
        assert_eq!((response.text().as_str(), response.field("connection")), ("late", Some("close")));
        client.is_closed();
        stopping.join().unwrap();
    });
}

#[test]
fn a_hundred_swaps_under_load_cost_no_request() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let world = World::of(&blue.url(), &green.url()).weight(500_000).start();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let address = world.address();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| keep_asking(address, &stop, &answered, false))).collect();
        for turn in 0..100 {
            world.publish(|snapshot| snapshot["traffic"]["candidateWeight"] = json!(turn * 10_000));
        }
        wait_for_more(&answered, 50);
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().expect("no client saw an error");
        }
    });
}
