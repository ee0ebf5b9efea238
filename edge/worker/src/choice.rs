//! From a snapshot and a request to what is sent upstream, and to what the answer gets.
//!
//! Invariant: fields that are ours come from here alone; what a client sent under such a name, or under one that a back
//! end may read as it, is gone before they are set.

use edge_engine::{
    AttributeKind, Decision, FlagOutcome, RegionName, RequestContext, Route, RouteReason, Snapshot, Value,
};
use edge_http::cookies;
use edge_http::fields::{self, Fate};
use http::HeaderMap;

use crate::context::{self, Subject};

/// The decision for one request, detached from the engine.
#[derive(Debug)]
pub struct Choice {
    /// What the engine said.
    pub route: Route,
    /// Where the release runs, without a path.
    pub upstream: String,
    /// Value of `x-bascule-flags`.
    pub flags: String,
    /// `set-cookie` of a unit that was minted and used, and of a fresh pin.
    pub cookies: Vec<String>,
}

/// Asks the engine. `unit` is a fresh one for a client that has none.
pub fn choose(snapshot: &Snapshot, subject: &Subject, unit: &[u8; 32], now_ms: i64) -> Choice {
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
    let unit = if is_used { cookies::unit(unit, subject.is_tls) } else { None };
    let pin = if route.renew_pin { snapshot.pin_cookie(route.release, now_ms) } else { None };
    let pin = pin.and_then(|(value, age)| cookies::pin(&value, age, subject.is_tls));
    let cookies = [unit, pin].into_iter().flatten().filter_map(|value| value.to_str().ok().map(str::to_owned));
    Choice {
        route,
        upstream: upstream(snapshot, &route, subject.region.as_deref()),
        flags: flags(snapshot, &decision),
        cookies: cookies.collect(),
    }
}

/// The upstream of the edge's own region, else the first.
fn upstream(snapshot: &Snapshot, route: &Route, region: Option<&str>) -> String {
    let upstreams = &snapshot.release(route.release).upstreams;
    let is_local = |wire: &&edge_engine::wire::UpstreamWire| wire.region.as_ref().map(RegionName::as_str) == region;
    let local = region.and_then(|_| upstreams.iter().find(is_local));
    local.or(upstreams.first()).map(|wire| wire.url.trim_end_matches('/').to_owned()).unwrap_or_default()
}

fn flags(snapshot: &Snapshot, decision: &Decision) -> String {
    let entry = |outcome: &FlagOutcome| {
        let flag = snapshot.flag(outcome.flag)?;
        Some(format!("{}={}", flag.key(), flag.variant(outcome.variant)?.key))
    };
    decision.flags.iter().filter_map(entry).collect::<Vec<_>>().join(",")
}

/// The fields of the request to the upstream. A Worker's peer is always the platform, which vouches for the client's
/// address and nothing that the client wrote.
pub fn outgoing(subject: &Subject, decided: Option<(&Snapshot, &Choice)>, request_id: &str) -> Vec<(String, String)> {
    let mut out = Vec::with_capacity(subject.headers.len() + 10);
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    for (name, value) in &subject.headers {
        match fields::fate(name.as_str()) {
            Fate::Forward if !fields::is_named(&subject.headers, name) => out.push((name.to_string(), text(value))),
            Fate::Te if fields::list_contains(value, "trailers") => out.push(("te".to_owned(), "trailers".to_owned())),
            _ => {}
        }
    }
    let mut set = |name: &str, value: &str| out.push((name.to_owned(), value.to_owned()));
    set("x-request-id", request_id);
    if let Some(ip) = &subject.ip {
        set("x-forwarded-for", ip);
    }
    set("x-forwarded-proto", if subject.is_tls { "https" } else { "http" });
    set("x-forwarded-host", &subject.authority);
    if is_web_socket(&subject.headers) {
        set("upgrade", "websocket");
    }
    if let Some((snapshot, choice)) = decided {
        set("x-bascule-app", snapshot.app().as_str());
        set("x-bascule-environment", snapshot.environment().as_str());
        set("x-bascule-release", snapshot.release(choice.route.release).id.as_str());
        set("x-bascule-slot", choice.route.slot.as_str());
        if !choice.flags.is_empty() {
            set("x-bascule-flags", &choice.flags);
        }
    }
    out
}

fn is_web_socket(headers: &HeaderMap) -> bool {
    headers.get_all(http::header::UPGRADE).iter().any(|value| fields::list_contains(value, "websocket"))
}

/// What `x-bascule-decision` says.
pub fn explain(snapshot: &Snapshot, route: &Route) -> String {
    let mut text = format!("snapshot={}; slot={}; reason={}", snapshot.number(), route.slot, route.reason.as_str());
    if let Some(bucket) = route.bucket {
        text.push_str("; bucket=");
        text.push_str(&bucket.to_string());
    }
    text
}

/// The fields on which an answer may depend, when something was decided by request.
pub fn vary(snapshot: &Snapshot, route: &Route) -> Option<String> {
    if route.reason == RouteReason::Active && snapshot.forwarded().is_empty() {
        return None;
    }
    fields::vary(snapshot.needs().iter().filter_map(|attribute| match attribute.kind() {
        AttributeKind::Header(name) => Some(name),
        AttributeKind::Cookie(_) => Some("cookie"),
        _ => None,
    }))
}
