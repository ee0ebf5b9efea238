//! A snapshot: everything an edge needs for one environment; validated, immutable, indexed.
//!
//! There is no public constructor but [`check()`]. What holds a `Snapshot` may rely on: references
//! resolve, ranges tile, caps hold, the active slot has a release.

mod check;
mod edge;
mod graph;
mod parse;
mod read;
pub mod wire;

use crate::attribute::Attribute;
use crate::condition::Condition;
use crate::decision::{FlagIndex, ReleaseIndex, UnitIndex};
use crate::flag::Flag;
use crate::names::{AppName, EnvironmentName, ReleaseId, SegmentKey};
use crate::traffic::Traffic;
use crate::unit::{UnitList, UnitSource};
use wire::{EdgeWire, TimeoutsWire, UpstreamWire};

pub use check::check;
pub use parse::parse;

/// A checked snapshot.
#[derive(Debug)]
pub struct Snapshot {
    app: AppName,
    environment: EnvironmentName,
    number: u64,
    created_at: Box<str>,
    bucketing_key_id: Box<str>,
    needs: Box<[Attribute]>,
    unit_sources: Box<[UnitSource]>,
    unit: UnitList,
    minted: Option<(usize, UnitIndex)>,
    traffic: Traffic,
    releases: Box<[Release]>,
    /// A copy, so that looking up a release is total.
    active_release: Release,
    segments: Box<[(SegmentKey, Condition)]>,
    flags: Box<[Flag]>,
    forwarded: Box<[FlagIndex]>,
    edge: EdgeWire,
}

/// A release and where it runs.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its id.
    pub id: ReleaseId,
    /// Human version.
    pub version: String,
    /// Where it runs, at least one.
    pub upstreams: Vec<UpstreamWire>,
    /// Timeouts that differ from the environment's.
    pub timeouts: Option<TimeoutsWire>,
}

impl Snapshot {
    /// The app.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// The environment.
    pub fn environment(&self) -> &EnvironmentName {
        &self.environment
    }

    /// The number; grows with each publication.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When it was published, RFC 3339.
    pub fn created_at(&self) -> &str {
        &self.created_at
    }

    /// Id of the secret that it was made for.
    pub fn bucketing_key_id(&self) -> &str {
        &self.bucketing_key_id
    }

    /// The attributes that a host passes, in the order of the context's values.
    pub fn needs(&self) -> &[Attribute] {
        &self.needs
    }

    /// All unit sources; [`UnitIndex`] counts in here.
    pub fn unit_sources(&self) -> &[UnitSource] {
        &self.unit_sources
    }

    /// Where the minted unit goes: index of the attribute `cookie.bsc_unit` in [`Self::needs`], and the
    /// source that a decision names when it used it. `None` when no split needs a unit.
    pub fn minted_unit(&self) -> Option<(usize, UnitIndex)> {
        self.minted
    }

    /// The traffic.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The releases, by id.
    pub fn releases(&self) -> &[Release] {
        &self.releases
    }

    /// The release with this index; an index of another snapshot gives the active release.
    pub fn release(&self, index: ReleaseIndex) -> &Release {
        self.releases.get(usize::from(index.0)).unwrap_or(&self.active_release)
    }

    /// The flags, by key.
    pub fn flags(&self) -> &[Flag] {
        &self.flags
    }

    /// The flag with this index.
    pub fn flag(&self, index: FlagIndex) -> Option<&Flag> {
        self.flags.get(index.0 as usize)
    }

    /// The index of the flag with this key.
    pub fn flag_index(&self, key: &str) -> Option<FlagIndex> {
        let position = self.flags.binary_search_by(|flag| flag.key.as_str().cmp(key)).ok()?;
        u32::try_from(position).ok().map(FlagIndex)
    }

    /// The flags that the edge decides for each request, by key.
    pub fn forwarded(&self) -> &[FlagIndex] {
        &self.forwarded
    }

    /// What the edge does around a decision.
    pub fn edge(&self) -> &EdgeWire {
        &self.edge
    }

    /// The value of a `bsc_pin` cookie that pins a client to a release, and its age in seconds;
    /// `None` when the environment has no pins.
    pub fn pin_cookie(&self, release: ReleaseIndex, now_ms: i64) -> Option<(String, i64)> {
        self.traffic.sign_pin(release, &self.release(release).id, now_ms)
    }

    /// A token that makes the routing choose a slot until `expires` (seconds since 1970).
    pub fn override_token(&self, slot: crate::Slot, expires: i64) -> String {
        self.traffic.override_key.sign(slot.as_str(), expires)
    }

    pub(crate) fn unit(&self) -> &UnitList {
        &self.unit
    }

    pub(crate) fn unit_name(&self, index: UnitIndex) -> &str {
        self.unit_sources.get(usize::from(index.0)).map_or("", |source| &source.name)
    }

    pub(crate) fn segment(&self, index: u32) -> Option<(&SegmentKey, &Condition)> {
        self.segments.get(index as usize).map(|(key, condition)| (key, condition))
    }
}
