//! The edges: who is connected, what each one runs, and the snapshots that wait for them.
//!
//! It owns the newest publication of every environment as the bytes of one event, shared by all streams, and what edges
//! acknowledged. Other processes on the store and a successor know its edges by the [`roster`]. Invariants: a stream sends
//! an environment's publications in the order of their numbers and may leave out those that a newer one has replaced;
//! an edge counts as expected until it has said that it leaves, or was gone for longer than [`LEASE`].

pub mod proof;
pub mod roster;
pub mod stream;
pub mod workers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use admin_api::edge::{
    Access, Acks, BucketingSecret, EdgeKind, EnvironmentAccess, Hello, OfrepToken, PublicKey, PushHead, Scope,
    SnapshotHead, event,
};
use bytes::Bytes;
use edge_engine::{BucketingKey, FlagIndex, Snapshot};
use edge_ofrep::Tickets;
use serde::Serialize;
use tokio::sync::watch;

use crate::ids;
use crate::principal::{Principal, Role};
use crate::store::Publication;

/// An edge whose stream broke without a goodbye may still serve; for so long it is waited for as if it were connected.
/// Longer than a reconnect takes when the network is back.
pub const LEASE: Duration = Duration::from_secs(30);
/// An edge that is gone is listed for so long.
const FORGET: Duration = Duration::from_hours(24);

/// What waits for the edges of an environment.
#[derive(Debug)]
pub struct Latest {
    /// Its place among all publications.
    pub sequence: u64,
    /// Its number.
    pub number: u64,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// The event as it goes over the wire.
    pub frame: Bytes,
    /// The document, unless the environment was withdrawn.
    pub document: Option<Arc<str>>,
    head: Option<SnapshotHead>,
    key: Option<BucketingKey>,
    evaluable: OnceLock<Option<Arc<Evaluable>>>,
}

/// A published snapshot that flags can be evaluated by in this process.
#[derive(Debug)]
pub struct Evaluable {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What browsers may see of it.
    pub visible: Vec<FlagIndex>,
    /// The tickets of its stream of changes.
    pub tickets: Tickets,
}

impl Latest {
    /// The snapshot itself; checked again when it is first asked for.
    pub fn evaluable(&self, scope: &Scope) -> Option<Arc<Evaluable>> {
        let made = self.evaluable.get_or_init(|| {
            let (document, key) = (self.document.as_ref()?, self.key.as_ref()?);
            let wire = edge_engine::parse(document.as_bytes()).ok()?;
            let snapshot = edge_engine::check(wire, key).ok()?;
            let visible = edge_ofrep::visible(&snapshot);
            Some(Arc::new(Evaluable { snapshot, visible, tickets: Tickets::new(key, &scope.app, &scope.environment) }))
        });
        made.clone()
    }

    /// Head and document as they are pushed to a Worker, with the tokens that count. Nothing when it was withdrawn.
    pub fn sealed(&self, ofrep: Vec<OfrepToken>) -> Option<Bytes> {
        let (head, document) = (self.head.clone()?, self.document.as_deref()?);
        // The head's fields are texts and numbers, which nothing keeps from being written.
        let head = serde_json::to_string(&PushHead::new(head, ofrep)).unwrap_or_default();
        Some(format!("{head}\n{document}").into())
    }
}

/// What an edge said of an environment.
#[derive(Debug, Clone)]
pub struct Run {
    /// The number that all its requests are decided by.
    pub number: u64,
    /// By which engine.
    pub engine: String,
    /// When it said so.
    pub at: Instant,
    /// Of a Worker: in how many milliseconds from then on every isolate follows.
    pub bound_ms: Option<u64>,
}

/// An edge's refusal.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Of which number.
    pub number: u64,
    /// Why.
    pub detail: String,
}

/// One process of an edge.
#[derive(Debug, Clone)]
pub struct Edge {
    /// What it said of itself.
    pub hello: Hello,
    principal: Arc<Principal>,
    connection: Option<String>,
    lost_at: Option<Instant>,
    has_left: bool,
    /// Milliseconds since 1970 of the last contact.
    pub last_contact: i64,
    /// What it runs.
    pub runs: BTreeMap<Scope, Run>,
    /// What it refused.
    pub refusals: BTreeMap<Scope, Refusal>,
    /// Requests per second of its last report.
    pub requests_per_second: f64,
    /// Requests that it knew to be in no report, since this process has known it.
    pub lost_requests: u64,
    /// Why a configured Worker cannot be reached.
    pub unreachable: Option<String>,
    /// What the isolates of a configured Worker reported, and since when.
    counting: Option<(Instant, u64)>,
}

impl Edge {
    fn key(&self) -> Key {
        key(&self.hello.edge, &self.hello.boot, &self.principal)
    }

    /// Whether its stream is open. A configured Worker always counts as connected.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether it is connected, and nothing is known that keeps it from hearing.
    pub fn is_reachable(&self) -> bool {
        self.is_connected() && self.unreachable.is_none()
    }

    /// Whether it gets this environment's snapshots.
    pub fn serves(&self, scope: &Scope) -> bool {
        self.principal.has(Role::Edge, &scope.app, &scope.environment)
    }
}

/// An edge's id, and its process by the token that it came with: nobody stands for an edge of somebody else.
type Key = (String, String);

fn key(edge: &str, boot: &str, principal: &Principal) -> Key {
    (edge.to_owned(), format!("{boot} {}", principal.id))
}

#[derive(Debug, Default)]
struct State {
    latest: BTreeMap<Scope, Arc<Latest>>,
    edges: BTreeMap<Key, Edge>,
    /// Those of other processes on the store.
    elsewhere: BTreeMap<String, Vec<Edge>>,
    access: Arc<Vec<EnvironmentAccess>>,
}

/// All edges and what waits for them.
#[derive(Debug)]
pub struct Hub {
    process: String,
    key: PublicKey,
    state: Mutex<State>,
    sequence: watch::Sender<u64>,
    access: watch::Sender<u64>,
    answers: watch::Sender<u64>,
    changes: watch::Sender<u64>,
    fenced: watch::Sender<bool>,
    /// Up to which of the answers the other processes have been told.
    recorded: watch::Sender<u64>,
}

impl Hub {
    /// Nobody is connected, and nothing was published.
    pub fn new(key: PublicKey) -> Self {
        Self {
            process: ids::random_id(),
            key,
            state: Mutex::default(),
            sequence: watch::Sender::new(0),
            access: watch::Sender::new(0),
            answers: watch::Sender::new(0),
            changes: watch::Sender::new(0),
            fenced: watch::Sender::new(false),
            // Alone on its store there is nobody to be told.
            recorded: watch::Sender::new(u64::MAX),
        }
    }

    /// Names this process among those on the same store.
    pub fn process(&self) -> &str {
        &self.process
    }

    /// What snapshots are signed with.
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// The last publication that streams have.
    pub fn sequence(&self) -> u64 {
        *self.sequence.borrow()
    }

    /// Wakes with every publication.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.sequence.subscribe()
    }

    /// Wakes with every change of anything.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Wakes when the tokens that count may be others.
    pub fn access_changes(&self) -> watch::Receiver<u64> {
        self.access.subscribe()
    }

    /// Something was changed and committed.
    pub fn changed(&self, app: &str, environment: &str, operation: &str, subject: &str, revision: i64) {
        tracing::info!(app, environment, operation, subject, revision, "changed");
        self.changes.send_modify(|count| *count += 1);
    }

    /// Another process changed something.
    pub fn changed_elsewhere(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Gives a publication to all streams that want it.
    pub fn publish(&self, publication: &Publication, key: Option<&(String, BucketingKey)>) {
        let scope = Scope { app: publication.app.clone(), environment: publication.environment.clone() };
        let sequence = u64::try_from(publication.sequence).unwrap_or(0);
        let number = u64::try_from(publication.number).unwrap_or(0);
        let head = key.filter(|_| publication.document.is_some()).map(|(id, key)| SnapshotHead {
            scope: scope.clone(),
            number,
            previous: publication.previous.clone(),
            key_id: publication.key_id.clone(),
            signature: publication.signature.clone(),
            bucketing_key: BucketingSecret { id: id.clone(), key: ids::hex(key.as_bytes()) },
        });
        let frame = match &head {
            Some(head) => frame(Some(sequence), event::SNAPSHOT, head, publication.document.as_deref()),
            None => frame(Some(sequence), event::WITHDRAW, &scope, None),
        };
        let latest = Latest {
            sequence,
            number,
            created_at: publication.created_at,
            frame,
            document: publication.document.as_deref().map(Arc::from),
            head,
            key: key.map(|(_, key)| key.clone()),
            evaluable: OnceLock::new(),
        };
        let mut state = self.lock();
        if state.latest.get(&scope).is_none_or(|known| known.sequence < sequence) {
            state.latest.insert(scope, Arc::new(latest));
        }
        drop(state);
        self.sequence.send_modify(|known| *known = sequence.max(*known));
    }

    /// The newest publication of an environment.
    pub fn latest(&self, scope: &Scope) -> Option<Arc<Latest>> {
        self.lock().latest.get(scope).cloned()
    }

    /// The newest publication of each environment.
    pub fn all_latest(&self) -> Vec<(Scope, Arc<Latest>)> {
        self.lock().latest.iter().map(|(scope, latest)| (scope.clone(), Arc::clone(latest))).collect()
    }

    /// Replaces the OFREP tokens that edges are told.
    pub fn set_access(&self, access: Vec<EnvironmentAccess>) {
        self.lock().access = Arc::new(access);
        self.access.send_modify(|count| *count += 1);
    }

    fn access_for(&self, principal: &Principal) -> Access {
        let access = Arc::clone(&self.lock().access);
        let reached = access.iter().filter(|one| principal.has(Role::Edge, &one.scope.app, &one.scope.environment));
        Access { environments: reached.cloned().collect() }
    }

    /// The OFREP tokens of one environment that are not over yet, always in the same order.
    pub fn ofrep_tokens(&self, scope: &Scope, now_ms: i64) -> Vec<OfrepToken> {
        let access = Arc::clone(&self.lock().access);
        let own = access.iter().filter(|one| one.scope == *scope).flat_map(|one| &one.tokens);
        own.filter(|token| token.expires_at_ms.is_none_or(|end| now_ms < end)).cloned().collect()
    }

    /// Publications after this one that the principal may have, in order.
    fn frames_after(&self, sequence: u64, principal: &Principal) -> Vec<(u64, Bytes)> {
        let state = self.lock();
        let newer = state.latest.iter().filter(|(scope, latest)| {
            latest.sequence > sequence && principal.has(Role::Edge, &scope.app, &scope.environment)
        });
        let mut frames: Vec<_> = newer.map(|(_, latest)| (latest.sequence, latest.frame.clone())).collect();
        frames.sort_by_key(|(sequence, _)| *sequence);
        frames
    }

    /// The environments with a snapshot that the principal may have.
    fn reached_by(&self, principal: &Principal) -> Vec<Scope> {
        let state = self.lock();
        let served = state.latest.iter().filter(|(scope, latest)| {
            latest.document.is_some() && principal.has(Role::Edge, &scope.app, &scope.environment)
        });
        served.map(|(scope, _)| scope.clone()).collect()
    }

    /// The name of the connection, and the answer that it is.
    fn connect(&self, hello: Hello, principal: &Arc<Principal>) -> (String, u64) {
        let connection = ids::random_id();
        let mut state = self.lock();
        let key = key(&hello.edge, &hello.boot, principal);
        // An earlier process of this edge that is gone was replaced by this one.
        state.edges.retain(|own, edge| {
            own.0 != key.0 || own.1 == key.1 || edge.is_connected() || edge.principal.id != principal.id
        });
        let before = state.edges.remove(&key);
        let edge = Edge {
            hello,
            principal: Arc::clone(principal),
            connection: Some(connection.clone()),
            lost_at: None,
            has_left: false,
            last_contact: ids::now_ms(),
            runs: before.as_ref().map(|edge| edge.runs.clone()).unwrap_or_default(),
            refusals: before.as_ref().map(|edge| edge.refusals.clone()).unwrap_or_default(),
            requests_per_second: before.as_ref().map_or(0.0, |edge| edge.requests_per_second),
            lost_requests: before.map_or(0, |edge| edge.lost_requests),
            unreachable: None,
            counting: None,
        };
        state.edges.insert(key, edge);
        drop(state);
        let mut answer = 0;
        self.answers.send_modify(|count| {
            *count += 1;
            answer = *count;
        });
        (connection, answer)
    }

    fn is_current(&self, key: &Key, connection: &str) -> bool {
        self.lock().edges.get(key).is_some_and(|edge| edge.connection.as_deref() == Some(connection))
    }

    fn disconnect(&self, key: &Key, connection: &str) {
        let mut state = self.lock();
        if let Some(edge) = state.edges.get_mut(key)
            && edge.connection.as_deref() == Some(connection)
        {
            edge.connection = None;
            edge.lost_at = Some(Instant::now());
            edge.last_contact = ids::now_ms();
            if edge.has_left {
                state.edges.remove(key);
            }
        }
        drop(state);
        self.answers.send_modify(|count| *count += 1);
    }

    /// Takes an edge's acknowledgements; `false` when the connection is not one of its own.
    pub fn acknowledged(&self, acks: &Acks, by: &Principal) -> bool {
        let mut guard = self.lock();
        let State { latest, edges, .. } = &mut *guard;
        // Edges acknowledge together, so each is found without looking at the others.
        let of_this_name = edges.range_mut((acks.edge.clone(), String::new())..);
        let found = of_this_name
            .take_while(|((id, _), _)| *id == acks.edge)
            .find(|(_, edge)| edge.principal.id == by.id && edge.connection.as_ref() == Some(&acks.connection));
        let Some((key, edge)) = found else { return false };
        edge.last_contact = ids::now_ms();
        // What it was never given means nothing, and would be kept for nothing.
        let was_given = |edge: &Edge, scope: &Scope| latest.contains_key(scope) && edge.serves(scope);
        for ack in acks.acks.iter().filter(|ack| was_given(&*edge, &ack.scope)).collect::<Vec<_>>() {
            let run = Run { number: ack.number, engine: ack.engine.clone(), at: Instant::now(), bound_ms: None };
            if edge.refusals.get(&ack.scope).is_some_and(|refusal| refusal.number <= ack.number) {
                edge.refusals.remove(&ack.scope);
            }
            edge.runs.insert(ack.scope.clone(), run);
        }
        for nack in acks.nacks.iter().filter(|nack| was_given(&*edge, &nack.scope)).collect::<Vec<_>>() {
            let detail = format!("{}: {}", nack.code, nack.detail);
            tracing::warn!(
                edge = acks.edge,
                app = nack.scope.app,
                environment = nack.scope.environment,
                snapshot.number = nack.number,
                reason = detail,
                "an edge refused a snapshot"
            );
            edge.refusals.insert(nack.scope.clone(), Refusal { number: nack.number, detail });
        }
        edge.has_left |= acks.leaving;
        let gone = (acks.leaving && !edge.is_connected()).then(|| key.clone());
        if let Some(key) = gone {
            edges.remove(&key);
        }
        drop(guard);
        self.answers.send_modify(|count| *count += 1);
        true
    }

    /// Takes note of a report; `false` when no such edge is known.
    pub fn reported(&self, edge: &str, boot: &str, by: &Principal, requests_per_second: f64) -> bool {
        let mut state = self.lock();
        let Some(edge) = state.edges.get_mut(&key(edge, boot, by)) else { return false };
        edge.last_contact = ids::now_ms();
        edge.requests_per_second = requests_per_second;
        true
    }

    /// Adds what an edge knows to be in no report, and says what it is if it is known.
    pub fn lost(&self, edge: &str, boot: &str, by: &Principal, requests: u64) -> Option<EdgeKind> {
        let mut state = self.lock();
        let by_stream = key(edge, boot, by);
        let found = if state.edges.contains_key(&by_stream) { Some(by_stream) } else { state.worker(edge, by) };
        let edge = state.edges.get_mut(&found?)?;
        edge.lost_requests = edge.lost_requests.saturating_add(requests);
        Some(edge.hello.kind)
    }

    /// All edges that are not long gone, wherever they are connected.
    pub fn edges(&self) -> Vec<Edge> {
        let mut state = self.lock();
        state.edges.retain(|_, edge| edge.lost_at.is_none_or(|at| at.elapsed() < FORGET) || edge.is_connected());
        state.everywhere().into_iter().cloned().collect()
    }

    /// Where an edge is, as it said when it connected.
    pub fn region_of(&self, edge: &str, boot: &str) -> Option<String> {
        let state = self.lock();
        let named = |known: &&&Edge| known.hello.edge == edge && known.hello.boot == boot;
        state.everywhere().iter().find(named).and_then(|known| known.hello.region.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is made whole under the lock, and none of them can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One server-sent event. `data` and `more` are JSON on one line each.
pub(crate) fn frame(id: Option<u64>, event: &str, data: &impl Serialize, more: Option<&str>) -> Bytes {
    use std::fmt::Write as _;
    let data = serde_json::to_string(data).unwrap_or_default();
    let mut text = String::with_capacity(data.len() + more.map_or(0, str::len) + 64);
    if let Some(id) = id {
        let _ = writeln!(text, "id: {id}");
    }
    let _ = write!(text, "event: {event}\ndata: {data}\n");
    if let Some(more) = more {
        let _ = writeln!(text, "data: {more}");
    }
    text.push('\n');
    text.into()
}
