//! The worst snapshots that are accepted, and how long a decision of each takes.
//!
//! Each case grows until it is refused; the last that was accepted decides a request made for it. The
//! costs in `operator.rs` were measured with these.

use std::time::{Duration, Instant};

use edge_engine::limits as caps;
use edge_engine::{Decision, ReleaseIndex, RequestContext, Route, RouteReason, Slot, Snapshot, Value, decide};
use serde_json::{Value as Json, json};

use super::documents::{any, chain, condition, document, flag, test, with};
use super::{list, load, map};

/// Unoptimised, shared with other processes and still far below what an uncounted loop would take; an
/// optimised build takes [`caps::MAX_COST`] steps of at most 20 ns, 2 ms.
const BOUND: Duration = Duration::from_millis(500);

/// The largest `n` up to `most` with which `make` is accepted.
fn largest(most: usize, make: &dyn Fn(usize) -> Json) -> (usize, Snapshot) {
    if let Ok(snapshot) = load(&make(most)) {
        return (most, snapshot);
    }
    let (mut fits, mut over) = (0, most);
    let mut accepted = None;
    while over - fits > 1 {
        let middle = fits.midpoint(over);
        match load(&make(middle)) {
            Ok(snapshot) => (fits, accepted) = (middle, Some(snapshot)),
            Err(_) => over = middle,
        }
    }
    (fits, accepted.expect("something is accepted"))
}

/// The best of some decisions, with `x` in every attribute but the unit.
fn time_of(snapshot: &Snapshot, x: &[u8]) -> Duration {
    let unit = vec![b'u'; caps::MAX_UNIT_BYTES];
    let value = |name: &str| if name == "header.u" { Value::Text(&unit) } else { Value::Text(x) };
    let values: Vec<Value<'_>> = snapshot.needs().iter().map(|attribute| value(attribute.name())).collect();
    let request = RequestContext { values: &values, now_ms: 0 };
    let route = Route {
        slot: Slot::Blue,
        release: ReleaseIndex(0),
        reason: RouteReason::Active,
        rule: None,
        bucket: None,
        unit: None,
        renew_pin: false,
    };
    let mut decision = Decision { route, flags: Vec::new() };
    let once = |_| {
        let started = Instant::now();
        decide(snapshot, &request, &mut decision);
        started.elapsed()
    };
    (0..5).map(once).min().unwrap()
}

#[track_caller]
fn check(name: &str, most: usize, x: &[u8], make: impl Fn(usize) -> Json) {
    let (n, snapshot) = largest(most, &make);
    let took = time_of(&snapshot, x);
    println!("{name}: {n} accepted, {took:?}");
    assert!(took < BOUND, "{name}: {n} accepted, and a decision takes {took:?}");
}

/// A document with one forwarded flag of this condition.
fn forwarded(when: &Json) -> Json {
    with(document(), "/flags", json!({"f": with(condition("f", when), "/forward", json!(true))}))
}

fn repeated(op: &'static str, value: String) -> impl Fn(usize) -> Json {
    move |n| forwarded(&test(op, list(n, |_| json!(value))))
}

#[test]
fn patterns_that_backtracking_would_never_finish() {
    let a = vec![b'a'; caps::MAX_MATCH_BYTES];
    for pattern in [
        "(a*)*b",
        "(a|aa)+$",
        "(a+)+b",
        "(?:a?){20}b",
        "(?:a?){60}b",
        "(?:a|a|a|a|a|a|a|a|a|a|a|a){10}b",
        "(?:|||||||||||||||||a){10}b",
        "(.*)(.*)(.*)(.*)=",
        "((((((((a*)*)*)*)*)*)*)*)*b",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
    ] {
        check(pattern, 2_000, &a, repeated("matches", pattern.to_owned()));
    }
}

#[test]
fn needles_that_nearly_match_everywhere() {
    let z = vec![b'z'; caps::MAX_SEARCH_BYTES];
    for (length, at) in [(8, 6), (31, 29), (40, 20), (1_000, 998)] {
        let needle = format!("{}e{}", "z".repeat(at), "z".repeat(length - at - 1));
        check(&format!("contains {length}"), 2_000, &z, repeated("contains", needle));
    }
}

#[test]
fn long_values_and_long_lists() {
    let long = "a".repeat(caps::MAX_VALUE_BYTES);
    let but_last = format!("{}b", &long[1..]);
    check("startsWith", 4_000, long.as_bytes(), repeated("startsWith", but_last));
    check("endsWith", caps::MAX_VALUES, long.as_bytes(), repeated("endsWith", "b".to_owned()));
    let digits = "1".repeat(caps::MAX_SCALAR_BYTES);
    check("lt", caps::MAX_VALUES, digits.as_bytes(), repeated("lt", "0".to_owned()));
    let version = format!("1.2.3-{}", "a.".repeat(28));
    check("semverEq", 5_000, format!("{version}b").as_bytes(), repeated("semverEq", format!("{version}c")));
    let networks = |n: usize| forwarded(&test("cidr", list(n, |i| json!(format!("2001:db8::{i:x}:0/112")))));
    check("cidr", 60_000, b"2001:db7:1111:2222:3333:4444:5555:6666", networks);
}

/// One list, evaluated as often as references allow.
#[test]
fn lists_that_many_conditions_refer_to() {
    let long = "a".repeat(caps::MAX_VALUE_BYTES - 1);
    for values in
        [list(8, |i| json!(format!("{long}{i}"))), list(9, |i| json!(format!("{long}{i}"))), list(50_000, |i| json!(i))]
    {
        let document = with(document(), "/segments", json!({"s": {"when": test("in", values)}}));
        let groups = |n: usize| any(list(n, |_| any(list(5, |_| json!({"segment": "s"})))));
        let make = |n: usize| {
            let flag = with(condition("f", &groups(n)), "/forward", json!(true));
            with(document.clone(), "/flags", json!({"f": flag}))
        };
        check("in", caps::MAX_PARTS, format!("{long}x").as_bytes(), make);
    }
}

/// Conditions in which nothing is compared are work too: without a price they multiply for free.
#[test]
fn conditions_and_segments_of_nothing() {
    let empty = |n: usize| forwarded(&any(list(n, |_| any(list(100, |_| any(json!([])))))));
    check("empty conditions", 1_000, b"", empty);
    let layers = |n: usize| {
        let when = |i: usize| {
            if i == 0 {
                any(list(1_000, |_| any(json!([]))))
            } else {
                any(list(n, |_| json!({"segment": format!("s{}", i - 1)})))
            }
        };
        let segments = map(4, |i| (format!("s{i}"), json!({"when": when(i)})));
        with(forwarded(&json!({"segment": "s3"})), "/segments", segments)
    };
    check("segments of segments", 1_000, b"", layers);
}

#[test]
fn flags_that_require_flags() {
    let split = json!({"split": [{"variant": "on", "from": 0, "to": 1_000_000}]});
    let make = |n: usize| {
        let mut flags = chain(n + 1, 2);
        for flag in flags.as_object_mut().unwrap().values_mut() {
            flag["fallthrough"] = split.clone();
        }
        flags[format!("f{n:02}")]["forward"] = json!(true);
        with(document(), "/flags", flags)
    };
    check("diamonds of prerequisites", 40, b"", make);
    let splits = |n: usize| {
        let split = |i: usize| {
            let flag = with(flag(&format!("f{i}")), "/fallthrough", split.clone());
            (format!("f{i}"), with(flag, "/forward", json!(true)))
        };
        with(document(), "/flags", map(n, split))
    };
    check("forwarded splits", caps::MAX_FLAGS, b"", splits);
    let variants = list(caps::MAX_VARIANTS, |i| json!({"key": format!("v{i}"), "value": i}));
    let named = list(caps::MAX_VARIANTS - 1, |i| json!(format!("v{}", i + 1)));
    let many = json!({"id": "g", "type": "number", "variants": variants, "offVariant": "v0", "enabled": true, "fallthrough": {"serve": "v0"}});
    let references = |n: usize| {
        let document = forwarded(&any(list(n, |_| any(list(10, |_| json!({"flag": "g", "is": named}))))));
        with(document, "/flags/g", many.clone())
    };
    check("named variants", 400, b"", references);
}

/// Ten thousand flags, of which a request decides twenty: the size of the snapshot must not show.
#[test]
fn ten_thousand_flags_load_and_decide() {
    let flags = map(10_000, |i| {
        let rule = test("in", json!(["de", "at", i.to_string()]));
        let flag = condition(&format!("f{i:05}"), &rule);
        (format!("f{i:05}"), with(flag, "/forward", json!(i % 500 == 0)))
    });
    let snapshot = load(&with(document(), "/flags", flags)).unwrap();
    assert_eq!((snapshot.flags().len(), snapshot.forwarded().len()), (10_000, 20));
    assert!(time_of(&snapshot, b"fr") < BOUND);
    const { assert!(caps::MAX_COST <= caps::MAX_BULK_COST) };
}
