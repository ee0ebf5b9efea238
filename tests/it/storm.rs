//! Edges that come back together: after a control plane was killed, and when there are more than it takes at once.
//!
//! The edges are tasks of the test with real sockets: the protocol as the gateway speaks it, and the gateway's own rule for
//! when to try again.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use admin::limits::{Limits, Timeouts};
use admin_api::edge::{ACKS, Current, Goodbye, SNAPSHOTS, SnapshotHead, Welcome, event, signed_bytes};
use bytes::Bytes;
use http::{Request as HttpRequest, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use server::gateway::source::admin::backoff::{Backoff, Wait};
use tests::admin::{Answer, ControlPlane, Request};
use tokio::net::TcpSocket;

use crate::api::{PRODUCTION, SHOP};
use crate::rig::eventually;
use crate::running::allow_descriptors;
use crate::running::plane::PlaneProcess;

const EDGES: usize = 2_000;
/// From the moment at which the control plane listens again until all are back with what is newest. Edges that found
/// nobody for two seconds wait for at most four; the rest is two thousand greetings on a busy machine, unoptimised.
const BACK: Duration = Duration::from_secs(20);
/// The longest that others wait for an answer meanwhile; milliseconds, but for such a machine.
const ANSWERED: Duration = Duration::from_secs(5);
/// Attempts of all edges together for each of them, from the kill until the last is back.
const ATTEMPTS: usize = 8;
/// So many changes are made while they come back.
const CHANGES: usize = 5;
/// No address has more ports than this to offer.
const PER_ADDRESS: usize = 1_000;

/// What all edges share.
struct Crowd {
    address: SocketAddr,
    token: String,
    key: Vec<u8>,
    /// Per edge: the number of production that it runs while it is connected, else 0.
    runs: Vec<AtomicU64>,
    attempts: AtomicUsize,
    /// The `Retry-After` of each 503.
    told: Mutex<Vec<String>>,
}

/// An answer that is no stream, or why there is none.
type Lost = Wait;

impl Crowd {
    fn new(address: SocketAddr, token: String, key: &str, edges: usize) -> Arc<Self> {
        let key = (0..key.len() / 2).map(|n| u8::from_str_radix(&key[2 * n..2 * n + 2], 16).unwrap()).collect();
        let runs = (0..edges).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { address, token, key, runs, attempts: AtomicUsize::new(0), told: Mutex::default() })
    }

    fn start(self: &Arc<Self>) -> tokio::runtime::Runtime {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        for edge in 0..self.runs.len() {
            let crowd = Arc::clone(self);
            runtime.spawn(async move { crowd.follow(edge).await });
        }
        runtime
    }

    fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }

    fn connected(&self) -> usize {
        self.runs.iter().filter(|number| number.load(Ordering::SeqCst) > 0).count()
    }

    fn running(&self, number: u64) -> usize {
        self.runs.iter().filter(|own| own.load(Ordering::SeqCst) == number).count()
    }

    async fn follow(&self, edge: usize) {
        let (mut backoff, mut last_id) = (Backoff::default(), None);
        let mut number = 0;
        loop {
            self.attempts.fetch_add(1, Ordering::SeqCst);
            let session =
                Session { crowd: self, edge, backoff: &mut backoff, last_id: &mut last_id, number: &mut number };
            let wait = session.run().await.unwrap_or_else(|lost| lost);
            self.runs[edge].store(0, Ordering::SeqCst);
            tokio::time::sleep(backoff.next_attempt(wait)).await;
        }
    }

    async fn open(&self, edge: usize) -> Result<SendRequest<Full<Bytes>>, Lost> {
        let opening = async {
            let socket = TcpSocket::new_v4().ok()?;
            // Never the server's own address: a port that connects to itself would be taken for it.
            let last = u8::try_from(2 + edge / PER_ADDRESS).ok()?;
            socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0))).ok()?;
            let (sender, connection) =
                http1::handshake(TokioIo::new(socket.connect(self.address).await.ok()?)).await.ok()?;
            tokio::spawn(async { drop(connection.await) });
            Some(sender)
        };
        let opened = tokio::time::timeout(Duration::from_secs(5), opening).await;
        opened.ok().flatten().ok_or(Wait::Backoff)
    }

    fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let request = HttpRequest::builder().method(method).uri(path).header("host", self.address.to_string());
        request.header("authorization", format!("Bearer {}", self.token))
    }
}

/// One stream of one edge.
struct Session<'c> {
    crowd: &'c Crowd,
    edge: usize,
    backoff: &'c mut Backoff,
    last_id: &'c mut Option<String>,
    /// What it runs, connected or not.
    number: &'c mut u64,
}

impl Session<'_> {
    async fn run(mut self) -> Result<Wait, Lost> {
        let mut body = self.open().await?.into_body();
        let mut acks = self.crowd.open(self.edge).await?;
        let (mut text, mut connection, mut silence) = (String::new(), String::new(), Duration::from_secs(10));
        loop {
            let frame = tokio::time::timeout(silence, body.frame()).await;
            let Ok(Some(Ok(frame))) = frame else { return Ok(Wait::Backoff) };
            text.push_str(std::str::from_utf8(&frame.into_data().unwrap_or_default()).expect("events are text"));
            while let Some((block, rest)) = text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                text = rest;
                let field = |name: &str| block.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
                let data = field("data: ");
                match field("event: ").first().copied().unwrap_or_default() {
                    event::WELCOME => {
                        let welcome: Welcome = serde_json::from_str(data[0]).expect("a welcome");
                        silence = Duration::from_millis(welcome.heartbeat_ms) * 3;
                        connection = welcome.connection;
                    }
                    event::SNAPSHOT => self.snapshot(&data, &connection, &mut acks).await?,
                    event::CURRENT => {
                        let _: Current = serde_json::from_str(data[0]).expect("a list");
                        self.backoff.reset();
                        self.crowd.runs[self.edge].store(*self.number, Ordering::SeqCst);
                    }
                    event::GOODBYE => {
                        let goodbye: Goodbye = serde_json::from_str(data[0]).expect("a goodbye");
                        return Ok(Wait::Within(Duration::from_millis(goodbye.retry_ms)));
                    }
                    _ => {}
                }
                if let Some(id) = field("id: ").first() {
                    *self.last_id = Some((*id).to_owned());
                }
            }
        }
    }

    async fn open(&mut self) -> Result<Response<Incoming>, Lost> {
        let mut sender = self.crowd.open(self.edge).await?;
        let path = format!("{SNAPSHOTS}?kind=gateway&edge=e{}&boot=b{}&version=1&engine=native", self.edge, self.edge);
        let request = self.crowd.request("GET", &path).header("accept", "text/event-stream");
        let request = self.last_id.iter().fold(request, |request, id| request.header("last-event-id", id));
        let request = request.body(Full::default()).expect("a request");
        let answer = tokio::time::timeout(Duration::from_secs(10), sender.send_request(request)).await;
        let Ok(Ok(answer)) = answer else { return Err(Wait::Backoff) };
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
        let told = answer.headers()["retry-after"].to_str().expect("text").to_owned();
        self.crowd.told.lock().unwrap().push(told);
        Err(Wait::of_refusal(answer.status(), answer.headers()))
    }

    /// Verifies it, runs it, and says so.
    async fn snapshot(
        &mut self,
        data: &[&str],
        connection: &str,
        acks: &mut SendRequest<Full<Bytes>>,
    ) -> Result<(), Lost> {
        let head: SnapshotHead = serde_json::from_str(data[0]).expect("a head");
        let signature: Vec<u8> =
            (0..64).map(|n| u8::from_str_radix(&head.signature[2 * n..2 * n + 2], 16).unwrap()).collect();
        let signed = signed_bytes(&head.previous, data[1].as_bytes());
        assert!(UnparsedPublicKey::new(&ED25519, &self.crowd.key).verify(&signed, &signature).is_ok());
        if head.scope.environment == "production" {
            assert!(head.number >= *self.number, "a number never falls");
            *self.number = head.number;
            let run = &self.crowd.runs[self.edge];
            if run.load(Ordering::SeqCst) > 0 {
                run.store(head.number, Ordering::SeqCst);
            }
        }
        let ack = json!({"app": head.scope.app, "environment": head.scope.environment, "number": head.number,
            "engine": "native", "appliedUs": 1});
        let body = json!({"edge": format!("e{}", self.edge), "connection": connection, "acks": [ack]}).to_string();
        let mut busy = Backoff::default();
        loop {
            let request = self.crowd.request("POST", ACKS).header("content-type", "application/json");
            let request = request.body(Full::from(body.clone())).expect("a request");
            acks.ready().await.map_err(|_| Wait::Backoff)?;
            let answer = acks.send_request(request).await.map_err(|_| Wait::Backoff)?;
            let status = answer.status();
            drop(answer.into_body().collect().await);
            match status {
                StatusCode::NO_CONTENT => return Ok(()),
                // As the gateway does it: soon again, because somebody may wait for it.
                StatusCode::SERVICE_UNAVAILABLE => tokio::time::sleep(busy.next_attempt(Wait::Backoff)).await,
                // The connection that it is about is gone.
                other => {
                    assert_eq!(other, StatusCode::CONFLICT);
                    return Err(Wait::Backoff);
                }
            }
        }
    }
}

/// Asks a control plane that is a process.
fn ask(plane: &PlaneProcess, method: &str, path: &str, body: Option<Value>) -> Answer {
    Request::new(plane.address, method, path).token(&plane.root).header("if-match", "*").json(body).send()
}

fn text(answer: &Answer, pointer: &str) -> String {
    answer.body.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// Changes a flag; the number of the snapshot that has it.
fn write_flag(plane: &PlaneProcess, round: usize) -> u64 {
    let to = if round.is_multiple_of(2) { "on" } else { "off" };
    let path = format!("{PRODUCTION}/flags/checkout");
    let written = ask(plane, "PUT", &path, Some(json!({"fallthrough": {"serve": to}})));
    assert_eq!(written.status, 200, "{written:?}");
    let newest = ask(plane, "GET", &format!("{PRODUCTION}/snapshots?limit=1"), None);
    newest.body["items"][0]["number"].as_u64().unwrap_or_else(|| panic!("{newest:?}"))
}

/// How long something takes.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let since = Instant::now();
    (work(), since.elapsed())
}

#[test]
fn two_thousand_edges_come_back_to_a_control_plane_that_was_killed() {
    // Two connections each, here and over there.
    allow_descriptors(2 * EDGES + 2_000);
    let folder = tempfile::tempdir().unwrap();
    let plane = PlaneProcess::start(folder.path(), "warn");
    let (address, root) = (plane.address, plane.root.clone());
    let apply = Request::new(address, "PUT", "/api/v1/apply").token(&root).body("application/yaml", SHOP).send();
    assert_eq!(apply.status, 200, "{apply:?}");
    let scopes = json!([{"app": "*", "environment": "*", "role": "edge"}]);
    let made = ask(&plane, "POST", "/api/v1/tokens", Some(json!({"name": "edges", "scopes": scopes})));
    let crowd = Crowd::new(address, text(&made, "/secret"), &text(&made, "/publicKey"), EDGES);
    let runtime = crowd.start();
    eventually("all are there", || crowd.running(1), |count| *count == EDGES);

    let before = crowd.attempts();
    plane.kill();
    eventually("nobody is there", || crowd.connected(), |count| *count == 0);
    eventually("all have tried again", || crowd.attempts() - before, |count| *count >= 2 * EDGES);
    let plane = PlaneProcess::start_at(folder.path(), "warn", &address.to_string(), &root);
    let since = Instant::now();
    let (mut round, mut newest, mut slowest) = (0, 1, Duration::ZERO);
    while crowd.running(newest) < EDGES {
        let (alive, took) = timed(|| ask(&plane, "GET", "/livez", None).status);
        assert_eq!(alive, 200);
        slowest = slowest.max(took);
        // Changes go on while they come back; the last of them is what all have to run.
        if round < CHANGES {
            let (number, took) = timed(|| write_flag(&plane, round));
            (newest, slowest) = (number, slowest.max(took));
        }
        round += 1;
        let (connected, waited) = (crowd.connected(), since.elapsed());
        assert!(waited < BACK, "{connected} are connected, {} run {newest}", crowd.running(newest));
    }
    let (back, attempts) = (since.elapsed(), crowd.attempts() - before);
    eprintln!("{EDGES} edges were back after {back:?} with {attempts} attempts; the slowest answer took {slowest:?}");
    assert!(newest > 1, "changes were made meanwhile: {newest}");
    assert!(slowest < ANSWERED, "{slowest:?}");
    assert!((EDGES..ATTEMPTS * EDGES).contains(&attempts), "{attempts} attempts");
    let told = crowd.told.lock().unwrap().len();
    assert!(told < EDGES, "{told} were sent away");
    runtime.shutdown_background();
    plane.end();
}

fn limited(streams: usize, handouts: usize) -> ControlPlane {
    let often = 1e9;
    let limits = Limits { rate: often, burst: often, failures_rate: often, failures: often, streams, handouts };
    let plane = ControlPlane::start_within(limits, Timeouts::default());
    plane.apply(SHOP);
    plane
}

#[test]
fn edges_beyond_the_limits_are_told_when_to_come_back_and_all_get_in() {
    let plane = limited(1_000, 2);
    let key = plane.ask("GET", "/api/v1/signing-keys", None);
    let crowd = Crowd::new(plane.address(), plane.token("*", "*", "edge"), &text(&key, "/keys/0/key"), 200);
    let runtime = crowd.start();
    eventually("all are there", || crowd.running(1), |count| *count == 200);
    let told = crowd.told.lock().unwrap().clone();
    assert!(!told.is_empty(), "two at a time is not enough for two hundred at once");
    assert!(crowd.attempts() < 200 * ATTEMPTS, "{} attempts", crowd.attempts());
    runtime.shutdown_background();
}

#[test]
fn however_many_listen_there_is_room_for_edges() {
    let plane = limited(8, 100);
    let listen = || plane.request("GET", "/api/v1/events").token(plane.root());
    let _held: Vec<_> = (0..6).map(|_| listen().stream()).collect();
    let refused = listen().send();
    assert_eq!((refused.status, refused.body["code"].as_str()), (503, Some("overloaded")), "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    let ofrep = plane.token("web", "production", "ofrep");
    let bulk = plane.request("POST", "/ofrep/v1/evaluate/flags").token(&ofrep).json(Some(json!({}))).send();
    assert_eq!(plane.request("GET", &text(&bulk, "/eventStreams/0/endpoint/requestUri")).send().status, 503);
    let token = plane.token("*", "*", "edge");
    let open = |n: usize| {
        let path = format!("{SNAPSHOTS}?kind=gateway&edge=e{n}&boot=b&version=1&engine=native");
        plane.request("GET", &path).token(&token)
    };
    let _edges = [0, 1].map(|n| open(n).stream());
    assert_eq!(open(2).send().status, 503);
}

#[test]
fn who_finds_no_place_is_told_a_different_time() {
    for (plane, most) in [(limited(2, 100), 10), (limited(100, 0), 4)] {
        let token = plane.token("*", "*", "edge");
        let open = |n: usize| {
            let path = format!("{SNAPSHOTS}?kind=gateway&edge=e{n}&boot=b&version=1&engine=native");
            plane.request("GET", &path).token(&token)
        };
        let held: Vec<_> = (0..2).filter(|_| most == 10).map(|n| open(n).stream()).collect();
        let mut told = std::collections::BTreeSet::new();
        for n in 0..40 {
            let answer = open(10 + n).send();
            assert_eq!((answer.status, answer.body["code"].as_str()), (503, Some("overloaded")), "{answer:?}");
            let seconds: u64 = answer.header("retry-after").expect("a time").parse().expect("whole seconds");
            assert!((1..=most).contains(&seconds), "{seconds}");
            told.insert(seconds);
        }
        assert!(told.len() >= 3, "{told:?}");
        assert_eq!(plane.request("GET", "/livez").send().status, 200, "others are served");
        if !held.is_empty() {
            drop(held);
            eventually("there is a place again", || open(99).status(), |status| *status == 200);
        }
    }
}
