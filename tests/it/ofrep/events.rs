//! The stream of changes.

use super::*;

/// Opens the stream at a request URI, and reads its first frame.
fn open(world: &World, uri: &str, fields: &str) -> Client {
    let mut client = try_open(world, uri, fields).unwrap();
    assert_eq!(chunk(&mut client), ": ok\n\n");
    client
}

/// Opens it, or tells the status.
fn try_open(world: &World, uri: &str, fields: &str) -> Result<Client, u16> {
    let mut client = world.client();
    client.send(format!("GET {uri} HTTP/1.1\r\nhost: {HOST}\r\naccept: text/event-stream\r\n{fields}\r\n"));
    let head = client.head().unwrap();
    if head.status != 200 {
        return Err(head.status);
    }
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    assert_eq!(head.field("cache-control"), Some("no-store"));
    assert_eq!(head.field("x-accel-buffering"), Some("no"));
    Ok(client)
}

/// The next chunk; empty at the end.
fn chunk(client: &mut Client) -> String {
    let mut line = String::new();
    while !line.ends_with("\r\n") {
        line.push(char::from(client.bytes(1)[0]));
    }
    let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
    let bytes = client.bytes(size + 2);
    String::from_utf8(bytes[..size].to_vec()).unwrap()
}

/// The id of a frame that says to fetch again.
#[track_caller]
fn refetch(frame: &str) -> String {
    let (id, rest) = frame.strip_prefix("id: ").expect(frame).split_once('\n').expect(frame);
    let data = rest.strip_prefix("event: message\ndata: ").expect(frame).strip_suffix("\n\n").expect(frame);
    let json: Value = serde_json::from_str(data).unwrap();
    assert_eq!((json["type"].as_str(), json["etag"].as_str()), (Some("refetchEvaluation"), Some(id)));
    assert!(json["lastModified"].is_i64());
    id.to_owned()
}

/// The stream that a bulk answer names.
fn named(world: &World, token: &str) -> String {
    let json = json_of(&evaluate(world, token, BULK, &json!({})));
    let stream = &json["eventStreams"][0];
    assert_eq!((&stream["type"], &stream["inactivityDelaySec"]), (&json!("sse"), &json!(120)));
    stream["endpoint"]["requestUri"].as_str().unwrap().to_owned()
}

#[test]
fn a_stream_opens_by_header_and_by_the_ticket_of_a_bulk_answer() {
    let world = world();
    open(&world, "/ofrep/v1/events", &bearer(SERVER));
    for token in [SERVER, CLIENT] {
        let uri = named(&world, token);
        assert!(uri.starts_with("/ofrep/v1/events?ticket="), "{uri}");
        assert_eq!(uri, named(&world, token), "it stays, or answers would never be equal");
        open(&world, &uri, "");
    }
    assert_ne!(named(&world, SERVER), named(&world, CLIENT));
}

#[test]
fn a_ticket_that_is_not_whole_opens_nothing() {
    let world = world();
    let uri = named(&world, CLIENT);
    let (rest, mac) = uri.rsplit_once('.').unwrap();
    let (rest, expiry) = rest.rsplit_once('.').unwrap();
    let expiry: i64 = expiry.parse().unwrap();
    for forged in [
        format!("{rest}.{}.{mac}", expiry + 1),
        format!("{rest}.{expiry}.{}", "0".repeat(32)),
        uri.replace(&Fingerprint::of(CLIENT).hex(), &Fingerprint::of(SERVER).hex()),
    ] {
        assert_eq!(try_open(&world, &forged, "").err(), Some(401), "{forged}");
    }
    // It opens the stream and evaluates nothing.
    let ticket = uri.split_once('?').unwrap().1;
    let response = request(&mut world.client(), &format!("POST {BULK}?{ticket}"), "", b"");
    assert_eq!(response.status, 401);
}

#[test]
fn every_change_of_the_snapshot_says_to_fetch_again() {
    let world = world();
    let mut streams = [open(&world, &named(&world, CLIENT), ""), open(&world, "/ofrep/v1/events", &bearer(SERVER))];
    let mut ids = Vec::new();
    for enabled in [false, true] {
        world.publish(|snapshot| snapshot["flags"]["static"]["enabled"] = json!(enabled));
        let told: Vec<String> = streams.iter_mut().map(|stream| refetch(&chunk(stream))).collect();
        assert_eq!(told[0], told[1], "an event has one id");
        ids.push(told[0].clone());
        // Whoever fetches now gets what it was told of.
        assert_eq!(value(&world, CLIENT, "static", &json!({})), json!(enabled));
    }
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_client_that_comes_back_is_told_what_it_has_missed() {
    let world = world();
    let mut stream = open(&world, "/ofrep/v1/events", &bearer(SERVER));
    world.publish(|_| ());
    let id = refetch(&chunk(&mut stream));
    drop(stream);
    let again = |id: &str| format!("{}last-event-id: {id}\r\n", bearer(SERVER));
    // It has seen the last one.
    let mut seen = open(&world, "/ofrep/v1/events", &again(&id));
    world.publish(|_| ());
    assert_ne!(refetch(&chunk(&mut seen)), id);
    // It has not.
    let mut missed = try_open(&world, "/ofrep/v1/events", &again(&id)).unwrap();
    let frame = chunk(&mut missed);
    assert_ne!(refetch(frame.strip_prefix(": ok\n\n").expect("both in one")), id);
}

#[test]
fn a_stream_ends_when_its_token_no_longer_counts() {
    let world = world();
    let mut gone = open(&world, &named(&world, CLIENT), "");
    let mut stays = open(&world, "/ofrep/v1/events", &bearer(SERVER));
    let only = Access { environments: vec![of("web", "production", vec![token(SERVER, false, None)])] };
    world.gateway().publisher().set_access(only).unwrap();
    assert_eq!(chunk(&mut gone), "", "it ends in the ordinary way");
    world.publish(|_| ());
    refetch(&chunk(&mut stays));
}

#[test]
fn a_stream_ends_when_its_token_expires() {
    let world = world();
    let tokens = vec![token("bsc_short", false, Some(now_ms() + 1_500))];
    world.gateway().publisher().set_access(Access { environments: vec![of("web", "production", tokens)] }).unwrap();
    let mut stream = open(&world, "/ofrep/v1/events", &bearer("bsc_short"));
    assert_eq!(chunk(&mut stream), "");
}

#[test]
fn streams_end_when_the_gateway_drains() {
    let mut world = world();
    let mut stream = open(&world, "/ofrep/v1/events", &bearer(SERVER));
    let reader = std::thread::spawn(move || chunk(&mut stream));
    world.stop();
    assert_eq!(reader.join().unwrap(), "");
}

#[test]
fn there_are_only_so_many_streams() {
    let world = with_tokens(builder().config(|config| config.data.client.ofrep_streams = 2));
    let uri = named(&world, CLIENT);
    let kept = [open(&world, &uri, ""), open(&world, &uri, "")];
    let mut client = world.client();
    let refused = client.send(format!("GET {uri} HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).response();
    assert_eq!(failure(&refused).0, 503);
    assert!(refused.field("retry-after").is_some());
    drop(kept);
    crate::rig::eventually("a stream that ended makes room", || try_open(&world, &uri, "").err(), Option::is_none);
}

#[test]
fn a_silent_stream_is_kept_alive() {
    let world = world();
    let mut stream = open(&world, "/ofrep/v1/events", &bearer(SERVER));
    assert_eq!(chunk(&mut stream), ": ping\n\n");
}
