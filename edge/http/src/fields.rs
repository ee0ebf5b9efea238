//! Which fields pass an edge, by name: hop-by-hop, ours, a proxy's, anybody's.
//!
//! Names that are ours (`x-bascule-*`) and their underscore twins are the edge's alone, in both directions; what clients
//! could use to impersonate a proxy is believed only from trusted peers.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

const OWN_PREFIX: &str = "x-bascule";

/// What happens to a request field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Forwarded.
    Forward,
    /// Not forwarded.
    Drop,
    /// Forwarded when the peer is a trusted proxy.
    Trusted,
    /// The list of client addresses: made anew.
    ForwardedFor,
    /// The scheme the client used: of a trusted proxy, else ours.
    ForwardedProto,
    /// The authority the client used: of a trusted proxy, else ours.
    ForwardedHost,
    /// Of its values only `trailers` passes.
    Te,
}

/// The fate of a request field by its lower-case name. Names are told apart by their length first.
pub fn fate(name: &str) -> Fate {
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
pub fn is_or_reads_as(name: &HeaderName, other: &HeaderName) -> bool {
    name == other || (memchr(b'_', name.as_str().as_bytes()).is_some() && *name.as_str().replace('_', "-") == *other)
}

/// Whether a name belongs to the edge.
pub fn is_own(name: &str) -> bool {
    name.strip_prefix(OWN_PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Whether the `connection` fields name this one. Fields that frame or identify a message are not
/// at a client's disposal: they pass although they are named.
pub fn is_named(from: &HeaderMap, name: &HeaderName) -> bool {
    from.get_all(header::CONNECTION).iter().any(|value| names(value.as_bytes(), name.as_str()))
}

/// The same of one value of `connection`.
pub fn names(connection: &[u8], name: &str) -> bool {
    // By far the most common values name nothing.
    !matches!(connection, b"keep-alive" | b"close" | b"Keep-Alive" | b"upgrade" | b"Upgrade")
        && offers(connection, name.as_bytes())
        && !matches!(name, "content-length" | "authorization" | "cookie" | "content-type")
}

/// Whether a comma-separated list has the token, in any case.
pub fn list_contains(list: &HeaderValue, token: &str) -> bool {
    offers(list.as_bytes(), token.as_bytes())
}

/// The same on bytes.
pub fn offers(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// Whether a value names a scheme that we forward.
pub fn is_scheme(value: &HeaderValue) -> bool {
    matches!(value.as_bytes(), b"http" | b"https")
}

/// Response fields that end at this hop, or that only the edge may set. By lower-case name.
pub fn is_dropped_from_response(name: &str) -> bool {
    matches!(name, "keep-alive" | "proxy-connection" | "te" | "connection" | "transfer-encoding" | "upgrade")
        || (name.starts_with('x') && (is_own(name) || (name.contains('_') && is_own(&name.replace('_', "-")))))
}

/// Whether a trailer may pass: not ours, not hop-by-hop, not forgeable identity.
pub fn is_forwardable_trailer(name: &HeaderName) -> bool {
    matches!(fate(name.as_str()), Fate::Forward) && *name != header::CONTENT_LENGTH
}

/// Whether an id from a client may go into logs and headers as it is.
pub fn is_sane_id(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte))
}

/// Whether a `traceparent` is one that W3C Trace Context lets us pass on.
pub fn is_traceparent(value: &[u8]) -> bool {
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

/// What `vary` says of an answer that depends on these fields; each is named once.
pub fn vary<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut known: Vec<&str> = Vec::new();
    for name in names {
        if !known.contains(&name) {
            known.push(name);
        }
    }
    if known.is_empty() { None } else { Some(known.join(", ")) }
}
