//! One flag: its state, variants, default and targeting, as a flag of bascule.yaml.

use std::collections::BTreeSet;

use edge_engine::limits::MAX_TEXT_BYTES;
use serde_json::Value;

use super::super::{
    Yaml, fields,
    finding::Position,
    node::{Entry, Kind, excerpt},
    report::Report,
};
use super::{
    Declared, FlagdOptions,
    condition::Reading,
    logic::Logic,
    notes::{Note, without_meaning},
    outcome::{Case, Out},
};

/// What became of a definition.
pub(super) struct Definition {
    pub(super) flag: Result<Yaml, Note>,
    /// What is to be said when the flag is taken.
    pub(super) notes: Vec<Note>,
    /// The evaluators that it refers to.
    pub(super) used: BTreeSet<String>,
}

/// Names and values, in the order of the file.
type Variants = Vec<(String, Value)>;

/// The parts of a definition that do not depend on targeting.
struct Frame {
    r#type: &'static str,
    variants: Variants,
    default: Option<String>,
    enabled: bool,
}

impl Definition {
    pub(super) fn read(flag: &Declared, options: &FlagdOptions, evaluators: &[Entry]) -> Self {
        let mut reading = Reading {
            flag: &flag.key,
            algorithm: options.algorithm,
            evaluators,
            used: BTreeSet::new(),
            notes: Vec::new(),
            by: None,
            operations: 0,
        };
        let flag = written(flag, options, &mut reading);
        Self { flag, notes: reading.notes, used: reading.used }
    }
}

fn written(flag: &Declared, options: &FlagdOptions, reading: &mut Reading<'_>) -> Result<Yaml, Note> {
    let frame = frame(flag, reading)?;
    let targeting = flag.node.entry("targeting").map(|entry| &entry.value);
    let targeting = targeting.filter(|node| node.entries().is_none_or(|entries| !entries.is_empty()));
    let mut cases = match targeting {
        None => vec![Case { when: Logic::Always, out: Out::Null, at: flag.key_at }],
        Some(node) if matches!(node.kind, Kind::Map(_)) => reading.cases(node)?,
        Some(node) => return Err(Note::refused(node.at, "targeting_invalid", "targeting is an object")),
    };
    let mut serves =
        cases.drain(..).map(|case| Ok((case.when.clone(), frame.serve(&case)?))).collect::<Result<Vec<_>, Note>>()?;
    let fallthrough = serves.pop().map_or(Yaml::Null, |(_, serve)| serve);
    while serves.last().is_some_and(|(_, serve)| *serve == fallthrough) {
        serves.pop();
    }
    let off = frame.off(flag, reading)?;
    let rules: Yaml = serves.iter().map(|(when, serve)| rule(when, serve)).collect();
    let environment = Yaml::map([
        ("enabled", Some(Yaml::from(frame.enabled))),
        ("rules", (!serves.is_empty()).then_some(rules)),
        ("fallthrough", Some(fallthrough)),
    ]);
    let by = reading.by.take();
    if by.as_ref().is_some_and(|by| by.salt.len() > MAX_TEXT_BYTES) {
        let detail = format!("a constant of more than {MAX_TEXT_BYTES} bytes in \"fractional\" has no equivalent");
        return Err(Note::refused(flag.key_at, "fractional_untranslatable", detail));
    }
    let variants = frame.variants.into_iter().map(|(key, value)| (key, value.into())).collect();
    Ok(Yaml::map([
        ("type", Some(Yaml::from(frame.r#type))),
        ("variants", Some(Yaml::Map(variants))),
        ("offVariant", Some(off)),
        ("algorithm", by.as_ref().map(|_| Yaml::from(options.algorithm.name()))),
        ("salt", by.as_ref().map(|by| Yaml::from(by.salt.as_str()))),
        ("unit", by.as_ref().map(|by| Yaml::from_iter([Yaml::from(by.unit.as_str())]))),
        ("environments", Some(Yaml::map([(options.environment.as_str(), Some(environment))]))),
    ]))
}

fn rule(when: &Logic, serve: &Yaml) -> Yaml {
    let split = match serve {
        Yaml::Map(entries) => entries.first().map(|(_, split)| split.clone()),
        _ => None,
    };
    let variant = split.is_none().then(|| serve.clone());
    Yaml::map([("when", Some(when.to_yaml())), ("serve", variant), ("split", split)])
}

fn frame(flag: &Declared, reading: &mut Reading<'_>) -> Result<Frame, Note> {
    let Kind::Map(entries) = &flag.node.kind else {
        let detail = format!("a flag is a mapping, not {}", flag.node.describe());
        return Err(Note::refused(flag.key_at, "type_mismatch", detail));
    };
    for entry in entries.iter() {
        match &*entry.key {
            "key" | "state" | "variants" | "defaultVariant" | "targeting" => {}
            "metadata" => reading.notes.extend(Note::metadata(entry)),
            other => reading.notes.push(Note::dropped(entry.key_at, "key_unknown", without_meaning(other))),
        }
    }
    let state = flag.node.entry("state").and_then(|entry| entry.value.scalar());
    let enabled = match state.map(|state| &*state.text) {
        Some("ENABLED") => true,
        Some("DISABLED") => false,
        _ => {
            let at = flag.node.entry("state").map_or(flag.key_at, |entry| entry.value.at);
            return Err(Note::refused(at, "state_unknown", "the state is ENABLED or DISABLED"));
        }
    };
    let (r#type, variants) = variants(flag)?;
    let default = flag.node.entry("defaultVariant").filter(|entry| !entry.value.is_null());
    let default = match default {
        None => None,
        Some(entry) => {
            let name = entry.value.scalar().map(|name| name.text.to_string()).unwrap_or_default();
            if !name.is_empty() && variants.iter().all(|(key, _)| *key != name) {
                return Err(variant_unknown(&name, entry.value.at));
            }
            Some(name).filter(|name| !name.is_empty())
        }
    };
    Ok(Frame { r#type, variants, default, enabled })
}

/// The variants in the order of the file, and the type that they share.
fn variants(flag: &Declared) -> Result<(&'static str, Variants), Note> {
    let entry = flag.node.entry("variants");
    let entries = entry.and_then(|entry| entry.value.entries()).unwrap_or_default();
    let at = entry.map_or(flag.key_at, |entry| entry.key_at);
    let mut report = Report::new("");
    let mut variants = Variants::new();
    let mut types = BTreeSet::new();
    for entry in entries {
        let value = fields::json(&entry.value, &mut report);
        types.insert(match &value {
            Value::Bool(_) => "boolean",
            Value::String(_) => "string",
            Value::Number(_) => "number",
            Value::Object(_) => "object",
            Value::Null | Value::Array(_) => {
                let detail = format!("the variant \"{}\" is {}", excerpt(&entry.key), entry.value.describe());
                return Err(Note::refused(entry.value.at, "variant_type", detail));
            }
        });
        variants.push((entry.key.to_string(), value));
    }
    let mut types = types.into_iter();
    match (types.next(), types.next()) {
        (Some(r#type), None) if report.is_empty() => Ok((r#type, variants)),
        (None, _) => Err(Note::refused(at, "variants_empty", "a flag has at least one variant")),
        _ => Err(Note::refused(at, "variant_type", "all variants of a flag have values of one type")),
    }
}

impl Frame {
    /// A case as `fallthrough` has it: a variant's name, or a mapping with a split.
    fn serve(&self, case: &Case) -> Result<Yaml, Note> {
        let Out::Split(parts) = &case.out else { return self.variant(&case.out, case.at).map(Yaml::Text) };
        // Whoever has no unit gets the default.
        self.variant(&Out::Null, case.at)?;
        let part = |(out, weight): &(Out, u32)| {
            let variant = self.variant(out, case.at)?;
            Ok(Yaml::map([("variant", Some(Yaml::Text(variant))), ("weight", Some(Yaml::from(*weight)))]))
        };
        let parts: Yaml = parts.iter().filter(|(_, weight)| *weight > 0).map(part).collect::<Result<_, Note>>()?;
        Ok(Yaml::map([("split", Some(parts))]))
    }

    fn variant(&self, out: &Out, at: Position) -> Result<String, Note> {
        let Some(name) = out.variant() else {
            return self.default.clone().ok_or_else(|| {
                let detail = "without a default variant flagd leaves the answer to the application here; Bascule always serves a variant";
                Note::refused(at, "default_variant_missing", detail)
            });
        };
        if self.variants.iter().any(|(key, _)| *key == name) { Ok(name) } else { Err(variant_unknown(&name, at)) }
    }

    /// The off variant: the default where there is one.
    fn off(&self, flag: &Declared, reading: &mut Reading<'_>) -> Result<Yaml, Note> {
        let at = flag.node.entry("state").map_or(flag.key_at, |entry| entry.value.at);
        if !self.enabled {
            let name = self.variant(&Out::Null, at)?;
            let detail = format!(
                "flagd leaves a disabled flag to the application; Bascule serves its off variant \"{}\"",
                excerpt(&name)
            );
            reading.notes.push(Note::differs(at, "disabled_serves_variant", detail));
        }
        let only_false = || {
            let mut off = self.variants.iter().filter(|(_, value)| *value == Value::Bool(false));
            off.next().filter(|_| off.next().is_none())
        };
        let off = self.default.clone().or_else(|| {
            let (name, _) = only_false().or(self.variants.first())?;
            let detail = format!("there is no default variant; the off variant is \"{}\"", excerpt(name));
            reading.notes.push(Note::dropped(flag.key_at, "default_variant_absent", detail));
            Some(name.clone())
        });
        Ok(Yaml::Text(off.unwrap_or_default()))
    }
}

fn variant_unknown(name: &str, at: Position) -> Note {
    Note::refused(at, "variant_unknown", format!("the flag has no variant \"{}\"", excerpt(name)))
}
