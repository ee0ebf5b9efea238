//! Keeping the roster of this process in the store, and hearing those of the others.
//!
//! With SQLite there is one process: its roster is for its successor, and is written when an edge comes or goes. With
//! PostgreSQL it is written at once when an edge says something, and every [`BEAT`] as a sign of life. Whoever sees the beat
//! of a process stand still for a [`LEASE`] takes the process for gone; a process that could not write for half of that gives
//! its edges up, so that nobody relies on a proof in which they were forgotten.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::edges::LEASE;
use crate::edges::roster::{Membership, Roster};
use crate::service::{Control, ServiceError};
use crate::store::{Notice, RosterRow};

/// A roster was written.
const TOPIC: &str = "roster";
/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(2);
/// For one write; a database that takes longer is as good as none.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two writes at least: many acknowledgements become one.
const PAUSE: Duration = Duration::from_millis(20);

const _: () = assert!(LEASE.as_millis() > 2 * PATIENCE.as_millis() + LEASE.as_millis() / 2);

/// Takes over from the processes that were here before. Nothing is served yet.
pub(super) async fn inherit(control: &Control) -> Result<(), ServiceError> {
    let rosters = control.store.read().await?.rosters().await?;
    if control.store.is_shared() {
        control.hub.set_recorded(0);
        for row in rosters {
            hear(control, &row);
        }
        return Ok(());
    }
    for row in &rosters {
        match serde_json::from_str::<Roster>(&row.document) {
            Ok(roster) => control.hub.adopt(roster),
            Err(error) => tracing::warn!(process = row.process, error = %error, "a roster cannot be read"),
        }
    }
    let mut tx = control.store.write().await?;
    for row in &rosters {
        tx.delete_roster(&row.process).await?;
    }
    tx.put_roster(&own(control, 0)).await?;
    tx.commit().await?;
    Ok(())
}

/// Writes the roster until `stop`, and once more then.
pub(super) async fn write(control: &Control, stop: &CancellationToken) {
    let mut answers = control.hub.answers();
    let mut writer = Writer { control, beat: 0, written: None, written_at: Instant::now() };
    loop {
        let upto = *answers.borrow_and_update();
        let began = Instant::now();
        writer.write(upto).await;
        // A slow store is not kept busy with this.
        let pause = PAUSE.max(began.elapsed() * 4);
        let woken = async {
            tokio::time::sleep(pause).await;
            // Nothing said for so long: time for a sign of life.
            let _ = timeout(BEAT, answers.changed()).await;
        };
        if stop.run_until_cancelled(woken).await.is_none() {
            break;
        }
    }
    writer.write(u64::MAX).await;
}

struct Writer<'c> {
    control: &'c Control,
    beat: i64,
    written: Option<Membership>,
    written_at: Instant,
}

impl Writer<'_> {
    /// Writes what there is, at least the answers up to this one.
    async fn write(&mut self, upto: u64) {
        let membership = self.control.hub.membership();
        let is_shared = self.control.store.is_shared();
        if !is_shared && self.written.as_ref() == Some(&membership) {
            return;
        }
        self.beat += 1;
        let outcome = timeout(PATIENCE, put(self.control, self.beat)).await;
        let error = match outcome {
            Ok(Ok(())) => {
                self.written = Some(membership);
                self.written_at = Instant::now();
                self.control.hub.set_fenced(false);
                if is_shared {
                    self.control.hub.set_recorded(upto);
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        tracing::warn!(error, "the edges of this process cannot be written down");
        if is_shared && self.written_at.elapsed() > LEASE / 2 {
            self.control.hub.set_fenced(true);
        }
    }
}

async fn put(control: &Control, beat: i64) -> Result<(), ServiceError> {
    let mut tx = control.store.write().await?;
    tx.put_roster(&own(control, beat)).await?;
    tx.commit().await?;
    if control.store.is_shared() {
        let notice = Notice { topic: TOPIC.to_owned(), body: json!({"process": control.hub.process()}) };
        control.store.notify(&notice).await?;
    }
    Ok(())
}

fn own(control: &Control, beat: i64) -> RosterRow {
    // The roster's maps have text keys, and nothing else can fail.
    let document = serde_json::to_string(&control.hub.roster()).unwrap_or_default();
    RosterRow { process: control.hub.process().to_owned(), beat, document }
}

/// Hears the rosters of others: at once when they say so, and looks for those that no longer say anything.
pub(super) async fn listen(control: &Control) {
    let mut notices = control.store.notices();
    let mut beats: HashMap<String, (i64, Instant)> = HashMap::new();
    loop {
        let told = async {
            loop {
                match notices.recv().await {
                    Ok(notice) if notice.body["process"] == control.hub.process() => {}
                    Ok(notice) if notice.topic == TOPIC || notice.is_lagged() => return true,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => return true,
                    Err(RecvError::Closed) => return false,
                }
            }
        };
        if timeout(BEAT, told).await == Ok(false) {
            return;
        }
        if let Err(error) = look(control, &mut beats).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the edges of other processes cannot be read");
        }
    }
}

async fn look(control: &Control, beats: &mut HashMap<String, (i64, Instant)>) -> Result<(), ServiceError> {
    let rows = control.store.read().await?.rosters().await?;
    let mut gone = Vec::new();
    for row in rows.iter().filter(|row| row.process != control.hub.process()) {
        let known = beats.get(&row.process);
        match known {
            Some((beat, at)) if *beat == row.beat => {
                if at.elapsed() > LEASE {
                    gone.push(row.process.clone());
                }
            }
            _ => {
                beats.insert(row.process.clone(), (row.beat, Instant::now()));
                hear(control, row);
            }
        }
    }
    let is_there = |process: &String| rows.iter().any(|row| row.process == *process);
    let vanished: Vec<String> = beats.keys().filter(|process| !is_there(process)).cloned().collect();
    for process in gone.iter().chain(&vanished) {
        control.hub.forget(process);
        beats.remove(process);
    }
    if gone.is_empty() {
        return Ok(());
    }
    let mut tx = control.store.write().await?;
    for process in &gone {
        tracing::info!(process, "another control plane process is gone");
        tx.delete_roster(process).await?;
    }
    tx.commit().await?;
    Ok(())
}

fn hear(control: &Control, row: &RosterRow) {
    if row.process == control.hub.process() {
        return;
    }
    match serde_json::from_str(&row.document) {
        Ok(roster) => control.hub.heard(&row.process, roster),
        // Of a newer version, perhaps.
        Err(error) => tracing::warn!(process = row.process, error = %error, "a roster cannot be read"),
    }
}
