//! Taking traffic back, and what comes after promotion. Invariant: from here ticks alone lead to an end.

use super::words::{reason, span, without_stop};
use super::{Done, Next};
use crate::plan::Plan;
use crate::state::{By, Effect, End, Phase, Refused, State, Why};

/// How often edges are told to take traffic back before a person is paged.
const MOST_ASKED: u8 = 3;

impl State {
    pub(super) fn back(&self, why: Why, by: By, end: End) -> Done {
        let (from, name) = (self.phase.name(), by.name());
        let mut sentence = format!("All traffic goes back to stable from {from}: {} ({name}).", reason(&why));
        if let Some(grounds) = &self.latest {
            sentence = format!("{sentence} Known then: {}.", without_stop(&grounds.sentence));
        }
        let notify = Effect::Notify { sentence: sentence.clone(), page: false };
        (Phase::RollingBack { why, by, end, since: self.seen, asked: 1 }, vec![Effect::TakeBack, notify], sentence)
    }

    /// The end of a good rollout; with `at_once` also its promotion, which had not come yet.
    pub(super) fn promoted(&self, reason: &str, at_once: bool) -> Done {
        let sentence = format!("The candidate is stable now: {reason}.");
        let promote = at_once.then_some(Effect::Promote);
        (Phase::Promoted { since: self.seen }, promote.into_iter().chain([Effect::Release]).collect(), sentence)
    }

    pub(super) fn acknowledged(&self) -> Result<Done, Refused> {
        let Phase::RollingBack { why, by, end, since, .. } = &self.phase else { return Err(Refused::NotNow) };
        let sentence = format!("All edges acknowledged after {}; it is looked at stable.", span(self.seen - since));
        let phase = Phase::Verifying { why: why.clone(), by: by.clone(), end: *end, since: self.seen };
        Ok((phase, vec![Effect::Verify], sentence))
    }

    pub(super) fn verified(&self, good: bool, detail: String) -> Result<Done, Refused> {
        let Phase::Verifying { why, by, end, .. } = &self.phase else { return Err(Refused::NotNow) };
        if !good {
            return Ok(self.failed(why, by, detail));
        }
        let sentence =
            format!("Stable serves: {}. Why traffic was taken back: {}.", without_stop(&detail), reason(why));
        Ok((Phase::TakenBack { why: why.clone(), by: by.clone(), end: *end, since: self.seen }, Vec::new(), sentence))
    }

    fn failed(&self, why: &Why, by: &By, detail: String) -> Done {
        let sentence = format!("Traffic may not be back: {detail}. Somebody has to look now.");
        let page = Effect::Notify { sentence: sentence.clone(), page: true };
        (Phase::Failed { why: why.clone(), by: by.clone(), detail, since: self.seen }, vec![page], sentence)
    }

    /// The deadline of taking back is over.
    pub(super) fn still_not_back(&self, plan: &Plan) -> Next {
        match &self.phase {
            Phase::RollingBack { why, by, end, asked, .. } if *asked < MOST_ASKED => {
                let (why, by, asked) = (why.clone(), by.clone(), asked + 1);
                let phase = Phase::RollingBack { why, by, end: *end, since: self.seen, asked };
                let waited = span(plan.template.acknowledge_ms);
                let sentence = format!(
                    "Not all edges acknowledged within {waited}; they get it once more ({asked} of {MOST_ASKED})."
                );
                let page = Effect::Notify { sentence: sentence.clone(), page: true };
                Some((phase, vec![Effect::TakeBack, page], sentence))
            }
            Phase::RollingBack { why, by, asked, .. } => {
                Some(self.failed(why, by, format!("edges were told {asked} times and not all acknowledged")))
            }
            Phase::Verifying { why, by, .. } => {
                let waited = span(plan.template.verify_ms);
                Some(self.failed(why, by, format!("stable was not found serving within {waited}")))
            }
            _ => None,
        }
    }
}
