//! Comparisons: the leaves of conditions, each kept once per snapshot.
//!
//! Flags of one app ask the same things: one country list, one plan, one version. A comparison that
//! several flags make for the same request is made once, and remembered while the request is decided.

use std::collections::HashMap;

use rustc_hash::FxHashMap;
use serde_json::{Value as Json, json};

use crate::attribute::Attributes;
use crate::context::Value;
use crate::decide::Evaluation;
use crate::operator::{Keyed, Ledger, Operator};
use crate::problem::Problems;
use crate::time::format_rfc3339;
use crate::trace::Trace;

/// Results that are remembered during one decision: one word of bits.
const REMEMBERED: u32 = u64::BITS;

/// One comparison of an attribute with the values of a condition.
#[derive(Debug)]
pub(crate) struct Comparison {
    subject: Subject,
    name: &'static str,
    operator: Operator,
    negated: bool,
    /// Its bit in a [`Memory`]; 0 = its result is not remembered.
    bit: u64,
}

#[derive(Debug, Clone, Copy)]
enum Subject {
    Attribute(u16),
    Now,
}

/// Index into the comparisons of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ComparisonIndex(u32);

/// The results that one decision knows already.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    known: u64,
    held: u64,
}

impl Comparison {
    /// Whether the comparison holds.
    #[inline]
    pub(crate) fn holds<T: Trace>(&self, evaluation: &mut Evaluation<'_, T>) -> bool {
        if evaluation.memory.known & self.bit != 0 && !T::ACTIVE {
            return evaluation.memory.held & self.bit != 0;
        }
        let result = self.compare(evaluation);
        evaluation.memory.known |= self.bit;
        evaluation.memory.held |= if result { self.bit } else { 0 };
        result
    }

    fn compare<T: Trace>(&self, evaluation: &mut Evaluation<'_, T>) -> bool {
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

fn seen(value: Value<'_>) -> Json {
    match value {
        Value::Missing => Json::Null,
        Value::Text(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::Number(number) => number.into(),
        Value::Bool(bool) => bool.into(),
        Value::List(elements) => elements.iter().map(|element| seen(*element)).collect(),
    }
}

/// The comparisons of a snapshot while it is being checked.
#[derive(Debug)]
pub(crate) struct Comparisons<'w> {
    list: Vec<Comparison>,
    known: HashMap<(&'w str, &'w str, &'w [Json]), ComparisonIndex, Keyed>,
}

impl<'w> Comparisons<'w> {
    pub(crate) fn new(keyed: Keyed) -> Self {
        Self { list: Vec::new(), known: HashMap::with_hasher(keyed) }
    }

    /// The comparison, compiled when it is seen for the first time, and its cost; `None` when something
    /// is wrong with it.
    pub(crate) fn intern(
        &mut self,
        (attr, op, values): (&'w str, &'w str, &'w [Json]),
        attributes: &mut Attributes,
        ledger: &mut Ledger,
        problems: &mut Problems,
    ) -> Option<(ComparisonIndex, u64)> {
        if let Some(index) = self.known.get(&(attr, op, values)) {
            let operator = &self.list.get(index.0 as usize)?.operator;
            ledger.count_again(values.len(), operator);
            return Some((*index, operator.cost()));
        }
        let compiled = Operator::compile(op, values, ledger, problems);
        let subject = if attr == "now" {
            Subject::Now
        } else {
            Subject::Attribute(problems.at("attr", |problems| attributes.intern(attr, problems)))
        };
        let (operator, negated) = compiled?;
        if matches!(subject, Subject::Now) && !operator.is_time() {
            problems.at("op", |p| p.add("operator_unfit", "`now` is compared with `before` and `after` only"));
            return None;
        }
        let index = ComparisonIndex(u32::try_from(self.list.len()).ok()?);
        let cost = operator.cost();
        self.list.push(Comparison { subject, name: Operator::name(op), operator, negated, bit: 0 });
        self.known.insert((attr, op, values), index);
        Some((index, cost))
    }

    pub(crate) fn into_list(self) -> Box<[Comparison]> {
        self.list.into()
    }
}

/// Gives a bit to those comparisons that one decision would make most often.
pub(crate) fn remember(comparisons: &mut [Comparison], uses: &FxHashMap<ComparisonIndex, u32>) {
    let mut repeated: Vec<_> =
        uses.iter().filter(|(_, uses)| **uses > 1).map(|(index, uses)| (*uses, index.0)).collect();
    repeated.sort_unstable_by_key(|(uses, index)| (std::cmp::Reverse(*uses), *index));
    for (slot, (_, index)) in (0..REMEMBERED).zip(repeated) {
        if let Some(comparison) = comparisons.get_mut(index as usize) {
            comparison.bit = 1 << slot;
        }
    }
}

/// The comparison with this index, as evaluation looks it up.
#[inline]
pub(crate) fn at(comparisons: &[Comparison], index: ComparisonIndex) -> Option<&Comparison> {
    comparisons.get(index.0 as usize)
}
