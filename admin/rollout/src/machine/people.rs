//! What people decide. Invariant: nothing here goes forward in a freeze window, or past a gate or an approval without an
//! approver who is not the one who started.

use super::Done;
use super::words::span;
use crate::plan::Plan;
use crate::state::{By, End, Phase, Place, Refused, State, Stay, Why};
use crate::template::Superseding;

impl State {
    /// Whether this person may let the rollout pass what needs an approver.
    fn approver(&self, by: &By, plan: &Plan) -> Result<(), Refused> {
        let same = match (by, &self.started_by) {
            (By::Person { id, .. }, Some(By::Person { id: starter, .. })) => id == starter,
            _ => false,
        };
        match (same, plan.may_approve(by)) {
            (true, _) => Err(Refused::FourEyes),
            (false, true) => Ok(()),
            (false, false) => Err(Refused::NeedsApprover),
        }
    }

    pub(super) fn approve(&self, by: &By, plan: &Plan) -> Result<Done, Refused> {
        let Phase::WaitingForApproval { stay, since } = &self.phase else { return Err(Refused::NotNow) };
        self.thawed()?;
        self.approver(by, plan)?;
        let waited = span(self.seen - since);
        Ok(self.leave(stay, plan, &format!("{} approved after {waited}; {}", by.name(), self.known())))
    }

    pub(super) fn pause(&self, by: By) -> Result<Done, Refused> {
        if matches!(self.phase, Phase::Paused { .. }) {
            return Err(Refused::NotNow);
        }
        let from = self.phase.place().ok_or(Refused::NotNow)?;
        let spent = span(self.seen - self.phase.since());
        let (name, state) = (by.name(), self.phase.name());
        let sentence = format!("{name} paused the rollout after {spent} of {state}; the weight stays.");
        Ok((Phase::Paused { by, from, since: self.seen }, Vec::new(), sentence))
    }

    pub(super) fn resume(&self, by: &By, plan: &Plan) -> Result<Done, Refused> {
        let from = match &self.phase {
            Phase::Paused { from, .. } => *from,
            Phase::Held { stay, .. } => stay.place,
            _ => return Err(Refused::NotNow),
        };
        self.thawed()?;
        let spent = span(self.seen - self.phase.since());
        Ok(self.enter(from, plan, &format!("{} resumed after {spent} of {}", by.name(), self.phase.name())))
    }

    /// One place further without waiting for its hold and its evidence, or to 100 % at once.
    pub(super) fn promote(&self, by: &By, full: bool, plan: &Plan) -> Result<Done, Refused> {
        let from = self.phase.place().filter(|_| *by != By::Machine).ok_or(Refused::NotNow)?;
        self.thawed()?;
        let fresh = Stay { place: from, since: self.seen, passed: Vec::new(), ready: false };
        let stay = self.phase.stay().unwrap_or(&fresh);
        let to = if full { Place::Bake } else { plan.after(from) };
        let passed_over = passed_over(stay, to, plan);
        if !passed_over.is_empty() {
            self.approver(by, plan)?;
        }
        let mut reason = format!("{} promoted", by.name());
        if !matches!(self.phase, Phase::WaitingForApproval { .. }) {
            reason.push_str(" without waiting for hold and evidence");
        }
        if !passed_over.is_empty() {
            reason = format!("{reason}, past {}", passed_over.join(", "));
        }
        reason = format!("{reason}; {}", self.known());
        Ok(if from == Place::Bake { self.finish(&reason, plan) } else { self.enter(to, plan, &reason) })
    }

    pub(super) fn superseded(&self, newer: String, plan: &Plan) -> Result<Done, Refused> {
        if matches!(self.phase, Phase::KeepingWarm { .. }) {
            return Ok(self.promoted(&format!("{newer} needs the place"), false));
        }
        if plan.template.superseding == Superseding::Refuse {
            return Err(Refused::Occupied);
        }
        if !self.phase.place().is_some_and(|place| plan.is_full(place)) {
            return Ok(self.back(Why::Newer(newer), By::Machine, End::Superseded));
        }
        let confirmed = |stay: &Stay| stay.place == Place::Bake || !plan.hooks.is_asked_last();
        let good = |stay: &&Stay| {
            stay.ready && plan.missing(stay).is_empty() && !plan.needs_approval(stay.place) && confirmed(stay)
        };
        self.phase.stay().filter(good).filter(|_| self.frozen.is_none()).ok_or(Refused::Waits)?;
        Ok(self.promoted(&format!("{}, and {newer} needs the place", self.known()), true))
    }
}

/// The gates and approvals between a stay and a later place that nobody has given yet.
fn passed_over(stay: &Stay, to: Place, plan: &Plan) -> Vec<String> {
    let mut found: Vec<String> = plan.missing(stay).iter().map(|gate| format!("gate {gate}")).collect();
    let mut place = stay.place;
    loop {
        if plan.needs_approval(place) {
            found.push(match place {
                Place::Step(at) => format!("the approval of step {}", at.step + 1),
                _ => "an approval".to_owned(),
            });
        }
        let next = plan.after(place);
        if next == to || next == place {
            return found;
        }
        place = next;
        found.extend(plan.gates(place).map(|gate| format!("gate {gate}")));
    }
}
