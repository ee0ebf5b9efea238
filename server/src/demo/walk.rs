//! The walk: more and more visitors to green, then all of them back, each change measured.
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

use admin_api::answers::EdgeAck;
use anyhow::bail;
use edge_engine::Slot;

use super::{board::Board, gateway::Stage, view::View};

/// Percentages that green takes, one after the other.
pub(super) const STEPS: [u32; 4] = [5, 25, 50, 100];
/// Between two looks at what has been measured.
const TICK: Duration = Duration::from_millis(100);
/// Every visitor comes back within a second or so; one who has not after this long never will.
const SETTLE: Duration = Duration::from_secs(20);

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
    /// From the command until every worker of both gateways decided by the new snapshot.
    pub(super) acknowledged_ms: f64,
    /// Visitors who went back and forth, in this change.
    pub(super) flapped: u64,
    /// The acknowledgements that a rollback was answered with.
    pub(super) edges: Vec<EdgeAck>,
}

/// Walks through the steps for as long as nobody stops it.
pub(super) struct Walk<'w> {
    pub(super) board: Arc<Board>,
    pub(super) stage: &'w Stage,
    pub(super) view: View,
    pub(super) step: Duration,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) share: u32,
}

impl Walk<'_> {
    /// All steps up, then the rollback. `false` when somebody stopped it.
    pub(super) fn once(&mut self) -> anyhow::Result<bool> {
        for to in STEPS {
            if !self.change(to, false)? {
                return Ok(false);
            }
        }
        self.change(0, true)
    }

    /// Gives the visitors time to arrive before anything changes. `false` when somebody stopped it.
    pub(super) fn settle(&mut self) -> anyhow::Result<bool> {
        let now = self.board.now();
        self.watch(now)
    }

    fn change(&mut self, to: u32, rollback: bool) -> anyhow::Result<bool> {
        let before = self.board.slots();
        let flaps_before = self.board.flaps();
        let (from_slot, to_slot) = if rollback { (Slot::Green, Slot::Blue) } else { (Slot::Blue, Slot::Green) };
        self.board.expect_moves(to_slot);
        let commanded = self.board.now();
        let edges = if rollback {
            self.stage.roll_back()?
        } else {
            self.stage.weigh(to)?;
            Vec::new()
        };
        let acknowledged = self.board.now();
        let from = std::mem::replace(&mut self.share, to);
        if !self.watch(acknowledged)? {
            return Ok(false);
        }
        let after = self.board.slots();
        let moved = |(_, (before, after)): &(usize, (&Option<Slot>, &Option<Slot>))| before != after;
        let moved: Vec<usize> =
            before.iter().zip(&after).enumerate().filter(moved).map(|(visitor, _)| visitor).collect();
        let last = moved.iter().map(|visitor| self.board.last_arrival(*visitor, from_slot)).max().unwrap_or_default();
        self.view.change(&Change {
            at_ms: ms(commanded),
            from,
            to,
            rollback,
            moved: u32::try_from(moved.len()).unwrap_or(u32::MAX),
            last_at_old_ms: ms(last.saturating_sub(commanded)),
            acknowledged_ms: ms(acknowledged - commanded),
            flapped: self.board.flaps() - flaps_before,
            edges,
        })?;
        Ok(true)
    }

    /// Shows what happens for the length of a step, and until every visitor has asked after `since`.
    fn watch(&mut self, since: u64) -> anyhow::Result<bool> {
        let began = Instant::now();
        while began.elapsed() < self.step || !self.board.all_asked_after(since) {
            if self.stop.load(Relaxed) {
                return Ok(false);
            }
            if began.elapsed() > SETTLE + self.step {
                bail!("some visitors were not answered for {} seconds", SETTLE.as_secs());
            }
            std::thread::sleep(TICK);
            self.view.tick(self.share)?;
        }
        Ok(true)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a demo of 2^53 ns, that is 104 days, loses a nanosecond")]
fn ms(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}
