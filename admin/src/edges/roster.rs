//! What processes on one store tell each other of their edges, and what a process leaves to its successor.
//!
//! A proof is about every edge, wherever it is connected, and also about those that had no time to come back after a
//! restart. Times are told as ages, so that no two clocks have to agree. Invariant: an edge that is listed by several
//! processes counts once, where it is connected if it is connected anywhere. A configured Worker is listed by each, and
//! counts as the one says that knows of its newest snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use admin_api::access::Scope as Access;
use admin_api::edge::{Hello, Scope};
use serde::{Deserialize, Serialize};

use super::{Edge, FORGET, Hub, Key, Refusal, Run, State};
use crate::ids;
use crate::principal::Principal;

/// The edges of one process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Roster(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(flatten)]
    hello: Hello,
    token: String,
    scopes: Vec<Access>,
    is_connected: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost_ms: Option<u64>,
    has_left: bool,
    last_contact: i64,
    requests_per_second: f64,
    #[serde(default)]
    lost_requests: u64,
    runs: Vec<EntryRun>,
    refusals: Vec<EntryRefusal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unreachable: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct EntryRun {
    #[serde(flatten)]
    scope: Scope,
    number: u64,
    engine: String,
    ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bound_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct EntryRefusal {
    #[serde(flatten)]
    scope: Scope,
    number: u64,
    detail: String,
}

impl Entry {
    fn of(edge: &Edge) -> Self {
        let runs = edge.runs.iter().map(|(scope, run)| EntryRun {
            scope: scope.clone(),
            number: run.number,
            engine: run.engine.clone(),
            ms: millis(run.at.elapsed()),
            bound_ms: run.bound_ms,
        });
        let refusals = edge.refusals.iter().map(|(scope, refusal)| EntryRefusal {
            scope: scope.clone(),
            number: refusal.number,
            detail: refusal.detail.clone(),
        });
        Self {
            hello: edge.hello.clone(),
            token: edge.principal.id.clone(),
            scopes: edge.principal.scopes.clone(),
            is_connected: edge.is_connected(),
            lost_ms: edge.lost_at.map(|at| millis(at.elapsed())),
            has_left: edge.has_left,
            last_contact: edge.last_contact,
            requests_per_second: edge.requests_per_second,
            lost_requests: edge.lost_requests,
            runs: runs.collect(),
            refusals: refusals.collect(),
            unreachable: edge.unreachable.clone(),
        }
    }

    fn into_edge(self, process: &str) -> Edge {
        let now = Instant::now();
        let ago = |ms| now.checked_sub(Duration::from_millis(ms)).unwrap_or(now);
        let runs = self.runs.into_iter();
        let refusals = self.refusals.into_iter();
        Edge {
            hello: self.hello,
            // What a token is named is not needed where it does not ask.
            principal: Arc::new(Principal { id: self.token, name: String::new(), scopes: self.scopes }),
            connection: self.is_connected.then(|| process.to_owned()),
            lost_at: self.lost_ms.map(ago),
            has_left: self.has_left,
            last_contact: self.last_contact,
            runs: runs
                .map(|run| {
                    let EntryRun { scope, number, engine, ms, bound_ms } = run;
                    (scope, Run { number, engine, at: ago(ms), bound_ms })
                })
                .collect(),
            refusals: refusals
                .map(|refusal| (refusal.scope, Refusal { number: refusal.number, detail: refusal.detail }))
                .collect(),
            requests_per_second: self.requests_per_second,
            lost_requests: self.lost_requests,
            unreachable: self.unreachable,
            counting: None,
        }
    }
}

/// Who is connected here, for whoever wants to know whether that has changed.
pub(crate) type Membership = Vec<(Key, bool)>;

impl Hub {
    /// The edges of this process, and of its predecessors as long as they have not come back.
    pub(crate) fn roster(&self) -> Roster {
        Roster(self.lock().edges.values().map(Entry::of).collect())
    }

    pub(crate) fn membership(&self) -> Membership {
        self.lock().edges.iter().map(|(key, edge)| (key.clone(), edge.is_connected())).collect()
    }

    /// Takes over the edges of a process that is gone: they are expected to come back here. Workers do not come; which there
    /// are is said by the configuration.
    pub(crate) fn adopt(&self, roster: Roster) {
        let (now, since) = (Instant::now(), ids::now_ms() - i64::try_from(FORGET.as_millis()).unwrap_or(i64::MAX));
        let mut state = self.lock();
        for entry in roster.0.into_iter().filter(|entry| !entry.has_left && entry.last_contact > since) {
            let was_connected = entry.is_connected;
            let mut edge = entry.into_edge("");
            if edge.is_pushed_to() {
                continue;
            }
            edge.connection = None;
            if was_connected || edge.lost_at.is_none() {
                edge.lost_at = Some(now);
            }
            state.edges.entry(edge.key()).or_insert(edge);
        }
    }

    /// Another process has told its edges.
    pub(crate) fn heard(&self, process: &str, roster: Roster) {
        let edges = roster.0.into_iter().map(|entry| entry.into_edge(process)).collect();
        self.lock().elsewhere.insert(process.to_owned(), edges);
        self.answers.send_modify(|count| *count += 1);
    }

    /// Another process is gone, for so long that its edges are elsewhere or given up.
    pub(crate) fn forget(&self, process: &str) {
        self.lock().elsewhere.remove(process);
        self.answers.send_modify(|count| *count += 1);
    }

    /// Whether this process may have edges: one that cannot tell the others of them must not.
    pub(crate) fn set_fenced(&self, is_fenced: bool) {
        self.fenced.send_if_modified(|fenced| std::mem::replace(fenced, is_fenced) != is_fenced);
    }

    /// Whether it may not.
    pub fn is_fenced(&self) -> bool {
        *self.fenced.borrow()
    }

    /// The other processes have been told all answers up to this one.
    pub(crate) fn set_recorded(&self, upto: u64) {
        self.recorded.send_replace(upto);
    }

    /// Wakes with every connection, loss and acknowledgement.
    pub(crate) fn answers(&self) -> tokio::sync::watch::Receiver<u64> {
        self.answers.subscribe()
    }
}

impl State {
    /// Every edge once, wherever it is.
    pub(super) fn everywhere(&self) -> Vec<&Edge> {
        if self.elsewhere.is_empty() {
            return self.edges.values().collect();
        }
        // Whose it is belongs to its name: nobody stands for an edge of another token.
        let mut all: BTreeMap<((&str, &str), &str), &Edge> = BTreeMap::new();
        for edge in self.edges.values().chain(self.elsewhere.values().flatten()) {
            let rank = |edge: &Edge| (edge.is_connected(), edge.pushed_number(), edge.last_contact);
            let name = (edge.hello.edge.as_str(), edge.principal.id.as_str());
            let known = all.entry((name, &edge.hello.boot)).or_insert(edge);
            if rank(edge) > rank(known) {
                *known = edge;
            }
        }
        let connected: BTreeSet<(&str, &str)> =
            all.iter().filter(|(_, edge)| edge.is_connected()).map(|((name, _), _)| *name).collect();
        // An earlier process of an edge that is gone was replaced by the one that is connected.
        all.retain(|(name, _), edge| edge.is_connected() || !connected.contains(name));
        all.into_values().collect()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use admin_api::edge::{Ack, Acks, EdgeKind, PublicKey};

    use super::*;
    use crate::principal::Role;

    fn hub() -> Arc<Hub> {
        let hub = Hub::new(PublicKey { id: "k".to_owned(), key: String::new() });
        let publication = crate::service::publish::withdrawal("web", "production", 1, 0, 0);
        hub.publish(&crate::store::Publication { sequence: 1, ..publication }, None);
        Arc::new(hub)
    }

    fn principal() -> Arc<Principal> {
        let scope = Access { app: "*".to_owned(), environment: "production".to_owned(), role: Role::Edge };
        Arc::new(Principal { id: "t".to_owned(), name: "edges".to_owned(), scopes: vec![scope] })
    }

    fn connect(hub: &Hub, edge: &str, boot: &str) -> String {
        let hello = Hello {
            edge: edge.to_owned(),
            boot: boot.to_owned(),
            kind: EdgeKind::Gateway,
            region: None,
            version: "1".to_owned(),
            engine: "native".to_owned(),
        };
        hub.connect(hello, &principal()).0
    }

    fn scope() -> Scope {
        Scope { app: "web".to_owned(), environment: "production".to_owned() }
    }

    fn acknowledge(hub: &Hub, edge: &str, connection: &str, number: u64) {
        let ack = Ack { scope: scope(), number, engine: "native".to_owned(), applied_us: 1 };
        let acks = Acks {
            edge: edge.to_owned(),
            connection: connection.to_owned(),
            acks: vec![ack],
            nacks: Vec::new(),
            leaving: false,
        };
        assert!(hub.acknowledged(&acks, &principal()));
    }

    /// As it would come out of the store.
    fn told(roster: &Roster) -> Roster {
        serde_json::from_str(&serde_json::to_string(roster).unwrap()).unwrap()
    }

    async fn proof(hub: &Hub, number: u64) -> (Vec<String>, Vec<String>) {
        let proof = hub.prove(&scope(), number, Instant::now(), Instant::now()).await;
        let missing = proof.missing.into_iter().map(|edge| format!("{} {}", edge.id, edge.state));
        (proof.edges.into_iter().map(|edge| edge.id).collect(), missing.collect())
    }

    #[tokio::test]
    async fn an_edge_of_another_process_is_waited_for_and_acknowledges_there() {
        let (here, there) = (hub(), hub());
        acknowledge(&here, "a", &connect(&here, "a", "1"), 2);
        let connection = connect(&there, "b", "1");
        acknowledge(&there, "b", &connection, 1);
        here.heard(there.process(), told(&there.roster()));
        assert_eq!(proof(&here, 2).await, (vec!["a".to_owned()], vec!["b waiting".to_owned()]));
        acknowledge(&there, "b", &connection, 2);
        here.heard(there.process(), told(&there.roster()));
        let (edges, missing) = proof(&here, 2).await;
        assert_eq!((edges.len(), missing.len()), (2, 0));
        here.forget(there.process());
        assert_eq!(proof(&here, 2).await.0, ["a"]);
    }

    #[tokio::test]
    async fn an_edge_that_moved_counts_once_and_where_it_is() {
        let (here, there) = (hub(), hub());
        let connection = connect(&there, "a", "1");
        there.disconnect(&crate::edges::key("a", "1", &principal()), &connection);
        here.heard(there.process(), told(&there.roster()));
        assert_eq!(proof(&here, 1).await.1, ["a disconnected"]);
        let connection = connect(&here, "a", "1");
        assert_eq!(proof(&here, 1).await.1, ["a waiting"]);
        acknowledge(&here, "a", &connection, 1);
        assert_eq!(proof(&here, 1).await, (vec!["a".to_owned()], vec![]));
        assert_eq!(here.edges().len(), 1);
    }

    #[tokio::test]
    async fn a_process_of_an_edge_that_was_replaced_elsewhere_is_not_waited_for() {
        let (here, there) = (hub(), hub());
        let old = connect(&here, "a", "1");
        here.disconnect(&crate::edges::key("a", "1", &principal()), &old);
        acknowledge(&there, "a", &connect(&there, "a", "2"), 3);
        here.heard(there.process(), told(&there.roster()));
        assert_eq!(proof(&here, 3).await, (vec!["a".to_owned()], vec![]));
    }

    #[tokio::test]
    async fn after_a_restart_the_edges_of_before_are_expected() {
        let (before, after) = (hub(), hub());
        acknowledge(&before, "a", &connect(&before, "a", "1"), 1);
        after.adopt(told(&before.roster()));
        assert_eq!(proof(&after, 2).await.1, ["a disconnected"]);
        acknowledge(&after, "a", &connect(&after, "a", "2"), 2);
        assert_eq!(proof(&after, 2).await, (vec!["a".to_owned()], vec![]));
        assert_eq!(after.membership(), [(crate::edges::key("a", "2", &principal()), true)]);
    }
}
