//! A scripted control plane: it speaks the edge protocol, signs like one, and misbehaves as told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use admin_api::edge::{
    self, Accepted, Access, Ack, Acks, BucketingSecret, Current, Goodbye, Nack, PublicKey, Report, Scope, SnapshotHead,
    Welcome, signed_bytes,
};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::Serialize;
use serde_json::Value;
use server::hex;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The token that it wants to see.
pub const TOKEN: &str = "bsc_canarytoken";
/// The bucketing key of all its environments.
pub const BUCKETING_KEY: &str = "ca0a11ca0a11ca0a11ca0a11ca0a11ca";
/// Events that may wait on a stream.
const EVENTS: usize = 4096;
/// Nothing that a test waits for takes longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How it answers whoever opens the stream.
#[derive(Debug, Clone)]
pub enum Answer {
    /// As the protocol has it.
    Stream,
    /// A status with fields and a body.
    Status(u16, Vec<(&'static str, String)>, Bytes),
    /// A stream of events that begins with these bytes, and stays open or not.
    Raw {
        /// The bytes.
        bytes: Bytes,
        /// Whether it stays open after them.
        stays: bool,
    },
    /// Nothing at all.
    Hangs,
}

/// How it answers a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reporting {
    /// Takes it and says so.
    Takes,
    /// Takes it, and closes the connection instead of saying so.
    LosesTheAnswer,
    /// Answers 503 and takes nothing.
    Refuses,
}

/// Who opened a stream.
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// The request's target.
    pub target: String,
    /// `Last-Event-ID`.
    pub last_id: Option<String>,
    /// `Authorization`.
    pub authorization: Option<String>,
}

/// What it knows and was told.
#[derive(Default)]
struct State {
    answer: Option<Answer>,
    reporting: Option<Reporting>,
    heartbeat: Option<Duration>,
    snapshots: BTreeMap<Scope, (u64, Bytes)>,
    access: Option<Access>,
    sequence: u64,
    connections: u64,
    streams: Vec<mpsc::Sender<Bytes>>,
    visits: Vec<Visit>,
    acks: Vec<(Acks, Instant)>,
    reports: Vec<Report>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changed.notify_all();
        changed
    }
}

/// A key that snapshots are signed with.
pub struct Signer {
    pair: Ed25519KeyPair,
}

impl Signer {
    /// Always the same one for the same seed.
    pub fn new(seed: u8) -> Self {
        Self { pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any 32 bytes are a seed") }
    }

    /// The public key as 64 digits.
    pub fn public(&self) -> String {
        hex::encode(self.pair.public_key().as_ref())
    }

    fn id(&self) -> String {
        hex::encode(&Sha256::digest(self.pair.public_key().as_ref()))[..16].to_owned()
    }

    /// The head of a document.
    pub fn head(&self, document: &Value) -> SnapshotHead {
        self.head_of(document, document.to_string().as_bytes())
    }

    /// The head of these bytes, with the names and the number of that document.
    pub fn head_of(&self, named: &Value, bytes: &[u8]) -> SnapshotHead {
        let text = |name: &str| named[name].as_str().expect("a text").to_owned();
        let scope = Scope { app: text("app"), environment: text("environment") };
        let previous = "0".repeat(64);
        SnapshotHead {
            scope,
            number: named["number"].as_u64().expect("a number"),
            key_id: self.id(),
            signature: hex::encode(self.pair.sign(&signed_bytes(&previous, bytes)).as_ref()),
            previous,
            bucketing_key: BucketingSecret { id: text("bucketingKeyId"), key: BUCKETING_KEY.to_owned() },
        }
    }
}

/// An event as bytes.
pub fn event(name: &str, data: &impl Serialize, id: Option<u64>) -> Bytes {
    let data = serde_json::to_string(data).expect("serialises");
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n{id}\n").into()
}

/// A snapshot event of any head and document.
pub fn snapshot_event(head: &SnapshotHead, document: &str, id: u64) -> Bytes {
    let head = serde_json::to_string(head).expect("serialises");
    format!("event: {}\nid: {id}\ndata: {head}\ndata: {document}\n\n", edge::event::SNAPSHOT).into()
}

/// A running control plane. Dropping it closes its port and connections.
pub struct ControlPlane {
    address: SocketAddr,
    signer: Signer,
    shared: Arc<Shared>,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.close();
    }
}

impl ControlPlane {
    /// One without snapshots.
    pub fn start() -> Self {
        Self::start_as(1)
    }

    /// One that signs with the key of this seed.
    pub fn start_as(seed: u8) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut plane = Self { address, signer: Signer::new(seed), shared: Arc::default(), running: None };
        plane.open();
        plane
    }

    /// Listens: at first on any port, then on the same one.
    pub fn open(&mut self) {
        let (stop, shared) = (CancellationToken::new(), Arc::clone(&self.shared));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let socket = {
            let _in_runtime = runtime.enter();
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.set_reuseaddr(true).expect("settable");
            socket.bind(self.address).expect("a free port");
            socket.listen(128).expect("it listens")
        };
        self.address = socket.local_addr().expect("bound");
        let (stopped, public) = (stop.clone(), self.public_key());
        let thread = std::thread::spawn(move || {
            runtime.block_on(stopped.run_until_cancelled(serve(socket, shared, public)));
        });
        self.running = Some((stop, thread));
    }

    /// Closes the port and all connections.
    pub fn close(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            stop.cancel();
            self.shared.lock().streams.clear();
            thread.join().expect("it does not panic");
        }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey { id: self.signer.id(), key: self.signer.public() }
    }

    /// The key that it signs with.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// How it answers the next ones who open the stream.
    pub fn answers(&self, answer: Answer) {
        self.shared.change(|state| state.answer = Some(answer));
    }

    /// How it answers the next reports.
    pub fn reporting(&self, reporting: Reporting) {
        self.shared.change(|state| state.reporting = Some(reporting));
    }

    /// How often it says that it sends heartbeats. It sends none.
    pub fn heartbeat(&self, every: Duration) {
        self.shared.change(|state| state.heartbeat = Some(every));
    }

    /// Signs a document, keeps it for those who come, and sends it to those who are there.
    pub fn publish(&self, document: &Value) {
        let head = self.signer.head(document);
        let text = document.to_string();
        self.shared.change(|state| {
            state.sequence += 1;
            let event = snapshot_event(&head, &text, state.sequence);
            state.snapshots.insert(head.scope.clone(), (state.sequence, event.clone()));
            state.send(&event);
        });
    }

    /// Takes an environment away.
    pub fn withdraw(&self, scope: &Scope) {
        self.shared.change(|state| {
            state.sequence += 1;
            state.snapshots.remove(scope);
            let event = event(edge::event::WITHDRAW, scope, Some(state.sequence));
            state.send(&event);
        });
    }

    /// Forgets an environment without a word.
    pub fn forget(&self, scope: &Scope) {
        self.shared.change(|state| drop(state.snapshots.remove(scope)));
    }

    /// Gives the OFREP tokens.
    pub fn access(&self, access: &Access) {
        self.shared.change(|state| {
            state.access = Some(access.clone());
            state.send(&event(edge::event::ACCESS, access, None));
        });
    }

    /// Says goodbye and closes all streams.
    pub fn goodbye(&self, retry_ms: u64) {
        self.send(&event(edge::event::GOODBYE, &Goodbye { retry_ms }, None));
        self.hang_up();
    }

    /// Sends bytes on all streams.
    pub fn send(&self, bytes: &Bytes) {
        self.shared.change(|state| state.send(bytes));
    }

    /// Closes all streams, and goes on listening.
    pub fn hang_up(&self) {
        self.shared.change(|state| state.streams.clear());
    }

    /// All who opened a stream.
    pub fn visits(&self) -> Vec<Visit> {
        self.shared.lock().visits.clone()
    }

    /// All that was posted to `acks`.
    pub fn acks(&self) -> Vec<Acks> {
        self.shared.lock().acks.iter().map(|(acks, _)| acks.clone()).collect()
    }

    /// All reports that were taken, each as often as it came.
    pub fn reports(&self) -> Vec<Report> {
        self.shared.lock().reports.clone()
    }

    /// Waits until so many have opened a stream.
    #[track_caller]
    pub fn until_visits(&self, count: usize) -> Vec<Visit> {
        self.until("visits", |state| (state.visits.len() >= count).then(|| state.visits.clone()))
    }

    /// Waits for the acknowledgement of a number, and says when it came.
    #[track_caller]
    pub fn until_ack(&self, environment: &str, number: u64) -> (Ack, Instant) {
        self.until("an acknowledgement", |state| {
            let all = state.acks.iter().flat_map(|(acks, at)| acks.acks.iter().map(move |ack| (ack, *at)));
            let is_it = |(ack, _): &(&Ack, Instant)| ack.scope.environment == environment && ack.number == number;
            all.filter(is_it).map(|(ack, at)| (ack.clone(), at)).next()
        })
    }

    /// Waits for a refusal of a number.
    #[track_caller]
    pub fn until_nack(&self, environment: &str, number: u64) -> Nack {
        self.until("a refusal", |state| {
            let mut all = state.acks.iter().flat_map(|(acks, _)| &acks.nacks);
            all.find(|nack| nack.scope.environment == environment && nack.number == number).cloned()
        })
    }

    /// Waits until something that was posted is so.
    #[track_caller]
    pub fn until_posted<T>(&self, what: &str, look: impl Fn(&[Acks], &[Report]) -> Option<T>) -> T {
        self.until(what, |state| {
            let acks: Vec<_> = state.acks.iter().map(|(acks, _)| acks.clone()).collect();
            look(&acks, &state.reports)
        })
    }

    #[track_caller]
    fn until<T>(&self, what: &str, mut look: impl FnMut(&State) -> Option<T>) -> T {
        let started = Instant::now();
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = look(&state) {
                return found;
            }
            let left = PATIENCE.checked_sub(started.elapsed());
            let Some(left) = left else { panic!("{what} should come; there are {:?}", state.acks) };
            let (next, _) = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            state = next;
        }
    }
}

impl State {
    fn send(&mut self, bytes: &Bytes) {
        self.streams.retain(|stream| stream.try_send(bytes.clone()).is_ok());
    }

    /// What a stream begins with: everything, or what came after the event that the edge has seen.
    fn beginning(&mut self, public: PublicKey, last_id: u64) -> Vec<Bytes> {
        self.connections += 1;
        let welcome = Welcome {
            connection: format!("connection-{}", self.connections),
            heartbeat_ms: self.heartbeat.map_or(60_000, |every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX)),
            report_ms: 50,
            public_keys: vec![public],
        };
        let mut events = vec![event(edge::event::WELCOME, &welcome, None)];
        let newer = self.snapshots.values().filter(|(sequence, _)| *sequence > last_id);
        events.extend(newer.map(|(_, event)| event.clone()));
        events.extend(self.access.as_ref().map(|access| event(edge::event::ACCESS, access, None)));
        let current = Current { sequence: self.sequence, environments: self.snapshots.keys().cloned().collect() };
        events.push(event(edge::event::CURRENT, &current, Some(self.sequence)));
        events
    }
}

/// A body that is fed from elsewhere.
struct Fed(mpsc::Receiver<Bytes>);

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn fed(parts: impl IntoIterator<Item = Bytes>) -> (mpsc::Sender<Bytes>, Fed) {
    let (sender, receiver) = mpsc::channel(EVENTS);
    parts.into_iter().for_each(|bytes| sender.try_send(bytes).expect("the receiver is here"));
    (sender, Fed(receiver))
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, public: PublicKey) {
    // Dropped with this future, and the connections with it.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let _ = tcp.set_nodelay(true);
        let (shared, public) = (Arc::clone(&shared), public.clone());
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&shared), public.clone()));
            drop(http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await);
        });
    }
}

/// Closes the connection without an answer.
#[derive(Debug)]
struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("gone")
    }
}

impl std::error::Error for Gone {}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>, public: PublicKey) -> Result<Response<Fed>, Gone> {
    let field = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
    let (last_id, authorization) = (field("last-event-id"), field("authorization"));
    let is_known = authorization.as_deref() == Some(&format!("Bearer {TOKEN}"));
    let target = request.uri().to_string();
    match (request.method(), request.uri().path()) {
        (&Method::GET, edge::SNAPSHOTS) => {
            let visit = Visit { target, last_id: last_id.clone(), authorization };
            let answer = shared.change(|state| {
                state.visits.push(visit);
                state.answer.clone().unwrap_or(Answer::Stream)
            });
            let answer = if is_known { answer } else { Answer::Status(401, Vec::new(), Bytes::new()) };
            Ok(stream(answer, &shared, public, last_id.and_then(|id| id.parse().ok()).unwrap_or(0)).await)
        }
        (&Method::POST, edge::ACKS) if is_known => {
            let at = Instant::now();
            let body = request.into_body().collect().await.map_err(|_| Gone)?.to_bytes();
            let acks: Acks = serde_json::from_slice(&body).expect("acknowledgements are as the protocol has them");
            shared.change(|state| state.acks.push((acks, at)));
            Ok(status(204, &[], Bytes::new()))
        }
        (&Method::POST, edge::REPORTS) if is_known => {
            let body = request.into_body().collect().await.map_err(|_| Gone)?.to_bytes();
            let report: Report = serde_json::from_slice(&body).expect("reports are as the protocol has them");
            let sequence = report.sequence;
            let reporting = shared.change(|state| {
                let reporting = state.reporting.unwrap_or(Reporting::Takes);
                if reporting != Reporting::Refuses {
                    state.reports.push(report);
                }
                reporting
            });
            match reporting {
                Reporting::Takes => {
                    let accepted = serde_json::to_vec(&Accepted { sequence }).expect("serialises");
                    Ok(status(200, &[("content-type", "application/json".to_owned())], accepted.into()))
                }
                Reporting::LosesTheAnswer => Err(Gone),
                Reporting::Refuses => Ok(status(503, &[], Bytes::new())),
            }
        }
        _ => Ok(status(if is_known { 404 } else { 401 }, &[], Bytes::new())),
    }
}

fn status(code: u16, fields: &[(&'static str, String)], body: Bytes) -> Response<Fed> {
    let (_, body) = fed([body]);
    let mut response = Response::builder().status(code);
    for (name, value) in fields {
        response = response.header(*name, value);
    }
    response.body(body).expect("a response")
}

async fn stream(answer: Answer, shared: &Shared, public: PublicKey, last_id: u64) -> Response<Fed> {
    let events = |body| Response::builder().header("content-type", "text/event-stream").body(body).expect("a response");
    match answer {
        Answer::Stream => {
            let body = shared.change(|state| {
                let (sender, body) = fed(state.beginning(public, last_id));
                state.streams.push(sender);
                body
            });
            events(body)
        }
        Answer::Status(code, fields, body) => status(code, &fields, body),
        Answer::Raw { bytes, stays } => {
            let (sender, body) = fed([bytes]);
            if stays {
                shared.change(|state| state.streams.push(sender));
            }
            events(body)
        }
        Answer::Hangs => std::future::pending().await,
    }
}
