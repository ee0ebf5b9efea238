//! What the two halves of a client connection tell each other: the byte stream and its gate on one
//! side, the requests that the parser made of it on the other.
//!
//! Lives in one thread, in an `Rc`. It also knows what the connection is waiting for, which is what
//! its deadline depends on.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use super::clock::{Lifeline, Timer};
use super::gate::Gate;
use super::gate::head::Reject;
use super::limits::ClientLimits;
use super::upstream::h1::Tunnel;

/// What a client connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The next request.
    Idle,
    /// The rest of a head.
    Head,
    /// Us.
    Busy,
}

/// Facts about the peer that hold for the whole connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// The address as text, for `x-forwarded-for`.
    pub(super) text: Box<str>,
    pub(super) is_trusted: bool,
    pub(super) is_tls: bool,
}

/// The shared part of a client connection.
pub(super) struct Link {
    pub(super) peer: Peer,
    pub(super) lifeline: Rc<Lifeline>,
    timer: Timer,
    phase: Cell<Phase>,
    idle: Cell<Duration>,
    head: Duration,
    write: Duration,
    is_write_blocked: Cell<bool>,
    gave_up_writing: Cell<bool>,
    /// Heads that the gate let through.
    heads: Cell<u64>,
    /// Requests that the service has seen.
    seen: Cell<u64>,
    in_flight: Cell<u32>,
    rejection: Cell<Option<(u64, Reject)>>,
    body_violation: Cell<Option<Reject>>,
    /// The last head asked for an upgrade, and the gate waits for its answer.
    is_held: Cell<bool>,
    resumption: Cell<Option<bool>>,
    is_draining: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    tunnel: RefCell<Option<Tunnel>>,
}

impl Link {
    pub(super) fn new(peer: Peer, lifeline: Rc<Lifeline>, timer: Timer, limits: &ClientLimits) -> Rc<Self> {
        timer.arm(limits.idle_timeout);
        Rc::new(Self {
            peer,
            lifeline,
            timer,
            phase: Cell::new(Phase::Idle),
            idle: Cell::new(limits.idle_timeout),
            head: limits.head_timeout,
            write: limits.write_timeout,
            is_write_blocked: Cell::new(false),
            gave_up_writing: Cell::new(false),
            heads: Cell::new(0),
            seen: Cell::new(0),
            in_flight: Cell::new(0),
            rejection: Cell::new(None),
            body_violation: Cell::new(None),
            is_held: Cell::new(false),
            resumption: Cell::new(None),
            is_draining: Cell::new(false),
            reader: RefCell::new(None),
            tunnel: RefCell::new(None),
        })
    }

    // What the byte stream says.

    /// The gate's state after it has seen bytes.
    pub(super) fn gate_moved(&self, gate: &Gate) {
        self.rejection.set(gate.rejection());
        self.is_held.set(gate.is_held());
        let fresh = gate.heads() - self.heads.replace(gate.heads());
        self.in_flight.set(self.in_flight.get() + u32::try_from(fresh).unwrap_or(u32::MAX));
        match (self.phase.get(), gate.is_inside_head()) {
            (Phase::Head, true) => {}
            (_, true) => self.enter(Phase::Head),
            (_, false) if self.in_flight.get() > 0 => self.enter(Phase::Busy),
            (Phase::Head | Phase::Busy, false) => self.enter(Phase::Idle),
            (Phase::Idle, false) => {}
        }
    }

    /// What the connection has waited for in vain; otherwise the task is woken when that happens.
    pub(super) fn overdue(&self, cx: &Context<'_>) -> Option<Phase> {
        self.timer.expired(cx).map(|_| self.phase.get())
    }

    /// A write could not go on. Whether it has been so for too long.
    pub(super) fn write_blocked(&self, cx: &Context<'_>) -> bool {
        if !self.is_write_blocked.replace(true) {
            self.timer.arm(self.write);
        }
        let is_over = self.timer.expired(cx).is_some();
        self.gave_up_writing.set(is_over);
        is_over
    }

    /// Whether the connection ended because its client took no bytes.
    pub(super) fn gave_up_writing(&self) -> bool {
        self.gave_up_writing.get()
    }

    /// A write went on.
    pub(super) fn write_moved(&self) {
        if self.is_write_blocked.replace(false) {
            self.enter(self.phase.get());
        }
    }

    pub(super) fn body_broken(&self, why: Reject) {
        self.body_violation.set(Some(why));
    }

    /// How an upgrade was answered, once.
    pub(super) fn take_resumption(&self, cx: &Context<'_>) -> Option<bool> {
        let resumption = self.resumption.take();
        if resumption.is_none() {
            *self.reader.borrow_mut() = Some(cx.waker().clone());
        }
        resumption
    }

    // What the requests say.

    /// A request arrived: whether it stands for a refused head.
    pub(super) fn request_arrived(&self) -> Option<Reject> {
        let number = self.seen.get() + 1;
        self.seen.set(number);
        self.rejection.get().filter(|(refused, _)| *refused == number).map(|(_, why)| why)
    }

    /// Why the body of the current request is broken, when it is.
    pub(super) fn body_violation(&self) -> Option<Reject> {
        self.body_violation.get()
    }

    /// Whether the gate waits for the answer to the current request.
    pub(super) fn waits_for_upgrade(&self) -> bool {
        self.is_held.get() && self.seen.get() == self.heads.get()
    }

    /// The upgrade that the current request asked for was answered.
    pub(super) fn answer_upgrade(&self, tunnel: Option<Tunnel>) {
        self.resumption.set(Some(tunnel.is_some()));
        *self.tunnel.borrow_mut() = tunnel;
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }

    /// The upstream to tunnel to, after the 101 was written.
    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.borrow_mut().take()
    }

    /// A response ended.
    pub(super) fn response_ended(&self) {
        let left = self.in_flight.get().saturating_sub(1);
        self.in_flight.set(left);
        if left == 0 && self.phase.get() != Phase::Head {
            self.enter(Phase::Idle);
        }
    }

    /// A request of an HTTP/2 connection arrived; its gate counts nothing.
    pub(super) fn stream_opened(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.enter(Phase::Busy);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.get() == 0
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// From now on every response is the last one, and an idle connection waits only so long for
    /// its next request.
    pub(super) fn drain(&self, idle: Duration) {
        self.is_draining.set(true);
        self.lifeline.wake();
        self.idle.set(idle.min(self.idle.get()));
        if self.phase.get() == Phase::Idle && !self.is_write_blocked.get() {
            self.enter(Phase::Idle);
        }
    }

    /// The connection is a tunnel now; its deadlines are the tunnel's.
    pub(super) fn disarm(&self) {
        self.timer.disarm();
        self.phase.set(Phase::Busy);
    }

    /// The last thing that the connection waits for.
    pub(super) fn linger(&self, time: Duration) {
        self.timer.arm(time);
        self.phase.set(Phase::Busy);
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        if self.is_write_blocked.get() {
            return;
        }
        match phase {
            Phase::Idle => self.timer.arm(self.idle.get()),
            Phase::Head => self.timer.arm(self.head),
            Phase::Busy => self.timer.disarm(),
        }
    }
}
