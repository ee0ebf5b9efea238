//! Clients that are slow, silent or too many: bounded, each with a clear end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use server::gateway::metrics::Event;
use tests::world::HOST;
use tests::{Client, Origin, World};

const SHORT: Duration = Duration::from_millis(200);

/// How many were refused for a reason, as an operator sees it.
fn rejected(world: &World, reason: &str) -> u64 {
    let metrics = crate::rig::get(world.gateway().ops_address(), "/metrics").body;
    let series = format!("bascule_http_rejected_total{{reason=\"{reason}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&series)).expect("the series is there");
    value.parse().expect("a number")
}

#[test]
fn a_head_that_comes_too_slowly_is_answered_by_408() {
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url()).config(|c| c.data.client.head_timeout = SHORT).start();
    for start in ["G", "GET / HTTP/1.1\r\nhost: shop.example\r\nx: "] {
        let mut client = world.client();
        let from = Instant::now();
        client.send(start);
        // A byte now and then does not help.
        while from.elapsed() < Duration::from_millis(500) && client.try_send("a").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let response = client.response();
        assert_eq!((response.status, response.code().as_str()), (408, "head_timeout"));
        assert!(from.elapsed() >= SHORT, "{:?}", from.elapsed());
    }
    assert!(origin.seen().is_empty());
    assert_eq!((rejected(&world, "slow_head"), rejected(&world, "request")), (2, 0));
}

#[test]
fn a_silent_connection_is_closed_without_a_word() {
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url()).config(|c| c.data.client.idle_timeout = SHORT).start();
    let mut never = world.client();
    never.is_closed();
    let mut used = world.client();
    assert_eq!(used.get(HOST, "/", "").status, 200);
    let from = Instant::now();
    used.is_closed();
    assert!(from.elapsed() >= SHORT.saturating_sub(Duration::from_millis(50)), "{:?}", from.elapsed());
}

#[test]
fn a_body_that_stops_or_trickles_is_answered_by_408() {
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url())
        .config(|config| {
            config.data.client.body_timeout = SHORT;
            config.data.client.body_min_rate = 1000;
        })
        .start();
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 100000\r\n\r\n");
    let mut silent = world.client();
    let response = silent.send(&head).send("some").response();
    assert_eq!((response.status, response.code().as_str()), (408, "body_timeout"));
    let mut trickling = world.client();
    trickling.send(&head);
    let from = Instant::now();
    while from.elapsed() < Duration::from_secs(10) && trickling.try_send("a").is_ok() {
        std::thread::sleep(Duration::from_millis(50));
        trickling.tcp().set_nonblocking(true).unwrap();
        let has_answer = trickling.tcp().peek(&mut [0; 1]).is_ok();
        trickling.tcp().set_nonblocking(false).unwrap();
        if has_answer {
            break;
        }
    }
    assert_eq!(trickling.response().code(), "body_timeout");
    assert!(from.elapsed() < Duration::from_secs(9), "{:?}", from.elapsed());
    assert_eq!((rejected(&world, "slow_body"), rejected(&world, "request")), (2, 0));
}

#[test]
fn a_client_that_takes_no_bytes_is_given_up() {
    let origin = Origin::scripted(|exchange| {
        exchange.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        let chunk = [b"10000\r\n".as_slice(), &vec![b'x'; 65536], b"\r\n"].concat();
        loop {
            exchange.write(&chunk)?;
        }
    });
    let world = World::of(&origin.url(), &origin.url()).config(|c| c.data.client.write_timeout = SHORT).start();
    let mut client = world.client();
    client.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    let from = Instant::now();
    while world.count(Event::ConnectionClosed) == 0 {
        assert!(from.elapsed() < Duration::from_secs(10), "the connection is still open");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(rejected(&world, "slow_reader"), 1);
}

#[test]
fn connections_are_capped_per_address_and_in_all() {
    let origin = Origin::named("blue");
    for per_address in [true, false] {
        let world = World::of(&origin.url(), &origin.url())
            .config(|config| {
                let client = &mut config.data.client;
                if per_address { client.connections_per_ip = 3 } else { client.connections = 3 }
            })
            .start();
        let mut clients: Vec<Client> = (0..3).map(|_| world.client()).collect();
        for client in &mut clients {
            assert_eq!(client.get(HOST, "/", "").status, 200);
        }
        world.client().is_closed();
        assert_eq!(world.count(Event::ConnectionRefused), 1);
        drop(clients.pop());
        let from = Instant::now();
        while world.count(Event::ConnectionClosed) == 0 {
            assert!(from.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(world.client().get(HOST, "/", "").status, 200, "a place is free again");
    }
}

#[test]
fn a_client_that_goes_away_takes_its_exchange_with_it() {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let tell = std::sync::Mutex::new(tell);
    let origin = Origin::scripted(move |exchange| {
        // Ends when the gateway hangs up, without having answered.
        let n = exchange.stream().read(&mut [0; 1])?;
        tell.lock().unwrap().send(n).map_err(std::io::Error::other)?;
        Err(std::io::ErrorKind::Other.into())
    });
    let world = World::of(&origin.url(), &origin.url()).start();
    let mut tcp = TcpStream::connect(world.address()).unwrap();
    tcp.write_all(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).unwrap();
    let from = Instant::now();
    while origin.seen().is_empty() {
        assert!(from.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(tcp);
    assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(0));
}
