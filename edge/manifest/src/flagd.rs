//! flagd definitions to bascule.yaml.
//!
//! A flag is either translated so that each user keeps the variant that flagd gave, or refused with the place and
//! the name of what stands in the way. What is left out, and where flagd would answer otherwise, is a [`Note`] with
//! its place. What comes out is checked before it is handed over. `docs/import-flagd.md` has the table of all
//! constructs.

mod condition;
mod definition;
mod fractional;
mod logic;
mod notes;
mod operand;
mod outcome;

use std::collections::BTreeSet;

use edge_engine::{AppName, BucketingKey, EnvironmentName, Flagd};

pub use notes::{Note, NoteKind};

use super::{
    Yaml,
    finding::{Finding, Position},
    node::{Entry, Kind, Node, excerpt},
    report::Report,
    review, to_yaml, yaml,
};
use definition::Definition;
use notes::Notes;

/// The release that stands where a file must name one, until somebody names his own.
const PLACEHOLDER: &str = "placeholder";
/// Resolves nowhere: RFC 2606 keeps `.invalid` free.
const NOWHERE: &str = "http://placeholder.invalid";

/// What the definitions do not say.
#[derive(Debug, Clone)]
pub struct FlagdOptions {
    /// The app that the flags become part of.
    pub app: AppName,
    /// The environment that has their targeting.
    pub environment: EnvironmentName,
    /// The generation of bucketing that gave the users their variants.
    pub algorithm: Flagd,
}

/// What came out of an import.
#[derive(Debug)]
pub struct Imported {
    /// A bascule.yaml with every flag that was translated.
    pub yaml: String,
    /// The keys of these flags, in the order of the file.
    pub flags: Vec<String>,
    /// What was refused, left out, or differs; in the order of the file.
    pub notes: Vec<Note>,
}

impl Imported {
    /// Whether some flag is not in the outcome.
    pub fn is_partial(&self) -> bool {
        self.notes.iter().any(|note| note.kind == NoteKind::Refused)
    }
}

/// Translates a file of flagd definitions, JSON or YAML. The findings say why it is none.
pub fn import_flagd(text: &str, file: &str, options: &FlagdOptions) -> Result<Imported, Vec<Finding>> {
    let mut report = Report::new(file);
    let mut documents = yaml::read(&as_yaml(text), &mut report).into_iter();
    let (root, more) = (documents.next(), documents.next());
    let start = Position { line: 1, column: 1 };
    if let Some(more) = more {
        report.add(more.at, "several_documents", "a file of definitions is one document".to_owned());
    }
    let root = root.filter(|root| matches!(root.kind, Kind::Map(_)));
    if root.is_none() && report.is_empty() {
        report.add(start, "type_mismatch", "flagd definitions are a mapping with \"flags\"".to_owned());
    }
    let flags = root.as_ref().map(|root| flags(root, &mut report)).unwrap_or_default();
    let (Some(root), true) = (root, report.is_empty()) else { return Err(report.into_findings()) };
    let imported = Import { options, evaluators: evaluators(&root), notes: Notes::default() }.run(&root, &flags);
    let key = |_: &AppName, _: &EnvironmentName| BucketingKey::new([0; 16]);
    match review(&imported.yaml, file, key) {
        Ok(_) => Ok(imported),
        // Each flag alone was sound: together they are over a cap.
        Err(findings) => {
            for finding in findings {
                report.add(start, finding.code, format!("all flags together: {}", finding.detail));
            }
            Err(report.into_findings())
        }
    }
}

/// JSON as this crate reads it: YAML has no tabs between values and no surrogates in its escapes. Line and column
/// of everything stay, up to escaped surrogates in the same line.
fn as_yaml(text: &str) -> String {
    if !text.trim_start().starts_with('{') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\t', '\\']) {
        let (before, special) = rest.split_at(at);
        out.push_str(before);
        let (taken, written) = match special.get(1..2) {
            _ if special.starts_with('\t') => (1, " ".to_owned()),
            Some("u") => surrogates(special).unwrap_or_else(|| (2, "\\u".to_owned())),
            Some(escaped) => (2, format!("\\{escaped}")),
            None => (1, "\\".to_owned()),
        };
        out.push_str(&written);
        rest = special.get(taken..).unwrap_or_default();
    }
    out + rest
}

/// `\ud83d\ude00` at the beginning of a text, and its escape in YAML.
fn surrogates(text: &str) -> Option<(usize, String)> {
    let unit = |from: usize| {
        let digits = text.get(from..from + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut decoded = char::decode_utf16([unit(0)?, unit(6)?]);
    let (c, None) = (decoded.next()?.ok()?, decoded.next()) else { return None };
    Some((12, format!("\\U{:08x}", u32::from(c))))
}

/// A flag's key with its definition.
struct Declared {
    key: String,
    key_at: Position,
    node: Node,
}

/// The flags of a file, as a mapping or as a list with keys.
fn flags(root: &Node, report: &mut Report) -> Vec<Declared> {
    let Some(entry) = root.entry("flags") else {
        report.add(root.at, "key_missing", "flagd definitions need \"flags\"".to_owned());
        return Vec::new();
    };
    let mut flags: Vec<Declared> = Vec::new();
    match &entry.value.kind {
        Kind::Map(entries) => {
            let declared = |entry: &Entry| Declared {
                key: entry.key.to_string(),
                key_at: entry.key_at,
                node: entry.value.clone(),
            };
            flags.extend(entries.iter().map(declared));
        }
        Kind::List(items) => {
            for item in items.iter() {
                let key = item.entry("key").and_then(|entry| entry.value.scalar().map(|key| (key, entry.value.at)));
                let Some((key, key_at)) = key else {
                    report.add(item.at, "key_missing", "a flag in a list needs a \"key\"".to_owned());
                    continue;
                };
                flags.push(Declared { key: key.text.to_string(), key_at, node: item.clone() });
            }
        }
        Kind::Scalar(_) => {
            let detail = format!("\"flags\" is a mapping or a list, not {}", entry.value.describe());
            report.add(entry.value.at, "type_mismatch", detail);
        }
    }
    let mut seen = BTreeSet::new();
    for flag in &flags {
        if !seen.insert(flag.key.as_str()) {
            report.add(flag.key_at, "key_duplicate", format!("the flag \"{}\" is there twice", excerpt(&flag.key)));
        }
    }
    flags
}

fn evaluators(root: &Node) -> &[Entry] {
    root.entry("$evaluators").and_then(|entry| entry.value.entries()).unwrap_or_default()
}

/// One import while it runs.
struct Import<'a> {
    options: &'a FlagdOptions,
    evaluators: &'a [Entry],
    notes: Notes,
}

impl Import<'_> {
    fn run(mut self, root: &Node, flags: &[Declared]) -> Imported {
        let mut translated = Vec::new();
        let mut used = BTreeSet::new();
        for flag in flags {
            let definition = Definition::read(flag, self.options, self.evaluators);
            used.extend(definition.used);
            let checked = definition.flag.and_then(|written| self.sound(flag, written));
            match checked {
                Ok(written) => {
                    self.notes.of_flag(&flag.key, definition.notes);
                    translated.push((flag.key.clone(), written));
                }
                Err(refused) => self.notes.of_flag(&flag.key, vec![refused]),
            }
        }
        self.of_file(root, &used);
        let flags = translated.iter().map(|(key, _)| key.clone()).collect();
        Imported { yaml: self.document(translated), flags, notes: self.notes.into_sorted() }
    }

    /// What the file says beside its flags.
    fn of_file(&mut self, root: &Node, used: &BTreeSet<String>) {
        for entry in root.entries().unwrap_or_default() {
            match &*entry.key {
                "$schema" | "flags" => {}
                "$evaluators" => {
                    for evaluator in self.evaluators.iter().filter(|evaluator| !used.contains(&*evaluator.key)) {
                        let detail = format!("no flag uses the evaluator \"{}\"", excerpt(&evaluator.key));
                        self.notes.dropped(evaluator.key_at, "evaluator_unused", detail);
                    }
                }
                "metadata" => self.notes.metadata(entry),
                other => self.notes.dropped(entry.key_at, "key_unknown", notes::without_meaning(other)),
            }
        }
    }

    /// Whether the engine takes the flag, on its own.
    fn sound(&self, flag: &Declared, written: Yaml) -> Result<Yaml, Note> {
        let document = self.document(vec![(flag.key.clone(), written.clone())]);
        let key = |_: &AppName, _: &EnvironmentName| BucketingKey::new([0; 16]);
        match review(&document, "", key) {
            Ok(_) => Ok(written),
            Err(findings) => {
                let finding = findings.into_iter().next();
                let (code, detail) = finding.map_or(("unexpected", String::new()), |first| (first.code, first.detail));
                Err(Note::refused(flag.key_at, code, detail))
            }
        }
    }

    fn document(&self, flags: Vec<(String, Yaml)>) -> String {
        let environment = Yaml::map([(
            "traffic",
            Some(Yaml::map([("slots", Some(Yaml::map([("blue", Some(Yaml::from(PLACEHOLDER)))])))])),
        )]);
        let release = Yaml::map([
            ("version", Some(Yaml::from("0"))),
            ("upstreams", Some(Yaml::from_iter([Yaml::map([("url", Some(Yaml::from(NOWHERE)))])]))),
        ]);
        let document = Yaml::map([
            ("app", Some(Yaml::from(self.options.app.as_str()))),
            ("environments", Some(Yaml::map([(self.options.environment.as_str(), Some(environment))]))),
            ("releases", Some(Yaml::map([(PLACEHOLDER, Some(release))]))),
            ("flags", Some(Yaml::Map(flags))),
        ]);
        format!(
            "# Flags from flagd. Nothing is served by the release \"{PLACEHOLDER}\": a file has to name one, and definitions\n# of flagd know none. Name yours before a gateway runs from this file.\n{}",
            to_yaml(&document)
        )
    }
}

#[cfg(test)]
mod tests;
