//! When to connect again: at a random moment below a ceiling that doubles ("full jitter").
//!
//! Edges that lose a control plane lose it together. What spreads their return is that each draws its moment from the
//! whole interval, not from a band at its end. What a control plane asks for is kept to, and the random moment is added to
//! it: those who were told the same come back spread too.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

/// The ceiling after the first failure.
const FIRST: Duration = Duration::from_millis(250);
/// No ceiling is higher.
const CAP: Duration = Duration::from_secs(15);
/// No control plane keeps an edge away for longer.
const MAX_WAIT: Duration = Duration::from_mins(5);

/// What is known about when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// As often as it failed says.
    Backoff,
    /// Not before this is over.
    AtLeast(Duration),
    /// Some time within this.
    Within(Duration),
}

impl Wait {
    /// What an answer that is no stream says about it: a server that has too much to do may name a time.
    pub fn of_refusal(status: StatusCode, headers: &HeaderMap) -> Self {
        let may_say_when = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let said = headers.get(header::RETRY_AFTER).filter(|_| may_say_when);
        let seconds = said.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        seconds.map_or(Self::Backoff, |seconds| Self::AtLeast(Duration::from_secs(seconds)))
    }
}

/// Failures in a row.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause before the next attempt; `random` is uniform over all its values.
    pub(super) fn pause(&mut self, random: u64) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(CAP);
        self.failures = self.failures.saturating_add(1);
        spread(ceiling, random)
    }

    /// The pause before the next attempt after this one.
    pub fn next_attempt(&mut self, wait: Wait) -> Duration {
        let own = self.pause(random());
        match wait {
            Wait::Backoff => own,
            Wait::AtLeast(time) => time.min(MAX_WAIT) + own,
            // A control plane that says nothing but goodbye is not asked in a loop.
            Wait::Within(time) => spread(time.min(MAX_WAIT), random()).max(own),
        }
    }

    /// The last attempt was a good one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A moment in `0..ceiling`.
pub(super) fn spread(ceiling: Duration, random: u64) -> Duration {
    let nanos = ceiling.as_nanos().saturating_mul(u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Random bits of the system's.
pub(super) fn random() -> u64 {
    // Without them every edge would still come back, only less well spread.
    getrandom::u64().unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SplitMix64`: any seed, all values equally often.
    fn generator(mut state: u64) -> impl FnMut() -> u64 {
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_starts_anew_after_a_good_attempt() {
        let mut backoff = Backoff::default();
        let ceilings: Vec<_> = (0..9).map(|_| backoff.pause(u64::MAX).as_millis()).collect();
        assert_eq!(ceilings, [249, 499, 999, 1_999, 3_999, 7_999, 14_999, 14_999, 14_999]);
        assert_eq!(backoff.pause(0), Duration::ZERO);
        backoff.reset();
        assert_eq!(backoff.pause(u64::MAX).as_millis(), 249);
    }

    #[test]
    fn two_hundred_edges_that_lost_a_control_plane_together_come_back_spread() {
        let mut next = generator(7);
        let mut edges = vec![(Backoff::default(), Duration::ZERO); 200];
        for attempt in 0..7 {
            for (backoff, at) in &mut edges {
                *at += backoff.pause(next());
            }
            // Within the last ceiling, no tenth of the time gets more than a quarter of them.
            let ceiling = FIRST.saturating_mul(1 << attempt).min(CAP);
            let earliest = edges.iter().map(|(_, at)| *at).min().expect("200");
            let mut tenths = [0_u32; 64];
            for (_, at) in &edges {
                let tenth = at.saturating_sub(earliest).as_nanos() * 10 / ceiling.as_nanos();
                tenths[usize::try_from(tenth).expect("few")] += 1;
            }
            assert!(tenths.iter().all(|count| *count <= 50), "attempt {attempt}: {tenths:?}");
            assert!(tenths.iter().filter(|count| **count > 0).count() >= 9, "attempt {attempt}: {tenths:?}");
        }
    }

    #[test]
    fn what_a_server_asks_for_is_kept_to_and_spread() {
        let headers = |text: &str| HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().expect("a value"))]);
        let (busy, many) = (StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS);
        for status in [busy, many] {
            assert_eq!(Wait::of_refusal(status, &headers("7")), Wait::AtLeast(Duration::from_secs(7)));
            assert_eq!(Wait::of_refusal(status, &headers("soon")), Wait::Backoff);
            assert_eq!(Wait::of_refusal(status, &HeaderMap::new()), Wait::Backoff);
        }
        assert_eq!(Wait::of_refusal(StatusCode::UNAUTHORIZED, &headers("7")), Wait::Backoff);
        let pauses: Vec<_> =
            (0..20).map(|_| Backoff::default().next_attempt(Wait::AtLeast(Duration::from_secs(7)))).collect();
        assert!(pauses.iter().all(|pause| (7_000..7_250).contains(&pause.as_millis())), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
        let for_ever = Backoff::default().next_attempt(Wait::AtLeast(Duration::from_secs(u64::MAX)));
        assert!(for_ever <= MAX_WAIT + FIRST, "{for_ever:?}");
        let within = Backoff::default().next_attempt(Wait::Within(Duration::from_secs(2)));
        assert!(within < Duration::from_secs(2), "{within:?}");
    }

    #[test]
    fn the_mean_of_many_pauses_is_half_of_the_ceiling() {
        let mut next = generator(11);
        let sum: Duration = (0..10_000).map(|_| spread(Duration::from_secs(1), next())).sum();
        let mean = sum / 10_000;
        assert!((490..510).contains(&mean.as_millis()), "{mean:?}");
    }
}
