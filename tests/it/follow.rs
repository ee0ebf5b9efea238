//! A gateway that follows a control plane: what runs, what is refused, what goes on when the control plane does not.

mod leaving;
mod outages;
mod push;
mod refusals;
mod reports;
mod restart;
pub(crate) mod tls;
mod withdrawal;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use server::gateway::start::Gateway;
use tests::ControlPlane;
use tests::control_plane::TOKEN;

use crate::live::{Client, Origin, gateway};
use crate::rig::{eventually, get};

/// A control plane, an origin and a gateway that follows.
pub(crate) struct Story {
    pub(crate) gateway: Gateway,
    pub(crate) plane: ControlPlane,
    pub(crate) origin: Origin,
}

impl Story {
    /// The first snapshot runs; the key is pinned.
    pub(crate) fn begin() -> Self {
        Self::begin_with(&[])
    }

    pub(crate) fn begin_with(settings: &[(&str, String)]) -> Self {
        let (plane, origin) = (ControlPlane::start(), Origin::start("blue"));
        plane.publish(&document("production", 1, &origin));
        let gateway = follow(&plane, settings);
        plane.until_ack("production", 1);
        Self { gateway, plane, origin }
    }

    /// The production environment's snapshot of this number.
    pub(crate) fn document(&self, number: u64) -> Value {
        document("production", number, &self.origin)
    }

    pub(crate) fn health(&self) -> Value {
        let health = get(self.gateway.ops_address(), "/api/health");
        assert_eq!(health.status, 200, "it stays healthy: {}", health.body);
        serde_json::from_str(&health.body).expect("JSON")
    }

    /// What health says about the control plane.
    pub(crate) fn link(&self) -> Value {
        self.health()["checks"]["control_plane"].clone()
    }

    /// Waits until the reason for being without the control plane is this.
    #[track_caller]
    pub(crate) fn until_reason(&self, reason: &str) {
        let is_it = |link: &Value| link["reason"].as_str().is_some_and(|is| is.contains(reason));
        let link = eventually(&format!("the reason is {reason}"), || self.link(), is_it);
        assert_eq!(link["status"], "warn", "{link}");
    }

    #[track_caller]
    pub(crate) fn until_connected(&self) {
        eventually("it is connected", || self.link(), |link| link["connected"] == true);
    }

    /// The number that production runs.
    pub(crate) fn number(&self) -> Option<u64> {
        self.gateway.board().number(&server::gateway::scope::Scope::new("web", "production"))
    }

    /// The value of a series.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let metrics = get(self.gateway.ops_address(), "/metrics").body;
        metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    pub(crate) fn load(&self) -> Load {
        Load::start(&self.gateway)
    }
}

/// A gateway that follows; with more settings, as their variables name them.
pub(crate) fn follow(plane: &ControlPlane, settings: &[(&str, String)]) -> Gateway {
    let mut all = vec![
        ("ADMIN", plane.url()),
        ("ADMIN_TOKEN", TOKEN.to_owned()),
        ("ADMIN_PUBLIC_KEY", plane.signer().public()),
        ("WORKERS", "2".to_owned()),
        ("DRAIN_IDLE", "50ms".to_owned()),
        ("DRAIN_LINGER", "50ms".to_owned()),
    ];
    // What is given again replaces.
    all.retain(|(name, _)| !settings.iter().any(|(given, _)| given == name));
    all.extend(settings.iter().map(|(name, value)| (*name, value.clone())));
    all.retain(|(_, value)| !value.is_empty());
    gateway(&all)
}

pub(crate) fn state_dir(path: &Path) -> (&'static str, String) {
    ("STATE_DIR", path.display().to_string())
}

/// An environment of `web` with a forwarded flag; production has the host of the tests.
pub(crate) fn document(environment: &str, number: u64, origin: &Origin) -> Value {
    let host = if environment == "production" { "shop.example".to_owned() } else { format!("{environment}.example") };
    json!({
        "format": "v1", "app": "web", "environment": environment, "number": number,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k1", "unit": ["header:x-user-id"],
        "traffic": {"active": "blue", "slots": {"blue": "web-1"}, "salt": "s1"},
        "releases": {"web-1": {"version": "1", "upstreams": [{"url": format!("http://{}", origin.address)}]}},
        "flags": {"checkout": {
            "id": "f1", "type": "boolean", "enabled": true, "forward": true, "offVariant": "off",
            "variants": [{"key": "on", "value": true}, {"key": "off", "value": false}], "fallthrough": {"serve": "on"},
        }},
        "edge": {"hosts": [host], "debug": true},
    })
}

/// Clients that must be answered by 200 all the time.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Load {
    fn start(gateway: &Gateway) -> Self {
        let (stop, address) = (Arc::new(AtomicBool::new(false)), gateway.address());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut client = Client::new(address);
            let mut answered = 0;
            while !stopped.load(Ordering::SeqCst) {
                let (status, body) = client.get("u").expect("every request is answered");
                assert_eq!((status, body.as_str()), (200, "blue"));
                answered += 1;
            }
            answered
        });
        Self { stop, thread: Some(thread) }
    }

    /// How many were answered; fails when one was not.
    #[track_caller]
    pub(crate) fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        let answered = self.thread.take().expect("it ends once").join().expect("every request is answered by 200");
        assert!(answered > 0, "no load");
        answered
    }
}
