//! The gate against streams cut at every point.

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 32 * 1024, fields: 100, target: 8 * 1024 };

#[derive(Debug, PartialEq, Eq, Clone)]
struct Outcome {
    delivered: Vec<u8>,
    heads: u64,
    rejection: Option<(u64, Reject)>,
    violation: Option<Reject>,
    next: Option<Next>,
}

/// Runs the pieces through a gate as the reader does, with a parser buffer of `room` bytes.
fn run(pieces: &[&[u8]], room: usize) -> Outcome {
    let mut gate = Gate::new(LIMITS);
    let mut delivered = Vec::new();
    'pieces: for piece in pieces {
        for fresh in piece.chunks(room) {
            while gate.next() == Next::Deliver {
                gate.take(room, |bytes| delivered.extend_from_slice(bytes));
            }
            if gate.next() != Next::Read {
                break 'pieces;
            }
            let passed = gate.admit(fresh);
            delivered.extend_from_slice(&fresh[..passed]);
        }
    }
    while gate.next() == Next::Deliver {
        gate.take(room, |bytes| delivered.extend_from_slice(bytes));
    }
    let violation = if let Next::Fail(why) = gate.next() { Some(why) } else { None };
    Outcome { delivered, heads: gate.heads(), rejection: gate.rejection(), violation, next: Some(gate.next()) }
}

/// The same outcome for every split point, byte by byte and with tiny buffers.
#[track_caller]
fn everywhere(stream: &[u8]) -> Outcome {
    let whole = run(&[stream], stream.len().max(1));
    for at in 0..stream.len() {
        let (a, b) = stream.split_at(at);
        assert_eq!(forget_data(run(&[a, b], 4096)), forget_data(whole.clone()), "split at {at}");
    }
    assert_eq!(forget_data(run(&[stream], 1)), forget_data(whole.clone()), "byte by byte");
    assert_eq!(forget_data(run(&[stream], 7)), forget_data(whole.clone()), "seven bytes at a time");
    whole
}

/// Framing of a body right before a violation may or may not have passed, depending on the cut.
fn forget_data(mut outcome: Outcome) -> Outcome {
    if outcome.violation.is_some() {
        outcome.delivered.clear();
    }
    outcome
}

#[track_caller]
fn passes(stream: &[u8], heads: u64) {
    let outcome = everywhere(stream);
    assert_eq!(outcome.delivered, stream, "{}", outcome.delivered.escape_ascii());
    assert_eq!((outcome.heads, outcome.rejection, outcome.violation), (heads, None, None));
}

#[track_caller]
fn rejects(stream: &[u8], good: &[u8], expected: Reject) {
    let outcome = everywhere(stream);
    let number = outcome.rejection.map(|(number, _)| number);
    assert_eq!(outcome.rejection.map(|(_, why)| why), Some(expected), "{}", stream.escape_ascii());
    assert_eq!(number, Some(outcome.heads));
    assert_eq!(outcome.delivered, [good, SUBSTITUTE].concat(), "{}", stream.escape_ascii());
    assert_eq!(outcome.next, Some(Next::End));
}

const GET: &[u8] = b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &[u8] = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &[u8] = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

#[test]
fn whole_messages_pass_unchanged_however_they_are_cut() {
    passes(GET, 1);
    passes(POST, 1);
    passes(CHUNKED, 1);
    passes(&[GET, POST, CHUNKED, GET].concat(), 4);
    passes(b"GET / HTTP/1.0\r\n\r\n", 1);
    passes(b"OPTIONS * HTTP/1.1\r\nhost:\ta\t\r\n\r\n", 1);
    passes(b"GET http://a:80/x HTTP/1.1\r\nhost: A:80\r\n\r\n", 1);
}

#[test]
fn a_violation_replaces_its_head_and_nothing_before_it() {
    let bad = b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    rejects(bad, b"", Reject::BothLengths);
    for good in [GET, POST, CHUNKED] {
        rejects(&[good, bad].concat(), good, Reject::BothLengths);
        rejects(&[good, bad, GET].concat(), good, Reject::BothLengths);
    }
}

#[test]
fn a_violation_inside_a_body_ends_the_stream() {
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    for (body, expected) in [
        (b"5\r\nhelloX\r\n".as_slice(), Reject::ChunkFraming),
        (b"5 \r\nhello\r\n", Reject::ChunkSize),
        (b"5\nhello\r\n", Reject::ChunkSize),
        (b"0\r\ncontent-length: 3\r\n\r\n", Reject::Trailer),
    ] {
        let outcome = everywhere(&[head, body, GET].concat());
        assert_eq!(outcome.violation, Some(expected));
        assert_eq!(outcome.next, Some(Next::Fail(expected)));
    }
}

#[test]
fn bytes_after_an_upgrade_wait_for_the_answer() {
    let head = b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    for (is_tunnel, after, expected) in [
        (true, b"\x81\x00\n\nraw".as_slice(), b"\x81\x00\n\nraw".as_slice()),
        (false, GET, GET),
        (false, b"\n\n", SUBSTITUTE),
    ] {
        let mut gate = Gate::new(LIMITS);
        let stream = [head.as_slice(), after].concat();
        assert_eq!(gate.admit(&stream), head.len());
        assert_eq!(gate.next(), Next::Wait);
        gate.resume(is_tunnel);
        let mut delivered = Vec::new();
        gate.take(1000, |bytes| delivered.extend_from_slice(bytes));
        assert_eq!(delivered, expected);
    }
}

#[test]
fn a_head_that_is_given_up_is_replaced_too() {
    let mut gate = Gate::new(LIMITS);
    assert_eq!(gate.admit(b"GET / HT"), 0);
    assert!(gate.is_inside_head());
    gate.reject(Reject::HeadTimeout);
    let mut delivered = Vec::new();
    gate.take(1000, |bytes| delivered.extend_from_slice(bytes));
    assert_eq!(delivered, SUBSTITUTE);
    assert_eq!((gate.rejection(), gate.next()), (Some((1, Reject::HeadTimeout)), Next::End));
}

#[test]
fn an_idle_gate_keeps_no_buffer() {
    let mut gate = Gate::new(LIMITS);
    assert_eq!(gate.admit(&GET[..10]), 0);
    assert_eq!(gate.admit(&GET[10..]), 0);
    gate.take(GET.len(), |_| {});
    assert!(gate.is_between_messages());
    assert_eq!(gate.inbox.capacity(), 0);
}

#[test]
fn a_head_that_comes_byte_by_byte_costs_linear_work() {
    let mut head = b"GET / HTTP/1.1\r\nhost: a\r\nx: ".to_vec();
    head.resize(30 * 1024, b'a');
    let mut gate = Gate::new(LIMITS);
    let from = std::time::Instant::now();
    for byte in &head {
        assert_eq!(gate.admit(std::slice::from_ref(byte)), 0);
    }
    assert!(gate.is_inside_head());
    // Rescanning would touch 470 MB; the bound only tells the two apart.
    assert!(from.elapsed() < std::time::Duration::from_millis(200), "{:?}", from.elapsed());
}
