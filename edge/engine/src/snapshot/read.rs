//! From the bytes of a document to the wire structs, or every misfit with its place.
//!
//! `serde_json` parses into a small borrowed tree; readers by hand turn the tree into structs. Derived
//! readers would stop at the first misfit and make up a third of the module's size.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::limits::MAX_SNAPSHOT_BYTES;
use crate::problem::{Problem, Problems, Token};

/// A JSON value that borrows its texts where it can.
#[derive(Debug)]
pub(super) enum Node<'j> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'j, str>),
    List(Vec<Node<'j>>),
    Object(Vec<(Cow<'j, str>, Node<'j>)>),
}

/// Parses a document into its tree.
pub(super) fn tree(json: &[u8]) -> Result<Node<'_>, Vec<Problem>> {
    let problem = |code, detail| vec![Problem { pointer: String::new(), code, detail }];
    if json.len() > MAX_SNAPSHOT_BYTES {
        let detail = format!("{} bytes of snapshot, at most {MAX_SNAPSHOT_BYTES} are allowed", json.len());
        return Err(problem("limit_exceeded", detail));
    }
    // The message may quote the document; a bad one must not flood the log.
    serde_json::from_slice(json).map_err(|error| problem("document_invalid", format!("{:.500}", error.to_string())))
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        // JSON has no infinity and no NaN, so this is always a number.
        Ok(Number::from_f64(value).map_or(Node::Null, Node::Number))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = from.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut object = Vec::new();
        // A key is read as a node, which is always a text in JSON, to have one reader only.
        while let Some((key, value)) = from.next_entry::<Node<'de>, Node<'de>>()? {
            if let Node::Text(key) = key {
                object.push((key, value));
            }
        }
        Ok(Node::Object(object))
    }
}

impl Node<'_> {
    /// What it is, for messages.
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    #[inline(never)]
    fn misfit<T>(&self, expected: &str, problems: &mut Problems) -> Option<T> {
        problems.add("type_mismatch", format!("this is {}, it should be {expected}", self.kind()));
        None
    }

    #[inline(never)]
    pub(super) fn text(self, problems: &mut Problems) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.into_owned()),
            other => other.misfit("a text", problems),
        }
    }

    #[inline(never)]
    pub(super) fn bool(self, problems: &mut Problems) -> Option<bool> {
        match self {
            Self::Bool(bool) => Some(bool),
            other => other.misfit("true or false", problems),
        }
    }

    #[inline(never)]
    pub(super) fn u64(self, problems: &mut Problems) -> Option<u64> {
        match &self {
            Self::Number(number) if number.as_u64().is_some() => number.as_u64(),
            other => other.misfit("a whole number that is not negative", problems),
        }
    }

    #[inline(never)]
    pub(super) fn u32(self, problems: &mut Problems) -> Option<u32> {
        match &self {
            Self::Number(number) => {
                let fits = number.as_u64().and_then(|number| u32::try_from(number).ok());
                if fits.is_none() {
                    problems.add("out_of_range", format!("{number} is not a whole number from 0 to {}", u32::MAX));
                }
                fits
            }
            other => other.misfit("a whole number that is not negative", problems),
        }
    }

    /// A name, or another value that has a parser of its own.
    pub(super) fn name<T, E: fmt::Display>(
        self,
        parse: impl FnOnce(Box<str>) -> Result<T, E>,
        problems: &mut Problems,
    ) -> Option<T> {
        let text = self.text(problems)?;
        parse(text.as_str().into()).map_err(|why| not_a_name(&text, &why, problems)).ok()
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(self, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let text = self.text(problems)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            problems.add("value_unknown", format!("`{text:.80}` is none of {known}"));
        }
        found
    }

    /// The JSON value.
    #[inline(never)]
    pub(super) fn json(self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(bool) => bool.into(),
            Self::Number(number) => number.into(),
            Self::Text(text) => text.into_owned().into(),
            Self::List(list) => list.into_iter().map(Node::json).collect(),
            Self::Object(object) => serde_json::Value::Object(
                object.into_iter().map(|(key, node)| (key.into_owned(), node.json())).collect(),
            ),
        }
    }
}

impl<'j> Node<'j> {
    /// A list; `None` when it is none or one of its elements is wrong.
    pub(super) fn list<T>(
        self,
        problems: &mut Problems,
        mut element: impl FnMut(Node<'j>, &mut Problems) -> Option<T>,
    ) -> Option<Vec<T>> {
        match self {
            Self::List(list) => {
                let count = list.len();
                let read: Vec<T> = list
                    .into_iter()
                    .enumerate()
                    .filter_map(|(i, node)| problems.at(i, |problems| element(node, problems)))
                    .collect();
                (read.len() == count).then_some(read)
            }
            other => other.misfit("a list", problems),
        }
    }

    /// An object with known keys. Null counts as absent.
    pub(super) fn object<T>(
        self,
        problems: &mut Problems,
        read: impl FnOnce(&mut Fields<'j>, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        match self {
            Self::Object(entries) => {
                let mut fields = Fields(entries);
                let value = read(&mut fields, problems);
                fields.finish(problems);
                value
            }
            other => other.misfit("an object", problems),
        }
    }

    /// An object whose keys are names.
    pub(super) fn map<K: Ord, V, E: fmt::Display>(
        self,
        problems: &mut Problems,
        parse: impl Fn(Box<str>) -> Result<K, E>,
        mut value: impl FnMut(Node<'j>, &mut Problems) -> Option<V>,
    ) -> Option<BTreeMap<K, V>> {
        let Self::Object(entries) = self else { return self.misfit("an object", problems) };
        let (count, mut map) = (entries.len(), BTreeMap::new());
        for (key, node) in entries {
            problems.at(Token::Key(key.as_ref().into()), |problems| {
                let name = parse(key.as_ref().into()).map_err(|why| problems.add("name_invalid", why.to_string()));
                let value = value(node, problems);
                if let (Ok(name), Some(value)) = (name, value)
                    && map.insert(name, value).is_some()
                {
                    problems.add("key_duplicate", "this key is there twice");
                }
            });
        }
        (map.len() == count).then_some(map)
    }
}

#[inline(never)]
fn not_a_name(text: &str, why: &dyn fmt::Display, problems: &mut Problems) {
    problems.add("name_invalid", format!("`{text:.80}` is no name here: {why}"));
}

#[inline(never)]
fn missing(name: &str, problems: &mut Problems) {
    problems.add("key_missing", format!("`{name}` is missing"));
}

/// The entries of an object that are still to be read.
pub(super) struct Fields<'j>(Vec<(Cow<'j, str>, Node<'j>)>);

impl<'j> Fields<'j> {
    /// Takes an entry and reads it: `Some(None)` when reading failed, `None` when it is absent.
    #[expect(clippy::option_option, reason = "failed, absent and present are three things")]
    fn take<T>(
        &mut self,
        name: &'static str,
        problems: &mut Problems,
        read: impl FnOnce(Node<'j>, &mut Problems) -> Option<T>,
    ) -> Option<Option<T>> {
        let node = self.remove(name)?;
        Some(problems.at(name, |problems| read(node, problems)))
    }

    /// Takes an entry that is there and not null.
    #[inline(never)]
    fn remove(&mut self, name: &str) -> Option<Node<'j>> {
        let position = self.0.iter().position(|(key, _)| key == name)?;
        let (_, node) = self.0.swap_remove(position);
        (!matches!(node, Node::Null)).then_some(node)
    }

    /// An entry that must be there.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        problems: &mut Problems,
        read: impl FnOnce(Node<'j>, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        self.take(name, problems, read).unwrap_or_else(|| {
            missing(name, problems);
            None
        })
    }

    /// An entry that may be absent: `None` only when reading it failed.
    #[expect(clippy::option_option, reason = "failed, absent and present are three things")]
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        problems: &mut Problems,
        read: impl FnOnce(Node<'j>, &mut Problems) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.take(name, problems, read) {
            None => Some(None),
            Some(read) => read.map(Some),
        }
    }

    /// An entry with a default.
    pub(super) fn or_default<T: Default>(
        &mut self,
        name: &'static str,
        problems: &mut Problems,
        read: impl FnOnce(Node<'j>, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        self.optional(name, problems, read).map(Option::unwrap_or_default)
    }

    /// What nobody asked for is a mistake.
    #[inline(never)]
    fn finish(self, problems: &mut Problems) {
        for (key, _) in self.0 {
            problems.at(Token::Key(key.as_ref().into()), |problems| {
                problems.add("key_unknown", "this key is unknown here, or there twice");
            });
        }
    }
}
