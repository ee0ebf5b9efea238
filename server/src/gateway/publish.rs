//! Gives all workers a new state, whole and at once, and waits until each runs it.
//!
//! It owns the set of snapshots that the workers run. Invariants: a set that cannot be prepared for
//! every worker reaches none; an environment never goes back to a lower number; when
//! [`Publisher::publish`] returns, no worker decides by the set of before. Everything slow (instances,
//! tables, disk, dropping old states) happens on the caller's thread, so call it from one that may
//! block. Where snapshots come from is [`super::source`]'s affair.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use admin_api::edge::Access;
use edge_engine::{ReleaseIndex, Snapshot};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::board::{Board, Origin};
use super::health::{HealthRegistry, ReleaseHealth, ReleaseKey, ReleaseShape};
use super::mailbox::Swapped;
use super::scope::Scope;
use crate::gateway::breaker::{self, Policy};
use crate::host::LoadedSnapshot;
use crate::state_dir::{StateDir, StateError};

/// A worker acknowledges within microseconds; one that does not for so long is stuck or gone.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks for acknowledgements, after the first looks that do not wait at all.
const ACK_PAUSE: Duration = Duration::from_micros(50);
/// Looks that only yield: with idle workers the answer is there before a sleep would end.
const EAGER_LOOKS: u32 = 200;

/// A thread that serves, as the publisher sees it.
pub trait Worker: Send + Sync {
    /// What it serves by.
    type State: Send;
    /// Makes a state of these snapshots and tokens; not on the worker's thread.
    fn prepare(
        &self,
        snapshots: &[LoadedSnapshot],
        access: &Access,
    ) -> Result<Self::State, Box<dyn std::error::Error + Send + Sync>>;
    /// Hands the state over. The receiver hears of the swap.
    fn install(&self, state: Self::State) -> oneshot::Receiver<Swapped>;
}

/// What is to change, in one step.
#[derive(Debug, Default)]
pub struct Change {
    /// New snapshots and where they came from.
    pub set: Vec<(LoadedSnapshot, Origin)>,
    /// Environments that are no longer served.
    pub withdraw: Vec<Scope>,
    /// All OFREP tokens that count from now on; `None` = those of before.
    pub access: Option<Access>,
}

impl Change {
    /// One snapshot.
    pub fn one(snapshot: LoadedSnapshot, origin: Origin) -> Self {
        Self { set: vec![(snapshot, origin)], ..Self::default() }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.withdraw.is_empty() && self.access.is_none()
    }
}

/// When each worker had swapped, counted from the hand-over to the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acks {
    /// One per worker.
    pub workers: Vec<Duration>,
    /// The longest time that a worker did nothing but swap.
    pub stall: Duration,
}

impl Acks {
    /// Until the last worker had swapped.
    pub fn slowest(&self) -> Duration {
        self.workers.iter().max().copied().unwrap_or_default()
    }
}

/// Why nothing, or not everybody, changed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The environment runs a newer one.
    #[error("snapshot {offered} of {scope} is older than {running}, which runs")]
    Older {
        /// Which environment.
        scope: Scope,
        /// What runs.
        running: u64,
        /// What was offered.
        offered: u64,
    },
    /// The environment runs another one under this number.
    #[error("snapshot {number} of {scope} already runs with another content")]
    SameNumber {
        /// Which environment.
        scope: Scope,
        /// The number.
        number: u64,
    },
    /// Two environments want the same host.
    #[error("the host {host} of {scope} belongs to {owner}")]
    HostTaken {
        /// The host.
        host: String,
        /// Who wants it.
        scope: Scope,
        /// Who has it.
        owner: Scope,
    },
    /// A worker's state could not be made.
    #[error("the snapshot cannot be prepared")]
    Prepare(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Preparing it is a bug of ours; the snapshot is refused and nothing else happens.
    #[error("preparing the snapshot panicked")]
    Panicked,
    /// These workers run it, others did not answer.
    #[error("{missing} of {of} workers did not acknowledge the snapshot within {ACK_TIMEOUT:?}")]
    Unacknowledged {
        /// How many did not answer.
        missing: usize,
        /// How many there are.
        of: usize,
    },
}

impl PublishError {
    /// The code that a control plane is told.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Older { .. } => "older",
            Self::SameNumber { .. } => "same_number",
            Self::HostTaken { .. } => "host_taken",
            Self::Prepare(_) | Self::Panicked => "prepare_failed",
            Self::Unacknowledged { .. } => "unacknowledged",
        }
    }
}

#[derive(Default, Clone)]
struct Running {
    snapshots: BTreeMap<Scope, LoadedSnapshot>,
    access: Arc<Access>,
}

/// Publishes to all workers of a gateway.
pub struct Publisher<W> {
    workers: Vec<W>,
    board: Arc<Board>,
    state_dir: Option<Arc<StateDir>>,
    /// Told what runs after each change.
    after_change: AfterChange,
    /// Also the lock that lets one publication go at a time.
    running: Mutex<Running>,
}

/// Is told what runs.
pub type AfterChange = Box<dyn Fn(&[LoadedSnapshot]) + Send + Sync>;

impl<W> std::fmt::Debug for Publisher<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

/// The scope of a snapshot.
pub fn scope_of(snapshot: &Snapshot) -> Scope {
    Scope::new(snapshot.app().as_str(), snapshot.environment().as_str())
}

impl<W: Worker> Publisher<W> {
    /// A publisher to workers that serve nothing yet.
    pub fn new(workers: Vec<W>, board: Arc<Board>, state_dir: Option<Arc<StateDir>>) -> Self {
        Self { workers, board, state_dir, after_change: Box::new(|_| ()), running: Mutex::default() }
    }

    /// Tells somebody what runs, after each change and before [`Publisher::publish`] returns.
    #[must_use]
    pub fn after_change(self, told: AfterChange) -> Self {
        Self { after_change: told, ..self }
    }

    /// What runs now.
    pub fn running(&self) -> Vec<LoadedSnapshot> {
        self.lock().snapshots.values().cloned().collect()
    }

    /// What an environment runs now.
    pub fn runs(&self, scope: &Scope) -> Option<LoadedSnapshot> {
        self.lock().snapshots.get(scope).cloned()
    }

    /// Makes every worker run the change. On an error that is not [`PublishError::Unacknowledged`],
    /// no worker has seen anything of it.
    pub fn publish(&self, change: Change) -> Result<Acks, PublishError> {
        self.publish_then(change, |_| ())
    }

    /// The same; `told` hears of it as soon as every worker runs the change, before logs and disk.
    pub fn publish_then(&self, change: Change, told: impl FnOnce(&Acks)) -> Result<Acks, PublishError> {
        let mut running = self.lock();
        let next = merge(&running, &change)?;
        check_hosts(&next)?;
        // Workers listen once they have something to serve; tokens alone are nothing, and wait for it.
        if next.snapshots.is_empty() && running.snapshots.is_empty() {
            *running = next;
            return Ok(Acks { workers: Vec::new(), stall: Duration::ZERO });
        }
        let set: Vec<_> = next.snapshots.values().cloned().collect();
        let states = self.prepare(&set, &next.access)?;
        let acks = self.install(states);
        // Workers that answered run it, so it is what runs; the others cannot be worse off.
        *running = next;
        self.note(&change, acks.as_ref().ok());
        if let Ok(acks) = &acks {
            told(acks);
        }
        (self.after_change)(&set);
        self.settle(change, acks.as_ref().ok());
        acks
    }

    /// Has these OFREP tokens count at every worker, and no others.
    pub fn set_access(&self, access: Access) -> Result<Acks, PublishError> {
        self.publish(Change { access: Some(access), ..Change::default() })
    }

    /// The OFREP tokens that count.
    pub fn access(&self) -> Access {
        (*self.lock().access).clone()
    }

    fn prepare(&self, set: &[LoadedSnapshot], access: &Access) -> Result<Vec<W::State>, PublishError> {
        let all = || self.workers.iter().map(|worker| worker.prepare(set, access)).collect::<Result<Vec<_>, _>>();
        // Nothing of what a panic leaves half-done is looked at again: the states are dropped.
        let states = catch_unwind(AssertUnwindSafe(all)).map_err(|_| PublishError::Panicked)?;
        states.map_err(PublishError::Prepare)
    }

    fn install(&self, states: Vec<W::State>) -> Result<Acks, PublishError> {
        let started = Instant::now();
        let waiting: Vec<_> = self.workers.iter().zip(states).map(|(worker, state)| worker.install(state)).collect();
        let swaps: Vec<_> = waiting.into_iter().filter_map(|ack| wait(ack, started)).collect();
        let missing = self.workers.len() - swaps.len();
        if missing > 0 {
            return Err(PublishError::Unacknowledged { missing, of: self.workers.len() });
        }
        Ok(Acks {
            workers: swaps.iter().map(|swap| swap.at.saturating_duration_since(started)).collect(),
            stall: swaps.iter().map(|swap| swap.stall).max().unwrap_or_default(),
        })
    }

    /// The report: true before anybody is told.
    fn note(&self, change: &Change, acks: Option<&Acks>) {
        if let Some(acks) = acks {
            self.board.published(acks.slowest(), acks.stall);
        }
        for (loaded, origin) in &change.set {
            let snapshot = loaded.snapshot();
            self.board.runs(&scope_of(snapshot), snapshot.number(), snapshot.created_at(), origin.clone());
        }
        for scope in &change.withdraw {
            self.board.withdrawn(scope);
        }
    }

    /// What can wait until the workers have it: the log and the disk.
    fn settle(&self, change: Change, acks: Option<&Acks>) {
        for (loaded, origin) in change.set {
            let snapshot = loaded.snapshot();
            let scope = scope_of(snapshot);
            let is_restored = origin == Origin::StateDir;
            tracing::info!(
                app = scope.app(),
                environment = scope.environment(),
                snapshot.number = snapshot.number(),
                origin = origin.as_str(),
                slowest_us = acks.map(|acks| u64::try_from(acks.slowest().as_micros()).unwrap_or(u64::MAX)),
                "a snapshot runs"
            );
            if !is_restored {
                self.on_disk(|dir| dir.save(&scope, snapshot.number(), loaded.document()));
            }
        }
        for scope in change.withdraw {
            tracing::info!(app = scope.app(), environment = scope.environment(), "an environment is no longer served");
            self.on_disk(|dir| dir.remove(&scope));
        }
    }

    fn on_disk(&self, act: impl FnOnce(&StateDir) -> Result<(), StateError>) {
        let Some(dir) = &self.state_dir else { return };
        match act(dir) {
            Ok(()) => self.board.saved(None),
            Err(error) => {
                let reason = crate::telemetry::chain(&error);
                tracing::error!(error = reason, "a snapshot runs, but a restart without its source would not find it");
                self.board.saved(Some(reason));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        // The set is replaced whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for an acknowledgement without a runtime. `None` when the worker is gone or stuck.
fn wait(mut ack: oneshot::Receiver<Swapped>, started: Instant) -> Option<Swapped> {
    let mut looks = 0_u32;
    loop {
        match ack.try_recv() {
            Ok(swap) => return Some(swap),
            Err(TryRecvError::Closed) => return None,
            Err(TryRecvError::Empty) if started.elapsed() > ACK_TIMEOUT => return None,
            Err(TryRecvError::Empty) if looks < EAGER_LOOKS => std::thread::yield_now(),
            Err(TryRecvError::Empty) => std::thread::sleep(ACK_PAUSE),
        }
        looks = looks.saturating_add(1);
    }
}

fn merge(running: &Running, change: &Change) -> Result<Running, PublishError> {
    let mut next = running.clone();
    for scope in &change.withdraw {
        next.snapshots.remove(scope);
    }
    for (loaded, _) in &change.set {
        let scope = scope_of(loaded.snapshot());
        let offered = loaded.snapshot().number();
        if let Some(before) = next.snapshots.get(&scope) {
            let running = before.snapshot().number();
            if offered < running {
                return Err(PublishError::Older { scope, running, offered });
            }
            // The same again is fine: another engine may be under it.
            if offered == running && before.document() != loaded.document() {
                return Err(PublishError::SameNumber { scope, number: offered });
            }
        }
        next.snapshots.insert(scope, loaded.clone());
    }
    if let Some(access) = &change.access {
        next.access = Arc::new(access.clone());
    }
    Ok(next)
}

fn check_hosts(set: &Running) -> Result<(), PublishError> {
    let mut owners: BTreeMap<String, &Scope> = BTreeMap::new();
    for (scope, loaded) in &set.snapshots {
        for host in &loaded.snapshot().edge().hosts {
            let host = edge_http::host::normal(host).into_owned();
            if let Some(owner) = owners.insert(host.clone(), scope)
                && owner != scope
            {
                return Err(PublishError::HostTaken { host, scope: scope.clone(), owner: owner.clone() });
            }
        }
    }
    Ok(())
}

/// The health of a release of a snapshot, kept over publications.
pub fn release_health(registry: &HealthRegistry, snapshot: &Snapshot, release: ReleaseIndex) -> Arc<ReleaseHealth> {
    let traffic = snapshot.traffic();
    let candidate = traffic.release(traffic.active().other());
    let is_candidate = candidate == Some(release) && traffic.release(traffic.active()) != Some(release);
    let settings = &snapshot.edge().breaker;
    let policy = Policy {
        consecutive_failures: settings.consecutive_failures.unwrap_or(breaker::DEFAULT_CONSECUTIVE_FAILURES),
        open_ms: settings.open_ms.unwrap_or(breaker::DEFAULT_OPEN_MS),
    };
    let release = snapshot.release(release);
    registry.release(&ReleaseShape {
        key: ReleaseKey { scope: scope_of(snapshot), release: release.id.as_str().into() },
        urls: release.upstreams.iter().map(|upstream| upstream.url.as_str()).collect(),
        breaker: is_candidate.then_some(policy),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use edge_engine::BucketingKey;

    use super::*;
    use crate::host::Engine;

    /// Counts what it is given; refuses or panics on request.
    #[derive(Debug, Default)]
    struct Fake {
        installed: Mutex<Vec<Vec<u64>>>,
        refuses: AtomicBool,
        panics: AtomicBool,
        is_gone: AtomicBool,
        prepared: AtomicUsize,
    }

    impl Worker for Arc<Fake> {
        type State = Vec<u64>;

        fn prepare(
            &self,
            set: &[LoadedSnapshot],
            _: &Access,
        ) -> Result<Vec<u64>, Box<dyn std::error::Error + Send + Sync>> {
            self.prepared.fetch_add(1, Ordering::Relaxed);
            assert!(!self.panics.load(Ordering::Relaxed), "as the test asked");
            if self.refuses.load(Ordering::Relaxed) {
                return Err("as the test asked".into());
            }
            Ok(set.iter().map(|loaded| loaded.snapshot().number()).collect())
        }

        fn install(&self, state: Vec<u64>) -> oneshot::Receiver<Swapped> {
            let (sender, receiver) = oneshot::channel();
            if !self.is_gone.load(Ordering::Relaxed) {
                self.installed.lock().expect("no panic here").push(state);
                let swap = Swapped { at: Instant::now(), stall: Duration::ZERO };
                sender.send(swap).expect("the publisher waits");
            }
            receiver
        }
    }

    fn snapshot(app: &str, number: u64, hosts: &[&str]) -> LoadedSnapshot {
        let document = serde_json::json!({
            "format": "v1", "app": app, "environment": "production", "number": number,
            "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k1",
            "traffic": {"active": "blue", "slots": {"blue": "r1"}, "salt": "s"},
            "releases": {"r1": {"version": "1", "upstreams": [{"url": "http://127.0.0.1:7001"}]}},
            "edge": {"hosts": hosts},
        });
        LoadedSnapshot::load(document.to_string().as_bytes(), &BucketingKey::new([1; 16]), &Engine::native())
            .expect("fits")
    }

    struct Setup {
        workers: [Arc<Fake>; 2],
        board: Arc<Board>,
        publisher: Publisher<Arc<Fake>>,
    }

    fn setup() -> Setup {
        let workers: [Arc<Fake>; 2] = Default::default();
        let board = Arc::new(Board::default());
        let publisher = Publisher::new(workers.to_vec(), Arc::clone(&board), None);
        Setup { workers, board, publisher }
    }

    impl Setup {
        fn publish(&self, app: &str, number: u64, hosts: &[&str]) -> Result<Acks, PublishError> {
            self.publisher.publish(Change::one(snapshot(app, number, hosts), Origin::Direct))
        }

        fn installed(&self) -> Vec<Vec<u64>> {
            let of = |fake: &Fake| fake.installed.lock().expect("no panic").clone();
            assert_eq!(of(&self.workers[0]), of(&self.workers[1]), "workers get the same");
            of(&self.workers[0])
        }
    }

    #[test]
    fn every_worker_gets_the_whole_set_and_acknowledges() {
        let setup = setup();
        assert_eq!(setup.publish("web", 3, &["web.example"]).expect("taken").workers.len(), 2);
        setup.publish("api", 8, &["api.example"]).expect("taken");
        setup.publish("web", 4, &["web.example"]).expect("taken");
        assert_eq!(setup.installed(), [vec![3], vec![8, 3], vec![8, 4]]);
        assert_eq!(setup.board.number(&Scope::new("web", "production")), Some(4));
    }

    #[test]
    fn an_older_number_touches_no_worker() {
        let setup = setup();
        setup.publish("web", 3, &[]).expect("taken");
        let error = setup.publish("web", 2, &[]).expect_err("older");
        assert!(matches!(error, PublishError::Older { running: 3, offered: 2, .. }), "{error}");
        assert_eq!(setup.installed(), [[3]]);
    }

    #[test]
    fn the_same_number_is_taken_only_with_the_same_content() {
        let setup = setup();
        setup.publish("web", 3, &["a.example"]).expect("taken");
        setup.publish("web", 3, &["a.example"]).expect("the same again");
        let error = setup.publish("web", 3, &["b.example"]).expect_err("another content");
        assert!(matches!(error, PublishError::SameNumber { number: 3, .. }), "{error}");
    }

    #[test]
    fn two_environments_cannot_have_the_same_host() {
        let setup = setup();
        setup.publish("web", 1, &["shop.example"]).expect("taken");
        let error = setup.publish("api", 1, &["shop.example"]).expect_err("taken by web");
        assert_eq!(error.to_string(), "the host shop.example of web/production belongs to api/production");
        assert_eq!(setup.installed(), [[1]]);
    }

    #[test]
    fn a_withdrawn_environment_leaves_the_set_and_may_begin_anew() {
        let setup = setup();
        setup.publish("web", 5, &[]).expect("taken");
        setup.publish("api", 1, &[]).expect("taken");
        let web = Scope::new("web", "production");
        setup.publisher.publish(Change { withdraw: vec![web.clone()], ..Change::default() }).expect("withdrawn");
        assert_eq!(setup.installed().last(), Some(&vec![1]));
        assert_eq!(setup.board.number(&web), None);
    }

    #[test]
    fn a_state_that_cannot_be_prepared_for_one_worker_reaches_none() {
        let setup = setup();
        setup.publish("web", 1, &[]).expect("taken");
        setup.workers[1].refuses.store(true, Ordering::Relaxed);
        assert!(matches!(setup.publish("web", 2, &[]), Err(PublishError::Prepare(_))));
        setup.workers[1].refuses.store(false, Ordering::Relaxed);
        setup.workers[1].panics.store(true, Ordering::Relaxed);
        assert!(matches!(setup.publish("web", 2, &[]), Err(PublishError::Panicked)));
        setup.workers[1].panics.store(false, Ordering::Relaxed);
        assert_eq!(setup.installed(), [[1]]);
        setup.publish("web", 2, &[]).expect("nothing is stuck");
    }

    #[test]
    fn a_worker_that_is_gone_is_reported_and_the_others_run_it() {
        let setup = setup();
        setup.workers[0].is_gone.store(true, Ordering::Relaxed);
        let error = setup.publish("web", 1, &[]).expect_err("one is gone");
        assert!(matches!(error, PublishError::Unacknowledged { missing: 1, of: 2 }), "{error}");
        assert_eq!(*setup.workers[1].installed.lock().expect("no panic"), [[1]]);
    }

    #[test]
    fn what_runs_is_on_disk_and_what_was_withdrawn_is_not() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let dir = Arc::new(StateDir::open(folder.path()).expect("opened"));
        let publisher =
            Publisher::new(vec![Arc::new(Fake::default())], Arc::new(Board::default()), Some(Arc::clone(&dir)));
        let loaded = snapshot("web", 7, &[]);
        publisher.publish(Change::one(loaded.clone(), Origin::Direct)).expect("taken");
        let scope = Scope::new("web", "production");
        assert_eq!(dir.load(&scope).expect("saved").bytes, loaded.document());
        publisher.publish(Change { withdraw: vec![scope.clone()], ..Change::default() }).expect("withdrawn");
        assert_eq!(dir.load(&scope), None);
    }

    #[test]
    fn a_snapshot_runs_even_when_it_cannot_be_saved() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let root = folder.path().join("state");
        let dir = Arc::new(StateDir::open(&root).expect("opened"));
        std::fs::remove_dir_all(&root).expect("removable");
        let board = Arc::new(Board::default());
        let publisher = Publisher::new(vec![Arc::new(Fake::default())], Arc::clone(&board), Some(dir));
        publisher.publish(Change::one(snapshot("web", 1, &[]), Origin::Direct)).expect("it runs");
        let report = board.report();
        assert_eq!((report.failed_saves, report.save_failure.is_some()), (1, true));
    }

    #[test]
    fn only_the_candidate_has_an_armed_breaker() {
        let document = serde_json::json!({
            "format": "v1", "app": "web", "environment": "production", "number": 1,
            "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k1", "unit": ["cookie:uid"],
            "traffic": {"active": "blue", "slots": {"blue": "a", "green": "b"}, "candidateWeight": 10, "salt": "s"},
            "releases": {"a": {"version": "1", "upstreams": [{"url": "http://127.0.0.1:1"}]},
                         "b": {"version": "2", "upstreams": [{"url": "http://127.0.0.1:2"}]}},
            "edge": {"breaker": {"consecutiveFailures": 2}},
        });
        let key = BucketingKey::new([1; 16]);
        let loaded = LoadedSnapshot::load(document.to_string().as_bytes(), &key, &Engine::native()).expect("fits");
        let registry = HealthRegistry::default();
        let opens = [0, 1].map(|index| {
            let health = release_health(&registry, loaded.snapshot(), ReleaseIndex(index));
            (0..2).for_each(|_| health.record_failure(0, super::super::health::FailureKind::Connect));
            health.breaker_open()
        });
        assert_eq!(opens, [false, true]);
    }
}
