//! From a request to the engine's context: only the attributes that the snapshot asks for, packed
//! in its order.
//!
//! Of a repeated header, cookie or query parameter the first counts. The client's address and
//! country are taken from proxies only when the peer is trusted.

use std::borrow::Cow;
use std::net::IpAddr;

use edge_engine::{AttributeKind, Snapshot, UnitIndex, Value};
use http::{HeaderMap, HeaderName, Method, Uri};
use ipnet::IpNet;

use super::cookies;
use super::hosts;
use super::limits::DataConfig;
use super::link::Peer;

/// Where each attribute of a snapshot comes from.
#[derive(Debug)]
pub(super) struct ContextPlan {
    sources: Box<[Source]>,
    has_cookies: bool,
    /// Attribute and source index of the minted unit, and the attributes that come before it in
    /// the environment's list of units.
    minted: Option<Minted>,
    region: Option<Box<[u8]>>,
    country: Option<HeaderName>,
    trusted: Box<[IpNet]>,
}

#[derive(Debug)]
struct Minted {
    attribute: usize,
    source: UnitIndex,
    before: Box<[usize]>,
}

#[derive(Debug)]
enum Source {
    Header(HeaderName),
    Cookie(Box<[u8]>),
    Query(Box<[u8]>),
    Host,
    Path,
    Method,
    Ip,
    Region,
    Country,
    /// The gateway has no such thing.
    Nothing,
}

/// The parts of a request that a context is made of.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    /// Authority as given.
    pub(super) host: &'a str,
    pub(super) peer: &'a Peer,
}

/// Values that have to be made and live as long as the context.
#[derive(Default)]
pub(super) struct Owned {
    host: String,
    ip: String,
    queries: Vec<Vec<u8>>,
}

impl ContextPlan {
    pub(super) fn new(snapshot: &Snapshot, config: &DataConfig) -> Self {
        let sources: Box<[Source]> = snapshot.needs().iter().map(|attribute| Source::of(attribute.kind())).collect();
        let minted = snapshot.minted_unit().map(|(attribute, source)| Minted {
            attribute,
            source,
            before: snapshot
                .unit_sources()
                .iter()
                .take(usize::from(source.0))
                .map(|unit| usize::from(unit.attribute))
                .collect(),
        });
        Self {
            has_cookies: sources.iter().any(|source| matches!(source, Source::Cookie(_))),
            sources,
            minted,
            region: config.region.as_deref().map(|region| region.as_bytes().into()),
            country: config.country_header.clone(),
            trusted: config.trusted_proxies.clone().into(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sources.len()
    }

    /// Makes the values that cannot be borrowed from the request.
    pub(super) fn own(&self, subject: Subject<'_>) -> Owned {
        let mut owned = Owned::default();
        for source in &self.sources {
            match source {
                Source::Ip => {
                    use std::fmt::Write as _;
                    let _ = write!(owned.ip, "{}", client_ip(subject.headers, subject.peer, &self.trusted));
                }
                Source::Host if owned.host.is_empty() => {
                    owned.host = hosts::normal(hosts::without_port(subject.host)).into_owned();
                }
                Source::Query(name) => {
                    let query = subject.uri.query().unwrap_or_default().as_bytes();
                    if let Some(Cow::Owned(decoded)) = parameter(query, name) {
                        owned.queries.push(decoded);
                    }
                }
                _ => {}
            }
        }
        owned
    }

    /// Packs the values. `values` is as long as [`Self::len`] and all `Missing`.
    pub(super) fn pack<'a>(&self, subject: Subject<'a>, owned: &'a Owned, values: &mut [Value<'a>]) {
        let mut queries = owned.queries.iter();
        for (source, value) in self.sources.iter().zip(values.iter_mut()) {
            *value = match source {
                Source::Header(name) => subject.headers.get(name).map_or(Value::Missing, |v| Value::Text(v.as_bytes())),
                Source::Query(name) => match parameter(subject.uri.query().unwrap_or_default().as_bytes(), name) {
                    Some(Cow::Borrowed(text)) => Value::Text(text),
                    Some(Cow::Owned(_)) => queries.next().map_or(Value::Missing, |text| Value::Text(text)),
                    None => Value::Missing,
                },
                Source::Host => Value::from(owned.host.as_str()),
                Source::Path => Value::from(subject.uri.path()),
                Source::Method => Value::from(subject.method.as_str()),
                Source::Ip => Value::from(owned.ip.as_str()),
                _ => Value::Missing,
            };
        }
        self.pack_rest(subject, values);
    }

    fn pack_rest<'a>(&self, subject: Subject<'a>, values: &mut [Value<'a>]) {
        if self.has_cookies {
            for (name, text) in cookies::all(subject.headers) {
                for (source, value) in self.sources.iter().zip(values.iter_mut()) {
                    if let Source::Cookie(wanted) = source
                        && **wanted == *name
                        && *value == Value::Missing
                        && (name != cookies::UNIT.as_bytes() || cookies::is_unit(text))
                    {
                        *value = Value::Text(text);
                    }
                }
            }
        }
        if let Some(country) = &self.country
            && subject.peer.is_trusted
            && let Some(text) = subject.headers.get(country)
        {
            self.fill(values, |source| matches!(source, Source::Country), Value::Text(text.as_bytes()));
        }
    }

    /// Packs the edge's own region.
    pub(super) fn pack_region<'a>(&'a self, values: &mut [Value<'a>]) {
        if let Some(region) = &self.region {
            self.fill(values, |source| matches!(source, Source::Region), Value::Text(region));
        }
    }

    fn fill<'a>(&self, values: &mut [Value<'a>], which: impl Fn(&Source) -> bool, with: Value<'a>) {
        for (source, value) in self.sources.iter().zip(values) {
            if which(source) {
                *value = with;
            }
        }
    }

    /// The index in the context where a minted unit goes, when this request needs one.
    pub(super) fn wants_unit(&self, values: &[Value<'_>]) -> Option<usize> {
        let minted = self.minted.as_ref()?;
        let is_present = |index: &usize| !matches!(values.get(*index), None | Some(Value::Missing | Value::Text([])));
        let none = !is_present(&minted.attribute) && !minted.before.iter().any(is_present);
        none.then_some(minted.attribute)
    }

    /// The unit source that stands for the minted unit.
    pub(super) fn minted_source(&self) -> Option<UnitIndex> {
        self.minted.as_ref().map(|minted| minted.source)
    }
}

impl Source {
    fn of(kind: AttributeKind<'_>) -> Self {
        match kind {
            AttributeKind::Header(name) => HeaderName::from_bytes(name.as_bytes()).map_or(Self::Nothing, Self::Header),
            AttributeKind::Cookie(name) => Self::Cookie(name.as_bytes().into()),
            AttributeKind::Query(name) => Self::Query(name.as_bytes().into()),
            AttributeKind::Host => Self::Host,
            AttributeKind::Path => Self::Path,
            AttributeKind::Method => Self::Method,
            AttributeKind::Ip => Self::Ip,
            AttributeKind::Region => Self::Region,
            AttributeKind::Country => Self::Country,
            AttributeKind::TargetingKey | AttributeKind::Custom(_) => Self::Nothing,
        }
    }
}

/// The client's address: from the right of `x-forwarded-for`, past trusted proxies only. What cannot
/// be parsed ends the walk, because nobody vouches for what stands left of it.
pub(super) fn client_ip(headers: &HeaderMap, peer: &Peer, trusted: &[IpNet]) -> IpAddr {
    if !peer.is_trusted {
        return peer.address;
    }
    let mut client = peer.address;
    for line in headers.get_all("x-forwarded-for").iter().rev() {
        for item in line.as_bytes().rsplit(|byte| *byte == b',') {
            let Some(address) = std::str::from_utf8(item.trim_ascii()).ok().and_then(parse_address) else {
                return client;
            };
            client = address;
            if !is_trusted(address, trusted) {
                return client;
            }
        }
    }
    client
}

/// Whether an address belongs to a trusted proxy.
pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// An address, with or without port and brackets; IPv4 in IPv6 counts as IPv4.
fn parse_address(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok().or_else(|| text.parse().ok().map(|with_port: std::net::SocketAddr| with_port.ip()));
    let address = address.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    address.map(|address: IpAddr| address.to_canonical())
}

/// The first parameter with this name, decoded.
fn parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let equals = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        (*decode(&pair[..equals]) == *name).then(|| decode(pair.get(equals + 1..).unwrap_or_default()))
    })
}

/// Form decoding; a `%` that starts no escape stands for itself.
fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let escape = || {
            let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
            u8::try_from(digit(0)? << 4 | digit(1)?).ok()
        };
        match byte {
            b'+' => out.push(b' '),
            b'%' => match escape() {
                Some(decoded) => {
                    out.push(decoded);
                    rest = &after[2..];
                }
                None => out.push(b'%'),
            },
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn ip(peer_address: &str, forwarded: &[&str], expected: &str) {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let address: IpAddr = peer_address.parse().unwrap();
        let peer = Peer { address, text: "".into(), is_trusted: is_trusted(address, &trusted), is_tls: false };
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_str(line).unwrap());
        }
        assert_eq!(client_ip(&headers, &peer, &trusted), expected.parse::<IpAddr>().unwrap(), "{forwarded:?}");
    }

    #[test]
    fn the_client_is_the_first_untrusted_address_from_the_right() {
        ip("192.0.2.1", &[], "192.0.2.1");
        ip("192.0.2.1", &["203.0.113.9"], "192.0.2.1");
        ip("10.0.0.1", &[], "10.0.0.1");
        ip("10.0.0.1", &["203.0.113.9"], "203.0.113.9");
        ip("10.0.0.1", &["1.1.1.1, 203.0.113.9"], "203.0.113.9");
        ip("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9");
        ip("10.0.0.1", &["1.1.1.1", "203.0.113.9 ", "10.0.0.2,10.0.0.3"], "203.0.113.9");
        ip("10.0.0.1", &["10.0.0.9, 10.0.0.2"], "10.0.0.9");
        ip("10.0.0.1", &["203.0.113.9:1234"], "203.0.113.9");
        ip("fd00::1", &["[2001:db8::1]:80, fd00::2"], "2001:db8::1");
        ip("10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9");
    }

    #[test]
    fn a_forged_list_moves_nobody_at_any_number_of_hops() {
        let client = "203.0.113.9";
        let forged: [&[&str]; 7] = [
            &[],
            &["198.51.100.1"],
            &["198.51.100.1, 198.51.100.2, 198.51.100.3"],
            &["10.0.0.7"],
            &["10.0.0.7, 10.0.0.8", "10.0.0.9"],
            &["127.0.0.1", "::1", "unknown", ""],
            &["\"10.0.0.1\", for=10.0.0.1;proto=https"],
        ];
        let proxies = ["10.0.0.1", "10.0.0.2", "fd00::3"];
        for list in forged {
            for hops in 0..=proxies.len() {
                // Each proxy adds the address that it was connected from; the gateway sees the last one's own.
                let came_from: Vec<&str> = std::iter::once(client).chain(proxies).take(hops).collect();
                let joined = came_from.join(", ");
                let lines: Vec<&str> = list.iter().copied().chain((hops > 0).then_some(joined.as_str())).collect();
                let peer = if hops == 0 { client } else { proxies[hops - 1] };
                ip(peer, &lines, client);
            }
        }
    }

    #[test]
    fn what_cannot_be_parsed_ends_the_walk() {
        ip("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1");
        ip("10.0.0.1", &["203.0.113.9, , 10.0.0.2"], "10.0.0.2");
        ip("10.0.0.1", &["203.0.113.9, 10.0.0.2 10.0.0.3"], "10.0.0.1");
        ip("10.0.0.1", &[""], "10.0.0.1");
    }

    #[test]
    fn query_parameters_are_decoded_and_the_first_counts() {
        let get = |query: &str, name: &str| {
            parameter(query.as_bytes(), name.as_bytes()).map(|v| String::from_utf8_lossy(&v).into_owned())
        };
        assert_eq!(get("a=1&b=2&a=3", "a").as_deref(), Some("1"));
        assert_eq!(get("a=x%20y+z%2", "a").as_deref(), Some("x y z%2"));
        assert_eq!(get("%61=1", "a").as_deref(), Some("1"));
        assert_eq!(get("a&b", "a").as_deref(), Some(""));
        assert_eq!(get("", "a"), None);
        assert_eq!(get("a=%zz%4", "a").as_deref(), Some("%zz%4"));
    }
}
