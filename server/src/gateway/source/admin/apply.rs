//! From what arrived to what the workers run, and back to the control plane what became of it.
//!
//! It owns the order: prepare everything that waits, publish it in one change, tell; only then the disk. Invariants: a
//! snapshot that cannot be prepared holds back no other one; nothing that goes wrong with a snapshot changes what is
//! served; an environment is withdrawn only by name, or by a list of all that names others.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use admin_api::edge::{Access, Ack, SnapshotHead};

use super::acks::{Outbox, wire};
use super::inbox::{Arrived, Inbox, Waiting};
use super::keeper::Keeper;
use super::verify::{self, Refusal};
use crate::gateway::board::{Board, Origin, Running};
use crate::gateway::publish::{Change, PublishError, Publisher, Worker};
use crate::gateway::scope::Scope;
use crate::gateway::source::SharedEngine;
use crate::host::{Engine, LoadedSnapshot};

/// Where a snapshot came from and when.
struct Arrival {
    head: Arc<SnapshotHead>,
    at: Instant,
    connection: Arc<str>,
}

/// A snapshot that can be published.
struct Ready {
    scope: Scope,
    loaded: LoadedSnapshot,
    arrival: Arrival,
}

/// What was last acknowledged of an environment.
struct Acked {
    number: u64,
    connection: Arc<str>,
    applied: Duration,
}

/// Applies what arrives.
pub(super) struct Applier<W> {
    pub(super) publisher: Arc<Publisher<W>>,
    pub(super) board: Arc<Board>,
    pub(super) engine: SharedEngine,
    pub(super) keeper: Keeper,
    pub(super) outbox: Outbox,
    acked: BTreeMap<Scope, Acked>,
    /// Refused for a host that another environment may still give up.
    held: BTreeMap<Scope, Ready>,
}

impl<W: Worker> Applier<W> {
    pub(super) fn new(
        publisher: Arc<Publisher<W>>,
        board: Arc<Board>,
        engine: SharedEngine,
        keeper: Keeper,
        outbox: Outbox,
    ) -> Self {
        Self { publisher, board, engine, keeper, outbox, acked: BTreeMap::new(), held: BTreeMap::new() }
    }

    /// Applies until the inbox is closed.
    pub(super) fn run(mut self, inbox: &Inbox) {
        while let Some(waiting) = inbox.take() {
            // What it leaves half-done is thrown away with it: what runs changes only by a publication.
            if catch_unwind(AssertUnwindSafe(|| self.apply(waiting))).is_err() {
                tracing::error!("what the control plane sent was not applied: this is a bug in bascule");
            }
        }
    }

    fn apply(&mut self, waiting: Waiting) {
        let Waiting { snapshots, withdraw, current, access } = waiting;
        // A change of the module waits until this is done, and the other way round.
        let engine = Arc::clone(&self.engine);
        let engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(access) = access {
            self.take_access(access);
        }
        let named: BTreeSet<_> = snapshots.keys().cloned().collect();
        let ready =
            snapshots.into_iter().filter_map(|(scope, arrived)| self.prepare(scope, arrived, &engine)).collect();
        let leaving = self.leaving(withdraw, current.as_ref().map(|(all, _)| all), &named);
        self.held.retain(|scope, _| !named.contains(scope) && !leaving.contains(scope));
        self.publish_all(ready, &leaving);
        if let Some((_, connection)) = current {
            self.repeat(&connection);
        }
    }

    fn take_access(&self, access: Access) {
        if let Err(error) = self.publisher.set_access(access.clone()) {
            tracing::error!(reason = crate::telemetry::chain(&error), "the new list of OFREP tokens does not count");
        }
        self.keeper.access(access);
    }

    /// The snapshot to publish; `None` when it runs already or is refused.
    fn prepare(&mut self, scope: Scope, arrived: Arrived, engine: &Engine) -> Option<Ready> {
        let Arrived { head, document, at, connection } = arrived;
        let arrival = Arrival { head: Arc::new(head), at, connection };
        match self.try_prepare(&scope, &arrival, document, engine) {
            Ok(Some(loaded)) => Some(Ready { scope, loaded, arrival }),
            Ok(None) => None,
            Err(refusal) => {
                self.outbox.refuse(&arrival.connection, &scope, arrival.head.number, refusal);
                None
            }
        }
    }

    fn try_prepare(
        &mut self,
        scope: &Scope,
        arrival: &Arrival,
        document: Vec<u8>,
        engine: &Engine,
    ) -> Result<Option<LoadedSnapshot>, Refusal> {
        let offered = arrival.head.number;
        if let Some(running) = self.publisher.runs(scope) {
            let number = running.snapshot().number();
            if offered < number {
                let error = PublishError::Older { scope: scope.clone(), running: number, offered };
                return Err((&error).into());
            }
            if offered == number && running.document() != document {
                return Err((&PublishError::SameNumber { scope: scope.clone(), number }).into());
            }
            if offered == number {
                self.runs(scope, &running, arrival);
                self.settle(scope.clone(), running, arrival);
                return Ok(None);
            }
        }
        let panicked =
            |_| Err(Refusal { code: "prepare_failed", detail: "checking it panicked: this is a bug".to_owned() });
        let loaded = catch_unwind(AssertUnwindSafe(|| verify::load(&arrival.head, document, engine)));
        loaded.unwrap_or_else(panicked).map(Some)
    }

    /// The running environments that are served no longer.
    fn leaving(
        &self,
        named: BTreeSet<Scope>,
        all: Option<&BTreeSet<Scope>>,
        coming: &BTreeSet<Scope>,
    ) -> BTreeSet<Scope> {
        let running = self.board.report().environments.into_iter();
        let mut leaving = named;
        if let Some(all) = all {
            let is_other = |(scope, running): &(Scope, Running)| {
                is_ours(&running.origin) && !all.contains(scope) && !coming.contains(scope)
            };
            let others: Vec<_> = running.filter(is_other).map(|(scope, _)| scope).collect();
            if all.is_empty() && !others.is_empty() {
                // A control plane that lost its data says so too, and nobody meant to take everything away.
                tracing::warn!("the control plane names no environment at all: what runs goes on");
            } else {
                leaving.extend(others);
            }
        }
        leaving.retain(|scope| self.board.number(scope).is_some());
        leaving
    }

    /// Publishes together if that is possible, else what can be.
    fn publish_all(&mut self, ready: Vec<Ready>, leaving: &BTreeSet<Scope>) {
        if ready.is_empty() && leaving.is_empty() {
            return;
        }
        let Err(error) = self.publish(&ready, leaving) else { return self.retry(Vec::new()) };
        if ready.len() == 1 && leaving.is_empty() {
            return ready.into_iter().for_each(|ready| self.give_back(ready, &error));
        }
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a change is taken in parts, because it cannot be as a whole"
        );
        if let Err(error) = self.publish(&[], leaving) {
            tracing::error!(error = &error as &dyn std::error::Error, "environments could not be withdrawn");
        }
        let failed = self.publish_parts(ready);
        self.retry(failed);
    }

    /// After a change: a host may have been waiting for another environment to give it up.
    fn retry(&mut self, failed: Vec<(Ready, PublishError)>) {
        let known: BTreeSet<_> = self.held.keys().cloned().collect();
        let mut left: Vec<_> = std::mem::take(&mut self.held).into_values().collect();
        left.extend(failed.into_iter().map(|(ready, _)| ready));
        while !left.is_empty() {
            let before = left.len();
            let failed: Vec<_> = left.into_iter().filter_map(|ready| self.publish_one(ready)).collect();
            if failed.len() == before {
                for (ready, error) in failed {
                    if known.contains(&ready.scope) {
                        // It was said before.
                        self.held.insert(ready.scope.clone(), ready);
                    } else {
                        self.give_back(ready, &error);
                    }
                }
                return;
            }
            left = failed.into_iter().map(|(ready, _)| ready).collect();
        }
    }

    /// Refuses a snapshot, and keeps it if another environment's change may make it fit.
    fn give_back(&mut self, ready: Ready, error: &PublishError) {
        self.refuse(&ready, error);
        if matches!(error, PublishError::HostTaken { .. }) {
            self.held.insert(ready.scope.clone(), ready);
        }
    }

    /// Publishes halves of halves, so that few bad ones among many cost few attempts; what failed.
    fn publish_parts(&mut self, mut ready: Vec<Ready>) -> Vec<(Ready, PublishError)> {
        if ready.len() <= 1 {
            return ready.into_iter().filter_map(|ready| self.publish_one(ready)).collect();
        }
        let second = ready.split_off(ready.len() / 2);
        let mut failed = Vec::new();
        for half in [ready, second] {
            if self.publish(&half, &BTreeSet::new()).is_err() {
                failed.extend(self.publish_parts(half));
            }
        }
        failed
    }

    fn publish_one(&mut self, ready: Ready) -> Option<(Ready, PublishError)> {
        let error = self.publish(std::slice::from_ref(&ready), &BTreeSet::new()).err()?;
        Some((ready, error))
    }

    fn refuse(&self, ready: &Ready, error: &PublishError) {
        self.outbox.refuse(&ready.arrival.connection, &ready.scope, ready.arrival.head.number, error.into());
    }

    /// Publishes in one change and tells at once.
    fn publish(&mut self, ready: &[Ready], leaving: &BTreeSet<Scope>) -> Result<(), PublishError> {
        let origin = |ready: &Ready| Origin::ControlPlane(Arc::clone(&ready.arrival.head));
        let change = Change {
            set: ready.iter().map(|ready| (ready.loaded.clone(), origin(ready))).collect(),
            withdraw: leaving.iter().cloned().collect(),
            ..Change::default()
        };
        if change.is_empty() {
            return Ok(());
        }
        let publisher = Arc::clone(&self.publisher);
        let published = publisher.publish_then(change, |_| {
            for Ready { scope, loaded, arrival } in ready {
                self.runs(scope, loaded, arrival);
            }
        });
        let stuck = match published {
            Ok(_) => None,
            // It runs where it can; a stuck worker is not the snapshot's fault, but the control plane hears of it.
            Err(error @ PublishError::Unacknowledged { .. }) => Some(error),
            Err(error) => return Err(error),
        };
        for Ready { scope, loaded, arrival } in ready {
            self.settle(scope.clone(), loaded.clone(), arrival);
        }
        for scope in leaving {
            self.acked.remove(scope);
            self.board.control_plane(|plane| drop(plane.refusals.remove(scope)));
            self.keeper.remove(scope.clone());
        }
        if let Some(error) = stuck {
            for ready in ready {
                self.refuse(ready, &error);
            }
        }
        Ok(())
    }

    /// All workers run it: this is what the control plane waits for.
    fn runs(&mut self, scope: &Scope, loaded: &LoadedSnapshot, arrival: &Arrival) {
        let applied = arrival.at.elapsed();
        let number = loaded.snapshot().number();
        self.outbox.ack(&arrival.connection, scope, ack(scope, loaded, applied));
        let connection = Arc::clone(&arrival.connection);
        self.acked.insert(scope.clone(), Acked { number, connection, applied });
    }

    /// What can wait until it is told.
    fn settle(&self, scope: Scope, loaded: LoadedSnapshot, arrival: &Arrival) {
        let number = arrival.head.number;
        self.board.control_plane(|plane| {
            if plane.refusals.get(&scope).is_some_and(|refusal| refusal.number <= number) {
                plane.refusals.remove(&scope);
            }
        });
        self.board.confirmed(&scope, Origin::ControlPlane(Arc::clone(&arrival.head)));
        self.keeper.save(scope, SnapshotHead::clone(&arrival.head), loaded);
    }

    /// A new stream has said everything: it hears of all that runs and of all that was refused before it.
    fn repeat(&mut self, connection: &Arc<str>) {
        let origins = self.board.report().environments;
        for loaded in self.publisher.running() {
            let scope = crate::gateway::publish::scope_of(loaded.snapshot());
            if !origins.get(&scope).is_some_and(|running| is_ours(&running.origin)) {
                continue;
            }
            let number = loaded.snapshot().number();
            let known = self.acked.get(&scope).filter(|acked| acked.number == number);
            if known.is_some_and(|acked| acked.connection == *connection) {
                continue;
            }
            let applied = known.map_or(Duration::ZERO, |acked| acked.applied);
            self.outbox.ack(connection, &scope, ack(&scope, &loaded, applied));
            self.acked.insert(scope, Acked { number, connection: Arc::clone(connection), applied });
        }
        let (since, refusals) = self.board.control_plane(|plane| (Some(plane.since), plane.refusals.clone()));
        for (scope, refusal) in refusals.iter().filter(|(_, refusal)| since.is_some_and(|since| refusal.at < since)) {
            self.outbox.nack(connection, scope, refusal.number, refusal.code, &refusal.detail);
        }
    }
}

/// Whether a control plane has a say in it: a gateway that follows one restores nothing else.
fn is_ours(origin: &Origin) -> bool {
    matches!(origin, Origin::ControlPlane(_) | Origin::StateDir)
}

fn ack(scope: &Scope, loaded: &LoadedSnapshot, applied: Duration) -> Ack {
    Ack {
        scope: wire(scope),
        number: loaded.snapshot().number(),
        engine: loaded.engine().name().to_owned(),
        applied_us: u64::try_from(applied.as_micros()).unwrap_or(u64::MAX),
    }
}
