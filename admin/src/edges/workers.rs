//! Workers: edges that do not come by themselves. The configuration names them, and this process pushes to them.
//!
//! A configured Worker is expected as if it were connected, whether it can be reached or not, so that no rollback forgets
//! it. Invariant: it is known by its id and by being configured; no edge that comes with a token can stand for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use admin_api::access::Scope as Access;
use admin_api::edge::{EdgeKind, Hello, Scope};

use super::{Edge, Hub, Key, Refusal, Run, State, key};
use crate::ids;
use crate::principal::{Principal, Role};

/// Stands where the edges that connect have the id of their token; ids of tokens are hexadecimal.
const CONFIGURED: &str = "configured";
/// The isolates of a Worker report by themselves; what all of them counted in so long is its rate.
const WINDOW: Duration = Duration::from_secs(10);

/// A Worker that is pushed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its id as an edge.
    pub id: String,
    /// The environment that it serves.
    pub scope: Scope,
    /// Where it is: what comes before `/.bascule/v1/`.
    pub url: String,
    /// The file with its `EDGE_TOKEN`.
    pub token_file: PathBuf,
    /// Where it is said to be.
    pub region: Option<String>,
}

/// What a push came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Its Durable Object keeps the snapshot.
    Runs {
        /// Of this number.
        number: u64,
        /// The engine that decides by it.
        engine: String,
        /// In how many milliseconds every isolate does.
        bound_ms: Option<u64>,
    },
    /// It does not take the snapshot.
    Refused {
        /// Of this number.
        number: u64,
        /// Why.
        detail: String,
    },
    /// There was no answer that a Worker gives to a push; why, as a sentence.
    Unreachable(String),
}

impl Worker {
    fn principal(&self) -> Principal {
        let Scope { app, environment } = self.scope.clone();
        let scope = Access { app, environment, role: Role::Edge };
        Principal { id: CONFIGURED.to_owned(), name: String::new(), scopes: vec![scope] }
    }

    fn key(&self) -> Key {
        key(&self.id, CONFIGURED, &self.principal())
    }
}

impl Edge {
    /// Whether it is a configured Worker.
    pub fn is_pushed_to(&self) -> bool {
        self.principal.id == CONFIGURED
    }

    /// The newest number that a configured Worker is known to run.
    pub(super) fn pushed_number(&self) -> Option<u64> {
        self.runs.values().map(|run| run.number).max().filter(|_| self.is_pushed_to())
    }

    fn answered(&mut self) {
        self.last_contact = ids::now_ms();
        self.unreachable = None;
    }
}

impl State {
    /// The configured Worker of this name, if its isolates may report with such a token: one for its environment.
    pub(super) fn worker(&self, edge: &str, by: &Principal) -> Option<Key> {
        let key = key(edge, CONFIGURED, &Principal { id: CONFIGURED.to_owned(), name: String::new(), scopes: vec![] });
        let scopes = &self.edges.get(&key)?.principal.scopes;
        scopes.iter().all(|scope| by.has(Role::Edge, &scope.app, &scope.environment)).then_some(key)
    }
}

impl Hub {
    /// Expects a Worker from now on.
    pub(crate) fn expect_worker(&self, worker: &Worker) {
        let edge = Edge {
            hello: Hello {
                edge: worker.id.clone(),
                boot: CONFIGURED.to_owned(),
                kind: EdgeKind::Worker,
                region: worker.region.clone(),
                version: String::new(),
                engine: String::new(),
            },
            principal: Arc::new(worker.principal()),
            connection: Some(CONFIGURED.to_owned()),
            lost_at: None,
            has_left: false,
            last_contact: ids::now_ms(),
            runs: std::collections::BTreeMap::new(),
            refusals: std::collections::BTreeMap::new(),
            requests_per_second: 0.0,
            lost_requests: 0,
            unreachable: Some("nothing was pushed to it yet".to_owned()),
            counting: None,
        };
        self.lock().edges.insert(worker.key(), edge);
        self.answers.send_modify(|count| *count += 1);
    }

    /// Takes note of what a push came to.
    pub(crate) fn worker_said(&self, worker: &Worker, said: Said) {
        let mut state = self.lock();
        let Some(edge) = state.edges.get_mut(&worker.key()) else { return };
        match said {
            Said::Unreachable(why) => {
                edge.unreachable = Some(why);
            }
            Said::Refused { number, detail } => {
                edge.answered();
                edge.refusals.insert(worker.scope.clone(), Refusal { number, detail });
            }
            Said::Runs { number, engine, bound_ms } => {
                edge.answered();
                edge.refusals.retain(|_, refusal| refusal.number > number);
                edge.hello.engine.clone_from(&engine);
                // What it says again is no younger for that.
                let before = edge.runs.get(&worker.scope).filter(|run| run.number == number);
                let at = before.map_or_else(Instant::now, |run| run.at);
                edge.runs.insert(worker.scope.clone(), Run { number, engine, at, bound_ms });
            }
        }
        drop(state);
        self.answers.send_modify(|count| *count += 1);
    }

    /// Adds what an isolate of a configured Worker counted, if the token that it reports with is for that environment.
    pub(crate) fn worker_reported(&self, edge: &str, by: &Principal, requests: u64) {
        let mut state = self.lock();
        let Some(key) = state.worker(edge, by) else { return };
        let Some(edge) = state.edges.get_mut(&key) else { return };
        let (since, counted) = edge.counting.unwrap_or_else(|| (Instant::now(), 0));
        let counted = counted.saturating_add(requests);
        edge.counting = Some((since, counted));
        let passed = since.elapsed();
        if passed >= WINDOW {
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = counted as f64 / passed.as_secs_f64();
            edge.requests_per_second = rate;
            edge.counting = Some((Instant::now(), 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use admin_api::edge::PublicKey;

    use super::*;
    use crate::edges::roster::Roster;

    fn hub() -> Hub {
        Hub::new(PublicKey { id: "k".to_owned(), key: String::new() })
    }

    fn worker() -> Worker {
        Worker {
            id: "edge-eu".to_owned(),
            scope: Scope { app: "web".to_owned(), environment: "production".to_owned() },
            url: "https://web.example".to_owned(),
            token_file: "token".into(),
            region: Some("eu".to_owned()),
        }
    }

    fn runs(number: u64) -> Said {
        Said::Runs { number, engine: "native".to_owned(), bound_ms: Some(1000) }
    }

    fn unreachable() -> Said {
        Said::Unreachable("no connection".to_owned())
    }

    /// Who acknowledged, and who is missing and why.
    async fn proof(hub: &Hub, number: u64) -> (Vec<(String, Option<u64>)>, Vec<String>) {
        let proof = hub.prove(&worker().scope, number, Instant::now(), Instant::now()).await;
        let missing =
            proof.missing.into_iter().map(|edge| format!("{}: {}", edge.state, edge.detail.unwrap_or_default()));
        (proof.edges.into_iter().map(|edge| (edge.id, edge.bound_ms)).collect(), missing.collect())
    }

    fn told(roster: &Roster) -> Roster {
        serde_json::from_str(&serde_json::to_string(roster).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_configured_worker_is_expected_whether_it_can_be_reached_or_not() {
        let hub = hub();
        hub.expect_worker(&worker());
        assert_eq!(proof(&hub, 1).await, (vec![], vec!["unreachable: nothing was pushed to it yet".to_owned()]));
        hub.worker_said(&worker(), unreachable());
        assert_eq!(proof(&hub, 1).await.1, ["unreachable: no connection"]);
        hub.worker_said(&worker(), Said::Refused { number: 1, detail: "older: 2 runs".to_owned() });
        assert_eq!(proof(&hub, 1).await.1, ["refused: older: 2 runs"]);
        hub.worker_said(&worker(), runs(2));
        assert_eq!(proof(&hub, 2).await, (vec![("edge-eu".to_owned(), Some(1000))], vec![]));
        assert!(hub.edges()[0].is_reachable() && hub.edges()[0].refusals.is_empty());
    }

    #[tokio::test]
    async fn what_a_worker_says_again_is_no_younger() {
        let hub = hub();
        hub.expect_worker(&worker());
        hub.worker_said(&worker(), runs(2));
        let first = hub.edges()[0].runs[&worker().scope].at;
        hub.worker_said(&worker(), runs(2));
        assert_eq!(hub.edges()[0].runs[&worker().scope].at, first);
    }

    #[tokio::test]
    async fn a_worker_of_several_processes_counts_once_and_the_acknowledgement_of_any_suffices() {
        let (here, there) = (hub(), hub());
        for hub in [&here, &there] {
            hub.expect_worker(&worker());
        }
        there.worker_said(&worker(), runs(3));
        // Heard of later, and still it knows less.
        here.worker_said(&worker(), runs(2));
        here.worker_said(&worker(), unreachable());
        here.heard(there.process(), told(&there.roster()));
        assert_eq!(proof(&here, 3).await, (vec![("edge-eu".to_owned(), Some(1000))], vec![]));
        assert_eq!(here.edges().len(), 1);
        assert_eq!(proof(&here, 4).await.1.len(), 1);
        let deadline = Instant::now() + Duration::from_secs(20);
        let (scope, since) = (worker().scope, Instant::now());
        let proving = here.prove(&scope, 4, since, deadline);
        let telling = async {
            there.worker_said(&worker(), runs(4));
            here.heard(there.process(), told(&there.roster()));
        };
        let (proof, ()) = tokio::join!(proving, telling);
        assert_eq!((proof.edges.len(), proof.missing.len()), (1, 0));
        assert!(since.elapsed() < Duration::from_secs(10), "it did not wait for its own push");
    }

    #[test]
    fn a_successor_takes_workers_from_its_configuration_alone() {
        let (before, after) = (hub(), hub());
        before.expect_worker(&worker());
        before.worker_said(&worker(), runs(3));
        after.adopt(told(&before.roster()));
        assert!(after.edges().is_empty());
    }

    #[test]
    fn only_a_token_for_its_environment_counts_for_a_worker() {
        let hub = hub();
        hub.expect_worker(&worker());
        let foreign = Access { app: "web".to_owned(), environment: "staging".to_owned(), role: Role::Edge };
        let foreign = Principal { id: "t".to_owned(), name: String::new(), scopes: vec![foreign] };
        hub.worker_reported("edge-eu", &foreign, 5);
        assert_eq!(hub.edges()[0].counting, None);
        hub.worker_reported("edge-eu", &worker().principal(), 5);
        hub.worker_reported("edge-eu", &worker().principal(), 6);
        assert_eq!(hub.edges()[0].counting.map(|(_, requests)| requests), Some(11));
    }
}
