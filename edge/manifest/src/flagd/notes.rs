//! What an import has to say about a file: refused flags, what was left out, what differs.

use std::fmt;

use serde::Serialize;

use super::super::{
    finding::Position,
    node::{Entry, excerpt},
};

/// What a note means for whoever imports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteKind {
    /// The flag is not in the outcome.
    Refused,
    /// Something without an equivalent was left out.
    Dropped,
    /// Here flagd can answer otherwise, for what the note says.
    Differs,
}

impl fmt::Display for NoteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Dropped => "dropped",
            Self::Differs => "differs",
        })
    }
}

/// One thing that an import says, with its place in the definitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What it means.
    pub kind: NoteKind,
    /// The flag that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Stable code, e.g. `operator_untranslatable`.
    pub code: &'static str,
    /// A sentence.
    pub detail: String,
}

impl Note {
    fn new(kind: NoteKind, at: Position, code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, flag: None, line: at.line, column: at.column, code, detail: detail.into() }
    }

    pub(super) fn refused(at: Position, code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(NoteKind::Refused, at, code, detail)
    }

    pub(super) fn dropped(at: Position, code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(NoteKind::Dropped, at, code, detail)
    }

    pub(super) fn differs(at: Position, code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(NoteKind::Differs, at, code, detail)
    }

    /// That metadata has no place in bascule.yaml.
    pub(super) fn metadata(entry: &Entry) -> Option<Self> {
        let entries = entry.value.entries().unwrap_or_default();
        let keys: Vec<String> = entries.iter().map(|entry| excerpt(&entry.key)).collect();
        let detail = format!("metadata has no equivalent: {}", keys.join(", "));
        (!keys.is_empty()).then(|| Self::dropped(entry.key_at, "metadata_dropped", detail))
    }
}

/// That nobody knows a key.
pub(super) fn without_meaning(key: &str) -> String {
    format!("the key \"{}\" has no meaning to flagd's evaluation", excerpt(key))
}

/// Collects notes.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Note>);

impl Notes {
    pub(super) fn of_flag(&mut self, key: &str, notes: Vec<Note>) {
        self.0.extend(notes.into_iter().map(|note| Note { flag: Some(key.to_owned()), ..note }));
    }

    pub(super) fn dropped(&mut self, at: Position, code: &'static str, detail: String) {
        self.0.push(Note::dropped(at, code, detail));
    }

    pub(super) fn metadata(&mut self, entry: &Entry) {
        self.0.extend(Note::metadata(entry));
    }

    /// In the order of the file, each once.
    pub(super) fn into_sorted(mut self) -> Vec<Note> {
        self.0.sort_by(|a, b| (a.line, a.column, a.kind, a.code).cmp(&(b.line, b.column, b.kind, b.code)));
        self.0.dedup();
        self.0
    }
}
