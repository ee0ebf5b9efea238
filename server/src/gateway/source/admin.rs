//! Following a control plane: its snapshots run here, and it hears what runs and what was counted.
//!
//! It owns two threads. One has a small runtime: it keeps the stream open, acknowledges, and reports. The other prepares
//! and publishes, which may block. Invariant: whatever the control plane answers, or does not, the last good snapshots go
//! on, from memory and after a restart from disk; only a signed snapshot replaces one, and only a higher number.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use admin_api::edge::{EdgeKind, Hello};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::SharedEngine;
use crate::config::follow::Follow;
use crate::gateway::board::{Board, ControlPlane};
use crate::gateway::health::HealthRegistry;
use crate::gateway::metrics::Metrics;
use crate::gateway::publish::{Publisher, Worker};
use crate::state_dir::StateDir;
use acks::{Outbox, Teller};
use apply::Applier;
use backoff::Backoff;
use condition::Conditions;
use inbox::Inbox;
use keeper::Keeper;
use keys::Keyring;
use ledger::Ledger;
use plane::Plane;
use reports::Reporter;
use stream::Follower;

mod acks;
mod apply;
pub mod backoff;
mod caught;
mod condition;
mod identity;
mod inbox;
mod keeper;
mod keys;
mod ledger;
mod plane;
mod reports;
mod restore;
mod sse;
mod stream;
mod verify;

/// How long the last report, and the goodbye, may take each.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two reports, until the control plane says otherwise.
const REPORT_EVERY: Duration = Duration::from_secs(2);

/// What following needs beside what every source needs.
#[derive(Clone)]
pub struct Following {
    /// Whom, and by what it is known.
    pub follow: Follow,
    /// The region that this edge serves.
    pub region: Option<String>,
    /// TLS towards an `https` control plane.
    pub tls: Arc<rustls::ClientConfig>,
}

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Following").field("follow", &self.follow).field("region", &self.region).finish_non_exhaustive()
    }
}

/// Where things go.
pub struct Parts<W> {
    /// Whom to follow.
    pub following: Following,
    /// What decides.
    pub engine: SharedEngine,
    /// Where good snapshots go.
    pub publisher: Arc<Publisher<W>>,
    /// Where what goes on is noted.
    pub board: Arc<Board>,
    /// What the workers count.
    pub metrics: Arc<Metrics>,
    /// How releases are.
    pub health: Arc<HealthRegistry>,
    /// Where the last good snapshots are kept.
    pub state_dir: Option<Arc<StateDir>>,
}

impl<W> std::fmt::Debug for Parts<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("following", &self.following).finish_non_exhaustive()
    }
}

/// The stream that is open now.
#[derive(Debug, Clone)]
struct Link {
    /// Its name at the control plane; `None` while there is none.
    connection: Option<Arc<str>>,
    report_every: Duration,
}

/// The running threads. Dropping it says goodbye, and waits for their end.
#[derive(Debug)]
pub struct FollowThread {
    stop: CancellationToken,
    inbox: Arc<Inbox>,
    link: Option<JoinHandle<()>>,
    applier: Option<JoinHandle<()>>,
}

impl Drop for FollowThread {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.link.take() {
            // A panic in it was reported where it happened.
            let _ = thread.join();
        }
        self.inbox.close();
        if let Some(thread) = self.applier.take() {
            let _ = thread.join();
        }
    }
}

impl<W: Worker + 'static> Parts<W> {
    /// Serves what the state directory has, and follows from then on. Does not wait for the control plane.
    pub fn start(self) -> io::Result<FollowThread> {
        let Self { following, engine, publisher, board, metrics, health, state_dir } = self;
        let Following { follow, region, tls } = following;
        let plane = Arc::new(Plane::new(&follow, &tls).map_err(io::Error::other)?);
        let edge = identity::edge_id(follow.edge_id.as_deref(), state_dir.as_deref());
        let boot = identity::unique();
        board.follows(ControlPlane::new(follow.url.to_string()));
        let keyring = Arc::new(Keyring::new(&follow.public_keys, state_dir.clone()));
        if let Some(dir) = &state_dir {
            let engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
            // A panic is a bug, but no reason to serve nothing later on.
            let restored =
                catch_unwind(AssertUnwindSafe(|| restore::restore(dir, &keyring, &engine, &publisher, &board)));
            if restored.is_err() {
                tracing::error!("the state directory was not restored: this is a bug in bascule");
            }
            drop(engine);
            if let Some(access) = keeper::access(dir)
                && let Err(error) = publisher.set_access(access)
            {
                tracing::error!(
                    reason = crate::telemetry::chain(&error),
                    "the OFREP tokens of the state directory do not count"
                );
            }
        }
        let engine_of = Arc::clone(&engine);
        let hello = Hello {
            edge: edge.clone(),
            boot: boot.clone(),
            kind: EdgeKind::Gateway,
            region,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            engine: engine.lock().unwrap_or_else(PoisonError::into_inner).name().to_owned(),
        };
        tracing::info!(admin = %follow.url, edge, "following a control plane");
        let keeper = Keeper::start(state_dir, Arc::clone(&board))?;
        let outbox = Outbox::new(Arc::clone(&board));
        let (link, links) = watch::channel(Link { connection: None, report_every: REPORT_EVERY });
        let inbox = Arc::new(Inbox::default());
        let applier = Applier::new(publisher, Arc::clone(&board), engine, keeper, outbox.clone());
        let follower = Follower {
            plane: Arc::clone(&plane),
            hello,
            engine: engine_of,
            keyring,
            inbox: Arc::clone(&inbox),
            outbox: outbox.clone(),
            board: Arc::clone(&board),
            link,
            backoff: Backoff::default(),
            last_id: None,
        };
        let teller = Teller::new(edge.clone(), outbox, links.clone(), Arc::clone(&plane));
        let reporter = Reporter::new(Ledger::new(edge, boot), metrics, Conditions::new(health), board, links, plane);
        threads(follower, teller, reporter, applier, inbox)
    }
}

fn threads<W: Worker + 'static>(
    follower: Follower,
    teller: Teller,
    reporter: Reporter,
    applier: Applier<W>,
    inbox: Arc<Inbox>,
) -> io::Result<FollowThread> {
    let stop = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let from = Arc::clone(&inbox);
    let applying = std::thread::Builder::new().name("apply".to_owned()).spawn(move || applier.run(&from))?;
    let mut running = FollowThread { stop: stop.clone(), inbox, link: None, applier: Some(applying) };
    let work = move || runtime.block_on(follow(follower, teller, reporter, stop));
    running.link = Some(std::thread::Builder::new().name("follow".to_owned()).spawn(work)?);
    Ok(running)
}

/// Follows, tells and reports until `stop`; then the last report and the goodbye, while the stream is still open.
async fn follow(follower: Follower, teller: Teller, reporter: Reporter, stop: CancellationToken) {
    let leave = CancellationToken::new();
    let ending = async {
        let reporting = async {
            reporter.run(stop).await;
            leave.cancel();
        };
        tokio::join!(reporting, teller.run(leave.clone()));
    };
    tokio::select! {
        () = follower.run() => {}
        () = ending => {}
    }
}
