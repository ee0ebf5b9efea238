//! Waiting until every edge runs a snapshot, and what can be said about it.

use std::time::Instant;

use admin_api::answers::{EdgeAck, MissingEdge};
use admin_api::edge::Scope;

use super::{Edge, Hub, Key, LEASE};

/// What the edges of an environment said about a number.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// Who acknowledged it, the fastest first.
    pub edges: Vec<EdgeAck>,
    /// Who did not.
    pub missing: Vec<MissingEdge>,
}

impl Hub {
    /// Waits until every edge that serves the environment has acknowledged the number or a later one, but no longer
    /// than until the deadline.
    pub async fn prove(&self, scope: &Scope, number: u64, since: Instant, deadline: Instant) -> Proof {
        let mut answers = self.answers.subscribe();
        loop {
            answers.mark_unchanged();
            // Who comes while we wait is found when those who were here have answered.
            let mut pending = self.pending(scope, number);
            if pending.is_empty() {
                return self.proof(scope, number, since);
            }
            while !pending.is_empty() {
                if tokio::time::timeout_at(deadline.into(), answers.changed()).await.is_err() {
                    return self.proof(scope, number, since);
                }
                self.settle(&mut pending, scope, number);
            }
        }
    }

    /// Who has not answered yet. A refusal is an answer too: there is nothing more to wait for from that edge.
    fn pending(&self, scope: &Scope, number: u64) -> Vec<Key> {
        let state = self.lock();
        let edges = state.everywhere().into_iter().filter(|edge| edge.serves(scope) && is_expected(edge));
        edges.filter(|edge| !has_answered(edge, scope, number)).map(Edge::key).collect()
    }

    /// Takes those who have answered from the end of the list; looking at all of them with each answer would cost the
    /// square of their number.
    fn settle(&self, pending: &mut Vec<Key>, scope: &Scope, number: u64) {
        let state = self.lock();
        while let Some(key) = pending.last() {
            let elsewhere = || state.elsewhere.values().flatten().filter(|edge| edge.key() == *key);
            let edge = state.edges.get(key).filter(|edge| edge.is_connected()).or_else(|| elsewhere().next());
            // One that is gone, or lost here, is looked for anew.
            if edge.is_some_and(|edge| edge.is_connected() && !has_answered(edge, scope, number)) {
                return;
            }
            pending.pop();
        }
    }

    fn proof(&self, scope: &Scope, number: u64, since: Instant) -> Proof {
        let state = self.lock();
        let mut proof = Proof { edges: Vec::new(), missing: Vec::new() };
        for edge in state.everywhere().into_iter().filter(|edge| edge.serves(scope) && is_expected(edge)) {
            match edge.runs.get(scope).filter(|run| run.number >= number) {
                Some(run) => proof.edges.push(EdgeAck {
                    id: edge.hello.edge.clone(),
                    kind: edge.hello.kind,
                    region: edge.hello.region.clone(),
                    engine: run.engine.clone(),
                    ack_ms: run.at.saturating_duration_since(since).as_secs_f64() * 1000.0,
                }),
                None => proof.missing.push(missing(edge, scope, number)),
            }
        }
        proof.edges.sort_by(|a, b| a.ack_ms.total_cmp(&b.ack_ms));
        proof
    }
}

fn has_answered(edge: &Edge, scope: &Scope, number: u64) -> bool {
    edge.runs.get(scope).is_some_and(|run| run.number >= number)
        || edge.refusals.get(scope).is_some_and(|refusal| refusal.number >= number)
}

/// Whether the edge may be serving: it is connected, or was lost a moment ago without having said that it leaves.
fn is_expected(edge: &Edge) -> bool {
    edge.is_connected() || (!edge.has_left && edge.lost_at.is_some_and(|at| at.elapsed() < LEASE))
}

fn missing(edge: &Edge, scope: &Scope, number: u64) -> MissingEdge {
    let refusal = edge.refusals.get(scope).filter(|refusal| refusal.number >= number);
    let state = match (refusal, edge.is_connected()) {
        (Some(_), _) => "refused",
        (None, true) => "waiting",
        (None, false) => "disconnected",
    };
    MissingEdge {
        id: edge.hello.edge.clone(),
        region: edge.hello.region.clone(),
        state: state.to_owned(),
        detail: refusal.map(|refusal| refusal.detail.clone()),
        number: edge.runs.get(scope).map(|run| run.number),
    }
}
