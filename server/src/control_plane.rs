//! The control plane as this binary runs it: alone, or with a gateway that follows it in the same process.
//!
//! The gateway of `bascule serve` follows over loopback with a token that exists in this process only, so there is one
//! way by which snapshots reach a gateway.

use std::net::SocketAddr;
use std::time::Duration;

use admin::serve::{Admin, Settings, StartError};
use tokio::runtime::Runtime;

use crate::config::Config;
use crate::config::follow::Follow;
use crate::config::secret::Secret;
use crate::gateway::start::{self as gateway, Gateway};
use crate::lifecycle::{Lifecycle, Stopped};

/// How long the end may take beyond the grace of the requests.
const JOIN_GRACE: Duration = Duration::from_secs(15);

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control plane.
    #[error(transparent)]
    Admin(#[from] StartError),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] gateway::StartError),
    /// Threads, runtimes, signal handlers.
    #[error("the system refused a thread, a runtime or a signal handler")]
    System(#[from] std::io::Error),
}

/// A running control plane with its runtime.
#[derive(Debug)]
pub struct Running {
    runtime: Runtime,
    admin: Admin,
}

impl Running {
    /// Starts it. Blocks; not for an async context.
    pub fn start(settings: Settings) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("admin").enable_all().build()?;
        let admin = runtime.block_on(Admin::start(settings))?;
        Ok(Self { runtime, admin })
    }

    /// The control plane.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// How a gateway of this process follows it. Blocks.
    pub fn follow(&self) -> std::io::Result<Follow> {
        let admin = self.admin();
        let address =
            if admin.has_tls() { self.runtime.block_on(admin.listen_inside())? } else { reachable(admin.address()) };
        let key = admin::ids::from_hex::<32>(&admin.control().signer.public_key().key);
        Ok(Follow {
            url: address.into(),
            token: Secret::new(admin.edge_token().expose()),
            public_keys: key.into_iter().collect(),
            edge_id: None,
            ca: None,
        })
    }

    /// Ends it in order. Blocks.
    pub fn stop(self) {
        self.runtime.block_on(self.admin.stop());
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

/// An address that listens everywhere is reached on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let loopback = match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(loopback, address.port())
}

/// Runs a control plane, and a gateway that follows it if there is a configuration for one, until the process is told
/// to stop. `started` is told once everything is up.
pub fn run(settings: Settings, gateway: Option<Config>, started: impl FnOnce(&Admin)) -> Result<Stopped, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let life = Lifecycle::new();
    let signals = {
        let _in_runtime = runtime.enter();
        life.follow_signals()?
    };
    let running = Running::start(settings)?;
    let gateway = match gateway {
        Some(config) => {
            let config = Config { follow: Some(running.follow()?), ..config };
            Some((Gateway::start(&config, &life)?, config.data.drain.grace))
        }
        None => None,
    };
    started(running.admin());
    let stopped = runtime.block_on(async {
        let signals = tokio::spawn(signals);
        life.soft().cancelled().await;
        let grace = gateway.as_ref().map_or(Duration::ZERO, |(_, grace)| *grace).saturating_add(JOIN_GRACE);
        // The gateway first: a rollback reaches what is draining.
        let ended = tokio::task::spawn_blocking(move || {
            if let Some((gateway, _)) = gateway {
                gateway.stop();
            }
            running.stop();
        });
        let stopped = life.finish(grace, async { drop(ended.await) }).await;
        signals.abort();
        stopped
    });
    runtime.shutdown_background();
    Ok(stopped)
}
