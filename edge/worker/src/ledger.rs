//! What an isolate counted and has not told the control plane yet.
//!
//! Pure. Invariant: a request is in exactly one report or in `lost`; a report keeps its number and content until it was
//! answered, so that the control plane takes it once. What an isolate counted and never sent dies with it: at most what came
//! in the last [`REPORT_MS`].

use admin_api::edge::{EnvironmentReport, Failure, FlagReport, ReleaseReport, Report, Scope, SplitCount};
use edge_engine::{FlagOutcome, Snapshot};

pub use crate::board::Unit;
use crate::board::{self, Board};

/// Milliseconds between two reports.
pub const REPORT_MS: i64 = 10_000;
/// The same when units met failures: a verdict waits for them.
pub const BAD_MS: i64 = 2000;
/// Reports that wait for a control plane that does not answer; the oldest is given up.
const MOST_WAITING: usize = 30;

/// How a request at a release ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With this status.
    Status(u16),
    /// Without an answer.
    Failed(Failure),
}

impl Outcome {
    /// How it failed, if it did.
    pub fn failure(self) -> Option<Failure> {
        match self {
            Self::Status(500..=599) => Some(Failure::Status),
            Self::Status(_) => None,
            Self::Failed(failure) => Some(failure),
        }
    }

    /// What a unit met: a failure, or an answer that is a criterion of its own.
    fn observed(self) -> Option<Failure> {
        match self {
            Self::Status(400..=499) => Some(Failure::ClientError),
            outcome => outcome.failure(),
        }
    }
}

/// How a release fared with a request.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// Which one.
    pub release: &'a str,
    /// How it ended.
    pub outcome: Outcome,
    /// Milliseconds until the client's answer; none when another release gave it.
    pub elapsed_ms: Option<u64>,
    /// The bucket by which the hash sent it here, if it did.
    pub bucket: Option<u32>,
    /// Whose it was, when that says something about a release that is being judged.
    pub unit: Option<Unit>,
}

/// The counters of an isolate.
#[derive(Debug)]
pub struct Ledger {
    scope: Scope,
    edge: String,
    boot: String,
    sequence: u64,
    began_ms: i64,
    requests: u64,
    fallbacks: u64,
    lost: u64,
    releases: Vec<ReleaseReport>,
    flags: Vec<FlagReport>,
    /// Names the snapshot that the board follows.
    version: String,
    board: Board,
    waiting: Vec<(Report, u64)>,
}

impl Ledger {
    /// Empty, for a process of an edge.
    pub fn new(scope: Scope, edge: String, boot: String, now_ms: i64) -> Self {
        Self {
            scope,
            edge,
            boot,
            sequence: 0,
            began_ms: now_ms,
            requests: 0,
            fallbacks: 0,
            lost: 0,
            releases: Vec::new(),
            flags: Vec::new(),
            version: String::new(),
            board: Board::default(),
            waiting: Vec::new(),
        }
    }

    /// Requests are decided by the snapshot that is called so; with its active release and its salt, if it is another one.
    pub fn follow<'s>(&mut self, version: &str, snapshot: &'s Snapshot, salt: &str) {
        if self.version != version {
            version.clone_into(&mut self.version);
            let traffic = snapshot.traffic();
            let active: Option<&'s str> =
                traffic.release(traffic.active()).map(|release| snapshot.release(release).id.as_str());
            self.board.follow(active.unwrap_or_default(), salt, traffic.splits());
        }
    }

    /// The hash sent a unit of the sample to a release.
    pub fn exposed(&mut self, unit: Unit) {
        self.board.exposed(unit);
    }

    /// A release was asked, and so it ended.
    pub fn exchange(&mut self, exchange: &Exchange<'_>) {
        let Exchange { release, outcome, elapsed_ms, bucket, unit } = *exchange;
        let elapsed_us = elapsed_ms.map(|ms| ms.saturating_mul(1000));
        let at = self.releases.iter().position(|counts| counts.release == release).unwrap_or(self.releases.len());
        if at == self.releases.len() {
            self.releases.push(ReleaseReport { release: release.to_owned(), ..ReleaseReport::default() });
        }
        if let Some(counts) = self.releases.get_mut(at) {
            count(counts, outcome, elapsed_us, bucket);
        }
        let Some(unit) = unit else { return };
        if let Some(failure) = outcome.observed() {
            self.board.failed(unit, release, failure);
        }
        if let Some(elapsed_us) = elapsed_us {
            self.board.answered(unit, release, elapsed_us);
        }
    }

    /// A request was decided, with these flags for the upstream.
    pub fn decided(&mut self, snapshot: &Snapshot, flags: &[FlagOutcome]) {
        self.requests += 1;
        for outcome in flags {
            let Some(flag) = snapshot.flag(outcome.flag) else { continue };
            let Some(variant) = flag.variant(outcome.variant) else { continue };
            let (flag, variant) = (flag.key().as_str(), variant.key.as_str());
            match self.flags.iter_mut().find(|counted| counted.flag == flag && counted.variant == variant) {
                Some(counted) => counted.count += 1,
                None => self.flags.push(FlagReport { flag: flag.to_owned(), variant: variant.to_owned(), count: 1 }),
            }
        }
    }

    /// A request was served without the engine.
    pub fn fell_back(&mut self) {
        self.requests += 1;
        self.fallbacks += 1;
    }

    /// Requests whose counts are gone.
    pub fn lost(&mut self, requests: u64) {
        self.lost += requests;
    }

    /// Whether units that met failures are not told yet.
    pub fn is_urgent(&self) -> bool {
        self.board.is_urgent()
    }

    /// The reports to send, oldest first: those that were not answered, and what was counted since.
    pub fn take(&mut self, now_ms: i64) -> impl Iterator<Item = &Report> {
        if self.requests > 0 || self.lost > 0 {
            self.close(now_ms);
        }
        self.waiting.iter().map(|(report, _)| report)
    }

    fn close(&mut self, now_ms: i64) {
        if self.waiting.len() >= MOST_WAITING {
            self.lost += self.waiting.remove(0).1;
        }
        self.sequence += 1;
        let covers_ms = u64::try_from(now_ms - self.began_ms).unwrap_or(0);
        let releases = std::mem::take(&mut self.releases);
        let latency_of = |release: &str| {
            let counts = releases.iter().find(|counts| counts.release == release)?;
            <[u64; board::BUCKETS]>::try_from(counts.latency.as_slice()).ok()
        };
        self.board.learn(latency_of, covers_ms);
        let (first_bad, exposed) = self.board.take();
        let environment = EnvironmentReport {
            scope: self.scope.clone(),
            fallbacks: std::mem::take(&mut self.fallbacks),
            releases,
            flags: std::mem::take(&mut self.flags),
            first_bad,
            exposed,
            ..EnvironmentReport::default()
        };
        let report = Report {
            edge: self.edge.clone(),
            boot: self.boot.clone(),
            sequence: self.sequence,
            covers_ms,
            lost: std::mem::take(&mut self.lost),
            environments: vec![environment],
        };
        self.began_ms = now_ms;
        self.waiting.push((report, std::mem::take(&mut self.requests)));
    }

    /// The control plane has taken this report. Answers how many requests it covers.
    pub fn accepted(&mut self, sequence: u64) -> u64 {
        let is_it = self.waiting.first().is_some_and(|(report, _)| report.sequence == sequence);
        if is_it { self.waiting.remove(0).1 } else { 0 }
    }
}

fn count(counts: &mut ReleaseReport, outcome: Outcome, elapsed_us: Option<u64>, bucket: Option<u32>) {
    counts.requests += 1;
    match outcome {
        Outcome::Status(400..=499) => counts.client_errors += 1,
        Outcome::Status(500..=599) => counts.server_errors += 1,
        Outcome::Status(_) => {}
        Outcome::Failed(_) => counts.transport_errors += 1,
    }
    if let Some(elapsed_us) = elapsed_us {
        counts.latency.resize(board::BUCKETS, 0);
        if let Some(count) = counts.latency.get_mut(board::bucket(elapsed_us)) {
            *count += 1;
        }
        counts.latency_us = counts.latency_us.saturating_add(elapsed_us);
    }
    if let Some(bucket) = bucket {
        counts.split.resize(2, SplitCount::default());
        if let Some(half) = counts.split.get_mut(usize::from(bucket % 2 == 1)) {
            half.requests += 1;
            half.failed += u64::from(outcome.failure().is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let scope = Scope { app: "web".into(), environment: "production".into() };
        Ledger::new(scope, "worker".into(), "b1".into(), 0)
    }

    fn bad(hash: u64) -> Unit {
        Unit { hash, is_candidate: true, weight: 50_000 }
    }

    fn count(ledger: &mut Ledger, outcome: Outcome, unit: Option<Unit>) {
        ledger.requests += 1;
        ledger.exchange(&Exchange { release: "web-2", outcome, elapsed_ms: Some(3), bucket: Some(5), unit });
    }

    #[test]
    fn a_report_says_what_came_since_the_one_before() {
        let mut ledger = ledger();
        for status in [200, 204, 404, 503] {
            count(&mut ledger, Outcome::Status(status), None);
        }
        count(&mut ledger, Outcome::Failed(Failure::Timeout), None);
        let report = ledger.take(1500).next().unwrap().clone();
        assert_eq!((report.sequence, report.covers_ms, report.lost), (1, 1500, 0));
        let release = &report.environments[0].releases[0];
        let counts = (release.requests, release.client_errors, release.server_errors, release.transport_errors);
        assert_eq!(counts, (5, 1, 1, 1));
        assert_eq!((release.latency[2], release.latency.len(), release.latency_us), (5, 18, 15_000));
        let half = |requests, failed| SplitCount { requests, failed };
        assert_eq!(release.split, [half(0, 0), half(5, 2)], "all in odd buckets");
        assert_eq!(ledger.accepted(1), 5);
        assert_eq!(ledger.take(3000).count(), 0, "nothing happened since");
    }

    #[test]
    fn a_report_is_sent_as_it_is_until_it_was_answered() {
        let mut ledger = ledger();
        count(&mut ledger, Outcome::Status(200), None);
        let first = ledger.take(10).next().unwrap().clone();
        count(&mut ledger, Outcome::Status(200), None);
        let again: Vec<_> = ledger.take(20).cloned().collect();
        assert_eq!((again.len(), &again[0]), (2, &first));
        assert_eq!(ledger.accepted(2), 0, "the first is not answered");
        assert_eq!((ledger.accepted(1), ledger.accepted(2)), (1, 1));
    }

    #[test]
    fn a_unit_is_told_once_for_each_release() {
        let mut ledger = ledger();
        for _ in 0..3 {
            count(&mut ledger, Outcome::Status(500), Some(bad(7)));
        }
        count(&mut ledger, Outcome::Status(200), Some(bad(8)));
        count(&mut ledger, Outcome::Failed(Failure::Transport), Some(bad(9)));
        assert!(ledger.is_urgent());
        let report = ledger.take(10).next().unwrap();
        let told: Vec<_> = report.environments[0].first_bad.iter().map(|bad| (&*bad.unit, bad.failure)).collect();
        assert_eq!(told, [("0000000000000007", Failure::Status), ("0000000000000009", Failure::Transport)]);
        assert!(!ledger.is_urgent());
    }

    #[test]
    fn what_another_release_answered_has_no_latency_here_and_what_nobody_split_no_half() {
        let mut ledger = ledger();
        ledger.requests = 1;
        let outcome = Outcome::Status(503);
        ledger.exchange(&Exchange { release: "web-2", outcome, elapsed_ms: None, bucket: None, unit: Some(bad(7)) });
        ledger.exposed(bad(16));
        let report = ledger.take(10).next().unwrap();
        let environment = &report.environments[0];
        let release = &environment.releases[0];
        assert_eq!((release.requests, release.server_errors), (1, 1));
        assert!(release.latency.is_empty() && release.split.is_empty() && release.latency_us == 0);
        assert_eq!((environment.first_bad.len(), &*environment.exposed[0].unit), (1, "0000000000000010"));
    }

    #[test]
    fn a_control_plane_that_is_away_costs_reports_that_are_counted() {
        let mut ledger = ledger();
        for now in 0..=30 {
            count(&mut ledger, Outcome::Status(200), None);
            assert!(ledger.take(now).count() <= MOST_WAITING);
        }
        count(&mut ledger, Outcome::Status(200), None);
        let reports: Vec<_> = ledger.take(40).map(|report| (report.sequence, report.lost)).collect();
        assert_eq!(reports.first(), Some(&(3, 0)));
        assert_eq!(reports[28..], [(31, 1), (32, 1)], "one was given up for each of the last two");
    }
}
