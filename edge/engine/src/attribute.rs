//! Attributes: the names under which a snapshot asks for parts of a request.
//!
//! A snapshot interns the attributes it needs; conditions and unit sources hold indices. Header
//! names are lower-case; the other names are taken as they are.

use rustc_hash::FxHashMap;

use crate::limits::{MAX_ATTRIBUTE_BYTES, MAX_ATTRIBUTES};
use crate::problem::Problems;

/// A name such as `header.x-user-id`, `http.path`, `geo.country` or `plan`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attribute(Box<str>);

/// Where a host finds an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeKind<'a> {
    /// `header.<name>`, lower-case.
    Header(&'a str),
    /// `cookie.<name>`.
    Cookie(&'a str),
    /// `query.<name>`, percent-decoded.
    Query(&'a str),
    /// `http.host`, lower-case, without port.
    Host,
    /// `http.path`, as received.
    Path,
    /// `http.method`.
    Method,
    /// `ip`, the trusted client address.
    Ip,
    /// `region`, of the edge.
    Region,
    /// `geo.country`, ISO 3166-1 alpha-2.
    Country,
    /// `targetingKey`, the unit that an SDK passes.
    TargetingKey,
    /// Anything else: an attribute that an application passes.
    Custom(&'a str),
}

impl Attribute {
    /// The attribute with this name.
    pub(crate) fn new(name: &str) -> Self {
        match name.strip_prefix("header.") {
            Some(header) => Self(format!("header.{}", header.to_ascii_lowercase()).into()),
            None => Self(name.into()),
        }
    }

    /// The name as conditions write it.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Where a host finds it.
    pub fn kind(&self) -> AttributeKind<'_> {
        let name = &*self.0;
        match name {
            "http.host" => AttributeKind::Host,
            "http.path" => AttributeKind::Path,
            "http.method" => AttributeKind::Method,
            "ip" => AttributeKind::Ip,
            "region" => AttributeKind::Region,
            "geo.country" => AttributeKind::Country,
            "targetingKey" => AttributeKind::TargetingKey,
            _ => match name.split_once('.') {
                Some(("header", header)) => AttributeKind::Header(header),
                Some(("cookie", cookie)) => AttributeKind::Cookie(cookie),
                Some(("query", parameter)) => AttributeKind::Query(parameter),
                _ => AttributeKind::Custom(name),
            },
        }
    }
}

/// The attributes of a snapshot while it is being checked.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    list: Vec<Attribute>,
    index: FxHashMap<Attribute, u16>,
}

impl Attributes {
    /// The index of the attribute; the same for the same name.
    pub(crate) fn intern(&mut self, name: &str, problems: &mut Problems) -> u16 {
        let proper = (1..=MAX_ATTRIBUTE_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
        if !proper {
            problems.add(
                "attribute_invalid",
                format!("an attribute name is 1 to {MAX_ATTRIBUTE_BYTES} bytes of printable text"),
            );
            return 0;
        }
        let attribute = Attribute::new(name);
        if let Some(index) = self.index.get(&attribute) {
            return *index;
        }
        if problems.over("attributes in conditions and units", self.list.len() + 1, MAX_ATTRIBUTES) {
            return 0;
        }
        let index = u16::try_from(self.list.len()).unwrap_or(u16::MAX);
        self.list.push(attribute.clone());
        self.index.insert(attribute, index);
        index
    }

    pub(crate) fn into_list(self) -> Box<[Attribute]> {
        self.list.into()
    }
}
