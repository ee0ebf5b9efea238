//! What visitors and upstreams have seen: written by their threads, read by the walk and the view.
//!
//! Times are nanoseconds since the board was made, so that threads compare them without a lock.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use edge_engine::Slot;

/// Everything measured so far.
pub(super) struct Board {
    start: Instant,
    visitors: Box<[Visitor]>,
    requests: AtomicU64,
    errors: AtomicU64,
    flaps: AtomicU64,
    /// The direction in which visitors may move now: 0 = either, else 1 + index of the slot.
    toward: AtomicU8,
    /// Whether green shows its fault.
    is_faulty: AtomicBool,
    /// When green first showed it, milliseconds since 1970; 0 = not yet.
    first_fault_ms: AtomicI64,
    /// Microseconds of the answers since the last sample.
    latencies: Mutex<Vec<u32>>,
}

#[derive(Default)]
struct Visitor {
    /// 0 = no answer yet, else 1 + index of the slot.
    slot: AtomicU8,
    /// When the request of the last answer was sent.
    asked_at: AtomicU64,
    /// When each upstream last saw the visitor.
    arrived_at: [AtomicU64; 2],
    flag_on: AtomicBool,
    hurt: AtomicBool,
}

/// Since the last sample, and in total.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) flaps: u64,
    pub(super) p50_us: u32,
    pub(super) p99_us: u32,
    /// Visitors whose last answer came from blue and from green.
    pub(super) served: [u32; 2],
    pub(super) flag_on: u32,
}

impl Board {
    pub(super) fn new(visitors: usize) -> Self {
        Self {
            start: Instant::now(),
            visitors: (0..visitors).map(|_| Visitor::default()).collect(),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            flaps: AtomicU64::new(0),
            toward: AtomicU8::new(code(Slot::Green)),
            is_faulty: AtomicBool::new(false),
            first_fault_ms: AtomicI64::new(0),
            latencies: Mutex::default(),
        }
    }

    pub(super) fn visitors(&self) -> usize {
        self.visitors.len()
    }

    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// From now on visitors may only move this way, or either way.
    pub(super) fn expect_moves(&self, toward: Option<Slot>) {
        self.toward.store(toward.map_or(0, code), Relaxed);
    }

    /// From now on green shows its fault, or no longer does; nobody is hurt yet.
    pub(super) fn set_fault(&self, is_faulty: bool) {
        if is_faulty {
            self.first_fault_ms.store(0, Relaxed);
            self.visitors.iter().for_each(|visitor| visitor.hurt.store(false, Relaxed));
        }
        self.is_faulty.store(is_faulty, Relaxed);
    }

    /// Whether green shows its fault now.
    pub(super) fn is_faulty(&self) -> bool {
        self.is_faulty.load(Relaxed)
    }

    /// Green has shown its fault to somebody.
    pub(super) fn showed_fault(&self) {
        // Only the first time counts.
        let _ = self.first_fault_ms.compare_exchange(0, admin::ids::now_ms(), Relaxed, Relaxed);
    }

    /// When green first showed its fault.
    pub(super) fn first_fault_ms(&self) -> Option<i64> {
        Some(self.first_fault_ms.load(Relaxed)).filter(|at| *at > 0)
    }

    /// A visitor was answered, and not as they wished.
    pub(super) fn hurt(&self, visitor: usize) {
        if let Some(record) = self.visitors.get(visitor) {
            record.hurt.store(true, Relaxed);
        }
    }

    /// How many visitors saw the fault.
    pub(super) fn hurt_visitors(&self) -> u32 {
        let count = self.visitors.iter().filter(|visitor| visitor.hurt.load(Relaxed)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// A visitor was answered.
    pub(super) fn answered(&self, visitor: usize, slot: Slot, asked_at: u64) {
        let Some(record) = self.visitors.get(visitor) else { return };
        self.requests.fetch_add(1, Relaxed);
        let before = record.slot.swap(code(slot), Relaxed);
        let toward = self.toward.load(Relaxed);
        if before != 0 && before != code(slot) && toward != 0 && toward != code(slot) {
            self.flaps.fetch_add(1, Relaxed);
        }
        let micros = self.now().saturating_sub(asked_at) / 1000;
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
        drop(latencies);
        // Last, so that whoever sees the time sees the answer.
        record.asked_at.store(asked_at, std::sync::atomic::Ordering::Release);
    }

    /// A visitor got an error, or no answer.
    pub(super) fn failed(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// A request of a visitor reached an upstream.
    pub(super) fn arrived(&self, visitor: usize, at: Slot, flag_on: bool) {
        if let Some(record) = self.visitors.get(visitor) {
            arrival(record, at).store(self.now(), Relaxed);
            record.flag_on.store(flag_on, Relaxed);
        }
    }

    /// Whether each visitor has been answered to a request that was sent after this time.
    pub(super) fn all_asked_after(&self, time: u64) -> bool {
        self.visitors.iter().all(|visitor| visitor.asked_at.load(std::sync::atomic::Ordering::Acquire) > time)
    }

    /// Where each visitor was served last.
    pub(super) fn slots(&self) -> Vec<Option<Slot>> {
        self.visitors.iter().map(|visitor| slot(visitor.slot.load(Relaxed))).collect()
    }

    /// When an upstream last saw a visitor; 0 = never.
    pub(super) fn last_arrival(&self, visitor: usize, at: Slot) -> u64 {
        self.visitors.get(visitor).map_or(0, |record| arrival(record, at).load(Relaxed))
    }

    pub(super) fn flaps(&self) -> u64 {
        self.flaps.load(Relaxed)
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    /// Takes the latencies since the last sample with it.
    pub(super) fn sample(&self) -> Sample {
        let mut latencies = std::mem::take(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner));
        latencies.sort_unstable();
        let quantile = |per_cent: usize| latencies.get(latencies.len() * per_cent / 100).copied().unwrap_or_default();
        let served_by = |slot: Slot| {
            let count = self.visitors.iter().filter(|visitor| visitor.slot.load(Relaxed) == code(slot)).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        let flag_on = self.visitors.iter().filter(|visitor| visitor.flag_on.load(Relaxed)).count();
        Sample {
            requests: self.requests.load(Relaxed),
            errors: self.errors(),
            flaps: self.flaps(),
            p50_us: quantile(50),
            p99_us: quantile(99),
            served: [served_by(Slot::Blue), served_by(Slot::Green)],
            flag_on: u32::try_from(flag_on).unwrap_or(u32::MAX),
        }
    }
}

fn code(slot: Slot) -> u8 {
    match slot {
        Slot::Blue => 1,
        Slot::Green => 2,
    }
}

fn slot(code: u8) -> Option<Slot> {
    match code {
        1 => Some(Slot::Blue),
        2 => Some(Slot::Green),
        _ => None,
    }
}

fn arrival(visitor: &Visitor, at: Slot) -> &AtomicU64 {
    let [blue, green] = &visitor.arrived_at;
    match at {
        Slot::Blue => blue,
        Slot::Green => green,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_move_against_the_direction_is_a_flap() {
        let board = Board::new(2);
        board.answered(0, Slot::Blue, 1);
        board.answered(0, Slot::Green, 2);
        board.answered(1, Slot::Green, 3);
        assert_eq!(board.flaps(), 0);
        board.answered(0, Slot::Blue, 4);
        assert_eq!(board.flaps(), 1);
        board.expect_moves(Some(Slot::Blue));
        board.answered(1, Slot::Blue, 5);
        assert_eq!(board.flaps(), 1);
        board.answered(1, Slot::Green, 6);
        assert_eq!(board.flaps(), 2);
        board.expect_moves(None);
        board.answered(1, Slot::Blue, 7);
        board.answered(1, Slot::Green, 8);
        assert_eq!(board.flaps(), 2, "a candidate that is going may not be there for everybody");
    }

    #[test]
    fn everybody_has_asked_only_after_the_last_has() {
        let board = Board::new(2);
        board.answered(0, Slot::Blue, 10);
        assert!(!board.all_asked_after(5));
        board.answered(1, Slot::Blue, 6);
        assert!(board.all_asked_after(5));
        assert!(!board.all_asked_after(6));
    }

    #[test]
    fn a_sample_counts_visitors_not_requests() {
        let board = Board::new(3);
        for _ in 0..10 {
            board.answered(0, Slot::Green, 0);
        }
        board.answered(1, Slot::Blue, 0);
        board.arrived(1, Slot::Blue, true);
        let sample = board.sample();
        assert_eq!((sample.requests, sample.served, sample.flag_on), (11, [1, 1], 1));
    }
}
