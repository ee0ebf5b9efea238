//! The deadlines of one worker: a coarse clock and a table instead of a timer per wait.
//!
//! Every connection and every exchange owns a row; arming it is a store, and one ticker per worker
//! looks at the table every [`TICK`]. That costs nothing per request where a timer wheel would cost
//! two insertions, and 10 000 idle connections are 80 KB to scan. Deadlines are late by at most
//! one tick and never early. It decides nothing: whoever owns the row is woken and looks.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use edge_engine::RouteReason;
use tokio::sync::Notify;

use super::metrics::Event;
use super::state::ReleaseRoute;

/// How late a deadline may be noticed.
pub(super) const TICK: Duration = Duration::from_millis(25);
/// An owner that did not react for this long is blocked elsewhere, e.g. on a client that takes no
/// bytes: its stream or connection is ended.
const KILL_AFTER_MS: u64 = 1_000;
const NEVER: u64 = u64::MAX;

/// A worker's deadlines.
pub(super) struct Deadlines {
    start: Instant,
    now: Cell<u64>,
    rows: RefCell<Rows>,
    armed: Cell<usize>,
    some_armed: Notify,
}

#[derive(Default)]
struct Rows {
    /// The sooner of both deadlines of a row; apart from the rest because it is scanned.
    due: Vec<u64>,
    rest: Vec<Row>,
    free: Vec<u32>,
}

struct Row {
    soft: u64,
    hard: u64,
    /// The owner may be unable to react, because a client takes no bytes.
    is_fatal: bool,
    waker: Option<Waker>,
    exchange: Option<Exchange>,
    lifeline: Option<Rc<Lifeline>>,
}

impl Row {
    /// Which deadline the owner has not reacted to for so long that it never will.
    fn outlived(&self, now: u64) -> Option<Killed> {
        let is_long_over = |deadline: u64| deadline.saturating_add(KILL_AFTER_MS) <= now;
        match () {
            () if is_long_over(self.hard) => Some(Killed::RolledBack),
            () if self.is_fatal && is_long_over(self.soft) => Some(Killed::Stalled),
            () => None,
        }
    }
}

/// How an exchange came to its release: what decides whether it may stay there.
#[derive(Clone)]
pub(super) struct Exchange {
    pub(super) release: Arc<ReleaseRoute>,
    pub(super) reason: RouteReason,
    pub(super) while_active: bool,
}

/// A client connection, or one HTTP/2 stream of it, as far as others may end it.
#[derive(Debug, Default)]
pub(super) struct Lifeline {
    killed: Cell<Option<Killed>>,
    waker: RefCell<Option<Waker>>,
}

/// Why it was ended by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Killed {
    /// The client took no bytes for too long.
    Stalled,
    /// The grace after a rollback was over, and the owner could not react.
    RolledBack,
}

impl Killed {
    /// How it is counted.
    pub(super) fn event(self) -> Event {
        match self {
            Self::Stalled => Event::WriteTimeout,
            Self::RolledBack => Event::RolledBack,
        }
    }
}

impl Lifeline {
    /// Ends it at once, whatever it does.
    fn kill(&self, why: Killed) {
        self.killed.set(Some(why));
        self.wake();
    }

    /// Has its task look around.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether it was ended, and why; otherwise the task is woken when it is.
    pub(super) fn killed(&self, cx: &Context<'_>) -> Option<Killed> {
        if self.killed.get().is_none() {
            remember(&mut self.waker.borrow_mut(), cx);
        }
        self.killed.get()
    }

    /// Polls the work until it is done, or until it is ended from outside: then why.
    pub(super) async fn until_killed(&self, mut work: Pin<&mut impl Future<Output = ()>>) -> Option<Killed> {
        std::future::poll_fn(|cx| match self.killed(cx) {
            Some(why) => Poll::Ready(Some(why)),
            None => work.as_mut().poll(cx).map(|()| None),
        })
        .await
    }
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *slot = Some(cx.waker().clone());
    }
}

/// What has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// The deadline that the owner armed.
    Deadline,
    /// The grace after a rollback.
    RolledBack,
}

impl Deadlines {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            start: Instant::now(),
            now: Cell::new(0),
            rows: RefCell::default(),
            armed: Cell::new(0),
            some_armed: Notify::new(),
        })
    }

    /// Looks at the table for ever.
    pub(super) async fn run(&self) {
        loop {
            while self.armed.get() == 0 {
                self.some_armed.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.set_now(Instant::now());
            self.scan();
        }
    }

    /// Moves the coarse clock to an instant that was just read anyway.
    pub(super) fn set_now(&self, now: Instant) {
        let millis = u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(NEVER - 1);
        if millis > self.now.get() {
            self.now.set(millis);
        }
    }

    /// Milliseconds of the coarse clock.
    pub(super) fn now_ms(&self) -> u64 {
        self.now.get()
    }

    /// A new row, disarmed. The lifeline is cut when the row's owner does not react.
    pub(super) fn timer(self: &Rc<Self>, lifeline: Option<Rc<Lifeline>>) -> Timer {
        let mut rows = self.rows.borrow_mut();
        let fresh = Row { soft: NEVER, hard: NEVER, is_fatal: false, waker: None, exchange: None, lifeline };
        let row = if let Some(row) = rows.free.pop() {
            rows.rest[row as usize] = fresh;
            row
        } else {
            rows.due.push(NEVER);
            rows.rest.push(fresh);
            u32::try_from(rows.rest.len() - 1).expect("fewer rows than descriptors")
        };
        Timer { deadlines: Rc::clone(self), row }
    }

    /// Gives every exchange that `is_over` its release's grace, and no more.
    pub(super) fn end_exchanges(&self, is_over: impl Fn(&Exchange) -> bool) {
        self.set_now(Instant::now());
        let mut rows = self.rows.borrow_mut();
        for at in 0..rows.rest.len() {
            let row = &rows.rest[at];
            if let Some(exchange) = &row.exchange
                && row.hard == NEVER
                && is_over(exchange)
            {
                let hard = self.after(exchange.release.grace);
                rows.rest[at].hard = hard;
                self.refresh(&mut rows, at);
            }
        }
    }

    fn scan(&self) {
        let now = self.now.get();
        let mut rows = self.rows.borrow_mut();
        let rows = &mut *rows;
        for (due, row) in rows.due.iter().zip(&mut rows.rest) {
            if *due > now {
                continue;
            }
            if let Some(waker) = row.waker.take() {
                waker.wake();
            }
            if let Some(lifeline) = &row.lifeline
                && let Some(why) = row.outlived(now)
            {
                lifeline.kill(why);
            }
        }
    }

    fn after(&self, time: Duration) -> u64 {
        // One more millisecond, because the coarse clock has dropped a fraction: never early.
        self.now.get().saturating_add(u64::try_from(time.as_millis()).unwrap_or(NEVER)).saturating_add(1).min(NEVER - 1)
    }

    fn refresh(&self, rows: &mut Rows, at: usize) {
        let due = rows.rest[at].soft.min(rows.rest[at].hard);
        let was_armed = rows.due[at] != NEVER;
        rows.due[at] = due;
        let is_armed = due != NEVER;
        let armed = self.armed.get() + usize::from(is_armed) - usize::from(was_armed);
        if self.armed.replace(armed) == 0 && armed > 0 {
            self.some_armed.notify_one();
        }
    }
}

/// A row of the table; given back on drop.
pub(super) struct Timer {
    deadlines: Rc<Deadlines>,
    row: u32,
}

impl Timer {
    /// Sets the deadline anew.
    pub(super) fn arm(&self, after: Duration) {
        if self.deadlines.armed.get() == 0 {
            // The ticker rests, so the coarse clock is old.
            self.deadlines.set_now(Instant::now());
        }
        let soft = self.deadlines.after(after);
        self.set(|row| (row.soft, row.is_fatal) = (soft, false));
    }

    /// Takes the deadline away.
    pub(super) fn disarm(&self) {
        self.set(|row| row.soft = NEVER);
    }

    /// Ties the row to a release, so that a rollback can end it.
    pub(super) fn bind(&self, exchange: Exchange) {
        self.deadlines.rows.borrow_mut().rest[self.row as usize].exchange = Some(exchange);
    }

    /// Milliseconds of the worker's coarse clock.
    pub(super) fn now_ms(&self) -> u64 {
        self.deadlines.now.get()
    }

    /// Sets the deadline; unlike [`Timer::arm`], an owner that does not react is ended.
    pub(super) fn arm_fatal(&self, after: Duration) {
        self.arm(after);
        self.set(|row| row.is_fatal = true);
    }

    /// What has passed; if nothing, the task is woken when something does.
    pub(super) fn expired(&self, cx: &Context<'_>) -> Option<Expired> {
        let mut rows = self.deadlines.rows.borrow_mut();
        let now = self.deadlines.now.get();
        let row = &mut rows.rest[self.row as usize];
        if row.hard <= now {
            return Some(Expired::RolledBack);
        }
        if row.soft <= now {
            return Some(Expired::Deadline);
        }
        remember(&mut row.waker, cx);
        None
    }

    fn set(&self, change: impl FnOnce(&mut Row)) {
        let mut rows = self.deadlines.rows.borrow_mut();
        change(&mut rows.rest[self.row as usize]);
        self.deadlines.refresh(&mut rows, self.row as usize);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.set(|row| {
            *row = Row { soft: NEVER, hard: NEVER, is_fatal: false, waker: None, exchange: None, lifeline: None };
        });
        self.deadlines.rows.borrow_mut().free.push(self.row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local<F: Future>(test: impl FnOnce(Rc<Deadlines>) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let deadlines = Deadlines::new();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let ticker = Rc::clone(&deadlines);
            tokio::task::spawn_local(async move { ticker.run().await });
            test(deadlines).await
        })
    }

    async fn expiry(timer: &Timer) -> Expired {
        std::future::poll_fn(|cx| timer.expired(cx).map_or(Poll::Pending, Poll::Ready)).await
    }

    #[test]
    fn a_deadline_is_never_early_and_at_most_a_tick_or_two_late() {
        local(|deadlines| async move {
            let timer = deadlines.timer(None);
            let from = Instant::now();
            timer.arm(Duration::from_millis(60));
            assert_eq!(expiry(&timer).await, Expired::Deadline);
            assert!(from.elapsed() >= Duration::from_millis(60), "{:?}", from.elapsed());
        });
    }

    #[test]
    fn an_owner_that_does_not_react_is_ended() {
        local(|deadlines| async move {
            let lifeline = Rc::new(Lifeline::default());
            let timer = deadlines.timer(Some(Rc::clone(&lifeline)));
            timer.arm_fatal(Duration::ZERO);
            let work = std::pin::pin!(std::future::pending());
            assert_eq!(lifeline.until_killed(work).await, Some(Killed::Stalled));
            drop(timer);
            assert_eq!(deadlines.armed.get(), 0);
        });
    }

    #[test]
    fn a_row_that_was_given_back_is_disarmed_and_used_again() {
        local(|deadlines| async move {
            let first = deadlines.timer(None);
            first.arm(Duration::ZERO);
            drop(first);
            assert_eq!(deadlines.armed.get(), 0);
            let second = deadlines.timer(None);
            let expired = std::future::poll_fn(|cx| Poll::Ready(second.expired(cx))).await;
            assert_eq!(expired, None);
            assert_eq!(deadlines.rows.borrow().rest.len(), 1);
        });
    }
}
