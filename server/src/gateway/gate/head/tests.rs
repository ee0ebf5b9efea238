//! The head's grammar, one rule at a time.

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 32 * 1024, fields: 100, target: 8 * 1024 };

fn read(head: &[u8]) -> Result<Option<Head>, Reject> {
    let whole = HeadReader::default().read(head, LIMITS);
    // Byte by byte the verdict is the same.
    let mut reader = HeadReader::default();
    let mut last = Ok(None);
    for end in 1..=head.len() {
        last = reader.read(&head[..end], LIMITS);
        if last != Ok(None) {
            break;
        }
    }
    assert_eq!(last, whole, "{}", head.escape_ascii());
    whole
}

#[track_caller]
fn refuses(head: impl AsRef<[u8]>, expected: Reject) {
    let head = head.as_ref();
    assert_eq!(read(head), Err(expected), "{}", head.escape_ascii());
}

#[track_caller]
fn accepts(head: impl AsRef<[u8]>) -> Head {
    let head = head.as_ref();
    match read(head) {
        Ok(Some(read)) => {
            assert_eq!(read.len, head.len());
            read
        }
        other => panic!("{}: {other:?}", head.escape_ascii()),
    }
}

fn with_field(field: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n")
}

fn with_line(line: &str) -> String {
    format!("{line}\r\nhost: a\r\n\r\n")
}

#[test]
fn lines_end_in_cr_lf_only() {
    refuses("GET / HTTP/1.1\nhost: a\n\n", Reject::LineEnd);
    refuses("GET / HTTP/1.1\r\nhost: a\n\r\n", Reject::LineEnd);
    refuses("GET / HTTP/1.1\r\nhost: a\r\r\n", Reject::LineEnd);
    refuses("GET / HTTP/1.1\r\nhost: a\rb: c\r\n\r\n", Reject::LineEnd);
    refuses("GET / HTTP/1.1\r\nhost: a\r\n\n", Reject::LineEnd);
    refuses("\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", Reject::LineEnd);
    refuses("\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", Reject::RequestLine);
}

#[test]
fn control_characters_are_refused_and_other_bytes_are_not() {
    for byte in (0..b' ').chain([0x7f]) {
        let head = [b"GET / HTTP/1.1\r\nhost: a\r\nx: a".as_slice(), &[byte], b"b\r\n\r\n"].concat();
        match byte {
            b'\t' => drop(accepts(&head)),
            b'\r' | b'\n' => refuses(&head, Reject::LineEnd),
            _ => refuses(&head, Reject::Control),
        }
    }
    accepts(b"GET / HTTP/1.1\r\nhost: a\r\nx: \xc3\xa9\xff\r\n\r\n");
}

#[test]
fn the_request_line_has_single_spaces_and_known_parts() {
    for line in [
        "GET  / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /",
        "GET",
        "",
        "G\tET / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.1x",
        "GE(T / HTTP/1.1",
        "GET / HTTP/11",
        "GET /a b HTTP/1.1",
    ] {
        refuses(with_line(line), Reject::RequestLine);
    }
    for line in ["GET / HTTP/2.0", "GET / HTTP/0.9", "GET / HTTP/1.2", "PRI * HTTP/2.0"] {
        refuses(with_line(line), Reject::Version);
    }
    for line in ["CONNECT a:443 HTTP/1.1", "TRACE / HTTP/1.1"] {
        refuses(with_line(line), Reject::Method);
    }
    for line in ["GET /\0 HTTP/1.1", "GET /\x01 HTTP/1.1"] {
        refuses(with_line(line), Reject::Control);
    }
    accepts(with_line("PURGE /x HTTP/1.1"));
}

#[test]
fn targets_are_in_origin_absolute_or_asterisk_form() {
    for target in [
        "a",
        "*",
        "a.example/x",
        "ftp://a/",
        "http://",
        "http:///x",
        "http://u@a/",
        "//",
        "/#f",
        "/é",
        "/<",
        "/>",
        "/`",
        "http://a b/",
    ] {
        let head = with_line(&format!("GET {target} HTTP/1.1"));
        match target {
            "//" => drop(accepts(head)),
            "http://a b/" => refuses(head, Reject::RequestLine),
            _ => refuses(head, Reject::Target),
        }
    }
    accepts("GET HTTP://a/x?y HTTP/1.1\r\nhost: a\r\n\r\n");
    accepts("GET https://a HTTP/1.1\r\nhost: a\r\n\r\n");
    refuses("POST * HTTP/1.1\r\nhost: a\r\n\r\n", Reject::Target);
}

#[test]
fn every_target_byte_that_passes_is_one_the_parser_takes() {
    for byte in 0..=255u8 {
        for position in ["/a", "/a?b"] {
            let target = [position.as_bytes(), &[byte]].concat();
            if target_authority(b"GET", &target).is_ok() {
                assert!(http::Uri::from_maybe_shared(target.clone()).is_ok(), "{}", target.escape_ascii());
            }
        }
    }
}

#[test]
fn host_is_there_once_and_is_a_host() {
    refuses("GET / HTTP/1.1\r\n\r\n", Reject::HostMissing);
    refuses("GET http://a/ HTTP/1.0\r\n\r\n", Reject::HostMissing);
    accepts("GET / HTTP/1.0\r\n\r\n");
    refuses(with_field("host: a"), Reject::HostRepeated);
    refuses(with_field("HOST: b"), Reject::HostRepeated);
    for host in [
        "", "a b", "a,b", "a/b", "u@a", "a:b", "a:", "a:123456", "[::1", "::1", "[g]", "a?b", "a\\b", "é", "a:80:80",
        "[]",
    ] {
        refuses(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"), Reject::HostInvalid);
    }
    for host in ["a", "A.b-c_d:80", "127.0.0.1", "[::1]", "[::ffff:1.2.3.4]:8080", "a."] {
        accepts(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    }
    refuses("GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n", Reject::HostMismatch);
    refuses("GET http://a/ HTTP/1.1\r\nhost: a:80\r\n\r\n", Reject::HostMismatch);
}

#[test]
fn field_lines_are_a_token_a_colon_and_a_value() {
    for field in ["a b: c", "a : c", "a\t: c", ": c", "abc", "a(b): c", "a\u{e9}: c", "a;b: c", "\"a\": c"] {
        refuses(with_field(field), Reject::FieldLine);
    }
    for field in [" folded", "\tfolded", " a: b"] {
        refuses(with_field(field), Reject::Folding);
    }
    accepts(with_field("x:"));
    accepts(with_field("x: \t "));
    accepts(with_field("X_y!#$%&'*+-.^`|~9: z"));
}

#[test]
fn content_length_is_one_number() {
    for value in ["", "+5", "-5", "5 5", "5,5", "5, 5", "0x5", "5.0", "5a", "１", "9999999999999999999", "1_0"] {
        refuses(with_field(&format!("content-length: {value}")), Reject::ContentLength);
    }
    refuses(with_field("content-length: 5\r\ncontent-length: 5"), Reject::ContentLength);
    refuses(with_field("content-length: 5\r\nCONTENT-LENGTH: 6"), Reject::ContentLength);
    refuses(with_field("content_length: 5"), Reject::ContentLength);
    assert_eq!(accepts(with_field("Content-Length: 007")).body, BodyFraming::Length(7));
}

#[test]
fn transfer_encoding_is_chunked_alone() {
    for value in [
        "",
        "identity",
        "gzip",
        "chunked, chunked",
        "gzip, chunked",
        "chunked;q=1",
        "xchunked",
        "chunked,",
        ",chunked",
        "\"chunked\"",
        "chunk ed",
    ] {
        refuses(with_field(&format!("transfer-encoding: {value}")), Reject::TransferEncoding);
    }
    refuses(with_field("transfer-encoding: chunked\r\ntransfer-encoding: chunked"), Reject::TransferEncoding);
    refuses(with_field("transfer_encoding: chunked"), Reject::TransferEncoding);
    refuses("POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", Reject::TransferEncoding);
    refuses(with_field("transfer-encoding: chunked\r\ncontent-length: 5"), Reject::BothLengths);
    refuses(with_field("content-length: 0\r\ntransfer-encoding: chunked"), Reject::BothLengths);
    assert_eq!(accepts(with_field("Transfer-Encoding: Chunked")).body, BodyFraming::Chunked);
}

#[test]
fn a_head_keeps_its_budget() {
    let fields = "x: y\r\n".repeat(99);
    accepts(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"));
    refuses(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}x: y\r\n\r\n"), Reject::HeadTooLarge);
    let long = "a".repeat(LIMITS.bytes);
    let mut reader = HeadReader::default();
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}");
    assert_eq!(reader.read(head.as_bytes(), LIMITS), Err(Reject::HeadTooLarge));
    let target = "a".repeat(LIMITS.target);
    let mut reader = HeadReader::default();
    assert_eq!(reader.read(format!("GET /{target} HTTP/1.1\r\n").as_bytes(), LIMITS), Err(Reject::TargetTooLong));
    let mut reader = HeadReader::default();
    assert_eq!(reader.read(format!("GET /{target}{target}").as_bytes(), LIMITS), Err(Reject::TargetTooLong));
}

#[test]
fn only_a_request_without_body_can_ask_for_an_upgrade() {
    assert!(accepts(with_field("upgrade: websocket")).asks_upgrade);
    assert!(!accepts(with_field("upgrade: websocket\r\ncontent-length: 1")).asks_upgrade);
    assert!(!accepts("GET / HTTP/1.0\r\nhost: a\r\nupgrade: x\r\n\r\n").asks_upgrade);
}
