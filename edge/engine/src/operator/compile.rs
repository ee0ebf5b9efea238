//! From an operator's name and JSON values to an [`Operator`], or every value that does not fit.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use semver::Version;
use serde_json::Value as Json;

use super::pattern::{Pattern, Refused};
use super::set::{Keyed, TextSet};
use super::{Compare, OPERATORS, Operator, parse_version, short_utf8};
use crate::bucket::BucketingKey;
use crate::limits::{MAX_CONDITIONS, MAX_TOTAL_PATTERN_BYTES, MAX_TOTAL_VALUES, MAX_VALUE_BYTES, MAX_VALUES};
use crate::problem::Problems;
use crate::text::{canonical_json, parse_number};
use crate::time::parse_rfc3339;

/// What all conditions of a snapshot share: account of what they take, and how their lists are hashed.
#[derive(Debug)]
pub(crate) struct Ledger {
    conditions: usize,
    values: usize,
    pattern_bytes: usize,
    keyed: Keyed,
}

impl Ledger {
    pub(crate) fn new(key: &BucketingKey) -> Self {
        Self { conditions: 0, values: 0, pattern_bytes: 0, keyed: Keyed::new(key) }
    }

    /// Reports the totals that are over their caps.
    pub(crate) fn check(&self, problems: &mut Problems) {
        problems.over("conditions", self.conditions, MAX_CONDITIONS);
        problems.over("values in all conditions", self.values, MAX_TOTAL_VALUES);
        problems.over("bytes of patterns in all conditions", self.pattern_bytes, MAX_TOTAL_PATTERN_BYTES);
    }

    /// Enters a condition.
    pub(crate) fn count_condition(&mut self) {
        self.conditions += 1;
    }

    /// Whether [`Self::check`] will refuse the snapshot: compiling more would only cost time.
    pub(crate) fn is_overdrawn(&self) -> bool {
        self.conditions > MAX_CONDITIONS
            || self.values > MAX_TOTAL_VALUES
            || self.pattern_bytes > MAX_TOTAL_PATTERN_BYTES
    }
}

impl Operator {
    /// Compiles the operator of this name. Returns it with whether its result is negated.
    pub(crate) fn compile(
        name: &str,
        values: &[Json],
        ledger: &mut Ledger,
        problems: &mut Problems,
    ) -> Option<(Self, bool)> {
        ledger.values += values.len();
        let over = problems.at("values", |problems| problems.over("values in a condition", values.len(), MAX_VALUES));
        if over || ledger.is_overdrawn() {
            return None;
        }
        let operator = match name {
            "eq" | "in" | "neq" | "notIn" => Self::OneOf(TextSet::new(texts(values, problems)?, &ledger.keyed)),
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
            "matches" => Self::Matches(patterns(values, ledger, problems)?.into()),
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
                let detail = format!("`{name:.60}` is no operator; there are {known}");
                problems.at("op", |p| p.add("operator_unknown", detail));
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
}

/// Parses every value, reporting each that is not what the operator needs.
fn each<T>(
    values: &[Json],
    problems: &mut Problems,
    expected: &str,
    mut parse: impl FnMut(&Json) -> Result<T, Refused>,
) -> Option<Vec<T>> {
    let mut parsed = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        if problems.is_full() {
            return None;
        }
        let result = if value.as_str().is_some_and(|text| text.len() > MAX_VALUE_BYTES) {
            Err(Refused::TooLarge(format!("is longer than {MAX_VALUE_BYTES} bytes")))
        } else {
            parse(value)
        };
        let (code, detail) = match result {
            Ok(value) => {
                parsed.push(value);
                continue;
            }
            Err(Refused::Invalid(why)) => ("value_invalid", format!("{} {why}; expected {expected}", shown(value))),
            Err(Refused::TooLarge(why)) => ("limit_exceeded", format!("{} {why}", shown(value))),
        };
        problems.at("values", |p| p.at(i, |p| p.add(code, detail)));
    }
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

fn invalid(why: &str) -> Refused {
    Refused::Invalid(why.to_owned())
}

fn texts(values: &[Json], problems: &mut Problems) -> Option<Vec<Box<[u8]>>> {
    each(values, problems, "a text, number or boolean", |value| {
        canonical_json(value).ok_or_else(|| invalid("has the wrong type"))
    })
}

fn text(value: &Json) -> Result<&str, Refused> {
    value.as_str().ok_or_else(|| invalid("is no text"))
}

/// Stops where the ledger is overdrawn: its own check reports that, and compiling takes time.
fn patterns(values: &[Json], ledger: &mut Ledger, problems: &mut Problems) -> Option<Vec<Pattern>> {
    let patterns = each(values, problems, "a pattern", |value| {
        if ledger.is_overdrawn() {
            return Ok(None);
        }
        let pattern = Pattern::new(text(value)?)?;
        ledger.pattern_bytes += pattern.memory();
        Ok(Some(pattern))
    })?;
    patterns.into_iter().collect()
}

fn timestamp(value: &Json) -> Result<i64, Refused> {
    parse_rfc3339(text(value)?).ok_or_else(|| invalid("is none"))
}

fn network(value: &Json) -> Result<IpNet, Refused> {
    let text = text(value)?;
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map(without_mapping).map_err(|_| invalid("is none"))
}

/// Addresses are compared in their own family, so a network of mapped addresses is one of IPv4.
fn without_mapping(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    mapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

fn finite(value: &Json) -> Result<f64, Refused> {
    match value {
        Json::String(text) => parse_number(text),
        value => value.as_f64(),
    }
    .ok_or_else(|| invalid("is none"))
}

fn semantic_version(value: &Json) -> Result<Version, Refused> {
    let text = canonical_json(value).ok_or_else(|| invalid("is none"))?;
    short_utf8(&text).and_then(parse_version).ok_or_else(|| invalid("is none"))
}
