//! What holds for every snapshot and every request.

mod generate;

use std::collections::BTreeMap;

use edge_engine::{
    BUCKETS, BucketingKey, Decision, EvaluateOptions, Evaluation, FlagIndex, FlagSelection, JsonContext, Problem,
    ReleaseIndex, RequestContext, Route, RouteReason, Slot, Snapshot, Value, VariantKey, check, decide, evaluate,
    parse, reweight, wire::RangeWire, write_decision,
};
use generate::Random;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn load(document: &Json) -> Result<Snapshot, Vec<Problem>> {
    parse(document.to_string().as_bytes()).and_then(|wire| check(wire, &BucketingKey::new([9; 16])))
}

fn empty_decision() -> Decision {
    let route = Route {
        slot: Slot::Blue,
        release: ReleaseIndex(0),
        reason: RouteReason::Active,
        rule: None,
        bucket: None,
        unit: None,
        renew_pin: false,
    };
    Decision { route, flags: Vec::new() }
}

fn evaluated(snapshot: &Snapshot, context: &JsonContext, flags: FlagSelection<'_>, explain: bool) -> String {
    let mut out = Vec::new();
    evaluate(snapshot, context, &EvaluateOptions { engine: "native", now_ms: 1, flags, explain }, &mut out);
    String::from_utf8(out).expect("a decision is UTF-8")
}

/// A document that is accepted. References multiply work, so now and then one is too dear.
fn accepted(random: &mut Random) -> (Json, Snapshot) {
    loop {
        let document = generate::snapshot(random);
        match load(&document) {
            Ok(snapshot) => return (document, snapshot),
            Err(problems) => assert!(problems.iter().all(|problem| problem.code == "limit_exceeded"), "{problems:?}"),
        }
    }
}

/// Everything in a decision is of the snapshot that decided.
fn assert_belongs(snapshot: &Snapshot, decision: &Decision) {
    let route = &decision.route;
    assert!(usize::from(route.release.0) < snapshot.releases().len());
    assert_eq!(snapshot.traffic().release(route.slot), Some(route.release));
    assert!(route.bucket.is_none_or(|bucket| bucket < BUCKETS));
    assert!(route.rule.is_none_or(|rule| snapshot.traffic().rule(rule).is_some()));
    assert!(route.unit.is_none_or(|unit| usize::from(unit.0) < snapshot.unit_sources().len()));
    let flags: Vec<FlagIndex> = decision.flags.iter().map(|outcome| outcome.flag).collect();
    assert_eq!(flags, snapshot.forwarded());
    for outcome in &decision.flags {
        let flag = snapshot.flag(outcome.flag).unwrap();
        assert!(flag.variant(outcome.variant).is_some());
        assert!(outcome.bucket.is_none_or(|bucket| bucket < BUCKETS));
        assert!(outcome.rule.is_none_or(|rule| flag.rule(rule).is_some()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Whatever the host passes: any bytes, numbers that are none, lists, too few or too many values, any time.
    #[test]
    fn deciding_never_panics(seed: u64, bytes: Vec<u8>, now_ms: i64) {
        let mut random = Random(seed);
        let (_, snapshot) = accepted(&mut random);
        let inner: Vec<Value<'_>> = (0..4).map(|_| generate::any_value(&mut random, &bytes, &[])).collect();
        let count = snapshot.needs().len() + random.below(3);
        let count = count.saturating_sub(random.below(3));
        let values: Vec<Value<'_>> = (0..count).map(|_| generate::any_value(&mut random, &bytes, &inner)).collect();
        let request = RequestContext { values: &values, now_ms };
        let mut decision = empty_decision();
        decide(&snapshot, &request, &mut decision);
        assert_belongs(&snapshot, &decision);
        let mut out = Vec::new();
        write_decision(&snapshot, &request, &decision, "native", &mut out);
        prop_assert!(serde_json::from_slice::<Json>(&out).is_ok(), "{}", String::from_utf8_lossy(&out));
        snapshot.pin_cookie(decision.route.release, now_ms);
        // An index that is not of this snapshot is answered, and left out of the JSON.
        prop_assert_eq!(Evaluation::new(&snapshot, &request).flag(FlagIndex(u32::MAX)).rule, None);
    }

    #[test]
    fn any_bytes_are_a_context_or_an_error(seed: u64, bytes: Vec<u8>) {
        let mut random = Random(seed);
        let (_, snapshot) = accepted(&mut random);
        let mut text = generate::context(&mut random).to_string().into_bytes();
        for byte in bytes {
            let at = random.below(text.len() + 1);
            if random.chance(50) { text.insert(at, byte) } else if at < text.len() { text[at] = byte }
            match JsonContext::parse(&text) {
                Ok(context) => {
                    let decision = evaluated(&snapshot, &context, FlagSelection::All, true);
                    prop_assert!(serde_json::from_str::<Json>(&decision).is_ok(), "{decision}");
                }
                Err(error) => prop_assert!(["PARSE_ERROR", "INVALID_CONTEXT"].contains(&error.code)),
            }
        }
    }

    #[test]
    fn explaining_changes_nothing(seed: u64) {
        let mut random = Random(seed);
        let (_, snapshot) = accepted(&mut random);
        for _ in 0..5 {
            let context = JsonContext::parse(generate::context(&mut random).to_string().as_bytes()).unwrap();
            let plain = evaluated(&snapshot, &context, FlagSelection::All, false);
            let mut explained: Json =
                serde_json::from_str(&evaluated(&snapshot, &context, FlagSelection::All, true)).unwrap();
            let trace = explained.as_object_mut().unwrap().remove("trace").unwrap();
            prop_assert_eq!(serde_json::from_str::<Json>(&plain).unwrap(), explained);
            prop_assert_eq!(trace["flags"].as_object().unwrap().len(), snapshot.flags().len());
            // And the flat path answers what the JSON path answers.
            let lists = context.lists(&snapshot);
            let values = context.values(&snapshot, &lists);
            let request = context.request(&values, 1);
            let mut decision = empty_decision();
            decide(&snapshot, &request, &mut decision);
            let mut flat = Vec::new();
            write_decision(&snapshot, &request, &decision, "native", &mut flat);
            let forwarded = evaluated(&snapshot, &context, FlagSelection::Forwarded, false);
            prop_assert_eq!(String::from_utf8(flat).unwrap(), forwarded);
        }
    }

    #[test]
    fn the_order_of_members_means_nothing(seed: u64) {
        let mut random = Random(seed);
        let (document, _) = accepted(&mut random);
        let context = generate::context(&mut random);
        let answer = |random: &mut Random| {
            let (mut snapshot_text, mut context_text) = (String::new(), String::new());
            generate::shuffled(&document, random, &mut snapshot_text);
            generate::shuffled(&context, random, &mut context_text);
            let snapshot = check(parse(snapshot_text.as_bytes()).unwrap(), &BucketingKey::new([9; 16])).unwrap();
            let context = JsonContext::parse(context_text.as_bytes()).unwrap();
            evaluated(&snapshot, &context, FlagSelection::All, true)
        };
        let first = answer(&mut random);
        for _ in 0..4 {
            prop_assert_eq!(&answer(&mut random), &first);
        }
    }

    /// A mutated document is refused with places that exist, or it is accepted and decides.
    #[test]
    fn mutated_snapshots_are_refused_in_place_or_decide(seed: u64) {
        let mut random = Random(seed);
        let mut document = generate::snapshot(&mut random);
        for _ in 0..4 {
            generate::mutate(&mut document, &mut random);
            match load(&document) {
                Ok(snapshot) => {
                    let mut decision = empty_decision();
                    decide(&snapshot, &RequestContext { values: &[], now_ms: 0 }, &mut decision);
                    assert_belongs(&snapshot, &decision);
                }
                Err(problems) => {
                    prop_assert!(!problems.is_empty());
                    for problem in problems {
                        prop_assert!(!problem.detail.is_empty() && !problem.code.is_empty());
                        // What is missing has no place of its own; then its parent has.
                        let parent = problem.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
                        let grandparent = parent.rsplit_once('/').map_or("", |(parent, _)| parent);
                        let exists = |pointer: &str| document.pointer(pointer).is_some();
                        prop_assert!(exists(&problem.pointer) || exists(parent) || exists(grandparent), "{problem:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_a_snapshot_or_an_error(seed: u64, bytes: Vec<u8>) {
        let mut random = Random(seed);
        let mut text = generate::snapshot(&mut random).to_string().into_bytes();
        for byte in bytes {
            let at = random.below(text.len());
            text[at] = byte;
            match parse(&text).and_then(|wire| check(wire, &BucketingKey::new([9; 16]))) {
                Ok(snapshot) => {
                    let mut decision = empty_decision();
                    decide(&snapshot, &RequestContext { values: &[], now_ms: 0 }, &mut decision);
                    assert_belongs(&snapshot, &decision);
                }
                Err(problems) => prop_assert!(!problems.is_empty()),
            }
        }
    }
}

/// Slot of each unit at each candidate weight.
fn slots(weight: u32, units: &[String]) -> Vec<Slot> {
    let release = json!({"version": "1", "upstreams": [{"url": "http://127.0.0.1:1"}]});
    let document = json!({"format": "v1", "app": "web", "environment": "production", "number": 1,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k", "unit": ["header:u"],
        "traffic": {"active": "blue", "slots": {"blue": "r1", "green": "r2"}, "candidateWeight": weight, "salt": "s"},
        "releases": {"r1": release, "r2": release}});
    let snapshot = load(&document).unwrap();
    let index = snapshot.needs().iter().position(|attribute| attribute.name() == "header.u").unwrap();
    let slot = |unit: &String| {
        let mut values = vec![Value::Missing; snapshot.needs().len()];
        values[index] = Value::from(unit.as_str());
        Evaluation::new(&snapshot, &RequestContext { values: &values, now_ms: 0 }).route().slot
    };
    units.iter().map(slot).collect()
}

/// Variant of each unit in a flag with these ranges.
fn variants(ranges: &[RangeWire], units: &[String]) -> Vec<String> {
    let release = json!({"version": "1", "upstreams": [{"url": "http://127.0.0.1:1"}]});
    let keys = ["a", "b", "c", "d"].map(|key| json!({"key": key, "value": key}));
    let document = json!({"format": "v1", "app": "web", "environment": "production", "number": 1,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k", "unit": ["header:u"],
        "traffic": {"active": "blue", "slots": {"blue": "r1"}, "salt": "s"}, "releases": {"r1": release},
        "flags": {"f": {"id": "f", "type": "string", "variants": keys, "offVariant": "a", "enabled": true,
            "fallthrough": {"split": ranges}}}});
    let snapshot = load(&document).expect("the ranges tile");
    let index = snapshot.needs().iter().position(|attribute| attribute.name() == "header.u").unwrap();
    let flag = snapshot.flag(FlagIndex(0)).unwrap();
    let variant = |unit: &String| {
        let mut values = vec![Value::Missing; snapshot.needs().len()];
        values[index] = Value::from(unit.as_str());
        let outcome = Evaluation::new(&snapshot, &RequestContext { values: &values, now_ms: 0 }).flag(FlagIndex(0));
        flag.variant(outcome.variant).unwrap().key.to_string()
    };
    units.iter().map(variant).collect()
}

fn weights() -> impl Strategy<Value = Vec<(VariantKey, u32)>> {
    let cut = prop_oneof![0..=BUCKETS, Just(0), Just(BUCKETS), Just(BUCKETS / 2)];
    (proptest::collection::vec(cut, 3), Just(["a", "b", "c", "d"]).prop_shuffle()).prop_map(|(mut cuts, names)| {
        cuts.sort_unstable();
        let ends = [cuts[0], cuts[1], cuts[2], BUCKETS];
        let starts = [0, cuts[0], cuts[1], cuts[2]];
        let share = |i: usize| (VariantKey::new(names[i]).unwrap(), ends[i] - starts[i]);
        (0..4).map(share).collect()
    })
}

fn shares(ranges: &[RangeWire]) -> BTreeMap<&str, u32> {
    let mut shares = BTreeMap::new();
    for range in ranges {
        *shares.entry(range.variant.as_str()).or_default() += range.to - range.from;
    }
    shares
}

/// Buckets that two splits give to different variants, counted range by range.
fn moved(before: &[RangeWire], after: &[RangeWire]) -> u32 {
    let overlap = |a: &RangeWire, b: &RangeWire| a.to.min(b.to).saturating_sub(a.from.max(b.from));
    let pairs = before.iter().flat_map(|a| after.iter().map(move |b| (a, b)));
    pairs.filter(|(a, b)| a.variant != b.variant).map(|(a, b)| overlap(a, b)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn raising_the_weight_keeps_units_in_the_candidate(mut steps in proptest::collection::vec(0..=BUCKETS, 1..6), seed: u64) {
        steps.extend([0, 1, BUCKETS - 1, BUCKETS]);
        steps.sort_unstable();
        let mut random = Random(seed);
        let units: Vec<String> = (0..200).map(|_| format!("u{}", random.next())).collect();
        let rows: Vec<Vec<Slot>> = steps.iter().map(|weight| slots(*weight, &units)).collect();
        prop_assert!(rows[0].iter().all(|slot| *slot == Slot::Blue));
        prop_assert!(rows[rows.len() - 1].iter().all(|slot| *slot == Slot::Green));
        for pair in rows.windows(2) {
            for (before, after) in pair[0].iter().zip(&pair[1]) {
                prop_assert!(*before == Slot::Blue || *after == Slot::Green, "a unit left the candidate");
            }
        }
    }

    #[test]
    fn reweighting_moves_the_minimum_and_no_unit_out_of_what_grows(steps in proptest::collection::vec(weights(), 2..6), seed: u64) {
        let mut random = Random(seed);
        let units: Vec<String> = (0..300).map(|_| format!("u{}", random.next())).collect();
        let mut before = reweight(&[], &steps[0]).unwrap().ranges;
        let mut saw = variants(&before, &units);
        for wanted in &steps[1..] {
            let result = reweight(&before, wanted).unwrap();
            let (had, has) = (shares(&before), shares(&result.ranges));
            for (key, weight) in wanted {
                prop_assert_eq!(has.get(key.as_str()).copied().unwrap_or(0), *weight);
            }
            let shrunk = |key: &str| had.get(key).copied().unwrap_or(0).saturating_sub(has.get(key).copied().unwrap_or(0));
            let least: u32 = had.keys().map(|key| shrunk(key)).sum();
            prop_assert_eq!(result.moved, least);
            prop_assert_eq!(moved(&before, &result.ranges), least);
            let sees = variants(&result.ranges, &units);
            for (then, now) in saw.iter().zip(&sees) {
                prop_assert!(then == now || shrunk(then) > 0, "a unit left {then}, which did not shrink");
            }
            (before, saw) = (result.ranges, sees);
        }
    }
}

/// Fragments add up slowly enough for the cap on ranges: a year of daily changes stays below.
#[test]
fn a_year_of_reweighting_stays_below_the_cap_on_ranges() {
    let mut random = Random(1);
    let names = ["a", "b", "c", "d"];
    let mut ranges = Vec::new();
    let mut most = 0;
    for _ in 0..365 {
        let mut cuts: Vec<u32> = (0..3).map(|_| u32::try_from(random.below(1_000_001)).unwrap()).collect();
        cuts.sort_unstable();
        let ends = [cuts[0], cuts[1], cuts[2], BUCKETS];
        let starts = [0, cuts[0], cuts[1], cuts[2]];
        let weights: Vec<_> = (0..4).map(|i| (VariantKey::new(names[i]).unwrap(), ends[i] - starts[i])).collect();
        ranges = reweight(&ranges, &weights).unwrap().ranges;
        most = most.max(ranges.len());
    }
    assert!(most <= edge_engine::limits::MAX_RANGES, "{most} ranges");
}

/// An index of another snapshot must not break the JSON around it.
#[test]
fn flags_of_another_snapshot_are_left_out_of_the_json() {
    let (_, snapshot) = accepted(&mut Random(3));
    assert!(snapshot.flags().len() > 1);
    let context = JsonContext::parse(b"{}").unwrap();
    let selection = [FlagIndex(u32::MAX), FlagIndex(1), FlagIndex(1_000)];
    for explain in [false, true] {
        let decision = evaluated(&snapshot, &context, FlagSelection::These(&selection), explain);
        let decision: Json = serde_json::from_str(&decision).expect("JSON");
        assert_eq!(decision["flags"].as_object().unwrap().keys().collect::<Vec<_>>(), ["f1"]);
    }
}

fn minted(flags: &Json, weight: u32) -> bool {
    let release = json!({"version": "1", "upstreams": [{"url": "http://127.0.0.1:1"}]});
    let document = json!({"format": "v1", "app": "web", "environment": "production", "number": 1,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k", "unit": ["header:u"],
        "traffic": {"active": "blue", "slots": {"blue": "r1", "green": "r2"}, "candidateWeight": weight, "salt": "s"},
        "releases": {"r1": release, "r2": release}, "flags": flags});
    let snapshot = load(&document).unwrap();
    let minted = snapshot.minted_unit();
    if let Some((attribute, source)) = minted {
        assert_eq!(snapshot.needs()[attribute].name(), "cookie.bsc_unit");
        assert_eq!(&*snapshot.unit_sources()[usize::from(source.0)].name, "cookie:bsc_unit");
    }
    minted.is_some()
}

/// A cookie is set for a reason only.
#[test]
fn a_unit_is_minted_only_when_a_split_may_use_it() {
    let flag = |more: Json| {
        let mut flag = json!({"id": "f", "type": "boolean", "variants": [{"key": "on", "value": true}], "offVariant": "on",
            "enabled": true, "fallthrough": {"split": [{"variant": "on", "from": 0, "to": 1_000_000}]}});
        for (key, value) in more.as_object().unwrap() {
            flag[key] = value.clone();
        }
        json!({"f": flag})
    };
    assert!(!minted(&json!({}), 0));
    assert!(minted(&json!({}), 1));
    assert!(minted(&flag(json!({})), 0));
    assert!(!minted(&flag(json!({"fallthrough": {"serve": "on"}})), 0));
    assert!(!minted(&flag(json!({"enabled": false})), 0));
    assert!(!minted(&flag(json!({"unit": ["cookie:account"]})), 0));
    assert!(minted(&flag(json!({"unit": ["cookie:account", "cookie:bsc_unit"]})), 0));
}

/// Pins that the engine signs are those it honours, for exactly as long as it says.
#[test]
fn a_signed_pin_is_honoured_until_it_expires_and_not_after_a_rollback() {
    let release = json!({"version": "1", "upstreams": [{"url": "http://127.0.0.1:1"}]});
    let document = |active: &str, weight: u32, rolled_back: Json| {
        json!({"format": "v1", "app": "web", "environment": "production", "number": 1,
            "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k", "unit": ["header:u"],
            "traffic": {"active": active, "slots": {"blue": "r1", "green": "r2"}, "candidateWeight": weight, "salt": "s",
                "pin": {"maxAgeSeconds": 600}, "rolledBack": rolled_back},
            "releases": {"r1": release, "r2": release}})
    };
    let route = |snapshot: &Snapshot, pin: &str, now_ms: i64| {
        let context = json!({"cookie": {"bsc_pin": pin}, "header": {"u": "u1"}}).to_string();
        let context = JsonContext::parse(context.as_bytes()).unwrap();
        let values = context.values(snapshot, &[]);
        Evaluation::new(snapshot, &context.request(&values, now_ms)).route()
    };
    let before = load(&document("blue", 0, json!([]))).unwrap();
    let (pin, age) = before.pin_cookie(before.traffic().release(Slot::Blue).unwrap(), 5_000).unwrap();
    assert_eq!(age, 600);
    let after = load(&document("green", 0, json!([]))).unwrap();
    assert_eq!((route(&after, &pin, 6_000).slot, route(&after, &pin, 6_000).reason), (Slot::Blue, RouteReason::Pin));
    assert_eq!(route(&after, &pin, 604_999).slot, Slot::Blue);
    assert_eq!(route(&after, &pin, 605_000).slot, Slot::Green);
    let rolled_back = load(&document("green", 0, json!(["r1"]))).unwrap();
    assert_eq!(route(&rolled_back, &pin, 6_000).slot, Slot::Green);
    // A fresh pin is not signed again for each response; an ageing one, one of another role or none is.
    assert!(!route(&before, &pin, 5_000).renew_pin);
    assert!(!route(&before, &pin, 64_000).renew_pin);
    assert!(route(&before, &pin, 66_000).renew_pin);
    assert!(route(&before, "", 5_000).renew_pin);
    assert!(!route(&after, &pin, 6_000).renew_pin, "a pin that is used runs out");
    let (candidate_pin, _) = before.pin_cookie(before.traffic().release(Slot::Green).unwrap(), 5_000).unwrap();
    assert!(route(&after, &candidate_pin, 5_000).renew_pin, "the role is another now");
}

/// T8: whatever bit a client flips in a token, the token is absent.
#[test]
fn every_flipped_bit_of_a_token_makes_it_absent() {
    let release = json!({"version": "1", "upstreams": [{"url": "http://127.0.0.1:1"}]});
    let document = json!({"format": "v1", "app": "web", "environment": "production", "number": 1,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k",
        "traffic": {"active": "blue", "slots": {"blue": "r1", "green": "r2"}, "candidateWeight": 1, "salt": "s",
            "pin": {"maxAgeSeconds": 600}, "override": {"cookie": "o"}},
        "releases": {"r1": release, "r2": release}});
    let snapshot = load(&document).unwrap();
    let reason = |name: &str, token: &[u8]| {
        let value = |attribute: &edge_engine::Attribute| {
            if attribute.name() == name { Value::Text(token) } else { Value::Missing }
        };
        let values: Vec<Value<'_>> = snapshot.needs().iter().map(value).collect();
        Evaluation::new(&snapshot, &RequestContext { values: &values, now_ms: 1_000 }).route().reason
    };
    let green = snapshot.traffic().release(Slot::Green).unwrap();
    let tokens = [
        ("cookie.o", snapshot.override_token(Slot::Green, 100), RouteReason::Override),
        ("cookie.bsc_pin", snapshot.pin_cookie(green, 1_000).unwrap().0, RouteReason::Pin),
    ];
    for (name, token, good) in tokens {
        assert_eq!(reason(name, token.as_bytes()), good);
        for bit in 0..token.len() * 8 {
            let mut forged = token.clone().into_bytes();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(reason(name, &forged), RouteReason::Fallback, "bit {bit} of {token}");
        }
    }
}
