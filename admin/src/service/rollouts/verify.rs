//! Whether traffic is really back: nothing can reach the candidate, and stable is found usable where visitors are.
//!
//! An edge looks every second in this time. It takes three good looks in a row at every edge that looks at all.

use rollout::{Event, Ms};

use super::Rollout;
use super::signals::{Word, words};
use crate::edges::proof::Proof;
use crate::store::SignalRow;

/// Good looks in a row.
const IN_A_ROW: usize = 3;

/// What there is to go by.
pub(super) struct Seen<'a> {
    /// Whether the candidate has no slot.
    pub(super) is_back: bool,
    /// The newest snapshot's number, and who runs it.
    pub(super) number: i64,
    pub(super) proof: &'a Proof,
    pub(super) rows: &'a [SignalRow],
}

/// Whether stable serves; `None` when that is not known yet.
pub(super) fn verify(rollout: &Rollout, seen: &Seen<'_>, now: Ms) -> Option<Event> {
    let (plan, state, number) = (&rollout.plan, &rollout.state, seen.number);
    if !seen.is_back {
        let detail = format!("{} has a slot in snapshot {number} again", plan.release);
        return Some(Event::Verified { good: false, detail });
    }
    let since = state.phase.since();
    let is_late = now >= since.saturating_add(plan.template.verify_ms);
    let missing: Vec<&str> = seen.proof.missing.iter().map(|edge| edge.id.as_str()).collect();
    // Who spoke during the rollout is asked; what they say counts from here on.
    let asked = words(seen.rows, state.created, now);
    let pending: Vec<&Word> = asked.iter().filter(|word| !is_good(word, since)).collect();
    let good = missing.is_empty() && pending.is_empty();
    if !is_late && !good {
        return None;
    }
    let detail = if good {
        let edges = seen.proof.edges.len();
        let by_edges = format!("{} has no slot in snapshot {number}, which {edges} edges run", plan.release);
        match regions(&asked) {
            Some(regions) => format!("{by_edges}; {IN_A_ROW} looks in a row found {} usable {regions}", plan.stable),
            None => format!("{by_edges}; no edge looks at upstreams"),
        }
    } else if missing.is_empty() {
        let names: Vec<&str> = pending.iter().map(|word| word.edge.as_str()).collect();
        format!("{} was not found usable {IN_A_ROW} times in a row at {}", plan.stable, names.join(", "))
    } else {
        format!("{} do not run snapshot {number}", missing.join(", "))
    };
    Some(Event::Verified { good, detail })
}

fn is_good(word: &Word, since: Ms) -> bool {
    let newest = word.looks.iter().rev().take(IN_A_ROW);
    let good = newest.filter(|look| look.at > since && look.stable == Some(true));
    good.count() == IN_A_ROW
}

/// Where, with how many edges each.
fn regions(words: &[Word]) -> Option<String> {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for word in words {
        let region = word.region.as_deref().unwrap_or_default();
        match counted.iter_mut().find(|(known, _)| *known == region) {
            Some((_, count)) => *count += 1,
            None => counted.push((region, 1)),
        }
    }
    let named = counted.iter().map(|(region, count)| match *region {
        "" => format!("at {count} edges"),
        region => format!("in {region} ({count} edges)"),
    });
    let named: Vec<String> = named.collect();
    (!named.is_empty()).then(|| named.join(" and "))
}

#[cfg(test)]
mod tests {
    use rollout::{By, Plan, Template};

    use super::*;
    use crate::service::rollouts::signals::{HEALTH, Look, Looks};
    use crate::service::rollouts::started_for_tests;

    const SINCE: Ms = 1_000_000;

    fn taken_back() -> Rollout {
        let plan = Plan::new("web-2", "web-1", Template::built_in("canary").expect("it is built in"));
        let by = By::Person { id: "1".into(), name: "ada".into() };
        let mut rollout = started_for_tests(plan, by.clone(), SINCE - 60_000);
        rollout.on(Event::RollBack { by, why: "5xx".into() }, SINCE - 10).expect("it goes back");
        rollout.on(Event::Acknowledged, SINCE).expect("it was acknowledged");
        rollout
    }

    /// Looks at stable, one each second; the first is before the verification.
    fn edge(name: &str, region: &str, looks: &str) -> SignalRow {
        let look = |(second, look): (Ms, char)| Look {
            at: SINCE + second * 1000,
            candidate: None,
            stable: Some(look == '.'),
            breaker: false,
        };
        let looks: Vec<Look> = (0..).zip(looks.chars()).map(look).collect();
        let at = looks.last().map_or(0, |look| look.at).try_into().expect("a time");
        let region = (!region.is_empty()).then(|| region.to_owned());
        let document = serde_json::to_string(&Looks { region, looks }).expect("JSON");
        let (app, environment) = ("web".to_owned(), "production".to_owned());
        SignalRow { app, environment, kind: HEALTH.into(), source: format!("{name} b1"), at, document }
    }

    fn verified(rows: &[SignalRow], seconds: Ms) -> Option<(bool, String)> {
        let proof = Proof { edges: Vec::new(), missing: Vec::new() };
        let seen = Seen { is_back: true, number: 7, proof: &proof, rows };
        match verify(&taken_back(), &seen, SINCE + seconds * 1000)? {
            Event::Verified { good, detail } => Some((good, detail)),
            event => panic!("{event:?}"),
        }
    }

    #[test]
    fn three_good_looks_in_a_row_at_every_edge_are_needed() {
        assert_eq!(verified(&[edge("a", "eu", "...")], 2), None, "two of them since");
        let good = verified(&[edge("a", "eu", "...."), edge("b", "eu", "xx..."), edge("c", "us", "....")], 5);
        let (good, detail) = good.expect("it is known");
        assert!(good && detail.ends_with("usable in eu (2 edges) and in us (1 edges)"), "{detail}");
        assert_eq!(verified(&[edge("a", "eu", "...."), edge("b", "us", "...x..")], 5), None, "broken off");
    }

    #[test]
    fn at_the_end_of_the_time_it_is_said_who_does_not_serve() {
        let rows = [edge("a", "", &".".repeat(31)), edge("b", "", &"x".repeat(31))];
        assert_eq!(verified(&rows, 29), None);
        let (good, detail) = verified(&rows, 30).expect("the time is over");
        assert_eq!((good, detail.as_str()), (false, "web-1 was not found usable 3 times in a row at b"));
    }

    #[test]
    fn where_no_edge_looks_the_acknowledgements_count() {
        let (good, detail) = verified(&[], 0).expect("it is known");
        assert!(good && detail.ends_with("no edge looks at upstreams"), "{detail}");
    }
}
