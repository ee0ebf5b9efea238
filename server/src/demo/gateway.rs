//! The gateway of the demo: the ordinary one, started in this process and fed by the walk.

use std::{collections::BTreeMap, net::SocketAddr};

use super::ports;
use crate::{
    config::{Config, layers::Layers},
    gateway::{board::Origin, publish::Change, start::Gateway},
    host::LoadedSnapshot,
    lifecycle::Lifecycle,
};

/// A running gateway.
pub(super) struct Stage {
    gateway: Gateway,
}

impl Stage {
    pub(super) fn start(native: bool) -> anyhow::Result<Self> {
        // The gateway would share a port with another process, as a successor does; so the ports are
        // tried here, and given back for the gateway to take.
        let free = |preferred| -> anyhow::Result<String> { Ok(ports::listen(preferred)?.local_addr()?.to_string()) };
        let engine = if native { "native" } else { "wasm" };
        let flags = [("listen", free(8080)?), ("ops", free(9090)?), ("engine", engine.to_owned())];
        let flags: BTreeMap<String, Vec<String>> =
            flags.into_iter().map(|(flag, value)| (flag.to_owned(), vec![value])).collect();
        // Whatever is set for a real gateway in this environment is not meant for the demo.
        let config = Config::read(&Layers { flags, ..Layers::default() })?;
        Ok(Self { gateway: Gateway::start(&config, &Lifecycle::new())? })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    pub(super) fn ops_address(&self) -> SocketAddr {
        self.gateway.ops_address()
    }

    /// Returns when every worker decides by the snapshot.
    pub(super) fn publish(&self, snapshot: LoadedSnapshot) -> anyhow::Result<()> {
        self.gateway.publisher().publish(Change::one(snapshot, Origin::Direct))?;
        Ok(())
    }
}
