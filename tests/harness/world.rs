//! A whole gateway in this process, on ports of its own, with an environment in it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use edge_engine::BucketingKey;
use serde_json::{Value, json};
use server::config::layers::Layers;
use server::config::{Config, TlsFiles};
use server::gateway::board::Origin as Source;
use server::gateway::metrics::Event;
use server::gateway::publish::Change;
use server::gateway::start::Gateway;
use server::host::{Engine, LoadedSnapshot, Module};
use server::lifecycle::Lifecycle;

use crate::client::Client;

/// The host that the environment of a world serves.
pub const HOST: &str = "shop.example";

/// A gateway and how to change what it serves.
pub struct World {
    gateway: Option<Gateway>,
    engine: Engine,
    snapshot: Value,
    number: AtomicU64,
}

/// What a world is made of.
pub struct WorldBuilder {
    config: Config,
    snapshot: Value,
    engine: Engine,
}

impl World {
    /// Blue and green at these URLs, blue active, no candidate traffic.
    pub fn of(blue: &str, green: &str) -> WorldBuilder {
        let layers = Layers::default();
        let mut config = Config::read(&layers).expect("the defaults are fine");
        config.listen = "127.0.0.1:0".parse().expect("an address");
        config.ops = "127.0.0.1:0".parse().expect("an address");
        config.workers = 2;
        let snapshot = json!({
            "format": "v1", "app": "web", "environment": "production", "number": 1,
            "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k1",
            "unit": ["header:x-user-id", "cookie:uid"],
            "traffic": {"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "salt": "s1"},
            "releases": {
                "web-1": {"version": "1", "upstreams": [{"url": blue}]},
                "web-2": {"version": "2", "upstreams": [{"url": green}]},
            },
            "edge": {"hosts": [HOST], "debug": true},
        });
        let engine = Engine::wasm(Module::embedded().expect("the embedded module is good"));
        WorldBuilder { config, snapshot, engine }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.gateway().address()
    }

    /// The gateway.
    pub fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("the world has not ended")
    }

    /// A new client connection.
    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// How often something happened, in all workers.
    pub fn count(&self, event: Event) -> u64 {
        self.gateway().metrics().get(event)
    }

    /// The snapshot as first published.
    pub fn snapshot(&self) -> Value {
        self.snapshot.clone()
    }

    /// Publishes a changed copy of the first snapshot; returns when every worker runs it.
    pub fn publish(&self, change: impl FnOnce(&mut Value)) {
        let mut snapshot = self.snapshot.clone();
        change(&mut snapshot);
        snapshot["number"] = json!(self.number.fetch_add(1, Ordering::SeqCst) + 1);
        let loaded = load(&snapshot, &self.engine);
        self.gateway().publisher().publish(Change::one(loaded, Source::Direct)).expect("every worker takes it");
    }

    /// Ends the gateway in the ordinary way: drain, then stop. Blocks until it is done.
    pub fn stop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

impl WorldBuilder {
    /// Changes the snapshot that is published first.
    #[must_use]
    pub fn snapshot(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.snapshot);
        self
    }

    /// The candidate's share, 1 000 000 = all.
    #[must_use]
    pub fn weight(self, weight: u32) -> Self {
        self.snapshot(|snapshot| snapshot["traffic"]["candidateWeight"] = json!(weight))
    }

    /// Changes the configuration.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Serves TLS with these files.
    #[must_use]
    pub fn tls(self, cert: &std::path::Path, key: &std::path::Path) -> Self {
        self.config(|config| config.tls = Some(TlsFiles { cert: cert.to_owned(), key: key.to_owned() }))
    }

    /// Decides with another engine.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Starts the gateway and publishes the snapshot.
    pub fn start(mut self) -> World {
        // A test ends without waiting for clients that nobody closes.
        self.config.data.drain.idle = self.config.data.drain.idle.min(std::time::Duration::from_millis(50));
        self.config.data.drain.linger = self.config.data.drain.linger.min(std::time::Duration::from_millis(50));
        self.config.data.drain.grace = self.config.data.drain.grace.min(std::time::Duration::from_secs(5));
        let gateway = Gateway::start(&self.config, &Lifecycle::new()).expect("the gateway starts");
        let loaded = load(&self.snapshot, &self.engine);
        gateway.publisher().publish(Change::one(loaded, Source::Direct)).expect("every worker takes it");
        World { gateway: Some(gateway), engine: self.engine, snapshot: self.snapshot, number: AtomicU64::new(1) }
    }
}

fn load(snapshot: &Value, engine: &Engine) -> LoadedSnapshot {
    let key = BucketingKey::new([7; 16]);
    match LoadedSnapshot::load(snapshot.to_string().as_bytes(), &key, engine) {
        Ok(loaded) => loaded,
        Err(error) => panic!("the snapshot is refused: {error}\n{snapshot:#}"),
    }
}
