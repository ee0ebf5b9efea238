//! What units met at this isolate, for the control plane's verdict: what gateways keep too, for as long as an isolate lives.
//!
//! Pure. Invariant: what it keeps is bounded, and what finds no room is dropped without a look at which release it was,
//! so that no release looks better for it.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

use admin_api::edge::{
    Exposed, Failure, FirstBad, LATENCY_BOUNDS_US, LEAST_THRESHOLD_MS, MOST_EXPOSED, MOST_FIRST_BAD,
};

/// Units that are remembered as told; then some are told again, which changes nothing.
const MOST_REMEMBERED: usize = 10_000;
/// An answer is slow when at most this share of the active release's answers take longer.
const TAIL: f64 = 0.1;
/// After this long half of what was learnt about latency is left.
const HALF_LIFE_MS: u64 = 10_000;
/// How many latency buckets there are.
pub const BUCKETS: usize = LATENCY_BOUNDS_US.len() + 1;

/// A unit whose release was chosen by its hash.
#[derive(Debug, Clone, Copy)]
pub struct Unit {
    /// Its name in reports.
    pub hash: u64,
    /// Whether the candidate was chosen.
    pub is_candidate: bool,
    /// The candidate's configured share, in millionths.
    pub weight: u32,
}

/// What was not told yet, and what was.
#[derive(Debug, Default)]
pub struct Board {
    /// By which salt units are named.
    salt: String,
    /// The active release, whose latencies say what is slow.
    active: String,
    /// For a unit, a release and a kind of failure, hashed together: how bad was the worst that was told.
    told: HashMap<u64, u8, BuildHasherDefault<Plain>>,
    bad: Vec<FirstBad>,
    seen: HashSet<u64, BuildHasherDefault<Plain>>,
    new: Vec<Exposed>,
    /// The active release's answers of late, by latency.
    recent: [f64; BUCKETS],
}

/// In which bucket an answer is that took this long.
pub fn bucket(elapsed_us: u64) -> usize {
    LATENCY_BOUNDS_US.partition_point(|bound| *bound < elapsed_us)
}

impl Board {
    /// Follows a snapshot: under another salt units have other names, and a rollout begins with nobody told.
    pub fn follow(&mut self, active: &str, salt: &str, splits: bool) {
        let is_renamed = self.salt != salt;
        if is_renamed {
            salt.clone_into(&mut self.salt);
            self.bad.clear();
            self.new.clear();
        }
        if is_renamed || !splits {
            self.told.clear();
            self.seen.clear();
        }
        if self.active != active {
            active.clone_into(&mut self.active);
            self.recent = [0.0; BUCKETS];
        }
    }

    /// The hash sent a unit of the sample to a release.
    pub fn exposed(&mut self, unit: Unit) {
        if self.seen.len() >= MOST_REMEMBERED {
            self.seen.clear();
        }
        if self.new.len() < MOST_EXPOSED && self.seen.insert(unit.hash) {
            let Unit { is_candidate, weight, .. } = unit;
            self.new.push(Exposed { unit: name(unit), is_candidate, weight });
        }
    }

    /// A unit met a failure of this release.
    pub fn failed(&mut self, unit: Unit, release: &str, failure: Failure) {
        let kind = if failure == Failure::ClientError { b'c' } else { b'f' };
        if self.is_worse(unit, release, kind, 1) {
            self.tell(unit, release, failure, None);
        }
    }

    /// A unit was answered by this release after this long.
    pub fn answered(&mut self, unit: Unit, release: &str, elapsed_us: u64) {
        if elapsed_us <= self.slow_from_us() {
            return;
        }
        let exceeded = bucket(elapsed_us);
        let Some(bound) = exceeded.checked_sub(1).and_then(|index| LATENCY_BOUNDS_US.get(index)) else { return };
        let slower_than_ms = u32::try_from(bound / 1000).ok();
        if self.is_worse(unit, release, b's', u8::try_from(exceeded).unwrap_or(u8::MAX)) {
            self.tell(unit, release, Failure::Slow, slower_than_ms);
        }
    }

    /// Whether this is worse than what was told of the unit; it is remembered then.
    fn is_worse(&mut self, unit: Unit, release: &str, kind: u8, how: u8) -> bool {
        if self.bad.len() >= MOST_FIRST_BAD {
            return false;
        }
        if self.told.len() >= MOST_REMEMBERED {
            self.told.clear();
        }
        // The hash of the unit is as good as random; release and kind turn it.
        let turn = |hash: u64, byte| hash.rotate_left(5) ^ u64::from(byte);
        let known = self.told.entry(release.bytes().chain([kind]).fold(unit.hash, turn)).or_default();
        let is_worse = *known < how;
        *known = how.max(*known);
        is_worse
    }

    fn tell(&mut self, unit: Unit, release: &str, failure: Failure, slower_than_ms: Option<u32>) {
        let Unit { is_candidate, weight, .. } = unit;
        let (unit, release) = (name(unit), release.to_owned());
        self.bad.push(FirstBad { unit, release, is_candidate, weight, failure, slower_than_ms });
    }

    /// Learns from the active release's latencies since the last time, which is so long ago.
    pub fn learn(&mut self, latency_of: impl FnOnce(&str) -> Option<[u64; BUCKETS]>, covers_ms: u64) {
        let new = latency_of(&self.active).unwrap_or_default();
        let kept = if covers_ms < HALF_LIFE_MS { 1.0 - share(covers_ms, 2 * HALF_LIFE_MS) } else { 0.5 };
        for (recent, new) in self.recent.iter_mut().zip(new) {
            *recent = *recent * kept + share(new, 1);
        }
    }

    /// The lowest bound that at most the tail of the active release's answers exceeds.
    fn slow_from_us(&self) -> u64 {
        let all: f64 = self.recent.iter().sum();
        let mut above = all;
        let mut bounds = self.recent.iter().zip(LATENCY_BOUNDS_US).filter_map(|(count, bound)| {
            above -= count;
            (above <= all * TAIL).then_some(bound)
        });
        let highest = LATENCY_BOUNDS_US.last().copied().unwrap_or(u64::MAX);
        bounds.next().unwrap_or(highest).max(u64::from(LEAST_THRESHOLD_MS) * 1000)
    }

    /// Whether units met what a verdict waits for: answers from 400 to 499 can wait.
    pub fn is_urgent(&self) -> bool {
        self.bad.iter().any(|bad| bad.failure != Failure::ClientError)
    }

    /// What units met since the last time.
    pub fn take(&mut self) -> (Vec<FirstBad>, Vec<Exposed>) {
        (std::mem::take(&mut self.bad), std::mem::take(&mut self.new))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and times between two reports are far below 2^52")]
fn share(of: u64, all: u64) -> f64 {
    of as f64 / all as f64
}

fn name(unit: Unit) -> String {
    format!("{:016x}", unit.hash)
}

/// Takes what is hashed already as it is.
#[derive(Debug, Default)]
struct Plain(u64);

impl std::hash::Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(hash: u64) -> Unit {
        Unit { hash, is_candidate: true, weight: 50_000 }
    }

    fn told(board: &mut Board) -> Vec<(Failure, Option<u32>)> {
        board.take().0.into_iter().map(|bad| (bad.failure, bad.slower_than_ms)).collect()
    }

    #[test]
    fn each_release_and_kind_of_failure_is_told_once_of_a_unit() {
        let mut board = Board::default();
        for failure in [Failure::ClientError, Failure::Status, Failure::Transport, Failure::ClientError] {
            board.failed(unit(7), "web-2", failure);
        }
        board.failed(unit(7), "web-1", Failure::Timeout);
        assert!(board.is_urgent());
        let first = [Failure::ClientError, Failure::Status, Failure::Timeout].map(|failure| (failure, None));
        assert_eq!(told(&mut board), first);
        board.failed(unit(7), "web-2", Failure::Transport);
        board.failed(unit(8), "web-2", Failure::ClientError);
        assert!(!board.is_urgent());
        assert_eq!(told(&mut board), [(Failure::ClientError, None)], "also after a report");
    }

    #[test]
    fn slow_is_what_few_answers_of_the_active_release_are_and_slower_is_told_again() {
        let mut board = Board::default();
        board.follow("web-1", "s", true);
        for ms in [20, 30, 40, 3000, 60] {
            board.answered(unit(1), "web-2", ms * 1000);
        }
        assert_eq!(told(&mut board), [(Failure::Slow, Some(25)), (Failure::Slow, Some(2500))]);
        let mut latency = [0; BUCKETS];
        (latency[bucket(1)], latency[bucket(200_000)], latency[bucket(20_000_000)]) = (50, 41, 9);
        board.learn(|release| (release == "web-1").then_some(latency), 10_000);
        board.answered(unit(2), "web-2", 250_000);
        assert_eq!(told(&mut board), []);
        board.answered(unit(2), "web-2", 251_000);
        assert_eq!(told(&mut board), [(Failure::Slow, Some(250))]);
        board.follow("web-2", "s", true);
        board.answered(unit(3), "web-2", 26_000);
        assert_eq!(told(&mut board), [(Failure::Slow, Some(25))], "nothing is known of the new one");
    }

    #[test]
    fn what_was_learnt_of_latency_fades_as_time_goes_by() {
        let mut slow = [0; BUCKETS];
        slow[bucket(900_000)] = 1000;
        let mut board = Board::default();
        board.learn(|_| Some(slow), 2000);
        assert_eq!(board.slow_from_us(), 1_000_000);
        for _ in 0..12 {
            let mut fast = [0; BUCKETS];
            fast[0] = 100;
            board.learn(|_| Some(fast), 10_000);
        }
        assert_eq!(board.slow_from_us(), 25_000);
    }

    #[test]
    fn a_board_is_bounded_and_a_rollout_begins_with_nobody_told() {
        let mut board = Board::default();
        board.follow("web-1", "web-2", true);
        for hash in 0..30_000 {
            board.failed(unit(hash), "web-2", Failure::Status);
            board.exposed(unit(hash));
        }
        let (bad, new) = board.take();
        assert_eq!((bad.len(), new.len()), (MOST_FIRST_BAD, MOST_EXPOSED));
        assert!(board.told.len() <= MOST_REMEMBERED && board.seen.len() <= MOST_REMEMBERED);
        board.exposed(unit(1));
        board.failed(unit(1), "web-2", Failure::Status);
        assert_eq!((told(&mut board).len(), board.take().1.len()), (0, 0), "told before");
        board.follow("web-1", "web-2", false);
        board.exposed(unit(1));
        board.failed(unit(1), "web-2", Failure::Status);
        let (bad, new) = board.take();
        assert_eq!((bad.len(), new.len()), (1, 1));
        board.failed(unit(2), "web-2", Failure::Status);
        board.follow("web-1", "web-3", true);
        assert_eq!(told(&mut board), [], "named by the salt of before");
    }
}
