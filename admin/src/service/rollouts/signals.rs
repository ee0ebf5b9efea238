//! What speaks for or against a release beside the verdict: what edges find when they look at its upstreams, breakers that
//! opened, alerts that fire, and what the infrastructure uses.
//!
//! Only the last words of each source are kept, in the store, so that whichever process drives sees them all, also after a
//! restart. What follows from them is decided here and is pure.

use admin_api::edge::Report;
use admin_api::signals::{Alert, AlertMeans};
use rollout::{Event, HeldWhy, MOST_LOOKS, Ms, OutOf, Phase, Place, Plan, State};
use serde::{Deserialize, Serialize};

use super::evidence::Gathered;
use super::{Rollout, ms};
use crate::edges::Hub;
use crate::service::ServiceError;
use crate::store::{SignalRow, WriteTx};

/// How edges find the releases.
pub(crate) const HEALTH: &str = "health";
/// Alerts that fire.
pub(crate) const ALERT: &str = "alert";
/// What the infrastructure uses.
pub(crate) const INFRASTRUCTURE: &str = "infrastructure";

/// An edge that has not said anything for so long says nothing any more.
const FRESH_MS: Ms = 10_000;
/// A use of the infrastructure that is older than this is not known.
const USE_MS: Ms = 120_000;
/// What was held because stable fails too goes on when that has been over for so long.
const CALM_MS: Ms = 10_000;
/// Edges that are named in a sentence.
const MOST_NAMED: usize = 3;

/// What an edge found, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Looks {
    /// Where the edge is.
    pub(crate) region: Option<String>,
    pub(crate) looks: Vec<Look>,
}

/// One look of an edge at the two releases of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) at: Ms,
    /// Whether an upstream of it can be used; `None` when the edge did not look.
    pub(crate) candidate: Option<bool>,
    pub(crate) stable: Option<bool>,
    /// Whether the candidate's breaker is open.
    pub(crate) breaker: bool,
}

/// What the infrastructure uses of something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Use {
    /// A share.
    pub(crate) value: f64,
}

/// Writes what an edge found into the words that it gave before.
pub(crate) async fn note_health(
    tx: &mut WriteTx,
    gathered: &Gathered,
    report: &Report,
    hub: &Hub,
    now: i64,
) -> Result<(), ServiceError> {
    for environment in report.environments.iter().filter(|one| !one.health.is_empty()) {
        let Some(rollout) = gathered.rollout(&environment.scope) else { continue };
        let of = |release: &str| environment.health.iter().find(|one| one.release == release);
        let is_usable = |release: &str| of(release).map(|one| one.upstreams == 0 || one.available > 0);
        let look = Look {
            at: ms(now),
            candidate: is_usable(&rollout.plan.release),
            stable: is_usable(&rollout.plan.stable),
            breaker: of(&rollout.plan.release).is_some_and(|one| one.breaker_open),
        };
        let scope = (environment.scope.app.as_str(), environment.scope.environment.as_str());
        let source = format!("{} {}", report.edge, report.boot);
        let known = tx.signal(scope, (HEALTH, &source)).await?;
        let mut looks: Looks = known.and_then(|row| serde_json::from_str(&row.document).ok()).unwrap_or_default();
        looks.region = hub.region_of(&report.edge, &report.boot);
        looks.looks.push(look);
        let extra = looks.looks.len().saturating_sub(MOST_LOOKS);
        looks.looks.drain(..extra);
        put(tx, scope, (HEALTH, &source), &looks, now).await?;
    }
    Ok(())
}

/// Keeps the last word of a source.
pub(crate) async fn put(
    tx: &mut WriteTx,
    (app, environment): (&str, &str),
    (kind, source): (&str, &str),
    what: &impl Serialize,
    now: i64,
) -> Result<(), ServiceError> {
    // Text keys and finite numbers, and nothing else can fail.
    let document = serde_json::to_string(what).unwrap_or_default();
    let (app, environment) = (app.to_owned(), environment.to_owned());
    let (kind, source) = (kind.to_owned(), source.to_owned());
    tx.put_signal(&SignalRow { app, environment, kind, source, at: now, document }).await?;
    Ok(())
}

/// What follows from all signals of an environment for the rollout that is under way there.
pub(crate) fn events(rollout: &Rollout, rows: &[SignalRow], now: Ms) -> Vec<Event> {
    let Rollout { plan, state, .. } = rollout;
    let has_traffic = matches!(state.phase, Phase::KeepingWarm { .. })
        || state.phase.place().is_some_and(|place| place != Place::Preview);
    if !has_traffic || state.phase.is_taking_back() {
        return Vec::new();
    }
    let strain = strain(plan, rows, now);
    let strained = match (&state.strained, strain) {
        (None, Some(detail)) => Some(Event::Strain { detail }),
        (Some(_), None) => Some(Event::Relax),
        _ => None,
    };
    strained.into_iter().chain(alarmed(plan, state, rows, now)).collect()
}

/// The alarm that is new, or that one is over.
fn alarmed(plan: &Plan, state: &State, rows: &[SignalRow], now: Ms) -> Option<Event> {
    let alarm = alarm(plan, state.created, rows, now);
    let is_known = matches!(&state.phase, Phase::Held { why: HeldWhy::StableFailsToo(_), .. });
    match alarm {
        Some((_, true)) if is_known => None,
        Some((detail, stable_too)) => Some(Event::Alarm { detail, stable_too }),
        None if is_known && now >= state.phase.since().saturating_add(CALM_MS) => {
            Some(Event::Calm { detail: "nothing says any more that stable fails too".to_owned() })
        }
        None => None,
    }
}

/// What an edge said lately about a rollout.
pub(super) struct Word {
    pub(super) edge: String,
    pub(super) region: Option<String>,
    pub(super) looks: Vec<Look>,
}

/// What edges said since a time, those of them that still say something.
pub(super) fn words(rows: &[SignalRow], since: Ms, now: Ms) -> Vec<Word> {
    let rows = rows.iter().filter(|row| row.kind == HEALTH && ms(row.at).saturating_add(FRESH_MS) >= now);
    rows.filter_map(|row| {
        let Looks { region, mut looks } = serde_json::from_str(&row.document).ok()?;
        looks.retain(|look| look.at >= since);
        let edge = row.source.split(' ').next().unwrap_or_default().to_owned();
        (!looks.is_empty()).then_some(Word { edge, region, looks })
    })
    .collect()
}

/// What is wrong, in words, and whether stable has it too.
fn alarm(plan: &Plan, created: Ms, rows: &[SignalRow], now: Ms) -> Option<(String, bool)> {
    let words = words(rows, created, now);
    let by_probes = plan.template.alarms.probes.and_then(|rule| probes(plan, &words, rule));
    by_probes
        .or_else(|| breakers(plan, &words))
        .or_else(|| alerts(plan, created, rows).filter(|_| plan.template.alarms.alertmanager))
}

/// How many edges have to agree.
fn enough(asked: usize, words: &[Word]) -> usize {
    asked.min(words.len()).max(1)
}

fn probes(plan: &Plan, words: &[Word], OutOf { failed, of }: OutOf) -> Option<(String, bool)> {
    let fails = |word: &&Word, which: fn(&Look) -> Option<bool>| {
        let last = word.looks.iter().rev().take(of);
        last.filter(|look| which(look) == Some(false)).count() >= failed
    };
    let failing: Vec<&Word> = words.iter().filter(|word| fails(word, |look| look.candidate)).collect();
    if failing.len() < enough(2, words) {
        return None;
    }
    let stable_too = failing.iter().filter(|word| fails(word, |look| look.stable)).count() * 2 >= failing.len();
    let (release, seen, all) = (&plan.release, failing.len(), words.len());
    let at = names(failing.iter().map(|word| word.edge.as_str()));
    let detail = format!(
        "{failed} of the last {of} looks found no usable upstream of {release}, at {seen} of {all} edges ({at})"
    );
    Some((detail, stable_too))
}

fn breakers(plan: &Plan, words: &[Word]) -> Option<(String, bool)> {
    let asked = usize::try_from(plan.template.alarms.breaker_edges).unwrap_or(usize::MAX);
    let is_open = |word: &&Word| word.looks.last().is_some_and(|look| look.breaker);
    let open: Vec<&Word> = words.iter().filter(is_open).collect();
    if asked == 0 || open.len() < enough(asked, words) {
        return None;
    }
    let fails = |word: &&&Word| word.looks.last().is_some_and(|look| look.stable == Some(false));
    let stable_too = open.iter().filter(fails).count() * 2 >= open.len();
    let at = names(open.iter().map(|word| word.edge.as_str()));
    let (release, seen, all) = (&plan.release, open.len(), words.len());
    Some((format!("the breaker of {release} is open at {seen} of {all} edges ({at})"), stable_too))
}

fn names<'a>(edges: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = edges.collect();
    let named = all.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    if all.len() > MOST_NAMED { format!("{named} and {} more", all.len() - MOST_NAMED) } else { named }
}

fn alerts(plan: &Plan, created: Ms, rows: &[SignalRow]) -> Option<(String, bool)> {
    let firing = rows.iter().filter(|row| row.kind == ALERT);
    let firing: Vec<Alert> = firing.filter_map(|row| serde_json::from_str(&row.document).ok()).collect();
    let against = |which: AlertMeans| firing.iter().find(|alert| means(alert, plan, created) == which);
    let candidate = against(AlertMeans::CandidateFails);
    let stable = against(AlertMeans::StableFails);
    let alert = candidate.or(stable)?;
    Some((format!("the alert {} fires: {}", alert.name, alert.summary), stable.is_some()))
}

/// What an alert says about a rollout.
pub(crate) fn means(alert: &Alert, plan: &Plan, created: Ms) -> AlertMeans {
    if matches!(alert.severity.as_deref(), Some("info" | "none")) {
        return AlertMeans::Told;
    }
    match alert.release.as_deref() {
        Some(release) if release == plan.release => AlertMeans::CandidateFails,
        Some(release) if release == plan.stable => AlertMeans::StableFails,
        // What began before the candidate had traffic is not its doing.
        None if ms(alert.starts_at_ms) >= created => AlertMeans::CandidateFails,
        Some(_) | None => AlertMeans::Told,
    }
}

/// What there is too little of, in words.
fn strain(plan: &Plan, rows: &[SignalRow], now: Ms) -> Option<String> {
    let most = |name: &str| match name {
        "cpu" => plan.template.infrastructure.cpu,
        "memory" => plan.template.infrastructure.memory,
        _ => None,
    };
    let known = rows.iter().filter(|row| row.kind == INFRASTRUCTURE && ms(row.at).saturating_add(USE_MS) >= now);
    let above = known.filter_map(|row| {
        let Use { value } = serde_json::from_str(&row.document).ok()?;
        let most = most(&row.source).filter(|most| value > *most)?;
        Some(format!("{} is at {:.0} %, above {:.0} %", row.source, value * 100.0, most * 100.0))
    });
    let above: Vec<String> = above.collect();
    (!above.is_empty()).then(|| above.join(", "))
}

#[cfg(test)]
mod tests {
    use rollout::{By, Template};

    use super::*;
    use crate::service::rollouts::started_for_tests;

    const CREATED: Ms = 1_000_000;
    const NOW: Ms = CREATED + 20_000;

    fn plan() -> Plan {
        Plan::new("web-2", "web-1", Template::built_in("canary").expect("it is built in"))
    }

    fn row(kind: &str, source: &str, at: Ms, what: &impl Serialize) -> SignalRow {
        SignalRow {
            app: "web".into(),
            environment: "production".into(),
            kind: kind.into(),
            source: source.into(),
            at: i64::try_from(at).expect("a time"),
            document: serde_json::to_string(what).expect("JSON"),
        }
    }

    /// Looks, newest last: `.` = both can be used, `c` = not the candidate, `s` = not stable, `b` = neither, `o` = the breaker
    /// is open.
    fn edge(name: &str, looks: &str) -> SignalRow {
        let look = |(back, look): (usize, char)| Look {
            at: NOW - 2000 * back as Ms,
            candidate: Some(!matches!(look, 'c' | 'b')),
            stable: Some(!matches!(look, 's' | 'b')),
            breaker: look == 'o',
        };
        let looks = looks.chars().rev().enumerate().map(look).collect::<Vec<_>>().into_iter().rev().collect();
        row(HEALTH, &format!("{name} b1"), NOW, &Looks { region: None, looks })
    }

    fn said(rows: &[SignalRow]) -> Option<(String, bool)> {
        alarm(&plan(), CREATED, rows, NOW)
    }

    #[test]
    fn a_candidate_is_down_when_enough_looks_at_enough_edges_say_so() {
        assert_eq!(said(&[]), None);
        assert_eq!(said(&[edge("a", "..cc."), edge("b", "...cc")]), None, "two of five");
        assert_eq!(said(&[edge("a", "cc.c."), edge("b", ".....")]), None, "one edge of two");
        let (detail, stable_too) =
            said(&[edge("a", "cc.c."), edge("b", ".cc.c"), edge("c", ".....")]).expect("an alarm");
        let expected = "3 of the last 5 looks found no usable upstream of web-2, at 2 of 3 edges (a, b)";
        assert_eq!((detail.as_str(), stable_too), (expected, false));
        assert!(said(&[edge("a", "ccc")]).is_some(), "the only edge");
        assert_eq!(said(&[edge("a", "bbb"), edge("b", "bbb")]).map(|(_, too)| too), Some(true));
        let old = SignalRow { at: i64::try_from(NOW - 11_000).expect("a time"), ..edge("a", "ccc") };
        assert_eq!(said(&[old]), None, "it says nothing any more");
    }

    #[test]
    fn open_breakers_at_enough_edges_are_an_alarm() {
        assert_eq!(said(&[edge("a", "..o"), edge("b", "...")]), None);
        assert_eq!(said(&[edge("a", "oo."), edge("b", "..o"), edge("c", "...")]), None, "one has closed");
        let (detail, stable_too) = said(&[edge("a", "..o"), edge("b", "..o"), edge("c", "...")]).expect("an alarm");
        assert_eq!((detail.as_str(), stable_too), ("the breaker of web-2 is open at 2 of 3 edges (a, b)", false));
    }

    fn alert(release: Option<&str>, severity: &str, starts_at_ms: Ms) -> Alert {
        Alert {
            name: "HighErrorRate".into(),
            summary: "3 % of requests fail".into(),
            release: release.map(str::to_owned),
            severity: Some(severity.into()),
            starts_at_ms: i64::try_from(starts_at_ms).expect("a time"),
        }
    }

    #[test]
    fn an_alert_counts_against_the_release_that_it_names_or_that_came_before_it() {
        let said = |alert: &Alert| said(&[row(ALERT, "f1", NOW, alert)]);
        let fires = "the alert HighErrorRate fires: 3 % of requests fail".to_owned();
        assert_eq!(said(&alert(Some("web-2"), "critical", 0)), Some((fires.clone(), false)));
        assert_eq!(said(&alert(Some("web-1"), "critical", 0)), Some((fires.clone(), true)));
        assert_eq!(said(&alert(None, "warning", CREATED)), Some((fires, false)));
        assert_eq!(said(&alert(None, "warning", CREATED - 1)), None, "older than the rollout");
        assert_eq!(said(&alert(Some("web-0"), "critical", NOW)), None, "of another release");
        assert_eq!(said(&alert(Some("web-2"), "info", NOW)), None, "no alarm");
    }

    #[test]
    fn what_is_used_beyond_its_threshold_bars_the_next_step_while_it_is_known() {
        let used = |name: &str, at, value| row(INFRASTRUCTURE, name, at, &Use { value });
        let strained = |rows: &[SignalRow]| strain(&plan(), rows, NOW);
        assert_eq!(strained(&[used("cpu", NOW, 0.8), used("memory", NOW, 0.85)]), None);
        let both = strained(&[used("cpu", NOW, 0.91), used("disk", NOW, 0.99), used("memory", NOW, 0.86)]);
        assert_eq!(both.as_deref(), Some("cpu is at 91 %, above 80 %, memory is at 86 %, above 85 %"));
        assert_eq!(strained(&[used("cpu", NOW - USE_MS - 1, 0.91)]), None, "old");
    }

    #[test]
    fn an_alarm_of_both_is_told_once_and_its_end_too() {
        let by = By::Person { id: "1".into(), name: "ada".into() };
        let mut rollout = started_for_tests(plan(), by, CREATED);
        let both = [edge("a", "bbb")];
        let told = events(&rollout, &both, NOW);
        let [Event::Alarm { stable_too: true, .. }] = &told[..] else { panic!("{told:?}") };
        rollout.on(told[0].clone(), NOW).expect("it is held");
        assert_eq!(events(&rollout, &both, NOW), [], "known");
        assert_eq!(events(&rollout, &[], NOW + CALM_MS - 1), []);
        let over = events(&rollout, &[], NOW + CALM_MS);
        assert!(matches!(over[..], [Event::Calm { .. }]), "{over:?}");
        assert_eq!(events(&rollout, &[edge("a", "ccc")], NOW).len(), 1, "now it is the candidate alone");
    }
}
