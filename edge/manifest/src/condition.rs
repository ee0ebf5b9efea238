//! Conditions: exactly one form each, nested as deep as the tree allows.
//!
//! What the values must look like for each operator is the engine's business; its problems come
//! back with the same positions.

use edge_engine::{
    FlagKey, OPERATORS, SegmentKey, VariantKey,
    wire::{ConditionWire, PrerequisiteWire},
};

use super::{
    declared::Declared,
    fields::{self, Fields},
    finding::Position,
    node::{Entry, Kind, Node, excerpt},
    report::Report,
    suggest,
};

/// Reads the condition of a `when`. What cannot be read becomes a condition that always holds.
pub(super) fn when(fields: &mut Fields<'_>, declared: &Declared, report: &mut Report) -> ConditionWire {
    match fields.required("when", report) {
        Some(entry) => condition(&entry.value, entry.place(), declared, report),
        None => always(),
    }
}

fn always() -> ConditionWire {
    ConditionWire { all: Some(Vec::new()), ..ConditionWire::default() }
}

fn condition(node: &Node, place: Position, declared: &Declared, report: &mut Report) -> ConditionWire {
    let Some(mut fields) = Fields::of(node, place, "a condition", report) else { return always() };
    let read = Read { declared, report };
    let wire = read.forms(&mut fields);
    fields.done(report);
    wire
}

struct Read<'a> {
    declared: &'a Declared,
    report: &'a mut Report,
}

impl Read<'_> {
    fn forms(mut self, fields: &mut Fields<'_>) -> ConditionWire {
        let all = fields.optional("all");
        let any = fields.optional("any");
        let not = fields.optional("not");
        let attr = fields.optional("attr");
        let (op, values) = (fields.optional("op"), fields.optional("values"));
        let segment = fields.optional("segment");
        let flag = fields.optional("flag");
        let is = fields.optional("is");
        let forms = [all, any, not, attr, segment, flag];
        let mut written: Vec<&Entry> = forms.into_iter().flatten().collect();
        written.sort_by_key(|entry| entry.key_at);
        let Some((form, others)) = written.split_first() else {
            let detail = "a condition has one of the keys all, any, not, attr, segment, flag".to_owned();
            self.report.add(fields.place(), "condition_form", detail);
            return always();
        };
        if let Some(second) = others.first() {
            let detail = format!("a condition is either \"{}\" or \"{}\", not both", form.key, second.key);
            let help = "put both into a list under all or any".into();
            self.report.add(second.key_at, "condition_form", detail).help(help);
            return always();
        }
        if attr.is_none() {
            self.stray([op, values], "attr");
        }
        if flag.is_none() {
            self.stray([is, None], "flag");
        }
        match &*form.key {
            "all" => ConditionWire { all: Some(self.parts(form)), ..ConditionWire::default() },
            "any" => ConditionWire { any: Some(self.parts(form)), ..ConditionWire::default() },
            "not" => {
                let part = condition(&form.value, form.place(), self.declared, self.report);
                ConditionWire { not: Some(Box::new(part)), ..ConditionWire::default() }
            }
            "attr" => self.comparison(form, op, values),
            "segment" => self.segment(form),
            _ => self.flag(fields.place(), form, is),
        }
    }

    fn stray(&mut self, entries: [Option<&Entry>; 2], without: &str) {
        for entry in entries.into_iter().flatten() {
            let detail = format!("\"{}\" belongs to a condition with \"{without}\"", entry.key);
            self.report.add(entry.key_at, "key_unknown", detail);
        }
    }

    fn parts(&mut self, form: &Entry) -> Vec<ConditionWire> {
        let items = fields::list(&form.value, &format!("\"{}\"", form.key), self.report);
        items.iter().map(|item| condition(item, item.at, self.declared, self.report)).collect()
    }

    fn comparison(&mut self, attr: &Entry, op: Option<&Entry>, values: Option<&Entry>) -> ConditionWire {
        let attribute = fields::text(&attr.value, "an attribute's name", self.report);
        let Some(op) = op else {
            let detail = "a condition on an attribute needs \"op\"".to_owned();
            self.report.add(attr.key_at, "key_missing", detail);
            return always();
        };
        let operator = fields::text(&op.value, "an operator", self.report).filter(|name| self.operator(name, op));
        let values = match values {
            Some(entry) => Some(self.values(entry)),
            None if operator.is_none_or(|name| name == "exists") => None,
            None => {
                let detail = format!("the operator \"{}\" needs \"values\"", operator.unwrap_or_default());
                self.report.add(attr.key_at, "key_missing", detail);
                return always();
            }
        };
        match (attribute, operator) {
            (Some(attribute), Some(operator)) => ConditionWire {
                attr: Some(attribute.to_owned()),
                op: Some(operator.to_owned()),
                values,
                ..ConditionWire::default()
            },
            _ => always(),
        }
    }

    fn operator(&mut self, name: &str, op: &Entry) -> bool {
        if OPERATORS.contains(&name) {
            return true;
        }
        let meant = match name {
            "=" | "==" | "equals" => Some("eq"),
            "!=" | "<>" => Some("neq"),
            "<" => Some("lt"),
            "<=" => Some("lte"),
            ">" => Some("gt"),
            ">=" => Some("gte"),
            "~" | "=~" | "regex" => Some("matches"),
            _ => None,
        };
        let help = match meant {
            Some(name) => Some(format!("did you mean \"{name}\"?")),
            None => suggest::closest(name, &OPERATORS)
                .map(|name| format!("did you mean \"{name}\"?"))
                .or_else(|| Some(format!("known here: {}", OPERATORS.join(", ")))),
        };
        let detail = format!("there is no operator \"{}\"", excerpt(name));
        self.report.add(op.value.at, "operator_unknown", detail).suggestion = help;
        false
    }

    fn values(&mut self, entry: &Entry) -> Vec<serde_json::Value> {
        let items = fields::list(&entry.value, "\"values\"", self.report);
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            if matches!(item.kind, Kind::Scalar(_)) && !item.is_null() {
                values.push(fields::json(item, self.report));
            } else {
                let detail =
                    format!("a value to compare with is a text, a number or a boolean, not {}", item.describe());
                self.report.add(item.at, "type_mismatch", detail);
            }
        }
        values
    }

    fn segment(&mut self, form: &Entry) -> ConditionWire {
        let key = fields::text(&form.value, "a segment's key", self.report)
            .filter(|key| self.declared.segment(key, form.value.at, self.report));
        match key.and_then(|key| SegmentKey::new(key).ok()) {
            Some(key) => ConditionWire { segment: Some(key), ..ConditionWire::default() },
            None => always(),
        }
    }

    fn flag(&mut self, place: Position, form: &Entry, is: Option<&Entry>) -> ConditionWire {
        match flag_is(place, Some(form), is, self.declared, self.report) {
            Some((flag, is)) => ConditionWire { flag: Some(flag), is: Some(is), ..ConditionWire::default() },
            None => always(),
        }
    }
}

/// `{flag, is}`: another flag and the variants that it may have.
fn flag_is(
    place: Position,
    flag: Option<&Entry>,
    is: Option<&Entry>,
    declared: &Declared,
    report: &mut Report,
) -> Option<(FlagKey, Vec<VariantKey>)> {
    let flag = flag?;
    let key = fields::text(&flag.value, "a flag's key", report)?;
    let known = declared.flag(key, flag.value.at, report);
    let Some(is) = is else {
        report.add(place, "key_missing", "a condition on a flag needs \"is\" with its variants".to_owned());
        return None;
    };
    let mut variants = Vec::new();
    for item in fields::one_or_more(&is.value, "\"is\"", report) {
        let Some(name) = fields::text(item, "a variant", report) else { continue };
        if declared.variant(key, name, item.at, report) {
            variants.extend(VariantKey::new(name).ok());
        }
    }
    Some((FlagKey::new(key).ok().filter(|_| known)?, variants))
}

/// The `prerequisites` of a flag.
pub(super) fn prerequisites(entry: Option<&Entry>, declared: &Declared, report: &mut Report) -> Vec<PrerequisiteWire> {
    let Some(entry) = entry else { return Vec::new() };
    let mut prerequisites = Vec::new();
    for item in fields::list(&entry.value, "\"prerequisites\"", report) {
        let Some(mut fields) = Fields::of(item, item.at, "a prerequisite", report) else { continue };
        let (flag, is) = (fields.required("flag", report), fields.optional("is"));
        let read = flag_is(item.at, flag, is, declared, report);
        prerequisites.extend(read.map(|(flag, is)| PrerequisiteWire { flag, is }));
        fields.done(report);
    }
    prerequisites
}
