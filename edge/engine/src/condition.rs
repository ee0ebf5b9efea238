//! Conditions: compiled once on load, evaluated without allocation.

use serde_json::json;

use crate::attribute::Attributes;
use crate::context::Value;
use crate::decide::Evaluation;
use crate::decision::{FlagIndex, VariantIndex};
use crate::limits::{MAX_DEPTH, MAX_PARTS, MAX_VARIANTS};
use crate::operator::{Ledger, Operator};
use crate::problem::Problems;
use crate::snapshot::wire::ConditionWire;
use crate::time::format_rfc3339;
use crate::trace::Trace;

/// Variants of a reference that are compared in one step.
const NAMED_PER_STEP: u64 = 16;

/// A condition with every reference resolved to an index.
#[derive(Debug)]
pub(crate) enum Condition {
    All(Box<[Condition]>),
    Any(Box<[Condition]>),
    Not(Box<Condition>),
    Test(Box<Test>),
    Segment(u32),
    Flag(FlagIndex, Box<[VariantIndex]>),
}

/// One comparison.
#[derive(Debug)]
pub(crate) struct Test {
    subject: Subject,
    name: &'static str,
    operator: Operator,
    negated: bool,
}

#[derive(Debug, Clone, Copy)]
enum Subject {
    Attribute(u16),
    Now,
}

impl Condition {
    /// Whether the condition holds. Recursion is bounded by [`MAX_DEPTH`].
    pub(crate) fn holds<T: Trace>(&self, evaluation: &mut Evaluation<'_, T>) -> bool {
        match self {
            Self::Test(test) => test.holds(evaluation),
            Self::All(parts) => {
                evaluation.trace.open();
                let result = parts.iter().all(|part| part.holds(evaluation));
                evaluation.trace.close(|inner| json!({"all": inner, "result": result}));
                result
            }
            Self::Any(parts) => {
                evaluation.trace.open();
                let result = parts.iter().any(|part| part.holds(evaluation));
                evaluation.trace.close(|inner| json!({"any": inner, "result": result}));
                result
            }
            Self::Not(part) => {
                evaluation.trace.open();
                let result = !part.holds(evaluation);
                evaluation.trace.close(|inner| json!({"not": inner.into_iter().next(), "result": result}));
                result
            }
            Self::Segment(index) => {
                let Some((key, condition)) = evaluation.snapshot.segment(*index) else { return false };
                evaluation.trace.open();
                let result = condition.holds(evaluation);
                evaluation
                    .trace
                    .close(|inner| json!({"segment": key, "when": inner.into_iter().next(), "result": result}));
                result
            }
            Self::Flag(flag, variants) => evaluation.flag_is(*flag, variants),
        }
    }
}

impl Test {
    #[inline]
    fn holds<T: Trace>(&self, evaluation: &mut Evaluation<'_, T>) -> bool {
        let value = match self.subject {
            Subject::Attribute(index) => evaluation.context.value(usize::from(index)),
            #[expect(clippy::cast_precision_loss, reason = "milliseconds stay below 2^53 for 285 000 years")]
            Subject::Now => Value::Number(evaluation.context.now_ms as f64),
        };
        let result = self.operator.holds(value) != self.negated;
        let (snapshot, now) = (evaluation.snapshot, evaluation.context.now_ms);
        evaluation.trace.leaf(|| {
            let (attribute, seen) = match self.subject {
                Subject::Attribute(i) => (snapshot.needs().get(usize::from(i)).map_or("", |a| a.name()), seen(value)),
                Subject::Now => ("now", format_rfc3339(now).into()),
            };
            json!({"attr": attribute, "op": self.name, "value": seen, "result": result})
        });
        result
    }
}

fn seen(value: Value<'_>) -> serde_json::Value {
    match value {
        Value::Missing => serde_json::Value::Null,
        Value::Text(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::Number(number) => number.into(),
        Value::Bool(bool) => bool.into(),
        Value::List(elements) => elements.iter().map(|element| seen(*element)).collect(),
    }
}

/// What a condition, segment or flag needs to be evaluated, known before references are followed.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// Levels of nesting of its own.
    pub(crate) depth: usize,
    /// Steps of its own.
    pub(crate) cost: u64,
    /// Segments and flags it evaluates, with repetition.
    pub(crate) references: Vec<Reference>,
}

/// Something that is evaluated by reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reference {
    Segment(u32),
    Flag(FlagIndex),
}

/// Resolves keys while a snapshot is being checked.
pub(crate) trait Resolve {
    fn segment(&self, key: &str) -> Option<u32>;
    fn flag(&self, key: &str) -> Option<FlagIndex>;
    fn variant(&self, flag: FlagIndex, key: &str) -> Option<VariantIndex>;
}

/// Compiles conditions and keeps account of what they need.
pub(crate) struct Compiler<'c> {
    pub(crate) attributes: &'c mut Attributes,
    pub(crate) ledger: &'c mut Ledger,
    pub(crate) resolve: &'c dyn Resolve,
    pub(crate) demand: Demand,
}

impl Compiler<'_> {
    /// Compiles a condition, or reports everything that is wrong with it.
    pub(crate) fn condition(&mut self, wire: &ConditionWire, problems: &mut Problems) -> Option<Condition> {
        self.nested(wire, 1, problems)
    }

    fn nested(&mut self, wire: &ConditionWire, depth: usize, problems: &mut Problems) -> Option<Condition> {
        self.ledger.count_condition();
        if problems.is_full() || self.ledger.is_overdrawn() {
            return None;
        }
        if problems.over("levels in a condition", depth, MAX_DEPTH) {
            return None;
        }
        self.demand.depth = self.demand.depth.max(depth);
        // Looking at a condition is work even when nothing is in it.
        self.demand.cost = self.demand.cost.saturating_add(1);
        let forms = [
            wire.all.is_some(),
            wire.any.is_some(),
            wire.not.is_some(),
            wire.attr.is_some() || wire.op.is_some() || wire.values.is_some(),
            wire.segment.is_some(),
            wire.flag.is_some() || wire.is.is_some(),
        ];
        if forms.iter().filter(|form| **form).count() != 1 {
            problems.add(
                "condition_form",
                "a condition is exactly one of all, any, not, attr with op and values, segment, or flag with is",
            );
            return None;
        }
        match wire {
            ConditionWire { all: Some(parts), .. } => self.parts("all", parts, depth, problems).map(Condition::All),
            ConditionWire { any: Some(parts), .. } => self.parts("any", parts, depth, problems).map(Condition::Any),
            ConditionWire { not: Some(part), .. } => {
                let part = problems.at("not", |problems| self.nested(part, depth + 1, problems))?;
                Some(Condition::Not(Box::new(part)))
            }
            ConditionWire { segment: Some(key), .. } => {
                problems.at("segment", |problems| self.segment(key.as_str(), problems))
            }
            ConditionWire { flag: Some(key), is: Some(variants), .. } => self.flag(key.as_str(), variants, problems),
            ConditionWire { flag, is, .. } if flag.is_some() || is.is_some() => {
                problems.add("condition_form", "`flag` and `is` belong together");
                None
            }
            _ => self.test(wire, problems),
        }
    }

    fn parts(
        &mut self,
        form: &'static str,
        parts: &[ConditionWire],
        depth: usize,
        problems: &mut Problems,
    ) -> Option<Box<[Condition]>> {
        problems.at(form, |problems| {
            if problems.over("parts in a condition", parts.len(), MAX_PARTS) {
                return None;
            }
            let compiled: Vec<_> = parts
                .iter()
                .enumerate()
                .map(|(i, part)| problems.at(i, |problems| self.nested(part, depth + 1, problems)))
                .collect();
            compiled.into_iter().collect()
        })
    }

    fn segment(&mut self, key: &str, problems: &mut Problems) -> Option<Condition> {
        let Some(index) = self.resolve.segment(key) else {
            problems.add("segment_unknown", format!("there is no segment `{key}`"));
            return None;
        };
        self.demand.references.push(Reference::Segment(index));
        Some(Condition::Segment(index))
    }

    fn flag(&mut self, key: &str, is: &[crate::names::VariantKey], problems: &mut Problems) -> Option<Condition> {
        let (flag, variants) = self.flag_reference(key, is, problems)?;
        Some(Condition::Flag(flag, variants))
    }

    /// Resolves a flag and some of its variants, as conditions and prerequisites name them.
    pub(crate) fn flag_reference(
        &mut self,
        key: &str,
        is: &[crate::names::VariantKey],
        problems: &mut Problems,
    ) -> Option<(FlagIndex, Box<[VariantIndex]>)> {
        let Some(flag) = self.resolve.flag(key) else {
            problems.at("flag", |p| p.add("flag_unknown", format!("there is no flag `{key}`")));
            return None;
        };
        self.demand.references.push(Reference::Flag(flag));
        self.demand.cost = self.demand.cost.saturating_add(is.len() as u64 / NAMED_PER_STEP);
        if is.is_empty() {
            problems.at("is", |p| p.add("variants_empty", format!("name at least one variant of `{key}`")));
        }
        if problems.at("is", |problems| problems.over("variants in a reference", is.len(), MAX_VARIANTS)) {
            return None;
        }
        let resolve = self.resolve;
        let variants: Vec<_> = is
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let index = resolve.variant(flag, name.as_str());
                if index.is_none() {
                    problems.at("is", |p| {
                        p.at(i, |p| p.add("variant_unknown", format!("flag `{key}` has no variant `{name}`")));
                    });
                }
                index
            })
            .collect();
        Some((flag, variants.into_iter().collect::<Option<_>>()?))
    }

    fn test(&mut self, wire: &ConditionWire, problems: &mut Problems) -> Option<Condition> {
        let (Some(attr), Some(op)) = (&wire.attr, &wire.op) else {
            problems.add("condition_form", "`attr`, `op` and `values` belong together");
            return None;
        };
        let values = wire.values.as_deref().unwrap_or_default();
        let compiled = Operator::compile(op, values, self.ledger, problems);
        let subject = if attr == "now" {
            Subject::Now
        } else {
            Subject::Attribute(problems.at("attr", |problems| self.attributes.intern(attr, problems)))
        };
        let (operator, negated) = compiled?;
        if matches!(subject, Subject::Now) && !operator.is_time() {
            problems.at("op", |p| p.add("operator_unfit", "`now` is compared with `before` and `after` only"));
        }
        self.demand.cost = self.demand.cost.saturating_add(operator.cost());
        Some(Condition::Test(Box::new(Test { subject, name: Operator::name(op), operator, negated })))
    }
}
