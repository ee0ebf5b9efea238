//! What each event makes of a state. Invariants: taking traffic back is refused only where it is under way or the rollout
//! has ended, and from there ticks alone lead to an end; the machine goes forward through `settle` alone.

mod back;
mod gates;
mod people;
mod words;

use verdict::{FULL_WEIGHT, HoldReason, Verdict};

use self::words::{span, without_stop};
use crate::plan::Plan;
use crate::state::{By, Effect, End, Event, HeldWhy, Phase, Place, Refused, State, Stay, Transition, Why};
use crate::template::{Inconclusive, Ms};

/// How often the machine rolls a release back before only a person may start it again.
const QUARANTINE: u32 = 2;

/// The next phase, what to do, and why.
type Done = (Phase, Vec<Effect>, String);
/// `None` = nothing is decided.
type Next = Option<Done>;

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
        let by = author(&event);
        let next = self.next(event, plan)?;
        let changed = next.is_some();
        let (phase, effects, sentence) =
            next.unwrap_or_else(|| (self.phase.clone(), Vec::new(), format!("Nothing changes: still {from}.")));
        let grounds = self.latest.clone();
        // What one place has shown says nothing about the next.
        if effects.contains(&Effect::BeginStep) {
            self.latest = None;
        }
        let transition =
            Transition { from: from.into(), to: phase.name().into(), at: self.seen, by, sentence, grounds, changed };
        self.phase = phase;
        Ok((self, effects, transition))
    }

    fn next(&mut self, event: Event, plan: &Plan) -> Result<Next, Refused> {
        match event {
            Event::Tick => Ok(self.tick(plan)),
            Event::Freeze { name } => Ok(self.freeze(name)),
            Event::Thaw => Ok(self.thaw(plan)),
            Event::Strain { detail } => Ok(self.strain(detail)),
            Event::Relax => Ok(self.relax(plan)),
            Event::Acknowledged => self.acknowledged().map(Some),
            Event::Verified { good, detail } => self.verified(good, detail).map(Some),
            event if self.phase.is_taking_back() => Self::while_taking_back(&event),
            Event::RollBack { by, why } => Ok(Some(self.back(Why::Said(why), by, End::RolledBack))),
            Event::Abort { by, why } => Ok(Some(self.back(Why::Said(why), by, End::Aborted))),
            Event::Supersede { release, .. } => self.superseded(release, plan).map(Some),
            Event::Start { by, machine_rollbacks, accepted } => {
                let is_quarantined = machine_rollbacks >= QUARANTINE && (!accepted || by == By::Machine);
                self.start(&by, is_quarantined, plan).map(Some)
            }
            Event::Judged { grounds } => {
                let verdict = grounds.verdict.clone();
                self.latest = Some(grounds);
                Ok(self.judged(verdict, plan))
            }
            Event::Gate { at, name, passed, detail } => Ok(self.gate(at, &name, passed, &detail, plan)),
            Event::Alarm { detail, stable_too } => Ok(self.alarm(detail, stable_too)),
            Event::Calm { detail } => Ok(self.calm(&detail)),
            Event::Approve { by } => self.approve(&by, plan).map(Some),
            Event::Pause { by } => self.pause(by).map(Some),
            Event::Resume { by } => self.resume(&by, plan).map(Some),
            Event::Promote { by, full } => self.promote(&by, full, plan).map(Some),
        }
    }

    /// Evidence and alarms may still arrive; people are told that nothing is left to decide.
    fn while_taking_back(event: &Event) -> Result<Next, Refused> {
        match event {
            Event::Judged { .. } | Event::Gate { .. } | Event::Alarm { .. } | Event::Calm { .. } => Ok(None),
            _ => Err(Refused::TakingBack),
        }
    }

    fn freeze(&mut self, name: String) -> Next {
        if self.frozen.as_ref() == Some(&name) {
            return None;
        }
        let sentence = format!("The freeze window {name} is in force: no step forward until it is over.");
        self.frozen = Some(name);
        Some((self.phase.clone(), Vec::new(), sentence))
    }

    fn thaw(&mut self, plan: &Plan) -> Next {
        let name = self.frozen.take()?;
        let settled = self.phase.stay().cloned().and_then(|stay| self.settle(&stay, plan));
        Some(settled.unwrap_or_else(|| (self.phase.clone(), Vec::new(), format!("The freeze window {name} is over."))))
    }

    fn strain(&mut self, detail: String) -> Next {
        if self.strained.is_some() {
            return None;
        }
        let sentence = format!("No step forward for now: {detail}.");
        self.strained = Some(detail);
        Some((self.phase.clone(), Vec::new(), sentence))
    }

    fn relax(&mut self, plan: &Plan) -> Next {
        let detail = self.strained.take()?;
        let settled = self.phase.stay().cloned().and_then(|stay| self.settle(&stay, plan));
        Some(settled.unwrap_or_else(|| (self.phase.clone(), Vec::new(), format!("It is over that {detail}."))))
    }

    fn start(&mut self, by: &By, is_quarantined: bool, plan: &Plan) -> Result<Done, Refused> {
        if !matches!(self.phase, Phase::Pending { .. }) {
            return Err(Refused::NotNow);
        }
        self.thawed()?;
        if is_quarantined {
            return Err(Refused::Quarantined);
        }
        self.started_by = Some(by.clone());
        let place = if plan.template.preview { Place::Preview } else { plan.after(Place::Preview) };
        Ok(self.enter(place, plan, &format!("{} started {} against {}", by.name(), plan.release, plan.stable)))
    }

    fn thawed(&self) -> Result<(), Refused> {
        if self.frozen.is_some() { Err(Refused::Frozen) } else { Ok(()) }
    }

    /// Goes to a place from its beginning. A weight that is there already is set again, which changes nothing.
    fn enter(&self, place: Place, plan: &Plan, reason: &str) -> Done {
        let since = self.seen;
        let stay = Stay { place, since, passed: Vec::new(), ready: false };
        match place {
            Place::Preview => {
                (Phase::Previewing { since }, Vec::new(), format!("{reason}: 0 %, by override links only."))
            }
            Place::Start => {
                let asked: Vec<&str> = plan.gates(place).map(String::as_str).collect();
                let sentence = format!("{reason}: 0 %, until {} said yes.", asked.join(", "));
                (Phase::Starting(stay), asks(place, plan).collect(), sentence)
            }
            Place::Bake => {
                let full = Effect::SetWeight { regions: plan.template.waves.concat(), rest: true, weight: FULL_WEIGHT };
                let sentence = format!("{reason}: 100 % everywhere, judged for {} more.", span(plan.template.bake_ms));
                let effects = [full, Effect::BeginStep].into_iter().chain(asks(place, plan)).collect();
                (Phase::Baking(stay), effects, sentence)
            }
            Place::Step(at) => {
                let Some(step) = plan.step(place) else { return self.enter(Place::Bake, plan, reason) };
                let regions = plan.template.waves.get(at.wave).cloned().unwrap_or_default();
                let weight = step.millionths().unwrap_or(0);
                let set = Effect::SetWeight { regions, rest: plan.is_last_wave(at), weight };
                let effects = [set, Effect::BeginStep].into_iter().chain(asks(place, plan)).collect();
                (Phase::Step(stay), effects, format!("{reason}: {}.", words::step(at, step, plan)))
            }
        }
    }

    /// Ends the bake: the candidate is the active release.
    fn finish(&self, reason: &str, plan: &Plan) -> Done {
        let sentence = format!(
            "{reason}: {} is the active release, {} is kept ready for {}.",
            plan.release,
            plan.stable,
            span(plan.template.keep_warm_ms)
        );
        (Phase::KeepingWarm { since: self.seen }, vec![Effect::Promote], sentence)
    }

    /// Goes on from a stay.
    fn leave(&self, stay: &Stay, plan: &Plan, reason: &str) -> Done {
        match stay.place {
            Place::Bake => self.finish(reason, plan),
            place => self.enter(plan.after(place), plan, reason),
        }
    }

    /// The one way in which the machine goes forward: the hold is over, the window is open, nothing is short, stable does not
    /// fail, all gates passed, and the evidence is good, or the plan does without when the time is up. Then an approval is asked for, where there has to be one.
    fn settle(&self, stay: &Stay, plan: &Plan) -> Next {
        let early = self.seen < stay.since.saturating_add(plan.hold(stay.place));
        let over = self.seen >= self.created.saturating_add(plan.template.maximum_ms);
        let stable_fails = matches!(self.held(), Some(HeldWhy::StableFailsToo(_)));
        let barred = self.frozen.is_some() || self.strained.is_some() || stable_fails;
        if early || over || barred || !plan.missing(stay).is_empty() || !self.is_shown(stay, plan) {
            return None;
        }
        if matches!(self.phase, Phase::WaitingForApproval { .. }) {
            return None;
        }
        let spent = span(self.seen - stay.since);
        let reason = match (stay.place, stay.ready) {
            (Place::Start, _) => format!("After {spent}, all hooks before the first traffic said yes"),
            (_, true) => format!("After {spent}, {}", self.known()),
            (_, false) => format!("After {spent}, without evidence, as the plan says; {}", self.known()),
        };
        if plan.needs_approval(stay.place) {
            let sentence = format!("{reason}. The step is done, and a person must approve.");
            let notify = Effect::Notify { sentence: sentence.clone(), page: false };
            let phase = Phase::WaitingForApproval { stay: stay.clone(), since: self.seen };
            return Some((phase, vec![notify], sentence));
        }
        Some(self.leave(stay, plan, &reason))
    }

    /// Whether the evidence is good, or the plan does without when the time is up. It never does against a suspicion.
    fn is_shown(&self, stay: &Stay, plan: &Plan) -> bool {
        use HoldReason::{Inconclusive as Undecided, NoData};
        let alarmed = matches!(self.held(), Some(HeldWhy::StableFailsToo(_)));
        let suspicion = match self.latest.as_ref().map(|grounds| &grounds.verdict) {
            None | Some(Verdict::Continue | Verdict::PromoteReady | Verdict::Hold(NoData | Undecided)) => false,
            Some(_) => true,
        };
        let without = plan.template.inconclusive == Inconclusive::Promote && !suspicion && !alarmed;
        // Before the first traffic there is nothing to show.
        let nothing = stay.place == Place::Start && !alarmed;
        stay.ready || nothing || (without && self.is_late(stay, plan))
    }

    fn is_late(&self, stay: &Stay, plan: &Plan) -> bool {
        self.seen >= stay.since.saturating_add(plan.limit(stay.place))
    }

    /// The newest evidence in words.
    fn known(&self) -> &str {
        self.latest.as_ref().map_or("no request was reported", |grounds| without_stop(&grounds.sentence))
    }

    fn hold(&self, why: HeldWhy, stay: &Stay, detail: &str) -> Done {
        let page = matches!(why, HeldWhy::StableFailsToo(_) | HeldWhy::Verdict(HoldReason::SharedIncident));
        let sentence = format!("The weight stays, and a person should look: {}.", without_stop(detail));
        let notify = Effect::Notify { sentence: sentence.clone(), page };
        (Phase::Held { why, stay: stay.clone(), since: self.seen }, vec![notify], sentence)
    }

    /// Back to where it was held, with what was gathered there.
    fn release(stay: &Stay, reason: &str) -> Done {
        let phase = match stay.place {
            Place::Start => Phase::Starting(stay.clone()),
            Place::Bake => Phase::Baking(stay.clone()),
            Place::Preview | Place::Step(_) => Phase::Step(stay.clone()),
        };
        (phase, Vec::new(), format!("It goes on where it was held: {}.", without_stop(reason)))
    }

    fn judged(&mut self, verdict: Verdict, plan: &Plan) -> Next {
        if let Verdict::RollBack(why) = verdict {
            let started = !matches!(self.phase, Phase::Pending { .. });
            return started.then(|| self.back(Why::Verdict(why), By::Machine, End::RolledBack));
        }
        // Before the first traffic there is nothing to judge.
        let stay = self.stay_mut().filter(|stay| stay.place != Place::Start)?;
        stay.ready = verdict == Verdict::PromoteReady;
        let stay = stay.clone();
        let held = self.held().cloned();
        match verdict {
            Verdict::Hold(HoldReason::NoData | HoldReason::Inconclusive) => self.at_limit(&stay, plan),
            Verdict::Hold(reason) => {
                let why = HeldWhy::Verdict(reason);
                let told = held.is_some_and(|held| held == why || !matches!(held, HeldWhy::Verdict(_)));
                (!told).then(|| self.hold(why, &stay, self.known()))
            }
            _ => self.settle(&stay, plan).or_else(|| {
                let mends = match held? {
                    // Only a clear sign ends what only a clear sign is missing for.
                    HeldWhy::Verdict(HoldReason::NoData | HoldReason::Inconclusive) => stay.ready,
                    HeldWhy::Verdict(_) => true,
                    HeldWhy::Gate(_) | HeldWhy::TimeUp | HeldWhy::StableFailsToo(_) => false,
                };
                mends.then(|| Self::release(&stay, self.known()))
            }),
        }
    }

    fn held(&self) -> Option<&HeldWhy> {
        match &self.phase {
            Phase::Held { why, .. } => Some(why),
            _ => None,
        }
    }

    fn stay_mut(&mut self) -> Option<&mut Stay> {
        match &mut self.phase {
            Phase::Starting(stay)
            | Phase::Step(stay)
            | Phase::Baking(stay)
            | Phase::WaitingForApproval { stay, .. }
            | Phase::Held { stay, .. } => Some(stay),
            _ => None,
        }
    }

    /// The time of a stay is up.
    fn at_limit(&self, stay: &Stay, plan: &Plan) -> Next {
        if !self.is_late(stay, plan) || matches!(self.phase, Phase::WaitingForApproval { .. }) {
            return None;
        }
        if let settled @ Some(_) = self.settle(stay, plan) {
            return settled;
        }
        let held = self.held();
        let spent = span(self.seen - stay.since);
        let undecided = held.is_none_or(|why| matches!(why, HeldWhy::Verdict(_)));
        if undecided && plan.template.inconclusive == Inconclusive::Abort && !self.is_shown(stay, plan) {
            return Some(self.back(Why::Inconclusive, By::Machine, End::Aborted));
        }
        if held.is_some() {
            return None;
        }
        let missing = plan.missing(stay);
        if !missing.is_empty() {
            let detail = format!("after {spent} there is no answer of the gates {}", missing.join(", "));
            return Some(self.hold(HeldWhy::TimeUp, stay, &detail));
        }
        if self.is_shown(stay, plan) {
            let detail = match (&self.frozen, &self.strained) {
                (Some(window), _) => format!("done after {spent}, but {window} is in force"),
                (None, Some(strained)) => format!("done after {spent}, but {strained}"),
                (None, None) => format!("done after {spent}"),
            };
            return Some(self.hold(HeldWhy::TimeUp, stay, &detail));
        }
        let reason = match self.latest.as_ref().map(|grounds| &grounds.verdict) {
            None => HoldReason::NoData,
            Some(Verdict::Hold(reason)) => reason.clone(),
            Some(_) => HoldReason::Inconclusive,
        };
        let detail = format!("after {spent} nothing is shown: {}", self.known());
        Some(self.hold(HeldWhy::Verdict(reason), stay, &detail))
    }

    fn alarm(&self, detail: String, stable_too: bool) -> Next {
        if matches!(self.phase, Phase::Pending { .. }) {
            return None;
        }
        if !stable_too {
            return Some(self.back(Why::Alarm(detail), By::Machine, End::RolledBack));
        }
        // One that is held for this already has told.
        let told = matches!(self.held(), Some(HeldWhy::StableFailsToo(_)));
        let stay = self.phase.stay().filter(|_| !told)?;
        let sentence = format!("stable fails too: {detail}");
        let stay = Stay { ready: false, ..stay.clone() };
        Some(self.hold(HeldWhy::StableFailsToo(detail), &stay, &sentence))
    }

    fn calm(&self, detail: &str) -> Next {
        let stay = self.phase.stay().filter(|_| matches!(self.held(), Some(HeldWhy::StableFailsToo(_))))?;
        Some(Self::release(stay, detail))
    }

    fn tick(&self, plan: &Plan) -> Next {
        if let Some(stay) = self.phase.stay()
            && let settled @ Some(_) = self.settle(stay, plan)
        {
            return settled;
        }
        if self.deadline(plan).is_none_or(|deadline| self.seen < deadline) {
            return None;
        }
        match &self.phase {
            Phase::KeepingWarm { since } => {
                Some(self.promoted(&format!("{} was kept ready for {}", plan.stable, span(self.seen - since)), false))
            }
            Phase::RollingBack { .. } | Phase::Verifying { .. } => self.still_not_back(plan),
            _ if self.seen >= self.created.saturating_add(plan.template.maximum_ms) => {
                Some(self.back(Why::MaximumDuration, By::Machine, End::Aborted))
            }
            Phase::Step(stay) | Phase::Baking(stay) => self.at_limit(stay, plan),
            _ => None,
        }
    }
}

/// The gates that are asked at a place.
fn asks(at: Place, plan: &Plan) -> impl Iterator<Item = Effect> {
    plan.gates(at).map(move |name| Effect::RunGate { at, name: name.clone() })
}

fn author(event: &Event) -> By {
    match event {
        Event::Start { by, .. }
        | Event::Approve { by }
        | Event::Pause { by }
        | Event::Resume { by }
        | Event::Promote { by, .. }
        | Event::RollBack { by, .. }
        | Event::Abort { by, .. }
        | Event::Supersede { by, .. } => by.clone(),
        _ => By::Machine,
    }
}
