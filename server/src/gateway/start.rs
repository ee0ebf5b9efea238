//! A whole gateway from a configuration: data plane, control side, and the way from start to drain.
//!
//! It owns the order. Starting: what can be refused is refused before anything is bound; then workers,
//! then the control side, whose return means that the snapshots that are there run. Stopping: the data
//! plane drains while the control side still publishes, so that a rollback reaches what is draining;
//! then sources, ops listener and access log end.

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use admin_api::edge::Access;
use edge_engine::{ReleaseIndex, Snapshot};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;

use super::access_log::{AccessLog, JsonLines, Writer};
use super::board::Board;
use super::control::{Control, Parts};
use super::health::{HealthRegistry, ReleaseHealth};
use super::limits::DataConfig;
use super::mailbox::{Swapped, WorkerHandle};
use super::metrics::Metrics;
use super::plane::{DataPlane, Start};
use super::publish::{Publisher, Worker, release_health};
use super::source::admin::Following;
use super::state::{EnvironmentState, HealthSource, Preparation, WorkerState};
use super::tls::{self, TlsError};
use crate::config::Config;
use crate::host::{Engine, LoadedSnapshot, Module, ModuleError};
use crate::lifecycle::{Lifecycle, Stopped};
use crate::state_dir::{StateDir, StateError};

/// Connections that wait to be accepted by the ops listener.
const OPS_BACKLOG: i32 = 128;

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificates or keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The edge module.
    #[error("the edge module cannot be used")]
    Module(#[from] ModuleError),
    /// The state directory.
    #[error(transparent)]
    StateDir(#[from] StateError),
    /// The access log.
    #[error("the access log cannot be opened")]
    AccessLog(#[source] std::io::Error),
    /// A listener.
    #[error("cannot listen on {address} for {what}")]
    Listen {
        /// `clients` or `ops`.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Threads, runtimes, signal handlers.
    #[error("the system refused a thread, a runtime or a signal handler")]
    System(#[from] std::io::Error),
}

impl HealthSource for HealthRegistry {
    fn health(&self, snapshot: &Snapshot, release: ReleaseIndex) -> Arc<ReleaseHealth> {
        release_health(self, snapshot, release)
    }
}

/// A worker of the data plane, as the publisher sees it.
#[derive(Debug)]
pub struct DataWorker {
    handle: WorkerHandle,
    config: Arc<DataConfig>,
    tls: Arc<rustls::ClientConfig>,
    health: Arc<HealthRegistry>,
    metrics: Arc<Metrics>,
}

impl Worker for DataWorker {
    type State = Box<WorkerState>;

    fn prepare(
        &self,
        snapshots: &[LoadedSnapshot],
        access: &Access,
    ) -> Result<Self::State, Box<dyn Error + Send + Sync>> {
        let with = Preparation {
            config: &self.config,
            tls: &self.tls,
            health: &*self.health,
            shard: self.handle.shard(),
            observations: self.metrics.observations(),
        };
        let environments = snapshots.iter().map(|loaded| EnvironmentState::prepare(loaded, &with));
        Ok(Box::new(WorkerState::new(environments.collect::<Result<_, _>>()?, access)))
    }

    fn install(&self, state: Self::State) -> oneshot::Receiver<Swapped> {
        self.handle.install(state)
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    // Dropped in this order: first the workers are told to drain, last the log is written out.
    plane: DataPlane,
    control: Control<DataWorker>,
    metrics: Arc<Metrics>,
    log: Option<Writer>,
}

impl Gateway {
    /// Starts everything. The files that are there, or what is kept of a control plane, are served when this
    /// returns; what is wrong with them is in the log and in health. Blocks; not for an async context.
    pub fn start(config: &Config, life: &Lifecycle) -> Result<Self, StartError> {
        let server_tls = config.tls.as_ref().map(|files| tls::server(&files.cert, &files.key)).transpose()?;
        let client_tls = tls::client(config.upstream_ca.as_deref())?;
        let engine = engine(config)?;
        let state_dir = config.state_dir.as_ref().map(StateDir::open).transpose()?.map(Arc::new);
        let (log, writer) = access_log(config)?;
        let ops =
            listen(config.ops).map_err(|source| StartError::Listen { what: "ops", address: config.ops, source })?;
        let metrics = Arc::new(Metrics::default());
        let health = Arc::new(HealthRegistry::default());
        let start = Start {
            address: config.listen,
            shards: (0..config.workers).map(|_| metrics.shard()).collect(),
            config: config.data.clone(),
            tls: server_tls,
            access_log: log.clone().map(|log| Arc::new(log) as Arc<dyn AccessLog>),
        };
        let plane = DataPlane::start(start).map_err(|source| StartError::Listen {
            what: "clients",
            address: config.listen,
            source,
        })?;
        let data = Arc::new(config.data.clone());
        let worker = |handle: &WorkerHandle| DataWorker {
            metrics: Arc::clone(&metrics),
            handle: handle.clone(),
            config: Arc::clone(&data),
            tls: Arc::clone(&client_tls),
            health: Arc::clone(&health),
        };
        let workers = plane.workers().iter().map(worker).collect();
        let parts = Parts {
            ops,
            files: config.files.clone(),
            follow: following(config)?,
            module: config.engine.module.clone().filter(|_| !config.engine.native),
            engine,
            shadow: config.engine.shadow,
            keys: config.keys.clone(),
            state_dir,
            metrics: Arc::clone(&metrics),
            health: Arc::clone(&health),
            tls: Arc::clone(&client_tls),
            draining: life.soft().clone(),
            access_log_dropped: Box::new(move || log.as_ref().map_or(0, JsonLines::dropped)),
        };
        let control = Control::start(parts, workers)?;
        tracing::info!(
            listen = %plane.address(), ops = %control.ops_address(), workers = config.workers,
            tls = config.tls.is_some(), "the gateway is up"
        );
        Ok(Self { plane, control, metrics, log: writer })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.plane.address()
    }

    /// Where health and metrics are.
    pub fn ops_address(&self) -> SocketAddr {
        self.control.ops_address()
    }

    /// Where snapshots can be published from within the process.
    pub fn publisher(&self) -> &Arc<Publisher<DataWorker>> {
        self.control.publisher()
    }

    /// What runs and what was refused.
    pub fn board(&self) -> &Arc<Board> {
        self.control.board()
    }

    /// What the workers count.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Takes no new connections, finishes what is in flight or drops it after the grace, and ends. Blocks.
    pub fn stop(self) {
        let Self { plane, control, log, .. } = self;
        plane.drain();
        plane.join();
        drop(control);
        drop(log);
    }
}

/// Runs a gateway until the process is told to stop: what `bascule gateway` does.
pub fn run(config: &Config) -> Result<Stopped, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let life = Lifecycle::new();
    let signals = {
        let _in_runtime = runtime.enter();
        life.follow_signals()?
    };
    config.report();
    let gateway = Gateway::start(config, &life)?;
    let stopped = runtime.block_on(async {
        let signals = tokio::spawn(signals);
        life.soft().cancelled().await;
        let drained = tokio::task::spawn_blocking(move || gateway.stop());
        // The workers keep the grace themselves; what is added is for joining them.
        let grace = config.data.drain.grace.saturating_add(JOIN_GRACE);
        let stopped = life.finish(grace, async { drop(drained.await) }).await;
        signals.abort();
        stopped
    });
    // What a second signal or the end of the grace cut off ends with the process.
    runtime.shutdown_background();
    Ok(stopped)
}

/// How long the end may take beyond the grace of the requests.
const JOIN_GRACE: std::time::Duration = std::time::Duration::from_secs(5);

fn engine(config: &Config) -> Result<Engine, ModuleError> {
    let settings = &config.engine;
    if settings.native {
        return Ok(Engine::native());
    }
    let module = match &settings.module {
        Some(path) => Module::from_file(path)?,
        None => Module::embedded()?,
    };
    Ok(Engine::wasm(module).with_shadow(settings.shadow))
}

fn following(config: &Config) -> Result<Option<Following>, TlsError> {
    let Some(follow) = config.follow.clone() else { return Ok(None) };
    let tls = tls::client(follow.ca.as_deref())?;
    Ok(Some(Following { follow, region: config.data.region.clone(), tls }))
}

fn access_log(config: &Config) -> Result<(Option<JsonLines>, Option<Writer>), StartError> {
    let Some(to) = &config.access_log else { return Ok((None, None)) };
    let started = JsonLines::start(to, &config.telemetry.environment).map_err(StartError::AccessLog)?;
    Ok((Some(started.0), Some(started.1)))
}

/// Like the clients' listeners, this one is shared with the process that is being replaced.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(OPS_BACKLOG)?;
    Ok(socket.into())
}
