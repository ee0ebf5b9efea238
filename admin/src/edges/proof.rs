//! Waiting until every edge runs a snapshot, and what can be said about it.

use std::time::Instant;

use admin_api::answers::{EdgeAck, MissingEdge};
use admin_api::edge::Scope;

use super::{Edge, Hub, LEASE};

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
            let proof = self.proof(scope, number, since);
            // A refusal is an answer too: there is nothing more to wait for from that edge.
            let waits = proof.missing.iter().any(|edge| edge.state != "refused");
            if !waits || tokio::time::timeout_at(deadline.into(), answers.changed()).await.is_err() {
                return self.proof(scope, number, since);
            }
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
