//! The driver: looks at every rollout under way, tells the machine what happened, and writes what follows.
//!
//! It may be stopped anywhere and may run twice: what it knows besides the store is only a copy of the evidence, which it
//! makes anew when it does not fit, and everything that it does is decided within the write transaction.

use std::collections::HashMap;
use std::time::Instant;

use admin_api::edge::Scope;
use rollout::{By, Event, Grounds, Ms, Phase};
use verdict::{Evidence, Names, Progress};

use super::evidence::{Weighed, count, is_judged, rebuilt};
use super::signals;
use super::verify::{Seen, verify};
use super::{Author, Rollout, ms};
use crate::edges::proof::Proof;
use crate::model::rollout::{ACKNOWLEDGED, is_back, is_own};
use crate::service::{Actor, Control, ServiceError};
use crate::store::{RolloutRow, SignalRow};

/// What the audit calls what the machine does.
pub(super) const OPERATION: &str = "driveRollout";

/// A stay is counted at most so often for each e-fold of its length: at half a second in the first hours, at 4 s after a day.
const MOST_COUNTS: Ms = 20_000;

/// What a driver keeps between two looks.
#[derive(Debug, Default)]
pub struct Driver {
    known: HashMap<i64, Known>,
}

/// The evidence of a rollout, and what it takes in.
#[derive(Debug)]
struct Known {
    counted: i64,
    transitions: i64,
    /// When it was counted last.
    at: Ms,
    weighed: Weighed,
}

/// What is under way after a look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looked {
    /// Rollouts under way.
    pub under_way: usize,
    /// Those of which traffic is being taken back: nobody should have to wait for them.
    pub taking_back: usize,
}

impl Control {
    /// Looks at every rollout under way once.
    pub async fn drive_rollouts(&self, driver: &mut Driver, now: i64) -> Result<Looked, ServiceError> {
        let rows = self.store.read().await?.rollouts_under_way().await?;
        driver.known.retain(|id, _| rows.iter().any(|row| row.id == *id));
        self.gates.keep(&rows.iter().map(|row| row.id).collect::<Vec<_>>());
        let mut looked = Looked::default();
        for row in rows {
            let (id, release) = (row.id, row.release.clone());
            match self.drive_rollout(driver, row, ms(now)).await {
                Ok(taking_back) => {
                    looked.under_way += 1;
                    looked.taking_back += usize::from(taking_back);
                }
                // One that cannot be driven does not stop the others.
                Err(error) => {
                    driver.known.remove(&id);
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(rollout = id, release, error, "a rollout cannot be driven now");
                }
            }
        }
        Ok(looked)
    }

    /// Whether its traffic is being taken back.
    async fn drive_rollout(&self, driver: &mut Driver, row: RolloutRow, now: Ms) -> Result<bool, ServiceError> {
        let rollout = Rollout::read(row)?;
        let rows = self.store.read().await?.signals(&rollout.row.app, &rollout.row.environment).await?;
        let mut events = self.happened(&rollout, &rows, now).await?;
        events.extend(signals::events(&rollout, &rows, now));
        events.extend(self.gate_events(&rollout, now).await?);
        let is_late = rollout.state.deadline(&rollout.plan).is_some_and(|deadline| deadline <= now);
        let RolloutRow { id, counted, transitions, .. } = rollout.row;
        let mut view = self.store.read().await?;
        // The longer a stay, the rarer what it brings is counted, so that what is kept stays bounded.
        let pause = now.saturating_sub(rollout.state.phase.since()) / MOST_COUNTS;
        let is_time = driver.known.get(&id).is_none_or(|known| now >= known.at.saturating_add(pause));
        let has_reports = is_time && !view.batches(id, counted + 1, counted + 1).await?.is_empty();
        if events.is_empty() && !is_late && !has_reports {
            return Ok(rollout.state.phase.is_taking_back());
        }
        let known =
            driver.known.remove(&id).filter(|known| (known.counted, known.transitions) == (counted, transitions));
        // Adding up a long rollout anew takes its time, and nobody should wait for it with a write.
        let mut weighed = match known {
            Some(known) => known.weighed,
            None => rebuilt(&mut view, &rollout).await?,
        };
        drop(view);
        let mut tx = self.store.write().await?;
        // What was looked at before may not be so any more; the next look sees.
        let same =
            |row: &RolloutRow| (row.counted, row.transitions) == (counted, transitions) && row.ended_at.is_none();
        let Some(row) = tx.rollout(id).await?.filter(same) else { return Ok(true) };
        let mut rollout = Rollout::read(row)?;
        let next = rollout.row.counted + 1;
        let group = tx.batches(rollout.row.id, next, next).await?;
        if !group.is_empty() {
            count(&mut weighed, &group)?;
            rollout.row.counted = next;
        }
        rollout.state.calibration = weighed.calibration.running();
        let judged = is_judged(&rollout.state.phase)
            .then(|| Event::Judged { grounds: grounds(&weighed.evidence, &rollout, now) });
        for event in judged.into_iter().chain(events).chain([Event::Tick]) {
            // What may not happen now has been overtaken by what happened before it.
            if rollout.on(event, now) == Ok(true) {
                weighed.evidence.begin_step();
            }
        }
        let actor = Actor::system(&format!("rollout-{}", rollout.row.id));
        let author = Author { actor: &actor, operation: OPERATION, reason: String::new() };
        let rollout = self.write_rollout(tx, rollout, &author).await?;
        let RolloutRow { id, counted, transitions, .. } = rollout.row;
        driver.known.insert(id, Known { counted, transitions, at: now, weighed });
        Ok(rollout.state.phase.is_taking_back())
    }

    /// What happened outside since the last look: gates, acknowledgements, and somebody who moved the traffic.
    async fn happened(&self, rollout: &Rollout, rows: &[SignalRow], now: Ms) -> Result<Vec<Event>, ServiceError> {
        let RolloutRow { app, environment, .. } = &rollout.row;
        let cached = self.app(app).await?;
        let (phase, plan) = (&rollout.state.phase, &rollout.plan);
        if !phase.is_taking_back()
            && !is_own(&cached.app, environment, plan, matches!(phase, Phase::KeepingWarm { .. }))
        {
            let why = "the traffic of the environment was moved by somebody else".to_owned();
            return Ok(vec![Event::Abort { by: By::Machine, why }]);
        }
        let number = cached.published.get(environment).map_or(0, |last| last.number);
        let scope = Scope { app: app.clone(), environment: environment.clone() };
        let wanted = u64::try_from(number).unwrap_or(0);
        let asked = Instant::now();
        let proof = async || self.hub.prove(&scope, wanted, asked, asked).await;
        match phase {
            Phase::RollingBack { .. } if proof().await.missing.is_empty() => Ok(vec![Event::Acknowledged]),
            Phase::Verifying { .. } => {
                let is_back = is_back(&cached.app, environment, plan);
                let seen = Seen { is_back, number, proof: &proof().await, rows };
                Ok(verify(rollout, &seen, now).into_iter().collect())
            }
            Phase::Step(stay) | Phase::Held { stay, .. } => {
                let asks = plan.missing(stay).contains(&ACKNOWLEDGED);
                let proof = if asks { Some(proof().await) } else { None };
                let passed = proof.filter(|proof| proof.missing.is_empty());
                let event = |proof: Proof| Event::Gate {
                    at: stay.place,
                    name: ACKNOWLEDGED.to_owned(),
                    passed: true,
                    detail: format!("{} edges run snapshot {number}", proof.edges.len()),
                };
                Ok(passed.map(event).into_iter().collect())
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// What the evidence comes to at this moment of the rollout.
fn grounds(evidence: &Evidence, rollout: &Rollout, now: Ms) -> Grounds {
    let plan = &rollout.plan;
    let names = Names { candidate: &plan.release, stable: &plan.stable };
    let batches = u64::try_from(rollout.row.counted).unwrap_or(0);
    Grounds::of(evidence, &progress(rollout, now), names, batches)
}

/// How far the present stay is. The machine counts in milliseconds: what is over there is over here too.
fn progress(rollout: &Rollout, now: Ms) -> Progress {
    let since = rollout.state.phase.stay().map_or_else(|| rollout.state.phase.since(), |stay| stay.since);
    let spent = now.max(rollout.state.seen).saturating_sub(since);
    let elapsed_seconds = spent / 1000;
    let (hold, limit) = match rollout.state.phase.stay() {
        Some(stay) => (rollout.plan.hold(stay.place), Some(rollout.plan.limit(stay.place))),
        None => (0, None),
    };
    Progress {
        elapsed_seconds,
        minimum_seconds: if spent < hold { hold.div_ceil(1000).max(elapsed_seconds + 1) } else { 0 },
        maximum_seconds: limit.filter(|limit| spent >= *limit).map(|_| elapsed_seconds),
    }
}
