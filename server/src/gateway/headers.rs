//! What passes between client and upstream in headers, and what does not.
//!
//! One pass over the request's fields decides for each: forward, replace or drop. Hop-by-hop fields
//! stay, also those that `connection` names; names that are ours (`x-bascule-*`) and their
//! underscore twins are the gateway's alone, in both directions; what clients could use to
//! impersonate a proxy is believed only from trusted peers.

use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::body::Frame;
use memchr::memchr;

use super::link::Peer;

/// Header list that we accept over HTTP/2, as RFC 9113 counts it.
pub(super) const MAX_LIST_BYTES: u32 = 64 * 1024;
const OWN_PREFIX: &str = "x-bascule";

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

/// What happens to a request field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Forward,
    Drop,
    /// Forwarded when the peer is a trusted proxy.
    Trusted,
    ForwardedFor,
    ForwardedProto,
    ForwardedHost,
    Te,
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

/// The fate of a request field by its lower-case name. Names are told apart by their length first.
fn fate(name: &str) -> Fate {
    match name.len() {
        2 if name == "te" => Fate::Te,
        4 if name == "host" => Fate::Drop,
        7 if name == "upgrade" => Fate::Drop,
        9 if matches!(name, "forwarded" | "x-real-ip" | "x-bascule") => trusted_unless_own(name),
        10 if matches!(name, "connection" | "keep-alive") => Fate::Drop,
        12 if name == "x-request-id" => Fate::Drop,
        // Known to rewrite the target behind a cache or a gateway.
        13 if name == "x-rewrite-url" => Fate::Drop,
        14 if matches!(name, "x-original-url" | "http2-settings") => Fate::Drop,
        15 if name == "x-original-host" => Fate::Drop,
        15 if name == "x-forwarded-for" => Fate::ForwardedFor,
        16 if name == "x-forwarded-host" => Fate::ForwardedHost,
        16 if name == "proxy-connection" => Fate::Drop,
        17 if name == "x-forwarded-proto" => Fate::ForwardedProto,
        17 if name == "transfer-encoding" => Fate::Drop,
        18 if name == "proxy-authenticate" => Fate::Drop,
        19 if name == "proxy-authorization" => Fate::Drop,
        10.. if name.starts_with("x-") => extension(name),
        _ if memchr(b'_', name.as_bytes()).is_some() => twin(name),
        _ => Fate::Forward,
    }
}

fn trusted_unless_own(name: &str) -> Fate {
    if name == OWN_PREFIX { Fate::Drop } else { Fate::Trusted }
}

fn extension(name: &str) -> Fate {
    if memchr(b'_', name.as_bytes()).is_some() {
        twin(name)
    } else if is_own(name) {
        Fate::Drop
    } else if name.starts_with("x-forwarded-") || matches!(name, "x-client-ip" | "x-cluster-client-ip") {
        Fate::Trusted
    } else {
        Fate::Forward
    }
}

/// A name with an underscore, which CGI-like back ends read as a hyphen: it must not pass where the
/// hyphenated name would not.
fn twin(name: &str) -> Fate {
    match fate(&name.replace('_', "-")) {
        Fate::Forward => Fate::Forward,
        _ => Fate::Drop,
    }
}

/// Whether a back end may take the one name for the other.
fn is_or_reads_as(name: &HeaderName, other: &HeaderName) -> bool {
    name == other || (memchr(b'_', name.as_str().as_bytes()).is_some() && *name.as_str().replace('_', "-") == *other)
}

/// Whether a name belongs to the gateway.
pub(super) fn is_own(name: &str) -> bool {
    name.strip_prefix(OWN_PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Whether the `connection` fields name this one. Fields that frame or identify a message are not
/// at a client's disposal: they pass although they are named.
fn is_named(from: &HeaderMap, name: &HeaderName) -> bool {
    from.get_all(header::CONNECTION).iter().any(|value| {
        // By far the most common values name nothing.
        !matches!(value.as_bytes(), b"keep-alive" | b"close" | b"Keep-Alive" | b"upgrade" | b"Upgrade")
            && list_contains(value, name.as_str())
            && !matches!(*name, header::CONTENT_LENGTH | header::AUTHORIZATION | header::COOKIE | header::CONTENT_TYPE)
    })
}

/// Whether a comma-separated list has the token, in any case.
pub(super) fn list_contains(list: &HeaderValue, token: &str) -> bool {
    offers(list.as_bytes(), token.as_bytes())
}

/// The same on bytes.
pub(super) fn offers(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

fn is_scheme(value: &HeaderValue) -> bool {
    matches!(value.as_bytes(), b"http" | b"https")
}

/// Response fields that end at this hop, or that only the gateway may set. By lower-case name.
pub(super) fn is_dropped_from_response(name: &str) -> bool {
    matches!(name, "keep-alive" | "proxy-connection" | "te" | "connection" | "transfer-encoding" | "upgrade")
        || (name.starts_with('x') && (is_own(name) || (name.contains('_') && is_own(&name.replace('_', "-")))))
}

/// Removes from an HTTP/2 response what [`is_dropped_from_response`].
pub(super) fn clean_response(headers: &mut HeaderMap) {
    let dropped: Vec<HeaderName> =
        headers.keys().filter(|name| is_dropped_from_response(name.as_str())).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
}

/// Whether a trailer may pass: not ours, not hop-by-hop, not forgeable identity.
pub(super) fn is_forwardable_trailer(name: &HeaderName) -> bool {
    matches!(fate(name.as_str()), Fate::Forward) && *name != header::CONTENT_LENGTH
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

/// Whether an id from a client may go into logs and headers as it is.
pub(super) fn is_sane_id(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte))
}

/// Whether a `traceparent` is one that W3C Trace Context lets us pass on.
pub(super) fn is_traceparent(value: &[u8]) -> bool {
    let is_hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |part: &[u8]| part.iter().all(|b| *b == b'0');
    let mut parts = value.splitn(4, |byte| *byte == b'-');
    let (Some(version), Some(trace), Some(parent), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let flags_end = if version == b"00" { flags.len() } else { flags.len().min(2) };
    (version.len(), trace.len(), parent.len(), flags_end) == (2, 32, 16, 2)
        && version != b"ff"
        && [version, trace, parent, &flags[..flags_end]].into_iter().all(is_hex)
        && (flags.len() == 2 || flags.get(2) == Some(&b'-'))
        && !zero(trace)
        && !zero(parent)
}

#[cfg(test)]
mod tests;
