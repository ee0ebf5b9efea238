//! How long an exchange may wait, and for what.

use std::cell::Cell;
use std::task::Context;
use std::time::Duration;

use super::clock::{Exchange, Expired, Timer};
use super::state::Timeouts;

/// The deadlines of one exchange.
pub(super) struct Waits {
    timer: Timer,
    timeouts: Cell<Timeouts>,
    until_continue: Duration,
    /// Of the worker's coarse clock.
    total_at: Cell<u64>,
}

impl Waits {
    pub(super) fn new(timer: Timer, until_continue: Duration) -> Self {
        let none = Timeouts { connect: Duration::ZERO, read: Duration::ZERO, total: None };
        Self { timer, timeouts: Cell::new(none), until_continue, total_at: Cell::new(u64::MAX) }
    }

    /// Starts the clock for one release. A second release, that shields, gets its own time.
    pub(super) fn begin(&self, exchange: Exchange) {
        let timeouts = exchange.release.timeouts;
        self.timer.bind(exchange);
        self.timeouts.set(timeouts);
        let total = timeouts.total.and_then(|total| u64::try_from(total.as_millis()).ok());
        self.total_at.set(total.map_or(u64::MAX, |total| self.timer.now_ms().saturating_add(total)));
    }

    pub(super) fn arm_connect(&self) {
        self.arm(self.timeouts.get().connect);
    }

    pub(super) fn arm_read(&self) {
        self.arm(self.timeouts.get().read);
    }

    pub(super) fn arm_continue(&self) {
        self.arm(self.until_continue);
    }

    /// Arms, but never beyond the end of the whole exchange.
    pub(super) fn arm(&self, time: Duration) {
        match self.total_at.get() {
            u64::MAX => self.timer.arm(time),
            total => {
                let left = Duration::from_millis(total.saturating_sub(self.timer.now_ms()));
                self.timer.arm(time.min(left));
            }
        }
    }

    /// Gives a client that takes no bytes so long before its connection is ended.
    pub(super) fn arm_stall(&self, time: Duration) {
        self.timer.arm_fatal(time);
    }

    pub(super) fn disarm(&self) {
        self.timer.disarm();
    }

    /// Whether the time for the whole exchange is over.
    pub(super) fn is_over(&self) -> bool {
        self.timer.now_ms() >= self.total_at.get()
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.timer.now_ms()
    }

    pub(super) fn expired(&self, cx: &Context<'_>) -> Option<Expired> {
        self.timer.expired(cx)
    }
}
