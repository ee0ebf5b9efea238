//! Releases and the timeouts that they share with environments.

use edge_engine::{
    RegionName, ReleaseId,
    wire::{ReleaseWire, TimeoutsWire, UpstreamProtocol, UpstreamWire},
};

use super::{
    fields::{self, Fields},
    node::{Entry, Node},
    report::Report,
};

/// One entry under `releases`.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) id: ReleaseId,
    pub(super) description: Option<String>,
    pub(super) wire: ReleaseWire,
}

pub(super) fn release(entry: &Entry, report: &mut Report) -> Option<Release> {
    let id = fields::key_name(&entry.key, entry.key_at, ReleaseId::new, report);
    let mut fields = Fields::of(&entry.value, entry.key_at, "a release", report)?;
    let description = fields::description(&mut fields, report);
    let text = |entry: Option<&Entry>, what: &str, report: &mut Report| {
        entry.and_then(|entry| fields::text(&entry.value, what, report)).map(str::to_owned)
    };
    let version = fields.required("version", report);
    let version = text(version, "a version", report).unwrap_or_default();
    let upstreams = fields.required("upstreams", report);
    let wire = ReleaseWire {
        version,
        upstreams: upstreams.map(|entry| self::upstreams(entry, report)).unwrap_or_default(),
        commit: text(fields.optional("commit"), "a commit", report),
        rollback_plan: text(fields.optional("rollbackPlan"), "a rollback plan", report),
        timeouts: fields.optional("timeouts").map(|entry| timeouts(entry, report)),
    };
    fields.done(report);
    Some(Release { id: id?, description, wire })
}

fn upstreams(entry: &Entry, report: &mut Report) -> Vec<UpstreamWire> {
    let items = fields::list(&entry.value, "\"upstreams\"", report);
    items.iter().filter_map(|item| upstream(item, report)).collect()
}

fn upstream(node: &Node, report: &mut Report) -> Option<UpstreamWire> {
    let mut fields = Fields::of(node, node.at, "an upstream", report)?;
    let url = fields.required("url", report).and_then(|entry| fields::text(&entry.value, "a URL", report));
    let region = fields.optional("region");
    let region = region.and_then(|entry| fields::name(&entry.value, "a region", RegionName::new, report));
    let words = [("http1", UpstreamProtocol::Http1), ("http2", UpstreamProtocol::Http2)];
    let protocol = fields.optional("protocol");
    let protocol = protocol.and_then(|entry| fields::choice(&entry.value, "a protocol", &words, report));
    fields.done(report);
    Some(UpstreamWire { url: url?.to_owned(), region, protocol: protocol.unwrap_or_default() })
}

/// `timeouts` of an environment or a release.
pub(super) fn timeouts(entry: &Entry, report: &mut Report) -> TimeoutsWire {
    let Some(mut fields) = Fields::of(&entry.value, entry.place(), "timeouts", report) else {
        return TimeoutsWire::default();
    };
    let timeouts = TimeoutsWire {
        connect_ms: fields::integer(fields.optional("connectMs"), report),
        read_ms: fields::integer(fields.optional("readMs"), report),
        total_ms: fields::integer(fields.optional("totalMs"), report),
    };
    fields.done(report);
    timeouts
}
