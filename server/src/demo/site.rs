//! The app that the demo serves: a `bascule.yaml` like anybody's, and its snapshots.

use std::net::SocketAddr;

use anyhow::{Context as _, anyhow};
use edge_engine::{EnvironmentName, ReleaseId, wire::SnapshotWire};
use edge_manifest::{self as manifest, Manifest};

use crate::{
    config::secret::KeySource,
    host::{Engine, LoadedSnapshot},
};

pub(super) const BLUE_RELEASE: &str = "web-1.0.0";
pub(super) const GREEN_RELEASE: &str = "web-1.1.0";
pub(super) const FLAG: &str = "new-checkout";
/// Percentage of the visitors who get the flag.
pub(super) const FLAG_SHARE: u32 = 20;
const ENVIRONMENT: &str = "production";
/// One percent in the units of weights.
const PERCENT: u32 = 10_000;

/// Makes the snapshots of the walk, each with the next number.
pub(super) struct Site {
    manifest: Manifest,
    environment: EnvironmentName,
    engine: Engine,
    number: u64,
}

impl Site {
    pub(super) fn new(blue: SocketAddr, green: SocketAddr, engine: Engine) -> anyhow::Result<Self> {
        let findings = |findings: Vec<manifest::Finding>| {
            let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
            anyhow!("the demo's own file has problems:\n{}", lines.join("\n"))
        };
        let manifest = manifest::load(&yaml(blue, green), "demo.yaml").map_err(findings)?;
        Ok(Self { manifest, environment: EnvironmentName::new(ENVIRONMENT)?, engine, number: 0 })
    }

    /// The next snapshot: this percentage to green, and whether green was rolled back.
    pub(super) fn snapshot(&mut self, percent: u32, rolled_back: bool) -> anyhow::Result<LoadedSnapshot> {
        self.number += 1;
        let now = edge_engine::format_rfc3339(crate::cli::now_ms());
        let wire = self.manifest.snapshot(&self.environment, self.number, &now);
        let mut wire: SnapshotWire = wire.context("the demo's file has its environment")?;
        wire.traffic.candidate_weight = percent * PERCENT;
        if rolled_back {
            wire.traffic.rolled_back = vec![ReleaseId::new(GREEN_RELEASE)?];
        }
        let key = KeySource::Derived.key(wire.app.as_str(), wire.environment.as_str());
        LoadedSnapshot::load(&serde_json::to_vec(&wire)?, &key, &self.engine).context("the demo's snapshot")
    }
}

fn yaml(blue: SocketAddr, green: SocketAddr) -> String {
    format!(
        "app: web
environments:
  {ENVIRONMENT}:
    hosts: [localhost, 127.0.0.1]
    debug: true
    unit: [header:x-user-id]
    traffic:
      active: blue
      slots: {{blue: {BLUE_RELEASE}, green: {GREEN_RELEASE}}}
releases:
  {BLUE_RELEASE}: {{version: 1.0.0, upstreams: [{{url: \"http://{blue}\"}}]}}
  {GREEN_RELEASE}: {{version: 1.1.0, upstreams: [{{url: \"http://{green}\"}}]}}
flags:
  {FLAG}:
    forward: true
    environments:
      {ENVIRONMENT}:
        fallthrough: {{split: {{on: {FLAG_SHARE}, off: {}}}}}
",
        100 - FLAG_SHARE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_of_the_walk_is_a_sound_snapshot() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut site = Site::new(address(1), address(2), Engine::native()).unwrap();
        for (number, (percent, rolled_back)) in [(5, false), (100, false), (0, true)].into_iter().enumerate() {
            let loaded = site.snapshot(percent, rolled_back).unwrap();
            let snapshot = loaded.snapshot();
            assert_eq!(snapshot.number(), number as u64 + 1);
            assert_eq!(snapshot.traffic().candidate_weight(), percent * PERCENT);
            assert_eq!(snapshot.forwarded().len(), 1);
        }
    }
}
