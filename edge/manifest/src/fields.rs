//! Reading nodes as what is expected there, saying what is wrong and going on.
//!
//! Every reader answers `None` only after it has reported why. A mapping is read through
//! [`Fields`], which knows afterwards which keys nobody asked for.

use edge_engine::InvalidName;

use super::{
    finding::Position,
    node::{Entry, Kind, Node, excerpt},
    report::Report,
    share::{self, InvalidShare},
    suggest,
};

/// A mapping with a fixed set of keys.
pub(super) struct Fields<'n> {
    what: &'static str,
    place: Position,
    entries: &'n [Entry],
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// `what` is how a sentence calls the thing, e.g. `an environment`.
    pub(super) fn of(node: &'n Node, place: Position, what: &'static str, report: &mut Report) -> Option<Self> {
        let Some(entries) = node.entries() else {
            wrong_type(node, &format!("{what} is a mapping"), report);
            return None;
        };
        Some(Self { what, place, entries, known: Vec::new() })
    }

    /// The value of a key, when there is one.
    pub(super) fn optional(&mut self, key: &'static str) -> Option<&'n Entry> {
        self.known.push(key);
        self.entries.iter().find(|entry| &*entry.key == key && !entry.value.is_null())
    }

    /// The value of a key that must be there.
    pub(super) fn required(&mut self, key: &'static str, report: &mut Report) -> Option<&'n Entry> {
        let entry = self.optional(key);
        if entry.is_none() {
            report.add(self.place, "key_missing", format!("{} needs \"{key}\"", self.what));
        }
        entry
    }

    /// Where the mapping itself is.
    pub(super) fn place(&self) -> Position {
        self.place
    }

    /// Complains about the keys that were not asked for.
    pub(super) fn done(self, report: &mut Report) {
        for entry in self.entries {
            if self.known.contains(&&*entry.key) || matches!(&*entry.key, "" | "<<") {
                continue;
            }
            let detail = format!("{} has no key \"{}\"", self.what, excerpt(&entry.key));
            let help = suggest::help(&entry.key, self.known.iter().copied());
            report.add(entry.key_at, "key_unknown", detail).suggestion = help;
        }
    }
}

fn wrong_type(node: &Node, expected: &str, report: &mut Report) {
    report.add(node.at, "type_mismatch", format!("{expected}, not {}", node.describe()));
}

/// The entries of a mapping whose keys are free.
pub(super) fn entries<'n>(entry: Option<&'n Entry>, what: &str, report: &mut Report) -> &'n [Entry] {
    let Some(entry) = entry else { return &[] };
    entry.value.entries().unwrap_or_else(|| {
        wrong_type(&entry.value, &format!("{what} is a mapping"), report);
        &[]
    })
}

/// The items of a list.
pub(super) fn list<'n>(node: &'n Node, what: &str, report: &mut Report) -> &'n [Node] {
    match &node.kind {
        Kind::List(items) => items,
        Kind::Scalar(scalar) if !node.is_null() => {
            let detail = format!("{what} is a list, not {}", node.describe());
            report.add(node.at, "type_mismatch", detail).help(format!("write [{}]", excerpt(&scalar.text)));
            &[]
        }
        _ => {
            wrong_type(node, &format!("{what} is a list"), report);
            &[]
        }
    }
}

/// One item, or a list of them.
pub(super) fn one_or_more<'n>(node: &'n Node, what: &str, report: &mut Report) -> &'n [Node] {
    match &node.kind {
        Kind::Scalar(_) if !node.is_null() => std::slice::from_ref(node),
        _ => list(node, what, report),
    }
}

/// The text of a scalar as it was written: `1.10` stays `1.10`.
pub(super) fn text<'n>(node: &'n Node, what: &str, report: &mut Report) -> Option<&'n str> {
    let text = node.scalar().map(|scalar| &*scalar.text);
    if text.is_none() {
        wrong_type(node, &format!("{what} is a text"), report);
    }
    text
}

/// Characters of a description: a paragraph for people. What is longer belongs where it is linked to.
pub const MAX_DESCRIPTION: usize = 2000;

/// The `description` that everything may have.
pub(super) fn description(fields: &mut Fields<'_>, report: &mut Report) -> Option<String> {
    let entry = fields.optional("description")?;
    let text = text(&entry.value, "\"description\"", report)?;
    let found = text.chars().count();
    if found > MAX_DESCRIPTION {
        let detail = format!("a description has at most {MAX_DESCRIPTION} characters, not {found}");
        report.add(entry.value.at, "out_of_range", detail);
    } else if text.contains('\0') {
        report.add(entry.value.at, "text_invalid", "a description has no NUL characters".to_owned());
    }
    Some(text.to_owned())
}

/// A name, by its own parser.
pub(super) fn name<'n, T>(
    node: &'n Node,
    what: &str,
    parse: impl FnOnce(&'n str) -> Result<T, InvalidName>,
    report: &mut Report,
) -> Option<T> {
    key_name(text(node, what, report)?, node.at, parse, report)
}

/// A name that stands as a key.
pub(super) fn key_name<'n, T>(
    text: &'n str,
    at: Position,
    parse: impl FnOnce(&'n str) -> Result<T, InvalidName>,
    report: &mut Report,
) -> Option<T> {
    match parse(text) {
        Ok(name) => Some(name),
        // The tree has complained about such a key already.
        Err(_) if matches!(text, "" | "<<") && report.mentions(at) => None,
        Err(rule) => {
            report.add(at, "name_invalid", format!("\"{}\" is not a name: {rule}", excerpt(text)));
            None
        }
    }
}

/// `true` or `false`.
pub(super) fn boolean(entry: Option<&Entry>, default: bool, report: &mut Report) -> bool {
    let Some(entry) = entry else { return default };
    let scalar = entry.value.scalar();
    if let Some(value) = scalar.and_then(super::node::Scalar::boolean) {
        return value;
    }
    let help = scalar.and_then(|scalar| match scalar.text.to_ascii_lowercase().as_str() {
        "on" | "yes" | "y" | "true" | "1" => Some("write true"),
        "off" | "no" | "n" | "false" | "0" => Some("write false"),
        _ => None,
    });
    let detail = format!("\"{}\" is true or false, not {}", entry.key, entry.value.describe());
    report.add(entry.value.at, "type_mismatch", detail).suggestion = help.map(str::to_owned);
    default
}

/// A whole number that fits 32 bits.
pub(super) fn integer(entry: Option<&Entry>, report: &mut Report) -> Option<u32> {
    let entry = entry?;
    let number = entry.value.scalar().and_then(super::node::Scalar::number);
    let integer = number.and_then(Result::ok).and_then(|number| number.as_u64()).and_then(|n| u32::try_from(n).ok());
    if integer.is_none() {
        let detail = format!("\"{}\" is a whole number up to {}, not {}", entry.key, u32::MAX, entry.value.describe());
        report.add(entry.value.at, "type_mismatch", detail);
    }
    integer
}

/// A percentage with up to four decimals, in units of 0.0001 %.
pub(super) fn share(node: &Node, what: &str, report: &mut Report) -> Option<u32> {
    let text = text(node, what, report)?;
    match share::parse(text) {
        Ok(share) => Some(share),
        Err(why) => {
            let (code, sentence) = match why {
                InvalidShare::NotANumber => ("type_mismatch", "a percentage is a number from 0 to 100"),
                InvalidShare::TooFine => ("share_too_fine", "a percentage has at most 4 decimals"),
                InvalidShare::TooLarge => ("out_of_range", "a percentage is at most 100"),
            };
            let finding = report.add(node.at, code, format!("{sentence}, not \"{}\"", excerpt(text)));
            let number = text.trim_end_matches([' ', '%']);
            if why == InvalidShare::NotANumber && share::parse(number).is_ok() {
                finding.help(format!("write {number}"));
            }
            None
        }
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(node: &Node, what: &str, words: &[(&'static str, T)], report: &mut Report) -> Option<T> {
    let word = text(node, what, report)?;
    if let Some((_, value)) = words.iter().find(|(name, _)| *name == word) {
        return Some(*value);
    }
    let help = suggest::help(word, words.iter().map(|(name, _)| *name));
    report.add(node.at, "choice_unknown", format!("{what} cannot be \"{}\"", excerpt(word))).suggestion = help;
    None
}

/// Any JSON value. Depth is bounded by the tree's.
pub(super) fn json(node: &Node, report: &mut Report) -> serde_json::Value {
    match &node.kind {
        Kind::List(items) => items.iter().map(|item| json(item, report)).collect(),
        Kind::Map(entries) => serde_json::Value::Object(
            entries.iter().map(|entry| (entry.key.to_string(), json(&entry.value, report))).collect(),
        ),
        Kind::Scalar(scalar) if scalar.is_null() => serde_json::Value::Null,
        Kind::Scalar(scalar) => match (scalar.boolean(), scalar.number()) {
            (Some(value), _) => value.into(),
            (None, Some(Ok(number))) => number.into(),
            (None, Some(Err(()))) => {
                report.add(node.at, "type_mismatch", format!("JSON has no number \"{}\"", excerpt(&scalar.text)));
                serde_json::Value::Null
            }
            (None, None) => serde_json::Value::String(scalar.text.to_string()),
        },
    }
}
