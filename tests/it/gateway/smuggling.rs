//! Requests that two parsers could read differently: refused with a reason, the connection closed,
//! and not one byte of them at the upstream.

use tests::{Client, Origin, World};

/// A request after which another is hidden; the upstream must see neither.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    status: u16,
}

fn case(name: &'static str, bytes: impl AsRef<[u8]>, status: u16) -> Case {
    Case { name, bytes: bytes.as_ref().to_vec(), status }
}

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: shop.example\r\n\r\n";

/// A POST with these framing fields and this body.
fn framed(name: &'static str, fields: &str, body: &str) -> Case {
    case(name, format!("POST /outer HTTP/1.1\r\nhost: shop.example\r\n{fields}\r\n{body}{HIDDEN}"), 400)
}

/// A GET with this extra field line.
fn field(name: &'static str, line: &str) -> Case {
    case(name, format!("GET /outer HTTP/1.1\r\nhost: shop.example\r\n{line}\r\n\r\n"), 400)
}

/// A GET with this request line.
fn line(name: &'static str, line: &str, status: u16) -> Case {
    case(name, format!("{line}\r\nhost: shop.example\r\n\r\n{HIDDEN}"), status)
}

fn lengths() -> Vec<Case> {
    vec![
        framed("CL.TE", "content-length: 6\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\nG"),
        framed("TE.CL", "transfer-encoding: chunked\r\ncontent-length: 3\r\n", "1\r\nZ\r\n0\r\n\r\n"),
        framed("CL.TE with zero length", "content-length: 0\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
        framed("two lengths that differ", "content-length: 5\r\ncontent-length: 6\r\n", "hello"),
        framed("two lengths that agree", "content-length: 5\r\ncontent-length: 5\r\n", "hello"),
        framed("a list of lengths", "content-length: 5, 5\r\n", "hello"),
        framed("a list of different lengths", "content-length: 5,6\r\n", "hello"),
        framed("a length with a plus", "content-length: +5\r\n", "hello"),
        framed("a negative length", "content-length: -5\r\n", "hello"),
        framed("an empty length", "content-length:\r\n", ""),
        framed("a hexadecimal length", "content-length: 0x5\r\n", "hello"),
        framed("a length with a fraction", "content-length: 5.0\r\n", "hello"),
        framed("a length in exponent form", "content-length: 5e0\r\n", "hello"),
        framed("a length with a trailing letter", "content-length: 5a\r\n", "hello"),
        framed("a length with inner space", "content-length: 5 6\r\n", "hello"),
        framed("a length beyond 64 bits", "content-length: 18446744073709551621\r\n", "hello"),
        framed("a length with vertical tab", "content-length: \x0b5\r\n", "hello"),
        framed("a length in quotes", "content-length: \"5\"\r\n", "hello"),
        framed("a length with space before the colon", "content-length : 5\r\n", "hello"),
        framed("a length with tab before the colon", "content-length\t: 5\r\n", "hello"),
        framed("an underscored length", "content_length: 5\r\n", "hello"),
        framed("a folded length", "content-length:\r\n 5\r\n", "hello"),
    ]
}

fn encodings() -> Vec<Case> {
    let body = "0\r\n\r\n";
    vec![
        framed("identity", "transfer-encoding: identity\r\n", body),
        framed("gzip", "transfer-encoding: gzip\r\n", body),
        framed("gzip and chunked", "transfer-encoding: gzip, chunked\r\n", body),
        framed("chunked and gzip", "transfer-encoding: chunked, gzip\r\n", body),
        framed("chunked twice in a list", "transfer-encoding: chunked, chunked\r\n", body),
        framed("chunked twice", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", body),
        framed("chunked and identity", "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", body),
        framed("a prefix", "transfer-encoding: xchunked\r\n", body),
        framed("a suffix", "transfer-encoding: chunkedx\r\n", body),
        framed("in quotes", "transfer-encoding: \"chunked\"\r\n", body),
        framed("with a parameter", "transfer-encoding: chunked;q=1\r\n", body),
        framed("a trailing comma", "transfer-encoding: chunked,\r\n", body),
        framed("a leading comma", "transfer-encoding: ,chunked\r\n", body),
        framed("with vertical tab", "transfer-encoding: \x0bchunked\r\n", body),
        framed("with NUL", "transfer-encoding: chunked\0\r\n", body),
        framed("empty", "transfer-encoding:\r\n", body),
        framed("space before the colon", "transfer-encoding : chunked\r\n", body),
        framed("underscored", "transfer_encoding: chunked\r\n", body),
        framed("folded", "transfer-encoding:\r\n chunked\r\n", body),
        framed("a folded line before", "x: y\r\n transfer-encoding: chunked\r\n", body),
        framed("hidden behind a bare LF", "x: y\ntransfer-encoding: chunked\r\n", body),
        framed("hidden behind a bare CR", "x: y\rtransfer-encoding: chunked\r\n", body),
        case(
            "in HTTP/1.0",
            format!("POST /outer HTTP/1.0\r\nhost: shop.example\r\ntransfer-encoding: chunked\r\n\r\n{body}{HIDDEN}"),
            400,
        ),
    ]
}

fn chunks() -> Vec<Case> {
    let chunked = |name, body: &str| framed(name, "transfer-encoding: chunked\r\n", body);
    vec![
        chunked("a size with a plus", "+5\r\nhello\r\n0\r\n\r\n"),
        chunked("a size with a sign", "-5\r\nhello\r\n0\r\n\r\n"),
        chunked("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        chunked("a size with leading space", " 5\r\nhello\r\n0\r\n\r\n"),
        chunked("a size with trailing space", "5 \r\nhello\r\n0\r\n\r\n"),
        chunked("a size with trailing tab", "5\t\r\nhello\r\n0\r\n\r\n"),
        chunked("an empty size", "\r\nhello\r\n0\r\n\r\n"),
        chunked("a size with a letter", "5g\r\nhello\r\n0\r\n\r\n"),
        chunked("a size beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        chunked("a size line ended by LF", "5\nhello\r\n0\r\n\r\n"),
        chunked("a size line ended by CR", "5\rXhello\r\n0\r\n\r\n"),
        chunked("data that is too long", "5\r\nhelloX\r\n0\r\n\r\n"),
        chunked("data ended by LF", "5\r\nhello\n0\r\n\r\n"),
        chunked("an extension with a bare LF", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        chunked("an extension with NUL", "5;a\0\r\nhello\r\n0\r\n\r\n"),
        chunked("an end by LF", "5\r\nhello\r\n0\n\n"),
        chunked("a trailer with a length", "0\r\ncontent-length: 5\r\n\r\n"),
        chunked("a trailer with an encoding", "0\r\ntransfer-encoding: chunked\r\n\r\n"),
        chunked("a trailer with a host", "0\r\nhost: a\r\n\r\n"),
        chunked("a trailer that is no field", "0\r\nGET / HTTP/1.1\r\n\r\n"),
        chunked("a folded trailer", "0\r\na: b\r\n c\r\n\r\n"),
    ]
}

fn lines() -> Vec<Case> {
    vec![
        line("space in the target", "GET /a b HTTP/1.1", 400),
        line("two spaces", "GET  /a HTTP/1.1", 400),
        line("a trailing space", "GET /a HTTP/1.1 ", 400),
        line("a leading space", " GET /a HTTP/1.1", 400),
        line("a tab", "GET\t/a\tHTTP/1.1", 400),
        line("a fragment", "GET /a#b HTTP/1.1", 400),
        line("no slash", "GET a HTTP/1.1", 400),
        line("an asterisk for GET", "GET * HTTP/1.1", 400),
        line("another scheme", "GET ftp://shop.example/ HTTP/1.1", 400),
        line("user information", "GET http://u:p@shop.example/ HTTP/1.1", 400),
        line("another authority", "GET http://other.example/ HTTP/1.1", 400),
        line("another port", "GET http://shop.example:81/ HTTP/1.1", 400),
        line("bytes beyond ASCII", "GET /\u{e9} HTTP/1.1", 400),
        line("NUL in the target", "GET /\0 HTTP/1.1", 400),
        line("no version", "GET /a", 400),
        line("a lower-case version", "GET /a http/1.1", 400),
        line("HTTP/0.9", "GET /a HTTP/0.9", 505),
        line("HTTP/1.2", "GET /a HTTP/1.2", 505),
        line("HTTP/2.0", "GET /a HTTP/2.0", 505),
        line("an HTTP/2 preface with more", "PRI * HTTP/2.0\r\nx: y", 505),
        line("CONNECT", "CONNECT shop.example:443 HTTP/1.1", 501),
        line("TRACE", "TRACE /a HTTP/1.1", 501),
        line("a method that is no token", "G(ET /a HTTP/1.1", 400),
    ]
}

fn fields() -> Vec<Case> {
    vec![
        field("two hosts", "host: shop.example"),
        field("two hosts that differ", "Host: other.example"),
        field("a folded field", "x: a\r\n b"),
        field("a field folded by tab", "x: a\r\n\tb"),
        field("a field without colon", "x"),
        field("a field without name", ": x"),
        field("a name with space", "a b: c"),
        field("a name with space before the colon", "a : c"),
        field("NUL in a value", "x: a\0b"),
        field("a control character in a value", "x: a\x01b"),
        field("DEL in a value", "x: a\x7fb"),
        field("a bare CR in a value", "x: a\rb"),
        field("a bare LF in a value", "x: a\nb: c"),
        case("no host", "GET /outer HTTP/1.1\r\n\r\n", 400),
        case("an empty host", "GET /outer HTTP/1.1\r\nhost:\r\n\r\n", 400),
        case("a host with a path", "GET /outer HTTP/1.1\r\nhost: shop.example/x\r\n\r\n", 400),
        case("a host with user information", "GET /outer HTTP/1.1\r\nhost: a@shop.example\r\n\r\n", 400),
        case("a list of hosts", "GET /outer HTTP/1.1\r\nhost: shop.example, b\r\n\r\n", 400),
        case("bare LF throughout", "GET /outer HTTP/1.1\nhost: shop.example\n\n", 400),
        case("a head ended by LF", "GET /outer HTTP/1.1\r\nhost: shop.example\r\n\n", 400),
        case("a line before the request", format!("\r\n{HIDDEN}"), 400),
    ]
}

fn corpus() -> Vec<Case> {
    [lengths(), encodings(), chunks(), lines(), fields()].into_iter().flatten().collect()
}

/// Sends bytes although the gateway may close halfway.
fn send(client: &mut Client, bytes: &[u8]) {
    let _ = client.try_send(bytes);
}

#[test]
fn every_case_of_the_corpus_is_refused_with_a_reason_and_never_forwarded() {
    let corpus = corpus();
    assert!(corpus.len() >= 100, "{}", corpus.len());
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url()).start();
    for case in &corpus {
        let mut client = world.client();
        send(&mut client, &case.bytes);
        let response = client.try_response(false).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(response.status, case.status, "{}: {response:?}", case.name);
        assert_eq!(response.field("connection"), Some("close"), "{}", case.name);
        assert!(!response.code().is_empty(), "{}", case.name);
        assert!(client.rest().is_empty(), "{}: a second answer", case.name);
    }
    // A chunked body may have begun before its violation; the upstream never sees its end.
    assert!(origin.seen().is_empty(), "{:?}", origin.seen());
}

#[test]
fn a_refusal_keeps_its_turn_behind_good_requests() {
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url()).start();
    for case in corpus() {
        let mut client = world.client();
        let good = "GET /good HTTP/1.1\r\nhost: shop.example\r\n\r\n";
        send(&mut client, &[good.as_bytes(), good.as_bytes(), &case.bytes].concat());
        for _ in 0..2 {
            let response = client.try_response(false).unwrap_or_else(|error| panic!("{}: {error}", case.name));
            assert_eq!((response.status, response.text().as_str()), (200, "blue"), "{}", case.name);
        }
        let refused = client.try_response(false).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(refused.status, case.status, "{}", case.name);
        assert!(client.rest().is_empty(), "{}: a second answer", case.name);
    }
    assert!(origin.seen().iter().all(|seen| seen.target() == "/good"), "something was smuggled");
}

#[test]
fn heads_that_are_too_large_are_refused_with_431_and_targets_with_414() {
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url()).start();
    let many = "x: y\r\n".repeat(100);
    let large = format!("x: {}\r\n", "a".repeat(32 * 1024));
    for fields in [many.as_str(), large.as_str()] {
        let mut client = world.client();
        send(&mut client, format!("GET / HTTP/1.1\r\nhost: shop.example\r\n{fields}\r\n").as_bytes());
        let response = client.response();
        assert_eq!((response.status, response.code().as_str()), (431, "head_too_large"));
        client.is_closed();
    }
    let mut client = world.client();
    let long = "a".repeat(8 * 1024);
    send(&mut client, format!("GET /{long} HTTP/1.1\r\nhost: shop.example\r\n\r\n").as_bytes());
    let response = client.response();
    assert_eq!((response.status, response.code().as_str()), (414, "target_too_long"));
    client.is_closed();
    let fields = "x: y\r\n".repeat(99);
    let accepted = world.client().get("shop.example", &format!("/{}", "a".repeat(8 * 1024 - 1)), &fields);
    assert_eq!(accepted.status, 200, "what is just within the limits passes");
}

#[test]
fn an_upstream_with_ambiguous_framing_is_answered_by_502() {
    for head in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "transfer-encoding: gzip\r\n",
        "content-length: 5,5\r\n",
    ] {
        let origin = Origin::scripted(move |exchange| exchange.write(format!("HTTP/1.1 200 OK\r\n{head}\r\nhello")));
        let world = World::of(&origin.url(), &origin.url()).start();
        let response = world.client().get("shop.example", "/", "");
        assert_eq!((response.status, response.code().as_str()), (502, "upstream_malformed"), "{head}");
    }
}
