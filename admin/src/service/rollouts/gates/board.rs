//! What was asked and said: the memory between the driver, which never waits, and the questions under way.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rollout::Stay;

use super::answers::Said;

/// Which question of which stay of which rollout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    rollout: i64,
    /// Empty = of all of it.
    stay: String,
    name: String,
}

impl Key {
    /// Of a stay, or without one of the whole rollout.
    pub(super) fn new(rollout: i64, stay: Option<&Stay>, name: &str) -> Self {
        let stay = stay.map_or_else(String::new, |stay| format!("{:?} since {}", stay.place, stay.since));
        Self { rollout, stay, name: name.to_owned() }
    }
}

/// How a question stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The newest answer, also none.
    pub(super) said: Option<Said>,
    /// How often it was asked.
    pub(super) times: u32,
    /// How often in a row there was no answer.
    pub(super) errors: u32,
    under_way: bool,
    due: Option<Instant>,
}

/// Failed checks of a hook in the whole rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) checks: u32,
    pub(super) last: String,
}

#[derive(Debug, Default)]
struct Memory {
    asked: HashMap<Key, Asked>,
    failed: HashMap<(i64, String), Failed>,
}

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Memory>);

impl Board {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Entries are changed whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time to ask; then it is being asked.
    pub(super) fn begin(&self, key: &Key, now: Instant) -> bool {
        let mut memory = self.memory();
        let asked = memory.asked.entry(key.clone()).or_default();
        let is_time = !asked.under_way && asked.due.is_none_or(|due| due <= now);
        if is_time {
            asked.under_way = true;
            asked.times = asked.times.saturating_add(1);
        }
        is_time
    }

    /// What was said; with `is_check` all but a yes is a failed check. Answers `errors`.
    pub(super) fn end(&self, key: &Key, said: Said, next: Instant, is_check: bool) -> u32 {
        let mut memory = self.memory();
        let Memory { asked, failed } = &mut *memory;
        // The rollout may have ended meanwhile.
        let Some(asked) = asked.get_mut(key) else { return 0 };
        asked.under_way = false;
        asked.due = Some(next);
        asked.errors = if matches!(said, Said::Nothing(_)) { asked.errors.saturating_add(1) } else { 0 };
        if is_check && !matches!(said, Said::Yes(_)) {
            let failed = failed.entry((key.rollout, key.name.clone())).or_default();
            failed.checks = failed.checks.saturating_add(1);
            said.detail().clone_into(&mut failed.last);
        }
        asked.said = Some(said);
        asked.errors
    }

    /// How a question stands.
    pub(super) fn asked(&self, key: &Key) -> Option<Asked> {
        self.memory().asked.get(key).cloned()
    }

    /// The failed checks of a hook.
    pub(super) fn failed(&self, rollout: i64, name: &str) -> Option<Failed> {
        self.memory().failed.get(&(rollout, name.to_owned())).cloned()
    }

    /// Forgets all other rollouts.
    pub(super) fn keep(&self, rollouts: &[i64]) {
        let mut memory = self.memory();
        memory.asked.retain(|key, _| rollouts.contains(&key.rollout));
        memory.failed.retain(|(rollout, _), _| rollouts.contains(rollout));
    }
}

/// The next time at which one asks.
pub(super) fn after(interval: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(interval).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asks_once_at_a_time_and_again_after_a_while() {
        let (board, now) = (Board::default(), Instant::now());
        let key = Key::new(7, None, "smoke");
        assert!(board.begin(&key, now));
        assert!(!board.begin(&key, now + Duration::from_hours(1)), "it is under way");
        let next = now + Duration::from_secs(10);
        assert_eq!(board.end(&key, Said::Nothing("gone".into()), next, false), 1);
        assert!(!board.begin(&key, now + Duration::from_secs(9)));
        assert!(board.begin(&key, next));
        assert_eq!(board.end(&key, Said::Nothing("gone".into()), next, false), 2);
        assert!(board.begin(&key, next));
        assert_eq!(board.end(&key, Said::No("closed".into()), next, false), 0);
        let asked = board.asked(&key).expect("it was asked");
        assert_eq!((asked.times, asked.said), (3, Some(Said::No("closed".into()))));
        assert_eq!(board.failed(7, "smoke"), None, "it is no check");
    }

    #[test]
    fn failed_checks_are_counted_over_all_stays_of_a_rollout() {
        let (board, now) = (Board::default(), Instant::now());
        for (place, said) in [(1, Said::No("a".into())), (2, Said::Yes("b".into())), (3, Said::Nothing("c".into()))] {
            let stay = Stay { place: rollout::Place::Bake, since: place, passed: Vec::new(), ready: false };
            let key = Key::new(7, Some(&stay), "load");
            assert!(board.begin(&key, now), "each stay asks anew");
            board.end(&key, said, now, true);
        }
        assert_eq!(board.failed(7, "load"), Some(Failed { checks: 2, last: "c".into() }));
        board.keep(&[8]);
        assert_eq!(board.failed(7, "load"), None);
        let late = Key::new(7, None, "load");
        assert_eq!(board.end(&late, Said::No("late".into()), now, true), 0);
        assert_eq!(
            (board.failed(7, "load"), board.asked(&late)),
            (None, None),
            "an answer after the end counts nothing"
        );
    }
}
