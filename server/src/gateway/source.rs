//! Sources: from watched files to what the workers run.
//!
//! It owns a thread that looks, reads, checks and publishes, one change after the other. Invariants: a
//! file is taken whole or not at all; what it gave before goes on when it is broken, absent or late; each
//! content is refused, logged and counted once. An environment's number starts above what the state
//! directory has and grows by one with each change of a manifest; a snapshot document brings its own.
//! Seeing that a file changed is [`watch`]'s affair, its meaning [`read`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use edge_engine::wire::SnapshotWire;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::board::{Board, Origin};
use super::publish::{Change, PublishError, Publisher, Worker};
use super::scope::Scope;
use crate::config::secret::KeySource;
use crate::host::{Engine, LoadError, LoadedSnapshot, Module};
use crate::state_dir::{StateDir, Stored};
use crate::telemetry;
use read::{Content, Wanted};
use watch::{Found, Unreadable, Watch};

pub mod admin;
pub mod read;
pub mod watch;

/// What decides, for all sources. Whoever loads snapshots on another thread than the one that watches the module holds it
/// until they are published, so that no snapshot stays with the module of before.
pub type SharedEngine = Arc<Mutex<Engine>>;

/// What a source needs.
pub struct Sources<W> {
    /// Files and folders to serve from.
    pub files: Vec<PathBuf>,
    /// A module file to decide with; watched like the others.
    pub module: Option<PathBuf>,
    /// What decides.
    pub engine: SharedEngine,
    /// Whether a module is compared with the native engine.
    pub shadow: bool,
    /// The bucketing keys.
    pub keys: KeySource,
    /// Where good snapshots go.
    pub publisher: Arc<Publisher<W>>,
    /// Where refusals are reported.
    pub board: Arc<Board>,
    /// Where numbers, and snapshots of broken sources, come from.
    pub state_dir: Option<Arc<StateDir>>,
}

impl<W> std::fmt::Debug for Sources<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("files", &self.files).field("module", &self.module).finish_non_exhaustive()
    }
}

/// The running thread. Dropping it stops it and waits for its end.
#[derive(Debug)]
pub struct SourceThread {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Drop for SourceThread {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in it was reported where it happened.
            let _ = thread.join();
        }
    }
}

/// Why a content was refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("{0}")]
    Content(String),
    #[error("{scope}: {}", problems(.source))]
    Load { scope: Scope, source: LoadError },
    #[error("{scope} is already served from {}", owner.display())]
    Owned { scope: Scope, owner: PathBuf },
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("checking it panicked: this is a bug in bascule")]
    Panicked,
    #[error("the module cannot be used")]
    Module(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn problems(error: &LoadError) -> String {
    match error {
        LoadError::Problems(problems) => read::lines(problems),
        LoadError::Module(_) => telemetry::chain(error),
    }
}

/// What a file last gave.
#[derive(Debug, Default)]
struct FileState {
    scopes: BTreeSet<Scope>,
    is_good: bool,
}

/// What an environment runs, as its source wanted it.
#[derive(Debug)]
struct Served {
    number: u64,
    /// A digest, so that a large snapshot is not kept twice.
    content: Content,
    is_restored: bool,
}

struct Driver<W> {
    files: Watch,
    module: Option<Watch>,
    sources: Sources<W>,
    states: BTreeMap<PathBuf, FileState>,
    served: BTreeMap<Scope, Served>,
    /// Numbers that the state directory had when they were first asked for.
    stored: BTreeMap<Scope, u64>,
}

impl<W: Worker + 'static> Sources<W> {
    /// Loads what is there, so that the first snapshots run when this returns, and watches it from then
    /// on. What is not good now is waited for.
    pub fn start(self) -> std::io::Result<SourceThread> {
        let stop = CancellationToken::new();
        let mut driver = Driver {
            files: Watch::new(self.files.clone()),
            module: self.module.clone().map(|path| Watch::new(vec![path])),
            sources: self,
            states: BTreeMap::new(),
            served: BTreeMap::new(),
            stored: BTreeMap::new(),
        };
        driver.begin();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("source".to_owned()).spawn(move || {
            while !stopped.is_cancelled() {
                std::thread::park_timeout(watch::INTERVAL);
                driver.step();
            }
        })?;
        Ok(SourceThread { stop, thread: Some(thread) })
    }
}

impl<W: Worker> Driver<W> {
    fn begin(&mut self) {
        // The engine of the start was made from the module; only what comes later is news.
        if let Some(module) = &mut self.module {
            module.settle(std::thread::sleep);
        }
        for found in self.files.settle(std::thread::sleep) {
            self.take(&found);
        }
        if self.states.values().any(|state| !state.is_good) {
            self.restore();
        }
    }

    fn step(&mut self) {
        for found in self.module.as_mut().map(Watch::look).unwrap_or_default() {
            self.take_module(&found);
        }
        for found in self.files.look() {
            self.take(&found);
        }
    }

    fn take(&mut self, found: &Found) {
        // A panic while checking is a refusal; what it leaves half-done is thrown away with it, and the
        // driver's own state changes only after a publication.
        let result = catch_unwind(AssertUnwindSafe(|| self.try_take(found))).unwrap_or(Err(Refused::Panicked));
        self.states.entry(found.path.clone()).or_default().is_good = result.is_ok();
        let file = found.path.display().to_string();
        match result {
            Ok(()) => {
                self.sources.board.accepted(&found.path);
            }
            Err(refused) => {
                let reason = telemetry::chain(&refused);
                let keeps = self.states.get(&found.path).is_some_and(|state| !state.scopes.is_empty());
                let then = if keeps { "its last good snapshot goes on" } else { "it gave no snapshot yet" };
                tracing::error!(file, reason, then, "a source was refused");
                self.sources.board.refused(&found.path, reason);
            }
        }
    }

    fn try_take(&mut self, found: &Found) -> Result<(), Refused> {
        let bytes = found.content.as_ref().map_err(Clone::clone)?;
        let wanted = read::read(&found.path, bytes, &self.sources.keys).map_err(Refused::Content)?;
        self.check_owners(&found.path, &wanted)?;
        let scopes: BTreeSet<_> = wanted.iter().map(|wanted| wanted.scope.clone()).collect();
        let mut change = Change { withdraw: self.leaving(&found.path, &scopes), ..Change::default() };
        let mut served = Vec::new();
        for mut wanted in wanted {
            let (scope, content) = (wanted.scope.clone(), wanted.content());
            let Some(wire) = self.number(wanted, content) else { continue };
            let number = wire.number;
            let document = serde_json::to_vec(&wire).map_err(|error| Refused::Content(error.to_string()))?;
            change.set.push((self.load(wire, document)?, Origin::File(found.path.clone())));
            served.push((scope, Served { number, content, is_restored: false }));
        }
        let withdrawn = change.withdraw.clone();
        self.publish(change)?;
        for scope in &withdrawn {
            self.served.remove(scope);
        }
        self.served.extend(served);
        self.states.entry(found.path.clone()).or_default().scopes = scopes;
        Ok(())
    }

    /// What is served no longer when a file asks for these: what it asked for before, and, once no file
    /// is broken any more, what was restored for a broken one and nobody asked for.
    fn leaving(&self, path: &Path, scopes: &BTreeSet<Scope>) -> Vec<Scope> {
        let before = self.states.get(path).map(|state| &state.scopes).into_iter().flatten();
        let mut others = self.states.iter().filter(|(other, _)| *other != path).map(|(_, state)| state);
        let is_all_good = others.all(|state| state.is_good);
        let named = |scope: &Scope| self.states.values().any(|state| state.scopes.contains(scope));
        let restored = self.served.iter().filter(|(scope, served)| is_all_good && served.is_restored && !named(scope));
        let leaving: BTreeSet<_> = before.chain(restored.map(|(scope, _)| scope)).collect();
        leaving.into_iter().filter(|scope| !scopes.contains(scope)).cloned().collect()
    }

    fn check_owners(&self, path: &Path, wanted: &[Wanted]) -> Result<(), Refused> {
        for Wanted { scope, .. } in wanted {
            let owner = self.states.iter().find(|(other, state)| *other != path && state.scopes.contains(scope));
            if let Some((owner, _)) = owner {
                return Err(Refused::Owned { scope: scope.clone(), owner: owner.clone() });
            }
        }
        Ok(())
    }

    /// The snapshot to load; `None` when the environment runs it already.
    fn number(&mut self, wanted: Wanted, content: Content) -> Option<SnapshotWire> {
        let is_number = |served: &Served| !wanted.is_numbered || wanted.wire.number == served.number;
        if self.served.get(&wanted.scope).is_some_and(|served| served.content == content && is_number(served)) {
            return None;
        }
        if wanted.is_numbered {
            return Some(wanted.wire);
        }
        let number = self.floor(&wanted.scope) + 1;
        Some(SnapshotWire { number, created_at: telemetry::timestamp(Timestamp::now()), ..wanted.wire })
    }

    /// The highest number that the environment is known to have had; 0 when there is none.
    fn floor(&mut self, scope: &Scope) -> u64 {
        let stored = self.stored.entry(scope.clone()).or_insert_with(|| {
            let stored = self.sources.state_dir.as_ref().and_then(|dir| dir.load(scope));
            stored.map_or(0, |stored| stored.number)
        });
        self.sources.board.number(scope).unwrap_or(0).max(*stored)
    }

    /// Loads a snapshot of which the document says what `wire` says.
    fn load(&mut self, wire: SnapshotWire, document: Vec<u8>) -> Result<LoadedSnapshot, Refused> {
        let scope = Scope::new(wire.app.as_str(), wire.environment.as_str());
        let running = self.floor(&scope);
        if wire.number < running {
            return Err(PublishError::Older { scope, running, offered: wire.number }.into());
        }
        let key = self.sources.keys.key(scope.app(), scope.environment());
        let (started, bytes) = (Instant::now(), document.len());
        let engine = self.sources.engine.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let loaded = LoadedSnapshot::of(wire, document.into(), &key, &engine);
        tracing::debug!(
            app = scope.app(),
            environment = scope.environment(),
            bytes,
            ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "a snapshot was checked"
        );
        loaded.map_err(|source| Refused::Load { scope, source })
    }

    fn publish(&mut self, change: Change) -> Result<(), Refused> {
        if change.is_empty() {
            return Ok(());
        }
        match self.sources.publisher.publish(change) {
            // It runs where it can; a stuck worker is not the file's fault.
            Err(error @ PublishError::Unacknowledged { .. }) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a worker does not take new snapshots");
            }
            result => drop(result?),
        }
        Ok(())
    }

    /// Starts what no good file gives from the last good snapshots on disk.
    fn restore(&mut self) {
        let Some(dir) = self.sources.state_dir.clone() else { return };
        let scopes = dir.scopes().unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "the state directory cannot be used");
            Vec::new()
        });
        for scope in scopes.into_iter().filter(|scope| !self.served.contains_key(scope)).collect::<Vec<_>>() {
            // What a control plane sent is decided with a key of its own; only a gateway that follows it has that.
            let Some(stored) = dir.load(&scope).filter(|stored| stored.head.is_none()) else { continue };
            self.stored.insert(scope.clone(), stored.number);
            let (app, environment) = (scope.app().to_owned(), scope.environment().to_owned());
            match self.start_from(stored) {
                Ok(served) => {
                    tracing::warn!(
                        app,
                        environment,
                        snapshot.number = served.number,
                        "serving the last good snapshot from disk"
                    );
                    self.served.insert(scope, served);
                }
                Err(refused) => {
                    let reason = telemetry::chain(&refused);
                    tracing::error!(app, environment, reason, "the last good snapshot on disk cannot be used any more");
                }
            }
        }
    }

    fn start_from(&mut self, stored: Stored) -> Result<Served, Refused> {
        let wire = edge_engine::parse(&stored.bytes).map_err(|problems| Refused::Content(read::lines(&problems)))?;
        let mut wanted = Wanted::new(wire, true);
        let (number, content) = (wanted.wire.number, wanted.content());
        let loaded = self.load(wanted.wire, stored.bytes)?;
        self.publish(Change::one(loaded, Origin::StateDir))?;
        Ok(Served { number, content, is_restored: true })
    }

    /// Changes what decides; the snapshots stay.
    fn take_module(&mut self, found: &Found) {
        let result = catch_unwind(AssertUnwindSafe(|| self.try_take_module(found))).unwrap_or(Err(Refused::Panicked));
        let file = found.path.display().to_string();
        match result {
            Ok(()) => {
                tracing::info!(file, engine = self.engine_name(), "another edge module decides");
                self.sources.board.accepted(&found.path);
            }
            Err(refused) => {
                let reason = telemetry::chain(&refused);
                let engine = self.engine_name();
                tracing::error!(file, reason, engine, "an edge module was refused; the one of before goes on");
                self.sources.board.refused(&found.path, reason);
            }
        }
    }

    fn try_take_module(&mut self, found: &Found) -> Result<(), Refused> {
        let bytes = found.content.as_ref().map_err(Clone::clone)?;
        let module = Module::compile(bytes).map_err(|error| Refused::Module(error.into()))?;
        let engine = Engine::wasm(module).with_shadow(self.sources.shadow);
        let shared = Arc::clone(&self.sources.engine);
        let mut current = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let reload = |loaded: LoadedSnapshot| {
            let scope = super::publish::scope_of(loaded.snapshot());
            let origin = self.origin(&scope);
            let again = loaded.reload(&engine).map_err(|source| Refused::Load { scope, source })?;
            Ok((again, origin))
        };
        let set = self.sources.publisher.running().into_iter().map(reload).collect::<Result<Vec<_>, Refused>>()?;
        self.publish(Change { set, ..Change::default() })?;
        *current = engine;
        Ok(())
    }

    fn engine_name(&self) -> String {
        self.sources.engine.lock().unwrap_or_else(PoisonError::into_inner).name().to_owned()
    }

    fn origin(&self, scope: &Scope) -> Origin {
        let report = self.sources.board.report();
        report.environments.get(scope).map_or(Origin::Direct, |running| running.origin.clone())
    }
}
