//! The local breaker: takes an edge's cohort off a failing candidate without asking anybody.
//!
//! A pure state machine for one candidate release. It decides only about the candidate; what serves instead (the active
//! release) and what counts as a failure (transport errors and 5xx) is the edge's affair. Time comes from the caller, in
//! milliseconds of any monotonic clock.

/// Failures in a row that open a breaker when the snapshot names no number.
pub const DEFAULT_CONSECUTIVE_FAILURES: u32 = 5;
/// Milliseconds that a breaker stays open the first time when the snapshot names no number.
pub const DEFAULT_OPEN_MS: u32 = 30_000;
/// The open time stops growing here: a candidate that was repaired is tried again within minutes.
const MAX_FACTOR: u32 = 10;
/// A trial whose outcome never came (the client went away) frees its place after this time.
const TRIAL_TIMEOUT_MS: u64 = 10_000;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Failures in a row that open it; 0 = never.
    pub consecutive_failures: u32,
    /// Milliseconds of the first opening; the n-th in a row lasts n times as long.
    pub open_ms: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { consecutive_failures: DEFAULT_CONSECUTIVE_FAILURES, open_ms: DEFAULT_OPEN_MS }
    }
}

/// What the breaker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The candidate serves its cohort.
    Closed,
    /// The active release serves the candidate's cohort.
    Open,
    /// One request at a time tries the candidate.
    HalfOpen,
}

impl Phase {
    /// `closed`, `open` or `half-open`: the name in logs, health and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// What to do with a request that the engine gave to the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Send it to the candidate.
    Pass,
    /// Send it to the candidate; its outcome decides whether the breaker closes.
    Trial,
    /// Send it to the active release.
    Divert,
}

/// How an exchange with the candidate ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response below 500.
    Success,
    /// A transport error, a timeout or a 5xx.
    Failure,
}

/// A change of phase that somebody should hear about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// The cohort goes to the active release for this many milliseconds.
    Opened {
        /// How long.
        for_ms: u64,
    },
    /// A trial succeeded: the candidate serves again.
    Closed,
}

/// What one edge knows about a candidate.
#[derive(Debug, Clone)]
pub struct Machine {
    policy: Policy,
    failures: u32,
    /// How many openings in a row, 0 before the first.
    openings: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// `since` is when it closed after an opening; `None` when it never opened.
    Closed {
        since: Option<u64>,
    },
    Open {
        until: u64,
    },
    HalfOpen {
        trial_until: Option<u64>,
    },
}

impl Machine {
    /// Closed, and without a failure.
    pub fn new(policy: Policy) -> Self {
        Self { policy, failures: 0, openings: 0, state: State::Closed { since: None } }
    }

    /// Follows a changed snapshot without forgetting what was learnt about the release.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Forgets what was learnt.
    pub fn reset(&mut self) {
        *self = Self::new(self.policy);
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// What it is doing, and until when if it is open. An open one whose time is over stays so until a request tries.
    pub fn phase(&self) -> (Phase, u64) {
        match self.state {
            State::Closed { .. } => (Phase::Closed, 0),
            State::Open { until } => (Phase::Open, until),
            State::HalfOpen { .. } => (Phase::HalfOpen, 0),
        }
    }

    fn open_ms(&self) -> u64 {
        u64::from(self.policy.open_ms) * u64::from(self.openings.clamp(1, MAX_FACTOR))
    }

    /// What to do with a request that the engine gave to the candidate.
    pub fn admit(&mut self, now: u64) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Pass,
            State::Open { until } if now < until => Admission::Divert,
            State::HalfOpen { trial_until: Some(until) } if now < until => Admission::Divert,
            State::Open { .. } | State::HalfOpen { .. } => {
                self.state = State::HalfOpen { trial_until: Some(now.saturating_add(TRIAL_TIMEOUT_MS)) };
                Admission::Trial
            }
        }
    }

    /// Learns from an exchange with the candidate. The caller reports the transition.
    pub fn record(&mut self, outcome: Outcome, now: u64) -> Option<Transition> {
        match (self.state, outcome) {
            (State::Closed { .. }, Outcome::Success) => {
                self.failures = 0;
                None
            }
            (State::Closed { since }, Outcome::Failure) => {
                self.failures = self.failures.saturating_add(1);
                let limit = self.policy.consecutive_failures;
                (limit > 0 && self.failures >= limit).then(|| self.open_from_closed(since, now))
            }
            // Also the late outcome of a request from before the opening: it is as fresh as a trial's.
            (State::HalfOpen { .. }, Outcome::Success) => {
                self.failures = 0;
                self.state = State::Closed { since: Some(now) };
                Some(Transition::Closed)
            }
            (State::HalfOpen { .. }, Outcome::Failure) => Some(self.open(now)),
            // Requests that were under way when it opened tell nothing new.
            (State::Open { .. }, _) => None,
        }
    }

    /// An opening soon after a close is one more in a row: a candidate that answers single trials
    /// but not its cohort must not get the short time again and again.
    fn open_from_closed(&mut self, since: Option<u64>, now: u64) -> Transition {
        let quiet_long_enough = since.is_none_or(|at| now.saturating_sub(at) >= self.open_ms());
        if quiet_long_enough {
            self.openings = 0;
        }
        self.open(now)
    }

    fn open(&mut self, now: u64) -> Transition {
        self.openings = self.openings.saturating_add(1);
        self.failures = 0;
        let for_ms = self.open_ms();
        self.state = State::Open { until: now.saturating_add(for_ms) };
        Transition::Opened { for_ms }
    }
}
