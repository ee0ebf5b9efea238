//! Clients that are slow on purpose: each wait has an end, and nobody else waits with them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use admin::limits::{Limits, Timeouts};
use tests::admin::ControlPlane;

/// Short enough for a test, long enough for a busy machine to answer everybody else in.
const SHORT: Duration = Duration::from_millis(600);
/// Much longer than that: what is still open then has no end.
const LONG: Duration = Duration::from_secs(10);

fn impatient() -> ControlPlane {
    let timeouts = Timeouts { handshake: SHORT, head: SHORT, body: SHORT, write: SHORT };
    ControlPlane::start_within(Limits::default(), timeouts)
}

fn connect(plane: &ControlPlane, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(plane.address()).expect("it listens");
    stream.set_read_timeout(Some(LONG)).expect("settable");
    stream.write_all(bytes).expect("writable");
    stream
}

/// Everything that comes until the connection is closed, and when that was.
#[track_caller]
fn rest(mut stream: TcpStream, since: Instant) -> (String, Duration) {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("it is still open: {:?}", String::from_utf8_lossy(&bytes))
        }
        // Closed, or reset because it had not read everything.
        _ => (String::from_utf8_lossy(&bytes).into_owned(), since.elapsed()),
    }
}

fn others_are_served(plane: &ControlPlane) {
    assert_eq!(plane.request("GET", "/livez").send().status, 200);
}

#[test]
fn connections_that_say_nothing_or_half_a_head_end() {
    let plane = impatient();
    let since = Instant::now();
    let halves: [&[u8]; 6] = [
        b"",
        b"P",
        b"PRI * HTTP/2.0\r\n\r\nSM",
        b"GET / HTTP/1.1\r\n",
        b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ",
        b"POST /api/v1/apps HTTP/1.1\r\nhost: x\r\n",
    ];
    let slow: Vec<TcpStream> = halves.into_iter().map(|half| connect(&plane, half)).collect();
    others_are_served(&plane);
    for (stream, half) in slow.into_iter().zip(halves) {
        let (text, after) = rest(stream, since);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{half:?}: {text}");
        assert!(after < LONG, "{half:?}");
    }
}

#[test]
fn a_head_that_drips_ends_all_the_same() {
    let plane = impatient();
    let since = Instant::now();
    let mut stream = connect(&plane, b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ");
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("settable");
    // Each byte comes in time; the head does not. Reading is what makes the pauses.
    let ended = loop {
        assert!(since.elapsed() < LONG, "it is still open");
        let mut byte = [0];
        match stream.read(&mut byte) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break since.elapsed(),
        }
        if stream.write_all(b"a").is_err() {
            break since.elapsed();
        }
    };
    assert!(ended >= SHORT / 2, "{ended:?}");
    others_are_served(&plane);
}

#[test]
fn half_a_body_is_refused_in_time() {
    let plane = impatient();
    let since = Instant::now();
    let head = |framing: &str| {
        let token = plane.root();
        format!(
            "POST /api/v1/apps HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n{framing}\r\n\r\n"
        )
    };
    let halves = [
        format!("{}{{\"name\":", head("content-length: 100")),
        format!("{}8\r\n{{\"name\":\r\n", head("transfer-encoding: chunked")),
        format!("{}ff", head("transfer-encoding: chunked")),
    ];
    let slow: Vec<TcpStream> = halves.iter().map(|half| connect(&plane, half.as_bytes())).collect();
    others_are_served(&plane);
    for stream in slow {
        let (text, after) = rest(stream, since);
        assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("body_too_slow"), "{text}");
        assert!(after < LONG, "{after:?}");
    }
    assert_eq!(plane.ask("GET", "/api/v1/apps", None).body["items"], serde_json::json!([]));
}

#[test]
fn a_connection_that_is_kept_for_nothing_ends() {
    let plane = impatient();
    let since = Instant::now();
    let stream = connect(&plane, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n");
    let (text, after) = rest(stream, since);
    assert!(text.starts_with("HTTP/1.1 200 ") && after < LONG, "{text} {after:?}");
}

#[test]
fn a_reader_that_does_not_read_is_cut_off() {
    let plane = impatient();
    let since = Instant::now();
    let mut stream = connect(&plane, b"");
    stream.set_nonblocking(true).expect("settable");
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(64);
    // It asks and asks, and takes no answer. What is in the buffers is not under anybody's control; the end is.
    loop {
        assert!(since.elapsed() < LONG, "it is still open");
        match stream.write(&request) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if stream.take_error().expect("askable").is_some() {
                    break;
                }
                others_are_served(&plane);
            }
            Err(_) => break,
        }
    }
    others_are_served(&plane);
}
