//! The data plane: worker threads on one port, from start to drain.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::{io, thread};

use rustls::ServerConfig;

use super::access_log::AccessLog;
use super::limits::DataConfig;
use super::listener::{self, Caps, Listener};
use super::mailbox::{Mailbox, WorkerHandle};
use super::metrics::Shard;
use super::state::WorkerState;
use super::worker::{Parts, Worker};
use crate::process::lower_priority_of_thread;

/// Old states that wait to be dropped. A worker that finds the reaper this far behind drops its own.
const REAPER_BACKLOG: usize = 64;

/// What a data plane is started with.
pub struct Start {
    /// Where to listen; port 0 lets the system choose.
    pub address: SocketAddr,
    /// One shard of counters for each worker, which also says how many workers there are.
    pub shards: Vec<Arc<Shard>>,
    /// Limits and defaults.
    pub config: DataConfig,
    /// TLS towards clients.
    pub tls: Option<Arc<ServerConfig>>,
    /// Where requests are logged.
    pub access_log: Option<Arc<dyn AccessLog>>,
}

/// Running workers. Dropping it drains them without waiting.
#[derive(Debug)]
pub struct DataPlane {
    address: SocketAddr,
    workers: Vec<WorkerHandle>,
    threads: Vec<JoinHandle<()>>,
}

impl DataPlane {
    /// Binds the port and starts the workers, which listen when their first state is installed.
    pub fn start(start: Start) -> io::Result<Self> {
        let (address, listeners) = listener::bind(start.address, start.shards.len().max(1))?;
        let config = Arc::new(start.config);
        let caps = Arc::new(Caps::default());
        let (reaper, states) = mpsc::sync_channel::<Box<WorkerState>>(REAPER_BACKLOG);
        let mut threads = vec![spawn("reaper", move || reap(states))?];
        let mut workers = Vec::new();
        for (index, (shard, listener)) in start.shards.into_iter().zip(listeners).enumerate() {
            let mailbox = Arc::new(Mailbox::default());
            workers.push(WorkerHandle { mailbox: Arc::clone(&mailbox), shard: Arc::clone(&shard) });
            let parts = Parts {
                config: Arc::clone(&config),
                tls: start.tls.clone().map(Into::into),
                shard,
                caps: Arc::clone(&caps),
                access_log: start.access_log.clone(),
                reaper: reaper.clone(),
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            threads.push(spawn(&format!("worker-{index}"), move || work(&runtime, parts, listener, &mailbox))?);
        }
        Ok(Self { address, workers, threads })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The workers.
    pub fn workers(&self) -> &[WorkerHandle] {
        &self.workers
    }

    /// Tells the workers to drain: to take no new connections and to finish what is in flight.
    pub fn drain(&self) {
        for worker in &self.workers {
            worker.drain();
        }
    }

    /// Waits for the workers to end, which they do after [`Self::drain`]. Blocks.
    pub fn join(mut self) {
        for thread in std::mem::take(&mut self.threads) {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.drain();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Drops old states. On a saturated machine that must not take the processor from the worker that has just
/// handed one over.
fn reap(states: mpsc::Receiver<Box<WorkerState>>) {
    lower_priority_of_thread();
    states.into_iter().for_each(drop);
}

fn work(runtime: &tokio::runtime::Runtime, parts: Parts, listener: Listener, mailbox: &Arc<Mailbox>) {
    let local = tokio::task::LocalSet::new();
    local.block_on(runtime, Worker::new(parts).run(listener, mailbox));
    mailbox.finish();
}
