//! What passes between client and upstream in headers, and what does not.
//!
//! One pass over the request's fields decides for each: forward, replace or drop. Hop-by-hop fields
//! stay, also those that `connection` names; names that are ours (`x-bascule-*`) and their
//! underscore twins are the gateway's alone, in both directions; what clients could use to
//! impersonate a proxy is believed only from trusted peers.

use bytes::BytesMut;
use edge_http::fields::{Fate, fate, is_named, is_or_reads_as, is_scheme};
pub(super) use edge_http::fields::{
    is_dropped_from_response, is_forwardable_trailer, is_sane_id, is_traceparent, list_contains, offers,
};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Frame;

use super::link::Peer;

/// Header list that we accept over HTTP/2, as RFC 9113 counts it.
pub(super) const MAX_LIST_BYTES: u32 = 64 * 1024;

/// Where forwarded fields go: the bytes of an HTTP/1 head, or a map.
pub(super) trait Sink {
    fn forward(&mut self, name: &HeaderName, value: &HeaderValue);
    fn set(&mut self, name: &'static str, value: &[u8]);
    fn identify(&mut self, identity: &Identity);
}

/// The fields that tell an upstream which release it is asked as: made once, copied for each request.
#[derive(Debug)]
pub(super) struct Identity {
    lines: Box<[u8]>,
    fields: HeaderMap,
}

impl Identity {
    pub(super) fn new(app: &str, environment: &str, release: &str) -> Self {
        let named = [("x-bascule-app", app), ("x-bascule-environment", environment), ("x-bascule-release", release)];
        let (mut lines, mut fields) = (BytesMut::new(), HeaderMap::new());
        for (name, value) in named {
            lines.set(name, value.as_bytes());
            fields.set(name, value.as_bytes());
        }
        Self { lines: lines.as_ref().into(), fields }
    }
}

impl Sink for BytesMut {
    fn forward(&mut self, name: &HeaderName, value: &HeaderValue) {
        put(self, name.as_str(), value.as_bytes());
    }

    fn set(&mut self, name: &'static str, value: &[u8]) {
        put(self, name, value);
    }

    fn identify(&mut self, identity: &Identity) {
        self.extend_from_slice(&identity.lines);
    }
}

impl Sink for HeaderMap {
    fn forward(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(name, value.clone());
    }

    fn set(&mut self, name: &'static str, value: &[u8]) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            self.append(HeaderName::from_static(name), value);
        }
    }

    fn identify(&mut self, identity: &Identity) {
        self.extend(identity.fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}

/// Appends `name: value` and the line end.
pub(super) fn put(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Facts about the request that its own fields get.
pub(super) struct Facts<'a> {
    pub(super) peer: &'a Peer,
    /// Authority as the client gave it.
    pub(super) host: &'a [u8],
    pub(super) request_id: &'a [u8],
    /// Present when the client sent none that is valid.
    pub(super) new_traceparent: Option<&'a [u8]>,
    /// What only a trusted proxy may say: the configured header of the client's country.
    pub(super) country: Option<&'a HeaderName>,
}

/// Copies what may pass from the client's fields to the sink, and adds ours.
///
/// `x-request-id` and `content-length` are the caller's business beyond the value given here.
pub(super) fn forward(from: &HeaderMap, facts: &Facts<'_>, to: &mut impl Sink) {
    let is_trusted = facts.peer.is_trusted;
    let (mut proto, mut host) = (false, false);
    let forgeable = facts.country.filter(|_| !is_trusted);
    for (name, value) in from {
        if forgeable.is_some_and(|country| is_or_reads_as(name, country)) {
            continue;
        }
        match fate(name.as_str()) {
            Fate::Forward if *name == "traceparent" && facts.new_traceparent.is_some() => {}
            Fate::Forward if !is_named(from, name) => to.forward(name, value),
            Fate::Trusted if is_trusted => to.forward(name, value),
            Fate::ForwardedProto if is_trusted && !proto && is_scheme(value) => {
                proto = true;
                to.forward(name, value);
            }
            Fate::ForwardedHost if is_trusted && !host => {
                host = true;
                to.forward(name, value);
            }
            Fate::Te if list_contains(value, "trailers") => to.set("te", b"trailers"),
            _ => {}
        }
    }
    to.set("x-request-id", facts.request_id);
    if let Some(traceparent) = facts.new_traceparent {
        to.set("traceparent", traceparent);
    }
    forwarded_for(from, facts.peer, to);
    if !proto {
        to.set("x-forwarded-proto", if facts.peer.is_tls { b"https" } else { b"http" });
    }
    if !host && !facts.host.is_empty() {
        to.set("x-forwarded-host", facts.host);
    }
}

fn forwarded_for(from: &HeaderMap, peer: &Peer, to: &mut impl Sink) {
    if !peer.is_trusted || !from.contains_key("x-forwarded-for") {
        to.set("x-forwarded-for", peer.text.as_bytes());
        return;
    }
    let mut list = Vec::with_capacity(64);
    for value in from.get_all("x-forwarded-for") {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(peer.text.as_bytes());
    to.set("x-forwarded-for", &list);
}

/// Removes from an HTTP/2 response what [`is_dropped_from_response`].
pub(super) fn clean_response(headers: &mut HeaderMap) {
    let dropped: Vec<HeaderName> =
        headers.keys().filter(|name| is_dropped_from_response(name.as_str())).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
}

/// A frame whose trailers, if any, are only those that may pass.
pub(super) fn without_own_trailers<D>(frame: Frame<D>) -> Frame<D> {
    match frame.into_trailers() {
        Ok(trailers) => {
            let passes = |(name, value): (&HeaderName, &HeaderValue)| {
                is_forwardable_trailer(name).then(|| (name.clone(), value.clone()))
            };
            Frame::trailers(trailers.iter().filter_map(passes).collect())
        }
        Err(frame) => frame,
    }
}

#[cfg(test)]
mod tests;
