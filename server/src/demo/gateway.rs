//! What the demo shows: a control plane on SQLite and two gateways that follow it, all of them the ordinary ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use admin::ids;
use admin::integrations::Integrations;
use admin::model::{At, Edit};
use admin::serve::Settings;
use admin::service::apply::Options;
use admin::service::{Actor, Control, Intent};
use admin::store::Location;
use admin_api::answers::EdgeAck;
use admin_api::edge::Scope;
use admin_api::rollouts::{Rollout, StartRollout};
use anyhow::{Context as _, anyhow, bail};

use super::{ports::Claim, site};
use crate::config::follow::Follow;
use crate::config::{Config, layers::Layers};
use crate::control_plane::Running;
use crate::gateway::start::Gateway;
use crate::lifecycle::Lifecycle;

/// The regions of the two gateways.
const REGIONS: [&str; 2] = ["eu", "us"];
/// Usual ports of the control plane, of clients, and of health and metrics; the second gateway's are one higher.
const ADMIN_PORT: u16 = 7400;
const CLIENT_PORT: u16 = 8080;
const OPS_PORT: u16 = 9090;
/// On one machine an acknowledgement takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything that runs. Dropping it ends it and removes its folder.
pub(super) struct Stage {
    gateways: Vec<Gateway>,
    admin: Option<Running>,
    /// For the use-cases, which are asked for from a thread of their own.
    runtime: tokio::runtime::Runtime,
    folder: PathBuf,
    /// Of every address above: no other demo takes it while this one runs.
    claims: Vec<Claim>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        for gateway in self.gateways.drain(..) {
            gateway.stop();
        }
        if let Some(admin) = self.admin.take() {
            admin.stop();
        }
        // What is left in a temporary folder is the system's to remove.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Stage {
    pub(super) fn start(native: bool) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("bascule-demo-{}", admin::ids::random_id()));
        std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // A thread of its own: connections to the store are given back by tasks, which have to run also between two questions.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut stage = Self { gateways: Vec::new(), admin: None, runtime, folder, claims: Vec::new() };
        let listen = stage.claim(ADMIN_PORT)?;
        let admin = Running::start(Settings {
            listen,
            database: Location::Sqlite(stage.folder.join("bascule.db")),
            state_dir: stage.folder.join("admin"),
            signing_key: None,
            // One that nobody knows: the demo is not for administering.
            bootstrap_token: Some(admin::token::TokenText::mint()),
            tls: None,
            limits: admin::limits::Limits::default(),
            timeouts: admin::limits::Timeouts::default(),
            workers: Vec::new(),
            integrations: Integrations::default(),
        })?;
        for (offset, region) in (0..).zip(REGIONS) {
            let follow = Follow { edge_id: Some(format!("gateway-{region}")), ..admin.follow()? };
            let ports = [stage.claim(CLIENT_PORT + offset)?, stage.claim(OPS_PORT + offset)?];
            stage.gateways.push(gateway(native, ports, region, follow)?);
        }
        stage.admin = Some(admin);
        Ok(stage)
    }

    fn claim(&mut self, preferred: u16) -> anyhow::Result<SocketAddr> {
        let claim = Claim::take(preferred).context("no port is free")?;
        let address = claim.address();
        self.claims.push(claim);
        Ok(address)
    }

    /// Where clients connect.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.gateways.iter().map(Gateway::address).collect()
    }

    pub(super) fn ops_address(&self) -> SocketAddr {
        self.gateways.first().map_or_else(|| self.admin_address(), Gateway::ops_address)
    }

    pub(super) fn admin_address(&self) -> SocketAddr {
        self.running().admin().address()
    }

    fn running(&self) -> &Running {
        self.admin.as_ref().expect("there until it is dropped")
    }

    fn control(&self) -> &Arc<Control> {
        self.running().admin().control()
    }

    /// Applies the demo's file and waits until both gateways run it.
    pub(super) fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        let manifest = edge_manifest::load(yaml, "demo.yaml").map_err(|findings| {
            let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
            anyhow!("the demo's own file has problems:\n{}", lines.join("\n"))
        })?;
        let (control, actor) = (Arc::clone(self.control()), system());
        self.runtime.block_on(async {
            let began = Instant::now();
            while control.hub.edges().iter().filter(|edge| edge.is_connected()).count() < REGIONS.len() {
                if began.elapsed() > PATIENCE {
                    bail!("the gateways do not follow the control plane");
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let objects = manifest.objects();
            let authorised = control.apply_as_system(&actor, site::APP, objects, Options::default()).await?;
            acknowledged(&control, &authorised.committed.snapshots, authorised.committed.at).await
        })
    }

    /// Gives everybody to blue, and nothing to green.
    pub(super) fn reset(&self) -> anyhow::Result<()> {
        let (control, actor) = (Arc::clone(self.control()), system());
        let intent = Intent {
            app: site::APP.to_owned(),
            environment: site::ENVIRONMENT.to_owned(),
            operation: "putTraffic",
            subject: "traffic".to_owned(),
            is_authorised: true,
            ..Intent::default()
        };
        self.runtime.block_on(async {
            let edit = Edit::put(At::traffic(site::ENVIRONMENT), site::traffic());
            let committed = control.change(&actor, intent, |_| Ok(vec![edit])).await?;
            acknowledged(&control, &committed.snapshots, committed.at).await
        })
    }

    /// Starts a rollout of green. From here on the control plane decides.
    pub(super) fn roll_out(&self, step: Duration) -> anyhow::Result<()> {
        let (control, actor) = (Arc::clone(self.control()), system());
        let request = StartRollout {
            release: site::GREEN_RELEASE.to_owned(),
            plan: Some(site::plan(step)),
            reason: Some("the demo shows it".to_owned()),
            // Every walk is taken back anew.
            accept_quarantine: true,
            ..StartRollout::default()
        };
        let place = (site::APP, site::ENVIRONMENT);
        self.runtime.block_on(control.start_rollout(&actor, place, &request, false, ids::now_ms()))?;
        Ok(())
    }

    /// The newest rollout.
    pub(super) fn rollout(&self) -> anyhow::Result<Rollout> {
        Ok(self.runtime.block_on(self.control().rollout(site::APP, site::ENVIRONMENT, None))?)
    }

    /// Who decides by the newest snapshot, and how long after `since` each did; waits until all do.
    pub(super) fn proof(&self, since: Instant) -> anyhow::Result<Vec<EdgeAck>> {
        let control = Arc::clone(self.control());
        self.runtime.block_on(async {
            let cached = control.app(site::APP).await?;
            let number = cached.published.get(site::ENVIRONMENT).map_or(0, |last| last.number);
            let scope = Scope { app: site::APP.to_owned(), environment: site::ENVIRONMENT.to_owned() };
            let wanted = u64::try_from(number).unwrap_or(0);
            let proof = control.hub.prove(&scope, wanted, since, Instant::now() + PATIENCE).await;
            if !proof.missing.is_empty() {
                bail!("a gateway did not acknowledge snapshot {number}");
            }
            Ok(proof.edges)
        })
    }
}

fn system() -> Actor {
    Actor::system("demo")
}

async fn acknowledged(control: &Control, snapshots: &[(String, i64)], since: Instant) -> anyhow::Result<()> {
    for (environment, number) in snapshots {
        let scope = Scope { app: site::APP.to_owned(), environment: environment.clone() };
        let number = u64::try_from(*number).unwrap_or(0);
        let proof = control.hub.prove(&scope, number, since, Instant::now() + PATIENCE).await;
        if !proof.missing.is_empty() {
            bail!("a gateway did not acknowledge a snapshot: {:?}", proof.missing);
        }
    }
    Ok(())
}

fn gateway(native: bool, [listen, ops]: [SocketAddr; 2], region: &str, follow: Follow) -> anyhow::Result<Gateway> {
    let engine = if native { "native" } else { "wasm" };
    let flags = [
        ("listen", listen.to_string()),
        ("ops", ops.to_string()),
        ("engine", engine.to_owned()),
        ("region", region.to_owned()),
    ];
    let flags: BTreeMap<String, Vec<String>> =
        flags.into_iter().map(|(flag, value)| (flag.to_owned(), vec![value])).collect();
    // Whatever is set for a real gateway in this environment is not meant for the demo.
    let mut config = Config::read(&Layers { flags, ..Layers::default() })?;
    config.follow = Some(follow);
    config.data.drain.idle = Duration::ZERO;
    Ok(Gateway::start(&config, &Lifecycle::new())?)
}
