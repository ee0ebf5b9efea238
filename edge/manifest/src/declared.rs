//! The names that a document declares, collected before anything refers to them.
//!
//! Also the broken ones: a reference to a segment with a mistake inside is not itself a mistake.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    finding::Position,
    node::{Kind, Node, excerpt},
    report::Report,
    suggest,
};

/// What references may name.
#[derive(Debug, Clone, Default)]
pub(super) struct Declared {
    environments: Names,
    releases: Names,
    segments: Names,
    flags: Names,
    /// The variants of each flag that writes them out.
    variants: BTreeMap<Arc<str>, Names>,
}

pub(super) type Names = Vec<Arc<str>>;

/// The variants of a boolean flag that does not write them out.
pub(super) const BOOLEAN_VARIANTS: [(&str, bool); 2] = [("on", true), ("off", false)];

impl Declared {
    pub(super) fn of(root: &Node) -> Self {
        let keys = |node: Option<&Node>| -> Names {
            let entries = node.and_then(Node::entries).unwrap_or_default();
            entries.iter().map(|entry| entry.key.clone()).collect()
        };
        let section = |key: &str| root.entry(key).map(|entry| &entry.value);
        let flags = section("flags").and_then(Node::entries).unwrap_or_default();
        let variants = flags.iter().map(|flag| {
            let written = flag.value.entry("variants").map(|entry| &entry.value);
            let written = match written.map(|node| &node.kind) {
                Some(Kind::List(items)) => items.iter().filter_map(listed_key).collect(),
                _ => keys(written),
            };
            let names = if written.is_empty() { BOOLEAN_VARIANTS.map(|(name, _)| name.into()).into() } else { written };
            (flag.key.clone(), names)
        });
        Self {
            environments: keys(section("environments")),
            releases: keys(section("releases")),
            segments: keys(section("segments")),
            flags: keys(section("flags")),
            variants: variants.collect(),
        }
    }

    pub(super) fn of_names(environments: Names, releases: Names, segments: Names) -> Self {
        Self { environments, releases, segments, ..Self::default() }
    }

    /// Adds a flag, or gives it other variants; one that writes none out is a boolean.
    pub(super) fn put_flag<'v>(&mut self, key: &str, variants: impl Iterator<Item = &'v str>) {
        let mut names: Names = variants.map(Arc::from).collect();
        if names.is_empty() {
            names = BOOLEAN_VARIANTS.map(|(name, _)| name.into()).into();
        }
        if self.variants.insert(key.into(), names).is_none() {
            self.flags.push(key.into());
        }
    }

    pub(super) fn remove_flag(&mut self, key: &str) {
        self.variants.remove(key);
        self.flags.retain(|flag| &**flag != key);
    }

    pub(super) fn environment(&self, name: &str, at: Position, report: &mut Report) -> bool {
        known(&self.environments, "environment_unknown", "environment", name, at, report)
    }

    pub(super) fn release(&self, name: &str, at: Position, report: &mut Report) -> bool {
        known(&self.releases, "release_unknown", "release", name, at, report)
    }

    pub(super) fn segment(&self, name: &str, at: Position, report: &mut Report) -> bool {
        known(&self.segments, "segment_unknown", "segment", name, at, report)
    }

    pub(super) fn flag(&self, name: &str, at: Position, report: &mut Report) -> bool {
        // By the map: there may be ten thousand of them, each with a prerequisite.
        self.variants.contains_key(name) || known(&self.flags, "flag_unknown", "flag", name, at, report)
    }

    /// Whether the flag has the variant; a flag that is unknown was reported where it is named.
    pub(super) fn variant(&self, flag: &str, name: &str, at: Position, report: &mut Report) -> bool {
        let Some(variants) = self.variants.get(flag) else { return true };
        if variants.iter().any(|variant| &**variant == name) {
            return true;
        }
        let detail = format!("the flag \"{}\" has no variant \"{}\"", excerpt(flag), excerpt(name));
        let meant = match name.to_ascii_lowercase().as_str() {
            "true" | "yes" => "on",
            "false" | "no" => "off",
            _ => name,
        };
        let help = suggest::help(meant, variants.iter().map(|variant| &**variant));
        report.add(at, "variant_unknown", detail).suggestion = help;
        false
    }
}

/// The key of `{key, value}`.
fn listed_key(item: &Node) -> Option<Arc<str>> {
    item.entry("key")?.value.scalar().map(|scalar| scalar.text.clone())
}

fn known(names: &Names, code: &'static str, what: &str, name: &str, at: Position, report: &mut Report) -> bool {
    if names.iter().any(|known| &**known == name) {
        return true;
    }
    let help = suggest::help(name, names.iter().map(|known| &**known));
    report.add(at, code, format!("there is no {what} \"{}\"", excerpt(name))).suggestion = help;
    false
}
