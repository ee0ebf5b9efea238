//! From the reports of edges to the evidence of a rollout, and from what was stored to the same evidence again.
//!
//! Reports are added up per stratum in the group that is not counted yet; the driver counts a group and thereby closes it.
//! All of that happens in write transactions, of which there is one at a time, so the evidence is a function of the rows.
//! A report is counted once because it is accepted once, in the same transaction (`accept_report`).

pub(crate) mod batch;

use std::collections::BTreeMap;

use admin_api::edge::{EnvironmentReport, Report, Scope};
use rollout::{Ms, Phase, Place, State};
use verdict::{Added, Batch, Calibration, Event, Evidence, MOST_WINDOWS, Measured};

use self::batch::Context;
use super::calibration::{self, STRATUM};
use super::{Rollout, ms};
use crate::edges::Hub;
use crate::service::ServiceError;
use crate::store::{BatchRow, RolloutRow, View, WriteTx};

/// Length of a window of the analysis.
const WINDOW_MS: Ms = 10_000;
/// Groups that are read at once.
const PART: i64 = 1000;
/// Events of one group and stratum: of those beyond, nobody looks at the release.
const MOST_EVENTS: usize = 50_000;
/// Where no regions differ, all edges are one stratum.
const EVERYWHERE: &str = "*";

/// Reports of a transaction, added up for the rollouts that they concern.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    rollouts: Vec<Rollout>,
    batches: BTreeMap<(usize, String), Batch>,
}

impl Gathered {
    /// For the rollouts that are under way.
    pub(crate) async fn begin(tx: &mut WriteTx) -> Result<Self, ServiceError> {
        let rows = tx.rollouts_under_way().await?;
        // One that cannot be read costs no edge its report; the driver says what is wrong with it.
        let rollouts = rows.into_iter().filter_map(|row| Rollout::read(row).ok()).collect();
        Ok(Self { rollouts, batches: BTreeMap::new() })
    }

    /// The rollout under way in an environment.
    pub(crate) fn rollout(&self, scope: &Scope) -> Option<&Rollout> {
        self.index(scope).and_then(|index| self.rollouts.get(index))
    }

    fn index(&self, Scope { app, environment }: &Scope) -> Option<usize> {
        self.rollouts.iter().position(|rollout| rollout.row.app == *app && rollout.row.environment == *environment)
    }

    /// Adds events that the app itself told.
    pub(crate) fn add_events(&mut self, scope: &Scope, events: Vec<Event>) {
        if let Some(index) = self.index(scope).filter(|_| !events.is_empty()) {
            let batch = self.batches.entry((index, EVERYWHERE.to_owned())).or_default();
            merge(batch, Batch { events, ..Batch::default() });
        }
    }

    /// Adds a report that arrived now.
    pub(crate) fn add(&mut self, report: &Report, hub: &Hub, now: i64) {
        for environment in &report.environments {
            let Some(index) = self.index(&environment.scope) else { continue };
            let rollout = &self.rollouts[index];
            let began = ms(now).saturating_sub(report.covers_ms);
            let batch = batch_of(environment, rollout, began);
            if is_judged(&rollout.state.phase) {
                let events = batch.as_ref().map_or(&[][..], |batch| &batch.events);
                if let Some(batch) = calibration::batch(environment, &rollout.plan.stable, events) {
                    merge(self.batches.entry((index, STRATUM.to_owned())).or_default(), batch);
                }
            }
            let Some(batch) = batch else { continue };
            let by_region = !rollout.plan.template.waves.is_empty();
            let region = by_region.then(|| hub.region_of(&report.edge, &report.boot)).flatten();
            // An edge may call its region what it likes; waves have other names.
            let region = region.filter(|region| region != STRATUM);
            let stratum = region.unwrap_or_else(|| EVERYWHERE.to_owned());
            merge(self.batches.entry((index, stratum)).or_default(), batch);
        }
    }

    /// Writes what came together into the groups that are not counted yet; whether there was anything.
    pub(crate) async fn write(self, tx: &mut WriteTx, now: i64) -> Result<bool, ServiceError> {
        let any = !self.batches.is_empty();
        for ((index, stratum), batch) in self.batches {
            let rollout = &self.rollouts[index];
            let sequence = rollout.row.counted + 1;
            let known = tx.batches(rollout.row.id, sequence, sequence).await?;
            let known = known.into_iter().find(|row| row.stratum == stratum);
            let mut whole = known.map_or_else(|| Ok(open(rollout, &stratum, now)), |row| read(&row))?;
            merge(&mut whole, batch);
            // Batches have text keys, and nothing else can fail.
            let document = serde_json::to_string(&whole).unwrap_or_default();
            tx.put_batch(&BatchRow { rollout: rollout.row.id, sequence, stratum, document }).await?;
        }
        Ok(any)
    }
}

/// What a report of what was seen since `began` says about a rollout; `None` when that is nothing.
fn batch_of(report: &EnvironmentReport, rollout: &Rollout, began: Ms) -> Option<Batch> {
    let Rollout { plan, state, .. } = rollout;
    let context = Context { plan, phase: &state.phase, is_fresh: began >= weighed_since(state) };
    if is_judged(&state.phase) { context.batch(report) } else { None }
}

/// Since when the candidate has had its share.
fn weighed_since(state: &State) -> Ms {
    state.phase.stay().map_or_else(|| state.phase.since(), |stay| stay.since)
}

/// Whether the candidate takes traffic that the split gave it.
pub(crate) fn is_judged(phase: &Phase) -> bool {
    matches!(phase, Phase::KeepingWarm { .. })
        || phase.place().is_some_and(|place| !matches!(place, Place::Preview | Place::Start))
}

fn open(rollout: &Rollout, stratum: &str, now: i64) -> Batch {
    let window = ms(now).saturating_sub(rollout.state.created) / WINDOW_MS;
    let sequence = u64::try_from(rollout.row.counted + 1).unwrap_or(0);
    Batch { edge: stratum.to_owned(), sequence, window: window.min(MOST_WINDOWS - 1), ..Batch::default() }
}

/// Adds what another batch of the same stratum and moment says.
fn merge(into: &mut Batch, batch: Batch) {
    for Measured { measure, counts } in batch.counts {
        match into.counts.iter_mut().find(|known| known.measure == measure) {
            Some(known) => {
                known.counts = known.counts.plus(counts);
            }
            None => into.counts.push(Measured { measure, counts }),
        }
    }
    for units in batch.units {
        match into.units.iter_mut().find(|known| known.weight == units.weight) {
            Some(known) => {
                known.candidate = known.candidate.saturating_add(units.candidate);
                known.stable = known.stable.saturating_add(units.stable);
            }
            None => into.units.push(units),
        }
    }
    into.events.extend(batch.events);
    into.events.truncate(MOST_EVENTS);
    into.exposed.extend(batch.exposed);
    into.exposed.truncate(MOST_EVENTS);
}

fn read(row: &BatchRow) -> Result<Batch, ServiceError> {
    serde_json::from_str(&row.document).map_err(|error| ServiceError::Corrupt {
        detail: format!("group {} of rollout {}: {error}", row.sequence, row.rollout),
    })
}

/// What was counted of a rollout.
#[derive(Debug)]
pub(super) struct Weighed {
    /// The candidate against stable.
    pub(super) evidence: Evidence,
    /// Stable against itself.
    pub(super) calibration: Calibration,
}

/// Adds a group, as it was stored.
pub(super) fn count(weighed: &mut Weighed, rows: &[BatchRow]) -> Result<(), ServiceError> {
    for row in rows {
        let batch = read(row)?;
        let is_real = row.stratum != STRATUM;
        let added = if is_real { weighed.evidence.add(&batch) } else { weighed.calibration.observe(&batch) };
        if let Added::Refused(refusal) = added {
            tracing::warn!(rollout = row.rollout, group = row.sequence, error = %refusal, "a report does not count");
        }
    }
    Ok(())
}

/// The evidence of everything that was counted, in the order in which it was.
pub(super) async fn rebuilt(view: &mut View, rollout: &Rollout) -> Result<Weighed, ServiceError> {
    let policy = &rollout.plan.template.verdict;
    let unsound = |error: verdict::PolicyError| ServiceError::Corrupt { detail: error.to_string() };
    let evidence = Evidence::new(policy.clone()).map_err(unsound)?;
    let mut weighed = Weighed { evidence, calibration: calibration::begin(policy)? };
    let steps = begun_steps(view, &rollout.row).await?;
    let mut steps = steps.into_iter().peekable();
    let mut from = 1;
    while from <= rollout.row.counted {
        let to = (from + PART - 1).min(rollout.row.counted);
        let rows = view.batches(rollout.row.id, from, to).await?;
        for group in rows.chunk_by(|one, other| one.sequence == other.sequence) {
            while steps.next_if(|counted| group.first().is_some_and(|row| *counted < row.sequence)).is_some() {
                weighed.evidence.begin_step();
            }
            count(&mut weighed, group)?;
        }
        from = to + 1;
    }
    if steps.next().is_some() {
        weighed.evidence.begin_step();
    }
    Ok(weighed)
}

/// After how many groups the evidence for promotion began anew.
async fn begun_steps(view: &mut View, row: &RolloutRow) -> Result<Vec<i64>, ServiceError> {
    let (mut after, mut begun) = (0, Vec::new());
    loop {
        let part = view.transitions(row.id, after, 200).await?;
        let Some(last) = part.last() else { return Ok(begun) };
        after = last.number;
        begun.extend(part.iter().filter(|transition| transition.begins_step).map(|transition| transition.counted));
    }
}
