//! The walk: a rollout of green that the control plane decides, watched from outside. Where green is to have a fault, it
//! begins at 25 %, and nobody but the control plane does anything about it.
//!
//! A change is over when every visitor has asked again after it was acknowledged; only then is it
//! known who moved.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use admin::ids::now_ms;
use admin_api::answers::EdgeAck;
use admin_api::rollouts::{Rollout, RolloutTransition};
use anyhow::bail;
use edge_engine::{Slot, parse_rfc3339};

use super::{Fault, board::Board, gateway::Stage, site, view::View};

/// Between two looks at what has been measured.
const TICK: Duration = Duration::from_millis(20);
/// Every visitor comes back within a second or so; one who has not after this long never will.
const SETTLE: Duration = Duration::from_secs(20);
/// No step of a demo takes longer.
const STUCK: Duration = Duration::from_mins(2);

/// What one change did.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// Since the start of the demo.
    pub(super) at_ms: f64,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) rollback: bool,
    /// Visitors who are served by the other slot now.
    pub(super) moved: u32,
    /// From the command until the last request of those who moved reached their old release; 0 when
    /// none did.
    pub(super) last_at_old_ms: f64,
    /// From the decision until every worker of both gateways decided by the new snapshot.
    pub(super) acknowledged_ms: f64,
    /// Visitors who went back and forth, in this change.
    pub(super) flapped: u64,
    /// The acknowledgements of a rollback.
    pub(super) edges: Vec<EdgeAck>,
}

/// How a walk ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    /// The word for the rollout's end.
    pub(super) state: String,
    /// Why, as the control plane says it.
    pub(super) sentence: String,
    /// Whether stable was found serving.
    pub(super) verified: bool,
    /// From the first time that green showed its fault until the decision.
    pub(super) detected_ms: Option<f64>,
    /// From the decision until every gateway had acknowledged it.
    pub(super) rolled_back_ms: Option<f64>,
    /// Visitors who saw an error.
    pub(super) hurt: u32,
}

/// Walks for as long as nobody stops it.
pub(super) struct Walk<'w> {
    pub(super) board: Arc<Board>,
    pub(super) stage: &'w Stage,
    pub(super) view: View,
    pub(super) fault: Fault,
    pub(super) step: Duration,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) share: u32,
    /// Where each visitor was served when the last change was over.
    pub(super) settled: Vec<Option<Slot>>,
    /// Whether every walk so far ended as it should.
    pub(super) as_expected: bool,
}

impl Walk<'_> {
    /// A rollout from its start to its end. `false` when somebody stopped it.
    pub(super) fn once(&mut self) -> anyhow::Result<bool> {
        self.board.set_fault(false);
        self.board.expect_moves(Some(Slot::Green));
        self.stage.roll_out(self.step)?;
        let mut changed = Instant::now();
        loop {
            let rollout = self.stage.rollout()?;
            self.view.rollout(&rollout);
            let weight = weight(&rollout);
            if goes_back(&rollout) {
                return self.taken_back();
            }
            if rollout.head.ended {
                return self.ended(&rollout);
            }
            if weight != self.share {
                let decided = rollout.transitions.last().and_then(|last| parse_rfc3339(&last.at));
                if !self.change(weight, decided.unwrap_or_else(now_ms))? {
                    return Ok(false);
                }
                changed = Instant::now();
            }
            if changed.elapsed() > STUCK {
                bail!("the rollout does not go on: {}", rollout.head.state);
            }
            if !self.pause()? {
                return Ok(false);
            }
        }
    }

    /// Gives the visitors time to arrive before anything changes. `false` when somebody stopped it.
    pub(super) fn settle(&mut self) -> anyhow::Result<bool> {
        let now = self.board.now();
        let goes_on = self.watch(now, |_| false)?;
        self.settled = self.board.slots();
        Ok(goes_on)
    }

    /// Blue for everybody again, as before the first walk.
    pub(super) fn begin_anew(&mut self) -> anyhow::Result<()> {
        self.board.expect_moves(Some(Slot::Blue));
        self.stage.reset()?;
        self.share = 0;
        Ok(())
    }

    /// Green has another share.
    fn change(&mut self, to: u32, decided_ms: i64) -> anyhow::Result<bool> {
        let (commanded, since) = moment(&self.board, decided_ms);
        let flaps = self.board.flaps();
        let edges = self.stage.proof(since)?;
        let acknowledged = self.board.now();
        let from = std::mem::replace(&mut self.share, to);
        if to >= site::FAULTY_FROM && self.fault != Fault::None && !self.board.is_faulty() {
            // From here on visitors may go back at any moment.
            self.board.expect_moves(None);
            self.board.set_fault(true);
        }
        if !self.watch(acknowledged, goes_back)? {
            return Ok(false);
        }
        let change = Change { from, to, rollback: false, edges: Vec::new(), ..self.measured(Slot::Blue, commanded) };
        let acknowledged_ms = edges.last().map_or(0.0, |edge| edge.ack_ms);
        self.view.change(&Change { acknowledged_ms, flapped: self.board.flaps() - flaps, ..change })?;
        Ok(true)
    }

    /// The control plane takes green back.
    fn taken_back(&mut self) -> anyhow::Result<bool> {
        let began = Instant::now();
        let mut rollout = self.stage.rollout()?;
        let decided_ms = at_ms(&rollout, "rollingBack").unwrap_or_else(now_ms);
        let (commanded, since) = moment(&self.board, decided_ms);
        let edges = self.stage.proof(since)?;
        let acknowledged = self.board.now();
        while !rollout.head.ended {
            if began.elapsed() > STUCK {
                bail!("the rollback does not end: {}", rollout.head.state);
            }
            if !self.pause()? {
                return Ok(false);
            }
            rollout = self.stage.rollout()?;
            self.view.rollout(&rollout);
        }
        let from = std::mem::replace(&mut self.share, 0);
        self.board.expect_moves(Some(Slot::Blue));
        if !self.watch(acknowledged, |_| false)? {
            return Ok(false);
        }
        let acknowledged_ms = edges.last().map_or(0.0, |edge| edge.ack_ms);
        let change = self.measured(Slot::Green, commanded);
        self.view.change(&Change { from, to: 0, rollback: true, acknowledged_ms, edges, ..change })?;
        let detected = self.board.first_fault_ms().map(|first| float(decided_ms - first));
        let back = at_ms(&rollout, "verifying").map(|acknowledged| float(acknowledged - decided_ms));
        let outcome = Outcome {
            state: rollout.head.state.clone(),
            sentence: transition(&rollout, "rollingBack").map_or_else(String::new, |one| one.sentence.clone()),
            verified: rollout.head.state == "rolledBack",
            detected_ms: detected,
            rolled_back_ms: back,
            hurt: self.board.hurt_visitors(),
        };
        self.end(&outcome)
    }

    /// The control plane made green the active release.
    fn ended(&mut self, rollout: &Rollout) -> anyhow::Result<bool> {
        let sentence = transition(rollout, "keepingWarm").map_or_else(String::new, |one| one.sentence.clone());
        let outcome = Outcome {
            state: rollout.head.state.clone(),
            sentence,
            verified: true,
            detected_ms: None,
            rolled_back_ms: None,
            hurt: self.board.hurt_visitors(),
        };
        self.end(&outcome)
    }

    fn end(&mut self, outcome: &Outcome) -> anyhow::Result<bool> {
        let expected = if self.fault == Fault::None { "promoted" } else { "rolledBack" };
        self.as_expected &= outcome.state == expected;
        self.view.outcome(outcome)?;
        Ok(true)
    }

    /// Who was served by `from` before and is not any more, and when the last of their requests came there.
    fn measured(&mut self, from: Slot, commanded: u64) -> Change {
        let after = self.board.slots();
        let before = std::mem::replace(&mut self.settled, after.clone());
        let moved =
            |(_, (before, after)): &(usize, (&Option<Slot>, &Option<Slot>))| **before == Some(from) && before != after;
        let moved: Vec<usize> =
            before.iter().zip(&after).enumerate().filter(moved).map(|(visitor, _)| visitor).collect();
        let last = moved.iter().map(|visitor| self.board.last_arrival(*visitor, from)).max().unwrap_or_default();
        Change {
            at_ms: ms(commanded),
            from: 0,
            to: 0,
            rollback: false,
            moved: u32::try_from(moved.len()).unwrap_or(u32::MAX),
            last_at_old_ms: ms(last.saturating_sub(commanded)),
            acknowledged_ms: 0.0,
            flapped: 0,
            edges: Vec::new(),
        }
    }

    /// Shows what happens for the length of a step, and until every visitor has asked after `since`, or until the rollout has
    /// come to something. `false` when somebody stopped it.
    fn watch(&mut self, since: u64, is_over: impl Fn(&Rollout) -> bool) -> anyhow::Result<bool> {
        let began = Instant::now();
        while began.elapsed() < self.step || !self.board.all_asked_after(since) {
            if began.elapsed() > SETTLE + self.step {
                bail!("some visitors were not answered for {} seconds", SETTLE.as_secs());
            }
            if !self.pause()? {
                return Ok(false);
            }
            if self.share > 0 && is_over(&self.stage.rollout()?) {
                break;
            }
        }
        Ok(true)
    }

    /// A moment later. `false` when somebody stopped it.
    fn pause(&mut self) -> anyhow::Result<bool> {
        std::thread::sleep(TICK);
        self.view.tick(self.share)?;
        Ok(!self.stop.load(Relaxed))
    }
}

fn goes_back(rollout: &Rollout) -> bool {
    matches!(rollout.head.state.as_str(), "rollingBack" | "verifying" | "rolledBack" | "failed")
}

fn weight(rollout: &Rollout) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a percentage")]
    let weight = rollout.head.weight.round() as u32;
    weight
}

fn transition<'r>(rollout: &'r Rollout, to: &str) -> Option<&'r RolloutTransition> {
    rollout.transitions.iter().find(|one| one.to == to)
}

/// When the rollout first came to a state, milliseconds since 1970.
fn at_ms(rollout: &Rollout, to: &str) -> Option<i64> {
    parse_rfc3339(&transition(rollout, to)?.at)
}

/// A moment of the wall clock on the board's clock, and on that of acknowledgements.
fn moment(board: &Board, at_ms: i64) -> (u64, Instant) {
    let ago = Duration::from_millis(u64::try_from(now_ms() - at_ms).unwrap_or(0));
    let nanoseconds = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
    let now = Instant::now();
    (board.now().saturating_sub(nanoseconds), now.checked_sub(ago).unwrap_or(now))
}

#[expect(clippy::cast_precision_loss, reason = "a demo of 2^53 ns, that is 104 days, loses a nanosecond")]
fn ms(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a demo")]
fn float(ms: i64) -> f64 {
    ms as f64
}
