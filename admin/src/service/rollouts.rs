//! Rollouts: what people ask of them, and how anything that happens to one is written.
//!
//! Invariants: a state, what was decided, the traffic that follows, its snapshot and its audit entry are one transaction;
//! every such transaction reads the state anew, so whoever else decides at the same moment is before or after it, and a
//! process that ends anywhere leaves a rollout that goes on from its last commit.

mod announce;
mod calibration;
pub mod drive;
pub(crate) mod evidence;
pub mod gates;
pub(crate) mod preview;
pub mod show;
pub(crate) mod signals;
pub(crate) mod thresholds;
mod verify;

use admin_api::rollouts::{Rollout as Shown, StartRollout};
use rollout::{By, Effect, Event, Ms, Phase, Plan, Refused, State, Template, Templates, Transition};

use super::outbox::enqueue;
use super::{Actor, Control, Intent, Mover, ServiceError};
use crate::integrations::Destination;
use crate::model::fault::Unfit;
use crate::model::rollout::{StartError, edits, stable, templates, unavailable};
use crate::model::{At, Fault};
use crate::store::{RolloutRow, TransitionRow, WriteTx};

/// Characters of an audit's reason.
const MOST_REASON: usize = 1000;

/// What a person does with the rollout under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The weight stays.
    Pause,
    /// It goes on.
    Resume,
    /// What waits for an approval has it.
    Approve,
    /// One place further, or to 100 %, or what an approver is asked for.
    Promote {
        /// To 100 %.
        full: bool,
    },
    /// Traffic goes back.
    Abort,
}

/// A rollout as a transaction sees it, and what happened to it there.
#[derive(Debug)]
pub(crate) struct Rollout {
    pub(crate) row: RolloutRow,
    pub(crate) plan: Plan,
    pub(crate) state: State,
    effects: Vec<Effect>,
    decided: Vec<Decided>,
    begins: bool,
}

/// Something that was decided, before it is written.
#[derive(Debug)]
struct Decided {
    transition: Transition,
    /// Whether the evidence for promotion begins anew.
    begins: bool,
    /// Whether somebody has to look at once.
    pages: bool,
    /// Since when the candidate had had its share before.
    since: Option<Ms>,
    /// Since when it had been in the state before.
    in_state_since: Ms,
}

/// By whom and under which name something is written.
#[derive(Debug, Clone)]
pub(crate) struct Author<'a> {
    pub(crate) actor: &'a Actor,
    pub(crate) operation: &'static str,
    pub(crate) reason: String,
}

/// What somebody wants to start.
struct Wanted<'a> {
    release: &'a str,
    template: Template,
    /// They say that it may be tried although the machine rolled it back.
    accepted: bool,
}

impl Rollout {
    /// The rollout that a row holds.
    pub(crate) fn read(row: RolloutRow) -> Result<Self, ServiceError> {
        let corrupt =
            |error: serde_json::Error| ServiceError::Corrupt { detail: format!("rollout {}: {error}", row.id) };
        let plan = serde_json::from_str(&row.plan).map_err(corrupt)?;
        let state = serde_json::from_str(&row.document).map_err(corrupt)?;
        Ok(Self { row, plan, state, effects: Vec::new(), decided: Vec::new(), begins: false })
    }

    fn new(app: &str, environment: &str, plan: Plan, now: Ms) -> Self {
        let row = RolloutRow {
            id: 0,
            app: app.to_owned(),
            environment: environment.to_owned(),
            release: plan.release.clone(),
            state: String::new(),
            created_at: stamp(now),
            ended_at: None,
            counted: 0,
            transitions: 0,
            // A plan has text keys and finite numbers, and nothing else can fail.
            plan: serde_json::to_string(&plan).unwrap_or_default(),
            document: String::new(),
        };
        Self { row, plan, state: State::new(now), effects: Vec::new(), decided: Vec::new(), begins: true }
    }

    /// What an event makes of it; whether the evidence for promotion begins anew.
    pub(crate) fn on(&mut self, event: Event, now: Ms) -> Result<bool, Refused> {
        let since = self.state.phase.stay().map(|stay| stay.since);
        let in_state_since = self.state.phase.since();
        let (state, effects, transition) = self.state.clone().on(event, now, &self.plan)?;
        let begins = effects.contains(&Effect::BeginStep);
        let pages = effects.iter().any(|effect| matches!(effect, Effect::Notify { page: true, .. }));
        self.state = state;
        self.effects.extend(effects);
        if transition.changed {
            self.decided.push(Decided { transition, begins, pages, since, in_state_since });
        }
        Ok(begins)
    }

    /// How long it took until every edge had acknowledged that traffic is taken back, when that has just been decided.
    fn acknowledged_after(&self) -> Option<Ms> {
        let verifying = self.decided.iter().find(|decided| decided.transition.to == "verifying")?;
        Some(verifying.transition.at.saturating_sub(verifying.in_state_since))
    }

    fn subject(&self) -> String {
        format!("environments/{}/rollouts/{}", self.row.environment, self.row.id)
    }

    /// Brings the row up to the state, adds what was decided, and writes down whom to tell.
    async fn write(&mut self, tx: &mut WriteTx, tell: &[Destination]) -> Result<(), ServiceError> {
        self.state.phase.name().clone_into(&mut self.row.state);
        self.row.document = serde_json::to_string(&self.state).unwrap_or_default();
        let ends = self.state.phase.is_end() && self.row.ended_at.is_none();
        self.row.ended_at = self.state.phase.is_end().then(|| stamp(self.state.seen));
        if self.row.id == 0 {
            self.row.id = tx.insert_rollout(&self.row).await?;
        }
        if ends {
            tx.add_usage(&calibration::deltas(self), stamp(self.state.seen)).await?;
        }
        for decided in std::mem::take(&mut self.decided) {
            let told = if tell.is_empty() { None } else { self.announcement(tx, &decided).await? };
            let Decided { transition, begins: begins_step, .. } = decided;
            self.row.transitions += 1;
            let (actor, actor_name) = match &transition.by {
                By::Person { id, name } => (id.clone(), name.clone()),
                By::Machine => ("system".to_owned(), "the machine".to_owned()),
            };
            let grounds = transition.grounds.as_ref().map(|grounds| serde_json::to_string(grounds).unwrap_or_default());
            let row = TransitionRow {
                rollout: self.row.id,
                number: self.row.transitions,
                at: stamp(transition.at),
                before: transition.from,
                after: transition.to,
                actor,
                actor_name,
                counted: self.row.counted,
                begins_step,
                sentence: transition.sentence,
                grounds,
            };
            tx.add_transition(&row).await?;
            if let Some(told) = told {
                enqueue(tx, tell, &told).await?;
            }
        }
        tx.update_rollout(&self.row).await?;
        Ok(())
    }
}

impl Control {
    /// Starts a rollout, or with `dry_run` says what it would be.
    pub async fn start_rollout(
        &self,
        actor: &Actor,
        (app, environment): (&str, &str),
        request: &StartRollout,
        dry_run: bool,
        now: i64,
    ) -> Result<Shown, ServiceError> {
        let cached = self.existing(app).await?;
        let template = template(request, &templates(&cached.app, environment), environment)?;
        let reason = request.reason.clone().unwrap_or_default();
        let accepted = request.accept_quarantine && !reason.trim().is_empty();
        let author = Author { actor, operation: "startRollout", reason };
        let wanted = Wanted { release: &request.release, template, accepted };
        self.begin_rollout(&author, (app, environment), wanted, dry_run, ms(now)).await
    }

    /// Starts the newest rollout of an environment once more, after its traffic was taken back.
    pub async fn retry_rollout(
        &self,
        actor: &Actor,
        (app, environment): (&str, &str),
        reason: Option<String>,
        now: i64,
    ) -> Result<Shown, ServiceError> {
        let last = self.newest_rollout(app, environment).await?;
        let state = last.state.phase.name();
        if !last.state.phase.is_end() || state == "promoted" {
            return Err(refused("rollout_not_now", format!("rollout {} is {state}: nothing to retry", last.row.id)));
        }
        let reason = reason.unwrap_or_else(|| format!("rollout {} again", last.row.id));
        let author = Author { actor, operation: "retryRollout", reason };
        let Plan { release, template, .. } = last.plan;
        // An environment that has templates by now wants them kept to.
        let cached = self.existing(app).await?;
        let own = templates(&cached.app, environment);
        keeps_to(&own, Some(&template.name), environment)?;
        let template =
            if own.names().next().is_none() { template } else { own.get(&template.name).unwrap_or(template) };
        let wanted = Wanted { release: &release, template, accepted: false };
        self.begin_rollout(&author, (app, environment), wanted, false, ms(now)).await
    }

    async fn begin_rollout(
        &self,
        author: &Author<'_>,
        (app, environment): (&str, &str),
        Wanted { release, template, accepted }: Wanted<'_>,
        dry_run: bool,
        now: Ms,
    ) -> Result<Shown, ServiceError> {
        if !dry_run {
            self.supersede(author, (app, environment), release, now).await?;
        }
        let mut tx = self.store.write().await?;
        if let Some(row) = tx.rollout_under_way(app, environment).await? {
            return Err(under_way(&row));
        }
        let cached = self.app_in(&mut tx, app).await?;
        if cached.app.environment(environment).is_none() {
            return Err(ServiceError::not_found("environment", environment));
        }
        let stable = stable(&cached.app, environment, release).map_err(|error| start_error(&error, environment))?;
        let usage = tx.usage(app, environment).await?;
        let hooks = self.gates.plan(app, environment);
        let template = template.settled(&thresholds::choose(&stable, &usage));
        let mut plan = Plan { hooks, ..Plan::new(release, &*stable, template) };
        let unknown = self.gates.unknown(app, &At::traffic(environment), "/plan", &plan.template);
        check(&plan, environment, unknown)?;
        calibration::overrule(&mut plan, &usage);
        let before = tx.rollouts_that_ended(app, environment, release, "rolledBack").await?;
        let by_machine = before.iter().filter(|document| was_the_machine(document)).count();
        let mut rollout = Rollout::new(app, environment, plan, now);
        let machine_rollbacks = u32::try_from(by_machine).unwrap_or(u32::MAX);
        let start = Event::Start { by: by(author.actor), machine_rollbacks, accepted };
        rollout.on(start, now).map_err(|refused| refusal(refused, &rollout))?;
        if dry_run {
            return Ok(show::shown(&rollout, &[], Vec::new()));
        }
        // What edges said before is about other releases.
        tx.clear_signals(app, environment, signals::HEALTH).await?;
        let rollout = self.write_rollout(tx, rollout, author).await?;
        if let Some(why) = &rollout.plan.overruled {
            tracing::warn!(rollout = rollout.row.id, app, environment, release, "{why}");
        }
        self.wake.notify_one();
        self.shown_rollout(&rollout).await
    }

    /// Asks a rollout under way to give its place.
    async fn supersede(
        &self,
        author: &Author<'_>,
        (app, environment): (&str, &str),
        release: &str,
        now: Ms,
    ) -> Result<(), ServiceError> {
        let mut tx = self.store.write().await?;
        let Some(row) = tx.rollout_under_way(app, environment).await? else { return Ok(()) };
        let mut rollout = Rollout::read(row)?;
        let newer = Event::Supersede { by: by(author.actor), release: release.to_owned() };
        if release == rollout.plan.release {
            return Err(under_way(&rollout.row));
        }
        rollout.on(newer, now).map_err(|refused| refusal(refused, &rollout))?;
        let rollout = self.write_rollout(tx, rollout, author).await?;
        self.wake.notify_one();
        if rollout.state.phase.is_end() {
            return Ok(());
        }
        let (id, release) = (rollout.row.id, &rollout.plan.release);
        let detail = format!("rollout {id} of {release} is being taken back for this one");
        Err(refused_with("rollout_superseded", detail, "start it again when that has ended"))
    }

    /// Does what a person says to the rollout under way.
    pub async fn act_on_rollout(
        &self,
        actor: &Actor,
        (app, environment): (&str, &str),
        (act, reason): (Act, Option<String>),
        now: i64,
    ) -> Result<Shown, ServiceError> {
        let (now, by) = (ms(now), by(actor));
        let mut tx = self.store.write().await?;
        let Some(row) = tx.rollout_under_way(app, environment).await? else {
            drop(tx);
            let last = self.newest_rollout(app, environment).await?;
            return Err(refusal(Refused::Ended, &last));
        };
        let mut rollout = Rollout::read(row)?;
        let why = reason.clone().unwrap_or_else(|| format!("{} said so", actor.principal.name));
        let (operation, event) = match act {
            Act::Pause => ("pauseRollout", Event::Pause { by }),
            Act::Resume => ("resumeRollout", Event::Resume { by }),
            Act::Approve => ("approveRollout", Event::Approve { by }),
            Act::Promote { full } => ("promoteRollout", Event::Promote { by, full }),
            Act::Abort => ("abortRollout", Event::Abort { by, why }),
        };
        rollout.on(event, now).map_err(|refused| refusal(refused, &rollout))?;
        let author = Author { actor, operation, reason: reason.unwrap_or_default() };
        let rollout = self.write_rollout(tx, rollout, &author).await?;
        self.wake.notify_one();
        self.shown_rollout(&rollout).await
    }

    /// A rollback by a person ends the rollout of what went, within the same transaction; whether there was one.
    pub(super) async fn rolled_back(
        &self,
        tx: &mut WriteTx,
        actor: &Actor,
        (app, environment): (&str, &str),
        (from, reason): (&str, &str),
        now: Ms,
    ) -> Result<bool, ServiceError> {
        let Some(row) = tx.rollout_under_way(app, environment).await? else { return Ok(false) };
        let mut rollout = Rollout::read(row)?;
        if rollout.plan.release != from {
            return Ok(false);
        }
        // Where traffic is on its way back already, nothing is left to say.
        if rollout.on(Event::RollBack { by: by(actor), why: reason.to_owned() }, now).is_ok() {
            let told = told_of(&rollout);
            rollout.write(tx, &self.integrations.notify).await?;
            self.gates.tell(&rollout, &told);
            self.wake.notify_one();
        }
        Ok(true)
    }

    /// Writes what happened to a rollout: the traffic that follows with its snapshot, the audit, state and transitions.
    async fn write_rollout(
        &self,
        mut tx: WriteTx,
        mut rollout: Rollout,
        author: &Author<'_>,
    ) -> Result<Rollout, ServiceError> {
        let effects = std::mem::take(&mut rollout.effects);
        let begins = std::mem::take(&mut rollout.begins);
        tell(&rollout, &effects);
        let told = told_of(&rollout);
        let sentence = rollout.decided.last().map(|decided| decided.transition.sentence.clone());
        if rollout.row.id == 0 {
            // Its id is in the audit entry.
            rollout.write(&mut tx, &self.integrations.notify).await?;
        }
        let reason = if author.reason.is_empty() { sentence.unwrap_or_default() } else { author.reason.clone() };
        let intent = Intent {
            app: rollout.row.app.clone(),
            environment: rollout.row.environment.clone(),
            operation: author.operation,
            subject: rollout.subject(),
            reason: reason.chars().take(MOST_REASON).collect(),
            is_authorised: true,
            mover: Mover::Rollout,
            ..Intent::default()
        };
        let (environment, plan) = (&rollout.row.environment, &rollout.plan);
        let written = self
            .change_in(&mut tx, author.actor, &intent, |app| Ok(edits(app, environment, plan, begins, &effects)))
            .await?;
        // What the machine decides is in the transitions; the audit has it where it moves traffic.
        let is_person = author.operation != drive::OPERATION;
        if written.after.is_none() && is_person {
            tx.append_audit(super::change::entry(author.actor, &intent, &[], stamp(rollout.state.seen))).await?;
        }
        let acknowledged = rollout.acknowledged_after();
        rollout.write(&mut tx, &self.integrations.notify).await?;
        if written.after.is_none() {
            tx.commit().await?;
            self.told.notify_waiters();
            let (app, environment) = (&intent.app, &intent.environment);
            if is_person {
                self.hub.changed(app, environment, intent.operation, &intent.subject, 0);
            }
        } else {
            self.finish(tx, &intent, written).await?;
            self.told.notify_waiters();
        }
        self.show_on_board(&rollout, acknowledged);
        self.gates.tell(&rollout, &told);
        Ok(rollout)
    }

    /// Metrics are of what was committed.
    fn show_on_board(&self, rollout: &Rollout, acknowledged: Option<Ms>) {
        let scope = (rollout.row.app.clone(), rollout.row.environment.clone());
        self.releases.rollout(scope, show::now(rollout), rollout.state.phase.is_end());
        if let Some(ms) = acknowledged {
            self.releases.rolled_back(std::time::Duration::from_millis(ms).as_secs_f64());
        }
    }

    async fn newest_rollout(&self, app: &str, environment: &str) -> Result<Rollout, ServiceError> {
        let cached = self.existing(app).await?;
        if cached.app.environment(environment).is_none() {
            return Err(ServiceError::not_found("environment", environment));
        }
        let row = self.store.read().await?.rollouts(app, environment, None, 1).await?.pop();
        row.map(Rollout::read).transpose()?.ok_or_else(|| ServiceError::not_found("rollout", "current"))
    }
}

/// What is about to be written.
fn told_of(rollout: &Rollout) -> Vec<Transition> {
    rollout.decided.iter().map(|decided| decided.transition.clone()).collect()
}

/// What people are told goes to the log, where alerts look; the transitions keep it. What a person wrote as a reason is in no log.
fn tell(rollout: &Rollout, effects: &[Effect]) {
    let RolloutRow { id, app, environment, release, .. } = &rollout.row;
    let person = rollout.decided.iter().any(|decided| decided.transition.by != By::Machine);
    let state = rollout.state.phase.name();
    for effect in effects {
        if let Effect::Notify { sentence, page } = effect {
            let sentence = if person { "a person decided" } else { sentence };
            match page {
                true => tracing::error!(rollout = id, app, environment, release, state, page, "{sentence}"),
                false => tracing::warn!(rollout = id, app, environment, release, state, page, "{sentence}"),
            }
        }
    }
}

/// The template that is asked for. Where an environment has templates of its own, rollouts keep to them: that is how it asks
/// for approvals, gates and times.
fn template(request: &StartRollout, own: &Templates, environment: &str) -> Result<Template, ServiceError> {
    let fault = |pointer: &str, code, detail: String| {
        let fault = Fault::whole(At::traffic(environment), code, detail);
        ServiceError::Faults(vec![Fault { pointer: pointer.to_owned(), ..fault }])
    };
    match (&request.template, &request.plan) {
        (Some(_), Some(_)) => {
            Err(fault("/plan", "choice_unknown", "a rollout has a template or a plan, not both".into()))
        }
        (None, Some(plan)) => {
            let plan = serde_path_to_error::deserialize(plan).map_err(|error| {
                let Unfit { pointer, code, detail } = Unfit::of(&error);
                fault(&format!("/plan{pointer}"), code, detail)
            });
            keeps_to(own, None, environment).and(plan)
        }
        (name, None) => {
            let only = if own.names().count() == 1 { own.names().next() } else { None };
            let name = name.as_deref().or(only).unwrap_or("canary");
            keeps_to(own, Some(name), environment)?;
            let unknown = || format!("there is no template \"{name}\": canary, blue-green or careful");
            own.get(name).ok_or_else(|| fault("/template", "choice_unknown", unknown()))
        }
    }
}

/// Refuses what is not one of the environment's own templates, where it has some.
fn keeps_to(own: &Templates, name: Option<&str>, environment: &str) -> Result<(), ServiceError> {
    let names: Vec<&str> = own.names().collect();
    if names.is_empty() || name.is_some_and(|name| names.contains(&name)) {
        return Ok(());
    }
    let detail = format!("{environment} has templates of its own, and rollouts keep to them");
    Err(refused_with("template_required", detail, &format!("name one of {}", names.join(", "))))
}

/// All mistakes of a plan, seen from the request.
fn check(plan: &Plan, environment: &str, unknown: Vec<Fault>) -> Result<(), ServiceError> {
    let fault =
        |pointer: String, code, detail| Fault { pointer, ..Fault::whole(At::traffic(environment), code, detail) };
    let mut faults: Vec<Fault> = Vec::new();
    for mistake in plan.check() {
        let pointer = mistake.pointer.strip_prefix("/template").map(|rest| format!("/plan{rest}"));
        faults.push(fault(pointer.unwrap_or(mistake.pointer), mistake.code, mistake.detail));
    }
    faults.extend(unknown);
    faults.extend(unavailable(&At::traffic(environment), "/plan", &plan.template));
    if faults.is_empty() { Ok(()) } else { Err(ServiceError::Faults(faults)) }
}

fn start_error(error: &StartError, environment: &str) -> ServiceError {
    let detail = error.to_string();
    match error {
        StartError::Unknown(_) => {
            let fault = Fault::whole(At::traffic(environment), "release_unknown", detail);
            ServiceError::Faults(vec![Fault { pointer: "/release".to_owned(), ..fault }])
        }
        StartError::NothingServes => refused_with("nothing_serves", detail, "put the first release into the traffic"),
        StartError::Active(_) => refused("release_active", detail),
        StartError::Taken(_) => refused_with("slot_taken", detail, "roll it back, or set its weight to 0"),
    }
}

/// A rollout has the place, and the traffic.
pub(super) fn under_way(row: &RolloutRow) -> ServiceError {
    let RolloutRow { id, release, environment, state, .. } = row;
    let detail = format!("rollout {id} of {release} ({state}) has the traffic of {environment} in hand");
    refused_with("rollout_under_way", detail, "abort it, let it end, or roll back")
}

/// What the machine refuses, over HTTP a conflict with a code of its own.
fn refusal(why: Refused, rollout: &Rollout) -> ServiceError {
    let code = match why {
        Refused::Ended => "rollout_ended",
        Refused::NotNow => "rollout_not_now",
        Refused::TakingBack => "rollout_taking_back",
        Refused::Frozen => "frozen",
        Refused::Quarantined => "release_quarantined",
        Refused::Occupied => "rollout_under_way",
        Refused::Waits => "rollout_waits",
        Refused::NeedsApprover => "approver_needed",
        Refused::FourEyes => "four_eyes",
    };
    if why == Refused::Quarantined {
        let detail = format!("{}: {why}", rollout.plan.release);
        return refused_with(code, detail, "look at both rollbacks; then start it with acceptQuarantine and a reason");
    }
    let detail =
        format!("rollout {} of {} is {}: {why}", rollout.row.id, rollout.plan.release, rollout.state.phase.name());
    refused(code, detail)
}

/// Whether an ended rollout was taken back by the machine.
fn was_the_machine(document: &str) -> bool {
    let state = serde_json::from_str::<State>(document);
    state.is_ok_and(|state| matches!(state.phase, Phase::TakenBack { by: By::Machine, .. }))
}

fn refused(code: &'static str, detail: String) -> ServiceError {
    ServiceError::Refused { code, detail, hint: None }
}

fn refused_with(code: &'static str, detail: String, hint: &str) -> ServiceError {
    ServiceError::Refused { code, detail, hint: Some(hint.to_owned()) }
}

fn by(actor: &Actor) -> By {
    By::Person { id: actor.principal.id.clone(), name: actor.principal.name.clone() }
}

/// Times before 1970 are 1970.
pub(crate) fn ms(now: i64) -> Ms {
    Ms::try_from(now).unwrap_or(0)
}

pub(crate) fn stamp(at: Ms) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}

/// A rollout that has just been started, for tests of what follows.
#[cfg(test)]
pub(crate) fn started_for_tests(plan: Plan, by: By, now: Ms) -> Rollout {
    let mut rollout = Rollout::new("web", "production", plan, now);
    rollout.on(Event::Start { by, machine_rollbacks: 0, accepted: false }, now).expect("it starts");
    rollout
}
