//! Outcomes: what targeting answers, as a list of cases of which the first that holds counts.

use edge_engine::limits::MAX_RULES;
use serde_json::Value;

use super::super::{finding::Position, node::Node};
use super::{
    condition::{Reading, arguments, untranslatable},
    logic::Logic,
    notes::Note,
    operand::{self, Operation, constant, operation},
};

/// An outcome and when it is one.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) when: Logic,
    pub(super) out: Out,
    pub(super) at: Position,
}

/// What targeting answers in one case.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Out {
    /// Nothing: the default variant.
    Null,
    /// A constant that names a variant.
    Constant(Value),
    /// A share of the units for each, in order; none of them a split.
    Split(Vec<(Out, u32)>),
}

impl Out {
    pub(super) fn of(value: &Value) -> Self {
        if value.is_null() { Self::Null } else { Self::Constant(value.clone()) }
    }

    /// The variant's name; `None` for the default variant, and for splits.
    pub(super) fn variant(&self) -> Option<String> {
        match self {
            Self::Constant(value) => operand::text(value),
            Self::Null | Self::Split(_) => None,
        }
    }
}

impl Reading<'_> {
    /// The cases of a value; the last one always holds.
    pub(super) fn cases(&mut self, node: &Node) -> Result<Vec<Case>, Note> {
        self.step(node)?;
        if let Some(value) = constant(node) {
            return Ok(vec![Case { when: Logic::Always, out: Out::of(&value), at: node.at }]);
        }
        let Some(Operation { name, at, args }) = operation(node)? else {
            return Err(Note::refused(node.at, "result_untranslatable", "a list names no variant"));
        };
        let cases = match name {
            "if" | "?:" => self.cases_of_if(at, args)?,
            "and" | "or" => self.cases_of_connective(name, at, args)?,
            "fractional" => self.fractional(at, args)?,
            "$ref" => {
                let inner = self.evaluator(at, args)?;
                self.cases(&inner)?
            }
            "starts_with" | "ends_with" | "sem_ver" => self.cases_or_null(node, name, at, args)?,
            "!" | "!!" | "==" | "===" | "!=" | "!==" | "<" | "<=" | ">" | ">=" | "in" => {
                vec![Case { when: self.truth(node)?, out: boolean(true), at }, last(boolean(false), at)]
            }
            "var" => {
                let detail = "a variant that an attribute names has no equivalent";
                return Err(Note::refused(at, "result_untranslatable", detail));
            }
            other => return Err(untranslatable(other, at)),
        };
        reachable(cases, at)
    }

    fn cases_of_if(&mut self, at: Position, args: &[Node]) -> Result<Vec<Case>, Note> {
        let (pairs, otherwise) = args.as_chunks::<2>();
        let mut cases = Vec::new();
        for [when, then] in pairs {
            let when = self.truth(when)?;
            let then = self.cases(then)?;
            cases.extend(guarded(&when, then));
        }
        match otherwise {
            [node] => cases.extend(self.cases(node)?),
            _ => cases.push(last(Out::Null, at)),
        }
        Ok(cases)
    }

    /// `and` answers the first falsy value or the last one, `or` the first truthy one or the last.
    fn cases_of_connective(&mut self, name: &str, at: Position, args: &[Node]) -> Result<Vec<Case>, Note> {
        let Some((first, rest)) = args.split_first() else { return Err(arguments(name, at, "one or more")) };
        let cases = self.cases(first)?;
        if rest.is_empty() {
            return Ok(cases);
        }
        let rest = reachable(self.cases_of_connective(name, at, rest)?, at)?;
        let mut all = Vec::new();
        for case in cases {
            let goes_on = match &case.out {
                Out::Null => name == "or",
                Out::Constant(value) => operand::truthy(value) == (name == "and"),
                Out::Split(_) => {
                    let detail = format!("\"fractional\" before the end of \"{name}\" has no equivalent");
                    return Err(Note::refused(case.at, "fractional_untranslatable", detail));
                }
            };
            if goes_on {
                all.extend(guarded(&case.when, rest.clone()));
            } else {
                all.push(case);
            }
        }
        Ok(all)
    }

    /// Operators that answer null, not false, where they cannot compare.
    fn cases_or_null(&mut self, node: &Node, name: &str, at: Position, args: &[Node]) -> Result<Vec<Case>, Note> {
        let holds = self.truth(node)?;
        let comparable = if name == "sem_ver" {
            let (attribute, ..) = self.versioned(at, args)?;
            Logic::attribute(&attribute, "semverGte", vec!["0.0.0-0".into()])
        } else {
            let (attribute, _) = self.affixed(name, at, args)?;
            if attribute.default.is_string() { Logic::Always } else { Logic::exists(&attribute.name) }
        };
        Ok(vec![
            Case { when: holds, out: boolean(true), at },
            Case { when: comparable, out: boolean(false), at },
            last(Out::Null, at),
        ])
    }
}

fn boolean(value: bool) -> Out {
    Out::Constant(value.into())
}

fn last(out: Out, at: Position) -> Case {
    Case { when: Logic::Always, out, at }
}

fn guarded(when: &Logic, cases: Vec<Case>) -> impl Iterator<Item = Case> {
    cases.into_iter().map(move |case| Case { when: Logic::all([when.clone(), case.when]), ..case })
}

/// Without the cases that never count.
fn reachable(cases: Vec<Case>, at: Position) -> Result<Vec<Case>, Note> {
    let mut kept = Vec::new();
    for case in cases {
        let ends = case.when == Logic::Always;
        if case.when != Logic::Never {
            kept.push(case);
        }
        if ends {
            break;
        }
    }
    if kept.len() > MAX_RULES {
        let detail = format!("the targeting has more than {MAX_RULES} cases");
        return Err(Note::refused(at, "targeting_too_large", detail));
    }
    Ok(kept)
}
