//! From a request to the engine's context: only the attributes that the snapshot asks for, in its order.
//!
//! The platform joins repeated headers into one value, so a repeated header is seen whole here and not by its first line.

use std::borrow::Cow;

use edge_engine::{AttributeKind, Snapshot, Value};
use edge_http::{cookies, host, query};

/// Fields as the runtime gives them: names in lower case, each once.
pub type Fields = Vec<(String, String)>;

/// The parts of a request that a context is made of.
#[derive(Debug, Default)]
pub struct Subject {
    /// The client's fields.
    pub fields: Fields,
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
    /// Where the client is, as the platform says.
    pub geo: Geo,
    /// Where this edge is.
    pub region: Option<String>,
    /// Whether the client came by TLS.
    pub is_tls: bool,
    /// Whether a body comes.
    pub has_body: bool,
}

/// What the platform says about where a client is: the attributes `geo.country`, `geo.region`, `geo.colo` and `geo.asn`.
#[derive(Debug, Default)]
pub struct Geo {
    /// ISO 3166-1 code of the country.
    pub country: Option<String>,
    /// Code of the first-level region of the country (ISO 3166-2 without the country).
    pub region: Option<String>,
    /// IATA code of the data centre that the request came to.
    pub colo: Option<String>,
    /// Number of the autonomous system, in digits.
    pub asn: Option<String>,
}

/// Values in the order of [`Snapshot::needs`].
pub type Values<'a> = Vec<Option<Cow<'a, [u8]>>>;

impl Subject {
    /// The value of a field by its lower-case name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Whether repeating the request is the same as sending it once, and possible.
    pub fn is_repeatable(&self) -> bool {
        !self.has_body && matches!(&*self.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE")
    }

    /// Whether the client asks for a WebSocket.
    pub fn is_web_socket(&self) -> bool {
        self.field("upgrade").is_some_and(|value| edge_http::fields::offers(value.as_bytes(), b"websocket"))
    }

    fn value(&self, kind: AttributeKind<'_>) -> Option<Cow<'_, [u8]>> {
        fn text(text: Option<&String>) -> Option<Cow<'_, [u8]>> {
            text.map(|text| Cow::Borrowed(text.as_bytes()))
        }
        match kind {
            AttributeKind::Header(name) => self.field(name).map(|value| Cow::Borrowed(value.as_bytes())),
            AttributeKind::Cookie(name) => self.cookie(name.as_bytes()).map(Cow::Borrowed),
            AttributeKind::Query(name) => query::parameter(self.query.as_bytes(), name.as_bytes()),
            AttributeKind::Host => Some(match host::normal(host::without_port(&self.authority)) {
                Cow::Borrowed(name) => Cow::Borrowed(name.as_bytes()),
                Cow::Owned(name) => Cow::Owned(name.into_bytes()),
            }),
            AttributeKind::Path => text(Some(&self.path)),
            AttributeKind::Method => text(Some(&self.method)),
            AttributeKind::Ip => text(self.ip.as_ref()),
            AttributeKind::Region => text(self.region.as_ref()),
            AttributeKind::Country => text(self.geo.country.as_ref()),
            AttributeKind::Custom("geo.region") => text(self.geo.region.as_ref()),
            AttributeKind::Custom("geo.colo") => text(self.geo.colo.as_ref()),
            AttributeKind::Custom("geo.asn") => text(self.geo.asn.as_ref()),
            AttributeKind::TargetingKey | AttributeKind::Custom(_) => None,
        }
    }

    /// The first cookie with this name; a unit that no edge minted counts as absent.
    fn cookie(&self, name: &[u8]) -> Option<&[u8]> {
        let is_unit = name == cookies::UNIT.as_bytes();
        let lines = self.fields.iter().filter(|(name, _)| name == "cookie").map(|(_, value)| value.as_bytes());
        let mut found = cookies::read(lines).filter(|(given, _)| *given == name).map(|(_, value)| value);
        found.find(|value| !is_unit || cookies::is_unit(value))
    }
}

/// Takes from a request what the snapshot needs.
pub fn values<'a>(snapshot: &Snapshot, subject: &'a Subject) -> Values<'a> {
    snapshot.needs().iter().map(|attribute| subject.value(attribute.kind())).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Subject {
            fields: vec![
                field("x-user-id", "u1"),
                field("cookie", "a=1; bsc_unit=forged; bsc_unit=0123456789abcdef0123456789abcdef"),
            ],
            method: "GET".into(),
            path: "/a".into(),
            query: "q=%20x".into(),
            authority: "Shop.Example:8443".into(),
            geo: Geo { country: Some("DE".into()), colo: Some("FRA".into()), asn: Some("64500".into()), region: None },
            ..Subject::default()
        }
    }

    #[test]
    fn each_attribute_is_found_where_it_comes_from() {
        let subject = subject();
        let value = |kind| subject.value(kind).map(|value| String::from_utf8_lossy(&value).into_owned());
        for (kind, expected) in [
            (AttributeKind::Header("x-user-id"), Some("u1")),
            (AttributeKind::Header("x-none"), None),
            (AttributeKind::Cookie("a"), Some("1")),
            (AttributeKind::Cookie("bsc_unit"), Some("0123456789abcdef0123456789abcdef")),
            (AttributeKind::Query("q"), Some(" x")),
            (AttributeKind::Host, Some("shop.example")),
            (AttributeKind::Path, Some("/a")),
            (AttributeKind::Country, Some("DE")),
            (AttributeKind::Custom("geo.colo"), Some("FRA")),
            (AttributeKind::Custom("geo.asn"), Some("64500")),
            (AttributeKind::Custom("geo.region"), None),
            (AttributeKind::Custom("plan"), None),
            (AttributeKind::Ip, None),
        ] {
            assert_eq!(value(kind).as_deref(), expected, "{kind:?}");
        }
    }

    #[test]
    fn only_what_changes_nothing_twice_is_repeated() {
        let of =
            |method: &str, has_body| Subject { method: method.into(), has_body, ..Subject::default() }.is_repeatable();
        assert!(of("GET", false) && of("DELETE", false));
        assert!(!of("POST", false) && !of("PUT", true));
    }
}
