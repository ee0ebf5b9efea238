//! Flags: their variants for every environment, and their targeting in each.
//!
//! Defaults make a boolean flag one line: variants `on` and `off`, off when it is off, `on` for
//! everybody where it is enabled and nothing else is said.

use std::collections::BTreeMap;

use edge_engine::{
    EnvironmentName, FLAGD_V2, FLAGD_V3, FlagKey, SIPHASH24_V1, VariantKey,
    limits::MAX_WEIGHTS,
    wire::{FlagRuleWire, FlagType, FlagWire, PrerequisiteWire, RangeWire, ServeWire, VariantWire},
};
use serde_json::Value;

use super::{
    condition,
    declared::{BOOLEAN_VARIANTS, Declared},
    fields::{self, Fields},
    node::{Entry, Kind, Node, excerpt},
    ranges,
    report::Report,
    share, traffic,
};

const TYPES: [(&str, FlagType); 4] = [
    ("boolean", FlagType::Boolean),
    ("string", FlagType::String),
    ("number", FlagType::Number),
    ("object", FlagType::Object),
];

/// Which algorithms there are, and whether their splits are lists of integer weights.
const ALGORITHMS: [(&str, (&str, bool)); 3] =
    [(SIPHASH24_V1, (SIPHASH24_V1, false)), (FLAGD_V2, (FLAGD_V2, true)), (FLAGD_V3, (FLAGD_V3, true))];

/// One entry under `flags`.
#[derive(Debug)]
pub(super) struct Flag {
    pub(super) key: FlagKey,
    pub(super) description: Option<String>,
    pub(super) archived: bool,
    pub(super) id: String,
    pub(super) r#type: FlagType,
    pub(super) variants: Vec<VariantWire>,
    pub(super) off_variant: VariantKey,
    pub(super) forward: bool,
    pub(super) client_visible: bool,
    pub(super) salt: Option<String>,
    pub(super) algorithm: &'static str,
    pub(super) unit: Option<Vec<String>>,
    pub(super) prerequisites: Vec<PrerequisiteWire>,
    pub(super) targeting: BTreeMap<EnvironmentName, Targeting>,
    pub(super) node: Node,
}

/// What a flag does in one environment.
#[derive(Debug)]
pub(super) struct Targeting {
    pub(super) enabled: bool,
    pub(super) rules: Vec<FlagRuleWire>,
    pub(super) fallthrough: ServeWire,
    /// Replaces the flag's own when it is written.
    pub(super) prerequisites: Option<Vec<PrerequisiteWire>>,
    node: Node,
}

impl Flag {
    pub(super) fn read(entry: &Entry, declared: &Declared, report: &mut Report) -> Option<Self> {
        let key = fields::key_name(&entry.key, entry.key_at, FlagKey::new, report);
        let mut fields = Fields::of(&entry.value, entry.key_at, "a flag", report)?;
        let mut text = |key: &'static str, report: &mut Report| {
            let entry = fields.optional(key);
            entry.and_then(|entry| fields::text(&entry.value, &format!("\"{key}\""), report)).map(str::to_owned)
        };
        let (id, salt) = (text("id", report), text("salt", report));
        let description = fields::description(&mut fields, report);
        let archived = fields::boolean(fields.optional("archived"), false, report);
        let r#type = fields.optional("type").and_then(|entry| fields::choice(&entry.value, "a type", &TYPES, report));
        let written = fields.optional("variants");
        let variants = variants(entry, written, r#type.unwrap_or(FlagType::Boolean), report);
        let off = off_variant(entry, fields.optional("offVariant"), &variants, declared, report);
        let algorithm = fields.optional("algorithm");
        let algorithm = algorithm.and_then(|entry| fields::choice(&entry.value, "an algorithm", &ALGORITHMS, report));
        let (algorithm, weighted) = algorithm.unwrap_or((SIPHASH24_V1, false));
        let forward = fields::boolean(fields.optional("forward"), false, report);
        let client_visible = fields::boolean(fields.optional("clientVisible"), false, report);
        let unit = traffic::unit(fields.optional("unit"), report);
        let prerequisites = condition::prerequisites(fields.optional("prerequisites"), declared, report);
        let scope = Scope { flag: &entry.key, variants: &variants, off: off.as_ref(), weighted, declared };
        let targeting = targetings(fields.optional("environments"), &scope, report);
        fields.done(report);
        Some(Self {
            key: key?,
            description,
            archived,
            id: id.unwrap_or_else(|| entry.key.to_string()),
            r#type: r#type.unwrap_or(FlagType::Boolean),
            off_variant: off?,
            variants: variants.list,
            forward,
            client_visible,
            salt,
            algorithm,
            unit,
            prerequisites,
            targeting,
            node: entry.value.clone(),
        })
    }

    /// The flag as one environment sees it; where it is not listed it is off.
    pub(super) fn wire(&self, environment: &EnvironmentName) -> FlagWire {
        let targeting = self.targeting.get(environment);
        let off = ServeWire { serve: Some(self.off_variant.clone()), split: None };
        let prerequisites = targeting.and_then(|targeting| targeting.prerequisites.as_ref());
        FlagWire {
            id: self.id.clone(),
            r#type: self.r#type,
            variants: self.variants.clone(),
            off_variant: self.off_variant.clone(),
            enabled: targeting.is_some_and(|targeting| targeting.enabled),
            forward: self.forward,
            client_visible: self.client_visible,
            salt: self.salt.clone(),
            algorithm: self.algorithm.to_owned(),
            unit: self.unit.clone(),
            prerequisites: prerequisites.unwrap_or(&self.prerequisites).clone(),
            rules: targeting.map(|targeting| targeting.rules.clone()).unwrap_or_default(),
            fallthrough: targeting.map_or(off, |targeting| targeting.fallthrough.clone()),
        }
    }

    /// The name of a variant by its place.
    pub(super) fn variant_key(&self, index: usize) -> Option<&str> {
        self.variants.get(index).map(|variant| variant.key.as_str())
    }

    /// The node that holds a wire key of this flag in an environment.
    pub(super) fn holder(&self, environment: &EnvironmentName, key: &str) -> &Node {
        let targeting = self.targeting.get(environment).map(|targeting| &targeting.node);
        match (key, targeting) {
            ("enabled" | "rules" | "fallthrough" | "prerequisites", Some(node)) if node.entry(key).is_some() => node,
            _ => &self.node,
        }
    }
}

/// The variants of a flag as far as they could be read.
struct Variants {
    list: Vec<VariantWire>,
    /// Whether all could be, so that it may be said what they lack.
    sound: bool,
}

impl Variants {
    /// The variant with this boolean value, when there is exactly one.
    fn only(&self, value: bool) -> Option<VariantKey> {
        let mut having = self.list.iter().filter(|variant| variant.value == Value::Bool(value));
        having.next().filter(|_| having.next().is_none()).map(|variant| variant.key.clone())
    }
}

fn variants(flag: &Entry, written: Option<&Entry>, r#type: FlagType, report: &mut Report) -> Variants {
    if let Some(Kind::List(items)) = written.map(|entry| &entry.value.kind) {
        let list: Vec<_> = items.iter().filter_map(|item| listed_variant(item, r#type, report)).collect();
        let sound = list.len() == items.len() && !items.is_empty();
        if items.is_empty() {
            report.add(flag.key_at, "variants_empty", "a flag needs at least one variant".to_owned());
        }
        return Variants { list, sound };
    }
    let entries = fields::entries(written, "\"variants\"", report);
    if !entries.is_empty() {
        let list: Vec<_> = entries.iter().filter_map(|entry| variant(entry, r#type, report)).collect();
        let sound = list.len() == entries.len();
        return Variants { list, sound };
    }
    if r#type != FlagType::Boolean {
        let detail = "a flag needs \"variants\": only a boolean flag has some by itself (on: true, off: false)";
        report.add(flag.key_at, "key_missing", detail.to_owned());
        return Variants { list: Vec::new(), sound: false };
    }
    let named = |(name, value): (&'static str, bool)| {
        VariantKey::new(name).ok().map(|key| VariantWire { key, value: value.into() })
    };
    Variants { list: BOOLEAN_VARIANTS.into_iter().filter_map(named).collect(), sound: true }
}

/// `{key: on, value: true}`: a variant where the order of a mapping would be lost.
fn listed_variant(node: &Node, r#type: FlagType, report: &mut Report) -> Option<VariantWire> {
    let mut fields = Fields::of(node, node.at, "a variant", report)?;
    let key = fields.required("key", report).and_then(|entry| fields::text(&entry.value, "a variant's key", report));
    let value = fields.required("value", report);
    fields.done(report);
    let (key, value) = (key?, value?);
    variant(&Entry { key: key.into(), key_at: node.at, value: value.value.clone() }, r#type, report)
}

fn variant(entry: &Entry, r#type: FlagType, report: &mut Report) -> Option<VariantWire> {
    let key = fields::key_name(&entry.key, entry.key_at, VariantKey::new, report);
    let value = fields::json(&entry.value, report);
    let fits = match r#type {
        FlagType::Boolean => value.is_boolean(),
        FlagType::String => value.is_string(),
        FlagType::Number => value.is_number(),
        FlagType::Object => value.is_object(),
    };
    if !fits {
        wrong_value(entry, r#type, &value, report);
        return None;
    }
    Some(VariantWire { key: key?, value })
}

fn wrong_value(entry: &Entry, r#type: FlagType, value: &Value, report: &mut Report) {
    let word = |r#type: FlagType| TYPES.iter().find(|(_, known)| *known == r#type).map_or("", |(word, _)| *word);
    let written = entry.value.scalar().map(|scalar| excerpt(&scalar.text)).unwrap_or_default();
    let help = match (r#type, value) {
        (FlagType::String, Value::Bool(_) | Value::Number(_)) => Some(format!("write \"{written}\" in quotes")),
        (FlagType::Boolean, Value::String(text)) if matches!(text.as_str(), "on" | "yes") => Some("write true".into()),
        (FlagType::Boolean, Value::String(text)) if matches!(text.as_str(), "off" | "no") => Some("write false".into()),
        (_, Value::String(_)) => Some(format!("is this a flag with type: {}?", word(FlagType::String))),
        (_, Value::Number(_)) => Some(format!("is this a flag with type: {}?", word(FlagType::Number))),
        (_, Value::Object(_)) => Some(format!("is this a flag with type: {}?", word(FlagType::Object))),
        _ => None,
    };
    let detail = format!(
        "the variant \"{}\" of a {} flag cannot be {}",
        excerpt(&entry.key),
        word(r#type),
        entry.value.describe()
    );
    report.add(entry.value.at, "variant_type", detail).suggestion = help;
}

/// The off variant; of a boolean flag it is the only one that is false.
fn off_variant(
    flag: &Entry,
    written: Option<&Entry>,
    variants: &Variants,
    declared: &Declared,
    report: &mut Report,
) -> Option<VariantKey> {
    let fallback = || variants.only(false).or_else(|| variants.list.first().map(|variant| variant.key.clone()));
    if let Some(entry) = written {
        let name = fields::text(&entry.value, "a variant", report);
        let name = name.filter(|name| declared.variant(&flag.key, name, entry.value.at, report));
        return name.and_then(|name| VariantKey::new(name).ok()).or_else(fallback);
    }
    let only = variants.only(false);
    if only.is_none() && variants.sound {
        let detail = "a flag needs \"offVariant\": only a boolean flag with one false variant has one by itself".into();
        report.add(flag.key_at, "key_missing", detail);
    }
    only.or_else(fallback)
}

/// What the targeting of a flag refers to.
struct Scope<'a> {
    flag: &'a str,
    variants: &'a Variants,
    off: Option<&'a VariantKey>,
    /// Whether splits are lists of integer weights.
    weighted: bool,
    declared: &'a Declared,
}

fn targetings(entry: Option<&Entry>, scope: &Scope<'_>, report: &mut Report) -> BTreeMap<EnvironmentName, Targeting> {
    let mut targetings = BTreeMap::new();
    for entry in fields::entries(entry, "\"environments\"", report) {
        let known = scope.declared.environment(&entry.key, entry.key_at, report);
        let targeting = targeting(entry, scope, report);
        if let (true, Ok(name), Some(targeting)) = (known, EnvironmentName::new(&*entry.key), targeting) {
            targetings.insert(name, targeting);
        }
    }
    targetings
}

fn targeting(entry: &Entry, scope: &Scope<'_>, report: &mut Report) -> Option<Targeting> {
    let mut fields = Fields::of(&entry.value, entry.key_at, "a flag's environment", report)?;
    let enabled = fields::boolean(fields.optional("enabled"), true, report);
    let rules = fields.optional("rules").map(|entry| fields::list(&entry.value, "\"rules\"", report));
    let rules = rules.unwrap_or_default().iter().enumerate();
    let rules = rules.filter_map(|(index, item)| rule(index, item, scope, report)).collect();
    let prerequisites = fields.optional("prerequisites");
    let prerequisites = prerequisites.map(|entry| condition::prerequisites(Some(entry), scope.declared, report));
    let fallthrough = match fields.optional("fallthrough") {
        Some(entry) => fallthrough(entry, scope, report),
        None => default_fallthrough(entry, enabled, scope, report),
    };
    fields.done(report);
    Some(Targeting { enabled, rules, fallthrough, prerequisites, node: entry.value.clone() })
}

fn rule(index: usize, node: &Node, scope: &Scope<'_>, report: &mut Report) -> Option<FlagRuleWire> {
    let mut fields = Fields::of(node, node.at, "a targeting rule", report)?;
    let id = traffic::rule_id(index, &mut fields, report);
    let when = condition::when(&mut fields, scope.declared, report);
    let ServeWire { serve, split } = serve(&mut fields, scope, report);
    fields.done(report);
    Some(FlagRuleWire { id, when, serve, split })
}

/// `fallthrough: on`, `{serve: on}` or `{split: {on: 10, off: 90}}`.
fn fallthrough(entry: &Entry, scope: &Scope<'_>, report: &mut Report) -> ServeWire {
    if matches!(entry.value.kind, Kind::Scalar(_)) {
        return served(variant_name(&entry.value, scope, report), scope);
    }
    let Some(mut fields) = Fields::of(&entry.value, entry.place(), "fallthrough", report) else {
        return served(None, scope);
    };
    let serve = serve(&mut fields, scope, report);
    fields.done(report);
    serve
}

/// Enabled means on; a flag that has no single `true` has to say what it serves.
fn default_fallthrough(entry: &Entry, enabled: bool, scope: &Scope<'_>, report: &mut Report) -> ServeWire {
    let on = scope.variants.only(true);
    if enabled && on.is_none() && scope.variants.sound {
        let detail =
            "an enabled flag needs \"fallthrough\": only a boolean flag with one true variant has one by itself";
        report.add(entry.key_at, "key_missing", detail.to_owned());
    }
    served(on, scope)
}

fn served(variant: Option<VariantKey>, scope: &Scope<'_>) -> ServeWire {
    ServeWire { serve: variant.or_else(|| scope.off.cloned()), split: None }
}

/// Exactly one of the keys `serve` and `split`.
fn serve(fields: &mut Fields<'_>, scope: &Scope<'_>, report: &mut Report) -> ServeWire {
    let explicit = fields.optional("ranges");
    match (fields.optional("serve"), fields.optional("split")) {
        (Some(_), Some(split)) => {
            let detail = "either \"serve\" or \"split\", not both".to_owned();
            report.add(split.key_at, "serve_form", detail);
            served(None, scope)
        }
        (Some(entry), None) => served(variant_name(&entry.value, scope, report), scope),
        (None, Some(entry)) => match split(entry, scope, report) {
            Some(tiled) => {
                let own = explicit.and_then(|entry| ranges::ranges(entry, &tiled, report));
                ServeWire { serve: None, split: Some(own.unwrap_or(tiled)) }
            }
            None => served(None, scope),
        },
        (None, None) => {
            report.add(fields.place(), "serve_form", "one of \"serve\" and \"split\" says what is served".to_owned());
            served(None, scope)
        }
    }
}

fn variant_name(node: &Node, scope: &Scope<'_>, report: &mut Report) -> Option<VariantKey> {
    let name = fields::text(node, "a variant", report)?;
    if scope.declared.variant(scope.flag, name, node.at, report) { VariantKey::new(name).ok() } else { None }
}

/// Shares in any order, laid out in the order of the variants.
fn split(entry: &Entry, scope: &Scope<'_>, report: &mut Report) -> Option<Vec<RangeWire>> {
    if scope.weighted {
        return weights(entry, scope, report);
    }
    let mut shares: BTreeMap<&str, u32> = BTreeMap::new();
    let mut sound = !matches!(entry.value.kind, Kind::List(_));
    for part in fields::entries(Some(entry), "a split", report) {
        let known = scope.declared.variant(scope.flag, &part.key, part.key_at, report);
        match fields::share(&part.value, "a share", report) {
            Some(share) if known => drop(shares.insert(&part.key, share)),
            _ => sound = false,
        }
    }
    let total: u64 = shares.values().map(|share| u64::from(*share)).sum();
    if sound && total != u64::from(share::WHOLE) {
        let total = share::display(u32::try_from(total).unwrap_or(u32::MAX));
        let detail = format!("the shares of a split sum to 100, not {total}");
        report.add(entry.place(), "split_sum", detail);
        sound = false;
    }
    let order = scope.variants.list.iter().map(|variant| &variant.key);
    let shares = order.filter_map(|key| Some((key.clone(), *shares.get(key.as_str())?)));
    sound.then(|| share::tile(shares))
}

/// Integer weights, laid out in the order of the list; a variant may be in it more than once.
fn weights(entry: &Entry, scope: &Scope<'_>, report: &mut Report) -> Option<Vec<RangeWire>> {
    let items = fields::list(&entry.value, "a split in weights", report);
    let read = |item| {
        let mut fields = Fields::of(item, item.at, "a part of a split", report)?;
        let variant = fields.required("variant", report);
        let variant = variant.and_then(|entry| variant_name(&entry.value, scope, report));
        let weight = fields::integer(fields.required("weight", report), report);
        fields.done(report);
        variant.zip(weight)
    };
    let parts: Vec<_> = items.iter().filter_map(read).collect();
    if parts.len() < items.len() || !matches!(entry.value.kind, Kind::List(_)) {
        return None;
    }
    let total: u64 = parts.iter().map(|(_, weight)| u64::from(*weight)).sum();
    if !(1..=u64::from(MAX_WEIGHTS)).contains(&total) {
        let detail = format!("the weights of a split sum to 1 to {MAX_WEIGHTS}, not {total}");
        report.add(entry.place(), "split_sum", detail);
        return None;
    }
    Some(share::tile(parts))
}
