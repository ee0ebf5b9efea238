//! What a worker counts, and how the counts of all workers become one.
//!
//! It owns one [`Shard`] per worker thread. Invariant: a counter has one writer, its worker, so
//! counting is a relaxed load, an addition and a relaxed store: no read-modify-write instruction, no
//! lock, no allocation, and no cache line that another worker writes. A scrape adds the shards up.
//! The names that an operator sees are in [`names`]; the text is made in [`expose`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use edge_engine::{FlagOutcome, RouteReason};

use super::observe::Boards;
use super::scope::Scope;

pub mod counted;
pub mod expose;
pub mod names;

/// Upper bounds of the latency buckets in microseconds: those of reports.
pub use admin_api::edge::LATENCY_BOUNDS_US as BOUNDS_MICROS;
/// The bounds and the bucket above them all.
const BUCKETS: usize = BOUNDS_MICROS.len() + 1;
/// 1xx to 5xx.
const CLASSES: usize = 5;
/// Reasons of a route, and of a flag.
const REASONS: usize = 6;
/// How long the series of a release or flag that no snapshot names any more stay visible, so that
/// every scraper sees their last value. After that they go: releases come and go for years.
const FORGET_AFTER: Duration = Duration::from_hours(1);

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the counter. Only the owning worker calls it, so a load and a store suffice.
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// The value, from any thread.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happens beside requests; each becomes a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Event {
    /// A client connection was accepted.
    ConnectionOpened,
    /// A client connection ended.
    ConnectionClosed,
    /// A connection was refused by the global or the per-address cap.
    ConnectionRefused,
    /// A TLS handshake failed.
    TlsFailed,
    /// A request was refused before routing (framing, limits, form).
    RequestRejected,
    /// A client was too slow with its head.
    HeadTimeout,
    /// A client was too slow with its body.
    BodyTimeout,
    /// A client was too slow to take the response.
    WriteTimeout,
    /// No environment has the host.
    UnknownHost,
    /// An upstream connection was opened.
    UpstreamConnected,
    /// An upstream connection was taken from the pool.
    UpstreamReused,
    /// An exchange was tried again on another connection.
    Retried,
    /// The active release answered for a failed candidate.
    Shielded,
    /// The breaker sent a candidate's request to the active release.
    BreakerDiverted,
    /// No upstream of the chosen release was available; the active release answered.
    UnhealthyDiverted,
    /// Nobody could answer: 503.
    NoUpstream,
    /// The engine trapped; the fallback decided.
    FallbackTrap,
    /// The engine missed its deadline; the fallback decided.
    FallbackDeadline,
    /// The shadow engine answered differently.
    ShadowDiffered,
    /// An exchange was ended because its release was rolled back and the grace was over.
    RolledBack,
    /// A tunnel was opened.
    TunnelOpened,
    /// A tunnel ended.
    TunnelClosed,
    /// A stream of changes was opened.
    StreamOpened,
    /// A stream of changes ended.
    StreamClosed,
}

impl Event {
    /// How many there are.
    pub const COUNT: usize = Event::StreamClosed as usize + 1;
}

/// Counters of one release, in one worker. Aligned so that no two workers share a cache line, nor
/// the pair of lines that the prefetcher fetches together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ReleaseShard {
    /// By reason of the route.
    reasons: [Counter; REASONS],
    /// By status class, 1xx to 5xx.
    classes: [Counter; CLASSES],
    /// By latency.
    buckets: [Counter; BUCKETS],
    /// Microseconds, summed.
    micros: Counter,
    /// Upstream failures seen by clients or hidden by shielding.
    failures: Counter,
    /// Requests that ended without an upstream's answer; the gateway answered 5xx for it.
    unanswered: Counter,
    /// Requests that another release answered because this one answered 5xx.
    hidden_statuses: Counter,
    /// Requests that another release answered because this one did not answer.
    hidden_faults: Counter,
    /// Requests that the hash sent here, by whether their bucket is odd.
    split: [Counter; 2],
    /// Those of them that failed.
    split_failed: [Counter; 2],
}

impl ReleaseShard {
    /// One answered request.
    pub fn record(&self, status: u16, reason: RouteReason, elapsed: Duration) {
        if let Some(counter) = self.reasons.get(reason as usize) {
            counter.add(1);
        }
        if let Some(counter) = self.classes.get(usize::from(status / 100).wrapping_sub(1)) {
            counter.add(1);
        }
        let micros = elapsed.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(elapsed.subsec_micros()));
        self.micros.add(micros);
        // Nearly all requests end in the first buckets, so a search from the bottom is the short one.
        let bucket = BOUNDS_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(BUCKETS - 1);
        if let Some(counter) = self.buckets.get(bucket) {
            counter.add(1);
        }
    }

    /// One failed exchange, whether or not another release answered for it.
    pub fn failed(&self) {
        self.failures.add(1);
    }
}

impl ReleaseShard {
    /// A request that no upstream answered; the gateway does, and [`Self::record`] counts that answer.
    pub fn unanswered(&self) {
        self.unanswered.add(1);
    }

    /// A request that the hash sent here, in a bucket that is even or odd.
    pub fn split(&self, bucket: u32, is_failed: bool) {
        let half = (bucket & 1) as usize;
        self.split[half].add(1);
        if is_failed {
            self.split_failed[half].add(1);
        }
    }

    /// A request that another release answers for this one, which answered 5xx or not at all.
    pub fn hidden(&self, is_status: bool) {
        if is_status { &self.hidden_statuses } else { &self.hidden_faults }.add(1);
    }
}

/// One variant's outcomes by reason, on a line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct VariantRow([Counter; REASONS]);

/// Counters of one flag, in one worker.
#[derive(Debug)]
pub struct FlagCounters {
    variants: Box<[Box<str>]>,
    rows: Box<[VariantRow]>,
}

/// Counters of the flags that one environment forwards, in one worker and in the order of
/// `Snapshot::forwarded`.
#[derive(Debug, Default)]
pub struct FlagShard(Box<[Arc<FlagCounters>]>);

impl FlagShard {
    /// The outcomes of one decision.
    pub fn record(&self, outcomes: &[FlagOutcome]) {
        for (flag, outcome) in self.0.iter().zip(outcomes) {
            let row = flag.rows.get(usize::from(outcome.variant.0));
            if let Some(counter) = row.and_then(|row| row.0.get(outcome.reason as usize)) {
                counter.add(1);
            }
        }
    }
}

/// What OFREP requests are for.
pub(super) const OFREP_KINDS: [&str; 3] = ["bulk", "single", "events"];
/// How they are answered; another code counts as the last of these.
pub(super) const OFREP_CODES: [u16; 12] = [200, 204, 304, 400, 401, 404, 405, 408, 413, 415, 503, 500];

/// OFREP requests of one environment, in one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct OfrepShard([[Counter; OFREP_CODES.len()]; OFREP_KINDS.len()]);

impl OfrepShard {
    /// One answered request.
    pub fn record(&self, kind: &str, code: u16) {
        let row = OFREP_KINDS.iter().position(|known| *known == kind).and_then(|at| self.0.get(at));
        let at = OFREP_CODES.iter().position(|known| *known == code).unwrap_or(OFREP_CODES.len() - 1);
        if let Some(counter) = row.and_then(|row| row.get(at)) {
            counter.add(1);
        }
    }
}

/// OFREP requests of all workers.
type OfrepTotals = [[u64; OFREP_CODES.len()]; OFREP_KINDS.len()];

fn add_ofrep(totals: &mut OfrepTotals, shard: &OfrepShard) {
    for (to, from) in totals.iter_mut().flatten().zip(shard.0.iter().flatten()) {
        *to += from.get();
    }
}

/// Something that a worker's states share by name, with when a state last held it.
#[derive(Debug)]
struct Named<T> {
    counters: Arc<T>,
    last_held: Instant,
}

impl<T> Named<T> {
    fn new(counters: T) -> Self {
        Self { counters: Arc::new(counters), last_held: Instant::now() }
    }

    /// Whether it is still of interest; the map's own reference does not count as held.
    fn is_current(&mut self, now: Instant) -> bool {
        if Arc::strong_count(&self.counters) > 1 {
            self.last_held = now;
        }
        now.saturating_duration_since(self.last_held) < FORGET_AFTER
    }
}

/// The scope, and the release's id or the flag's key.
type Name = (Scope, Box<str>);

/// Everything here is made when a snapshot is prepared and read by a scrape, never per request.
#[derive(Debug, Default)]
struct Directory {
    releases: BTreeMap<Name, Named<ReleaseShard>>,
    /// A flag whose variants change gets new counters; those of before count on beside them.
    flags: BTreeMap<Name, Vec<Named<FlagCounters>>>,
    ofrep: BTreeMap<Scope, Named<OfrepShard>>,
}

/// All counters of one worker.
#[derive(Debug)]
#[repr(align(128))]
pub struct Shard {
    events: [Counter; Event::COUNT],
    /// Requests with a token of no environment.
    ofrep_elsewhere: OfrepShard,
    directory: Mutex<Directory>,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            events: std::array::from_fn(|_| Counter::default()),
            ofrep_elsewhere: OfrepShard::default(),
            directory: Mutex::default(),
        }
    }
}

impl Shard {
    /// Counts an event.
    pub fn count(&self, event: Event) {
        if let Some(counter) = self.events.get(event as usize) {
            counter.add(1);
        }
    }

    /// How often an event happened.
    pub fn get(&self, event: Event) -> u64 {
        self.events.get(event as usize).map_or(0, Counter::get)
    }

    /// The counters of a release; the same object for the same names as long as a state holds it.
    /// Called when a snapshot is prepared, never per request.
    pub fn release(&self, app: &str, environment: &str, release: &str) -> Arc<ReleaseShard> {
        let name = (Scope::new(app, environment), release.into());
        let mut directory = self.directory();
        let named = directory.releases.entry(name).or_insert_with(|| Named::new(ReleaseShard::default()));
        Arc::clone(&named.counters)
    }

    /// The counters of the flags that an environment forwards: key and variants of each, in order.
    /// Called when a snapshot is prepared, never per request.
    pub fn flags<'a, V>(&self, app: &str, environment: &str, forwarded: impl Iterator<Item = (&'a str, V)>) -> FlagShard
    where
        V: Iterator<Item = &'a str> + Clone,
    {
        let scope = Scope::new(app, environment);
        let mut directory = self.directory();
        let counters = forwarded.map(|(key, variants)| {
            let known = directory.flags.entry((scope.clone(), key.into())).or_default();
            let same = known.iter().find(|flag| flag.counters.variants.iter().map(|v| &**v).eq(variants.clone()));
            if let Some(flag) = same {
                return Arc::clone(&flag.counters);
            }
            let variants: Box<[Box<str>]> = variants.map(Box::from).collect();
            let rows = variants.iter().map(|_| VariantRow::default()).collect();
            let named = Named::new(FlagCounters { variants, rows });
            let counters = Arc::clone(&named.counters);
            known.push(named);
            counters
        });
        FlagShard(counters.collect())
    }

    /// The counters of an environment's OFREP requests, as [`Self::release`].
    pub fn ofrep(&self, app: &str, environment: &str) -> Arc<OfrepShard> {
        let mut directory = self.directory();
        let named = directory.ofrep.entry(Scope::new(app, environment));
        Arc::clone(&named.or_insert_with(|| Named::new(OfrepShard::default())).counters)
    }

    /// The counters of OFREP requests that belong to no environment.
    pub fn ofrep_elsewhere(&self) -> &OfrepShard {
        &self.ofrep_elsewhere
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        // Nothing in a directory is ever half-changed.
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A release's counters of all workers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct ReleaseTotals {
    reasons: [u64; REASONS],
    classes: [u64; CLASSES],
    buckets: [u64; BUCKETS],
    micros: u64,
    failures: u64,
    unanswered: u64,
    hidden_statuses: u64,
    hidden_faults: u64,
    split: [u64; 2],
    split_failed: [u64; 2],
}

impl ReleaseTotals {
    fn add(&mut self, shard: &ReleaseShard) {
        let sum = |to: &mut [u64], from: &[Counter]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from.get());
        sum(&mut self.reasons, &shard.reasons);
        sum(&mut self.classes, &shard.classes);
        sum(&mut self.buckets, &shard.buckets);
        sum(&mut self.split, &shard.split);
        sum(&mut self.split_failed, &shard.split_failed);
        self.micros = self.micros.wrapping_add(shard.micros.get());
        self.failures += shard.failures.get();
        self.unanswered += shard.unanswered.get();
        self.hidden_statuses += shard.hidden_statuses.get();
        self.hidden_faults += shard.hidden_faults.get();
    }
}

/// The sums over all workers at one moment.
#[derive(Debug, Default)]
struct Totals {
    events: [u64; Event::COUNT],
    releases: BTreeMap<Name, ReleaseTotals>,
    flags: BTreeMap<(Name, Box<str>), [u64; REASONS]>,
    ofrep: BTreeMap<Scope, OfrepTotals>,
}

/// The shards of all workers.
#[derive(Debug, Default)]
pub struct Metrics {
    shards: Mutex<Vec<Arc<Shard>>>,
    observations: Boards,
}

impl Metrics {
    /// A new worker's shard.
    pub fn shard(&self) -> Arc<Shard> {
        let shard = Arc::new(Shard::default());
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&shard));
        shard
    }

    /// What units met, by environment.
    pub fn observations(&self) -> &Boards {
        &self.observations
    }

    /// How often an event happened, in all workers.
    pub fn get(&self, event: Event) -> u64 {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|shard| shard.get(event)).sum()
    }

    /// Adds the shards up, and forgets what no state has held for an hour before `now`.
    fn totals(&self, now: Instant) -> Totals {
        let mut totals = Totals::default();
        for shard in self.shards.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            totals.events.iter_mut().zip(&shard.events).for_each(|(to, from)| *to += from.get());
            // Without an environment, the labels are empty.
            add_ofrep(totals.ofrep.entry(Scope::new("", "")).or_default(), &shard.ofrep_elsewhere);
            let mut directory = shard.directory();
            directory.ofrep.retain(|scope, ofrep| {
                add_ofrep(totals.ofrep.entry(scope.clone()).or_default(), &ofrep.counters);
                ofrep.is_current(now)
            });
            directory.releases.retain(|name, release| {
                totals.releases.entry(name.clone()).or_default().add(&release.counters);
                release.is_current(now)
            });
            directory.flags.retain(|name, flags| {
                flags.retain_mut(|flag| {
                    add_flag(&mut totals, name, &flag.counters);
                    flag.is_current(now)
                });
                !flags.is_empty()
            });
        }
        totals
    }
}

fn add_flag(totals: &mut Totals, name: &Name, flag: &FlagCounters) {
    for (variant, row) in flag.variants.iter().zip(&flag.rows) {
        let sums = totals.flags.entry((name.clone(), variant.clone())).or_default();
        sums.iter_mut().zip(&row.0).for_each(|(to, from)| *to += from.get());
    }
}

#[cfg(test)]
mod tests {
    use edge_engine::{FlagIndex, FlagReason, VariantIndex};

    use super::*;

    fn outcome(variant: u16, reason: FlagReason) -> FlagOutcome {
        FlagOutcome {
            flag: FlagIndex(0),
            variant: VariantIndex(variant),
            reason,
            rule: None,
            bucket: None,
            error: None,
        }
    }

    fn name(of: &str) -> Name {
        (Scope::new("web", "production"), of.into())
    }

    fn flag_shard(shard: &Shard, variants: &[&str]) -> FlagShard {
        shard.flags("web", "production", std::iter::once(("checkout", variants.iter().copied())))
    }

    #[test]
    fn a_scrape_adds_up_what_each_worker_counted() {
        let metrics = Metrics::default();
        for (shard, times) in [(metrics.shard(), 3), (metrics.shard(), 4)] {
            let release = shard.release("web", "production", "web-1");
            for _ in 0..times {
                release.record(200, RouteReason::Split, Duration::from_millis(7));
                shard.count(Event::Retried);
            }
        }
        let totals = metrics.totals(Instant::now());
        let release = &totals.releases[&name("web-1")];
        assert_eq!(release.classes, [0, 7, 0, 0, 0]);
        assert_eq!(release.reasons[RouteReason::Split as usize], 7);
        assert_eq!(release.micros, 49_000);
        assert_eq!(totals.events[Event::Retried as usize], 7);
        assert_eq!(metrics.get(Event::Retried), 7);
    }

    #[test]
    fn a_latency_counts_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let shard = ReleaseShard::default();
        for micros in [0, 1_000, 1_001, 10_000_000, 10_000_001, u64::MAX] {
            shard.record(200, RouteReason::Active, Duration::from_micros(micros));
        }
        let counts: Vec<u64> = shard.buckets.iter().map(Counter::get).collect();
        assert_eq!((counts[0], counts[1], counts[16], counts[17]), (2, 1, 1, 2));
        assert_eq!(counts.iter().sum::<u64>(), 6);
    }

    #[test]
    fn a_status_that_no_class_has_counts_only_as_latency() {
        let shard = ReleaseShard::default();
        for status in [0, 99, 600, 999, u16::MAX] {
            shard.record(status, RouteReason::Active, Duration::ZERO);
        }
        assert_eq!(shard.classes.iter().map(Counter::get).sum::<u64>(), 0);
        assert_eq!(shard.buckets[0].get(), 5);
    }

    #[test]
    fn counting_goes_on_when_a_snapshot_names_the_same_release_and_flag() {
        let metrics = Metrics::default();
        let shard = metrics.shard();
        shard.release("web", "production", "web-1").record(200, RouteReason::Active, Duration::ZERO);
        shard.release("web", "production", "web-1").record(503, RouteReason::Active, Duration::ZERO);
        flag_shard(&shard, &["on", "off"]).record(&[outcome(0, FlagReason::Split)]);
        flag_shard(&shard, &["on", "off"]).record(&[outcome(0, FlagReason::Split)]);
        let totals = metrics.totals(Instant::now());
        assert_eq!(totals.releases[&name("web-1")].classes, [0, 1, 0, 0, 1]);
        assert_eq!(totals.flags[&(name("checkout"), "on".into())][FlagReason::Split as usize], 2);
    }

    #[test]
    fn a_flag_whose_variants_are_reordered_keeps_counting_by_name() {
        let metrics = Metrics::default();
        let shard = metrics.shard();
        flag_shard(&shard, &["on", "off"]).record(&[outcome(0, FlagReason::Static)]);
        flag_shard(&shard, &["off", "on"]).record(&[outcome(1, FlagReason::Static)]);
        let totals = metrics.totals(Instant::now());
        assert_eq!(totals.flags[&(name("checkout"), "on".into())][FlagReason::Static as usize], 2);
        assert_eq!(totals.flags[&(name("checkout"), "off".into())][FlagReason::Static as usize], 0);
    }

    #[test]
    fn an_outcome_beyond_the_known_variants_is_not_counted_and_does_not_panic() {
        let metrics = Metrics::default();
        let shard = metrics.shard();
        let flags = flag_shard(&shard, &["on"]);
        flags.record(&[outcome(9, FlagReason::Static), outcome(0, FlagReason::Static)]);
        assert_eq!(metrics.totals(Instant::now()).flags[&(name("checkout"), "on".into())], [0; REASONS]);
    }

    #[test]
    fn a_release_that_nobody_holds_stays_for_an_hour_and_is_then_forgotten() {
        let metrics = Metrics::default();
        let shard = metrics.shard();
        drop(shard.release("web", "production", "old"));
        let held = shard.release("web", "production", "new");
        let start = Instant::now();
        assert_eq!(metrics.totals(start + FORGET_AFTER / 2).releases.len(), 2);
        metrics.totals(start + FORGET_AFTER * 2);
        let totals = metrics.totals(start + FORGET_AFTER * 3);
        assert_eq!(totals.releases.keys().cloned().collect::<Vec<_>>(), [name("new")]);
        drop(held);
    }
}
