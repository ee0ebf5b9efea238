//! What a worker decides and routes by: prepared off the worker's thread, swapped in one step.
//!
//! A [`WorkerState`] belongs to one worker, its parts are shared with nobody but the exchanges of
//! that worker, and it never changes after it was installed. It holds no sockets: pools live in
//! the worker and outlast it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use admin_api::edge::Access;
use edge_engine::wire::{TimeoutsWire, UpstreamProtocol};
use edge_engine::{AttributeKind, Decision, RegionName, ReleaseIndex, Slot, Snapshot};
use http::HeaderValue;
use http::uri::{Authority, Scheme, Uri};
use rustls::pki_types::ServerName;

use super::clock::Exchange;
use super::context::ContextPlan;
use super::headers::Identity;
use super::health::ReleaseHealth;
use super::hosts::HostMap;
use super::limits::DataConfig;
use super::metrics::{FlagShard, ReleaseShard, Shard};
use super::observe::Boards;
use super::observe::unit::Observer;
use super::ofrep::access::{AccessTable, Prepared};
use super::reach::Reach;
use super::scope::Scope;
use crate::host::{Decider, HostError, LoadedSnapshot};

/// Why a snapshot cannot be served by this gateway although the engine accepts it.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The engine could not be instantiated.
    #[error("cannot make a decider for {app}/{environment}")]
    Decider {
        /// The app.
        app: String,
        /// The environment.
        environment: String,
        /// What the host said.
        #[source]
        source: HostError,
    },
    /// An upstream's URL is not `http://host[:port]` or `https://host[:port]`.
    #[error("release {release} has an upstream that cannot be used: {url}")]
    Upstream {
        /// The release.
        release: String,
        /// The URL as written.
        url: String,
    },
}

/// Where the health of releases is kept over publications.
pub trait HealthSource {
    /// The health of a release of this snapshot; upstream *i* is the *i*-th of the release.
    fn health(&self, snapshot: &Snapshot, release: ReleaseIndex) -> Arc<ReleaseHealth>;
}

/// What preparing needs beside the snapshot.
pub struct Preparation<'a> {
    /// Limits and defaults.
    pub config: &'a DataConfig,
    /// TLS towards `https` upstreams.
    pub tls: &'a Arc<rustls::ClientConfig>,
    /// The health of releases.
    pub health: &'a dyn HealthSource,
    /// Counters of the worker that will run the state.
    pub shard: &'a Shard,
    /// Where it is kept what units meet.
    pub observations: &'a Boards,
}

/// Everything a worker decides by.
#[derive(Default)]
pub struct WorkerState {
    pub(super) hosts: HostMap,
    pub(super) environments: Vec<EnvironmentState>,
    pub(super) access: AccessTable,
}

impl WorkerState {
    /// Puts environments together. A host that two of them ask for goes to the first;
    /// the publisher refuses such a set before it gets here.
    pub fn new(mut environments: Vec<EnvironmentState>, access: &Access) -> Self {
        let mut hosts = HostMap::default();
        for (index, environment) in environments.iter().enumerate() {
            for host in &environment.hosts {
                hosts.insert(host, index);
            }
        }
        let access = AccessTable::new(access, &mut environments);
        Self { hosts, environments, access }
    }
}

impl WorkerState {
    /// An environment's routes.
    pub(super) fn environment(&self, app: &str, environment: &str) -> Option<&Arc<Routes>> {
        let is_it = |routes: &&Arc<Routes>| *routes.app == *app && *routes.environment == *environment;
        self.environments.iter().map(|state| &state.routes).find(is_it)
    }

    /// Whether an exchange may stay with its release.
    pub(super) fn keeps(&self, exchange: &Exchange) -> bool {
        let Exchange { release, reason, while_active } = exchange;
        let Some(routes) = self.environment(&release.app, &release.environment) else { return false };
        let current = routes.index_of(&release.id).and_then(|index| routes.release(index));
        current.is_some_and(|current| current.reach.keeps(*reason, *while_active))
    }

    /// Visits every upstream while nobody else has the state yet.
    pub(super) fn for_each_upstream(&mut self, mut visit: impl FnMut(&mut UpstreamRoute)) {
        for environment in &mut self.environments {
            let routes = Arc::get_mut(&mut environment.routes).expect("a state that is being installed is not shared");
            for release in &mut routes.releases {
                let release = Arc::get_mut(release).expect("a state that is being installed is not shared");
                release.upstreams.iter_mut().for_each(&mut visit);
            }
        }
    }
}

/// One environment in one worker.
pub struct EnvironmentState {
    pub(super) hosts: Vec<String>,
    pub(super) decider: Decider,
    pub(super) decision: Decision,
    pub(super) plan: Arc<ContextPlan>,
    pub(super) routes: Arc<Routes>,
    pub(super) flags: FlagShard,
    pub(super) ofrep: Prepared,
}

/// What an exchange keeps after its decision: no engine, only where things are.
pub(super) struct Routes {
    pub(super) app: Box<str>,
    pub(super) environment: Box<str>,
    pub(super) number: u64,
    pub(super) releases: Vec<Arc<ReleaseRoute>>,
    pub(super) active: Slot,
    pub(super) active_release: ReleaseIndex,
    pub(super) debug: bool,
    pub(super) shield: bool,
    /// Per forwarded flag, in the order of decisions: per variant `key=variant`.
    pub(super) forward: Vec<Vec<Box<[u8]>>>,
    /// Request fields that a decision may depend on, for caches between us and clients.
    pub(super) vary: Option<HeaderValue>,
    pub(super) observer: Observer,
}

/// A release as the data path sees it.
pub(super) struct ReleaseRoute {
    pub(super) app: Box<str>,
    pub(super) environment: Box<str>,
    pub(super) id: Box<str>,
    pub(super) id_value: HeaderValue,
    pub(super) identity: Identity,
    pub(super) upstreams: Vec<UpstreamRoute>,
    /// Upstreams of this edge's region come first; how many there are.
    pub(super) local: usize,
    pub(super) next: AtomicUsize,
    pub(super) timeouts: Timeouts,
    pub(super) grace: Duration,
    pub(super) health: Arc<ReleaseHealth>,
    pub(super) shard: Arc<ReleaseShard>,
    /// Which open exchanges may stay.
    pub(super) reach: Reach,
}

/// One address of a release.
pub(super) struct UpstreamRoute {
    /// Position in the release's own list: the index that [`ReleaseHealth`] knows.
    pub(super) index: usize,
    pub(super) target: Arc<Target>,
    /// The worker's pool; set when the state is installed.
    pub(super) pool: usize,
}

/// Where and how to connect; equal targets share a pool.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) key: Box<str>,
    pub(super) host: Box<str>,
    pub(super) port: u16,
    /// Present when the host is a literal address.
    pub(super) address: Option<SocketAddr>,
    pub(super) authority: Authority,
    pub(super) protocol: UpstreamProtocol,
    pub(super) tls: Option<TargetTls>,
}

pub(super) struct TargetTls {
    pub(super) config: Arc<rustls::ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl std::fmt::Debug for TargetTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TargetTls").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Effective timeouts of a release.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) read: Duration,
    pub(super) total: Option<Duration>,
}

impl Timeouts {
    fn new(config: &DataConfig, environment: &TimeoutsWire, release: Option<&TimeoutsWire>) -> Self {
        let millis = |pick: fn(&TimeoutsWire) -> Option<u32>| {
            release.and_then(pick).or_else(|| pick(environment)).map(|ms| Duration::from_millis(ms.into()))
        };
        Self {
            connect: millis(|t| t.connect_ms).unwrap_or(config.upstream.connect_timeout),
            read: millis(|t| t.read_ms).unwrap_or(config.upstream.read_timeout),
            total: millis(|t| t.total_ms).or(config.upstream.total_timeout).filter(|total| !total.is_zero()),
        }
    }
}

impl EnvironmentState {
    /// Prepares a snapshot for one worker. Instantiates the module, so not on a worker's thread.
    pub fn prepare(loaded: &LoadedSnapshot, with: &Preparation<'_>) -> Result<Self, PrepareError> {
        let snapshot = loaded.snapshot();
        let decider = loaded.decider().map_err(|source| PrepareError::Decider {
            app: snapshot.app().to_string(),
            environment: snapshot.environment().to_string(),
            source,
        })?;
        let plan = Arc::new(ContextPlan::new(snapshot, with.config));
        let routes = Routes::prepare(loaded, &plan, with)?;
        Ok(Self {
            hosts: snapshot.edge().hosts.clone(),
            decision: decider.new_decision(),
            decider,
            plan,
            flags: with.shard.flags(snapshot.app().as_str(), snapshot.environment().as_str(), forwarded(snapshot)),
            routes: Arc::new(routes),
            ofrep: Prepared::new(loaded, with.shard),
        })
    }
}

/// Key and variants of each forwarded flag, in the order of decisions.
fn forwarded(snapshot: &Snapshot) -> impl Iterator<Item = (&str, impl Iterator<Item = &str> + Clone)> {
    snapshot
        .forwarded()
        .iter()
        .filter_map(|flag| snapshot.flag(*flag))
        .map(|flag| (flag.key().as_str(), flag.variants().iter().map(|variant| variant.key.as_str())))
}

impl Routes {
    fn prepare(loaded: &LoadedSnapshot, plan: &Arc<ContextPlan>, with: &Preparation<'_>) -> Result<Self, PrepareError> {
        let snapshot = loaded.snapshot();
        let board = with.observations.of(Scope::new(snapshot.app().as_str(), snapshot.environment().as_str()));
        let edge = snapshot.edge();
        let active = snapshot.traffic().active();
        let mut releases = Vec::with_capacity(snapshot.releases().len());
        for position in 0..snapshot.releases().len() {
            let index = ReleaseIndex(u16::try_from(position).unwrap_or(u16::MAX));
            releases.push(Arc::new(ReleaseRoute::prepare(snapshot, index, with)?));
        }
        let forward =
            snapshot.forwarded().iter().filter_map(|flag| snapshot.flags().get(flag.0 as usize)).map(|flag| {
                let entry =
                    |variant: &edge_engine::Variant| format!("{}={}", flag.key(), variant.key).into_bytes().into();
                flag.variants().iter().map(entry).collect()
            });
        Ok(Self {
            app: snapshot.app().as_str().into(),
            environment: snapshot.environment().as_str().into(),
            number: snapshot.number(),
            releases,
            active,
            active_release: snapshot.traffic().release(active).unwrap_or(ReleaseIndex(0)),
            debug: edge.debug,
            shield: edge.shield,
            forward: forward.collect(),
            vary: vary(snapshot),
            observer: Observer::new(loaded, plan, with.config.region.as_deref(), board),
        })
    }

    pub(super) fn release(&self, index: ReleaseIndex) -> Option<&Arc<ReleaseRoute>> {
        self.releases.get(usize::from(index.0))
    }
}

/// The request fields among what the snapshot asks for.
fn vary(snapshot: &Snapshot) -> Option<HeaderValue> {
    let names = edge_http::fields::vary(snapshot.needs().iter().filter_map(|attribute| match attribute.kind() {
        AttributeKind::Header(name) => Some(name),
        AttributeKind::Cookie(_) => Some("cookie"),
        _ => None,
    }));
    names.and_then(|names| HeaderValue::from_str(&names).ok())
}

impl ReleaseRoute {
    fn prepare(snapshot: &Snapshot, index: ReleaseIndex, with: &Preparation<'_>) -> Result<Self, PrepareError> {
        let release = snapshot.release(index);
        let (app, environment, id) = (snapshot.app().as_str(), snapshot.environment().as_str(), release.id.as_str());
        let edge = snapshot.edge();
        let region = with.config.region.as_deref();
        let mut upstreams = Vec::with_capacity(release.upstreams.len());
        for (position, wire) in release.upstreams.iter().enumerate() {
            let target = Target::parse(&wire.url, wire.protocol, with.tls)
                .ok_or_else(|| PrepareError::Upstream { release: id.to_owned(), url: wire.url.clone() })?;
            let is_local = region.is_some() && wire.region.as_ref().map(RegionName::as_str) == region;
            upstreams.push((is_local, UpstreamRoute { index: position, target: Arc::new(target), pool: usize::MAX }));
        }
        // A stable sort: own region first, otherwise as written.
        upstreams.sort_by_key(|(is_local, _)| !is_local);
        let local = upstreams.iter().filter(|(is_local, _)| *is_local).count();
        let grace =
            edge.rollback_grace_ms.map_or(with.config.upstream.rollback_grace, |ms| Duration::from_millis(ms.into()));
        Ok(Self {
            app: app.into(),
            environment: environment.into(),
            id: id.into(),
            id_value: HeaderValue::from_str(id)
                .map_err(|_| PrepareError::Upstream { release: id.to_owned(), url: String::new() })?,
            identity: Identity::new(app, environment, id),
            upstreams: upstreams.into_iter().map(|(_, upstream)| upstream).collect(),
            local,
            next: AtomicUsize::new(0),
            timeouts: Timeouts::new(with.config, &edge.timeouts, release.timeouts.as_ref()),
            grace,
            health: with.health.health(snapshot, index),
            shard: with.shard.release(app, environment, id),
            reach: Reach::of(snapshot, index),
        })
    }
}

impl Target {
    /// Parses `http://host[:port]` or `https://host[:port]`; `None` for anything else.
    pub(super) fn parse(url: &str, protocol: UpstreamProtocol, tls: &Arc<rustls::ClientConfig>) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority()?.clone();
        if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return None;
        }
        let is_https = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTP => false,
            scheme if *scheme == Scheme::HTTPS => true,
            _ => return None,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let tls = if is_https {
            let mut config = rustls::ClientConfig::clone(tls);
            config.alpn_protocols = match protocol {
                UpstreamProtocol::Http1 => vec![b"http/1.1".to_vec()],
                UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
            };
            Some(TargetTls { config: Arc::new(config), name: ServerName::try_from(host.clone()).ok()? })
        } else {
            None
        };
        let key = format!("{}://{host}:{port} {protocol:?}", if is_https { "https" } else { "http" });
        Some(Self {
            key: key.into(),
            address: host.parse().ok().map(|ip| SocketAddr::new(ip, port)),
            host: host.into(),
            port,
            authority,
            protocol,
            tls,
        })
    }
}

impl std::fmt::Debug for WorkerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.environments.iter().map(|e| format!("{}/{}", e.routes.app, e.routes.environment));
        f.debug_list().entries(names).finish()
    }
}
