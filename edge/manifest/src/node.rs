//! The located tree of a YAML document.
//!
//! A scalar keeps its text as written: what it means (a name, a share, a boolean) is decided by
//! whoever reads it, so `on`, `1.10` and `no` are never turned into something else on the way.

use std::sync::Arc;

use super::finding::Position;

/// A value with the place where it starts. Cloning is cheap: collections are shared.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Scalar(Scalar),
    List(Arc<[Node]>),
    Map(Arc<[Entry]>),
}

#[derive(Debug, Clone)]
pub(super) struct Scalar {
    pub(super) text: Arc<str>,
    /// Written without quotes, so the core schema may see a number, a boolean or null in it.
    pub(super) plain: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Arc<str>,
    pub(super) key_at: Position,
    pub(super) value: Node,
}

impl Entry {
    /// Where a complaint about this entry points: at a scalar itself, at the key of anything larger.
    pub(super) fn place(&self) -> Position {
        if matches!(self.value.kind, Kind::Scalar(_)) { self.value.at } else { self.key_at }
    }
}

impl Scalar {
    /// `null`, `~` or nothing at all.
    pub(super) fn is_null(&self) -> bool {
        self.plain && matches!(&*self.text, "" | "~" | "null" | "Null" | "NULL")
    }

    /// A boolean of the YAML 1.2 core schema; `on` and `yes` are texts.
    pub(super) fn boolean(&self) -> Option<bool> {
        match &*self.text {
            "true" | "True" | "TRUE" if self.plain => Some(true),
            "false" | "False" | "FALSE" if self.plain => Some(false),
            _ => None,
        }
    }

    /// A number of the YAML 1.2 core schema, or `Err` when JSON has no such number.
    pub(super) fn number(&self) -> Option<Result<serde_json::Number, ()>> {
        if !self.plain {
            return None;
        }
        let (sign, digits) = match self.text.strip_prefix('-') {
            Some(rest) => (-1.0, rest),
            None => (1.0, self.text.strip_prefix('+').unwrap_or(&self.text)),
        };
        if matches!(digits, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
            return Some(Err(()));
        }
        for (prefix, radix) in [("0x", 16), ("0o", 8)] {
            if let Some(rest) = self.text.strip_prefix(prefix) {
                return Some(u64::from_str_radix(rest, radix).map(Into::into).map_err(drop));
            }
        }
        if !looks_decimal(digits) {
            return None;
        }
        let text = self.text.strip_prefix('+').unwrap_or(&self.text);
        if let Ok(integer) = text.parse::<i64>() {
            return Some(Ok(integer.into()));
        }
        if let Ok(integer) = text.parse::<u64>() {
            return Some(Ok(integer.into()));
        }
        let float = digits.parse::<f64>().ok().and_then(|magnitude| serde_json::Number::from_f64(sign * magnitude));
        Some(float.ok_or(()))
    }
}

/// `[0-9]+(.[0-9]*)?` or `.[0-9]+`, then an optional exponent.
fn looks_decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && whole.len() + fraction.len() > 0
        && exponent.is_none_or(|text| {
            let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
            !unsigned.is_empty() && digits(unsigned)
        })
}

impl Node {
    /// `a mapping`, `a list`, `the text "x"`, …: how a complaint calls it.
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a mapping".to_owned(),
            Kind::Scalar(scalar) if scalar.is_null() => "nothing".to_owned(),
            Kind::Scalar(scalar) if scalar.boolean().is_some() => format!("the boolean {}", scalar.text),
            Kind::Scalar(scalar) if scalar.number().is_some() => format!("the number {}", scalar.text),
            Kind::Scalar(scalar) => format!("the text \"{}\"", excerpt(&scalar.text)),
        }
    }

    /// Whether nothing was written.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.is_null())
    }

    /// The scalar, unless it is null.
    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) if !scalar.is_null() => Some(scalar),
            _ => None,
        }
    }

    /// The entries of a mapping; nothing written is an empty one.
    pub(super) fn entries(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ if self.is_null() => Some(&[]),
            _ => None,
        }
    }

    /// The entry of a mapping with this key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries()?.iter().find(|entry| &*entry.key == key)
    }

    /// The deepest place on the way that `steps` (keys and indices of a JSON pointer) describe.
    pub(super) fn place<'s>(&self, start: Position, steps: impl IntoIterator<Item = &'s str>) -> Position {
        let (mut node, mut place) = (self, start);
        for step in steps {
            match &node.kind {
                Kind::Map(entries) => match entries.iter().find(|entry| &*entry.key == step) {
                    Some(entry) => (node, place) = (&entry.value, entry.place()),
                    None => break,
                },
                Kind::List(items) => match step.parse::<usize>().ok().and_then(|index| items.get(index)) {
                    Some(item) => (node, place) = (item, item.at),
                    None => break,
                },
                Kind::Scalar(_) => break,
            }
        }
        place
    }
}

/// At most 60 characters of a text that goes into a sentence, control characters escaped.
pub(super) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short.replace("\\'", "'")
}
