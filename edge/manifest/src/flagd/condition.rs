//! Conditions: when an operation of JSON logic is truthy.
//!
//! An attribute that is absent is null to flagd, or the default of its `var`; what an operator makes of that is
//! known here, and becomes part of the condition wherever an absent attribute would answer otherwise.

use std::collections::BTreeSet;

use edge_engine::{Flagd, format_rfc3339};
use serde_json::Value;

use super::super::{
    finding::Position,
    node::{Entry, Kind, Node, excerpt},
};
use super::{
    fractional::By,
    logic::Logic,
    notes::Note,
    operand::{self, Attribute, Operand, Operation, constant, is_ambiguous, operation, truthy},
};

/// Operations of one flag, evaluators written out. Far above any that people write.
const MAX_OPERATIONS: usize = 20_000;
/// The last second of the year 9999, beyond which RFC 3339 has no texts.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// The targeting of one flag while it is read.
pub(super) struct Reading<'a> {
    pub(super) flag: &'a str,
    pub(super) algorithm: Flagd,
    pub(super) evaluators: &'a [Entry],
    pub(super) used: BTreeSet<String>,
    pub(super) notes: Vec<Note>,
    /// What the flag's splits are by: one for all of them.
    pub(super) by: Option<By>,
    pub(super) operations: usize,
}

/// A relation with the number on the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Lt,
    Lte,
    Gt,
    Gte,
}

impl Order {
    fn of(operator: &str) -> Self {
        match operator {
            "<" => Self::Lt,
            "<=" => Self::Lte,
            ">" => Self::Gt,
            _ => Self::Gte,
        }
    }

    fn flipped(self) -> Self {
        match self {
            Self::Lt => Self::Gt,
            Self::Lte => Self::Gte,
            Self::Gt => Self::Lt,
            Self::Gte => Self::Lte,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::Gt => "gt",
            Self::Gte => "gte",
        }
    }

    fn holds(self, a: &Value, b: &Value) -> bool {
        let (Some(a), Some(b)) = (operand::number(a), operand::number(b)) else { return false };
        match self {
            Self::Lt => a < b,
            Self::Lte => a <= b,
            Self::Gt => a > b,
            Self::Gte => a >= b,
        }
    }
}

impl Reading<'_> {
    /// Counts an operation; refuses what is larger than anything that people write.
    pub(super) fn step(&mut self, node: &Node) -> Result<(), Note> {
        self.operations += 1;
        if self.operations > MAX_OPERATIONS {
            let detail = format!("the targeting has more than {MAX_OPERATIONS} operations, evaluators written out");
            return Err(Note::refused(node.at, "targeting_too_large", detail));
        }
        Ok(())
    }

    /// When a value is truthy.
    pub(super) fn truth(&mut self, node: &Node) -> Result<Logic, Note> {
        self.step(node)?;
        if let Some(value) = constant(node) {
            return Ok(Logic::constant(truthy(&value)));
        }
        let Some(operation) = operation(node)? else {
            return Ok(Logic::constant(!matches!(&node.kind, Kind::List(items) if items.is_empty())));
        };
        let Operation { name, at, args } = operation;
        match name {
            "var" => self.truth_of_operand(node, at),
            "!" => Ok(self.truth(only(name, at, args)?)?.negated()),
            "!!" => self.truth(only(name, at, args)?),
            "and" => Ok(Logic::all(self.truths(name, at, args)?)),
            "or" => Ok(Logic::any(self.truths(name, at, args)?)),
            "if" | "?:" => self.truth_of_if(args),
            "$ref" => {
                let inner = self.evaluator(at, args)?;
                self.truth(&inner)
            }
            "==" | "===" | "!=" | "!==" => self.equality(name, at, args),
            "<" | "<=" | ">" | ">=" => self.order(name, at, args),
            "in" => self.membership(at, args),
            "starts_with" | "ends_with" => self.affix(name, at, args),
            "sem_ver" => self.version(at, args),
            "fractional" => {
                let detail = "\"fractional\" inside of a condition has no equivalent";
                Err(Note::refused(at, "fractional_in_condition", detail))
            }
            other => Err(untranslatable(other, at)),
        }
    }

    fn truths(&mut self, name: &str, at: Position, args: &[Node]) -> Result<Vec<Logic>, Note> {
        if args.is_empty() {
            return Err(arguments(name, at, "one or more"));
        }
        args.iter().map(|part| self.truth(part)).collect()
    }

    fn truth_of_operand(&mut self, node: &Node, at: Position) -> Result<Logic, Note> {
        Ok(match self.operand("!!", node)? {
            Operand::Constant(value) => Logic::constant(truthy(&value)),
            Operand::Clock => Logic::Always,
            Operand::Attribute(attribute) => {
                let detail = format!("the texts \"0\" and \"false\" of \"{}\" count as false here", attribute.name);
                self.notes.push(Note::differs(at, "type_blind", detail));
                let values = vec!["".into(), false.into(), 0.into()];
                let present = Logic::attribute(&attribute.name, "notIn", values);
                absent(&attribute, present, true, truthy(&attribute.default))
            }
        })
    }

    fn truth_of_if(&mut self, args: &[Node]) -> Result<Logic, Note> {
        let (pairs, last) = args.as_chunks::<2>();
        let mut logic = match last {
            [last] => self.truth(last)?,
            _ => Logic::Never,
        };
        for [when, then] in pairs.iter().rev() {
            let (when, then) = (self.truth(when)?, self.truth(then)?);
            logic = Logic::any([Logic::all([when.clone(), then]), Logic::all([when.negated(), logic])]);
            // A condition inside of a condition is written twice, so that nesting doubles.
            self.operations += size(&logic) / 2;
            if let Some(node) = args.first() {
                self.step(node)?;
            }
        }
        Ok(logic)
    }

    /// The evaluator that a `$ref` names.
    pub(super) fn evaluator(&mut self, at: Position, args: &[Node]) -> Result<Node, Note> {
        let name = match args {
            [name] => name.scalar().map(|name| &*name.text),
            _ => None,
        };
        let name = name.ok_or_else(|| Note::refused(at, "ref_unknown", "\"$ref\" names an evaluator"))?;
        let Some(entry) = self.evaluators.iter().find(|entry| &*entry.key == name) else {
            let detail = format!("there is no evaluator \"{}\"", excerpt(name));
            return Err(Note::refused(at, "ref_unknown", detail));
        };
        self.used.insert(name.to_owned());
        if refers(&entry.value) {
            let detail = format!("the evaluator \"{}\" refers to another, which flagd leaves as it is", excerpt(name));
            return Err(Note::refused(at, "ref_nested", detail));
        }
        Ok(entry.value.clone())
    }

    fn equality(&mut self, name: &str, at: Position, args: &[Node]) -> Result<Logic, Note> {
        let [a, b] = args else { return Err(arguments(name, at, "two")) };
        let strict = name.len() == 3;
        let equal = match (self.operand(name, a)?, self.operand(name, b)?) {
            (Operand::Constant(a), Operand::Constant(b)) => {
                Logic::constant(if strict { operand::same(&a, &b) } else { operand::equal(&a, &b) })
            }
            (Operand::Attribute(attribute), Operand::Constant(value))
            | (Operand::Constant(value), Operand::Attribute(attribute)) => self.equals(&attribute, &value, strict, at),
            _ => return Err(two_sided(name, at)),
        };
        Ok(if name.starts_with('!') { equal.negated() } else { equal })
    }

    fn equals(&mut self, attribute: &Attribute, value: &Value, strict: bool, at: Position) -> Logic {
        let name = &attribute.name;
        let default = &attribute.default;
        let when_absent = if strict { operand::same(default, value) } else { operand::equal(default, value) };
        if value.is_null() {
            if !strict {
                let detail = format!(
                    "to some implementations of flagd 0 and false equal null; here only an absent \"{name}\" does"
                );
                self.notes.push(Note::differs(at, "implementations_differ", detail));
            }
            return absent(attribute, Logic::Never, false, when_absent);
        }
        if is_ambiguous(value) {
            let detail = format!("{value} is compared by its text, whatever the type of \"{name}\"");
            self.notes.push(Note::differs(at, "type_blind", detail));
        }
        if when_absent && default.is_null() {
            let detail = format!(
                "flagd's implementations do not agree whether an absent \"{name}\" equals {value}; here it does"
            );
            self.notes.push(Note::differs(at, "implementations_differ", detail));
        }
        let twin = match (strict, value.as_bool(), value.as_f64()) {
            (false, Some(bool), _) => Some(Value::from(u8::from(bool))),
            (false, _, Some(0.0)) => Some(false.into()),
            (false, _, Some(1.0)) => Some(true.into()),
            _ => None,
        };
        let op = if twin.is_some() { "in" } else { "eq" };
        let values = [value.clone()].into_iter().chain(twin).collect();
        absent(attribute, Logic::attribute(name, op, values), false, when_absent)
    }

    fn order(&mut self, name: &str, at: Position, args: &[Node]) -> Result<Logic, Note> {
        if !(2..=3).contains(&args.len()) {
            return Err(arguments(name, at, "two or three"));
        }
        let order = Order::of(name);
        let mut parts = Vec::new();
        for pair in args.windows(2) {
            let [a, b] = pair else { continue };
            let (a, b) = (self.operand(name, a)?, self.operand(name, b)?);
            parts.push(match (a, b) {
                (Operand::Constant(a), Operand::Constant(b)) if a.is_number() && b.is_number() => {
                    Logic::constant(order.holds(&a, &b))
                }
                (Operand::Attribute(attribute), Operand::Constant(value)) if value.is_number() => {
                    compared(&attribute, order, &value)
                }
                (Operand::Constant(value), Operand::Attribute(attribute)) if value.is_number() => {
                    compared(&attribute, order.flipped(), &value)
                }
                (Operand::Clock, Operand::Constant(value)) if value.is_number() => clock(order, &value),
                (Operand::Constant(value), Operand::Clock) if value.is_number() => clock(order.flipped(), &value),
                (Operand::Constant(_), _) | (_, Operand::Constant(_)) => {
                    let detail = format!("\"{name}\" of anything but a number has no equivalent");
                    return Err(Note::refused(at, "order_untranslatable", detail));
                }
                _ => return Err(two_sided(name, at)),
            });
        }
        Ok(Logic::all(parts))
    }

    fn membership(&mut self, at: Position, args: &[Node]) -> Result<Logic, Note> {
        let [needle, haystack] = args else { return Err(arguments("in", at, "two")) };
        let needle = self.operand("in", needle)?;
        if let Kind::List(items) = &haystack.kind {
            let values: Option<Vec<Value>> = items.iter().map(constant).collect();
            let Some(values) = values else {
                let detail = "\"in\" a list with more than constants has no equivalent";
                return Err(Note::refused(haystack.at, "in_untranslatable", detail));
            };
            return match needle {
                Operand::Constant(value) => Ok(Logic::constant(values.iter().any(|one| operand::same(one, &value)))),
                Operand::Attribute(attribute) => Ok(self.listed(&attribute, values, at)),
                Operand::Clock => Err(two_sided("in", at)),
            };
        }
        match (needle, self.operand("in", haystack)?) {
            (Operand::Constant(Value::String(part)), Operand::Attribute(attribute)) => {
                let name = &attribute.name;
                let detail = format!(
                    "where \"{name}\" is a list, flagd asks for an element that is equal; here one that contains the text is enough"
                );
                self.notes.push(Note::differs(at, "list_blind", detail));
                let when_absent = attribute.default.as_str().is_some_and(|text| text.contains(&part));
                let present = Logic::attribute(name, "contains", vec![part.into()]);
                Ok(absent(&attribute, present, false, when_absent))
            }
            (Operand::Constant(Value::String(part)), Operand::Constant(Value::String(text))) => {
                Ok(Logic::constant(text.contains(&part)))
            }
            _ => {
                let detail =
                    "\"in\" is translated for an attribute in a list of constants, and for a text in an attribute";
                Err(Note::refused(at, "in_untranslatable", detail))
            }
        }
    }

    fn listed(&mut self, attribute: &Attribute, values: Vec<Value>, at: Position) -> Logic {
        let when_absent = values.iter().any(|value| operand::same(value, &attribute.default));
        let values: Vec<Value> = values.into_iter().filter(|value| !value.is_null()).collect();
        if let Some(value) = values.iter().find(|value| is_ambiguous(value)) {
            let detail = format!("{value} is compared by its text, whatever the type of \"{}\"", attribute.name);
            self.notes.push(Note::differs(at, "type_blind", detail));
        }
        let present = if values.is_empty() { Logic::Never } else { Logic::attribute(&attribute.name, "in", values) };
        absent(attribute, present, false, when_absent)
    }

    /// `starts_with` and `ends_with` of an attribute that is a text.
    fn affix(&mut self, name: &str, at: Position, args: &[Node]) -> Result<Logic, Note> {
        let (attribute, text) = self.affixed(name, at, args)?;
        let starts = name == "starts_with";
        let numeric = |c: char| c.is_ascii_digit() || "+-.e".contains(c);
        let of_boolean = |word: &str| if starts { word.starts_with(&*text) } else { word.ends_with(&*text) };
        if text.chars().all(numeric) || of_boolean("true") || of_boolean("false") {
            let detail = format!("\"{}\" is read as a text, also where it is a number or a boolean", attribute.name);
            self.notes.push(Note::differs(at, "type_blind", detail));
        }
        let when_absent = attribute
            .default
            .as_str()
            .is_some_and(|value| if starts { value.starts_with(&*text) } else { value.ends_with(&*text) });
        let op = if starts { "startsWith" } else { "endsWith" };
        Ok(absent(&attribute, Logic::attribute(&attribute.name, op, vec![text.into()]), false, when_absent))
    }

    pub(super) fn affixed(&mut self, name: &str, at: Position, args: &[Node]) -> Result<(Attribute, String), Note> {
        let [value, affix] = args else { return Err(arguments(name, at, "two")) };
        let operands = (self.operand(name, value)?, self.operand(name, affix)?);
        if let (Operand::Attribute(attribute), Operand::Constant(Value::String(text))) = operands {
            return Ok((attribute, text));
        }
        let detail = format!("\"{name}\" is translated for an attribute and a text");
        Err(Note::refused(at, "operand_untranslatable", detail))
    }

    fn version(&mut self, at: Position, args: &[Node]) -> Result<Logic, Note> {
        let (attribute, op, text) = self.versioned(at, args)?;
        let [major, minor] = core(&text).ok_or_else(|| {
            let detail = format!("\"{}\" is no version to every implementation of flagd", excerpt(&text));
            Note::refused(at, "version_invalid", detail)
        })?;
        let compare = |op: &'static str, version: String| Logic::attribute(&attribute, op, vec![version.into()]);
        // The lowest version of all that begin so: a pre-release called 0.
        let between = |from: String, below: String| {
            Logic::all([compare("semverGte", format!("{from}-0")), compare("semverLt", format!("{below}-0"))])
        };
        let next = |number: u64| number.saturating_add(1);
        Ok(match op.as_str() {
            "=" => compare("semverEq", text),
            "!=" => Logic::any([compare("semverLt", text.clone()), compare("semverGt", text)]),
            "<" => compare("semverLt", text),
            "<=" => compare("semverLte", text),
            ">" => compare("semverGt", text),
            ">=" => compare("semverGte", text),
            "^" => between(format!("{major}.0.0"), format!("{}.0.0", next(major))),
            "~" => between(format!("{major}.{minor}.0"), format!("{major}.{}.0", next(minor))),
            other => {
                let detail = format!("\"sem_ver\" has no operator \"{}\"", excerpt(other));
                return Err(Note::refused(at, "version_invalid", detail));
            }
        })
    }

    /// The attribute, the operator and the version of a `sem_ver`.
    pub(super) fn versioned(&mut self, at: Position, args: &[Node]) -> Result<(String, String, String), Note> {
        let [value, op, version] = args else { return Err(arguments("sem_ver", at, "three")) };
        let operands =
            (self.operand("sem_ver", value)?, self.operand("sem_ver", op)?, self.operand("sem_ver", version)?);
        match operands {
            (Operand::Attribute(attribute), Operand::Constant(Value::String(op)), Operand::Constant(version))
                if attribute.default.is_null() && !version.is_null() =>
            {
                Ok((attribute.name, op, operand::text(&version).unwrap_or_default()))
            }
            _ => {
                let detail = "\"sem_ver\" is translated for an attribute without default, an operator and a version";
                Err(Note::refused(at, "operand_untranslatable", detail))
            }
        }
    }
}

/// Adds what an absent attribute answers. `natural` is what the condition makes of it by itself.
fn absent(attribute: &Attribute, present: Logic, natural: bool, wanted: bool) -> Logic {
    let exists = Logic::exists(&attribute.name);
    match (natural, wanted) {
        (false, true) => Logic::any([exists.negated(), present]),
        (true, false) => Logic::all([exists, present]),
        _ => present,
    }
}

fn compared(attribute: &Attribute, order: Order, value: &Value) -> Logic {
    let present = Logic::attribute(&attribute.name, order.name(), vec![value.clone()]);
    absent(attribute, present, false, order.holds(&attribute.default, value))
}

/// A comparison of the clock, which flagd knows in whole seconds.
fn clock(order: Order, value: &Value) -> Logic {
    let seconds = value.as_f64().unwrap_or_default();
    // Whole seconds are below a bound, or they are not.
    let (bound, below) = match order {
        Order::Lt => (seconds.ceil(), true),
        Order::Gte => (seconds.ceil(), false),
        Order::Lte => (seconds.floor() + 1.0, true),
        Order::Gt => (seconds.floor() + 1.0, false),
    };
    if !(0.0..=LAST_SECOND).contains(&bound) {
        return Logic::constant((bound > 0.0) == below);
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole number in the range that was just checked")]
    let before = Logic::attribute("now", "before", vec![format_rfc3339(bound as i64 * 1000).into()]);
    if below { before } else { before.negated() }
}

/// Major and minor of a version whose missing parts are 0.
fn core(text: &str) -> Option<[u64; 2]> {
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let (core, rest) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
    let parts: Option<Vec<u64>> = core.split('.').map(|part| part.parse().ok()).collect();
    match parts?.as_slice() {
        [major] if rest.is_empty() => Some([*major, 0]),
        [major, minor] if rest.is_empty() => Some([*major, *minor]),
        [major, minor, _] => Some([*major, *minor]),
        _ => None,
    }
}

fn size(logic: &Logic) -> usize {
    match logic {
        Logic::All(parts) | Logic::Any(parts) => 1 + parts.iter().map(size).sum::<usize>(),
        Logic::Not(part) => 1 + size(part),
        _ => 1,
    }
}

/// Whether a `$ref` is somewhere in a node.
fn refers(node: &Node) -> bool {
    match &node.kind {
        Kind::Map(entries) => entries.iter().any(|entry| &*entry.key == "$ref" || refers(&entry.value)),
        Kind::List(items) => items.iter().any(refers),
        Kind::Scalar(_) => false,
    }
}

pub(super) fn only<'n>(name: &str, at: Position, args: &'n [Node]) -> Result<&'n Node, Note> {
    args.first().ok_or_else(|| arguments(name, at, "one"))
}

pub(super) fn arguments(name: &str, at: Position, count: &str) -> Note {
    Note::refused(at, "arguments_invalid", format!("\"{name}\" takes {count} arguments"))
}

pub(super) fn untranslatable(name: &str, at: Position) -> Note {
    Note::refused(at, "operator_untranslatable", format!("the operator \"{}\" has no equivalent", excerpt(name)))
}

fn two_sided(name: &str, at: Position) -> Note {
    let detail = format!("\"{name}\" compares with a constant only");
    Note::refused(at, "operand_untranslatable", detail)
}
