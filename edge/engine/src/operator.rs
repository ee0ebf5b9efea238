//! Operators: how one attribute is compared with the values of a condition.
//!
//! Values are `ORed`. A missing attribute makes every operator false (and its negation true). On a list
//! an operator holds when it holds for one element. Nothing here fails: a value of the wrong kind does
//! not match.

use std::cmp::Ordering;
use std::net::IpAddr;

use ipnet::IpNet;
use regex_lite::{Regex, RegexBuilder};
use rustc_hash::FxHashSet;
use semver::Version;
use serde_json::Value as Json;

use crate::context::Value;
use crate::limits::{MAX_MATCH_BYTES, MAX_PATTERN_BYTES, MAX_PATTERN_COMPILED, MAX_VALUE_BYTES};
use crate::problem::Problems;
use crate::text::{canonical, canonical_json, number, parse_number};
use crate::time::parse_rfc3339;

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
    Matches(Box<[Regex]>),
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

/// A set of canonical texts, in the form that answers fastest.
#[derive(Debug)]
pub(crate) enum TextSet {
    /// Few texts of at most eight bytes: countries, plans, regions.
    Short(Box<[(usize, u64)]>),
    /// Few texts.
    Few(Box<[Box<[u8]>]>),
    Many(FxHashSet<Box<[u8]>>),
}

impl TextSet {
    /// Up to this many, comparing one by one beats hashing the probe.
    const FEW: usize = 8;

    fn new(values: Vec<Box<[u8]>>) -> Self {
        if values.len() > Self::FEW {
            return Self::Many(values.into_iter().collect());
        }
        let short: Option<Box<[_]>> = values.iter().map(|value| Some((value.len(), word(value)?))).collect();
        short.map_or_else(|| Self::Few(values.into()), Self::Short)
    }

    #[inline]
    fn contains(&self, text: &[u8]) -> bool {
        match self {
            Self::Short(values) => word(text).is_some_and(|word| values.contains(&(text.len(), word))),
            Self::Few(values) => values.iter().any(|value| **value == *text),
            Self::Many(values) => values.contains(text),
        }
    }
}

/// Up to eight bytes as one word; `None` when there are more.
#[inline]
fn word(text: &[u8]) -> Option<u64> {
    if let Some(bytes) = text.first_chunk::<4>() {
        let low = u64::from(u32::from_le_bytes(*bytes));
        // The last four bytes overlap the first ones where there are fewer than eight.
        let high = u64::from(u32::from_le_bytes(*text.last_chunk::<4>()?));
        return (text.len() <= 8).then_some(low | high << 32);
    }
    Some(text.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

/// Steps that one test may take, in units of about 10 ns; the base of [`crate::limits::MAX_COST`].
const CONTAINS_STEPS: u64 = 50;
/// Per byte of a pattern: each byte of the value visits each state once.
const MATCH_STEPS: u64 = 50;
/// A counted repetition unfolds; it costs as the longest pattern.
const COUNTED_PATTERN: usize = MAX_PATTERN_BYTES;

impl Operator {
    /// Compiles the operator of this name. Returns it with whether its result is negated.
    pub(crate) fn compile(name: &str, values: &[Json], problems: &mut Problems) -> Option<(Self, bool)> {
        let operator = match name {
            "eq" | "in" | "neq" | "notIn" => Self::OneOf(TextSet::new(texts(values, problems)?)),
            "exists" => {
                if !values.is_empty() {
                    problems.at("values", |p| {
                        p.add("values_not_allowed", "`exists` takes no values; use `not` to ask for absence");
                    });
                }
                Self::Exists
            }
            "startsWith" => Self::StartsWith(texts(values, problems)?.into()),
            "endsWith" => Self::EndsWith(texts(values, problems)?.into()),
            "contains" => Self::Contains(texts(values, problems)?.into()),
            "matches" => Self::Matches(each(values, problems, "a pattern", pattern)?.into()),
            "before" => Self::Time(Compare::Lt, each(values, problems, "an RFC 3339 timestamp", timestamp)?.into()),
            "after" => Self::Time(Compare::Gt, each(values, problems, "an RFC 3339 timestamp", timestamp)?.into()),
            "cidr" => {
                Self::Cidr(each(values, problems, "an IP address or network such as 10.0.0.0/8", network)?.into())
            }
            _ => return Self::compile_comparison(name, values, problems),
        };
        Some((operator, matches!(name, "neq" | "notIn")))
    }

    fn compile_comparison(name: &str, values: &[Json], problems: &mut Problems) -> Option<(Self, bool)> {
        let (versions, compare) = match name {
            "lt" => (false, Compare::Lt),
            "lte" => (false, Compare::Lte),
            "gt" => (false, Compare::Gt),
            "gte" => (false, Compare::Gte),
            "semverEq" => (true, Compare::Eq),
            "semverLt" => (true, Compare::Lt),
            "semverLte" => (true, Compare::Lte),
            "semverGt" => (true, Compare::Gt),
            "semverGte" => (true, Compare::Gte),
            _ => {
                let known = OPERATORS.join(", ");
                problems.at("op", |p| p.add("operator_unknown", format!("`{name}` is no operator; there are {known}")));
                return None;
            }
        };
        let operator = if versions {
            Self::Version(compare, each(values, problems, "a semantic version", semantic_version)?.into())
        } else {
            Self::Number(compare, each(values, problems, "a number", finite)?.into())
        };
        Some((operator, false))
    }

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
        match self {
            Self::OneOf(_) | Self::Exists => 1,
            Self::StartsWith(values) | Self::EndsWith(values) => count(values.len()),
            Self::Contains(values) => CONTAINS_STEPS * count(values.len()),
            Self::Matches(patterns) => patterns.iter().map(|p| MATCH_STEPS * count(pattern_weight(p.as_str()))).sum(),
            Self::Number(_, values) => count(values.len()),
            Self::Time(_, values) => count(values.len()),
            Self::Version(_, values) => 4 * count(values.len()),
            Self::Cidr(values) => count(values.len()),
        }
    }

    /// Whether the operator holds for a value.
    #[inline]
    pub(crate) fn holds(&self, value: Value<'_>) -> bool {
        match value {
            Value::Text(text) if self.compares_text() => self.holds_text(text),
            Value::Missing => false,
            Value::List(elements) => elements.iter().any(|element| self.holds_scalar(*element)),
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
            Self::Exists => true,
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
            Self::Contains(values) => values.iter().any(|value| memchr::memmem::find(text, value).is_some()),
            Self::Matches(patterns) => utf8(text)
                .filter(|text| text.len() <= MAX_MATCH_BYTES)
                .is_some_and(|text| patterns.iter().any(|pattern| pattern.is_match(text))),
            Self::Version(compare, values) => utf8(text)
                .and_then(parse_version)
                .is_some_and(|version| values.iter().any(|value| compare.holds(version.cmp_precedence(value)))),
            Self::Cidr(values) => utf8(text)
                .and_then(|text| text.parse::<IpAddr>().ok())
                .is_some_and(|ip| values.iter().any(|network| network.contains(&ip.to_canonical()))),
            Self::OneOf(_) | Self::Exists | Self::Number(..) | Self::Time(..) => false,
        }
    }
}

fn utf8(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A timestamp, or a number of milliseconds since 1970.
fn instant(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Text(bytes) => parse_rfc3339(utf8(bytes)?),
        #[expect(clippy::cast_possible_truncation, reason = "a float beyond i64 saturates, which orders correctly")]
        Value::Number(number) => Some(number as i64),
        _ => None,
    }
}

/// Parses every value, reporting each that is not what the operator needs.
fn each<T>(
    values: &[Json],
    problems: &mut Problems,
    expected: &str,
    parse: impl Fn(&Json) -> Result<T, String>,
) -> Option<Vec<T>> {
    let parsed: Vec<T> = values
        .iter()
        .enumerate()
        .filter_map(|(i, value)| {
            let parsed = if value.as_str().is_some_and(|text| text.len() > MAX_VALUE_BYTES) {
                Err(format!("is longer than {MAX_VALUE_BYTES} bytes"))
            } else {
                parse(value)
            };
            parsed
                .map_err(|why| {
                    problems.at("values", |p| {
                        p.at(i, |p| p.add("value_invalid", format!("{} {why}; expected {expected}", shown(value))));
                    });
                })
                .ok()
        })
        .collect();
    (parsed.len() == values.len()).then_some(parsed)
}

/// A value as an error shows it: cut, so that a bad document cannot flood the log.
fn shown(value: &Json) -> String {
    const SHOWN: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("`{}…`", text.get(..cut).unwrap_or_default()),
        None => format!("`{text}`"),
    }
}

fn texts(values: &[Json], problems: &mut Problems) -> Option<Vec<Box<[u8]>>> {
    each(values, problems, "a text, number or boolean", |value| {
        canonical_json(value).ok_or_else(|| "has the wrong type".into())
    })
}

fn text(value: &Json) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "is no text".into())
}

fn pattern_weight(pattern: &str) -> usize {
    if pattern.contains('{') { COUNTED_PATTERN } else { pattern.len().max(1) }
}

fn pattern(value: &Json) -> Result<Regex, String> {
    let pattern = text(value)?;
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!("is longer than {MAX_PATTERN_BYTES} bytes"));
    }
    RegexBuilder::new(pattern)
        .size_limit(MAX_PATTERN_COMPILED)
        .build()
        .map_err(|error| format!("does not compile: {error}"))
}

fn timestamp(value: &Json) -> Result<i64, String> {
    parse_rfc3339(text(value)?).ok_or_else(|| "is none".into())
}

fn network(value: &Json) -> Result<IpNet, String> {
    let text = text(value)?;
    text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| "is none".into())
}

fn finite(value: &Json) -> Result<f64, String> {
    match value {
        Json::String(text) => parse_number(text),
        value => value.as_f64(),
    }
    .ok_or_else(|| "is none".into())
}

fn semantic_version(value: &Json) -> Result<Version, String> {
    let text = canonical_json(value).ok_or("is none")?;
    utf8(&text).and_then(parse_version).ok_or_else(|| "is none".into())
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
