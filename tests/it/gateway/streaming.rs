//! Bodies pass both ways as they come, in constant memory.

use std::io::{Read, Write};
use std::sync::mpsc;

use tests::world::HOST;
use tests::{Origin, World};

const GIB: u64 = 1 << 30;

/// The most memory that a 2 GiB body may add to a process that also holds client and upstream.
const MEMORY_BOUND: u64 = 48 << 20;

#[test]
fn two_gib_pass_both_ways_in_constant_memory() {
    let origin = Origin::raw(|exchange| {
        let length: u64 = exchange.seen.field("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        let mut left = length;
        let mut space = vec![0; 256 * 1024];
        let mut sum = 0u64;
        while left > 0 {
            let n = exchange.stream().read(&mut space)?;
            if n == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            left -= n as u64;
            sum += u64::from(space[0]);
        }
        assert_eq!(sum > 0, length > 0);
        exchange.note();
        exchange.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"))?;
        space.fill(b'r');
        let mut left = length;
        while left > 0 {
            let n = left.min(space.len() as u64);
            let part = &space[..usize::try_from(n).unwrap()];
            exchange.stream().get_mut().write_all(part)?;
            left -= n;
        }
        Ok(())
    });
    let world = World::of(&origin.url(), &origin.url()).start();
    let before = admin::memory::resident().expect("/proc");
    let mut client = world.client();
    client.send(format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {}\r\n\r\n", 2 * GIB));
    let part = vec![b'x'; 256 * 1024];
    let mut peak = 0;
    for turn in 0..(2 * GIB / part.len() as u64) {
        client.send(&part);
        if turn % 512 == 0 {
            peak = peak.max(admin::memory::resident().expect("/proc"));
        }
    }
    let head = client.head().expect("a response head");
    assert_eq!(head.field("content-length"), Some(format!("{}", 2 * GIB).as_str()));
    for turn in 0..(2 * GIB / part.len() as u64) {
        let bytes = client.bytes(part.len());
        assert_eq!((bytes[0], bytes[part.len() - 1]), (b'r', b'r'));
        if turn % 512 == 0 {
            peak = peak.max(admin::memory::resident().expect("/proc"));
        }
    }
    assert!(peak.saturating_sub(before) < MEMORY_BOUND, "{before} grew to {peak}");
    assert_eq!(client.get(HOST, "/again", "").status, 200, "the connection goes on");
}

#[test]
fn a_response_arrives_piece_by_piece_while_the_upstream_still_writes() {
    let (go, wait) = mpsc::sync_channel::<()>(64);
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::scripted(move |exchange| {
        exchange.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
        wait.lock().unwrap().recv().map_err(std::io::Error::other)?;
        exchange.write("6\r\nsecond\r\n0\r\n\r\n")
    });
    let world = World::of(&origin.url(), &origin.url()).start();
    let mut client = world.client();
    client.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.bytes(10), b"5\r\nfirst\r\n", "before the upstream goes on");
    go.send(()).unwrap();
    assert_eq!(client.bytes(16), b"6\r\nsecond\r\n0\r\n\r\n");
}

#[test]
fn a_request_body_arrives_piece_by_piece_and_may_be_answered_early() {
    let (tell, told) = mpsc::sync_channel::<Vec<u8>>(64);
    let origin = Origin::raw(move |exchange| {
        exchange.note();
        let mut first = vec![0; 10];
        exchange.stream().read_exact(&mut first)?;
        tell.send(first).map_err(std::io::Error::other)?;
        exchange.respond("413 Payload Too Large", "connection: close\r\n", "too much")?;
        Err(std::io::ErrorKind::Other.into())
    });
    let world = World::of(&origin.url(), &origin.url()).start();
    let mut client = world.client();
    client.send(format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"));
    assert_eq!(told.recv().unwrap(), b"5\r\nfirst\r\n", "before the client goes on");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (413, "too much"));
}

#[test]
fn chunked_bodies_and_trailers_pass_both_ways() {
    let origin = Origin::scripted(|exchange| {
        let body = exchange.seen.body.clone();
        let sum = exchange.seen.trailers.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(",");
        exchange.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n")?;
        exchange.write(format!("{:x}\r\n", body.len()))?;
        exchange.write(body)?;
        exchange.write(format!("\r\n0\r\nx-sum: {sum}\r\nx-bascule-slot: forged\r\n\r\n"))
    });
    let world = World::of(&origin.url(), &origin.url()).start();
    let mut client = world.client();
    for _ in 0..2 {
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: {HOST}\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n\
             3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nx-check: 7\r\nX-Bascule-Slot: forged\r\n\r\n"
        ));
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (200, "abcdefg"));
        assert_eq!(response.trailers, [("x-sum".to_owned(), "x-check=7".to_owned())]);
    }
    assert_eq!(origin.connections(), 1, "the upstream connection is used again");
}

#[test]
fn a_client_that_expects_100_sends_its_body_only_when_the_upstream_agrees() {
    let origin = Origin::raw(|exchange| {
        if exchange.seen.target() == "/refuse" {
            exchange.note();
            exchange.respond("417 Expectation Failed", "connection: close\r\n", "no")?;
            return Err(std::io::ErrorKind::Other.into());
        }
        assert_eq!(exchange.seen.field("expect"), Some("100-continue"));
        exchange.write("HTTP/1.1 100 Continue\r\n\r\n")?;
        exchange.read_body()?;
        exchange.note();
        let body = exchange.seen.body.clone();
        exchange.ok(body)
    });
    let world = World::of(&origin.url(), &origin.url()).start();
    let expecting = |target: &str| {
        format!("PUT {target} HTTP/1.1\r\nhost: {HOST}\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
    };
    let mut client = world.client();
    client.send(expecting("/"));
    assert_eq!(client.head().unwrap().status, 100);
    assert_eq!(client.send("hello").response().text(), "hello");
    let mut refused = world.client();
    let response = refused.send(expecting("/refuse")).response();
    assert_eq!((response.status, response.text().as_str()), (417, "no"), "no 100 comes first");
    assert_eq!(origin.last().body, b"");
    let mut other = world.client();
    other.send(format!("PUT / HTTP/1.1\r\nhost: {HOST}\r\nexpect: 200-ok\r\ncontent-length: 5\r\n\r\n"));
    assert_eq!(other.response().code(), "expectation_unknown");
}

#[test]
fn responses_without_bodies_and_bodies_that_end_with_the_connection_pass() {
    let origin = Origin::scripted(|exchange| match exchange.seen.target() {
        "/304" => exchange.write("HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n"),
        "/204" => exchange.write("HTTP/1.1 204 No Content\r\n\r\n"),
        "/close" => {
            exchange.write("HTTP/1.1 200 OK\r\n\r\nuntil the end")?;
            Err(std::io::ErrorKind::Other.into())
        }
        _ => exchange.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
    });
    let world = World::of(&origin.url(), &origin.url()).start();
    let mut client = world.client();
    assert_eq!(client.get(HOST, "/304", "").status, 304);
    assert_eq!(client.get(HOST, "/204", "").status, 204);
    client.send(format!("HEAD / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    let head = client.try_response(true).unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, Some("5")));
    assert_eq!(client.get(HOST, "/close", "").text(), "until the end");
}

#[test]
fn a_response_that_breaks_off_is_not_passed_as_whole() {
    let origin = Origin::scripted(|exchange| {
        exchange.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")?;
        Err(std::io::ErrorKind::Other.into())
    });
    let world = World::of(&origin.url(), &origin.url()).start();
    let mut client = world.client();
    client.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    assert!(client.try_response(false).is_err(), "the last chunk must be missing");
}
