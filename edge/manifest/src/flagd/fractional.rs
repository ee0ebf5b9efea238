//! `fractional`: what it buckets by, and its weights.

use edge_engine::{Form, limits::MAX_WEIGHTS};
use serde_json::Value;

use super::super::{
    finding::Position,
    node::{Kind, Node},
};
use super::{
    condition::Reading,
    logic::Logic,
    notes::Note,
    operand::{self, Operand, Operation, constant, operation},
    outcome::{Case, Out},
};

/// What the splits of a flag are by: its salt and its only source of units.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct By {
    pub(super) salt: String,
    pub(super) unit: String,
}

/// The bucketing value of one `fractional`.
enum Bucketing {
    /// One text for everybody.
    Constant(String),
    /// A unit, with the text that is hashed where it is absent; `None` = there is no bucket then.
    Unit(By, Option<String>),
}

impl Reading<'_> {
    /// The outcomes of a `fractional`.
    pub(super) fn fractional(&mut self, at: Position, args: &[Node]) -> Result<Vec<Case>, Note> {
        let implicit = matches!(args.first(), Some(Node { kind: Kind::List(_), .. }));
        let (bucketing, parts) = match args {
            parts if implicit => {
                let by = By { salt: self.flag.to_owned(), unit: "targetingKey".to_owned() };
                (Bucketing::Unit(by, None), parts)
            }
            [by, parts @ ..] => (self.bucketing(by)?, parts),
            [] => return Err(Note::refused(at, "fractional_invalid", "\"fractional\" needs variants")),
        };
        let parts = parts.iter().map(|part| self.part(part)).collect::<Result<Vec<_>, _>>()?;
        let total: u64 = parts.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let total = u32::try_from(total).ok().filter(|total| *total <= MAX_WEIGHTS).ok_or_else(|| {
            Note::refused(at, "fractional_invalid", format!("the weights sum to more than {MAX_WEIGHTS}"))
        })?;
        let always = |out| Case { when: Logic::Always, out, at };
        if total == 0 {
            return Ok(vec![always(Out::Null)]);
        }
        let constant = |text: &str| self.owner(text, &parts, total);
        match bucketing {
            Bucketing::Constant(text) => Ok(vec![always(constant(&text))]),
            Bucketing::Unit(by, when_absent) => {
                let attribute = by.unit.strip_prefix("attribute:");
                let unless = |(name, text): (&str, &String)| {
                    let when = Logic::exists(name).negated();
                    Case { when, out: constant(text), at }
                };
                let mut cases: Vec<Case> = attribute.zip(when_absent.as_ref()).map(unless).into_iter().collect();
                if self.by.get_or_insert(by.clone()) != &by {
                    let detail = "two \"fractional\" of one flag bucket by different values";
                    return Err(Note::refused(at, "fractional_untranslatable", detail));
                }
                cases.push(always(Out::Split(parts)));
                Ok(cases)
            }
        }
    }

    /// The outcome of everybody when all have this bucketing value.
    fn owner(&self, text: &str, parts: &[(Out, u32)], total: u32) -> Out {
        let bucket = self.algorithm.bucket(Form::Named, "", text.into(), total).unwrap_or_default();
        let mut end = 0;
        let owner = parts.iter().find(|(_, weight)| {
            end += weight;
            bucket < end
        });
        owner.map_or(Out::Null, |(out, _)| out.clone())
    }

    fn bucketing(&mut self, node: &Node) -> Result<Bucketing, Note> {
        let refused = |at, detail: &str| Note::refused(at, "fractional_untranslatable", detail);
        match operation(node)? {
            Some(Operation { name: "cat", at, args }) => self.joined(at, args),
            Some(Operation { name: "$ref", at, args }) => {
                let inner = self.evaluator(at, args)?;
                self.bucketing(&inner)
            }
            Some(Operation { name: "var", at, .. }) => match self.operand("fractional", node)? {
                Operand::Constant(value) => Ok(Bucketing::Constant(operand::text(&value).unwrap_or_default())),
                Operand::Clock => Err(refused(at, "\"fractional\" by the clock has no equivalent")),
                Operand::Attribute(attribute) => {
                    let unit = format!("attribute:{}", attribute.name);
                    let when_absent = match attribute.default {
                        Value::Null => {
                            self.note_absent(&attribute.name, at);
                            None
                        }
                        Value::String(text) => Some(text),
                        _ => return Err(refused(at, "\"fractional\" by a default that is no text has no equivalent")),
                    };
                    Ok(Bucketing::Unit(By { salt: String::new(), unit }, when_absent))
                }
            },
            Some(other) => {
                let detail = format!("\"fractional\" by the result of \"{}\" has no equivalent", other.name);
                Err(refused(other.at, &detail))
            }
            None => match constant(node) {
                Some(Value::String(text)) => Ok(Bucketing::Constant(text)),
                _ => Err(refused(node.at, "\"fractional\" by a constant that is no text has no equivalent")),
            },
        }
    }

    /// `cat` of constants and, behind all of them, at most one attribute.
    fn joined(&mut self, at: Position, args: &[Node]) -> Result<Bucketing, Note> {
        let refused = |detail: &str| Note::refused(at, "fractional_untranslatable", detail);
        let (mut salt, mut unit) = (String::new(), None);
        for arg in args {
            let part = self.operand("cat", arg)?;
            if unit.is_some() {
                return Err(refused("\"fractional\" by anything behind an attribute in \"cat\" has no equivalent"));
            }
            match part {
                Operand::Constant(value) => salt.push_str(&operand::text(&value).unwrap_or_default()),
                Operand::Attribute(attribute) => unit = Some(attribute),
                Operand::Clock => return Err(refused("\"fractional\" by the clock has no equivalent")),
            }
        }
        let Some(attribute) = unit else { return Ok(Bucketing::Constant(salt)) };
        if salt.is_empty() {
            return Err(refused("\"fractional\" by \"cat\" of an attribute alone has no equivalent; use \"var\""));
        }
        // What JavaScript and Python make of null here.
        let null = "null";
        if attribute.default.is_null() {
            let name = &attribute.name;
            let detail = format!(
                "where \"{name}\" is absent, everybody has the variant of the text \"{salt}{null}\", as in JavaScript and Python; other implementations of flagd hash other texts"
            );
            self.notes.push(Note::differs(at, "implementations_differ", detail));
        }
        let default = operand::text(&attribute.default).unwrap_or_else(|| null.to_owned());
        let unit = format!("attribute:{}", attribute.name);
        let when_absent = Some(format!("{salt}{default}"));
        Ok(Bucketing::Unit(By { salt, unit }, when_absent))
    }

    fn note_absent(&mut self, name: &str, at: Position) {
        if self.algorithm == edge_engine::Flagd::V2 {
            let detail = format!(
                "where \"{name}\" is absent, flagd in Go splits by flag key and targeting key; here, as in JavaScript, the default variant is served"
            );
            self.notes.push(Note::differs(at, "implementations_differ", detail));
        }
    }

    /// A variant with its weight.
    fn part(&mut self, node: &Node) -> Result<(Out, u32), Note> {
        let refused = |at, detail: &str| Note::refused(at, "fractional_invalid", detail);
        let Kind::List(items) = &node.kind else {
            return Err(refused(node.at, "a part of \"fractional\" is a list of a variant and a weight"));
        };
        let (variant, weight) = match &**items {
            [variant] => (variant, None),
            [variant, weight] => (variant, Some(weight)),
            _ => return Err(refused(node.at, "a part of \"fractional\" is a list of a variant and a weight")),
        };
        let Some(value) = constant(variant) else {
            let detail = "a variant that is computed inside of \"fractional\" has no equivalent";
            return Err(Note::refused(variant.at, "fractional_untranslatable", detail));
        };
        let Some(weight) = weight else { return Ok((Out::of(&value), 1)) };
        match constant(weight).as_ref().and_then(Value::as_f64) {
            Some(number) if number.fract() == 0.0 && number < 0.0 => {
                let detail = "a negative weight counts as 0, as in JavaScript and Python; flagd in Go refuses it";
                self.notes.push(Note::differs(weight.at, "implementations_differ", detail));
                Ok((Out::of(&value), 0))
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
            Some(number) if number.fract() == 0.0 && number <= f64::from(MAX_WEIGHTS) => {
                Ok((Out::of(&value), number as u32))
            }
            Some(_) => Err(refused(weight.at, &format!("a weight is a whole number up to {MAX_WEIGHTS}"))),
            None => {
                let detail = "a weight that is computed has no equivalent";
                Err(Note::refused(weight.at, "fractional_untranslatable", detail))
            }
        }
    }
}
