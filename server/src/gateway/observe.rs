//! What units met, kept for the control plane's verdict: the first failure of each, the first answer that was slower than
//! before, and of every sixteenth unit that it came at all.
//!
//! One board per environment, shared by all workers. Invariant: a request that went well and was not slow costs two relaxed
//! loads and no write; what a board keeps is bounded, and what finds no room is dropped without a look at which release it
//! was, so that no release looks better for it. Which unit a request is of is worked out in `unit`, only when it matters.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use admin_api::edge::{
    Exposed, Failure, FirstBad, LATENCY_BOUNDS_US, LEAST_THRESHOLD_MS, MOST_EXPOSED, MOST_FIRST_BAD,
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::scope::Scope;

pub(super) mod unit;

/// Units that are remembered as told. When they are more, all are forgotten: telling one again changes nothing.
const MOST_REMEMBERED: usize = 65_536;
/// An answer is slow when at most this share of the active release's answers take longer.
const TAIL: f64 = 0.1;
/// How much of what was learnt about latency is left at the next report: half of it after some ten seconds.
const KEPT: f64 = 0.87;
/// The buckets of latencies.
pub type Buckets = [u64; LATENCY_BOUNDS_US.len() + 1];

/// A unit whose release was chosen by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its name in reports.
    pub unit: u64,
    /// Whether the candidate was chosen.
    pub is_candidate: bool,
    /// The candidate's configured share here, in millionths.
    pub weight: u32,
}

/// The board of one environment.
#[derive(Debug, Default)]
pub struct Observations {
    /// Whether a control plane asks for it.
    is_wanted: AtomicBool,
    /// From how many microseconds on an answer is slow.
    slow_from_us: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By which salt units are named.
    salt: Box<str>,
    /// What was told of a unit at a release: both hashed.
    told: FxHashMap<u64, Told>,
    bad: Vec<FirstBad>,
    exposed: FxHashSet<u64>,
    new: Vec<Exposed>,
    /// The active release, and its latencies: all so far, and the recent ones.
    active: Box<str>,
    latency: (Buckets, [f64; LATENCY_BOUNDS_US.len() + 1]),
}

/// What was told of a unit.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    failure: bool,
    client_error: bool,
    /// How many bounds its slowest answer exceeded.
    bounds: u8,
}

impl Observations {
    /// Follows a new snapshot: units have other names under another salt, and while nothing is split, nothing is compared,
    /// so that a later rollout begins with nobody told.
    pub(super) fn follow(&self, active: &str, salt: &str, splits: bool) {
        let mut inner = self.lock();
        if *inner.active != *active {
            inner.active = active.into();
            inner.latency = Default::default();
        }
        if !splits || *inner.salt != *salt {
            inner.told.clear();
            inner.exposed.clear();
        }
        if *inner.salt != *salt {
            inner.salt = salt.into();
            inner.bad.clear();
            inner.new.clear();
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    /// Whether an answer that took this long says something about latency.
    pub(super) fn is_slow(&self, elapsed: Duration) -> bool {
        let least = u64::from(LEAST_THRESHOLD_MS) * 1000;
        elapsed.as_micros() > u128::from(self.slow_from_us.load(Ordering::Relaxed).max(least))
    }

    /// The hash sent a unit to a release.
    pub(super) fn exposed(&self, seen: Seen) {
        let mut inner = self.lock();
        if inner.exposed.len() >= MOST_REMEMBERED {
            inner.exposed.clear();
        }
        if inner.new.len() < MOST_EXPOSED && inner.exposed.insert(seen.unit) {
            let Seen { unit, is_candidate, weight } = seen;
            inner.new.push(Exposed { unit: name(unit), is_candidate, weight });
        }
    }

    /// A unit met a failure of this release.
    pub(super) fn failed(&self, seen: Seen, release: &str, failure: Failure) {
        self.tell(seen, release, failure, None, |told| match failure {
            Failure::ClientError => !std::mem::replace(&mut told.client_error, true),
            _ => !std::mem::replace(&mut told.failure, true),
        });
    }

    /// A unit was answered by this release after this long.
    pub(super) fn slow(&self, seen: Seen, release: &str, elapsed: Duration) {
        let exceeded = LATENCY_BOUNDS_US.partition_point(|bound| u128::from(*bound) < elapsed.as_micros());
        let Some(bound) = exceeded.checked_sub(1).and_then(|index| LATENCY_BOUNDS_US.get(index)) else { return };
        let slower_than_ms = u32::try_from(bound / 1000).ok();
        self.tell(seen, release, Failure::Slow, slower_than_ms, |told| {
            let bounds = u8::try_from(exceeded).unwrap_or(u8::MAX);
            let is_slower = told.bounds < bounds;
            told.bounds = told.bounds.max(bounds);
            is_slower
        });
    }

    fn tell(
        &self,
        seen: Seen,
        release: &str,
        failure: Failure,
        slower_than_ms: Option<u32>,
        is_new: impl FnOnce(&mut Told) -> bool,
    ) {
        let mut inner = self.lock();
        if inner.bad.len() >= MOST_FIRST_BAD {
            return;
        }
        if inner.told.len() >= MOST_REMEMBERED {
            inner.told.clear();
        }
        // The hash of the unit is as good as random; the release turns it.
        let place = release.bytes().fold(seen.unit, |hash, byte| hash.rotate_left(5) ^ u64::from(byte));
        if is_new(inner.told.entry(place).or_default()) {
            let Seen { unit, is_candidate, weight } = seen;
            let release = release.to_owned();
            inner.bad.push(FirstBad { unit: name(unit), release, is_candidate, weight, failure, slower_than_ms });
        }
    }

    /// Learns where the tail of the active release's latencies begins, from all that a release has so far.
    pub fn learn<'b>(&self, so_far: impl FnOnce(&str) -> Option<&'b Buckets>) {
        let mut inner = self.lock();
        let Some(so_far) = so_far(&inner.active) else { return };
        let (before, recent) = &mut inner.latency;
        for ((recent, before), now) in recent.iter_mut().zip(before.iter_mut()).zip(so_far) {
            #[expect(clippy::cast_precision_loss, reason = "requests between two reports are far below 2^52")]
            let new = now.saturating_sub(*before) as f64;
            *recent = *recent * KEPT + new;
            *before = *now;
        }
        self.slow_from_us.store(tail_from(recent), Ordering::Relaxed);
    }

    /// What units met since the last time.
    pub fn take(&self) -> (Vec<FirstBad>, Vec<Exposed>) {
        let mut inner = self.lock();
        (std::mem::take(&mut inner.bad), std::mem::take(&mut inner.new))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in it is ever half-changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lowest bound that at most the tail exceeds.
fn tail_from(recent: &[f64; LATENCY_BOUNDS_US.len() + 1]) -> u64 {
    let all: f64 = recent.iter().sum();
    let mut above = all;
    for (count, bound) in recent.iter().zip(LATENCY_BOUNDS_US) {
        above -= count;
        if above <= all * TAIL {
            return bound;
        }
    }
    LATENCY_BOUNDS_US[LATENCY_BOUNDS_US.len() - 1]
}

fn name(unit: u64) -> String {
    format!("{unit:016x}")
}

/// The boards of all environments.
#[derive(Debug, Default)]
pub struct Boards {
    is_wanted: AtomicBool,
    boards: Mutex<HashMap<Scope, Arc<Observations>>>,
}

impl Boards {
    /// The board of an environment; the same one for as long as the process runs.
    pub fn of(&self, scope: Scope) -> Arc<Observations> {
        let mut boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        let board = boards.entry(scope).or_default();
        board.is_wanted.store(self.is_wanted.load(Ordering::Relaxed), Ordering::Relaxed);
        Arc::clone(board)
    }

    /// A control plane is followed: from now on somebody takes what is there.
    pub fn want(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
        let boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        boards.values().for_each(|board| board.is_wanted.store(true, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn seen(unit: u64) -> Seen {
        Seen { unit, is_candidate: true, weight: 50_000 }
    }

    fn told(board: &Observations) -> Vec<(String, Failure, Option<u32>)> {
        board.take().0.into_iter().map(|bad| (bad.unit, bad.failure, bad.slower_than_ms)).collect()
    }

    #[test]
    fn a_unit_is_told_once_for_each_release_and_kind_of_failure() {
        let board = Observations::default();
        for failure in [Failure::Status, Failure::Transport, Failure::ClientError, Failure::ClientError] {
            board.failed(seen(7), "web-2", failure);
        }
        board.failed(seen(7), "web-1", Failure::Timeout);
        let seven = || "0000000000000007".to_owned();
        let expected =
            [Failure::Status, Failure::ClientError, Failure::Timeout].map(|failure| (seven(), failure, None));
        assert_eq!(told(&board), expected);
        board.failed(seen(7), "web-2", Failure::Status);
        assert_eq!(told(&board), [], "also after a report");
    }

    #[test]
    fn a_unit_is_told_again_when_it_is_slower_than_before() {
        let board = Observations::default();
        for elapsed in [30, 40, 20_000, 60, 3000] {
            board.slow(seen(1), "web-2", MS * elapsed);
        }
        let slow = |ms| ("0000000000000001".to_owned(), Failure::Slow, Some(ms));
        assert_eq!(told(&board), [slow(25), slow(10_000)]);
        board.slow(seen(2), "web-2", MS / 2);
        assert_eq!(told(&board), [], "below every bound");
    }

    #[test]
    fn slow_is_what_a_tenth_of_the_active_release_exceeds() {
        let board = Observations::default();
        board.follow("web-1", "", false);
        assert!(board.is_slow(26 * MS) && !board.is_slow(25 * MS), "nothing is known");
        let mut buckets = Buckets::default();
        (buckets[0], buckets[8], buckets[16]) = (50, 41, 9);
        board.learn(|release| (release == "web-1").then_some(&buckets));
        assert!(!board.is_slow(250 * MS) && board.is_slow(251 * MS));
        // From now on everything takes less than a millisecond.
        for round in 1..=40 {
            buckets[0] = 50 + round * 100;
            board.learn(|_| Some(&buckets));
        }
        assert!(board.is_slow(26 * MS));
        board.follow("web-2", "", false);
        let mut slow = Buckets::default();
        slow[17] = 5;
        board.learn(|_| Some(&slow));
        assert!(!board.is_slow(10_000 * MS), "another release");
    }

    #[test]
    fn what_a_board_keeps_is_bounded() {
        let board = Observations::default();
        for unit in 0..200_000 {
            board.failed(seen(unit), "web-2", Failure::Status);
            board.exposed(seen(unit));
        }
        let (bad, exposed) = board.take();
        assert_eq!((bad.len(), exposed.len()), (MOST_FIRST_BAD, MOST_EXPOSED));
        assert!(board.lock().told.len() <= MOST_REMEMBERED);
        // What found no room is told when it comes again.
        board.failed(seen(150_000), "web-2", Failure::Status);
        assert_eq!(told(&board).len(), 1);
    }

    #[test]
    fn a_rollout_begins_with_nobody_told() {
        let board = Observations::default();
        board.follow("web-1", "web-2", true);
        board.failed(seen(1), "web-2", Failure::Status);
        board.exposed(seen(1));
        board.follow("web-1", "web-2", true);
        board.failed(seen(1), "web-2", Failure::Status);
        assert_eq!(told(&board).len(), 1, "another weight of the same rollout");
        board.follow("web-1", "web-2", false);
        board.follow("web-1", "web-2", true);
        board.failed(seen(1), "web-2", Failure::Status);
        board.exposed(seen(1));
        assert_eq!(board.take().1.len(), 1, "another rollout");
        board.failed(seen(1), "web-3", Failure::Status);
        board.follow("web-1", "web-3", true);
        assert_eq!(told(&board), [], "named by the salt of before");
    }
}
