//! Tunnels: only after the upstream's 101, only to what both sides named, and not beyond a rollback.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use server::gateway::metrics::Event;
use tests::world::HOST;
use tests::{Origin, World};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

/// Answers the handshake and echoes messages.
fn echo() -> Origin {
    Origin::scripted(|exchange| {
        let key = exchange.seen.field("sec-websocket-key").unwrap_or_default().to_owned();
        assert_eq!(exchange.seen.field("connection"), Some("upgrade"));
        exchange.write(format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        ))?;
        let tcp = exchange.stream().get_ref().try_clone()?;
        let mut socket = WebSocket::from_raw_socket(tcp, Role::Server, None);
        while let Ok(message) = socket.read() {
            if message.is_text() && socket.send(message).is_err() {
                break;
            }
        }
        Err(std::io::ErrorKind::Other.into())
    })
}

fn open(world: &World) -> WebSocket<TcpStream> {
    let request = format!("ws://{HOST}/socket").into_client_request().unwrap();
    let tcp = TcpStream::connect(world.address()).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (socket, response) = client(request, tcp).expect("the handshake passes");
    assert_eq!(response.status(), 101);
    socket
}

fn say(socket: &mut WebSocket<TcpStream>, text: &str) {
    socket.send(Message::text(text)).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text(text));
}

#[test]
fn a_web_socket_passes_both_ways() {
    let origin = echo();
    let world = World::of(&origin.url(), &origin.url()).start();
    let mut socket = open(&world);
    for text in ["hello", &"x".repeat(100_000)] {
        say(&mut socket, text);
    }
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
}

fn asks(protocol: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n")
}

#[test]
fn without_a_101_what_follows_is_http_and_nothing_is_tunnelled() {
    let origin = Origin::named("plain");
    let world = World::of(&origin.url(), &origin.url()).start();
    let mut client = world.client();
    let next = format!("GET /next HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    client.send(asks("websocket") + &next);
    assert_eq!(client.response().text(), "plain");
    assert_eq!(client.response().text(), "plain");
    let seen = origin.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].field("upgrade"), seen[1].target()), (Some("websocket"), "/next"));
    client.send(asks("websocket") + "GET /smuggled HTTP/1.1\nhost: x\n\n");
    assert_eq!(client.response().text(), "plain");
    assert_eq!(client.response().code(), "line_end_invalid");
    assert_eq!(origin.seen().len(), 3);
}

#[test]
fn a_101_to_what_nobody_asked_for_is_a_502() {
    let origin = Origin::scripted(|exchange| {
        exchange.write("HTTP/1.1 101 Switching Protocols\r\nupgrade: other\r\nconnection: upgrade\r\n\r\nraw")
    });
    let world = World::of(&origin.url(), &origin.url()).start();
    for request in [asks("websocket"), format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")] {
        let mut client = world.client();
        let response = client.send(request).response();
        assert_eq!((response.status, response.code().as_str()), (502, "upstream_malformed"));
    }
    assert_eq!(world.count(Event::TunnelOpened), 0);
}

#[test]
fn an_upgrade_that_connection_does_not_name_or_to_h2c_is_not_forwarded() {
    let origin = Origin::named("plain");
    let world = World::of(&origin.url(), &origin.url()).start();
    for fields in [
        "upgrade: websocket\r\n",
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
    ] {
        let mut client = world.client();
        assert_eq!(client.get(HOST, "/", fields).text(), "plain");
        assert_eq!(client.get(HOST, "/", "").text(), "plain", "the connection goes on as HTTP/1");
        let seen = &origin.seen()[origin.seen().len() - 2];
        assert_eq!((seen.field("upgrade"), seen.field("http2-settings")), (None, None));
    }
}

#[test]
fn a_rollback_ends_tunnels_and_streams_after_the_grace_and_not_others() {
    let (blue, green) = (echo(), echo());
    let grace = 300;
    let world = World::of(&blue.url(), &green.url())
        .weight(500_000)
        .snapshot(|snapshot| snapshot["edge"]["rollbackGraceMs"] = json!(grace))
        .start();
    let mut sockets: Vec<_> = (0..24).map(|_| open(&world)).collect();
    for socket in &mut sockets {
        say(socket, "before");
    }
    let (in_blue, in_green) = (blue.seen().len(), green.seen().len());
    assert!(in_blue > 0 && in_green > 0);
    let from = Instant::now();
    world.publish(|snapshot| {
        snapshot["traffic"]["candidateWeight"] = json!(0);
        snapshot["traffic"]["rolledBack"] = json!(["web-2"]);
    });
    let mut ended = 0;
    for socket in &mut sockets {
        socket.get_ref().set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
        match socket.get_mut().read(&mut [0; 1]) {
            Ok(0) => ended += 1,
            Ok(_) => panic!("nobody sends anything"),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => ended += 1,
            Err(_) => say(socket, "after"),
        }
        if ended == 1 {
            assert!(from.elapsed() >= Duration::from_millis(grace), "{:?}", from.elapsed());
        }
    }
    assert_eq!((ended, sockets.len() - ended), (in_green, in_blue));
    assert_eq!(world.count(Event::RolledBack), in_green as u64);
}

#[test]
fn no_request_reaches_a_release_after_its_rollback_was_acknowledged() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let world = World::of(&blue.url(), &green.url()).weight(1_000_000).start();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = world.client();
                    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                        assert_eq!(client.get(HOST, "/", "").status, 200);
                    }
                })
            })
            .collect();
        for turn in 0..20 {
            world.publish(|snapshot| snapshot["traffic"]["candidateWeight"] = json!(0));
            // What had begun before the acknowledgement may still arrive; requests that begin now may not.
            let mut fresh = world.client();
            for _ in 0..20 {
                assert_eq!(fresh.get(HOST, "/probe", "").text(), "blue", "{turn}");
            }
            world.publish(|_| {});
            assert_eq!(fresh.get(HOST, "/", "").text(), "green", "{turn}");
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        for client in clients {
            client.join().unwrap();
        }
    });
    assert!(green.seen().iter().all(|seen| seen.target() != "/probe"));
}
