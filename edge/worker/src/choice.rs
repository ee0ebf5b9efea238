//! From a snapshot and a request to what is sent upstream, and to what the answer gets.
//!
//! Invariant: fields that are ours come from here alone; what a client sent under such a name, or under one that a back
//! end may read as it, is gone before they are set.

use admin_api::edge::EXPOSED_OF;
use edge_engine::wire::UpstreamWire;
use edge_engine::{
    AttributeKind, BUCKETS, Decision, FlagOutcome, RegionName, ReleaseIndex, RequestContext, Route, RouteReason, Slot,
    Snapshot, Value,
};
use edge_http::fields::{self, Fate};
use edge_http::{cookies, ids};

use crate::board::Unit;
use crate::context::{self, Fields, Subject};
use crate::sealed::Opened;

/// The decision for one request, detached from the engine.
#[derive(Debug)]
pub struct Choice {
    /// What the engine said.
    pub route: Route,
    /// The variant of each flag that the upstream is told.
    pub flags: Vec<FlagOutcome>,
    /// `set-cookie` of a unit that was minted and used.
    pub unit_cookie: Option<String>,
    /// `set-cookie` of a fresh pin.
    pub pin_cookie: Option<String>,
    /// What the unit is called in reports, when it says something about a release that is being judged.
    pub reported_unit: Option<u64>,
}

/// Below this share of the candidate the buckets are too few for every sixteenth to stand for all.
const LEAST_WEIGHT: u32 = 10_000;

impl Choice {
    /// The unit, for reports, at an edge in this region.
    pub fn unit(&self, snapshot: &Snapshot, region: Option<&str>) -> Option<Unit> {
        let traffic = snapshot.traffic();
        let is_candidate = self.route.slot != traffic.active();
        Some(Unit { hash: self.reported_unit?, is_candidate, weight: traffic.weight_in(region) })
    }

    /// The bucket by which the hash chose the release, if it did. At 100 % nobody asks for it, and all are counted as in the first.
    pub fn split(&self) -> Option<u32> {
        (self.route.reason == RouteReason::Split).then(|| self.route.bucket.unwrap_or(0))
    }

    /// The same unit where it stands for the others of its kind: the buckets of each release are shared out alike.
    pub fn sampled(&self, snapshot: &Snapshot, region: Option<&str>) -> Option<Unit> {
        let is_sampled = self.split().is_some_and(|bucket| bucket.is_multiple_of(EXPOSED_OF));
        let unit = self.unit(snapshot, region).filter(|_| is_sampled);
        unit.filter(|unit| (LEAST_WEIGHT..BUCKETS).contains(&unit.weight))
    }
}

/// Why another release serves than the engine chose. The words are the gateway's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Diverted {
    /// The candidate's breaker is open.
    Breaker,
    /// The candidate failed, and the active release answered instead.
    Shield,
}

/// Who serves.
#[derive(Debug, Clone, Copy)]
pub struct Serving {
    /// The slot.
    pub slot: Slot,
    /// The release in it.
    pub release: ReleaseIndex,
    /// Whether it is another one than the engine chose.
    pub diverted: Option<Diverted>,
}

impl Serving {
    /// The active release.
    pub fn active(snapshot: &Snapshot, diverted: Option<Diverted>) -> Self {
        let route = Decision::fallback(snapshot).route;
        Self { slot: route.slot, release: route.release, diverted }
    }
}

/// Asks the engine. `unit` is a fresh one for a client that has none.
pub fn choose(opened: &Opened, subject: &Subject, unit: &[u8; 32], now_ms: i64) -> Choice {
    let snapshot = &opened.snapshot;
    let values = context::values(snapshot, subject);
    let wanted = context::wants_unit(snapshot, &values);
    let mut packed = context::packed(&values);
    if let Some(value) = wanted.and_then(|index| packed.get_mut(index)) {
        *value = Value::Text(unit);
    }
    let mut decision = Decision::new();
    edge_engine::decide(snapshot, &RequestContext { values: &packed, now_ms }, &mut decision);
    let route = decision.route;
    let minted = snapshot.minted_unit().map(|(_, source)| source);
    let is_used = wanted.is_some() && route.unit.is_some() && route.unit == minted;
    let pin = if route.renew_pin { snapshot.pin_cookie(route.release, now_ms) } else { None };
    Choice {
        reported_unit: opened.reported_unit(&route, &packed),
        unit_cookie: if is_used { cookies::unit(unit, subject.is_tls) } else { None },
        pin_cookie: pin.map(|(value, age)| cookies::pin(&value, age, subject.is_tls)),
        flags: decision.flags,
        route,
    }
}

/// The upstreams of a release that this edge may use: those of its own region, else all.
pub fn upstreams<'s>(snapshot: &'s Snapshot, release: ReleaseIndex, region: Option<&str>) -> Vec<&'s UpstreamWire> {
    let all = &snapshot.release(release).upstreams;
    let is_local = |wire: &&UpstreamWire| region.is_some() && wire.region.as_ref().map(RegionName::as_str) == region;
    let local: Vec<_> = all.iter().filter(is_local).collect();
    if local.is_empty() { all.iter().collect() } else { local }
}

/// What the upstream of a decided request is told.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// The decision by it.
    pub choice: &'a Choice,
    /// Who serves.
    pub serving: Serving,
}

/// The fields of the request to the upstream. A Worker's peer is always the platform, which vouches for the client's
/// address and nothing that the client wrote.
pub fn outgoing(subject: &Subject, decided: Option<Decided<'_>>, request_id: &str, trace: [u8; 24]) -> Fields {
    let mut out = Vec::with_capacity(subject.fields.len() + 12);
    let mut has_trace = false;
    for (name, value) in &subject.fields {
        match fields::fate(name) {
            Fate::Forward if name == "traceparent" && !fields::is_traceparent(value.as_bytes()) => {}
            Fate::Forward if !is_named(subject, name) => {
                has_trace |= name == "traceparent";
                out.push((name.clone(), value.clone()));
            }
            Fate::Te if fields::offers(value.as_bytes(), b"trailers") => {
                out.push(("te".to_owned(), "trailers".to_owned()));
            }
            _ => {}
        }
    }
    let mut set = |name: &str, value: &str| out.push((name.to_owned(), value.to_owned()));
    set("x-request-id", request_id);
    if !has_trace {
        set("traceparent", &String::from_utf8_lossy(&ids::traceparent(trace)));
    }
    if let Some(ip) = &subject.ip {
        set("x-forwarded-for", ip);
    }
    set("x-forwarded-proto", if subject.is_tls { "https" } else { "http" });
    set("x-forwarded-host", &subject.authority);
    if subject.is_web_socket() {
        set("upgrade", "websocket");
    }
    if let Some(Decided { snapshot, choice, serving }) = decided {
        set("x-bascule-app", snapshot.app().as_str());
        set("x-bascule-environment", snapshot.environment().as_str());
        set("x-bascule-release", snapshot.release(serving.release).id.as_str());
        set("x-bascule-slot", serving.slot.as_str());
        let flags = flags(snapshot, &choice.flags);
        if !flags.is_empty() {
            set("x-bascule-flags", &flags);
        }
    }
    out
}

fn is_named(subject: &Subject, name: &str) -> bool {
    subject.field("connection").is_some_and(|value| fields::names(value.as_bytes(), name))
}

/// The value of `x-bascule-flags`.
fn flags(snapshot: &Snapshot, outcomes: &[FlagOutcome]) -> String {
    let mut list = String::new();
    for outcome in outcomes {
        let Some((flag, variant)) =
            snapshot.flag(outcome.flag).and_then(|flag| Some((flag, flag.variant(outcome.variant)?)))
        else {
            continue;
        };
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(flag.key().as_str());
        list.push('=');
        list.push_str(variant.key.as_str());
    }
    list
}

impl Decided<'_> {
    /// What `x-bascule-decision` says; the same text as the gateway's.
    pub fn explain(&self) -> String {
        let Route { slot, reason, bucket, .. } = &self.choice.route;
        let mut text = format!("snapshot={}; slot={slot}; reason={}", self.snapshot.number(), reason.as_str());
        if let Some(bucket) = bucket {
            text.push_str("; bucket=");
            text.push_str(&bucket.to_string());
        }
        if let Some(diverted) = self.serving.diverted {
            text.push_str("; served=");
            text.push_str(self.serving.slot.as_str());
            text.push_str("; because=");
            text.push_str(match diverted {
                Diverted::Breaker => "breaker",
                Diverted::Shield => "shield",
            });
        }
        text
    }

    /// The fields on which an answer may depend, when something was decided by request.
    pub fn vary(&self) -> Option<String> {
        if self.choice.route.reason == RouteReason::Active && self.snapshot.forwarded().is_empty() {
            return None;
        }
        fields::vary(self.snapshot.needs().iter().filter_map(|attribute| match attribute.kind() {
            AttributeKind::Header(name) => Some(name),
            AttributeKind::Cookie(_) => Some("cookie"),
            _ => None,
        }))
    }

    /// Our cookies. Who is served by another release than was chosen keeps no pin to it.
    pub fn cookies(&self) -> impl Iterator<Item = &String> {
        let pin = self.choice.pin_cookie.as_ref().filter(|_| self.serving.diverted.is_none());
        self.choice.unit_cookie.iter().chain(pin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(fields: &[(&str, &str)]) -> Subject {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let authority = "shop.example".to_owned();
        Subject { fields, authority, ip: Some("192.0.2.7".into()), is_tls: true, ..Subject::default() }
    }

    fn sent(fields: &[(&str, &str)]) -> Fields {
        outgoing(&subject(fields), None, "r-1", [9; 24])
    }

    fn value<'f>(fields: &'f Fields, name: &str) -> Vec<&'f str> {
        fields.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value).collect()
    }

    #[test]
    fn what_a_client_says_of_itself_does_not_count() {
        let fields = sent(&[
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "http"),
            ("x_forwarded_host", "evil.example"),
            ("x-bascule-release", "forged"),
            ("x-request-id", "theirs"),
            ("proxy-authorization", "secret"),
            ("accept", "*/*"),
        ]);
        assert_eq!(value(&fields, "x-forwarded-for"), ["192.0.2.7"]);
        assert_eq!(value(&fields, "x-forwarded-proto"), ["https"]);
        assert_eq!(value(&fields, "x-forwarded-host"), ["shop.example"]);
        assert_eq!(value(&fields, "x-request-id"), ["r-1"]);
        assert_eq!(value(&fields, "accept"), ["*/*"]);
        for name in ["x_forwarded_host", "x-bascule-release", "proxy-authorization"] {
            assert!(value(&fields, name).is_empty(), "{name}");
        }
    }

    #[test]
    fn a_trace_goes_on_or_begins() {
        let theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(value(&sent(&[("traceparent", theirs)]), "traceparent"), [theirs]);
        let begun = sent(&[("traceparent", "00-0-0-0")]);
        assert!(value(&begun, "traceparent")[0].starts_with("00-0909") && value(&begun, "traceparent").len() == 1);
    }

    #[test]
    fn fields_that_connection_names_and_upgrades_end_here_but_for_web_sockets() {
        let fields = sent(&[
            ("connection", "x-private, upgrade"),
            ("x-private", "1"),
            ("upgrade", "h2c"),
            ("te", "trailers, gzip"),
        ]);
        assert!(value(&fields, "x-private").is_empty() && value(&fields, "upgrade").is_empty());
        assert_eq!(value(&fields, "te"), ["trailers"]);
        assert_eq!(value(&sent(&[("upgrade", "websocket")]), "upgrade"), ["websocket"]);
    }
}
