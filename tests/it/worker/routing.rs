//! What passes through a Worker, and what it adds.

use std::io::{Read as _, Write as _};

use edge_engine::{BucketingKey, Evaluation, JsonContext, check, parse};
use serde_json::json;
use tests::Origin;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use super::runtime::{HOST, KEY, Worker, document};

#[test]
fn an_upstream_learns_what_was_decided_and_nothing_that_a_client_invented() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let worker = Worker::start(&blue);
    worker.publish(&document(1, &blue, &green, 100));
    let forged = "x-bascule-release: forged\r\nX_Bascule_Slot: blue\r\nx-bascule-anything: 1\r\nx_forwarded_for: 1.2.3.4\r\n\
        x-original-url: /admin\r\nx-user-id: u1\r\nx-request-id: r-1\r\nx-kept: 1\r\n";
    let answer = worker.client().get(HOST, "/shop?a=%20b", forged);
    assert_eq!((answer.status, answer.text().as_str()), (200, "green"));
    assert_eq!(answer.field("x-request-id"), Some("r-1"));
    assert_eq!(answer.field("x-bascule-release"), Some("web-2"));
    assert!(answer.field("x-bascule-decision").unwrap().starts_with("snapshot=1; slot=green; reason=SPLIT"));
    let seen = green.last();
    assert_eq!(seen.target(), "/shop?a=%20b");
    for (name, value) in [
        ("x-bascule-app", "web"),
        ("x-bascule-environment", "production"),
        ("x-bascule-release", "web-2"),
        ("x-bascule-slot", "green"),
        ("x-bascule-flags", "checkout=on"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "r-1"),
        ("x-kept", "1"),
    ] {
        assert_eq!(seen.field(name), Some(value), "{name}");
    }
    for name in ["x_bascule_slot", "x-bascule-anything", "x_forwarded_for", "x-original-url"] {
        assert_eq!(seen.field(name), None, "{name}");
    }
}

#[test]
fn a_visitor_without_a_unit_gets_a_cookie_and_stays_where_it_is() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let worker = Worker::start(&blue);
    worker.publish(&document(1, &blue, &green, 50));
    for _ in 0..20 {
        let first = worker.client().get(HOST, "/", "");
        let cookie = first.all("set-cookie").into_iter().find(|cookie| cookie.starts_with("bsc_unit=")).unwrap();
        let (unit, attributes) = cookie.split_once(';').unwrap();
        assert!(attributes.contains("HttpOnly") && attributes.contains("SameSite=Lax"), "{cookie}");
        assert_eq!(first.field("cache-control"), Some("private"));
        let again = worker.client().get(HOST, "/", &format!("cookie: a=b; {unit}\r\n"));
        assert_eq!(again.text(), first.text());
        assert!(again.all("set-cookie").iter().all(|cookie| !cookie.starts_with("bsc_unit=")));
    }
}

#[test]
fn twenty_thousand_visitors_are_served_by_the_release_that_the_native_engine_names() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let worker = Worker::start(&blue);
    let document = document(1, &blue, &green, 30);
    worker.publish(&document);
    let snapshot = check(parse(document.to_string().as_bytes()).unwrap(), &BucketingKey::new(KEY)).unwrap();
    let ask = |range: std::ops::Range<u32>| {
        let mut client = worker.client();
        let candidates = range.filter(|visitor| {
            let context = json!({"header": {"x-user-id": format!("visitor-{visitor}")}}).to_string();
            let context = JsonContext::parse(context.as_bytes()).unwrap();
            let lists = context.lists(&snapshot);
            let values = context.values(&snapshot, &lists);
            let route = Evaluation::new(&snapshot, &context.request(&values, 0)).route();
            let answer = client.get(HOST, "/", &format!("x-user-id: visitor-{visitor}\r\n"));
            assert_eq!(answer.text(), route.slot.as_str(), "visitor {visitor}");
            answer.text() == "green"
        });
        candidates.count()
    };
    let green = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|part| scope.spawn(move || ask(part * 5000..(part + 1) * 5000))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert!((5700..6300).contains(&green), "30 % of 20 000 are not {green}");
}

#[test]
fn bodies_stream_in_both_directions_while_they_are_made() {
    // The upstream answers each byte before the next one comes; only then does the client send another.
    let echo = Origin::raw(|exchange| {
        exchange.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        let mut byte = [0];
        let mut chunk = Vec::new();
        loop {
            exchange.stream().read_exact(&mut byte)?;
            chunk.push(byte[0]);
            if chunk.ends_with(b"\r\n.\r\n") {
                exchange.write("1\r\n.\r\n")?;
                chunk.clear();
            } else if chunk.ends_with(b"0\r\n\r\n") {
                exchange.write("0\r\n\r\n")?;
                return Ok(());
            }
        }
    });
    let worker = Worker::start(&echo);
    worker.publish(&document(1, &echo, &echo, 0));
    let client = worker.client();
    let mut tcp = client.tcp();
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n");
    tcp.write_all(head.as_bytes()).unwrap();
    let mut came = Vec::new();
    for turn in 1..=3 {
        tcp.write_all(b"1\r\n.\r\n").unwrap();
        while came.windows(3).filter(|window| window == b".\r\n").count() < turn {
            let mut byte = [0];
            tcp.read_exact(&mut byte).unwrap();
            came.push(byte[0]);
        }
    }
    tcp.write_all(b"0\r\n\r\n").unwrap();
    while !came.ends_with(b"0\r\n\r\n") {
        let mut byte = [0];
        tcp.read_exact(&mut byte).unwrap();
        came.push(byte[0]);
    }
    assert!(came.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&came));
}

#[test]
fn redirects_and_cookies_of_an_upstream_reach_the_client_as_they_are() {
    let origin = Origin::scripted(|exchange| {
        let fields = "location: /there\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-bascule-release: forged\r\n";
        exchange.respond("302 Found", fields, "")
    });
    let worker = Worker::start(&origin);
    worker.publish(&document(1, &origin, &origin, 0));
    let answer = worker.client().get(HOST, "/", "x-user-id: u1\r\n");
    assert_eq!((answer.status, answer.field("location")), (302, Some("/there")));
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.all("x-bascule-release"), ["web-1"]);
}

#[test]
fn a_web_socket_passes_in_both_directions() {
    let echo = Origin::scripted(|exchange| {
        let key = exchange.seen.field("sec-websocket-key").unwrap_or_default().to_owned();
        let accept = derive_accept_key(key.as_bytes());
        exchange.write(format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        ))?;
        let tcp = exchange.stream().get_ref().try_clone()?;
        let mut socket = WebSocket::from_raw_socket(tcp, Role::Server, None);
        while let Ok(message @ (Message::Text(_) | Message::Binary(_))) = socket.read() {
            socket.send(message).map_err(std::io::Error::other)?;
        }
        Ok(())
    });
    let worker = Worker::start(&echo);
    worker.publish(&document(1, &echo, &echo, 0));
    let mut request = format!("ws://{HOST}/live").into_client_request().unwrap();
    request.headers_mut().insert("x-user-id", "u1".parse().unwrap());
    let tcp = worker.client().tcp().try_clone().unwrap();
    let (mut socket, answer) = client(request, tcp).unwrap();
    assert_eq!(answer.status(), 101);
    for message in [Message::text("one"), Message::binary(vec![0; 70_000])] {
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    assert_eq!(echo.last().field("x-bascule-release"), Some("web-1"));
    assert_eq!(echo.last().target(), "/live");
}
