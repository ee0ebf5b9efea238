//! What a rollback does to the streams of one HTTP/2 connection: those of the release end, the others live on.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Request, StatusCode};
use serde_json::json;
use server::gateway::metrics::Event;
use tests::world::HOST;
use tests::{Origin, World};
use tokio::net::TcpStream;

const GRACE: Duration = Duration::from_millis(300);

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_mins(1), future).await.expect("in time") })
}

/// Answers `/drip` with a byte now and then, `/flood` with all that fits, and everything else at once.
fn endless(name: &'static str) -> Origin {
    Origin::scripted(move |exchange| {
        let chunk = match exchange.seen.target() {
            "/drip" => "1\r\nx\r\n".to_owned(),
            "/flood" => format!("10000\r\n{}\r\n", "x".repeat(65_536)),
            _ => return exchange.ok(name),
        };
        exchange.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        loop {
            exchange.write(&chunk)?;
            std::thread::sleep(Duration::from_millis(if chunk.len() < 10 { 10 } else { 0 }));
        }
    })
}

struct Both {
    world: World,
    blue_user: String,
    green_user: String,
}

impl Both {
    /// A world with a candidate, and a user for each release.
    fn start(blue: &Origin, green: &Origin) -> Self {
        let world = World::of(&blue.url(), &green.url())
            .weight(500_000)
            .snapshot(|snapshot| snapshot["edge"]["rollbackGraceMs"] = json!(GRACE.as_millis()))
            .start();
        let of = |release: &str| {
            let users = (0..).map(|n| format!("user-{n}"));
            let mut client = world.client();
            let mut release_of = |user: &String| client.get(HOST, "/", &format!("x-user-id: {user}\r\n"));
            users.into_iter().find(|user| release_of(user).field("x-bascule-release") == Some(release)).unwrap()
        };
        let (blue_user, green_user) = (of("web-1"), of("web-2"));
        Self { world, blue_user, green_user }
    }

    fn roll_back(&self) -> Instant {
        let from = Instant::now();
        self.world.publish(|snapshot| {
            snapshot["traffic"]["candidateWeight"] = json!(0);
            snapshot["traffic"]["rolledBack"] = json!(["web-2"]);
        });
        from
    }

    /// A connection whose own window is no limit.
    async fn connect(&self) -> SendRequest<Bytes> {
        let tcp = TcpStream::connect(self.world.address()).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_connection_window_size(1 << 24).initial_window_size(32 * 1024);
        let (sender, connection) = builder.handshake(tcp).await.unwrap();
        tokio::spawn(connection);
        sender.ready().await.unwrap()
    }
}

fn send(sender: &mut SendRequest<Bytes>, user: &str, target: &str, ends: bool) -> (ResponseFuture, SendStream<Bytes>) {
    let method = if ends { "GET" } else { "POST" };
    let request = Request::builder().method(method).uri(format!("http://{HOST}{target}")).header("x-user-id", user);
    sender.send_request(request.body(()).unwrap(), ends).unwrap()
}

async fn open(sender: &mut SendRequest<Bytes>, user: &str, target: &str) -> RecvStream {
    let response = send(sender, user, target, true).0.await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body()
}

async fn text(response: ResponseFuture) -> (StatusCode, String) {
    let response = response.await.unwrap();
    let (status, mut body, mut text) = (response.status(), response.into_body(), String::new());
    while let Some(data) = body.data().await {
        text.push_str(std::str::from_utf8(&data.unwrap()).unwrap());
    }
    (status, text)
}

/// Takes what comes until the gateway resets the stream.
async fn until_reset(body: &mut RecvStream, release: bool) -> Option<h2::Reason> {
    loop {
        match body.data().await.expect("an endless body has no proper end") {
            Ok(data) if release => body.flow_control().release_capacity(data.len()).unwrap(),
            Ok(_) => {}
            Err(error) => {
                assert!(error.is_reset(), "{error}");
                return error.reason();
            }
        }
    }
}

#[test]
fn response_streams_of_a_release_end_after_the_grace_and_their_neighbours_live_on() {
    let (blue, green) = (endless("blue"), endless("green"));
    let both = Both::start(&blue, &green);
    block_on(async {
        let mut sender = both.connect().await;
        let mut read = open(&mut sender, &both.green_user, "/drip").await;
        // Its client takes nothing, so the gateway's stream waits for a window and looks at nothing else.
        let mut blocked = open(&mut sender, &both.green_user, "/flood").await;
        let mut neighbour = open(&mut sender, &both.blue_user, "/drip").await;
        let from = both.roll_back();
        until_reset(&mut read, true).await;
        assert!(from.elapsed() >= GRACE, "{:?}", from.elapsed());
        assert_eq!(until_reset(&mut blocked, false).await, Some(h2::Reason::CANCEL));
        for _ in 0..20 {
            let data = neighbour.data().await.expect("it goes on").expect("it was not reset");
            neighbour.flow_control().release_capacity(data.len()).unwrap();
        }
        let (status, body) = text(send(&mut sender, &both.green_user, "/after", true).0).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "blue"), "the connection serves, by the new snapshot");
    });
    assert_eq!(both.world.count(Event::RolledBack), 2);
}

#[test]
fn a_stream_whose_client_takes_nothing_is_reset_alone() {
    let origin = endless("blue");
    let world = World::of(&origin.url(), &origin.url())
        .config(|config| config.data.client.write_timeout = Duration::from_millis(200))
        .start();
    let both = Both { world, blue_user: "u".to_owned(), green_user: "u".to_owned() };
    block_on(async {
        let mut sender = both.connect().await;
        let mut blocked = open(&mut sender, "u", "/flood").await;
        let mut neighbour = open(&mut sender, "u", "/drip").await;
        assert_eq!(until_reset(&mut blocked, false).await, Some(h2::Reason::CANCEL));
        assert!(neighbour.data().await.expect("it goes on").is_ok());
        assert_eq!(text(send(&mut sender, "u", "/after", true).0).await.1, "blue");
    });
    assert_eq!(both.world.count(Event::WriteTimeout), 1);
}

#[test]
fn request_bodies_under_way_get_the_grace_and_no_more() {
    let (blue, green) = (endless("blue"), endless("green"));
    let both = Both::start(&blue, &green);
    block_on(async {
        let mut sender = both.connect().await;
        let (in_time, mut finishing) = send(&mut sender, &both.green_user, "/in-time", false);
        let (late, mut hanging) = send(&mut sender, &both.green_user, "/late", false);
        let (other, mut others) = send(&mut sender, &both.blue_user, "/other", false);
        for body in [&mut finishing, &mut hanging, &mut others] {
            body.send_data(Bytes::from_static(b"first half, "), false).unwrap();
        }
        // The engine has decided about all three when a later request was answered.
        for user in [&both.green_user, &both.blue_user] {
            text(send(&mut sender, user, "/", true).0).await;
        }
        let from = both.roll_back();
        finishing.send_data(Bytes::from_static(b"second half"), true).unwrap();
        assert_eq!(text(in_time).await, (StatusCode::OK, "green".to_owned()), "what ends within the grace is whole");
        let (status, problem) = text(late).await;
        assert!(from.elapsed() >= GRACE, "{:?}", from.elapsed());
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(problem.contains("\"code\":\"release_rolled_back\""), "{problem}");
        others.send_data(Bytes::from_static(b"second half"), true).unwrap();
        assert_eq!(text(other).await, (StatusCode::OK, "blue".to_owned()));
    });
    let bodies = |origin: &Origin, target: &str| {
        let seen = origin.seen();
        seen.iter().filter(|seen| seen.target() == target).map(|seen| seen.body.clone()).collect::<Vec<_>>()
    };
    assert_eq!(bodies(&green, "/in-time"), [b"first half, second half"]);
    assert_eq!(bodies(&blue, "/other"), [b"first half, second half"]);
    assert!(bodies(&green, "/late").is_empty() && bodies(&blue, "/late").is_empty(), "no upstream takes half a body");
}
