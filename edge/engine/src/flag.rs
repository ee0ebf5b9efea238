//! A flag: its variants and its targeting, evaluated in a fixed order.
//!
//! 1. not enabled: the off variant, `DISABLED`;
//! 2. prerequisites, in order: the first that fails gives the off variant, `DISABLED` with
//!    `PREREQUISITE_FAILED`;
//! 3. rules, in order: the first that matches serves (`TARGETING_MATCH`, or `SPLIT` for a split);
//! 4. the fallthrough: `SPLIT` for a split, else `STATIC` when the flag has neither rules nor
//!    prerequisites, else `DEFAULT`.
//!
//! A split without a unit serves the off variant: `ERROR` with `TARGETING_KEY_MISSING`; one with the bucketing of
//! flagd serves it as `DEFAULT`.

use serde_json::json;

use crate::bucket::{BUCKETS, Bucketer};
use crate::condition::Condition;
use crate::decide::Evaluation;
use crate::decision::{ErrorCode, FlagIndex, FlagOutcome, FlagReason, RuleIndex, VariantIndex};
use crate::names::{FlagKey, RuleId, VariantKey};
use crate::snapshot::wire::FlagType;
use crate::split::Split;
use crate::trace::Trace;
use crate::unit::UnitList;

/// A flag of a snapshot.
#[derive(Debug)]
pub struct Flag {
    pub(crate) index: FlagIndex,
    pub(crate) key: FlagKey,
    pub(crate) kind: FlagType,
    pub(crate) variants: Box<[Variant]>,
    pub(crate) off: VariantIndex,
    pub(crate) enabled: bool,
    pub(crate) client_visible: bool,
    pub(crate) prerequisites: Box<[Prerequisite]>,
    pub(crate) rules: Box<[Rule]>,
    pub(crate) fallthrough: Serve,
    /// The flag's own unit; `None` = the environment's.
    pub(crate) unit: Option<UnitList>,
    /// One per source of the unit; empty when nothing is split, or all as in flagd.
    pub(crate) bucketers: Box<[Bucketer]>,
    /// The outcome, when it is the same for every request.
    pub(crate) decided: Option<FlagOutcome>,
}

/// One of a flag's values.
#[derive(Debug)]
pub struct Variant {
    /// Its name.
    pub key: VariantKey,
    /// Its value as JSON text.
    pub json: Box<str>,
}

#[derive(Debug)]
pub(crate) struct Prerequisite {
    pub(crate) flag: FlagIndex,
    pub(crate) is: Box<[VariantIndex]>,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: RuleId,
    pub(crate) when: Condition,
    pub(crate) serve: Serve,
}

#[derive(Debug)]
pub(crate) enum Serve {
    Variant(VariantIndex),
    Split(Split),
}

impl Serve {
    /// The buckets of a split.
    fn buckets(&self) -> Option<u32> {
        match self {
            Self::Variant(_) => None,
            Self::Split(split) => Some(split.total()),
        }
    }
}

impl Flag {
    /// The key.
    pub fn key(&self) -> &FlagKey {
        &self.key
    }

    /// The type that all values share.
    pub fn kind(&self) -> FlagType {
        self.kind
    }

    /// The variants, in the order of creation.
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// What is served when the flag is off.
    pub fn off_variant(&self) -> VariantIndex {
        self.off
    }

    /// Whether browsers may see it.
    pub fn client_visible(&self) -> bool {
        self.client_visible
    }

    /// One past the highest bucket of its splits.
    pub fn buckets(&self) -> u32 {
        self.served().filter_map(Serve::buckets).max().unwrap_or(BUCKETS)
    }

    /// The id of the rule with this index.
    pub fn rule(&self, index: RuleIndex) -> Option<&RuleId> {
        self.rules.get(usize::from(index.0)).map(|rule| &rule.id)
    }

    /// The variant with this index.
    pub fn variant(&self, index: VariantIndex) -> Option<&Variant> {
        self.variants.get(usize::from(index.0))
    }

    /// Whether some request may need a bucket.
    pub(crate) fn splits(&self) -> bool {
        self.served().any(|serve| serve.buckets().is_some())
    }

    /// Everything that the flag may serve.
    fn served(&self) -> impl Iterator<Item = &Serve> {
        self.rules.iter().map(|rule| &rule.serve).chain([&self.fallthrough])
    }

    /// Whether the outcome depends on nothing in the request.
    pub(crate) fn is_constant(&self) -> bool {
        !self.enabled || (self.prerequisites.is_empty() && self.rules.is_empty() && !self.splits())
    }

    pub(crate) fn off(&self, reason: FlagReason, error: Option<ErrorCode>) -> FlagOutcome {
        FlagOutcome { error, ..self.outcome(self.off, reason) }
    }

    #[inline]
    fn outcome(&self, variant: VariantIndex, reason: FlagReason) -> FlagOutcome {
        FlagOutcome { flag: self.index, variant, reason, rule: None, bucket: None, error: None }
    }

    /// Evaluates the flag in the order that the module's documentation states.
    pub(crate) fn evaluate<T: Trace>(&self, evaluation: &mut Evaluation<'_, T>) -> FlagOutcome {
        if !self.enabled {
            evaluation.trace.leaf(|| json!({"step": "enabled", "result": false}));
            return self.off(FlagReason::Disabled, None);
        }
        if !self.prerequisites_hold(evaluation) {
            return self.off(FlagReason::Disabled, Some(ErrorCode::PrerequisiteFailed));
        }
        let (serve, rule, reason) = if let Some((index, rule)) = self.matching_rule(evaluation) {
            (&rule.serve, Some(index), FlagReason::TargetingMatch)
        } else {
            evaluation.trace.leaf(|| json!({"step": "fallthrough"}));
            let untargeted = self.rules.is_empty() && self.prerequisites.is_empty();
            (&self.fallthrough, None, if untargeted { FlagReason::Static } else { FlagReason::Default })
        };
        self.serve(serve, rule, reason, evaluation)
    }

    #[inline]
    fn matching_rule<T: Trace>(&self, evaluation: &mut Evaluation<'_, T>) -> Option<(RuleIndex, &Rule)> {
        (0..).zip(&self.rules).find_map(|(index, rule)| {
            evaluation.trace.open();
            let matches = rule.when.holds(evaluation);
            evaluation.trace.close(
                |inner| json!({"step": "rule", "id": rule.id, "when": inner.into_iter().next(), "result": matches}),
            );
            matches.then_some((RuleIndex(index), rule))
        })
    }

    fn prerequisites_hold<T: Trace>(&self, evaluation: &mut Evaluation<'_, T>) -> bool {
        self.prerequisites.iter().all(|prerequisite| {
            evaluation.trace.open();
            let holds = evaluation.flag_is(prerequisite.flag, &prerequisite.is);
            evaluation
                .trace
                .close(|inner| json!({"step": "prerequisite", "when": inner.into_iter().next(), "result": holds}));
            holds
        })
    }

    #[inline]
    fn serve<T: Trace>(
        &self,
        serve: &Serve,
        rule: Option<RuleIndex>,
        reason: FlagReason,
        evaluation: &mut Evaluation<'_, T>,
    ) -> FlagOutcome {
        match serve {
            Serve::Variant(variant) => {
                evaluation.trace.leaf(|| json!({"step": "serve", "variant": self.key_of(*variant)}));
                FlagOutcome { rule, ..self.outcome(*variant, reason) }
            }
            Serve::Split(split) => self.serve_split(split, rule, evaluation),
        }
    }

    #[inline]
    fn serve_split<T: Trace>(
        &self,
        split: &Split,
        rule: Option<RuleIndex>,
        evaluation: &mut Evaluation<'_, T>,
    ) -> FlagOutcome {
        let own;
        let unit = match &self.unit {
            Some(sources) => {
                own = sources.find(evaluation.context);
                own.as_ref()
            }
            None => evaluation.unit.as_ref(),
        };
        let Some((bucket, source)) = unit.and_then(|unit| Some((unit.bucket(&self.bucketers)?, unit.source))) else {
            return self.serve_otherwise(split, rule, evaluation);
        };
        let variant = split.owner(bucket);
        let snapshot = evaluation.snapshot;
        evaluation.trace.leaf(|| {
            let range = split.range(bucket);
            json!({"step": "split", "unit": snapshot.unit_name(source), "bucket": bucket,
                "range": {"from": range.start, "to": range.end}, "variant": self.key_of(variant)})
        });
        FlagOutcome { rule, bucket: Some(bucket), ..self.outcome(variant, FlagReason::Split) }
    }

    /// Serves a split that no prepared hash has a bucket for: one of flagd, or one without a unit.
    #[cold]
    #[inline(never)]
    fn serve_otherwise<T: Trace>(
        &self,
        split: &Split,
        rule: Option<RuleIndex>,
        evaluation: &mut Evaluation<'_, T>,
    ) -> FlagOutcome {
        if let Some(hashed) = &split.flagd {
            return self.serve_flagd(split, hashed, rule, evaluation);
        }
        evaluation.trace.leaf(|| json!({"step": "split", "unit": null, "variant": self.key_of(self.off)}));
        let error = Some(ErrorCode::TargetingKeyMissing);
        FlagOutcome { rule, error, ..self.outcome(self.off, FlagReason::Error) }
    }

    /// The name of a variant, for traces.
    pub(crate) fn key_of(&self, index: VariantIndex) -> &str {
        self.variant(index).map_or("", |variant| variant.key.as_str())
    }
}
