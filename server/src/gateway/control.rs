//! Puts the control side of a gateway together: publisher, sources, active checks and the ops listener.
//!
//! It owns the thread on which the ops listener and the checks run, and ends all of it in order:
//! sources first, so that nothing new is published during the end. The data path's workers are given to
//! it and outlive it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use edge_engine::wire::UpstreamProtocol;
use edge_engine::{ReleaseIndex, Slot};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::board::Board;
use super::health::HealthRegistry;
use super::health::probe::{self, Check, Prober, Target, UpstreamKey};
use super::metrics::Metrics;
use super::metrics::expose::{self, Observed};
use super::ops::report::{Report, Sources as HealthSources};
use super::ops::{Observe, Ops};
use super::publish::{Publisher, Worker, release_health};
use super::source::admin::{self, FollowThread, Following};
use super::source::{SourceThread, Sources};
use crate::config::secret::KeySource;
use crate::host::{Engine, LoadedSnapshot};
use crate::state_dir::StateDir;

/// What the control side needs.
pub struct Parts {
    /// The ops listener, bound and non-blocking.
    pub ops: std::net::TcpListener,
    /// Files and folders to serve from; none when the caller publishes.
    pub files: Vec<PathBuf>,
    /// The control plane to follow instead.
    pub follow: Option<Following>,
    /// A module file to watch.
    pub module: Option<PathBuf>,
    /// What decides at first.
    pub engine: Engine,
    /// Whether a module is compared with the native engine.
    pub shadow: bool,
    /// The bucketing keys.
    pub keys: KeySource,
    /// Where the last good snapshots are kept.
    pub state_dir: Option<Arc<StateDir>>,
    /// What the workers count.
    pub metrics: Arc<Metrics>,
    /// What is known about upstreams.
    pub health: Arc<HealthRegistry>,
    /// TLS towards `https` upstreams.
    pub tls: Arc<rustls::ClientConfig>,
    /// Set when the process drains.
    pub draining: CancellationToken,
    /// How many lines the access log lost.
    pub access_log_dropped: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("files", &self.files).field("module", &self.module).finish_non_exhaustive()
    }
}

/// The running control side. Dropping it stops it and waits for its end.
#[derive(Debug)]
pub struct Control<W: Worker + 'static> {
    following: Option<FollowThread>,
    sources: Option<SourceThread>,
    publisher: Arc<Publisher<W>>,
    board: Arc<Board>,
    ops: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl<W: Worker + 'static> Drop for Control<W> {
    fn drop(&mut self) {
        // Says goodbye, while the numbers that it reports are still read.
        self.following.take();
        self.sources.take();
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic in it was reported where it happened.
            let _ = thread.join();
        }
    }
}

struct Observer {
    sources: HealthSources,
    observed: Arc<Observed>,
    draining: CancellationToken,
}

impl Observe for Observer {
    fn health(&self) -> Report {
        self.sources.report(self.draining.is_cancelled())
    }

    fn metrics(&self) -> String {
        expose::render(Arc::clone(&self.observed))
    }
}

impl<W: Worker + 'static> Control<W> {
    /// Starts everything; when this returns, the snapshots that are there run.
    pub fn start(parts: Parts, workers: Vec<W>) -> std::io::Result<Self> {
        let board = Arc::new(Board::default());
        let (targets, wanted) = watch::channel(Vec::new());
        let health = Arc::clone(&parts.health);
        // What a control plane sends is saved with its signature, by whoever follows.
        let saves = parts.state_dir.clone().filter(|_| parts.follow.is_none());
        let publisher = Publisher::new(workers, Arc::clone(&board), saves);
        let publisher = Arc::new(publisher.after_change(Box::new(move |running| {
            // Nobody checks any more when the thread has ended.
            let _ = targets.send(checks(running, &health));
        })));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ops = {
            let _in_runtime = runtime.enter();
            Ops::from_std(parts.ops)?
        };
        let address = ops.address()?;
        let (first, of) = (parts.engine.name().to_owned(), Arc::clone(&publisher));
        let observed = Observed {
            metrics: Arc::clone(&parts.metrics),
            board: Arc::clone(&board),
            health: Arc::clone(&parts.health),
            engine: Box::new(move || {
                of.running().first().map_or(first.clone(), |loaded| loaded.engine().name().to_owned())
            }),
            access_log_dropped: parts.access_log_dropped,
        };
        let sources = HealthSources {
            board: Arc::clone(&board),
            health: Arc::clone(&parts.health),
            state_dir: parts.state_dir.clone(),
        };
        let answers = Arc::new(Observer { sources, observed: Arc::new(observed), draining: parts.draining });
        let stop = CancellationToken::new();
        let (stopped, tls) = (stop.clone(), parts.tls);
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            runtime.block_on(run(ops, answers, wanted, tls, stopped));
        })?;
        let engine = Arc::new(Mutex::new(parts.engine));
        let sources = Sources {
            files: parts.files,
            module: parts.module,
            engine: Arc::clone(&engine),
            shadow: parts.shadow,
            keys: parts.keys,
            publisher: Arc::clone(&publisher),
            board: Arc::clone(&board),
            state_dir: parts.state_dir.clone(),
        };
        let (publisher_of, board_of) = (Arc::clone(&publisher), Arc::clone(&board));
        let mut control =
            Self { following: None, sources: None, publisher, board, ops: address, stop, thread: Some(thread) };
        control.sources = Some(sources.start()?);
        if let Some(following) = parts.follow {
            let (metrics, health, state_dir) = (parts.metrics, parts.health, parts.state_dir);
            let parts = admin::Parts {
                following,
                engine,
                publisher: publisher_of,
                board: board_of,
                metrics,
                health,
                state_dir,
            };
            control.following = Some(parts.start()?);
        }
        Ok(control)
    }

    /// Where snapshots can be published from within the process.
    pub fn publisher(&self) -> &Arc<Publisher<W>> {
        &self.publisher
    }

    /// What runs and what was refused.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Where the ops listener is.
    pub fn ops_address(&self) -> SocketAddr {
        self.ops
    }
}

/// What the control thread does until it is stopped.
async fn run(
    ops: Ops,
    observe: Arc<dyn Observe>,
    mut wanted: watch::Receiver<Vec<Target>>,
    tls: Arc<rustls::ClientConfig>,
    stop: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let mut prober = Prober::new(tls, tasks.clone());
    let checking = async {
        while wanted.changed().await.is_ok() {
            let targets = wanted.borrow_and_update().clone();
            prober.follow(targets);
        }
    };
    let serving = ops.run(observe, stop.clone());
    tokio::join!(stop.run_until_cancelled(checking), serving);
    drop(prober);
    tasks.close();
    tasks.wait().await;
}

/// What is to be checked: every upstream of a release that a slot holds, where the environment says how.
fn checks(running: &[LoadedSnapshot], health: &HealthRegistry) -> Vec<Target> {
    running.iter().flat_map(|loaded| checks_of(loaded, health)).collect()
}

fn checks_of(loaded: &LoadedSnapshot, health: &HealthRegistry) -> Vec<Target> {
    let snapshot = loaded.snapshot();
    let Some(settings) = &snapshot.edge().health else { return Vec::new() };
    let millis = |ms: Option<u32>, default| ms.map_or(default, |ms| Duration::from_millis(ms.into()));
    let check = Check {
        path: settings.path.as_str().into(),
        interval: millis(settings.interval_ms, probe::DEFAULT_INTERVAL),
        timeout: millis(settings.timeout_ms, probe::DEFAULT_TIMEOUT),
        unhealthy_after: settings.unhealthy_after.unwrap_or(probe::DEFAULT_UNHEALTHY_AFTER),
        healthy_after: settings.healthy_after.unwrap_or(probe::DEFAULT_HEALTHY_AFTER),
    };
    let mut releases: Vec<ReleaseIndex> =
        [Slot::Blue, Slot::Green].into_iter().filter_map(|slot| snapshot.traffic().release(slot)).collect();
    releases.dedup();
    let targets = releases.into_iter().flat_map(|index| {
        let release = release_health(health, snapshot, index);
        let protocols = snapshot.release(index).upstreams.iter().map(|upstream| upstream.protocol);
        let targets = release.upstreams().zip(protocols).map(|((url, record), protocol)| Target {
            key: UpstreamKey { release: release.key().clone(), url: Arc::clone(url) },
            http2: protocol == UpstreamProtocol::Http2,
            check: check.clone(),
            record: Arc::clone(record),
        });
        targets.collect::<Vec<_>>()
    });
    targets.collect()
}
