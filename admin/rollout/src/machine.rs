//! What each event makes of a state. Invariant: taking traffic back is refused only where it is under way or the rollout has
//! ended, and from there ticks alone lead to an end.

use verdict::{FULL_WEIGHT, HoldReason, Verdict};

use crate::plan::{Inconclusive, Ms, Plan, Superseding};
use crate::state::{By, Effect, End, Event, HeldWhy, Phase, Place, Position, Refused, State, Transition, Why};

/// How often edges are told to take traffic back before a person is paged.
const MOST_ASKED: u8 = 3;

/// The next phase, what to do, and why; `None` = nothing changes.
type Next = Option<(Phase, Vec<Effect>, String)>;

impl State {
    /// What an event makes of this state.
    ///
    /// # Errors
    /// When the event may not happen now; the rollout stays as it was.
    pub fn on(mut self, event: Event, now: Ms, plan: &Plan) -> Result<(Self, Vec<Effect>, Transition), Refused> {
        if self.phase.is_end() {
            return Err(Refused::Ended);
        }
        self.seen = self.seen.max(now);
        let from = self.phase.name();
        let next = self.next(event, plan)?;
        let changed = next.is_some();
        let (phase, effects, sentence) =
            next.unwrap_or_else(|| (self.phase.clone(), Vec::new(), format!("Nothing changes: still {from}.")));
        let transition = Transition { from: from.into(), to: phase.name().into(), at: self.seen, sentence, changed };
        self.phase = phase;
        Ok((self, effects, transition))
    }

    fn next(&mut self, event: Event, plan: &Plan) -> Result<Next, Refused> {
        match event {
            Event::Tick => return Ok(self.tick(plan)),
            Event::Freeze { name } => self.frozen = Some(name),
            Event::Thaw => {
                self.frozen = None;
                return Ok(self.settle(plan));
            }
            Event::Acknowledged => return self.acknowledged().map(Some),
            Event::Verified { good, detail } => return self.verified(good, detail).map(Some),
            event if self.is_taking_back() => return Self::while_taking_back(&event),
            Event::RollBack { by, why } => return Ok(Some(self.back(Why::Person(why), by, End::RolledBack))),
            Event::Abort { by, why } => return Ok(Some(self.back(Why::Person(why), by, End::Aborted))),
            Event::Supersede { release } => return self.superseded(release, plan).map(Some),
            Event::Start { by, machine_rollbacks } => return self.start(&by, machine_rollbacks, plan).map(Some),
            Event::Judged { verdict, evidence } => return Ok(self.judged(verdict, evidence, plan)),
            Event::Gate { at, name, passed, detail } => return Ok(self.gate(at, name, passed, &detail, plan)),
            Event::Alarm { detail, stable_too } => return Ok(self.alarm(detail, stable_too)),
            Event::Approve { by } => return self.approve(&by, plan).map(Some),
            Event::Pause { by } => return self.pause(by).map(Some),
            Event::Resume { by } => return self.resume(&by, plan).map(Some),
            Event::Promote { by, full } => return self.promote(&by, full, plan).map(Some),
        }
        Ok(None)
    }

    fn is_taking_back(&self) -> bool {
        matches!(self.phase, Phase::RollingBack { .. } | Phase::Verifying { .. })
    }

    /// Evidence and alarms may still arrive; people are told that nothing is left to decide.
    fn while_taking_back(event: &Event) -> Result<Next, Refused> {
        match event {
            Event::Judged { .. } | Event::Gate { .. } | Event::Alarm { .. } => Ok(None),
            _ => Err(Refused::TakingBack),
        }
    }

    fn start(&self, by: &By, machine_rollbacks: u32, plan: &Plan) -> Result<(Phase, Vec<Effect>, String), Refused> {
        if !matches!(self.phase, Phase::Pending { .. }) {
            return Err(Refused::NotNow);
        }
        self.thawed()?;
        if machine_rollbacks >= 2 && *by == By::Machine {
            return Err(Refused::Quarantined);
        }
        let place = if plan.preview { Place::Preview } else { Place::Step(Position { wave: 0, step: 0 }) };
        Ok(self.enter(place, plan, &format!("{} started {}", who(by), plan.release)))
    }

    fn thawed(&self) -> Result<(), Refused> {
        if self.frozen.is_some() { Err(Refused::Frozen) } else { Ok(()) }
    }

    /// Goes to a place from its beginning. A weight that is there already is set again, which changes nothing.
    fn enter(&self, place: Place, plan: &Plan, reason: &str) -> (Phase, Vec<Effect>, String) {
        let since = self.seen;
        match place {
            Place::Preview => {
                (Phase::Previewing { since }, Vec::new(), format!("{reason}: 0 %, by override links only."))
            }
            Place::Bake => {
                let full = Effect::SetWeight { regions: Vec::new(), weight: FULL_WEIGHT };
                let sentence = format!("{reason}: 100 % everywhere, judged for {} more.", span(plan.bake_ms));
                (Phase::Baking { since }, vec![full, Effect::BeginStep], sentence)
            }
            Place::Step(at) => {
                let Some(step) = plan.steps.get(at.step) else { return self.enter(Place::Bake, plan, reason) };
                let regions = plan.waves.get(at.wave).cloned().unwrap_or_default();
                let weight = step.millionths().unwrap_or(0);
                let gates = step.gates.iter().map(|name| Effect::RunGate { at, name: name.clone() });
                let effects =
                    [Effect::SetWeight { regions, weight }, Effect::BeginStep].into_iter().chain(gates).collect();
                let (number, steps) = (at.step + 1, plan.steps.len());
                let (wave, waves) = (at.wave + 1, plan.waves.len().max(1));
                let (percent, hold) = (step.weight, span(step.hold_ms));
                let sentence = format!(
                    "{reason}: step {number} of {steps} in wave {wave} of {waves}, {percent} % for at least {hold}."
                );
                (Phase::Step { at, since, passed: Vec::new(), ready: None }, effects, sentence)
            }
        }
    }

    fn after(place: Place, plan: &Plan) -> Place {
        match place {
            Place::Preview => Place::Step(Position { wave: 0, step: 0 }),
            Place::Step(at) if at.step + 1 < plan.steps.len() => Place::Step(Position { step: at.step + 1, ..at }),
            Place::Step(at) if at.wave + 1 < plan.waves.len() => Place::Step(Position { wave: at.wave + 1, step: 0 }),
            Place::Step(_) | Place::Bake => Place::Bake,
        }
    }

    /// Leaves a step whose hold, gates and evidence are all there.
    fn settle(&self, plan: &Plan) -> Next {
        let Phase::Step { at, since, passed, ready: Some(evidence) } = &self.phase else { return None };
        let step = plan.steps.get(at.step)?;
        let early = self.seen < since.saturating_add(step.hold_ms);
        if early || self.frozen.is_some() || !step.gates.iter().all(|gate| passed.contains(gate)) {
            return None;
        }
        if step.approval {
            let sentence = format!("{} % is done and a person must approve. {evidence}", step.weight);
            let notify = Effect::Notify { sentence: sentence.clone(), page: false };
            return Some((Phase::WaitingForApproval { at: *at, since: self.seen }, vec![notify], sentence));
        }
        Some(self.enter(Self::after(Place::Step(*at), plan), plan, evidence.trim_end_matches('.')))
    }

    fn back(&self, why: Why, by: By, end: End) -> (Phase, Vec<Effect>, String) {
        let reason = reason(&why);
        let sentence = format!("All traffic goes back to stable from {}: {reason} ({}).", self.phase.name(), who(&by));
        let notify = Effect::Notify { sentence: sentence.clone(), page: false };
        (Phase::RollingBack { why, by, end, since: self.seen, asked: 1 }, vec![Effect::TakeBack, notify], sentence)
    }

    fn hold(&self, why: HeldWhy, from: Place, detail: &str) -> (Phase, Vec<Effect>, String) {
        use HoldReason::SharedIncident;
        let page = matches!(why, HeldWhy::StableFailsToo(_) | HeldWhy::Verdict(SharedIncident));
        let sentence = format!("The weight stays, and a person should look: {detail}");
        let notify = Effect::Notify { sentence: sentence.clone(), page };
        (Phase::Held { why, from, since: self.seen }, vec![notify], sentence)
    }

    fn judged(&mut self, verdict: Verdict, evidence: String, plan: &Plan) -> Next {
        if let Verdict::RollBack(why) = verdict {
            if matches!(self.phase, Phase::Pending { .. }) {
                return None;
            }
            let (phase, effects, sentence) = self.back(Why::Verdict(why), By::Machine, End::RolledBack);
            return Some((phase, effects, format!("{sentence} {evidence}")));
        }
        if let (Phase::Held { why: HeldWhy::Verdict(_), from, .. }, Verdict::PromoteReady) = (&self.phase, &verdict) {
            return Some(self.enter(*from, plan, evidence.trim_end_matches('.')));
        }
        let from = match &self.phase {
            Phase::Step { .. } | Phase::Baking { .. } => self.phase.place()?,
            _ => return None,
        };
        match verdict {
            Verdict::Hold(HoldReason::Inconclusive) => self.inconclusive(from, evidence, plan),
            Verdict::Hold(why) => Some(self.hold(HeldWhy::Verdict(why), from, &evidence)),
            verdict => {
                if let Phase::Step { ready, .. } = &mut self.phase {
                    *ready = (verdict == Verdict::PromoteReady).then_some(evidence);
                }
                self.settle(plan)
            }
        }
    }

    fn inconclusive(&mut self, from: Place, evidence: String, plan: &Plan) -> Next {
        match plan.inconclusive {
            Inconclusive::Hold => Some(self.hold(HeldWhy::Verdict(HoldReason::Inconclusive), from, &evidence)),
            Inconclusive::Abort => Some(self.back(Why::Inconclusive, By::Machine, End::Aborted)),
            Inconclusive::Promote => {
                if let Phase::Step { ready, .. } = &mut self.phase {
                    *ready = Some(evidence);
                }
                self.settle(plan)
            }
        }
    }

    fn gate(&mut self, of: Position, name: String, good: bool, detail: &str, plan: &Plan) -> Next {
        let Phase::Step { at, passed, .. } = &mut self.phase else { return None };
        let known = plan.steps.get(at.step).is_some_and(|step| step.gates.contains(&name));
        if *at != of || !known || (good && passed.contains(&name)) {
            return None;
        }
        if good {
            passed.push(name);
            return self.settle(plan);
        }
        let detail = format!("gate {name} said no: {detail}");
        Some(self.hold(HeldWhy::Gate(name), Place::Step(of), &detail))
    }

    fn alarm(&self, detail: String, stable_too: bool) -> Next {
        if matches!(self.phase, Phase::Pending { .. }) {
            return None;
        }
        if !stable_too {
            return Some(self.back(Why::Alarm(detail), By::Machine, End::RolledBack));
        }
        // A rollout that a person paused stays that person's; one that is held already has told.
        let stays = matches!(self.phase, Phase::Paused { .. } | Phase::Held { why: HeldWhy::StableFailsToo(_), .. });
        let from = self.phase.place().filter(|_| !stays)?;
        let sentence = format!("stable fails too: {detail}");
        Some(self.hold(HeldWhy::StableFailsToo(detail), from, &sentence))
    }

    fn approve(&self, by: &By, plan: &Plan) -> Result<(Phase, Vec<Effect>, String), Refused> {
        let Phase::WaitingForApproval { at, .. } = self.phase else { return Err(Refused::NotNow) };
        self.thawed()?;
        Ok(self.enter(Self::after(Place::Step(at), plan), plan, &format!("{} approved", who(by))))
    }

    fn pause(&self, by: By) -> Result<(Phase, Vec<Effect>, String), Refused> {
        if matches!(self.phase, Phase::Paused { .. }) {
            return Err(Refused::NotNow);
        }
        let from = self.phase.place().ok_or(Refused::NotNow)?;
        let sentence = format!("{} paused the rollout at {}; the weight stays.", who(&by), self.phase.name());
        Ok((Phase::Paused { by, from, since: self.seen }, Vec::new(), sentence))
    }

    fn resume(&self, by: &By, plan: &Plan) -> Result<(Phase, Vec<Effect>, String), Refused> {
        match self.phase {
            Phase::Paused { from, .. } | Phase::Held { from, .. } => {
                Ok(self.enter(from, plan, &format!("{} resumed", who(by))))
            }
            _ => Err(Refused::NotNow),
        }
    }

    fn promote(&self, by: &By, full: bool, plan: &Plan) -> Result<(Phase, Vec<Effect>, String), Refused> {
        let from = self.phase.place().filter(|place| *place != Place::Bake).ok_or(Refused::NotNow)?;
        self.thawed()?;
        let to = if full { Place::Bake } else { Self::after(from, plan) };
        Ok(self.enter(to, plan, &format!("{} promoted without waiting for the verdict", who(by))))
    }

    fn superseded(&self, newer: String, plan: &Plan) -> Result<(Phase, Vec<Effect>, String), Refused> {
        match (&self.phase, plan.superseding) {
            (Phase::KeepingWarm { .. }, _) => Ok(self.promoted(&format!("{newer} needs the place"))),
            (_, Superseding::Replace) => Ok(self.back(Why::Newer(newer), By::Machine, End::Superseded)),
            (_, Superseding::Refuse) => Err(Refused::Occupied),
        }
    }

    fn promoted(&self, reason: &str) -> (Phase, Vec<Effect>, String) {
        let sentence = format!("The candidate is stable now: {reason}.");
        (Phase::Promoted { since: self.seen }, vec![Effect::Release], sentence)
    }

    fn acknowledged(&self) -> Result<(Phase, Vec<Effect>, String), Refused> {
        let Phase::RollingBack { why, by, end, since, .. } = &self.phase else { return Err(Refused::NotNow) };
        let sentence = format!("All edges acknowledged after {}; stable is probed.", span(self.seen - since));
        let phase = Phase::Verifying { why: why.clone(), by: by.clone(), end: *end, since: self.seen };
        Ok((phase, vec![Effect::Verify], sentence))
    }

    fn verified(&self, good: bool, detail: String) -> Result<(Phase, Vec<Effect>, String), Refused> {
        let Phase::Verifying { why, by, end, .. } = &self.phase else { return Err(Refused::NotNow) };
        if !good {
            return Ok(self.failed(why, by, detail));
        }
        let phase = Phase::TakenBack { why: why.clone(), by: by.clone(), end: *end, since: self.seen };
        let sentence = format!("Stable serves everything ({}): {detail}", phase.name());
        Ok((phase, vec![Effect::Notify { sentence: sentence.clone(), page: false }], sentence))
    }

    fn failed(&self, why: &Why, by: &By, detail: String) -> (Phase, Vec<Effect>, String) {
        let sentence = format!("Taking traffic back could not be shown to have worked: {detail}");
        let page = Effect::Notify { sentence: sentence.clone(), page: true };
        (Phase::Failed { why: why.clone(), by: by.clone(), detail, since: self.seen }, vec![page], sentence)
    }

    fn tick(&self, plan: &Plan) -> Next {
        if let settled @ Some(_) =
            self.settle(plan).filter(|_| self.seen < self.created.saturating_add(plan.maximum_ms))
        {
            return settled;
        }
        if self.deadline(plan).is_none_or(|deadline| self.seen < deadline) {
            return None;
        }
        match &self.phase {
            Phase::KeepingWarm { .. } => Some(self.promoted(&format!("kept warm for {}", span(plan.keep_warm_ms)))),
            Phase::RollingBack { why, by, end, asked, .. } if *asked < MOST_ASKED => {
                let phase = Phase::RollingBack {
                    why: why.clone(),
                    by: by.clone(),
                    end: *end,
                    since: self.seen,
                    asked: asked + 1,
                };
                let sentence =
                    format!("Not all edges acknowledged within {}; they are told again.", span(plan.acknowledge_ms));
                Some((
                    phase,
                    vec![Effect::TakeBack, Effect::Notify { sentence: sentence.clone(), page: true }],
                    sentence,
                ))
            }
            Phase::RollingBack { why, by, asked, .. } => {
                Some(self.failed(why, by, format!("edges were told {asked} times and not all acknowledged")))
            }
            Phase::Verifying { why, by, .. } => {
                Some(self.failed(why, by, format!("no result of the probes within {}", span(plan.verify_ms))))
            }
            _ if self.seen >= self.created.saturating_add(plan.maximum_ms) => {
                Some(self.back(Why::MaximumDuration, By::Machine, End::Aborted))
            }
            // A freeze may stop a promotion; the maximum duration above ends the wait.
            Phase::Baking { .. } => {
                if self.frozen.is_some() {
                    return Some(self.hold(HeldWhy::TimeUp, Place::Bake, "baked, but a freeze window is in force."));
                }
                let sentence =
                    format!("Nothing was found in {} at 100 %; the loser is kept ready.", span(plan.bake_ms));
                Some((Phase::KeepingWarm { since: self.seen }, Vec::new(), sentence))
            }
            Phase::Step { at, since, .. } => {
                let limit = plan.steps.get(at.step).map_or(0, |step| step.limit_ms);
                let spent = self.seen - since;
                let detail = format!("no decision within {} (limit {}).", span(spent), span(limit));
                (spent >= limit).then(|| self.hold(HeldWhy::TimeUp, Place::Step(*at), &detail))
            }
            _ => None,
        }
    }
}

fn who(by: &By) -> &str {
    match by {
        By::Person(name) => name,
        By::Machine => "the machine",
    }
}

fn reason(why: &Why) -> String {
    match why {
        Why::Verdict(_) => "the verdict is against the candidate".into(),
        Why::Alarm(detail) | Why::Person(detail) => detail.clone(),
        Why::Inconclusive => "neither harm nor its absence was shown, and the plan says abort".into(),
        Why::MaximumDuration => "the maximum duration is over".into(),
        Why::Newer(release) => format!("{release} takes the place"),
    }
}

fn span(ms: Ms) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{} s", ms / 1000),
        _ => format!("{} min", ms / 60_000),
    }
}
