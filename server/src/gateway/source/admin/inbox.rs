//! What the stream brought and the workers do not run yet.
//!
//! The stream fills it, the applier empties it as a whole. Invariant: per environment only the newest is kept, so that a
//! backlog costs no more than one preparation each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use admin_api::edge::{Access, SnapshotHead};

use crate::gateway::scope::Scope;

/// A snapshot whose signature was found good.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) head: SnapshotHead,
    pub(super) document: Vec<u8>,
    /// When its last byte was read.
    pub(super) at: Instant,
    /// What brought it.
    pub(super) connection: Arc<str>,
}

/// All that waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) snapshots: BTreeMap<Scope, Arrived>,
    /// Environments that are served no longer.
    pub(super) withdraw: BTreeSet<Scope>,
    /// All environments that there are, said by this connection.
    pub(super) current: Option<(BTreeSet<Scope>, Arc<str>)>,
    pub(super) access: Option<Access>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.withdraw.is_empty() && self.current.is_none() && self.access.is_none()
    }

    /// Takes a snapshot in, unless a newer one waits.
    pub(super) fn snapshot(&mut self, scope: Scope, arrived: Arrived) {
        self.withdraw.remove(&scope);
        let is_newer = self.snapshots.get(&scope).is_none_or(|waiting| waiting.head.number <= arrived.head.number);
        if is_newer {
            self.snapshots.insert(scope, arrived);
        }
    }

    /// Takes an environment away, with what waits for it.
    pub(super) fn withdraw(&mut self, scope: Scope) {
        self.snapshots.remove(&scope);
        self.withdraw.insert(scope);
    }
}

/// Hands over from the stream's thread to the applier's.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Waiting,
    is_closed: bool,
}

impl Inbox {
    /// Adds something.
    pub(super) fn put(&self, add: impl FnOnce(&mut Waiting)) {
        add(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting);
        self.changed.notify_one();
    }

    /// Waits until there is something, and takes all of it; `None` once nothing comes any more.
    pub(super) fn take(&self) -> Option<Waiting> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = |state: &mut State| state.waiting.is_empty() && !state.is_closed;
        let mut state = self.changed.wait_while(state, nothing).unwrap_or_else(PoisonError::into_inner);
        if state.is_closed { None } else { Some(std::mem::take(&mut state.waiting)) }
    }

    /// Nothing is taken from now on.
    pub(super) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use admin_api::edge::BucketingSecret;

    use super::*;

    fn arrived(number: u64) -> Arrived {
        let head = SnapshotHead {
            scope: admin_api::edge::Scope { app: "web".into(), environment: "production".into() },
            number,
            previous: String::new(),
            key_id: String::new(),
            signature: String::new(),
            bucketing_key: BucketingSecret { id: String::new(), key: String::new() },
        };
        Arrived { head, document: Vec::new(), at: Instant::now(), connection: "c".into() }
    }

    #[test]
    fn only_the_newest_of_an_environment_is_prepared_and_a_withdrawal_takes_it_along() {
        let inbox = Inbox::default();
        let scope = Scope::new("web", "production");
        for number in [4, 6, 5] {
            inbox.put(|waiting| waiting.snapshot(scope.clone(), arrived(number)));
        }
        inbox.put(|waiting| waiting.snapshot(Scope::new("web", "staging"), arrived(9)));
        let numbers: Vec<_> = inbox.take().expect("open").snapshots.values().map(|it| it.head.number).collect();
        assert_eq!(numbers, [6, 9]);
        inbox.put(|waiting| {
            waiting.snapshot(scope.clone(), arrived(7));
            waiting.withdraw(scope.clone());
        });
        let taken = inbox.take().expect("open");
        assert_eq!((taken.snapshots.len(), taken.withdraw.len()), (0, 1));
        inbox.put(|waiting| {
            waiting.withdraw(scope.clone());
            waiting.snapshot(scope.clone(), arrived(8));
        });
        let taken = inbox.take().expect("open");
        assert_eq!((taken.snapshots.len(), taken.withdraw.len()), (1, 0), "it came back");
        inbox.close();
        assert!(inbox.take().is_none());
    }
}
