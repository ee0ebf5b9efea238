//! From an app's objects to the snapshot of an environment, checked as an edge would.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use edge_engine::wire::{
    EdgeWire, FORMAT, ReleaseWire, SlotsWire, SnapshotWire, TrafficWire, UpstreamProtocol, UpstreamWire,
};
use edge_engine::{BucketingKey, EnvironmentName, KeyId, ReleaseId, Snapshot, check};
use sha2::{Digest, Sha256};

use super::app::{App, Keys};
use super::{At, Fault};

/// Stands in the active slot of an environment that has no release, so that its flags can be checked and evaluated. Such
/// an environment is published only if it has no hosts: then it is one of flags alone, and nothing is ever routed by it.
const NO_RELEASE: &str = "none";
/// Nothing listens there, and nothing is ever sent.
const NOWHERE: &str = "http://127.0.0.1:9";
/// A snapshot that is only checked has no birth.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// An environment as it would be published.
#[derive(Debug)]
pub struct Built {
    /// Which.
    pub environment: EnvironmentName,
    /// Number 0 and no birth: it gets both when it is published.
    pub wire: SnapshotWire,
    /// Checked under the environment's own key.
    pub snapshot: Snapshot,
    /// Stands for everything in `wire`.
    pub content: [u8; 32],
    /// Whether an edge could serve it: some release is in the active slot, or there is nothing to route.
    pub is_complete: bool,
}

pub(super) fn build(app: &App, name: &EnvironmentName, keys: &Keys) -> Result<Built, Vec<Fault>> {
    let parts = app.environments.get(name).ok_or_else(Vec::new)?;
    let at = || At::environment(name.as_str());
    let missing = || vec![Fault::whole(at(), "bucketing_key_missing", "the environment has no bucketing key")];
    let (key_id, key) = keys.get(name.as_str()).ok_or_else(missing)?;
    let key_id = KeyId::new(key_id.as_str()).map_err(|rule| {
        vec![Fault::whole(at(), "bucketing_key_missing", format!("the id of the bucketing key is not one: {rule}"))]
    })?;
    let mut traffic = parts.traffic.clone();
    let has_release = traffic.slots.blue.is_some() || traffic.slots.green.is_some();
    let is_complete = has_release || parts.edge.hosts.is_empty();
    let mut releases: BTreeMap<ReleaseId, ReleaseWire> =
        reachable(&traffic).into_iter().filter_map(|id| Some((id.clone(), app.releases.get(id)?.clone()))).collect();
    if !has_release && let Ok(id) = ReleaseId::new(NO_RELEASE) {
        traffic.slots.blue = Some(id.clone());
        traffic.active = edge_engine::Slot::Blue;
        releases.insert(id, nowhere());
    }
    let wire = SnapshotWire {
        format: FORMAT.to_owned(),
        app: app.name().clone(),
        environment: name.clone(),
        number: 0,
        created_at: NO_TIME.to_owned(),
        bucketing_key_id: key_id,
        unit: parts.unit.clone(),
        traffic,
        releases,
        segments: app.segments.clone(),
        flags: app.flags.iter().map(|(key, flag)| (key.clone(), flag.wire(name))).collect(),
        edge: parts.edge.clone(),
    };
    let content = content(&wire);
    let snapshot = check(wire.clone(), key).map_err(|problems| {
        let own = |flag: &str, field: &str| {
            let entry = app.entry(&At::targeting(name.as_str(), flag));
            entry.is_some_and(|entry| entry.document.get(field).is_some())
        };
        problems.iter().map(|problem| Fault::checked(name.as_str(), problem, own)).collect::<Vec<_>>()
    })?;
    Ok(Built { environment: name.clone(), wire, snapshot, content, is_complete })
}

/// What an edge would refuse in a release, whether or not some environment has it in a slot already: it never changes any
/// more, so it must be sound when it is registered.
pub(super) fn check_release(app: &App, id: &ReleaseId) -> Vec<Fault> {
    let Some(release) = app.releases.get(id) else { return Vec::new() };
    let names = (EnvironmentName::new(NO_RELEASE), KeyId::new(NO_RELEASE));
    let (Ok(environment), Ok(bucketing_key_id)) = names else { return Vec::new() };
    let traffic = TrafficWire {
        active: edge_engine::Slot::Blue,
        slots: SlotsWire { blue: Some(id.clone()), green: None },
        candidate_weight: 0,
        salt: NO_RELEASE.to_owned(),
        algorithm: edge_engine::SIPHASH24_V1.to_owned(),
        rules: Vec::new(),
        r#override: None,
        pin: None,
        regions: BTreeMap::new(),
        rolled_back: Vec::new(),
    };
    let wire = SnapshotWire {
        format: FORMAT.to_owned(),
        app: app.name().clone(),
        environment,
        number: 0,
        created_at: NO_TIME.to_owned(),
        bucketing_key_id,
        unit: Vec::new(),
        traffic,
        releases: BTreeMap::from([(id.clone(), release.clone())]),
        segments: BTreeMap::new(),
        flags: BTreeMap::new(),
        edge: EdgeWire::default(),
    };
    let problems = check(wire, &BucketingKey::new([0; 16])).err().unwrap_or_default();
    let faults = problems.iter().map(|problem| Fault::checked(NO_RELEASE, problem, |_, _| false));
    faults.filter(|fault| fault.at == At::release(id.as_str())).collect()
}

/// What everything in a snapshot but its number and birth comes to.
pub fn content(wire: &SnapshotWire) -> [u8; 32] {
    let mut wire = Cow::Borrowed(wire);
    if (wire.number, wire.created_at.as_str()) != (0, NO_TIME) {
        let unborn = wire.to_mut();
        (unborn.number, unborn.created_at) = (0, NO_TIME.to_owned());
    }
    Sha256::digest(serde_json::to_vec(&*wire).unwrap_or_default()).into()
}

/// Only these: registering a release changes no snapshot.
fn reachable(traffic: &TrafficWire) -> BTreeSet<&ReleaseId> {
    let slots = [&traffic.slots.blue, &traffic.slots.green].into_iter().flatten();
    slots.chain(&traffic.rolled_back).collect()
}

fn nowhere() -> ReleaseWire {
    ReleaseWire {
        version: NO_RELEASE.to_owned(),
        commit: None,
        upstreams: vec![UpstreamWire { url: NOWHERE.to_owned(), region: None, protocol: UpstreamProtocol::default() }],
        rollback_plan: None,
        timeouts: None,
    }
}
