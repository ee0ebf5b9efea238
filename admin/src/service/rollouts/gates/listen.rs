//! What the driver hears of gates and hooks. It asks what is due, and reads what was said since.

use std::sync::Arc;
use std::time::Instant;

use admin_api::rollouts::RolloutGate;
use rollout::{Event, Ms, Phase, Stay};
use tokio::sync::Notify;

use super::Gates;
use super::answers::Said;
use super::ask::{Question, ask};
use super::board::{Asked, Failed, Key, after};
use super::subject::Subject;
use crate::integrations::gate::{Check, Hook, HookKind, Pace};
use crate::model::rollout::ACKNOWLEDGED;
use crate::service::rollouts::preview::Override;
use crate::service::rollouts::{Rollout, stamp};
use crate::service::{Cached, Control, ServiceError};

/// So many questions in a row without an answer are told to people.
const MOST_ERRORS: u32 = 4;
/// Longer than any smoke check takes.
const OVERRIDE_SECONDS: i64 = 3600;

impl Control {
    /// What gates and hooks say of a rollout. What is due is asked, and heard of in a later look.
    pub(in crate::service::rollouts) async fn gate_events(
        &self,
        rollout: &Rollout,
        now: Ms,
    ) -> Result<Vec<Event>, ServiceError> {
        let phase = &rollout.state.phase;
        if self.gates.outbound.is_none() || phase.place().is_none() {
            return Ok(Vec::new());
        }
        let cached = self.app(&rollout.row.app).await?;
        let asking = Asking { gates: &self.gates, rollout, subject: Subject::of(rollout), wake: &self.wake };
        let mut events = asking.stops();
        if let Some(stay) = phase.stay() {
            for name in rollout.state.asks(&rollout.plan, now).into_iter().filter(|name| *name != ACKNOWLEDGED) {
                events.extend(asking.hear(stay, name, &cached, now));
            }
        }
        Ok(events)
    }

    /// How the gates of the present place stand.
    pub(in crate::service::rollouts) fn shown_gates(&self, rollout: &Rollout) -> Vec<RolloutGate> {
        let Some(stay) = rollout.state.phase.stay() else { return Vec::new() };
        let missing = rollout.plan.missing(stay);
        let named = stay.passed.iter().map(String::as_str).chain(missing);
        named.map(|name| self.shown_gate(rollout, stay, name)).collect()
    }

    fn shown_gate(&self, rollout: &Rollout, stay: &Stay, name: &str) -> RolloutGate {
        let passed = stay.passed.iter().any(|passed| passed == name);
        let asked = self.gates.board.asked(&Key::new(rollout.row.id, Some(stay), name)).unwrap_or_default();
        let Asked { said, times, errors, .. } = asked;
        let state = match (&said, passed) {
            (_, true) => "passed",
            (Some(Said::No(_)), _) => "refused",
            (Some(Said::Nothing(_)), _) => "unanswered",
            _ => "waiting",
        };
        let detail = said.map(|said| match errors {
            MOST_ERRORS.. => format!("{errors} times in a row there was no answer: {}", said.detail()),
            _ => said.detail().to_owned(),
        });
        let failed = self.gates.board.failed(rollout.row.id, name).map(|failed| failed.checks);
        RolloutGate { name: name.to_owned(), state: state.to_owned(), detail, asked: times, failed_checks: failed }
    }
}

/// One look at one rollout.
struct Asking<'a> {
    gates: &'a Gates,
    rollout: &'a Rollout,
    subject: Subject,
    wake: &'a Arc<Notify>,
}

impl Asking<'_> {
    /// Asks a gate or a hook of a stay when it is due, and says what is new of it.
    fn hear(&self, stay: &Stay, name: &str, cached: &Cached, now: Ms) -> Vec<Event> {
        let Subject { app, environment, .. } = &self.subject;
        let key = Key::new(self.rollout.row.id, Some(stay), name);
        let hook = self.gates.hook(app, environment, name);
        if let Some(hook) = hook {
            self.ask(&key, hook.pace, hook.kind.is_check(), || Question::Hook(hook.clone()));
        } else if let Some(gate) = self.gates.gate(app, environment, name) {
            self.ask(&key, gate.pace, false, || {
                let until = stamp(now) / 1000 + OVERRIDE_SECONDS;
                let way = match gate.check {
                    Check::Http(_) => Override::sign(cached, environment, &self.subject.release, until),
                    Check::Webhook(_) | Check::Prometheus(_) => Err(super::super::preview::NoWay::NoSlot),
                };
                Question::Gate { check: gate.check.clone(), way: way.map_err(|why| why.to_string()) }
            });
        } else {
            // It was taken out of the operator's file; nobody can ask it.
            return Vec::new();
        }
        let said = self.gates.board.asked(&key).and_then(|asked| asked.said);
        let passed = stay.passed.iter().any(|passed| passed == name);
        let answer = said.and_then(|said| self.news(said, passed, hook));
        let answer = answer.map(|(passed, detail)| {
            let name = name.to_owned();
            Event::Gate { at: stay.place, name, passed, detail }
        });
        answer.into_iter().chain(hook.and_then(|hook| self.too_many(hook))).collect()
    }

    /// What the machine does not know yet. It need not be told a no twice.
    fn news(&self, said: Said, passed: bool, hook: Option<&Hook>) -> Option<(bool, String)> {
        let is_check = hook.is_some_and(|hook| hook.kind.is_check());
        let is_held = matches!(self.rollout.state.phase, Phase::Held { .. });
        match said {
            Said::Yes(detail) => (!passed).then_some((true, detail)),
            // A check without an answer is a failed one.
            Said::No(detail) | Said::Nothing(detail) if is_check => passed.then_some((false, detail)),
            Said::No(detail) => (hook.is_none() && !passed && !is_held).then_some((false, detail)),
            Said::Nothing(_) => None,
        }
    }

    fn too_many(&self, hook: &Hook) -> Option<Event> {
        let name = hook.gate_name();
        let Failed { checks, last } = self.gates.board.failed(self.rollout.row.id, &name)?;
        let detail =
            format!("{checks} checks of {name} failed, {} are allowed: {last}", hook.threshold.saturating_sub(1));
        (checks >= hook.threshold).then_some(Event::Alarm { detail, stable_too: false })
    }

    /// Asks whether traffic is to be taken back, in every state in which there may be some.
    fn stops(&self) -> Vec<Event> {
        let Subject { app, environment, .. } = &self.subject;
        let hooks = self.gates.hooks(app, environment).filter(|hook| hook.kind == HookKind::Rollback);
        let stops = hooks.filter_map(|hook| {
            let name = hook.gate_name();
            let key = Key::new(self.rollout.row.id, None, &name);
            self.ask(&key, hook.pace, false, || Question::Hook(hook.clone()));
            match self.gates.board.asked(&key)?.said? {
                Said::Yes(detail) => {
                    Some(Event::Alarm { detail: format!("{name} says so: {detail}"), stable_too: false })
                }
                Said::No(_) | Said::Nothing(_) => None,
            }
        });
        stops.collect()
    }

    /// Asks beside the driver, when it is time.
    fn ask(&self, key: &Key, pace: Pace, is_check: bool, question: impl FnOnce() -> Question) {
        let Some(outbound) = &self.gates.outbound else { return };
        if !self.gates.board.begin(key, Instant::now()) {
            return;
        }
        let (board, places) = (Arc::clone(&self.gates.board), Arc::clone(&self.gates.places));
        let (key, question, outbound) = (key.clone(), question(), outbound.clone());
        let (subject, wake) = (self.subject.clone(), Arc::clone(self.wake));
        tokio::spawn(async move {
            // Never closed.
            let _place = places.acquire().await;
            let said = ask(&outbound, &question, &subject, pace.timeout).await;
            let detail = said.detail().to_owned();
            let errors = board.end(&key, said, after(pace.interval), is_check);
            if errors == MOST_ERRORS {
                let Subject { rollout, app, environment, .. } = &subject;
                tracing::warn!(rollout, app, environment, errors, "nobody answers for a gate or a hook: {detail}");
            }
            wake.notify_one();
        });
    }
}
