//! What this edge runs and what it refused, per environment and per source: for health and metrics.
//!
//! It owns the report, not the snapshots. Invariant: the number of an environment never goes down.
//! The publisher writes it after the workers acknowledged; the sources write refusals; the ops
//! listener reads. Nothing on the request path knows it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use admin_api::edge::SnapshotHead;
use jiff::Timestamp;

use super::scope::Scope;

/// Where a snapshot came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A watched file.
    File(PathBuf),
    /// A control plane, signed as the head says.
    ControlPlane(Arc<SnapshotHead>),
    /// The state directory, because the source was broken or away.
    StateDir,
    /// The caller of the library: the demo and tests.
    Direct,
}

impl Origin {
    /// `file`, `control-plane`, `state-dir` or `direct`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::ControlPlane(_) => "control-plane",
            Self::StateDir => "state-dir",
            Self::Direct => "direct",
        }
    }
}

/// A snapshot that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// When.
    pub at: Timestamp,
    /// Why: all problems, in one text.
    pub reason: String,
}

/// What an environment runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The snapshot's number.
    pub number: u64,
    /// When it was made, as it says itself.
    pub created_at: String,
    /// When all workers had acknowledged it.
    pub since: Timestamp,
    /// From where.
    pub origin: Origin,
    /// How often this environment's snapshot was swapped, the first time included.
    pub swaps: u64,
}

/// A watched source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceStatus {
    /// The last refusal, until the source is good again.
    pub refusal: Option<Refusal>,
    /// How many contents were refused.
    pub refused: u64,
    /// How many contents were taken.
    pub accepted: u64,
}

/// The control plane that this edge follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlane {
    /// Where it is.
    pub url: String,
    /// Whether its stream is open.
    pub is_connected: bool,
    /// Since when that is so.
    pub since: Timestamp,
    /// When the last byte came from it.
    pub last_contact: Option<Timestamp>,
    /// Why the stream is not open, or what is wrong with what it says.
    pub reason: Option<String>,
    /// Attempts to open the stream after the first one.
    pub reconnects: u64,
    /// Refused snapshots by code.
    pub refused: BTreeMap<&'static str, u64>,
    /// What each environment last refused, until it takes a snapshot again.
    pub refusals: BTreeMap<Scope, NotTaken>,
    /// Reports that it has not answered.
    pub reports_waiting: u64,
}

/// A control plane's snapshot that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    /// When.
    pub at: Timestamp,
    /// Its number.
    pub number: u64,
    /// The code of the answer.
    pub code: &'static str,
    /// Why.
    pub detail: String,
}

impl ControlPlane {
    /// One that was not reached yet.
    pub fn new(url: String) -> Self {
        Self {
            url,
            is_connected: false,
            since: Timestamp::now(),
            last_contact: None,
            reason: None,
            reconnects: 0,
            refused: BTreeMap::new(),
            refusals: BTreeMap::new(),
            reports_waiting: 0,
        }
    }

    /// The stream is open.
    pub fn connected(&mut self) {
        self.is_connected = true;
        self.since = Timestamp::now();
        self.reason = None;
    }

    /// The stream is not open; says whether the reason is news.
    pub fn lost(&mut self, reason: &str) -> bool {
        if self.is_connected {
            self.since = Timestamp::now();
        }
        self.is_connected = false;
        let is_news = self.reason.as_deref() != Some(reason);
        self.reason = Some(reason.to_owned());
        is_news
    }
}

/// What a publication cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SwapStats {
    /// Publications, to all workers each.
    pub publications: u64,
    /// The longest time from the hand-over to the last worker's acknowledgement.
    pub slowest: Duration,
    /// The last such time.
    pub last: Duration,
    /// The longest time that a worker did nothing but swap.
    pub longest_stall: Duration,
}

/// The report.
#[derive(Debug, Default)]
pub struct Board(Mutex<Report>);

/// The report at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// What runs.
    pub environments: BTreeMap<Scope, Running>,
    /// Where it comes from.
    pub sources: BTreeMap<PathBuf, SourceStatus>,
    /// The control plane, when one is followed.
    pub control_plane: Option<ControlPlane>,
    /// What the swaps cost.
    pub swaps: SwapStats,
    /// Saves to the state directory that failed, and the last reason.
    pub failed_saves: u64,
    /// Why the last save failed, until one succeeds.
    pub save_failure: Option<String>,
}

impl Board {
    /// The report now.
    pub fn report(&self) -> Report {
        self.lock().clone()
    }

    /// Whether any snapshot ever ran.
    pub fn has_snapshot(&self) -> bool {
        !self.lock().environments.is_empty()
    }

    /// The number that an environment runs.
    pub fn number(&self, scope: &Scope) -> Option<u64> {
        self.lock().environments.get(scope).map(|running| running.number)
    }

    /// All workers run this from now on.
    pub fn runs(&self, scope: &Scope, number: u64, created_at: &str, origin: Origin) {
        let mut report = self.lock();
        let before = report.environments.get(scope);
        let running = Running {
            number: number.max(before.map_or(0, |running| running.number)),
            created_at: created_at.to_owned(),
            since: Timestamp::now(),
            origin,
            swaps: before.map_or(0, |running| running.swaps) + 1,
        };
        report.environments.insert(scope.clone(), running);
    }

    /// No worker runs this any more, because its source withdrew it.
    pub fn withdrawn(&self, scope: &Scope) {
        self.lock().environments.remove(scope);
    }

    /// The source says that this is what it wants to run; so it is no stopgap any more.
    pub fn confirmed(&self, scope: &Scope, origin: Origin) {
        if let Some(running) = self.lock().environments.get_mut(scope) {
            running.origin = origin;
        }
    }

    /// From now on a control plane is followed.
    pub fn follows(&self, control_plane: ControlPlane) {
        self.lock().control_plane = Some(control_plane);
    }

    /// Looks at, and changes, what is known about the control plane; the default when none is followed.
    pub fn control_plane<T: Default>(&self, note: impl FnOnce(&mut ControlPlane) -> T) -> T {
        self.lock().control_plane.as_mut().map(note).unwrap_or_default()
    }

    /// A publication was acknowledged by all workers.
    pub fn published(&self, took: Duration, stall: Duration) {
        let mut report = self.lock();
        let swaps = &mut report.swaps;
        swaps.longest_stall = swaps.longest_stall.max(stall);
        swaps.publications += 1;
        swaps.last = took;
        swaps.slowest = swaps.slowest.max(took);
    }

    /// A source's content was taken.
    pub fn accepted(&self, source: &std::path::Path) {
        let mut report = self.lock();
        let status = report.sources.entry(source.to_owned()).or_default();
        status.accepted += 1;
        status.refusal = None;
    }

    /// A source's content was refused.
    pub fn refused(&self, source: &std::path::Path, reason: String) {
        let mut report = self.lock();
        let status = report.sources.entry(source.to_owned()).or_default();
        status.refused += 1;
        status.refusal = Some(Refusal { at: Timestamp::now(), reason });
    }

    /// A snapshot was saved, or could not be.
    pub fn saved(&self, failure: Option<String>) {
        let mut report = self.lock();
        report.failed_saves += u64::from(failure.is_some());
        report.save_failure = failure;
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        // Every change is one assignment, so a panic elsewhere leaves a true report.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_number_of_an_environment_never_goes_down() {
        let board = Board::default();
        let scope = Scope::new("web", "production");
        assert!(!board.has_snapshot());
        board.runs(&scope, 7, "", Origin::Direct);
        board.runs(&scope, 3, "", Origin::Direct);
        assert_eq!(board.number(&scope), Some(7));
        assert_eq!(board.report().environments[&scope].swaps, 2);
    }

    #[test]
    fn a_refusal_is_shown_until_the_source_is_good_again_and_stays_counted() {
        let board = Board::default();
        let file = Path::new("a.yaml");
        board.refused(file, "bad".to_owned());
        board.refused(file, "worse".to_owned());
        let status = board.report().sources[file].clone();
        assert_eq!((status.refused, status.refusal.map(|refusal| refusal.reason)), (2, Some("worse".to_owned())));
        board.accepted(file);
        let status = board.report().sources[file].clone();
        assert_eq!((status.refused, status.accepted, status.refusal), (2, 1, None));
    }

    #[test]
    fn the_slowest_publication_is_remembered() {
        let board = Board::default();
        for millis in [2, 9, 1] {
            board.published(Duration::from_millis(millis), Duration::ZERO);
        }
        let swaps = board.report().swaps;
        assert_eq!((swaps.publications, swaps.last.as_millis(), swaps.slowest.as_millis()), (3, 1, 9));
    }
}
