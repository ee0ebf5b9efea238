//! From a request to the engine's context: only the attributes that the snapshot asks for, in its order.
//!
//! The platform joins repeated headers into one value, so a repeated header is seen whole here and not by its first line.

use std::borrow::Cow;

use edge_engine::{AttributeKind, Snapshot, Value};
use edge_http::{cookies, host, query};
use http::HeaderMap;

/// The parts of a request that a context is made of.
#[derive(Debug, Default)]
pub struct Subject {
    /// The client's fields.
    pub headers: HeaderMap,
    /// The method.
    pub method: String,
    /// The path as received.
    pub path: String,
    /// What follows the `?`.
    pub query: String,
    /// Authority as given.
    pub authority: String,
    /// The client's address, as the platform says.
    pub ip: Option<String>,
    /// The client's country, as the platform says.
    pub country: Option<String>,
    /// Where this edge is.
    pub region: Option<String>,
    /// Whether the client came by TLS.
    pub is_tls: bool,
}

/// Values in the order of [`Snapshot::needs`].
pub type Values<'a> = Vec<Option<Cow<'a, [u8]>>>;

/// Takes from a request what the snapshot needs.
pub fn values<'a>(snapshot: &Snapshot, subject: &'a Subject) -> Values<'a> {
    snapshot.needs().iter().map(|attribute| value(attribute.kind(), subject)).collect()
}

/// The values as the engine takes them.
pub fn packed<'a>(values: &'a Values<'_>) -> Vec<Value<'a>> {
    values.iter().map(|value| value.as_deref().map_or(Value::Missing, Value::Text)).collect()
}

/// The index in the context where a minted unit goes, when this request needs one.
pub fn wants_unit(snapshot: &Snapshot, values: &Values<'_>) -> Option<usize> {
    let (attribute, source) = snapshot.minted_unit()?;
    let is_present = |index: usize| values.get(index).is_some_and(|v| v.as_ref().is_some_and(|v| !v.is_empty()));
    let before = snapshot.unit_sources().iter().take(usize::from(source.0));
    let mut all = before.map(|unit| usize::from(unit.attribute)).chain([attribute]);
    (!all.any(is_present)).then_some(attribute)
}

fn value<'a>(kind: AttributeKind<'_>, subject: &'a Subject) -> Option<Cow<'a, [u8]>> {
    let text = |text: &'a str| Some(Cow::Borrowed(text.as_bytes()));
    match kind {
        AttributeKind::Header(name) => subject.headers.get(name).map(|value| Cow::Borrowed(value.as_bytes())),
        AttributeKind::Cookie(name) => cookie(&subject.headers, name.as_bytes()).map(Cow::Borrowed),
        AttributeKind::Query(name) => query::parameter(subject.query.as_bytes(), name.as_bytes()),
        AttributeKind::Host => Some(match host::normal(host::without_port(&subject.authority)) {
            Cow::Borrowed(name) => Cow::Borrowed(name.as_bytes()),
            Cow::Owned(name) => Cow::Owned(name.into_bytes()),
        }),
        AttributeKind::Path => text(&subject.path),
        AttributeKind::Method => text(&subject.method),
        AttributeKind::Ip => subject.ip.as_deref().and_then(text),
        AttributeKind::Region => subject.region.as_deref().and_then(text),
        AttributeKind::Country => subject.country.as_deref().and_then(text),
        AttributeKind::TargetingKey | AttributeKind::Custom(_) => None,
    }
}

/// The first cookie with this name; a unit that no edge minted counts as absent.
fn cookie<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    let is_unit = name == cookies::UNIT.as_bytes();
    let mut found = cookies::all(headers).filter(|(given, _)| *given == name).map(|(_, value)| value);
    found.find(|value| !is_unit || cookies::is_unit(value))
}
