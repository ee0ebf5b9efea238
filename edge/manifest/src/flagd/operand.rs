//! Operands: constants and attributes, and what the operators of JSON logic make of two constants.
//!
//! A constant comparison has the answer of JavaScript, which the implementations share for numbers, texts and
//! null; where they do not, the callers say so.

use serde_json::Value;

use super::super::{
    finding::Position,
    node::{Kind, Node, Scalar, excerpt},
};
use super::{condition::Reading, notes::Note};

/// What an operator is applied to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    /// A scalar or null.
    Constant(Value),
    /// An attribute, with what stands for it where it is absent.
    Attribute(Attribute),
    /// `$flagd.timestamp`: the clock in seconds.
    Clock,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) default: Value,
}

/// An operation: an object with one key.
pub(super) struct Operation<'n> {
    pub(super) name: &'n str,
    pub(super) at: Position,
    pub(super) args: &'n [Node],
}

/// The operation that a node is; a single argument needs no list.
pub(super) fn operation(node: &Node) -> Result<Option<Operation<'_>>, Note> {
    match &node.kind {
        Kind::Map(entries) => match &**entries {
            [entry] => {
                let args = match &entry.value.kind {
                    Kind::List(items) => items,
                    _ => std::slice::from_ref(&entry.value),
                };
                Ok(Some(Operation { name: &entry.key, at: entry.key_at, args }))
            }
            _ => Err(Note::refused(node.at, "operation_form", "an operation is an object with one key")),
        },
        _ => Ok(None),
    }
}

/// The constant that a scalar is; `None` for lists and objects.
pub(super) fn constant(node: &Node) -> Option<Value> {
    let Kind::Scalar(scalar) = &node.kind else { return None };
    Some(match (scalar.is_null(), scalar.boolean(), scalar.number()) {
        (true, ..) => Value::Null,
        (_, Some(value), _) => value.into(),
        (.., Some(Ok(number))) => number.into(),
        _ => Value::String(scalar.text.to_string()),
    })
}

impl Reading<'_> {
    /// Reads an operand of the operator `of`.
    pub(super) fn operand(&mut self, of: &str, node: &Node) -> Result<Operand, Note> {
        if let Some(value) = constant(node) {
            return Ok(Operand::Constant(value));
        }
        match operation(node)? {
            Some(Operation { name: "var", at, args }) => self.var(at, args),
            Some(Operation { name: "$ref", at, args }) => {
                let inner = self.evaluator(at, args)?;
                self.operand(of, &inner)
            }
            Some(inner) => {
                let detail = format!("\"{of}\" of the result of \"{}\" has no equivalent", excerpt(inner.name));
                Err(Note::refused(inner.at, "operand_untranslatable", detail))
            }
            None => {
                let detail = format!("\"{of}\" of a list has no equivalent");
                Err(Note::refused(node.at, "operand_untranslatable", detail))
            }
        }
    }

    fn var(&self, at: Position, args: &[Node]) -> Result<Operand, Note> {
        let refused = |detail: String| Note::refused(at, "var_untranslatable", detail);
        let Some(name) = args.first().and_then(Node::scalar).filter(|_| args.len() <= 2) else {
            return Err(refused("\"var\" names one attribute and at most a default".to_owned()));
        };
        match &*name.text {
            "$flagd.flagKey" => return Ok(Operand::Constant(Value::String(self.flag.to_owned()))),
            "$flagd.timestamp" => return Ok(Operand::Clock),
            _ => {}
        }
        if let Some(why) = unnameable(name) {
            return Err(refused(format!("\"var\" of \"{}\" has no equivalent: {why}", excerpt(&name.text))));
        }
        let default = match args.get(1) {
            Some(node) => constant(node).ok_or_else(|| refused("the default of \"var\" is no constant".to_owned()))?,
            None => Value::Null,
        };
        Ok(Operand::Attribute(Attribute { name: name.text.to_string(), default }))
    }
}

/// Why an attribute cannot be asked for by its name.
fn unnameable(name: &Scalar) -> Option<&'static str> {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let text = &*name.text;
    match text.split('.').next() {
        Some("") => Some("it is the whole context"),
        Some("$flagd") => Some("flagd has no such property"),
        _ if text == "now" => Some("the name means the clock"),
        _ if text.split('.').any(number) => Some("it is an element of a list"),
        Some("header") if text.chars().any(char::is_uppercase) => Some("headers have lower-case names"),
        _ => None,
    }
}

/// The number that JavaScript makes of a constant.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Null => Some(0.0),
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text.trim().is_empty() => Some(0.0),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// `===`.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

/// `==`.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    let textual = |value: &Value| value.is_string() || value.is_null();
    if textual(a) && textual(b) { a == b } else { number(a).is_some_and(|a| Some(a) == number(b)) }
}

/// Whether a condition holds by this value alone.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
    }
}

/// The text that a constant is in `cat`, and that a result names its variant by.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        // Displayed as a float, a whole number has no fraction.
        Value::Number(number) if number.is_f64() => number.as_f64().map(|number| number.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a value of another type has the same canonical text, so that flagd may tell apart what we do not.
pub(super) fn is_ambiguous(value: &Value) -> bool {
    match value {
        Value::String(text) => text.trim().is_empty() || text == "true" || text == "false" || number(value).is_some(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn constants_compare_as_in_javascript() {
        for (a, b, loosely) in [
            (json!(1), json!("1.0"), true),
            (json!(null), json!(0), true),
            (json!(null), json!(""), false),
            (json!(false), json!(""), true),
            (json!(true), json!("true"), false),
            (json!("a"), json!("a"), true),
            (json!("1"), json!("1.0"), false),
        ] {
            assert_eq!((equal(&a, &b), equal(&b, &a)), (loosely, loosely), "{a} {b}");
        }
        assert!(same(&json!(1), &json!(1.0)) && !same(&json!(1), &json!("1")) && !same(&json!(null), &json!(0)));
    }

    #[test]
    fn results_are_named_as_javascript_writes_them() {
        for (value, expected) in [(json!(1.0), "1"), (json!(1.5), "1.5"), (json!(-2), "-2"), (json!(true), "true")] {
            assert_eq!(text(&value).as_deref(), Some(expected));
        }
        assert_eq!(text(&json!(null)), None);
    }
}
