//! What edges counted, written in groups.
//!
//! A thousand edges report every two seconds. Each report is answered only after the transaction that holds it was
//! committed, but one transaction takes all that came in the meantime.

use std::collections::BTreeMap;
use std::time::Duration;

use admin_api::edge::{LATENCY_BOUNDS_US, Report};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::rollouts::evidence::Gathered;
use super::rollouts::signals::note_health;
use super::rollouts::thresholds;
use super::{Control, ServiceError};
use crate::ids;
use crate::store::UsageDelta;

/// Reports that wait to be written. An edge whose report finds no room is told to come back.
const QUEUE: usize = 4096;
/// How long the first report of a group waits for others.
const GATHER: Duration = Duration::from_millis(20);

type Waiting = (Report, oneshot::Sender<Option<Taken>>);

/// What became of a report that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was counted.
    Now,
    /// It had been counted, and was sent again.
    Before,
}

/// The queue of reports.
#[derive(Debug)]
pub struct Reports {
    sender: mpsc::Sender<Waiting>,
    receiver: Mutex<mpsc::Receiver<Waiting>>,
}

impl Default for Reports {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

impl Control {
    /// Takes a report; returns when it is durable. `None` when it could not be taken now.
    pub async fn report(&self, report: Report) -> Option<Taken> {
        let (done, taken) = oneshot::channel();
        self.reports.sender.try_send((report, done)).ok()?;
        taken.await.ok().flatten()
    }

    /// Writes reports until the control plane ends.
    pub async fn write_reports(&self) {
        let mut receiver = self.reports.receiver.lock().await;
        while let Some(first) = receiver.recv().await {
            let mut group = vec![first];
            tokio::time::sleep(GATHER).await;
            while let Ok(next) = receiver.try_recv() {
                group.push(next);
            }
            let written = self.write_group(&group).await;
            if let Err(error) = &written {
                tracing::error!(error = error as &dyn std::error::Error, "reports of edges could not be written");
            }
            let taken = written.unwrap_or_default().into_iter().map(Some).chain(std::iter::repeat(None));
            for ((_, done), taken) in group.into_iter().zip(taken) {
                // The edge may have gone away.
                let _ = done.send(taken);
            }
        }
    }

    /// What became of each.
    async fn write_group(&self, group: &[Waiting]) -> Result<Vec<Taken>, ServiceError> {
        let reports: Vec<&Report> = group.iter().map(|(report, _)| report).collect();
        self.record_reports(&reports, ids::now_ms()).await
    }

    /// Writes reports that arrived now, each that was not written before: counters, and the evidence of rollouts. Answers what
    /// became of each.
    pub async fn record_reports(&self, group: &[&Report], now: i64) -> Result<Vec<Taken>, ServiceError> {
        let mut tx = self.store.write().await?;
        let mut gathered = Gathered::begin(&mut tx).await?;
        let mut sums: BTreeMap<(String, String, &str, String, String), i64> = BTreeMap::new();
        let mut taken = Vec::with_capacity(group.len());
        for report in group {
            let sequence = i64::try_from(report.sequence).unwrap_or(i64::MAX);
            let is_new = tx.accept_report(&report.edge, &report.boot, sequence, now).await?;
            if is_new {
                add_up(report, &mut sums);
                gathered.add(report, &self.hub, now);
                note_health(&mut tx, &gathered, report, &self.hub, now).await?;
            }
            taken.push(if is_new { Taken::Now } else { Taken::Before });
        }
        let deltas: Vec<UsageDelta> = sums
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|((app, environment, kind, key, variant), count)| UsageDelta {
                app,
                environment,
                kind: kind.to_owned(),
                key,
                variant,
                count,
            })
            .collect();
        tx.add_usage(&deltas, now).await?;
        let is_evidence = gathered.write(&mut tx, now).await?;
        tx.commit().await?;
        let new = group.iter().zip(&taken).filter(|(_, taken)| **taken == Taken::Now);
        new.for_each(|(report, _)| self.releases.reported(report, now));
        if is_evidence {
            self.wake.notify_one();
        }
        Ok(taken)
    }
}

fn add_up(report: &Report, sums: &mut BTreeMap<(String, String, &'static str, String, String), i64>) {
    for environment in &report.environments {
        let scope = &environment.scope;
        let mut add = |kind, key: &str, variant: &str, count: u64| {
            let place = (scope.app.clone(), scope.environment.clone(), kind, key.to_owned(), variant.to_owned());
            let sum = sums.entry(place).or_default();
            *sum = sum.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
        };
        for release in &environment.releases {
            add("release", &release.release, "requests", release.requests);
            add("release", &release.release, "clientErrors", release.client_errors);
            add("release", &release.release, "serverErrors", release.server_errors);
            add("release", &release.release, "transportErrors", release.transport_errors);
            for (index, count) in release.latency.iter().enumerate() {
                let bound = LATENCY_BOUNDS_US.get(index).map_or(thresholds::BEYOND.to_owned(), u64::to_string);
                add(thresholds::KIND, &release.release, &bound, *count);
            }
        }
        for flag in &environment.flags {
            add("flag", &flag.flag, &flag.variant, flag.count);
        }
    }
}
