//! Saves what runs to the state directory, on a thread of its own.
//!
//! A disk that stalls must not hold back the next snapshot, which may be a rollback. Invariant: what is withdrawn is not
//! saved after that; of several snapshots of an environment that wait, only the last is written.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use admin_api::edge::{Access, SnapshotHead};

use crate::gateway::board::Board;
use crate::gateway::scope::Scope;
use crate::host::LoadedSnapshot;
use crate::state_dir::{StateDir, StateError};
use crate::telemetry;

/// Where the access list is kept.
const ACCESS: &str = "access";

/// What there is to do; the last thing for each environment.
#[derive(Debug, Default)]
struct Tasks {
    snapshots: BTreeMap<Scope, Option<(SnapshotHead, LoadedSnapshot)>>,
    access: Option<Access>,
    is_closed: bool,
}

impl Tasks {
    fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.access.is_none()
    }
}

#[derive(Debug, Default)]
struct Todo {
    tasks: Mutex<Tasks>,
    changed: Condvar,
}

impl Todo {
    fn put(&self, put: impl FnOnce(&mut Tasks)) {
        put(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// Waits for something to do; `None` when everything is done and nothing comes any more.
    fn take(&self) -> Option<Tasks> {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |tasks: &mut Tasks| tasks.is_empty() && !tasks.is_closed;
        let mut tasks = self.changed.wait_while(tasks, idle).unwrap_or_else(PoisonError::into_inner);
        if tasks.is_empty() {
            return None;
        }
        let is_closed = tasks.is_closed;
        Some(std::mem::replace(&mut *tasks, Tasks { is_closed, ..Tasks::default() }))
    }
}

/// The running thread. Dropping it waits until everything is written.
#[derive(Debug)]
pub(super) struct Keeper(Option<(Arc<Todo>, JoinHandle<()>)>);

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some((todo, thread)) = self.0.take() {
            todo.put(|tasks| tasks.is_closed = true);
            // A panic in it was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Keeper {
    /// Starts the thread; without a directory nothing is kept.
    pub(super) fn start(dir: Option<Arc<StateDir>>, board: Arc<Board>) -> std::io::Result<Self> {
        let Some(dir) = dir else { return Ok(Self(None)) };
        let todo = Arc::new(Todo::default());
        let work = Arc::clone(&todo);
        let thread = std::thread::Builder::new().name("keeper".to_owned()).spawn(move || run(&dir, &board, &work))?;
        Ok(Self(Some((todo, thread))))
    }

    /// Saves a snapshot that runs.
    pub(super) fn save(&self, scope: Scope, head: SnapshotHead, loaded: LoadedSnapshot) {
        self.put(|tasks| drop(tasks.snapshots.insert(scope, Some((head, loaded)))));
    }

    /// Forgets an environment.
    pub(super) fn remove(&self, scope: Scope) {
        self.put(|tasks| drop(tasks.snapshots.insert(scope, None)));
    }

    /// Saves the access list.
    pub(super) fn access(&self, access: Access) {
        self.put(|tasks| tasks.access = Some(access));
    }

    fn put(&self, put: impl FnOnce(&mut Tasks)) {
        if let Some((todo, _)) = &self.0 {
            todo.put(put);
        }
    }
}

/// The access list of the last run.
pub(super) fn access(dir: &StateDir) -> Option<Access> {
    match dir.noted(ACCESS) {
        Ok(text) => serde_json::from_slice(&text?).ok(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the saved access list cannot be read");
            None
        }
    }
}

fn run(dir: &StateDir, board: &Board, todo: &Todo) {
    while let Some(tasks) = todo.take() {
        for (scope, what) in tasks.snapshots {
            let done = match what {
                Some((head, loaded)) => dir.save_signed(&scope, &head, loaded.document()),
                None => dir.remove(&scope),
            };
            tell(board, done);
        }
        if let Some(access) = tasks.access {
            tell(board, dir.note(ACCESS, &serde_json::to_vec(&access).unwrap_or_default()));
        }
    }
}

fn tell(board: &Board, done: Result<(), StateError>) {
    match done {
        Ok(()) => board.saved(None),
        Err(error) => {
            let reason = telemetry::chain(&error);
            tracing::error!(error = reason, "a snapshot runs, but a restart without its source would not find it");
            board.saved(Some(reason));
        }
    }
}
