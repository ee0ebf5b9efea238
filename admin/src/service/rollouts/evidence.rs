//! From the reports of edges to the evidence of a rollout, and from what was stored to the same evidence again.
//!
//! Reports are added up per stratum in the group that is not counted yet; the driver counts a group and thereby closes it.
//! All of that happens in write transactions, of which there is one at a time, so the evidence is a function of the rows.
//! A report is counted once because it is accepted once, in the same transaction (`accept_report`).

use std::collections::BTreeMap;

use admin_api::edge::{EnvironmentReport, ReleaseReport, Report};
use rollout::{Ms, Phase, Place, Plan, State};
use verdict::{Added, Batch, Counts, Evidence, MOST_WINDOWS, Measure, Measured, Tally};

use super::{Rollout, ms};
use crate::edges::Hub;
use crate::service::ServiceError;
use crate::store::{BatchRow, RolloutRow, View, WriteTx};

/// Length of a window of the analysis.
const WINDOW_MS: Ms = 10_000;
/// Groups that are read at once.
const PART: i64 = 1000;
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

    /// Adds a report that arrived now.
    pub(crate) fn add(&mut self, report: &Report, hub: &Hub, now: i64) {
        for environment in &report.environments {
            let of = |rollout: &Rollout| {
                let RolloutRow { app, environment: name, .. } = &rollout.row;
                *app == environment.scope.app && *name == environment.scope.environment
            };
            let Some(index) = self.rollouts.iter().position(of) else { continue };
            let rollout = &self.rollouts[index];
            let began = ms(now).saturating_sub(report.covers_ms);
            let Some(batch) = batch_of(environment, rollout, began) else { continue };
            let by_region = !rollout.plan.template.waves.is_empty();
            let region = by_region.then(|| hub.region_of(&report.edge, &report.boot)).flatten();
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

/// What a report of what was seen since `began` says about a rollout; `None` when that is nothing. Whatever else edges come to
/// report (first bad units, latencies) is put into the batch here.
fn batch_of(report: &EnvironmentReport, rollout: &Rollout, began: Ms) -> Option<Batch> {
    let mut counts = counts_of(report, &rollout.plan);
    // A report that reaches over a change of weight: its requests were not shared out alike, so the releases cannot be
    // compared by it. How the candidate fared by itself counts, because a breaker may have closed by the next report.
    if began < weighed_since(&rollout.state) {
        counts.stable = Tally::default();
    }
    let any = counts.candidate.total + counts.stable.total > 0;
    let measured = Measured { measure: Measure::Errors, counts };
    (any && is_judged(&rollout.state.phase)).then(|| Batch { counts: vec![measured], ..Batch::default() })
}

fn counts_of(report: &EnvironmentReport, plan: &Plan) -> Counts {
    let of = |release: &str| {
        let reports = report.releases.iter().filter(|one| one.release == release);
        reports.fold(Tally::default(), |sum, one: &ReleaseReport| {
            let bad = one.server_errors.saturating_add(one.transport_errors);
            let total = sum.total.saturating_add(one.requests.max(bad));
            Tally { total, bad: sum.bad.saturating_add(bad) }
        })
    };
    Counts { candidate: of(&plan.release), stable: of(&plan.stable) }
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
                let sum = |one: Tally, other: Tally| Tally {
                    total: one.total.saturating_add(other.total),
                    bad: one.bad.saturating_add(other.bad),
                };
                known.counts.candidate = sum(known.counts.candidate, counts.candidate);
                known.counts.stable = sum(known.counts.stable, counts.stable);
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
}

fn read(row: &BatchRow) -> Result<Batch, ServiceError> {
    serde_json::from_str(&row.document).map_err(|error| ServiceError::Corrupt {
        detail: format!("group {} of rollout {}: {error}", row.sequence, row.rollout),
    })
}

/// Adds a group, as it was stored.
pub(super) fn count(evidence: &mut Evidence, rows: &[BatchRow]) -> Result<(), ServiceError> {
    for row in rows {
        if let Added::Refused(refusal) = evidence.add(&read(row)?) {
            tracing::warn!(rollout = row.rollout, group = row.sequence, error = %refusal, "a report does not count");
        }
    }
    Ok(())
}

/// The evidence of everything that was counted, in the order in which it was.
pub(crate) async fn rebuilt(view: &mut View, rollout: &Rollout) -> Result<Evidence, ServiceError> {
    let unsound = |error: verdict::PolicyError| ServiceError::Corrupt { detail: error.to_string() };
    let mut evidence = Evidence::new(rollout.plan.template.verdict.clone()).map_err(unsound)?;
    let steps = begun_steps(view, &rollout.row).await?;
    let mut steps = steps.into_iter().peekable();
    let mut from = 1;
    while from <= rollout.row.counted {
        let to = (from + PART - 1).min(rollout.row.counted);
        let rows = view.batches(rollout.row.id, from, to).await?;
        for group in rows.chunk_by(|one, other| one.sequence == other.sequence) {
            while steps.next_if(|counted| group.first().is_some_and(|row| *counted < row.sequence)).is_some() {
                evidence.begin_step();
            }
            count(&mut evidence, group)?;
        }
        from = to + 1;
    }
    if steps.next().is_some() {
        evidence.begin_step();
    }
    Ok(evidence)
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
