//! HTTP/2 that no correct client sends, frame by frame.

use tests::frames::{END_HEADERS, END_STREAM, Frames, field, kind};
use tests::world::HOST;
use tests::{Origin, World};

const PROTOCOL_ERROR: u32 = 1;

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
    let settings = frames.next().expect("the gateway's settings come first");
    assert_eq!(settings.kind, kind::SETTINGS);
    // SETTINGS_ENABLE_CONNECT_PROTOCOL (8) is what would invite it.
    assert!(settings.payload.chunks(6).all(|setting| setting[..2] != [0, 8]), "{settings:?}");
    let connect = block("CONNECT", &[(":protocol", "websocket"), ("sec-websocket-version", "13")]);
    frames.send(kind::HEADERS, END_HEADERS, 1, &connect).unwrap();
    // RFC 8441 is not supported: without the invitation, `:protocol` makes the request malformed.
    let answer = frames.next_of(1).expect("an answer");
    assert_eq!((answer.kind, answer.stream, answer.error_code()), (kind::RST_STREAM, 1, PROTOCOL_ERROR));
    let plain = block("GET", &[]);
    frames.send(kind::HEADERS, END_HEADERS | END_STREAM, 3, &plain).unwrap();
    let answer = frames.next_of(3).expect("an answer");
    assert_eq!(answer.kind, kind::HEADERS);
    assert_eq!(origin.seen().len(), 1, "{:?}", origin.seen());
}
