//! Whether a place that a complaint names exists.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use edge_manifest::Finding;

/// A text as far as places in it go: the characters of each line.
pub(super) struct Text {
    lines: Vec<usize>,
}

impl Text {
    pub(super) fn of(text: &str) -> Self {
        // YAML 1.2 and JSON end a line by these and no other characters.
        let lines = text.replace("\r\n", "\n");
        Self { lines: lines.split(['\n', '\r']).map(|line| line.chars().count()).collect() }
    }

    /// Each finding has its words and a place: a character of the text, or one past the end of a line.
    pub(super) fn holds(&self, findings: &[Finding]) {
        for finding in findings {
            assert!(!finding.code.is_empty() && !finding.detail.is_empty(), "a finding without words: {finding}");
            let line = finding.line.checked_sub(1).and_then(|line| self.lines.get(line));
            let characters = *line.unwrap_or_else(|| panic!("{finding}: of {} lines", self.lines.len()));
            assert!((1..=characters + 1).contains(&finding.column), "{finding}: of {characters} characters");
        }
    }
}

/// What a JSON pointer can go through. A key that is there twice is kept twice: a complaint may be about either.
pub(super) enum Tree {
    Leaf,
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// The tree of a document; `None` when it is no JSON.
    pub(super) fn of(document: &[u8]) -> Option<Self> {
        serde_json::from_slice(document).ok()
    }

    /// Whether a pointer (RFC 6901) leads to something, or to where something is missing.
    pub(super) fn has(&self, pointer: &str) -> bool {
        let mut steps = pointer.split('/');
        let rooted = steps.next() == Some("");
        let steps: Vec<&str> = steps.collect();
        let way = steps.split_last().map_or(&[][..], |(_, way)| way);
        rooted && self.leads(way)
    }

    fn leads(&self, steps: &[&str]) -> bool {
        let Some((step, rest)) = steps.split_first() else { return true };
        match self {
            Self::Leaf => false,
            Self::List(items) => {
                let item = step.parse::<usize>().ok().and_then(|index| items.get(index));
                item.is_some_and(|item| item.leads(rest))
            }
            Self::Object(entries) => {
                let key = step.replace("~1", "/").replace("~0", "~");
                entries.iter().any(|(name, value)| *name == key && value.leads(rest))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = from.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Object(entries))
    }
}
