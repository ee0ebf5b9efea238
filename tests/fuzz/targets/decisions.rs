//! What holds for every decision, whatever was asked.

use edge_engine::{
    BUCKETS, Decision, EvaluateOptions, Evaluation, FlagIndex, FlagOutcome, FlagSelection, JsonContext, ReleaseIndex,
    RequestContext, Route, RouteReason, Slot, Snapshot, decide, evaluate, write_decision,
};
use serde_json::Value as Json;

use super::NOW_MS;

/// A decision to be overwritten: everything in it is wrong.
pub(super) fn nothing() -> Decision {
    let route = Route {
        slot: Slot::Green,
        release: ReleaseIndex(u16::MAX),
        reason: RouteReason::Override,
        rule: None,
        bucket: Some(u32::MAX),
        unit: None,
        renew_pin: true,
    };
    Decision { route, flags: Vec::new() }
}

/// The decision of a request: the same a second time, of this snapshot, and the same behind the codec.
pub(super) fn decided(snapshot: &Snapshot, request: &RequestContext<'_>) -> Decision {
    let (mut first, mut second) = (nothing(), nothing());
    decide(snapshot, request, &mut first);
    decide(snapshot, request, &mut second);
    assert_eq!(first, second, "one request, two decisions");
    sound(snapshot, &first);
    let mut evaluation = Evaluation::new(snapshot, request);
    for flag in snapshot.flags() {
        let index = snapshot.flag_index(flag.key().as_str()).expect("a flag is found by its key");
        let outcome = evaluation.flag(index);
        outcome_sound(snapshot, &outcome);
        let forwarded = first.flags.iter().find(|forwarded| forwarded.flag == index);
        assert!(forwarded.is_none_or(|forwarded| *forwarded == outcome), "alone, a flag is decided differently");
    }
    let (mut message, mut decoded) = (Vec::new(), nothing());
    edge_abi::encode_decision(&first, &mut message);
    edge_abi::decode_decision(&message, snapshot, &mut decoded).expect("our own decision can be decoded");
    assert_eq!(first, decoded, "the codec changes a decision");
    first
}

/// Every index of a decision is one of the snapshot's.
pub(super) fn sound(snapshot: &Snapshot, decision: &Decision) {
    let Route { slot, release, rule, bucket, unit, .. } = decision.route;
    assert_eq!(snapshot.traffic().release(slot), Some(release), "the slot holds another release");
    assert!(rule.is_none_or(|rule| snapshot.traffic().rule(rule).is_some()), "no rule of the traffic");
    assert!(bucket.is_none_or(|bucket| bucket < BUCKETS), "no bucket: {bucket:?}");
    assert!(unit.is_none_or(|unit| usize::from(unit.0) < snapshot.unit_sources().len()), "no source of a unit");
    assert!(decision.flags.iter().map(|flag| flag.flag).eq(snapshot.forwarded().iter().copied()), "other flags");
    decision.flags.iter().for_each(|outcome| outcome_sound(snapshot, outcome));
}

fn outcome_sound(snapshot: &Snapshot, outcome: &FlagOutcome) {
    let flag = snapshot.flag(outcome.flag).expect("the flag is one of the snapshot");
    assert!(flag.variant(outcome.variant).is_some(), "no variant of the flag");
    assert!(outcome.rule.is_none_or(|rule| flag.rule(rule).is_some()), "no rule of the flag");
    assert!(outcome.bucket.is_none_or(|bucket| bucket < flag.buckets()), "no bucket: {:?}", outcome.bucket);
}

/// Evaluates a context in each way there is. All agree, and all answers are JSON.
pub(super) fn evaluated(snapshot: &Snapshot, context: &JsonContext) {
    let all = agreed(snapshot, context, FlagSelection::All);
    assert_eq!(flags(&all), snapshot.flags().len(), "an answer for all flags leaves some out");
    let forwarded = agreed(snapshot, context, FlagSelection::Forwarded);
    assert_eq!(flags(&forwarded), snapshot.forwarded().len(), "an answer for forwarded flags leaves some out");
    let mixed = [FlagIndex(u32::MAX), FlagIndex(0)];
    let mixed = agreed(snapshot, context, FlagSelection::These(&mixed));
    assert_eq!(flags(&mixed), snapshot.flags().len().min(1), "an index of another snapshot has an answer");

    let lists = context.lists(snapshot);
    let values = context.values(snapshot, &lists);
    let request = context.request(&values, NOW_MS);
    let mut packed = Vec::new();
    write_decision(snapshot, &request, &decided(snapshot, &request), "native", &mut packed);
    assert_eq!(text(&packed), text(&forwarded), "packed and as JSON, one context decides differently");
}

/// An answer without trace, after a look at the one with it.
fn agreed(snapshot: &Snapshot, context: &JsonContext, flags: FlagSelection<'_>) -> Vec<u8> {
    let answer = |explain| {
        let mut out = Vec::new();
        evaluate(snapshot, context, &EvaluateOptions { engine: "native", now_ms: NOW_MS, flags, explain }, &mut out);
        out
    };
    let (plain, explained) = (answer(false), answer(true));
    // The trace comes last.
    let (_, open) = plain.split_last().expect("an answer is an object");
    assert!(explained.starts_with(open), "the trace changes the answer: {} {}", text(&plain), text(&explained));
    let explained: Json = serde_json::from_slice(&explained).expect("an explained answer is JSON");
    assert!(explained["trace"]["route"].is_array() && explained["trace"]["flags"].is_object(), "no trace: {explained}");
    plain
}

fn flags(answer: &[u8]) -> usize {
    let answer: Json = serde_json::from_slice(answer).expect("an answer is JSON");
    answer["flags"].as_object().expect("an answer has flags").len()
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
