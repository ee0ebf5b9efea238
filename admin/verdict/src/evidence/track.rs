//! What is known about one measure.
//!
//! Invariant: each unit counts once, with its first event in the order of (window, weight, arm), whatever order the
//! events came in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Event, Measure};
use crate::counts::{Counts, Tally};
use crate::grid::Grid;
use crate::process::Restart;
use crate::unit::Arm;

/// The evidence on one measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Track {
    measure: Measure,
    test: Restart,
    units: BTreeMap<u64, First>,
    bad_units: [u64; 2],
    counts: Counts,
    /// The newest windows on their own, because hours of health would hide a fault that is minutes old.
    recent: BTreeMap<u64, Seen>,
}

/// What was seen in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    bad_units: [u64; 2],
    counts: Counts,
}

/// How many windows are recent.
const RECENT: u64 = 64;

/// The event with which a unit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct First {
    pub(super) window: u64,
    pub(super) weight: u32,
    pub(super) arm: Arm,
}

/// What an event changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing: the unit counts already.
    Known,
    /// Nothing: there is no room to remember the unit.
    NoRoom,
    /// The unit counts now, in this window.
    New { window: u64 },
    /// The unit counted with a later event, and counts with this one now.
    Moved { from: u64, old_arm: Arm, to: u64 },
}

impl Track {
    pub(super) fn new(measure: Measure, points: usize) -> Self {
        let (test, counts) = (Restart::new(points), Counts::default());
        Self { measure, test, units: BTreeMap::new(), bad_units: [0; 2], counts, recent: BTreeMap::new() }
    }

    /// What is measured.
    pub fn measure(&self) -> &Measure {
        &self.measure
    }

    /// The e-value of harm.
    pub fn e_value(&self, grid: &Grid) -> f64 {
        self.test.e_value(grid.weights())
    }

    /// Requests, from counters.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Distinct units of an arm with an event.
    pub fn bad_units(&self, arm: Arm) -> u64 {
        self.bad_units[super::index(arm)]
    }

    /// Distinct units with an event, of all units of an arm.
    pub(crate) fn of_units(&self, arm: Arm, units: u64) -> Tally {
        let bad = self.bad_units(arm);
        // How many there are may be an estimate from a sample; none is not known.
        Tally { total: if units == 0 { 0 } else { units.max(bad) }, bad }
    }

    /// Requests of the newest windows, and the distinct units of each arm (candidate first) whose first event was in them.
    pub(crate) fn recently(&self) -> (Counts, [u64; 2]) {
        self.recent.values().fold(Default::default(), |(counts, [candidate, stable]), seen| {
            (seen.counts.plus(counts), [candidate + seen.bad_units[0], stable + seen.bad_units[1]])
        })
    }

    pub(super) fn advance(&mut self, newest: u64, first_open: u64) {
        self.test.close_before(first_open);
        let oldest = (newest + 1).saturating_sub(RECENT);
        while self.recent.first_key_value().is_some_and(|(&window, _)| window < oldest) {
            self.recent.pop_first();
        }
    }

    pub(super) fn add_counts(&mut self, window: u64, newest: u64, counts: Counts) {
        self.counts = self.counts.plus(counts);
        if window + RECENT > newest {
            let seen = self.recent.entry(window).or_default();
            seen.counts = seen.counts.plus(counts);
        }
    }

    pub(super) fn multiply(&mut self, window: u64, ln_factors: impl Iterator<Item = f64>) {
        self.test.multiply(window, ln_factors);
    }

    pub(super) fn add_event(
        &mut self,
        (window, newest): (u64, u64),
        event: &Event,
        room: bool,
        ln_factor: impl Fn(f64, First) -> f64,
        grid: &Grid,
    ) -> Change {
        let window = self.test.effective(window);
        let first = First { window, weight: event.weight, arm: event.arm };
        let old = self.units.get(&event.unit).copied();
        match old {
            // An event in a closed window cannot be taken back, so it stays the first.
            Some(old) if old <= first || self.test.effective(old.window) != old.window => return Change::Known,
            None if !room => return Change::NoRoom,
            _ => {}
        }
        if let Some(old) = old {
            self.test.take_back(old.window, grid.odds().map(|odds| ln_factor(odds, old)));
            self.bad_units[super::index(old.arm)] -= 1;
            if let Some(seen) = self.recent.get_mut(&old.window) {
                seen.bad_units[super::index(old.arm)] -= 1;
                if *seen == Seen::default() {
                    self.recent.remove(&old.window);
                }
            }
        }
        self.test.multiply(window, grid.odds().map(|odds| ln_factor(odds, first)));
        self.units.insert(event.unit, first);
        self.bad_units[super::index(event.arm)] += 1;
        if window + RECENT > newest {
            self.recent.entry(window).or_default().bad_units[super::index(event.arm)] += 1;
        }
        match old {
            Some(old) => Change::Moved { from: old.window, old_arm: old.arm, to: window },
            None => Change::New { window },
        }
    }
}
