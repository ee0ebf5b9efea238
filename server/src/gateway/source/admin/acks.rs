//! Tells the control plane what runs and what was refused.
//!
//! Invariant: an acknowledgement waits for nothing but the connection that is kept for it. What cannot be told while a
//! stream is open is tried again, with whatever has come to be true since; what belongs to a stream that is gone is dropped, because the next one repeats it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use admin_api::edge::{ACKS, Ack, Acks, Nack};
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, random};
use super::caught::caught;
use super::plane::{Line, Plane};
use super::verify::Refusal;
use super::{LEAVE_TIMEOUT, Link};
use crate::gateway::board::{Board, NotTaken};
use crate::gateway::scope::Scope;
use crate::telemetry;

/// Longest detail that is sent.
const MAX_DETAIL: usize = 4096;
/// Environments whose refusals are kept.
const MAX_REFUSALS: usize = 1000;
/// Between two looks whether the kept connection is still there.
const WARM: Duration = Duration::from_secs(2);

/// What is to be told: the last word about each environment, and the connection that it answers.
#[derive(Debug, Default)]
struct Words {
    acks: BTreeMap<Scope, (Arc<str>, Ack)>,
    nacks: BTreeMap<Scope, (Arc<str>, Nack)>,
}

impl Words {
    /// Takes back what could not be told, unless there is news.
    fn restore(&mut self, old: Self) {
        for (scope, ack) in old.acks {
            self.acks.entry(scope).or_insert(ack);
        }
        for (scope, nack) in old.nacks {
            self.nacks.entry(scope).or_insert(nack);
        }
    }
}

#[derive(Debug, Default)]
struct Pending {
    words: Mutex<Words>,
    arrived: Notify,
}

/// Where the others put what is to be told.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    pending: Arc<Pending>,
    board: Arc<Board>,
}

impl Outbox {
    /// An empty one.
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self { pending: Arc::default(), board }
    }

    fn put(&self, put: impl FnOnce(&mut Words)) {
        put(&mut self.pending.words.lock().unwrap_or_else(PoisonError::into_inner));
        self.pending.arrived.notify_one();
    }

    fn take(&self) -> Words {
        std::mem::take(&mut *self.pending.words.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All workers run it.
    pub(super) fn ack(&self, connection: &Arc<str>, scope: &Scope, ack: Ack) {
        self.put(|words| drop(words.acks.insert(scope.clone(), (Arc::clone(connection), ack))));
    }

    /// It is not taken; the one before goes on.
    pub(super) fn refuse(&self, connection: &Arc<str>, scope: &Scope, number: u64, refusal: Refusal) {
        let Refusal { code, detail } = refusal;
        let is_known = self.board.control_plane(|plane| {
            *plane.refused.entry(code).or_default() += 1;
            let known = plane.refusals.get(scope).is_some_and(|known| known.number == number && known.code == code);
            let not_taken = NotTaken { at: Timestamp::now(), number, code, detail: detail.clone() };
            // Whoever signs for nobody may name whatever environment it likes.
            if plane.refusals.len() < MAX_REFUSALS || plane.refusals.contains_key(scope) {
                plane.refusals.insert(scope.clone(), not_taken);
            }
            known
        });
        if !is_known {
            let (app, environment) = (scope.app(), scope.environment());
            tracing::error!(app, environment, snapshot.number = number, code, detail, "a snapshot was refused");
        }
        self.nack(connection, scope, number, code, &detail);
    }

    /// Says again what was refused before this connection.
    pub(super) fn nack(&self, connection: &Arc<str>, scope: &Scope, number: u64, code: &str, detail: &str) {
        let nack = Nack { scope: wire(scope), number, code: code.to_owned(), detail: cut(detail).to_owned() };
        self.put(|words| {
            if words.nacks.len() < MAX_REFUSALS || words.nacks.contains_key(scope) {
                words.nacks.insert(scope.clone(), (Arc::clone(connection), nack));
            }
        });
    }
}

/// A scope as the protocol has it.
pub(super) fn wire(scope: &Scope) -> admin_api::edge::Scope {
    admin_api::edge::Scope { app: scope.app().to_owned(), environment: scope.environment().to_owned() }
}

fn cut(detail: &str) -> &str {
    &detail[..detail.floor_char_boundary(MAX_DETAIL)]
}

/// Posts what is in the outbox.
pub(super) struct Teller {
    edge: String,
    outbox: Outbox,
    link: watch::Receiver<Link>,
    line: Line,
}

/// What became of a post.
enum Posted {
    Taken,
    /// Another attempt may help.
    Later(String),
    Never(StatusCode),
}

impl Teller {
    pub(super) fn new(edge: String, outbox: Outbox, link: watch::Receiver<Link>, plane: Arc<Plane>) -> Self {
        Self { edge, outbox, link, line: Line::new(plane) }
    }

    /// Tells until `leave` is set, and then that the edge leaves.
    pub(super) async fn run(mut self, leave: CancellationToken) {
        let pending = Arc::clone(&self.outbox.pending);
        let mut backoff = Backoff::default();
        loop {
            tokio::select! {
                biased;
                () = pending.arrived.notified() => {
                    // After a panic there is nothing left to tell; the next stream repeats it.
                    if caught(self.tell()).await.unwrap_or(true) {
                        backoff.reset();
                    } else {
                        // Until then more may be put in, and goes along.
                        let pause = backoff.pause(random());
                        leave.run_until_cancelled(tokio::time::sleep(pause)).await;
                        pending.arrived.notify_one();
                    }
                    if leave.is_cancelled() {
                        break;
                    }
                }
                () = leave.cancelled() => break,
                changed = self.link.changed() => match changed {
                    // A new stream: the first acknowledgement should find a connection.
                    Ok(()) => self.warm().await,
                    Err(_) => break,
                },
                () = tokio::time::sleep(WARM) => self.warm().await,
            }
        }
        self.say_goodbye().await;
    }

    async fn warm(&mut self) {
        if self.link.borrow_and_update().connection.is_some() {
            self.line.warm().await;
        }
    }

    /// Tells what is in the box; whether that is over and done with.
    async fn tell(&mut self) -> bool {
        let words = self.outbox.take();
        let Some(acks) = self.body(&words, false) else { return true };
        match self.post(&acks).await {
            Posted::Taken => true,
            Posted::Never(status) => {
                tracing::error!(status = status.as_u16(), "the control plane does not take acknowledgements");
                true
            }
            Posted::Later(reason) => {
                tracing::debug!(reason, "acknowledgements are told again");
                self.outbox.put(|newer| newer.restore(words));
                false
            }
        }
    }

    /// What belongs to the open stream; `None` when nothing does.
    fn body(&self, words: &Words, leaving: bool) -> Option<Acks> {
        let connection = self.link.borrow().connection.clone()?;
        let acks = words.acks.values().filter(|(of, _)| *of == connection).map(|(_, ack)| ack.clone());
        let nacks = words.nacks.values().filter(|(of, _)| *of == connection).map(|(_, nack)| nack.clone());
        let (acks, nacks): (Vec<_>, Vec<_>) = (acks.collect(), nacks.collect());
        if acks.is_empty() && nacks.is_empty() && !leaving {
            return None;
        }
        Some(Acks { edge: self.edge.clone(), connection: connection.to_string(), acks, nacks, leaving })
    }

    async fn post(&mut self, acks: &Acks) -> Posted {
        // Texts and numbers only, so it serialises.
        let body = Bytes::from(serde_json::to_vec(acks).unwrap_or_default());
        match self.line.post(ACKS, body).await {
            Ok((status, _)) if status.is_success() => Posted::Taken,
            Ok((status, _)) if is_passing(status) => Posted::Later(format!("it answered {status}")),
            Ok((status, _)) => Posted::Never(status),
            Err(error) => Posted::Later(telemetry::chain(&error)),
        }
    }

    async fn say_goodbye(&mut self) {
        let words = self.outbox.take();
        let Some(acks) = self.body(&words, true) else { return };
        if let Ok(Posted::Taken) = tokio::time::timeout(LEAVE_TIMEOUT, self.post(&acks)).await {
            tracing::info!("the control plane knows that this edge leaves");
        }
    }
}

/// Whether another attempt may be answered otherwise.
pub(super) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        // A token that was changed may be changed back.
        || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "ä".repeat(3000);
        assert_eq!(cut(&long).len(), MAX_DETAIL);
        assert_eq!(cut(&format!("x{long}")).len(), MAX_DETAIL - 1);
    }
}
