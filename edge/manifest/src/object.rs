//! Single objects of an app as JSON, read by the same readers as a whole file.
//!
//! The control plane keeps an app in parts and edits one at a time. What a part may refer to is in a [`Vocabulary`];
//! what is wrong has a JSON pointer into the part instead of a line.

use std::sync::Arc;

use edge_engine::{
    EnvironmentName, FlagKey, VariantKey,
    wire::{EdgeWire, FlagWire, ReleaseWire, SegmentWire, TrafficWire},
};
use serde_json::Value;

use super::{
    Segment,
    declared::Declared,
    environment::Environment,
    finding::Position,
    flag::Flag,
    node::{Entry, Kind, Node, Scalar},
    release,
    report::Report,
    show,
};

/// One problem in an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer into the object; empty = the object as a whole.
    pub pointer: String,
    /// Stable code, e.g. `key_unknown`.
    pub code: &'static str,
    /// A sentence.
    pub detail: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// What the objects of an app may refer to.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary(Declared);

impl Vocabulary {
    /// The names of an app; a flag comes with its document, for its variants.
    pub fn new<'a>(
        environments: impl IntoIterator<Item = &'a str>,
        releases: impl IntoIterator<Item = &'a str>,
        segments: impl IntoIterator<Item = &'a str>,
        flags: impl IntoIterator<Item = (&'a str, &'a Value)>,
    ) -> Self {
        let names = |names: &mut dyn Iterator<Item = &'a str>| names.map(Arc::from).collect();
        let mut declared = Declared::of_names(
            names(&mut environments.into_iter()),
            names(&mut releases.into_iter()),
            names(&mut segments.into_iter()),
        );
        for (key, document) in flags {
            declared.put_flag(key, variants(document));
        }
        Self(declared)
    }

    /// Adds a flag, or gives it other variants.
    pub fn put_flag(&mut self, key: &str, document: &Value) {
        self.0.put_flag(key, variants(document));
    }

    /// Takes a flag away.
    pub fn remove_flag(&mut self, key: &str) {
        self.0.remove_flag(key);
    }
}

/// The keys of a flag's variants, as a mapping or a list.
fn variants(document: &Value) -> impl Iterator<Item = &str> {
    let written = document.get("variants");
    let mapped = written.and_then(Value::as_object).into_iter().flat_map(|map| map.keys().map(String::as_str));
    let listed = written.and_then(Value::as_array).into_iter().flatten();
    mapped.chain(listed.filter_map(|item| item.get("key")?.as_str()))
}

/// An environment's own part of a snapshot, and its documents.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentParts {
    /// Where its releases come from.
    pub promotes_from: Option<EnvironmentName>,
    /// Unit sources.
    pub unit: Vec<String>,
    /// What the edge does.
    pub edge: EdgeWire,
    /// Slots, weights, rules.
    pub traffic: TrafficWire,
    /// Everything but the traffic, in its one form.
    pub document: Value,
    /// The traffic in its one form; null when it has no release.
    pub traffic_document: Value,
}

/// A flag with its targeting in every environment that it mentions.
#[derive(Debug)]
pub struct FlagParts(Flag);

impl FlagParts {
    /// The flag as one environment sees it.
    pub fn wire(&self, environment: &EnvironmentName) -> FlagWire {
        self.0.wire(environment)
    }

    /// The flag's key.
    pub fn key(&self) -> &FlagKey {
        &self.0.key
    }

    /// Whether nobody should use it any more.
    pub fn is_archived(&self) -> bool {
        self.0.archived
    }

    /// The definition in its one form.
    pub fn definition(&self) -> Value {
        show::flag(&self.0)
    }

    /// The targeting in an environment in its one form; `None` where it is not mentioned.
    pub fn targeting(&self, environment: &EnvironmentName) -> Option<Value> {
        Some(show::targeting(&self.0, self.0.targeting.get(environment)?))
    }

    /// The variants in the order of creation.
    pub fn variants(&self) -> impl Iterator<Item = &VariantKey> {
        self.0.variants.iter().map(|variant| &variant.key)
    }
}

/// Reads a flag with its `environments`.
pub fn flag(key: &str, document: &Value, names: &Vocabulary) -> Result<FlagParts, Vec<Fault>> {
    read(key, document, |entry, report| Flag::read(entry, &names.0, report)).map(FlagParts)
}

/// Reads a segment; its one form comes with it.
pub fn segment(key: &str, document: &Value, names: &Vocabulary) -> Result<(SegmentWire, Value), Vec<Fault>> {
    let segment = read(key, document, |entry, report| Segment::read(entry, &names.0, report))?;
    let document = show::segment(&segment);
    Ok((segment.wire, document))
}

/// Reads a release; its one form comes with it.
pub fn release(id: &str, document: &Value) -> Result<(ReleaseWire, Value), Vec<Fault>> {
    let release = read(id, document, release::release)?;
    let document = show::release(&release);
    Ok((release.wire, document))
}

/// Reads an environment with its `traffic`.
pub fn environment(name: &str, document: &Value, names: &Vocabulary) -> Result<EnvironmentParts, Vec<Fault>> {
    let environment = read(name, document, |entry, report| Environment::read(entry, &names.0, report))?;
    let (document, traffic_document) = (show::environment(&environment), show::traffic(&environment.traffic));
    Ok(EnvironmentParts {
        promotes_from: environment.promotes_from,
        unit: environment.unit,
        edge: environment.edge,
        traffic: environment.traffic,
        document,
        traffic_document,
    })
}

fn read<T>(
    key: &str,
    document: &Value,
    reader: impl FnOnce(&Entry, &mut Report) -> Option<T>,
) -> Result<T, Vec<Fault>> {
    let mut tree = Tree { pointers: vec![String::new()] };
    let value = tree.node(document, "");
    // A complaint about the key itself is one about the object as a whole.
    let entry = Entry { key: key.into(), key_at: Position { line: 1, column: 0 }, value };
    let mut report = Report::new("");
    let read = reader(&entry, &mut report);
    match (read, report.is_empty()) {
        (Some(read), true) => Ok(read),
        _ => Err(tree.faults(report)),
    }
}

/// Positions count nodes here: the line is an index into the pointers, from 1.
struct Tree {
    pointers: Vec<String>,
}

impl Tree {
    fn place(&mut self, pointer: &str) -> Position {
        self.pointers.push(pointer.to_owned());
        Position { line: self.pointers.len(), column: 0 }
    }

    fn node(&mut self, value: &Value, pointer: &str) -> Node {
        let at = self.place(pointer);
        let plain = |text: String| Kind::Scalar(Scalar { text: text.into(), plain: true });
        let kind = match value {
            Value::Null => plain("null".to_owned()),
            Value::Bool(value) => plain(value.to_string()),
            Value::Number(value) => plain(value.to_string()),
            Value::String(text) => Kind::Scalar(Scalar { text: text.as_str().into(), plain: false }),
            Value::Array(items) => {
                let items = items.iter().enumerate().map(|(i, item)| self.node(item, &format!("{pointer}/{i}")));
                Kind::List(items.collect())
            }
            Value::Object(map) => {
                let entries = map.iter().map(|(key, value)| {
                    let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                    let key_at = self.place(&pointer);
                    Entry { key: key.as_str().into(), key_at, value: self.node(value, &pointer) }
                });
                Kind::Map(entries.collect())
            }
        };
        Node { at, kind }
    }

    fn faults(&self, report: Report) -> Vec<Fault> {
        let findings = report.into_findings().into_iter();
        let faults = findings.map(|finding| Fault {
            pointer: self.pointers.get(finding.line - 1).cloned().unwrap_or_default(),
            code: finding.code,
            detail: finding.detail,
            hint: finding.suggestion,
        });
        faults.collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> Vocabulary {
        let on = json!({});
        Vocabulary::new(["production"], ["web-1"], ["staff"], [("checkout", &on)])
    }

    #[track_caller]
    fn refused<T: std::fmt::Debug>(read: Result<T, Vec<Fault>>, expected: &[(&str, &str)]) {
        let faults = read.expect_err("refused");
        let places: Vec<_> = faults.iter().map(|fault| (fault.pointer.as_str(), fault.code)).collect();
        assert_eq!(places, expected, "{faults:?}");
    }

    #[test]
    fn a_flag_is_read_as_in_a_file() {
        let document = json!({"environments": {"production": {"fallthrough": {"split": {"on": 10, "off": 90}}}}});
        let flag = flag("checkout", &document, &names()).expect("sound");
        let wire = flag.wire(&EnvironmentName::new("production").unwrap());
        assert_eq!(wire.fallthrough.split.expect("a split")[0].to, 100_000);
    }

    #[test]
    fn mistakes_have_pointers() {
        let document = json!({"offVariant": "of", "environments": {"production": {
            "rules": [{"when": {"segment": "stff"}, "serve": "on"}], "fallthrough": {"split": {"on": 10}}, "enabld": true}}});
        refused(
            flag("checkout", &document, &names()),
            &[
                ("/environments/production/enabld", "key_unknown"),
                ("/environments/production/fallthrough/split", "split_sum"),
                ("/environments/production/rules/0/when/segment", "segment_unknown"),
                ("/offVariant", "variant_unknown"),
            ],
        );
        refused(flag("check out", &json!({}), &names()), &[("", "name_invalid")]);
        refused(release("r", &json!([])), &[("", "type_mismatch")]);
        refused(release("r", &json!({"a/b": 1, "version": "1", "upstreams": []})), &[("/a~1b", "key_unknown")]);
    }

    #[test]
    fn ranges_say_the_same_shares_as_the_split() {
        let document = |ranges: Value| json!({"environments": {"production": {"fallthrough": {"split": {"on": 10, "off": 90}, "ranges": ranges}}}});
        let range = |variant, from, to| json!({"variant": variant, "from": from, "to": to});
        let moved = json!([range("off", 0, 900_000), range("on", 900_000, 1_000_000)]);
        let read = flag("checkout", &document(moved), &names()).expect("sound");
        let wire = read.wire(&EnvironmentName::new("production").unwrap());
        assert_eq!(wire.fallthrough.split.expect("a split")[0].variant.as_str(), "off");
        let at = "/environments/production/fallthrough/ranges";
        let gap = json!([range("off", 0, 900_000), range("on", 900_001, 1_000_000)]);
        refused(flag("checkout", &document(gap), &names()), &[(at, "split_does_not_tile")]);
        let other = json!([range("off", 0, 800_000), range("on", 800_000, 1_000_000)]);
        refused(flag("checkout", &document(other), &names()), &[(at, "ranges_disagree")]);
    }

    #[test]
    fn numbers_keep_their_digits() {
        let document = json!({"traffic": {"slots": {"blue": "web-1", "green": "web-1"}, "active": "blue", "candidateWeight": 0.0001}});
        let parts = environment("production", &document, &names()).expect("sound");
        assert_eq!(parts.traffic.candidate_weight, 1);
    }
}
