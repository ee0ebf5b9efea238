//! How old the snapshot in an isolate may be, and who asks for a newer one.
//!
//! Pure: times come in, what to do comes out. Invariants: a request is decided by a snapshot that was the newest at most
//! [`STALE_MS`] before it came, unless the Durable Object does not answer: then the last good one serves. One request at a
//! time asks. From [`REFRESH_MS`] on that happens behind the answer, so an isolate with steady traffic never waits.

/// From this age on a newer snapshot is asked for behind the answer.
pub const REFRESH_MS: i64 = 500;
/// From this age on a request waits for the Durable Object. This is the bound that acknowledgements state.
pub const STALE_MS: i64 = 1000;
/// How long a request waits for it.
pub const PATIENCE_MS: i64 = 1000;
/// After it did not answer, requests do not wait again for so long.
const PAUSE_MS: i64 = 1000;
/// A question without an end after this time died with the request that asked it.
const DEAD_MS: i64 = 2 * PATIENCE_MS;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Uses what is held.
    Use,
    /// Uses what is held, and asks behind the answer.
    UseAndAsk,
    /// Asks, and waits for the end of it.
    AskAndWait,
    /// Waits for the end of another request's question.
    Wait,
}

/// What an isolate knows of its snapshot's age. Milliseconds of the isolate's clock.
#[derive(Debug, Default)]
pub struct Freshness {
    /// When the question began that was answered last: what is held was the newest then.
    confirmed: Option<i64>,
    /// When the question that has no end yet began.
    asking: Option<i64>,
    /// When a question last had no good answer.
    failed: Option<i64>,
}

impl Freshness {
    /// What a request that came now does.
    pub fn step(&self, now: i64) -> Step {
        let within = |since: Option<i64>, limit: i64| since.is_some_and(|since| now - since < limit);
        let is_asked = within(self.asking, DEAD_MS);
        if within(self.confirmed, REFRESH_MS) {
            Step::Use
        } else if within(self.confirmed, STALE_MS) {
            if is_asked || within(self.failed, REFRESH_MS) { Step::Use } else { Step::UseAndAsk }
        } else if within(self.failed, PAUSE_MS) {
            Step::Use
        } else if is_asked {
            Step::Wait
        } else {
            Step::AskAndWait
        }
    }

    /// A question begins.
    pub fn ask(&mut self, now: i64) {
        self.asking = Some(now);
    }

    /// The question that began then was answered: what is held was the newest then.
    pub fn confirm(&mut self, began: i64) {
        self.end(began);
        self.confirmed = Some(self.confirmed.map_or(began, |before| before.max(began)));
        self.failed = None;
    }

    /// The question that began then has no good answer.
    pub fn fail(&mut self, began: i64, now: i64) {
        self.end(began);
        self.failed = Some(now);
    }

    /// Whether a question is under way.
    pub fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    fn end(&mut self, began: i64) {
        // A newer question may be under way if this one was taken for dead.
        if self.asking == Some(began) {
            self.asking = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmed(at: i64) -> Freshness {
        let mut fresh = Freshness::default();
        fresh.ask(at);
        fresh.confirm(at);
        fresh
    }

    #[test]
    fn a_new_isolate_waits_and_only_its_first_request_asks() {
        let mut fresh = Freshness::default();
        assert_eq!(fresh.step(0), Step::AskAndWait);
        fresh.ask(0);
        assert_eq!(fresh.step(5), Step::Wait);
        fresh.confirm(0);
        assert_eq!(fresh.step(6), Step::Use);
    }

    #[test]
    fn with_steady_traffic_nobody_waits() {
        let mut fresh = confirmed(0);
        for now in 1..100_000 {
            match fresh.step(now) {
                Step::Use => {}
                Step::UseAndAsk => {
                    // Answered a quarter of a second later.
                    fresh.ask(now);
                }
                waits => panic!("{waits:?} at {now}"),
            }
            if let Some(began) = fresh.asking.filter(|began| now - began >= 250) {
                fresh.confirm(began);
            }
        }
    }

    #[test]
    fn what_is_used_was_the_newest_a_second_before() {
        let mut fresh = confirmed(0);
        assert_eq!(fresh.step(499), Step::Use);
        assert_eq!(fresh.step(500), Step::UseAndAsk);
        assert_eq!(fresh.step(1000), Step::AskAndWait);
        // An answer tells what was the newest when the question began, not when the answer came.
        fresh.ask(1000);
        fresh.confirm(1000);
        assert_eq!(fresh.step(1999), Step::UseAndAsk);
        assert_eq!(fresh.step(2000), Step::AskAndWait);
    }

    #[test]
    fn an_object_that_does_not_answer_makes_one_request_a_second_wait() {
        let mut fresh = confirmed(0);
        assert_eq!(fresh.step(5000), Step::AskAndWait);
        fresh.ask(5000);
        fresh.fail(5000, 6000);
        assert_eq!(fresh.step(6001), Step::Use);
        assert_eq!(fresh.step(6999), Step::Use);
        assert_eq!(fresh.step(7000), Step::AskAndWait);
        let mut empty = Freshness::default();
        empty.ask(0);
        empty.fail(0, 1000);
        assert_eq!(empty.step(1500), Step::Use, "also without any snapshot");
    }

    #[test]
    fn a_question_whose_request_died_is_asked_again() {
        let mut fresh = Freshness::default();
        fresh.ask(0);
        assert_eq!(fresh.step(DEAD_MS), Step::AskAndWait);
        fresh.ask(DEAD_MS);
        fresh.fail(0, DEAD_MS + 1);
        assert!(fresh.is_asking(), "the late end of the dead one ends nothing");
    }
}
