//! HTTP/2 that no correct client sends, frame by frame.

use std::time::Duration;

use tests::frames::{END_HEADERS, END_STREAM, Frame, Frames, field, kind};
use tests::world::HOST;
use tests::{Origin, World};

use crate::live;
use crate::running::Process;

const PROTOCOL_ERROR: u32 = 1;
/// The largest frame that is allowed without asking.
const FRAME_BYTES: usize = 16 * 1024;
/// Frames of a flood; a gateway that took them all would never refuse.
const CONTINUATIONS: usize = 100_000;
/// What an attack may cost, far below what it sends or unpacks to.
const MEMORY: u64 = 24 << 20;

/// The pseudo-header fields of a request, and others.
fn block(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let own = [(":method", method), (":scheme", "http"), (":authority", HOST), (":path", "/")];
    own.iter().chain(more).flat_map(|(name, value)| field(name, value)).collect()
}

#[test]
fn a_web_socket_over_http2_is_refused_and_the_connection_goes_on() {
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url()).start();
    let mut frames = Frames::connect(world.address());
    let settings = frames.receive().expect("the gateway's settings come first");
    assert_eq!(settings.kind, kind::SETTINGS);
    // SETTINGS_ENABLE_CONNECT_PROTOCOL (8) is what would invite it.
    assert!(settings.payload.chunks(6).all(|setting| setting[..2] != [0, 8]), "{settings:?}");
    let connect = block("CONNECT", &[(":protocol", "websocket"), ("sec-websocket-version", "13")]);
    frames.send(kind::HEADERS, END_HEADERS, 1, &connect).unwrap();
    // RFC 8441 is not supported: without the invitation, `:protocol` makes the request malformed.
    let answer = frames.receive_of(1).expect("an answer");
    assert_eq!((answer.kind, answer.stream, answer.error_code()), (kind::RST_STREAM, 1, PROTOCOL_ERROR));
    let plain = block("GET", &[]);
    frames.send(kind::HEADERS, END_HEADERS | END_STREAM, 3, &plain).unwrap();
    let answer = frames.receive_of(3).expect("an answer");
    assert_eq!(answer.kind, kind::HEADERS);
    assert_eq!(origin.seen().len(), 1, "{:?}", origin.seen());
}

#[test]
fn fields_of_a_connection_and_names_in_capitals_make_a_request_malformed() {
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url()).start();
    for field in [
        ("connection", "x-secret"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("X-Capital", "y"),
        (":path", "/other"),
        (":unknown", "y"),
        ("a b", "y"),
    ] {
        let mut frames = Frames::connect(world.address());
        send_block(&mut frames, 1, &block("GET", &[field])).unwrap();
        let answer = frames.receive_of(1).expect("an answer");
        // The stream where the rest can still be read, otherwise the connection.
        assert!(matches!(answer.kind, kind::RST_STREAM | kind::GOAWAY), "{field:?}: {answer:?}");
        assert_eq!(answer.error_code(), PROTOCOL_ERROR, "{field:?}");
    }
    assert!(origin.seen().is_empty(), "{:?}", origin.seen());
}

/// A gateway process and an origin that must not see what is sent to it.
struct Attacked {
    process: Process,
    origin: Origin,
    _folder: tempfile::TempDir,
}

impl Attacked {
    fn start(settings: &[(&str, &str)]) -> Self {
        let origin = Origin::named("blue");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bascule.yaml");
        std::fs::write(&file, live::manifest(origin.address(), origin.address(), "0", "")).unwrap();
        Self { process: Process::start(&file, "127.0.0.1:0", settings), origin, _folder: folder }
    }

    /// The attack reached no upstream, did not fill the memory, and others are served.
    #[track_caller]
    fn is_unharmed(&self, before: u64) {
        assert!(self.origin.seen().iter().all(|seen| seen.field("x-user-id").is_some()), "{:?}", self.origin.seen());
        let grown = self.process.resident_bytes().saturating_sub(before);
        assert!(grown < MEMORY, "{grown} bytes more than before");
        let mut client = live::Client::new(self.process.listen);
        assert_eq!(client.get("user").unwrap(), (200, "blue".to_owned()));
    }
}

/// Sends a header block in as many frames as it takes. An error is the gateway's refusal to read on.
fn send_block(frames: &mut Frames, stream: u32, block: &[u8]) -> std::io::Result<()> {
    let parts: Vec<&[u8]> = block.chunks(FRAME_BYTES).collect();
    for (at, part) in parts.iter().enumerate() {
        let kind = if at == 0 { kind::HEADERS } else { kind::CONTINUATION };
        let first = if at == 0 { END_STREAM } else { 0 };
        let last = if at + 1 == parts.len() { END_HEADERS } else { 0 };
        frames.send(kind, first | last, stream, part)?;
    }
    Ok(())
}

/// Whether a response head says 431, Huffman-coded or not.
fn is_431(head: &Frame) -> bool {
    let has = |text: &[u8]| head.payload.windows(text.len()).any(|part| part == text);
    head.kind == kind::HEADERS && (has(b"431") || has(&[0x69, 0x90, 0xff]))
}

#[test]
fn a_head_that_is_too_large_is_answered_by_431_and_the_connection_goes_on() {
    let attacked = Attacked::start(&[]);
    let before = attacked.process.resident_bytes();
    let mut frames = Frames::connect(attacked.process.listen);
    // 60 KiB: above the largest head, in four frames.
    send_block(&mut frames, 1, &block("GET", &[("x-large", &"a".repeat(60 << 10))])).unwrap();
    let head = frames.receive_of(1).expect("an answer");
    assert!(is_431(&head), "{head:?}");
    assert!(attacked.origin.seen().is_empty());
    attacked.is_unharmed(before);
    send_block(&mut frames, 3, &block("GET", &[])).unwrap();
    assert_eq!(frames.receive_of(3).expect("an answer").kind, kind::HEADERS);
    assert_eq!(attacked.origin.seen().len(), 2);
}

#[test]
fn a_small_block_that_unpacks_to_much_is_refused_in_bounded_memory() {
    let attacked = Attacked::start(&[]);
    let before = attacked.process.resident_bytes();
    let mut frames = Frames::connect(attacked.process.listen);
    // A field of 3900 bytes goes into the dynamic table once (0x40) and is named by one byte (index 62)
    // 12 000 times: 46 MiB in 16 KiB, on each of 90 streams, 4 GiB in all.
    let mut bomb = block("GET", &[]);
    let mut entry = field("x-bomb", &"b".repeat(3900));
    entry[0] = 0x40;
    bomb.extend(entry);
    bomb.extend([0xbe; 12_000]);
    let mut refused = 0;
    for n in 0..90 {
        if send_block(&mut frames, 2 * n + 1, &bomb).is_err() {
            break;
        }
    }
    while refused < 90 {
        match frames.receive() {
            Some(frame) if is_431(&frame) => refused += 1,
            Some(frame) if frame.kind == kind::GOAWAY => break,
            Some(_) => {}
            None => break,
        }
    }
    drop(frames);
    attacked.is_unharmed(before);
}

#[test]
fn a_flood_of_continuations_ends_the_connection_in_bounded_memory() {
    let attacked = Attacked::start(&[]);
    for payload in [vec![], field("x", "y"), vec![0; FRAME_BYTES], field("x", &"z".repeat(16_000))] {
        let before = attacked.process.resident_bytes();
        let mut frames = Frames::connect(attacked.process.listen);
        frames.send(kind::HEADERS, END_STREAM, 1, &block("GET", &[])).unwrap();
        // Without END_HEADERS there is always more to come; sending fails when the gateway has closed.
        let sent = (0..CONTINUATIONS).take_while(|_| frames.send(kind::CONTINUATION, 0, 1, &payload).is_ok()).count();
        assert!(sent < CONTINUATIONS, "{CONTINUATIONS} frames of {} bytes were taken", payload.len());
        drop(frames);
        attacked.is_unharmed(before);
    }
}

#[test]
fn a_head_over_http2_that_never_ends_is_given_up() {
    let settings = [("TIMEOUTS_IDLE", "300ms"), ("TIMEOUTS_H2_PING_INTERVAL", "300ms"), ("TIMEOUTS_H2_PING", "300ms")];
    let attacked = Attacked::start(&settings);
    let before = attacked.process.resident_bytes();
    let mut frames = Frames::connect(attacked.process.listen);
    frames.send(kind::HEADERS, END_STREAM, 1, &block("GET", &[])).unwrap();
    while frames.receive().is_some() {}
    attacked.is_unharmed(before);
}

#[test]
fn a_client_that_leaves_the_end_of_a_response_in_our_memory_is_given_up() {
    let attacked = Attacked::start(&[("TIMEOUTS_IDLE", "300ms"), ("TIMEOUTS_WRITE", "300ms")]);
    let before = attacked.process.resident_bytes();
    let mut frames = Frames::connect(attacked.process.listen);
    // SETTINGS_INITIAL_WINDOW_SIZE (4) of one byte: the rest of each body waits for a window that never comes.
    frames.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]).unwrap();
    for n in 0..50 {
        let user = block("GET", &[("x-user-id", "slow")]);
        frames.send(kind::HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &user).unwrap();
    }
    let mut bodies = 0;
    while let Some(frame) = frames.receive() {
        bodies += usize::from(frame.kind == kind::DATA);
        assert!(frame.kind != kind::DATA || frame.payload.len() <= 1, "{frame:?}");
        if frame.kind == kind::PING {
            // It is there all the time.
            let _ = frames.send(kind::PING, END_STREAM, 0, &frame.payload);
        }
    }
    assert_eq!(bodies, 50, "each was answered");
    attacked.is_unharmed(before);
}

#[test]
fn a_draining_connection_still_gives_a_slow_client_the_end_of_its_response() {
    let attacked = Attacked::start(&[]);
    let mut frames = Frames::connect(attacked.process.listen);
    frames.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]).unwrap();
    frames.send(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block("GET", &[])).unwrap();
    let (mut body, mut is_leaving): (Vec<u8>, bool) = (Vec::new(), false);
    while let Some(frame) = frames.receive() {
        match frame.kind {
            kind::DATA => {
                body.extend(&frame.payload);
                if body.len() == 1 {
                    attacked.process.signal("-TERM");
                }
            }
            kind::PING if frame.flags == 0 => frames.send(kind::PING, 1, 0, &frame.payload).unwrap(),
            kind::GOAWAY if !is_leaving => {
                is_leaving = true;
                // Longer than an idle connection may wait for its next request.
                std::thread::sleep(Duration::from_millis(1500));
                let _ = frames.send(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100]);
            }
            _ => {}
        }
    }
    assert!(is_leaving, "it says that it goes away");
    assert_eq!(body, b"blue");
}
