//! The promise of a rollback: after its answer nothing reaches the release any more, whatever it travels on.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request as HttpRequest;
use serde_json::json;
use tests::{Client, Origin};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use super::{Fleet, PRODUCTION};
use crate::rig::eventually;

const HOST: &str = "shop.example";
/// As the fleet's environment has it.
const GRACE: Duration = Duration::from_millis(100);

/// Visitors on kept-alive connections, until they are told to stop; how many requests were answered, and how many not.
fn visit(address: SocketAddr, visitor: usize, stop: &AtomicBool, answered: &AtomicU64) {
    let mut client = Client::connect(address);
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let response = client.get("shop.example", "/", &format!("x-user-id: u{visitor}-{n}\r\n"));
        assert_eq!(response.status, 200, "{response:?}");
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn after_the_rollback_was_answered_no_request_reaches_the_release() {
    let fleet = Fleet::start(3);
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for (n, address) in fleet.addresses().into_iter().enumerate() {
            for visitor in 0..3 {
                let (stop, answered) = (&stop, &answered);
                scope.spawn(move || visit(address, 10 * n + visitor, stop, answered));
            }
        }
        eventually("both releases serve", || fleet.green.seen().len(), |count| *count > 300);
        let done = fleet.plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(json!({"reason": "errors"})));
        let reached = fleet.green.seen().len();
        assert_eq!(done.status, 200, "{done:?}");
        assert_eq!((&done.body["acknowledged"], &done.body["connected"]), (&json!(3), &json!(3)), "{done:?}");
        assert_eq!((&done.body["from"], &done.body["to"]), (&json!("web-2"), &json!("web-1")));
        let served = answered.load(Ordering::Relaxed);
        eventually("the visitors go on", || answered.load(Ordering::Relaxed), |count| *count > served + 3_000);
        assert_eq!(fleet.green.seen().len(), reached, "requests after the answer");
        stop.store(true, Ordering::Relaxed);
    });
    assert!(fleet.blue.seen().len() > 3_000);
}

/// What a release took.
#[derive(Default)]
struct Taken {
    requests: AtomicU64,
    messages: AtomicU64,
}

/// Echoes messages of a tunnel, answers most requests, and hangs up on every fifth, which may then be tried again.
fn moody(name: &'static str, taken: Arc<Taken>) -> Origin {
    Origin::scripted(move |exchange| {
        let count = taken.requests.fetch_add(1, Ordering::SeqCst);
        let Some(key) = exchange.seen.field("sec-websocket-key").map(str::to_owned) else {
            return if count % 5 == 4 { Err(std::io::ErrorKind::Other.into()) } else { exchange.ok(name) };
        };
        let accept = derive_accept_key(key.as_bytes());
        exchange.write(format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        ))?;
        let tcp = exchange.stream().get_ref().try_clone()?;
        let mut socket = WebSocket::from_raw_socket(tcp, Role::Server, None);
        while let Ok(message) = socket.read() {
            taken.messages.fetch_add(1, Ordering::SeqCst);
            if message.is_text() && socket.send(message).is_err() {
                break;
            }
        }
        Err(std::io::ErrorKind::Other.into())
    })
}

/// Requests one after the other over HTTP/1; an origin that hangs up costs an answer, never the connection.
fn visit_moody(address: SocketAddr, visitor: usize, stop: &AtomicBool) {
    let mut client = Client::connect(address);
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let response = client.get(HOST, "/", &format!("x-user-id: u{visitor}-{n}\r\n"));
        assert!([200, 502].contains(&response.status), "{response:?}");
    }
}

/// Eight streams at a time on one HTTP/2 connection.
async fn visit_streams(address: SocketAddr, stop: &AtomicBool) {
    let tcp = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let (sender, connection) = h2::client::handshake(tcp).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut sender = sender.ready().await.expect("a stream");
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut open = Vec::new();
        for _ in 0..8 {
            n += 1;
            sender = sender.ready().await.expect("a stream");
            let request = HttpRequest::get(format!("http://{HOST}/")).header("x-user-id", format!("h2-{n}")).body(());
            let (response, _) = sender.send_request(request.expect("a request"), true).expect("sent");
            open.push(response);
        }
        for response in open {
            let mut body = response.await.expect("an answer").into_body();
            while let Some(chunk) = body.data().await {
                let chunk: Bytes = chunk.expect("a body");
                body.flow_control().release_capacity(chunk.len()).expect("in the window");
            }
        }
    }
}

/// Opens a tunnel and speaks until it is closed.
fn tunnel(address: SocketAddr, user: usize, stop: &AtomicBool) {
    let mut request = format!("ws://{HOST}/socket").into_client_request().expect("a request");
    request.headers_mut().insert("x-user-id", format!("socket-{user}").parse().expect("text"));
    let tcp = TcpStream::connect(address).expect("it listens");
    tcp.set_read_timeout(Some(Duration::from_secs(20))).expect("settable");
    // A moody origin may have hung up on the handshake.
    let Ok((mut socket, _)) = tokio_tungstenite::tungstenite::client(request, tcp) else { return };
    while !stop.load(Ordering::Relaxed) {
        if socket.send(Message::text("still here")).is_err() || socket.read().is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn neither_retries_nor_streams_nor_tunnels_reach_a_release_that_was_rolled_back() {
    let taken = Arc::new(Taken::default());
    let fleet = Fleet::of(2, moody("blue", Arc::default()), moody("green", Arc::clone(&taken)));
    let stop = AtomicBool::new(false);
    let (requests, messages) = (|| taken.requests.load(Ordering::SeqCst), || taken.messages.load(Ordering::SeqCst));
    std::thread::scope(|scope| {
        for (n, address) in fleet.addresses().into_iter().enumerate() {
            let stop = &stop;
            for visitor in 0..2 {
                scope.spawn(move || visit_moody(address, 10 * n + visitor, stop));
                scope.spawn(move || {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                    runtime.block_on(visit_streams(address, stop));
                });
            }
            for user in 0..8 {
                scope.spawn(move || tunnel(address, 10 * n + user, stop));
            }
        }
        eventually(
            "the release is busy",
            || (requests(), messages()),
            |(requests, messages)| *requests > 500 && *messages > 200,
        );
        let done = fleet.plane.ask("POST", &format!("{PRODUCTION}/rollback"), Some(json!({"reason": "errors"})));
        let reached = requests();
        assert_eq!((done.status, &done.body["acknowledged"]), (200, &json!(2)), "{done:?}");
        // Tunnels end within the grace; what was in their buffers may still arrive.
        std::thread::sleep(GRACE * 3);
        let said = messages();
        std::thread::sleep(GRACE * 3);
        assert_eq!((requests(), messages()), (reached, said), "after the answer, and after the grace");
        stop.store(true, Ordering::Relaxed);
    });
}
