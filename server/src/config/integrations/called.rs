//! Whom a control plane asks about a candidate: the tables `[[gate]]` and `[[hook]]`.
//!
//! They hold no secrets: whatever is one is in a file or a variable that they name, and is read once here to see that it is
//! there. All problems are found at once, with their lines, and no secret is in any of them.

mod entry;
mod gate;
mod hook;

use std::path::Path;

use admin::integrations::Integrations;
use toml::de::{DeTable, DeValue};

use self::entry::Entry;
use super::super::layers::{Origin, Problem, line};

/// The tables.
const LISTS: [&str; 2] = ["gate", "hook"];

/// Adds the gates and hooks of a file, and what is wrong with them. That it is TOML was seen before.
pub(super) fn read(path: &Path, text: &str, found: &mut Integrations, problems: &mut Vec<Problem>) {
    let Ok(file) = DeTable::parse(text) else { return };
    let mut reader = Reader { path, text, problems: Vec::new() };
    for (name, value) in file.get_ref() {
        if let Some(list) = LISTS.into_iter().find(|list| *list == name.get_ref().as_ref()) {
            reader.list(list, name.span().start, value.get_ref(), found);
        }
    }
    // In the order in which one corrects them.
    reader.problems.sort_by_key(|problem| match problem.origin {
        Origin::File { line, .. } => line,
        _ => 0,
    });
    problems.append(&mut reader.problems);
}

/// A file that is being read.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn list(&mut self, list: &'static str, at: usize, value: &DeValue<'_>, found: &mut Integrations) {
        let DeValue::Array(items) = value else {
            return self.problem(at, Some(list), format!("each begins with `[[{list}]]`"));
        };
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => self.one(list, item.span().start, table, found),
                _ => self.problem(item.span().start, Some(list), "must be a table".to_owned()),
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
