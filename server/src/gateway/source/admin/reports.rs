//! Tells the control plane what was counted, and keeps what it has not answered.

use std::sync::Arc;
use std::time::Duration;

use admin_api::edge::{Accepted, REPORTS};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::acks::is_passing;
use super::caught::caught;
use super::condition::Conditions;
use super::ledger::{Ledger, Observed};
use super::plane::{Line, Plane};
use super::{LEAVE_TIMEOUT, Link};
use crate::gateway::board::Board;
use crate::gateway::metrics::Metrics;
use crate::gateway::scope::Scope;
use crate::telemetry;

/// Between two reports while somebody waits to hear whether a release serves.
const AWAITED_EVERY: Duration = Duration::from_secs(1);

/// Makes and sends reports.
pub(super) struct Reporter {
    ledger: Ledger,
    metrics: Arc<Metrics>,
    conditions: Conditions,
    board: Arc<Board>,
    link: watch::Receiver<Link>,
    line: Line,
    /// Until when the last report reaches.
    covered: Instant,
}

impl Reporter {
    pub(super) fn new(
        ledger: Ledger,
        metrics: Arc<Metrics>,
        conditions: Conditions,
        board: Arc<Board>,
        link: watch::Receiver<Link>,
        plane: Arc<Plane>,
    ) -> Self {
        metrics.observations().want();
        Self { ledger, metrics, conditions, board, link, line: Line::new(plane), covered: Instant::now() }
    }

    /// Reports until `stop` is set, and then once more.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut last = Instant::now();
        loop {
            let every = self.link.borrow_and_update().report_every;
            let due = last + if self.conditions.is_awaited() { every.min(AWAITED_EVERY) } else { every };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(due) => {
                    last = Instant::now();
                    let telling = async {
                        self.add();
                        self.send().await;
                    };
                    // A bug in here must not end the stream; the hook has told of it.
                    let _ = caught(telling).await;
                }
                // The control plane may want them more often.
                changed = self.link.changed() => if changed.is_err() { break },
            }
        }
        self.add();
        // Whoever ends does not wait for a control plane that is away.
        drop(tokio::time::timeout(LEAVE_TIMEOUT, self.send()).await);
        if self.ledger.waiting() > 0 {
            tracing::warn!(
                reports = self.ledger.waiting(),
                "the control plane was away: reports are lost with this process"
            );
        }
    }

    fn is_connected(&self) -> bool {
        self.link.borrow().connection.is_some()
    }

    fn add(&mut self) {
        let now = Instant::now();
        let (counted, is_connected) = (self.metrics.counted(), self.is_connected());
        let boards = self.metrics.observations();
        self.conditions.look(std::time::Instant::now());
        let conditions = &self.conditions;
        let observed = |scope: &Scope| {
            let board = boards.of(scope.clone());
            let releases = counted.get(scope).map(|environment| &environment.releases);
            board.learn(|active| Some(&releases?.get(active)?.latency));
            // While nobody listens they wait there, where they are few.
            if !is_connected {
                return Observed::default();
            }
            let (first_bad, exposed) = board.take();
            Observed { first_bad, exposed, health: conditions.of(scope) }
        };
        if self.ledger.add(&counted, observed, now - self.covered, is_connected) {
            self.covered = now;
        }
        self.note();
    }

    fn note(&self) {
        let waiting = u64::try_from(self.ledger.waiting()).unwrap_or(u64::MAX);
        self.board.control_plane(|plane| plane.reports_waiting = waiting);
    }

    /// Sends what waits, in order, until one is not answered.
    async fn send(&mut self) {
        while self.is_connected() {
            let Some(report) = self.ledger.next() else { break };
            let sequence = report.sequence;
            // Texts and numbers only, so it serialises.
            let body = Bytes::from(serde_json::to_vec(report).unwrap_or_default());
            match self.line.post(REPORTS, body).await {
                Ok((status, answer)) if status.is_success() => {
                    let highest = serde_json::from_slice::<Accepted>(&answer).map_or(0, |accepted| accepted.sequence);
                    self.ledger.answered(sequence.max(highest));
                }
                Ok((status, _)) if is_passing(status) => {
                    tracing::debug!(status = status.as_u16(), sequence, "a report is kept: it was not taken");
                    break;
                }
                Ok((status, _)) => {
                    // Sent again it would be refused again, and hold back all that come after it.
                    tracing::error!(status = status.as_u16(), sequence, "the control plane refused a report");
                    self.ledger.answered(sequence);
                }
                Err(error) => {
                    tracing::debug!(
                        reason = telemetry::chain(&error),
                        sequence,
                        "a report is kept: it was not answered"
                    );
                    break;
                }
            }
        }
        self.note();
    }
}
