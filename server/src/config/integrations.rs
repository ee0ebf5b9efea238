//! Whom a control plane calls: a TOML file of the operator's, with a table for each.
//!
//! It holds no secrets: whatever is one is in a file or a variable of the environment that it names. All problems are found
//! at once, with their lines, and no secret is in any of them.

mod entry;
mod gate;
mod hook;

use std::path::Path;

use admin::integrations::Integrations;
use toml::de::{DeTable, DeValue};

use self::entry::Entry;
use super::layers::{Origin, Problem, did_you_mean, line, read};

/// The tables of the file.
const LISTS: [&str; 2] = ["gate", "hook"];

/// Reads the file, and what it names.
pub(super) fn integrations(path: &Path) -> Result<Integrations, Vec<Problem>> {
    let mut reader = Reader { path, text: "", problems: Vec::new() };
    let text = match read(path) {
        Ok(text) => text,
        Err(detail) => {
            reader.problem(0, None, detail);
            return Err(reader.problems);
        }
    };
    let mut reader = Reader { text: &text, ..reader };
    let mut found = Integrations::default();
    match DeTable::parse(&text) {
        Ok(table) => reader.file(table.get_ref(), &mut found),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            reader.problem(at, None, error.message().to_owned());
        }
    }
    if reader.problems.is_empty() {
        return Ok(found);
    }
    // In the order in which one corrects them.
    reader.problems.sort_by_key(|problem| match problem.origin {
        Origin::File { line, .. } => line,
        _ => 0,
    });
    Err(reader.problems)
}

/// A file that is being read.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn file(&mut self, table: &DeTable<'_>, found: &mut Integrations) {
        for (name, value) in table {
            let at = name.span().start;
            let list = LISTS.into_iter().find(|list| *list == name.get_ref().as_ref());
            match (list, value.get_ref()) {
                (Some(list), DeValue::Array(items)) => {
                    for item in items {
                        match item.get_ref() {
                            DeValue::Table(table) => self.one(list, item.span().start, table, found),
                            _ => self.problem(item.span().start, Some(list), "must be a table".to_owned()),
                        }
                    }
                }
                (Some(list), _) => self.problem(at, Some(list), format!("each begins with `[[{list}]]`")),
                (None, _) => {
                    let help = did_you_mean(name.get_ref(), LISTS.into_iter());
                    self.problem(at, Some(name.get_ref()), format!("there is no such key{help}"));
                }
            }
        }
    }

    fn one(&mut self, list: &'static str, at: usize, table: &DeTable<'_>, found: &mut Integrations) {
        let mut entry = Entry::new(self, list, at, table);
        match list {
            "gate" => {
                if let Some(gate) = gate::gate(&mut entry) {
                    let twice = found.gates.iter().any(|other| other.name == gate.name);
                    entry.unless(!twice, "name", || format!("there is a gate {} before this one", gate.name));
                    found.gates.push(gate);
                }
            }
            _ => {
                if let Some(hook) = hook::hook(&mut entry) {
                    let same = hook.gate_name();
                    let twice = found.hooks.iter().any(|other| other.gate_name() == same);
                    entry.unless(!twice, "name", || format!("there is a hook {same} before this one"));
                    found.hooks.push(hook);
                }
            }
        }
    }

    fn problem(&mut self, at: usize, key: Option<&str>, detail: String) {
        let origin = Origin::File { path: self.path.to_owned(), line: line(self.text, at) };
        self.problems.push(Problem { origin, key: key.map(str::to_owned), detail });
    }
}

#[cfg(test)]
mod tests;
