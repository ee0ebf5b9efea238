//! The breaker of a candidate, shared by all workers, so that a failure seen by one counts for all.
//!
//! Invariant: while it is closed and nothing fails, a request costs two relaxed loads and no write.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use edge_http::breaker::Machine;
pub use edge_http::breaker::{
    Admission, DEFAULT_CONSECUTIVE_FAILURES, DEFAULT_OPEN_MS, Outcome, Phase, Policy, Transition,
};

const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const HALF_OPEN: u8 = 2;

/// A breaker that all workers share.
#[derive(Debug)]
pub struct Breaker {
    /// Mirror of the machine's phase, so that the common case takes no lock.
    phase: AtomicU8,
    /// Mirror of the machine's failures, so that a success after a success writes nothing.
    failures: AtomicU32,
    open_until: AtomicU64,
    opened: AtomicU64,
    diverted: AtomicU64,
    machine: Mutex<Machine>,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: Policy) -> Self {
        Self {
            phase: AtomicU8::new(CLOSED),
            failures: AtomicU32::new(0),
            open_until: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            diverted: AtomicU64::new(0),
            machine: Mutex::new(Machine::new(policy)),
        }
    }

    /// Follows a changed snapshot without forgetting what was learnt about the release.
    pub fn set_policy(&self, policy: Policy) {
        self.with_machine(|machine| machine.set_policy(policy));
    }

    /// Forgets what was learnt: the release became the active one, or the candidate again.
    pub fn reset(&self) {
        self.with_machine(Machine::reset);
    }

    /// What to do with a request that the engine gave to the candidate.
    pub fn admit(&self, now_ms: u64) -> Admission {
        let admission = match self.phase.load(Ordering::Relaxed) {
            CLOSED => return Admission::Pass,
            OPEN if now_ms < self.open_until.load(Ordering::Relaxed) => Admission::Divert,
            _ => self.with_machine(|machine| machine.admit(now_ms)),
        };
        if admission == Admission::Divert {
            self.diverted.fetch_add(1, Ordering::Relaxed);
        }
        admission
    }

    /// Whether requests pass, without a look at the clock.
    pub fn is_closed(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == CLOSED
    }

    /// Whether a success would change anything; spares the caller a look at the clock.
    pub fn is_calm(&self) -> bool {
        self.failures.load(Ordering::Relaxed) == 0 && self.phase.load(Ordering::Relaxed) == CLOSED
    }

    /// Learns from an exchange with the candidate. The caller reports the transition.
    pub fn record(&self, outcome: Outcome, now_ms: u64) -> Option<Transition> {
        if outcome == Outcome::Success && self.is_calm() {
            return None;
        }
        let transition = self.with_machine(|machine| machine.record(outcome, now_ms));
        if matches!(transition, Some(Transition::Opened { .. })) {
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
        transition
    }

    /// What it is doing now. An open breaker whose time is over is half-open: the next request tries.
    pub fn phase(&self, now_ms: u64) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            CLOSED => Phase::Closed,
            OPEN if now_ms < self.open_until.load(Ordering::Relaxed) => Phase::Open,
            _ => Phase::HalfOpen,
        }
    }

    /// How often it opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// How many requests of the candidate's cohort the active release served because of it.
    pub fn diverted(&self) -> u64 {
        self.diverted.load(Ordering::Relaxed)
    }

    fn with_machine<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        // The machine is valid after every statement, so a panic elsewhere cannot have broken it.
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut machine);
        let (phase, until) = machine.phase();
        let phase = match phase {
            Phase::Closed => CLOSED,
            Phase::Open => OPEN,
            Phase::HalfOpen => HALF_OPEN,
        };
        self.failures.store(machine.failures(), Ordering::Relaxed);
        self.open_until.store(until, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { consecutive_failures: 5, open_ms: 30_000 };

    fn fail(breaker: &Breaker, times: u32, now: u64) -> Option<Transition> {
        (0..times).map(|_| breaker.record(Outcome::Failure, now)).last().flatten()
    }

    fn opened() -> Breaker {
        let breaker = Breaker::new(POLICY);
        assert_eq!(fail(&breaker, 5, 0), Some(Transition::Opened { for_ms: 30_000 }));
        breaker
    }

    #[test]
    fn four_failures_in_a_row_leave_the_candidate_serving() {
        let breaker = Breaker::new(POLICY);
        assert_eq!(fail(&breaker, 4, 0), None);
        assert_eq!(breaker.admit(0), Admission::Pass);
    }

    #[test]
    fn a_success_between_failures_starts_the_count_again() {
        let breaker = Breaker::new(POLICY);
        fail(&breaker, 4, 0);
        breaker.record(Outcome::Success, 0);
        assert_eq!(fail(&breaker, 4, 0), None);
        assert_eq!(breaker.phase(0), Phase::Closed);
    }

    #[test]
    fn the_fifth_failure_in_a_row_diverts_the_cohort_for_thirty_seconds() {
        let breaker = opened();
        assert_eq!(breaker.admit(0), Admission::Divert);
        assert_eq!(breaker.admit(29_999), Admission::Divert);
        assert_eq!(breaker.phase(29_999), Phase::Open);
        assert_eq!(breaker.diverted(), 2);
        assert_eq!(breaker.opened(), 1);
    }

    #[test]
    fn after_its_time_one_request_tries_and_the_others_are_still_diverted() {
        let breaker = opened();
        assert_eq!(breaker.phase(30_000), Phase::HalfOpen);
        assert_eq!(breaker.admit(30_000), Admission::Trial);
        assert_eq!(breaker.admit(30_001), Admission::Divert);
    }

    #[test]
    fn a_successful_trial_gives_the_cohort_back() {
        let breaker = opened();
        assert_eq!(breaker.admit(30_000), Admission::Trial);
        assert_eq!(breaker.record(Outcome::Success, 30_010), Some(Transition::Closed));
        assert_eq!(breaker.admit(30_011), Admission::Pass);
    }

    #[test]
    fn each_failed_trial_makes_the_next_opening_longer() {
        let breaker = opened();
        let mut now = 30_000;
        for n in 2..=4_u64 {
            assert_eq!(breaker.admit(now), Admission::Trial);
            assert_eq!(breaker.record(Outcome::Failure, now), Some(Transition::Opened { for_ms: n * 30_000 }));
            now += n * 30_000;
        }
    }

    #[test]
    fn the_open_time_stops_growing_at_ten_times() {
        let breaker = opened();
        let mut now = 30_000;
        let mut last = 0;
        for _ in 0..40 {
            assert_eq!(breaker.admit(now), Admission::Trial);
            match breaker.record(Outcome::Failure, now) {
                Some(Transition::Opened { for_ms }) => last = for_ms,
                other => panic!("a failed trial opens: {other:?}"),
            }
            now += last;
        }
        assert_eq!(last, 300_000);
    }

    #[test]
    fn opening_again_soon_after_a_close_counts_as_in_a_row() {
        let breaker = opened();
        breaker.admit(30_000);
        breaker.record(Outcome::Success, 30_000);
        assert_eq!(fail(&breaker, 5, 31_000), Some(Transition::Opened { for_ms: 60_000 }));
    }

    #[test]
    fn opening_after_a_quiet_time_starts_at_thirty_seconds_again() {
        let breaker = opened();
        breaker.admit(30_000);
        breaker.record(Outcome::Success, 30_000);
        assert_eq!(fail(&breaker, 5, 60_000), Some(Transition::Opened { for_ms: 30_000 }));
    }

    #[test]
    fn a_trial_without_an_outcome_frees_its_place_after_ten_seconds() {
        let breaker = opened();
        assert_eq!(breaker.admit(30_000), Admission::Trial);
        assert_eq!(breaker.admit(39_999), Admission::Divert);
        assert_eq!(breaker.admit(40_000), Admission::Trial);
    }

    #[test]
    fn a_reset_breaker_knows_nothing() {
        let breaker = opened();
        breaker.reset();
        assert_eq!(breaker.admit(1), Admission::Pass);
        assert_eq!(fail(&breaker, 5, 1), Some(Transition::Opened { for_ms: 30_000 }));
    }

    #[test]
    fn late_outcomes_of_older_requests_do_not_close_or_prolong_it() {
        let breaker = opened();
        assert_eq!(breaker.record(Outcome::Success, 10), None);
        assert_eq!(fail(&breaker, 50, 10), None);
        assert_eq!(breaker.phase(29_999), Phase::Open);
        assert_eq!(breaker.admit(30_000), Admission::Trial);
    }

    #[test]
    fn zero_failures_means_it_never_opens() {
        let breaker = Breaker::new(Policy { consecutive_failures: 0, open_ms: 30_000 });
        assert_eq!(fail(&breaker, 1_000, 0), None);
        assert_eq!(breaker.admit(0), Admission::Pass);
    }

    #[test]
    fn a_changed_policy_keeps_the_failures_already_seen() {
        let breaker = Breaker::new(POLICY);
        fail(&breaker, 4, 0);
        breaker.set_policy(Policy { consecutive_failures: 5, open_ms: 1_000 });
        assert_eq!(fail(&breaker, 1, 0), Some(Transition::Opened { for_ms: 1_000 }));
    }
}
