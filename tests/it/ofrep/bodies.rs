//! Bodies and methods as they should not be.

use super::*;

fn posted(world: &World, body: &[u8]) -> Response {
    request(&mut world.client(), &format!("POST {BULK}"), &bearer(SERVER), body)
}

#[test]
fn no_body_and_no_context_are_an_empty_context() {
    let world = world();
    let mut client = world.client();
    for body in [&b""[..], b"{}", b"{\"context\":{}}", b"{\"context\":null}"] {
        assert_eq!(request(&mut client, &format!("POST {BULK}"), &bearer(SERVER), body).status, 200);
    }
    let text = format!("POST {BULK} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {SERVER}\r\n\r\n");
    assert_eq!(client.send(text).response().status, 200);
}

#[test]
fn what_cannot_be_read_is_400_with_its_code() {
    let world = world();
    for (body, code) in [
        (&b"{"[..], "PARSE_ERROR"),
        (b"[]", "PARSE_ERROR"),
        (b"{\"context\":{\"a\":\"\xff\"}}", "PARSE_ERROR"),
        (b"{\"context\":[]}", "INVALID_CONTEXT"),
        (b"{\"context\":\"u1\"}", "INVALID_CONTEXT"),
        (b"{\"context\":{\"now\":1}}", "INVALID_CONTEXT"),
    ] {
        assert_eq!(failure(&posted(&world, body)), (400, code.to_owned()), "{}", body.escape_ascii());
    }
    let deep = format!("{{\"context\":{{\"a\":{}{}}}}}", "[".repeat(60_000), "]".repeat(60_000));
    assert_eq!(failure(&posted(&world, deep.as_bytes())), (400, "PARSE_ERROR".to_owned()));
}

#[test]
fn a_body_of_another_type_is_415() {
    let world = world();
    let fields = format!("authorization: Bearer {SERVER}\r\ncontent-type: text/plain\r\n");
    let response = request(&mut world.client(), &format!("POST {BULK}/static"), &fields, b"{}");
    assert_eq!(failure(&response).0, 415);
    assert_eq!(json_of(&response)["key"], "static");
}

#[test]
fn a_body_of_more_than_256_kib_is_413_announced_or_not() {
    let world = world();
    let head = format!("POST {BULK} HTTP/1.1\r\nhost: {HOST}\r\n{}", bearer(SERVER));
    let announced = world.client().send(format!("{head}content-length: 262145\r\n\r\n")).response();
    assert_eq!(failure(&announced).0, 413);
    assert_eq!(announced.field("connection"), Some("close"));
    let mut client = world.client();
    client.send(format!("{head}transfer-encoding: chunked\r\n\r\n"));
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x1_0000));
    for _ in 0..4 {
        client.send(&chunk);
    }
    client.send("1\r\n \r\n");
    assert_eq!(failure(&client.response()).0, 413);
    // One byte less is fine.
    let mut largest = b"{}".to_vec();
    largest.resize(256 << 10, b' ');
    assert_eq!(posted(&world, &largest).status, 200);
}

#[test]
fn a_body_in_pieces_is_put_together() {
    let world = world();
    let mut client = world.client();
    let fields = bearer(SERVER);
    client.send(format!("POST {BULK}/rule HTTP/1.1\r\nhost: {HOST}\r\n{fields}transfer-encoding: chunked\r\n\r\n"));
    for piece in ["{\"context\":", "{\"email\":", "\"a@shop.", "example\"}", "}"] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
    }
    let response = client.send("0\r\n\r\n").response();
    assert_eq!(json_of(&response)["reason"], "TARGETING_MATCH");
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let world = world();
    let mut client = world.client();
    let fields = bearer(SERVER);
    let head = format!(
        "POST {BULK}/static HTTP/1.1\r\nhost: {HOST}\r\n{fields}expect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    );
    assert_eq!(client.send(head).head().unwrap().status, 100);
    assert_eq!(client.send("{}").response().status, 200);
}

#[test]
fn a_body_that_does_not_come_is_408() {
    let world = with_tokens(builder().config(|config| config.data.client.body_timeout = Duration::from_millis(150)));
    let fields = bearer(SERVER);
    let head = format!("POST {BULK} HTTP/1.1\r\nhost: {HOST}\r\n{fields}content-length: 10\r\n\r\n{{");
    let mut client = world.client();
    let response = client.send(head).response();
    assert_eq!(failure(&response).0, 408);
    client.is_closed();
}

#[test]
fn a_body_that_breaks_its_framing_is_400() {
    let world = world();
    let fields = bearer(SERVER);
    let head = format!("POST {BULK} HTTP/1.1\r\nhost: {HOST}\r\n{fields}transfer-encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(failure(&world.client().send(head).response()), (400, "PARSE_ERROR".to_owned()));
}

#[test]
fn other_methods_are_405_with_the_right_ones() {
    let world = world();
    for (line, allowed) in [
        (format!("GET {BULK}"), "POST, OPTIONS"),
        (format!("PUT {BULK}/static"), "POST, OPTIONS"),
        ("POST /ofrep/v1/events".to_owned(), "GET, OPTIONS"),
    ] {
        let response = request(&mut world.client(), &line, &bearer(SERVER), b"");
        assert_eq!(failure(&response).0, 405, "{line}");
        assert_eq!(response.field("allow"), Some(allowed), "{line}");
    }
    assert_eq!(request(&mut world.client(), "HEAD /ofrep/v1/events", &bearer(SERVER), b"").status, 405);
}
