//! What was counted, what the control plane was told of it, and what it has not answered.
//!
//! It owns the sequence. Invariant: each count is in exactly one report, a report that may have arrived is never changed,
//! and nothing is dropped while the control plane is away: too many reports become one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use admin_api::edge::{
    EnvironmentReport, Exposed, FirstBad, FlagReport, MOST_EXPOSED, MOST_FIRST_BAD, ReleaseHealth, ReleaseReport,
    Report, SplitCount,
};

use super::acks::wire;
use crate::gateway::metrics::counted::{Counted, CountedRelease};
use crate::gateway::scope::Scope;

/// Ten minutes at one report in two seconds.
pub(super) const MAX_WAITING: usize = 300;

#[derive(Debug)]
struct Waiting {
    report: Report,
    /// It may have arrived, although nobody said so.
    was_sent: bool,
}

/// What is told of an environment beside its counters.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// What units met since the last report.
    pub(super) first_bad: Vec<FirstBad>,
    /// Which units came.
    pub(super) exposed: Vec<Exposed>,
    /// How its releases are now.
    pub(super) health: Vec<ReleaseHealth>,
}

/// The reports of one process.
#[derive(Debug)]
pub(super) struct Ledger {
    edge: String,
    boot: String,
    sequence: u64,
    /// What is in reports already.
    told: BTreeMap<Scope, Counted>,
    waiting: VecDeque<Waiting>,
}

impl Ledger {
    pub(super) fn new(edge: String, boot: String) -> Self {
        Self { edge, boot, sequence: 0, told: BTreeMap::new(), waiting: VecDeque::new() }
    }

    /// Makes a report of what was counted since the last one, and of what units met since then. Without a listener, one that
    /// says nothing is not made; whether one was.
    pub(super) fn add(
        &mut self,
        counted: &BTreeMap<Scope, Counted>,
        mut observed: impl FnMut(&Scope) -> Observed,
        covers: Duration,
        has_listener: bool,
    ) -> bool {
        let environments = counted.iter().filter_map(|(scope, now)| {
            let Observed { first_bad, exposed, health } = observed(scope);
            let environment = self.since(scope, now);
            let is_quiet = environment.is_none() && first_bad.is_empty() && exposed.is_empty() && health.is_empty();
            let quiet = || EnvironmentReport { scope: wire(scope), ..EnvironmentReport::default() };
            (!is_quiet).then(|| EnvironmentReport { first_bad, exposed, health, ..environment.unwrap_or_else(quiet) })
        });
        let environments: Vec<_> = environments.collect();
        // What the workers have forgotten is forgotten here.
        self.told.retain(|scope, _| counted.contains_key(scope));
        if environments.is_empty() && !has_listener {
            return false;
        }
        self.sequence += 1;
        let report = Report {
            edge: self.edge.clone(),
            boot: self.boot.clone(),
            sequence: self.sequence,
            covers_ms: u64::try_from(covers.as_millis()).unwrap_or(u64::MAX),
            lost: 0,
            environments,
        };
        self.waiting.push_back(Waiting { report, was_sent: false });
        if self.waiting.len() > MAX_WAITING {
            self.merge();
        }
        true
    }

    /// The oldest report that is not answered. From now on it is as it is.
    pub(super) fn next(&mut self) -> Option<&Report> {
        let first = self.waiting.front_mut()?;
        first.was_sent = true;
        Some(&first.report)
    }

    /// The control plane has everything up to this report.
    pub(super) fn answered(&mut self, sequence: u64) {
        while self.waiting.front().is_some_and(|first| first.was_sent && first.report.sequence <= sequence) {
            self.waiting.pop_front();
        }
    }

    /// How many are not answered.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Makes one of all that nobody has seen. Their numbers are free again.
    fn merge(&mut self) {
        let seen = self.waiting.iter().take_while(|waiting| waiting.was_sent).count();
        let mut rest = self.waiting.split_off(seen).into_iter();
        let Some(mut first) = rest.next() else { return };
        for next in rest {
            first.report.covers_ms = first.report.covers_ms.saturating_add(next.report.covers_ms);
            for environment in next.report.environments {
                add_environment(&mut first.report.environments, environment);
            }
        }
        self.sequence = first.report.sequence;
        self.waiting.push_back(first);
    }

    /// What an environment counted since it was told last; it is told with that.
    fn since(&mut self, scope: &Scope, now: &Counted) -> Option<EnvironmentReport> {
        let told = self.told.entry(scope.clone()).or_default();
        let fallbacks = advance(&mut told.fallbacks, now.fallbacks);
        told.releases.retain(|release, _| now.releases.contains_key(release));
        told.flags.retain(|flag, _| now.flags.contains_key(flag));
        let releases: Vec<_> = now
            .releases
            .iter()
            .filter_map(|(release, now)| {
                let told = told.releases.entry(release.clone()).or_default();
                release_since(release, told, now)
            })
            .collect();
        let mut flags = Vec::new();
        for ((flag, variant), now) in &now.flags {
            let told = told.flags.entry((flag.clone(), variant.clone())).or_default();
            let count = advance(told, *now);
            if count > 0 {
                flags.push(FlagReport { flag: flag.to_string(), variant: variant.to_string(), count });
            }
        }
        let is_quiet = fallbacks == 0 && releases.is_empty() && flags.is_empty();
        (!is_quiet).then(|| EnvironmentReport {
            scope: wire(scope),
            fallbacks,
            releases,
            flags,
            ..EnvironmentReport::default()
        })
    }
}

/// By how much a counter grew; it is known from now on.
fn advance(told: &mut u64, now: u64) -> u64 {
    let by = now.saturating_sub(*told);
    *told = now;
    by
}

/// The counters of a release are not read at one instant. An error whose request is not seen yet waits for it, so that no
/// report has more errors than requests.
fn release_since(release: &str, told: &mut CountedRelease, now: &CountedRelease) -> Option<ReleaseReport> {
    let requests = advance(&mut told.requests, now.requests);
    let mut left = requests;
    let transport_errors = advance_within(&mut left, &mut told.transport_errors, now.transport_errors);
    let server_errors = advance_within(&mut left, &mut told.server_errors, now.server_errors);
    let client_errors = advance_within(&mut left, &mut told.client_errors, now.client_errors);
    let latency = told.latency.iter_mut().zip(now.latency).map(|(told, now)| advance(told, now)).collect();
    let latency_us = advance(&mut told.latency_us, now.latency_us);
    let split = (0..told.split.len()).map(|half| {
        let requests = advance(&mut told.split[half], now.split[half]);
        let mut left = requests;
        let failed = advance_within(&mut left, &mut told.split_failed[half], now.split_failed[half]);
        SplitCount { requests, failed }
    });
    let split: Vec<_> = split.collect();
    let split = if split.iter().all(|half| half.requests == 0) { Vec::new() } else { split };
    let release = release.to_owned();
    (requests > 0).then_some(ReleaseReport {
        release,
        requests,
        client_errors,
        server_errors,
        transport_errors,
        latency,
        latency_us,
        split,
    })
}

/// The same for something that happens to requests of which so many are left.
fn advance_within(left: &mut u64, told: &mut u64, now: u64) -> u64 {
    let by = now.saturating_sub(*told).min(*left);
    *left -= by;
    *told = if now < *told { now } else { *told + by };
    by
}

fn add_environment(to: &mut Vec<EnvironmentReport>, from: EnvironmentReport) {
    let Some(known) = to.iter_mut().find(|known| known.scope == from.scope) else { return to.push(from) };
    known.fallbacks += from.fallbacks;
    known.first_bad.extend(from.first_bad);
    known.first_bad.truncate(MOST_FIRST_BAD);
    known.exposed.extend(from.exposed);
    known.exposed.truncate(MOST_EXPOSED);
    known.health = from.health;
    for release in from.releases {
        match known.releases.iter_mut().find(|known| known.release == release.release) {
            Some(known) => {
                known.requests += release.requests;
                known.client_errors += release.client_errors;
                known.server_errors += release.server_errors;
                known.transport_errors += release.transport_errors;
                known.latency_us += release.latency_us;
                add_each(&mut known.latency, &release.latency, |to, from| *to += from);
                add_each(&mut known.split, &release.split, |to, from| {
                    to.requests += from.requests;
                    to.failed += from.failed;
                });
            }
            None => known.releases.push(release),
        }
    }
    for flag in from.flags {
        match known.flags.iter_mut().find(|known| known.flag == flag.flag && known.variant == flag.variant) {
            Some(known) => known.count += flag.count,
            None => known.flags.push(flag),
        }
    }
}

/// Adds up two lists of one length, of which one may be empty.
fn add_each<T: Copy>(to: &mut Vec<T>, from: &[T], add: impl Fn(&mut T, T)) {
    if to.is_empty() {
        to.extend_from_slice(from);
    } else {
        to.iter_mut().zip(from).for_each(|(to, from)| add(to, *from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn scope() -> Scope {
        Scope::new("web", "production")
    }

    /// What a release and a flag of one environment have counted so far.
    fn counted(requests: u64, server_errors: u64, on: u64) -> BTreeMap<Scope, Counted> {
        let release = CountedRelease { requests, server_errors, ..CountedRelease::default() };
        let environment = Counted {
            fallbacks: 0,
            releases: [("web-1".into(), release)].into(),
            flags: [(("checkout".into(), "on".into()), on)].into(),
        };
        [(scope(), environment)].into()
    }

    fn add(ledger: &mut Ledger, counted: &BTreeMap<Scope, Counted>, covers: Duration, has_listener: bool) -> bool {
        ledger.add(counted, |_| Observed::default(), covers, has_listener)
    }

    fn ledger() -> Ledger {
        Ledger::new("edge-1".to_owned(), "boot".to_owned())
    }

    /// Answers everything as it is sent; sequence, requests and evaluations of each.
    fn drain(ledger: &mut Ledger) -> Vec<(u64, u64, u64)> {
        let mut sent = Vec::new();
        while let Some(report) = ledger.next() {
            let environments = &report.environments;
            let requests = environments.iter().flat_map(|it| &it.releases).map(|it| it.requests).sum();
            let flags = environments.iter().flat_map(|it| &it.flags).map(|it| it.count).sum();
            let sequence = report.sequence;
            sent.push((sequence, requests, flags));
            ledger.answered(sequence);
        }
        sent
    }

    #[test]
    fn each_report_has_what_was_counted_since_the_one_before() {
        let mut ledger = ledger();
        add(&mut ledger, &counted(5, 1, 5), SECOND, true);
        add(&mut ledger, &counted(5, 1, 5), SECOND, true);
        add(&mut ledger, &counted(9, 1, 8), SECOND, true);
        assert_eq!(drain(&mut ledger), [(1, 5, 5), (2, 0, 0), (3, 4, 3)]);
        assert!(!add(&mut ledger, &counted(9, 1, 8), SECOND, false), "nothing to say and nobody to hear it");
    }

    #[test]
    fn an_unanswered_report_is_sent_again_as_it_was_and_the_later_ones_wait() {
        let mut ledger = ledger();
        add(&mut ledger, &counted(5, 0, 0), SECOND, true);
        let first = ledger.next().expect("one waits").clone();
        add(&mut ledger, &counted(7, 0, 0), SECOND, true);
        assert_eq!(ledger.next(), Some(&first), "nobody answered");
        ledger.answered(0);
        assert_eq!(ledger.waiting(), 2);
        assert_eq!(drain(&mut ledger), [(1, 5, 0), (2, 2, 0)]);
    }

    #[test]
    fn too_many_reports_become_one_but_never_one_that_may_have_arrived() {
        let mut ledger = ledger();
        add(&mut ledger, &counted(1, 0, 1), SECOND, true);
        ledger.next().expect("sent, and not answered");
        for n in 2..=1000 {
            add(&mut ledger, &counted(n, 0, n), SECOND, false);
            assert!(ledger.waiting() <= MAX_WAITING);
        }
        let sent = drain(&mut ledger);
        assert_eq!(sent[0], (1, 1, 1));
        assert!(sent.iter().zip(1..).all(|(sent, sequence)| sent.0 == sequence), "no gap in {sent:?}");
        let total = sent.iter().fold((0, 0), |sum, sent| (sum.0 + sent.1, sum.1 + sent.2));
        assert_eq!(total, (1000, 1000), "no count is lost or there twice");
    }

    #[test]
    fn an_error_waits_for_its_request_and_a_counter_that_began_anew_is_not_negative() {
        let mut ledger = ledger();
        let errors = |ledger: &mut Ledger| {
            let report = ledger.next().expect("one waits").clone();
            ledger.answered(report.sequence);
            report.environments.first().map(|it| (it.releases[0].requests, it.releases[0].server_errors))
        };
        add(&mut ledger, &counted(1, 2, 0), SECOND, true);
        assert_eq!(errors(&mut ledger), Some((1, 1)));
        add(&mut ledger, &counted(2, 2, 0), SECOND, true);
        assert_eq!(errors(&mut ledger), Some((1, 1)));
        add(&mut ledger, &BTreeMap::new(), SECOND, true);
        assert_eq!(errors(&mut ledger), None);
        add(&mut ledger, &counted(3, 0, 0), SECOND, true);
        assert_eq!(errors(&mut ledger), Some((3, 0)), "forgotten in between");
    }
}
