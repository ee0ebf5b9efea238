//! What gates and hooks say. Invariant: only a yes lets a rollout go forward; a no of a gate holds it, and a no of a hook
//! leaves it waiting.

use super::Next;
use super::words::denied;
use crate::plan::Plan;
use crate::state::{HeldWhy, Phase, Place, State, Stay};
use crate::template::Ms;

impl State {
    /// The gates to ask now, besides those that were asked before. Confirmations come last: when nothing else is missing.
    #[must_use]
    pub fn asks<'p>(&self, plan: &'p Plan, now: Ms) -> Vec<&'p str> {
        let asked = matches!(self.phase, Phase::Starting(_) | Phase::Step(_) | Phase::Baking(_) | Phase::Held { .. });
        let Some(stay) = self.phase.stay().filter(|_| asked) else { return Vec::new() };
        let is_missing = |gate: &&'p str| !stay.passed.iter().any(|passed| passed == gate);
        let [first, second, last] = plan.hooks.at(stay.place, plan.after(stay.place));
        let names = |hooks: &'p [String]| hooks.iter().map(String::as_str);
        if stay.place == Place::Start {
            let missing = [first, second, last].into_iter().map(|hooks| names(hooks).filter(is_missing).collect());
            return missing.into_iter().find(|missing: &Vec<_>| !missing.is_empty()).unwrap_or_default();
        }
        let own = names(plan.step(stay.place).map_or(&[][..], |step| &step.gates)).filter(is_missing);
        let mut asked: Vec<&str> = own.chain(names(first)).collect();
        let is_last = |gate: &&str| last.iter().any(|last| last == gate);
        let over = self.seen.max(now) >= stay.since.saturating_add(plan.hold(stay.place));
        if over && self.is_shown(stay, plan) && plan.missing(stay).iter().all(is_last) {
            asked.extend(names(last).filter(is_missing));
        }
        asked
    }

    pub(super) fn gate(&mut self, at: Place, name: &str, good: bool, detail: &str, plan: &Plan) -> Next {
        let known = plan.gates(at).any(|gate| gate == name);
        let held = self.held().cloned();
        let stay = self.stay_mut().filter(|stay| stay.place == at && known)?;
        if plan.hooks.contains(name) && !good {
            // The last answer of a hook counts.
            stay.passed.retain(|gate| gate != name);
            return None;
        }
        if good == stay.passed.iter().any(|gate| gate == name) {
            // A gate that has not passed and says no is new only while nothing else holds.
            let is_new = !good && held.is_none();
            let stay = stay.clone();
            return is_new.then(|| self.hold(HeldWhy::Gate(name.to_owned()), &stay, &denied(name, detail)));
        }
        if !good {
            // What has passed once counts for this stay.
            return None;
        }
        stay.passed.push(name.to_owned());
        let stay: Stay = stay.clone();
        self.settle(&stay, plan).or_else(|| {
            let mends = held == Some(HeldWhy::Gate(name.to_owned()));
            mends.then(|| Self::release(&stay, &format!("gate {name} passed: {detail}")))
        })
    }
}
