//! From what was decided to what people are told of it.

use super::{Decided, Rollout, stamp};
use crate::integrations::Occasion;
use crate::notify::{Announcement, Known, occasion};
use crate::service::ServiceError;
use crate::store::WriteTx;

impl Rollout {
    /// What is told of it; `None` = nothing.
    pub(super) async fn announcement(
        &self,
        tx: &mut WriteTx,
        decided: &Decided,
    ) -> Result<Option<Announcement>, ServiceError> {
        let transition = &decided.transition;
        // A step that stays the same one is none further.
        let goes_nowhere = transition.from == transition.to && !decided.begins && !decided.pages;
        let Some(occasion) = occasion(transition).filter(|_| !goes_nowhere) else { return Ok(None) };
        let ended = matches!(occasion, Occasion::RolledBack | Occasion::Failed);
        let went_back = occasion == Occasion::RollingBack && transition.from != transition.to;
        let detected_after_ms = decided.since.filter(|_| went_back).map(|since| transition.at.saturating_sub(since));
        let rolled_back_after_ms = if ended { self.took_back_within(tx).await? } else { None };
        Ok(Some(Announcement {
            occasion,
            page: decided.pages,
            app: self.row.app.clone(),
            environment: self.row.environment.clone(),
            rollout: self.row.id,
            release: self.plan.release.clone(),
            stable: self.plan.stable.clone(),
            from: transition.from.clone(),
            to: transition.to.clone(),
            by: transition.by.name().to_owned(),
            at_ms: stamp(transition.at),
            sentence: transition.sentence.clone(),
            evidence: transition.grounds.as_ref().map(Known::of),
            detected_after_ms,
            rolled_back_after_ms,
        }))
    }

    /// From the decision until every edge had acknowledged it.
    async fn took_back_within(&self, tx: &mut WriteTx) -> Result<Option<u64>, ServiceError> {
        let (mut after, mut decided, mut acknowledged) = (0, None, None);
        loop {
            let part = tx.transitions(self.row.id, after, 200).await?;
            let Some(last) = part.last() else { break };
            after = last.number;
            let first = |to: &str| part.iter().find(|one| one.after == to).map(|one| one.at);
            decided = decided.or_else(|| first("rollingBack"));
            acknowledged = first("verifying").or(acknowledged);
        }
        let took = decided.zip(acknowledged).and_then(|(from, to)| u64::try_from(to - from).ok());
        Ok(took)
    }
}
