//! YAML from values: what [`to_yaml`] writes, this crate's reader reads back as it was.
//!
//! Block style with the order of keys kept; lists of a few scalars stand on one line. A text stays without
//! quotes only where no reader of YAML 1.2 could take it for anything else.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use super::node::Scalar;

/// A list of scalars that is no longer than this stands on one line.
const LINE: usize = 100;
/// YAML reads a key of at most 1 024 characters without being told that it is one.
const LONG_KEY: usize = 1_000;

/// A value whose mappings keep the order of their keys, which must differ.
#[derive(Debug, Clone, PartialEq)]
pub enum Yaml {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as JSON has it.
    Number(Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Yaml>),
    /// A mapping.
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    /// A mapping of the entries that are there.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Option<Self>)>) -> Self {
        Self::Map(entries.into_iter().filter_map(|(key, value)| Some((key.into(), value?))).collect())
    }
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Yaml {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Yaml {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<Value> for Yaml {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::Text(text),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(entries) => Self::from(entries),
        }
    }
}

impl From<Map<String, Value>> for Yaml {
    fn from(entries: Map<String, Value>) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key, value.into())).collect())
    }
}

impl FromIterator<Yaml> for Yaml {
    fn from_iter<I: IntoIterator<Item = Yaml>>(items: I) -> Self {
        Self::List(items.into_iter().collect())
    }
}

/// Writes a document.
pub fn to_yaml(value: &Yaml) -> String {
    let mut out = String::new();
    node(value, 0, &mut out);
    out
}

/// Writes a value from where the line is; its further lines start at `indent`.
fn node(value: &Yaml, indent: usize, out: &mut String) {
    if let Some(line) = line(value) {
        out.push_str(&line);
        out.push('\n');
        return;
    }
    match value {
        Yaml::Map(entries) => {
            for (index, (key, value)) in entries.iter().enumerate() {
                start(index, indent, out);
                entry(key, value, indent, out);
            }
        }
        Yaml::List(items) => {
            for (index, item) in items.iter().enumerate() {
                start(index, indent, out);
                out.push_str("- ");
                node(item, indent + 2, out);
            }
        }
        _ => {}
    }
}

/// The first entry of a collection begins where its parent left off.
fn start(index: usize, indent: usize, out: &mut String) {
    if index > 0 {
        out.extend(std::iter::repeat_n(' ', indent));
    }
}

fn entry(key: &str, value: &Yaml, indent: usize, out: &mut String) {
    let key = text(key);
    if key.len() > LONG_KEY {
        out.push_str("? ");
        out.push_str(&key);
        out.push('\n');
        start(1, indent, out);
        out.push_str(": ");
        return node(value, indent + 2, out);
    }
    out.push_str(&key);
    out.push(':');
    if line(value).is_some() {
        out.push(' ');
    } else {
        out.push('\n');
        start(1, indent + 2, out);
    }
    node(value, indent + 2, out);
}

/// A value that stands on one line.
fn line(value: &Yaml) -> Option<String> {
    match value {
        Yaml::Null => Some("null".to_owned()),
        Yaml::Bool(value) => Some(value.to_string()),
        Yaml::Number(number) => Some(number.to_string()),
        Yaml::Text(value) => Some(text(value)),
        Yaml::Map(entries) => entries.is_empty().then(|| "{}".to_owned()),
        Yaml::List(items) => {
            let mut joined = String::from("[");
            for (index, item) in items.iter().enumerate() {
                if matches!(item, Yaml::List(_) | Yaml::Map(_)) || joined.len() > LINE {
                    return None;
                }
                joined.push_str(if index > 0 { ", " } else { "" });
                joined.push_str(&line(item)?);
            }
            joined.push(']');
            (joined.len() <= LINE).then_some(joined)
        }
    }
}

/// A text, in quotes where it needs them.
fn text(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

fn is_plain(text: &str) -> bool {
    let ordinary = |c: char| c.is_alphanumeric() || "_-./@+%:=()~^<>$ ".contains(c);
    let scalar = Scalar { text: text.into(), plain: true };
    text.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '/')
        && text.chars().all(ordinary)
        && !text.ends_with([':', ' '])
        && !text.contains(": ")
        && text.len() <= LONG_KEY
        && !scalar.is_null()
        && scalar.boolean().is_none()
        && scalar.number().is_none()
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // What does not show, or what some reader takes for the end of a line or of the text.
            c if c.is_control() || is_unprintable(c) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn is_unprintable(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') || u32::from(c) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::{fields, report::Report, yaml};
    use super::*;

    /// The value that this crate's reader sees in a text.
    fn read(text: &str) -> Value {
        let mut report = Report::new("f.yaml");
        let documents = yaml::read(text, &mut report);
        let [document] = documents.as_slice() else { panic!("{} documents in {text:?}", documents.len()) };
        let value = fields::json(document, &mut report);
        assert!(report.is_empty(), "{text:?}: {:?}", report.into_findings());
        value
    }

    #[track_caller]
    fn check(value: &Value, expected: &str) {
        let text = to_yaml(&value.clone().into());
        assert_eq!(text, expected);
        assert_eq!(read(&text), *value, "{text}");
    }

    #[test]
    fn collections_are_blocks_and_lists_of_scalars_lines() {
        check(
            &json!({"a": {"b": [1, "x", null]}, "c": [{"d": true, "e": []}, [["f"], {}]]}),
            "a:\n  b: [1, x, null]\nc:\n  - d: true\n    e: []\n  - - [f]\n    - {}\n",
        );
        check(&json!("x"), "x\n");
        check(&json!({}), "{}\n");
        let many: Vec<Value> = (0..3).map(|n| format!("n{n}{}", "x".repeat(40)).into()).collect();
        assert!(to_yaml(&json!({"k": many}).into()).starts_with("k:\n  - n0xxx"));
    }

    #[test]
    fn keys_keep_their_order() {
        let map = Yaml::map([("b", Some(Yaml::from("1"))), ("none", None), ("a", Some(1.into()))]);
        assert_eq!(to_yaml(&map), "b: \"1\"\na: 1\n");
    }

    #[test]
    fn what_would_be_read_otherwise_is_in_quotes() {
        let texts = [
            "",
            " ",
            "a ",
            " a",
            "~",
            "null",
            "true",
            "FALSE",
            "1",
            "1.10",
            "-1e3",
            "0x1f",
            ".5",
            ".inf",
            "-",
            "---",
            "...",
            "- a",
            "a: b",
            "a:",
            "a #b",
            "#a",
            "{a}",
            "[a",
            "a, b",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "%a",
            "@a",
            "`a",
            "'a",
            "\"a\"",
            "?",
            "? a",
            "<<",
            "=",
            "a\nb",
            "\u{85}\u{2028}\u{feff}\u{7f}\u{1}",
            "\u{fffe}",
            "😀",
        ];
        for text in texts {
            assert_eq!(read(&to_yaml(&text.into())), json!(text), "{text:?}");
            let value = json!({ text: [text, {text: text}] });
            assert_eq!(read(&to_yaml(&value.clone().into())), value, "{text:?}");
        }
        for text in ["on", "web-1.4.1", "@a b".trim_start_matches('@'), "http://h:1/p", "Grüße", "header:x-user-id"] {
            assert_eq!(to_yaml(&text.into()), format!("{text}\n"));
        }
    }

    #[test]
    fn a_key_may_be_longer_than_a_line() {
        let value = json!({"k".repeat(2_000): {"a": [1]}, "ü ".repeat(600): [{}]});
        assert_eq!(read(&to_yaml(&value.clone().into())), value);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![any::<String>(), "[-a-z0-9.:#~ ,\\[\\]{}]{0,6}", "(true|null|0x1|1e5|~|-|\\.inf)"];
        let number = any::<f64>().prop_filter("JSON has it", |number| number.is_finite());
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            number.prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(text.clone(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(value in any_value()) {
            prop_assert_eq!(read(&to_yaml(&value.clone().into())), value);
        }
    }
}
