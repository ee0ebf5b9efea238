//! Operators: how one attribute is compared with the values of a condition.
//!
//! Values are `ORed`. A missing attribute makes every operator false (and its negation true). On a list
//! an operator holds when it holds for one element. Nothing here fails: a value of the wrong kind, or
//! one longer than the operator reads, does not match. `operator/compile.rs` makes operators, here they
//! are evaluated.

mod compile;
mod pattern;
mod set;

use std::cmp::Ordering;
use std::net::IpAddr;

use ipnet::IpNet;
use semver::Version;

use crate::context::Value;
use crate::limits::{MAX_LIST_ELEMENTS, MAX_SCALAR_BYTES, MAX_SEARCH_BYTES};
use crate::text::{canonical, number};
use crate::time::parse_rfc3339;
pub(crate) use compile::Ledger;
use pattern::Pattern;
use set::TextSet;

/// The operators' public names.
pub const OPERATORS: [&str; 21] = [
    "eq",
    "neq",
    "in",
    "notIn",
    "exists",
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "lt",
    "lte",
    "gt",
    "gte",
    "before",
    "after",
    "semverEq",
    "semverLt",
    "semverLte",
    "semverGt",
    "semverGte",
    "cidr",
];

/// An operator with its values, compiled.
#[derive(Debug)]
pub(crate) enum Operator {
    OneOf(TextSet),
    Exists,
    StartsWith(Box<[Box<[u8]>]>),
    EndsWith(Box<[Box<[u8]>]>),
    Contains(Box<[Box<[u8]>]>),
    Matches(Box<[Pattern]>),
    Number(Compare, Box<[f64]>),
    Time(Compare, Box<[i64]>),
    Version(Compare, Box<[Version]>),
    Cidr(Box<[IpNet]>),
}

/// Which orderings satisfy a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Eq,
    Lt,
    Lte,
    Gt,
    Gte,
}

impl Compare {
    #[inline]
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Eq => ordering.is_eq(),
            Self::Lt => ordering.is_lt(),
            Self::Lte => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::Gte => ordering.is_ge(),
        }
    }
}

/// Steps of at most 20 ns (see [`crate::limits::MAX_COST`]); measured with the worst value for each operator.
mod steps {
    /// To read a text as a number, timestamp or address.
    pub(super) const READ: u64 = 10;
    /// To read a text as a version; and to compare it with one, pre-release by pre-release.
    pub(super) const READ_VERSION: u64 = 20;
    pub(super) const VERSION: u64 = 60;
    /// Numbers, timestamps or networks that are compared in one step.
    pub(super) const COMPARED: u64 = 2;
    /// To search the longest value for a needle; and bytes of needle that one step prepares.
    pub(super) const SEARCH: u64 = 200;
    pub(super) const PREPARED: u64 = 6;
    /// Bytes that one step compares, and that one step hashes.
    pub(super) const BYTES: u64 = 128;
    pub(super) const HASHED: u64 = 16;
}

impl Operator {
    /// The public name's static twin, for traces.
    pub(crate) fn name(text: &str) -> &'static str {
        OPERATORS.iter().find(|name| **name == text).copied().unwrap_or_default()
    }

    /// Whether the operator looks at instants, as `now` needs.
    pub(crate) fn is_time(&self) -> bool {
        matches!(self, Self::Time(..))
    }

    /// Steps of one evaluation at worst.
    pub(crate) fn cost(&self) -> u64 {
        let count = |len: usize| len as u64;
        let bytes = |values: &[Box<[u8]>]| values.iter().map(|value| count(value.len())).sum::<u64>() / steps::BYTES;
        match self {
            Self::Exists => 1,
            Self::OneOf(set) => set.cost(),
            Self::StartsWith(values) | Self::EndsWith(values) => 1 + count(values.len()) + bytes(values),
            Self::Contains(values) => {
                values.iter().map(|needle| steps::SEARCH + count(needle.len()) / steps::PREPARED).sum()
            }
            Self::Matches(patterns) => patterns.iter().map(Pattern::cost).sum(),
            Self::Number(_, values) => steps::READ + count(values.len()) / steps::COMPARED,
            Self::Time(_, values) => steps::READ + count(values.len()) / steps::COMPARED,
            Self::Cidr(values) => steps::READ + count(values.len()) / steps::COMPARED,
            Self::Version(_, values) => steps::READ_VERSION + steps::VERSION * count(values.len()),
        }
    }

    /// Whether the operator holds for a value.
    #[inline]
    pub(crate) fn holds(&self, value: Value<'_>) -> bool {
        match value {
            Value::Text(text) if self.compares_text() => self.holds_text(text),
            Value::Missing => false,
            Value::List(elements) => elements.iter().take(MAX_LIST_ELEMENTS).any(|element| self.holds_scalar(*element)),
            scalar => self.holds_scalar(scalar),
        }
    }

    /// Whether text is compared as it is.
    #[inline]
    fn compares_text(&self) -> bool {
        !matches!(self, Self::Exists | Self::Number(..) | Self::Time(..))
    }

    fn holds_scalar(&self, value: Value<'_>) -> bool {
        match self {
            Self::Exists => canonical(value).is_some(),
            Self::Number(compare, values) => number(value).is_some_and(|number| {
                values.iter().any(|value| number.partial_cmp(value).is_some_and(|ordering| compare.holds(ordering)))
            }),
            Self::Time(compare, values) => {
                instant(value).is_some_and(|instant| values.iter().any(|value| compare.holds(instant.cmp(value))))
            }
            _ => canonical(value).is_some_and(|text| self.holds_text(text.as_bytes())),
        }
    }

    #[inline]
    fn holds_text(&self, text: &[u8]) -> bool {
        match self {
            Self::OneOf(set) => set.contains(text),
            other => other.holds_other_text(text),
        }
    }

    fn holds_other_text(&self, text: &[u8]) -> bool {
        match self {
            Self::StartsWith(values) => values.iter().any(|value| text.starts_with(value)),
            Self::EndsWith(values) => values.iter().any(|value| text.ends_with(value)),
            Self::Contains(values) => {
                text.len() <= MAX_SEARCH_BYTES && values.iter().any(|value| memchr::memmem::find(text, value).is_some())
            }
            Self::Matches(patterns) => patterns.iter().any(|pattern| pattern.is_match(text)),
            Self::Version(compare, values) => short_utf8(text)
                .and_then(parse_version)
                .is_some_and(|version| values.iter().any(|value| compare.holds(version.cmp_precedence(value)))),
            Self::Cidr(values) => short_utf8(text)
                .and_then(|text| text.parse::<IpAddr>().ok())
                .is_some_and(|ip| values.iter().any(|network| network.contains(&ip.to_canonical()))),
            Self::OneOf(_) | Self::Exists | Self::Number(..) | Self::Time(..) => false,
        }
    }
}

/// A text that is short enough to be read as something.
fn short_utf8(bytes: &[u8]) -> Option<&str> {
    // The length first: validating a long value would cost its length.
    if bytes.len() <= MAX_SCALAR_BYTES { std::str::from_utf8(bytes).ok() } else { None }
}

/// A timestamp, or a number of milliseconds since 1970.
fn instant(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Text(bytes) => parse_rfc3339(short_utf8(bytes)?),
        #[expect(clippy::cast_possible_truncation, reason = "a float beyond i64 saturates, which orders correctly")]
        Value::Number(number) => Some(number as i64),
        _ => None,
    }
}

/// A version as `SemVer` 2.0 has it, also with a leading `v` and with minor or patch left out.
fn parse_version(text: &str) -> Option<Version> {
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    if let Ok(version) = Version::parse(text) {
        return Some(version);
    }
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at_checked(end)?;
    let padding = match core.matches('.').count() {
        0 => ".0.0",
        1 => ".0",
        _ => return None,
    };
    Version::parse(&format!("{core}{padding}{rest}")).ok()
}
