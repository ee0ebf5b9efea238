//! Every cap of `limits.rs` from both sides, and the worst that stays inside them.
//!
//! At the cap a snapshot is accepted, one over it is refused with its place. What is accepted decides in
//! bounded time; what is far over is refused before it costs anything.

mod documents;
mod worst;

use std::time::{Duration, Instant};

use documents::{any, condition, document, flag, flag_with, release, test, with};
use edge_engine::limits as caps;
use edge_engine::{BucketingKey, Snapshot, check, parse};
use serde_json::{Value as Json, json};
use server::host::{Engine, LoadedSnapshot, Module};

fn load(document: &Json) -> Result<Snapshot, Vec<(String, &'static str)>> {
    let wire = parse(document.to_string().as_bytes());
    let checked = wire.and_then(|wire| check(wire, &BucketingKey::new([7; 16])));
    checked.map_err(|problems| problems.into_iter().map(|problem| (problem.pointer, problem.code)).collect())
}

/// `make(cap)` is accepted, `make(cap + 1)` refused at exactly this place.
#[track_caller]
fn check_cap(cap: usize, make: impl Fn(usize) -> Json, pointer: &str) {
    check_cap_as(cap, make, pointer, "limit_exceeded");
}

#[track_caller]
fn check_cap_as(cap: usize, make: impl Fn(usize) -> Json, pointer: &str, code: &str) {
    assert_eq!(load(&make(cap)).map(|_| ()), Ok(()), "at the cap of {cap}");
    let problems = load(&make(cap + 1)).map(|_| ()).unwrap_err();
    assert_eq!(problems, [(pointer.to_owned(), leak(code))], "one over the cap of {cap}");
}

fn leak(code: &str) -> &'static str {
    code.to_owned().leak()
}

fn map(count: usize, entry: impl Fn(usize) -> (String, Json)) -> Json {
    Json::Object((0..count).map(entry).collect())
}

fn list(count: usize, entry: impl Fn(usize) -> Json) -> Json {
    Json::Array((0..count).map(entry).collect())
}

/// A document whose only segment has this condition.
fn segment(when: &Json) -> Json {
    with(document(), "/segments", json!({"s": {"when": when}}))
}

const WHEN: &str = "/segments/s/when";

#[test]
fn every_cap_is_tested_here() {
    let limits = include_str!("../../edge/engine/src/limits.rs");
    let here = [include_str!("engine_caps.rs"), include_str!("engine_caps/worst.rs")].concat();
    let names: Vec<&str> = limits
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(':').map(|(name, _)| name))
        .collect();
    assert!(names.len() > 35);
    let untested: Vec<&&str> = names.iter().filter(|name| !here.contains(&format!("caps::{name}"))).collect();
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn bytes_of_a_document() {
    let mut text = document().to_string().into_bytes();
    text.resize(caps::MAX_SNAPSHOT_BYTES, b' ');
    assert!(parse(&text).is_ok());
    text.push(b' ');
    let problems = parse(&text).unwrap_err();
    assert_eq!((problems[0].pointer.as_str(), problems[0].code), ("", "limit_exceeded"));
}

#[test]
fn counts_of_objects() {
    check_cap(
        caps::MAX_FLAGS,
        |n| with(document(), "/flags", map(n, |i| (format!("f{i}"), flag(&format!("f{i}"))))),
        "/flags",
    );
    let when = json!({"when": {"all": []}});
    check_cap(
        caps::MAX_SEGMENTS,
        |n| with(document(), "/segments", map(n, |i| (format!("s{i}"), when.clone()))),
        "/segments",
    );
    let releases = |n| map(n, |i| (format!("r{}", i + 1), release()));
    check_cap(caps::MAX_RELEASES, |n| with(document(), "/releases", releases(n)), "/releases");
    let upstreams = |n| list(n, |i| json!({"url": format!("http://10.0.0.{i}:80")}));
    check_cap(
        caps::MAX_UPSTREAMS,
        |n| with(document(), "/releases/r1/upstreams", upstreams(n)),
        "/releases/r1/upstreams",
    );
    let hosts = |n| list(n, |i| json!(format!("h{i}.example")));
    check_cap(caps::MAX_HOSTS, |n| with(document(), "/edge", json!({"hosts": hosts(n)})), "/edge/hosts");
    let origins = |n| list(n, |i| json!(format!("https://h{i}.example")));
    check_cap(caps::MAX_ORIGINS, |n| with(document(), "/edge", json!({"cors": origins(n)})), "/edge/cors");
    let regions = |n| map(n, |i| (format!("r{i}"), json!({"candidateWeight": 1})));
    check_cap(caps::MAX_REGIONS, |n| with(document(), "/traffic/regions", regions(n)), "/traffic/regions");
    let rolled_back = |n| list(n, |_| json!("r2"));
    check_cap(
        caps::MAX_ROLLED_BACK,
        |n| with(document(), "/traffic/rolledBack", rolled_back(n)),
        "/traffic/rolledBack",
    );
}

#[test]
fn parts_of_a_flag() {
    let rules = |n| list(n, |i| json!({"id": format!("r{i}"), "when": {"any": []}, "serve": "on"}));
    check_cap(caps::MAX_RULES, |n| flag_with("rules", rules(n)), "/flags/f/rules");
    let routes = |n| list(n, |i| json!({"id": format!("r{i}"), "when": {"any": []}, "slot": "green"}));
    check_cap(caps::MAX_RULES, |n| with(document(), "/traffic/rules", routes(n)), "/traffic/rules");
    let variants = |n: usize| {
        let variants = list(n, |i| json!({"key": format!("v{i}"), "value": i}));
        let flag = json!({"id": "f", "type": "number", "variants": variants, "offVariant": "v0", "enabled": true, "fallthrough": {"serve": "v0"}});
        with(document(), "/flags", json!({"f": flag}))
    };
    check_cap(caps::MAX_VARIANTS, variants, "/flags/f/variants");
    let required = |n: usize| {
        let document = flag_with("prerequisites", list(n, |_| json!({"flag": "g", "is": ["on"]})));
        with(document, "/flags/g", flag("g"))
    };
    check_cap(caps::MAX_PREREQUISITES, required, "/flags/f/prerequisites");
    let named = |n: usize| {
        let document = flag_with("prerequisites", json!([{"flag": "g", "is": list(n, |_| json!("on"))}]));
        with(document, "/flags/g", flag("g"))
    };
    check_cap(caps::MAX_VARIANTS, named, "/flags/f/prerequisites/0/is");
    let ranges = |n: usize| {
        let last = 1_000_000;
        let to = |i: usize| if i + 1 == n { last } else { i + 1 };
        flag_with("fallthrough", json!({"split": list(n, |i| json!({"variant": "on", "from": i, "to": to(i)}))}))
    };
    check_cap(caps::MAX_RANGES, ranges, "/flags/f/fallthrough/split");
    let weights = |n: usize| {
        let split = json!({"split": [{"variant": "on", "from": 0, "to": 1}, {"variant": "off", "from": 1, "to": n}]});
        with(flag_with("fallthrough", split), "/flags/f/algorithm", json!("flagd-v2"))
    };
    let place = "/flags/f/fallthrough/split/1";
    check_cap_as(caps::MAX_WEIGHTS as usize, weights, place, "split_does_not_tile");
}

#[test]
fn sizes_of_a_variant() {
    let text = |n: usize| {
        // Two bytes are the quotes.
        let value = "x".repeat(n - 2);
        let flag = json!({"id": "f", "type": "string", "variants": [{"key": "v", "value": value}], "offVariant": "v", "enabled": true, "fallthrough": {"serve": "v"}});
        with(document(), "/flags", json!({"f": flag}))
    };
    check_cap(caps::MAX_VARIANT_BYTES, text, "/flags/f/variants/0/value");
    let nested = |n: usize| {
        let value = (1..n).fold(json!({}), |inner, _| json!({"a": inner}));
        let flag = json!({"id": "f", "type": "object", "variants": [{"key": "v", "value": value}], "offVariant": "v", "enabled": true, "fallthrough": {"serve": "v"}});
        with(document(), "/flags", json!({"f": flag}))
    };
    check_cap(caps::MAX_VARIANT_DEPTH, nested, "/flags/f/variants/0/value");
}

#[test]
fn values_of_conditions() {
    let numbers = |n: usize| segment(&test("in", list(n, |i| json!(i))));
    check_cap(caps::MAX_VALUES, numbers, "/segments/s/when/values");
    check_cap(caps::MAX_TOTAL_VALUES, values, "");
    for op in ["eq", "startsWith", "contains"] {
        check_cap(caps::MAX_VALUE_BYTES, |n| segment(&test(op, json!(["x".repeat(n)]))), "/segments/s/when/values/0");
    }
    let parts = |form: &'static str| move |n: usize| segment(&json!({form: list(n, |_| json!({"any": []}))}));
    check_cap(caps::MAX_PARTS, parts("all"), "/segments/s/when/all");
    check_cap(caps::MAX_PARTS, parts("any"), "/segments/s/when/any");
}

/// `n` conditions that compare nothing.
fn empty_conditions(n: usize) -> Json {
    // Three hold the groups.
    let groups = list((n - 3) / 1_000, |_| any(list(999, |_| any(json!([])))));
    any(json!([any(groups), any(list((n - 3) % 1_000, |_| any(json!([]))))]))
}

/// A document of `n` conditions, in segments that are cheap enough each.
fn conditions(n: usize) -> Json {
    let most = 90_000;
    let when = |i: usize| empty_conditions((n - i * most).min(most));
    with(document(), "/segments", map(n.div_ceil(most), |i| (format!("s{i}"), json!({"when": when(i)}))))
}

/// A document of `n` values, in lists as long as they may be.
fn values(n: usize) -> Json {
    let full = caps::MAX_VALUES;
    let when = |i: usize| test("in", list((n - i * full).min(full), |i| json!(i)));
    with(document(), "/segments", map(n.div_ceil(full), |i| (format!("s{i}"), json!({"when": when(i)}))))
}

#[test]
fn conditions_of_a_document() {
    check_cap(caps::MAX_CONDITIONS, conditions, "");
}

/// What the native check accepts must fit into the module's memory and time.
#[test]
fn the_largest_documents_load_in_the_module() {
    let engine = Engine::wasm(Module::embedded().unwrap());
    let flag = |key: &str| condition(key, &test("eq", json!(["a", "b"])));
    let flags = map(caps::MAX_FLAGS, |i| (format!("f{i}"), flag(&format!("f{i}"))));
    let large = [conditions(caps::MAX_CONDITIONS), values(caps::MAX_TOTAL_VALUES), with(document(), "/flags", flags)];
    for document in large {
        let loaded = LoadedSnapshot::load(document.to_string().as_bytes(), &BucketingKey::new([7; 16]), &engine);
        assert!(loaded.is_ok(), "{:?}", loaded.err());
    }
}

#[test]
fn attributes_and_units() {
    // The targeting key, the unit of the document and the minted cookie are three.
    let attributes = |n: usize| segment(&any(list(n - 3, |i| json!({"attr": format!("a{i}"), "op": "exists"}))));
    let over = format!("{WHEN}/any/{}/attr", caps::MAX_ATTRIBUTES - 3);
    check_cap(caps::MAX_ATTRIBUTES, attributes, &over);
    let name = |n: usize| segment(&json!({"attr": "a".repeat(n), "op": "exists"}));
    check_cap_as(caps::MAX_ATTRIBUTE_BYTES, name, &format!("{WHEN}/attr"), "attribute_invalid");
    let sources = |n: usize| list(n, |i| json!(format!("cookie:c{i}")));
    check_cap(caps::MAX_UNIT_SOURCES, |n| with(document(), "/unit", sources(n)), "/unit");
    check_cap(caps::MAX_UNIT_SOURCES, |n| flag_with("unit", sources(n)), "/flags/f/unit");
    let total = |n: usize| {
        // Three are the environment's.
        let flags = map(n - 3, |i| {
            (format!("f{i:02}"), with(flag(&format!("f{i}")), "/unit", json!([format!("cookie:c{i}")])))
        });
        with(document(), "/flags", flags)
    };
    let over = format!("/flags/f{:02}/unit/0", caps::MAX_UNIT_SOURCES_TOTAL - 3);
    check_cap(caps::MAX_UNIT_SOURCES_TOTAL, total, &over);
}

#[test]
fn texts_and_numbers() {
    let text = |n: usize| json!("x".repeat(n));
    check_cap(caps::MAX_TEXT_BYTES, |n| flag_with("id", text(n)), "/flags/f/id");
    check_cap(caps::MAX_TEXT_BYTES, |n| flag_with("salt", text(n)), "/flags/f/salt");
    for field in ["version", "commit", "rollbackPlan"] {
        let pointer = format!("/releases/r1/{field}");
        check_cap(caps::MAX_TEXT_BYTES, |n| with(document(), &pointer, text(n)), &pointer);
    }
    check_cap(caps::MAX_TEXT_BYTES, |n| with(document(), "/traffic/salt", text(n)), "/traffic/salt");
    let path = |n: usize| with(document(), "/edge", json!({"health": {"path": format!("/{}", "x".repeat(n - 1))}}));
    check_cap_as(caps::MAX_TEXT_BYTES, path, "/edge/health/path", "path_invalid");
    let pin = |n: usize| with(document(), "/traffic/pin", json!({"maxAgeSeconds": n}));
    check_cap_as(caps::MAX_PIN_SECONDS as usize, pin, "/traffic/pin/maxAgeSeconds", "out_of_range");
    for (edge, pointer) in [
        ("timeouts", "/edge/timeouts/connectMs"),
        ("timeouts", "/edge/timeouts/readMs"),
        ("timeouts", "/edge/timeouts/totalMs"),
        ("breaker", "/edge/breaker/openMs"),
    ] {
        let field = pointer.rsplit('/').next().unwrap();
        let make = |n: usize| with(document(), "/edge", json!({edge: {field: n}}));
        check_cap_as(caps::MAX_TIMEOUT_MS as usize, make, pointer, "out_of_range");
    }
}

#[test]
fn patterns() {
    check_cap(
        caps::MAX_PATTERN_BYTES,
        |n| segment(&test("matches", json!(["a".repeat(n)]))),
        "/segments/s/when/values/0",
    );
    let unfolding = |n: usize| segment(&test("matches", json!([format!("a{{{n}}}")])));
    let most = (1..10_000).rfind(|n| load(&unfolding(*n)).is_ok()).unwrap();
    // 24 to 40 bytes a state, by target.
    assert!((caps::MAX_PATTERN_COMPILED / 40..caps::MAX_PATTERN_COMPILED / 16).contains(&most), "{most} states fit");
    check_cap(most, unfolding, "/segments/s/when/values/0");
    // A pattern of most of the size, in as many segments as fit into the total.
    let large = json!({"when": test("matches", json!([format!("a{{{most}}}")]))});
    let spread = |n: usize| with(document(), "/segments", map(n, |i| (format!("s{i}"), large.clone())));
    let fit = caps::MAX_TOTAL_PATTERN_BYTES / (3 * caps::MAX_PATTERN_COMPILED);
    check_cap(fit, spread, "");
}

#[test]
fn nesting_of_conditions_segments_and_flags() {
    let nots = |n: usize| segment(&(1..n).fold(test("exists", json!([])), |inner, _| json!({"not": inner})));
    check_cap(caps::MAX_DEPTH, nots, &format!("{WHEN}{}", "/not".repeat(caps::MAX_DEPTH)));
    let alls = |n: usize| segment(&(1..n).fold(test("exists", json!([])), |inner, _| json!({"all": [inner]})));
    check_cap(caps::MAX_DEPTH, alls, &format!("{WHEN}{}", "/all/0".repeat(caps::MAX_DEPTH)));
    let segments = |n: usize| {
        let when = |i: usize| if i == 0 { json!({"all": []}) } else { json!({"segment": format!("s{:02}", i - 1)}) };
        with(document(), "/segments", map(n, |i| (format!("s{i:02}"), json!({"when": when(i)}))))
    };
    check_cap(caps::MAX_DEPTH, segments, &format!("/segments/s{:02}", caps::MAX_DEPTH));
    // The first needs nothing and nests nothing.
    let flags = |n: usize| with(document(), "/flags", documents::chain(n + 1, 1));
    check_cap(caps::MAX_DEPTH, flags, &format!("/flags/f{:02}", caps::MAX_DEPTH + 1));
}

/// The deepest that is accepted: its document and its trace must be readable again, and no stack overflows.
#[test]
fn the_deepest_snapshot_decides_and_explains_within_what_parsers_read() {
    let deep_flags = with(document(), "/flags", documents::chain(caps::MAX_DEPTH + 1, 1));
    let by_rules = map(caps::MAX_DEPTH, |i| {
        let when = if i == 0 { json!({"all": []}) } else { json!({"flag": format!("f{:02}", i - 1), "is": ["on"]}) };
        (format!("f{i:02}"), condition(&format!("f{i:02}"), &when))
    });
    for document in [deep_flags, with(document(), "/flags", by_rules)] {
        let snapshot = load(&document).unwrap();
        let context = edge_engine::JsonContext::parse(b"{}").unwrap();
        let mut out = Vec::new();
        let flags = edge_engine::FlagSelection::All;
        let options = edge_engine::EvaluateOptions { engine: "native", now_ms: 0, flags, explain: true };
        edge_engine::evaluate(&snapshot, &context, &options, &mut out);
        let decision: Json = serde_json::from_slice(&out).expect("no deeper than parsers go");
        let last = decision["flags"].as_object().unwrap().values().next_back().unwrap();
        assert_eq!(last["variant"], "on");
    }
}

#[test]
fn work_of_a_flag_a_segment_a_route_and_all_flags() {
    let nodes = |n: usize| empty_conditions(n + 3);
    let most = usize::try_from(caps::MAX_COST).unwrap();
    // Besides the groups: three objects, and one step for the flag or segment or route itself.
    check_cap(most - 4, |n| flag_with("rules", json!([{"id": "r", "when": nodes(n), "serve": "on"}])), "/flags/f");
    check_cap(most - 4, |n| segment(&nodes(n)), "/segments/s");
    check_cap(
        most - 4,
        |n| with(document(), "/traffic/rules", json!([{"id": "r", "when": nodes(n), "slot": "green"}])),
        "/traffic",
    );
    // Forwarded flags are decided with the route: half of the work each.
    let halves = |n: usize| {
        let heavy = |key: &str, n: usize| with(condition(key, &nodes(n)), "/forward", json!(true));
        with(document(), "/flags", json!({"a": heavy("a", most / 2), "b": heavy("b", n)}))
    };
    check_cap(most - most / 2 - 2 * 4 - 1, halves, "/traffic");
    // Not forwarded they may take that much each, up to what all flags may take together.
    let bulk = usize::try_from(caps::MAX_BULK_COST).unwrap() / (most / 10);
    // 49 needles at 200 steps, 198 conditions and the flag itself: a tenth of what one flag may take.
    let needles = test("contains", list(49, |_| json!("b")));
    let fill = any(list(196, |_| json!({"any": []})));
    let heavy = json!({"any": [needles, fill]});
    check_cap(
        bulk,
        |n| with(document(), "/flags", map(n, |i| (format!("f{i}"), condition(&format!("f{i}"), &heavy)))),
        "/flags",
    );
}

#[test]
fn references_multiply_work_and_diamonds_are_refused() {
    let segments = |n: usize| {
        let twice =
            |i: usize| json!({"any": [{"segment": format!("s{:02}", i - 1)}, {"segment": format!("s{:02}", i - 1)}]});
        let when = |i: usize| if i == 0 { json!({"any": []}) } else { twice(i) };
        with(document(), "/segments", map(n, |i| (format!("s{i:02}"), json!({"when": when(i)}))))
    };
    let problems = load(&segments(16)).map(|_| ()).unwrap_err();
    assert!(problems.iter().all(|(pointer, code)| pointer.starts_with("/segments/s1") && *code == "limit_exceeded"));
    assert!(load(&segments(13)).is_ok());
    for width in [2, 3] {
        let flags = |n: usize| with(document(), "/flags", documents::chain(n, width));
        assert!(load(&flags(8)).is_ok());
        let problems = load(&flags(30)).map(|_| ()).unwrap_err();
        assert!(problems.contains(&("/flags/f29".to_owned(), "limit_exceeded")), "{problems:?}");
    }
}

#[test]
fn problems_of_one_document() {
    let wrong = map(caps::MAX_PROBLEMS + 50, |i| (format!("s{i}"), json!({"when": {}})));
    let problems = load(&with(document(), "/segments", wrong)).map(|_| ()).unwrap_err();
    assert_eq!(problems.len(), caps::MAX_PROBLEMS);
}

/// What comes from the client is bounded as well; the exact borders are in the vectors.
#[test]
fn values_of_requests() {
    let matched = |op: &str, wanted: Json, value: Json| {
        let snapshot = load(&with(document(), "/flags", json!({"f": condition("f", &test(op, wanted))}))).unwrap();
        documents::variant(&snapshot, &json!({"x": value}), "f") == "on"
    };
    let padded = |n: usize| json!("x".repeat(n));
    assert!(matched("matches", json!(["x"]), padded(caps::MAX_MATCH_BYTES)));
    assert!(!matched("matches", json!(["x"]), padded(caps::MAX_MATCH_BYTES + 1)));
    assert!(matched("contains", json!(["x"]), padded(caps::MAX_SEARCH_BYTES)));
    assert!(!matched("contains", json!(["x"]), padded(caps::MAX_SEARCH_BYTES + 1)));
    let digits = |n: usize| json!("1".repeat(n));
    assert!(matched("gt", json!([0]), digits(caps::MAX_SCALAR_BYTES)));
    assert!(!matched("gt", json!([0]), digits(caps::MAX_SCALAR_BYTES + 1)));
    let listed = |n: usize| Json::Array((1..n).map(|_| json!("a")).chain([json!("x")]).collect());
    assert!(matched("eq", json!(["x"]), listed(caps::MAX_LIST_ELEMENTS)));
    assert!(!matched("eq", json!(["x"]), listed(caps::MAX_LIST_ELEMENTS + 1)));
    let split = json!({"split": [{"variant": "on", "from": 0, "to": 1_000_000}]});
    let snapshot = load(&flag_with("fallthrough", split)).unwrap();
    let unit = |n: usize| documents::variant(&snapshot, &json!({"header": {"u": "u".repeat(n)}}), "f") == "on";
    assert!(unit(caps::MAX_UNIT_BYTES));
    assert!(!unit(caps::MAX_UNIT_BYTES + 1));
}

/// Twenty times a cap is refused in the time that reading the document takes.
#[test]
fn documents_far_over_their_caps_are_refused_quickly() {
    let many = |n: usize| map(n, |i| (format!("f{i}"), flag(&format!("f{i}"))));
    let regex = |n: usize| json!({"when": test("matches", list(n, |i| json!(format!("(a{{9}}){{9}}{i}"))))});
    let unfolding = |n: usize| json!({"when": test("matches", list(n, |i| json!(format!("(a{{999}}){{999}}{i}"))))});
    let mut rolled_back =
        with(document(), "/releases", map(20 * caps::MAX_RELEASES, |i| (format!("r{}", i + 1), release())));
    rolled_back =
        with(rolled_back, "/traffic/rolledBack", list(20 * caps::MAX_ROLLED_BACK, |i| json!(format!("r{i}"))));
    let cycle = map(caps::MAX_FLAGS, |i| {
        let next = format!("f{}", (i + 1) % caps::MAX_FLAGS);
        (format!("f{i}"), with(flag(&format!("f{i}")), "/prerequisites", json!([{"flag": next, "is": ["on"]}])))
    });
    let named = json!([{"flag": "g", "is": list(20 * caps::MAX_VARIANTS * 100, |_| json!("off"))}]);
    let cases = [
        ("flags", with(document(), "/flags", many(150_000))),
        ("values", segment(&test("in", list(20 * caps::MAX_VALUES, |i| json!(i))))),
        ("patterns", with(document(), "/segments", map(20, |i| (format!("s{i}"), regex(caps::MAX_VALUES / 20))))),
        ("unfolding patterns", with(document(), "/segments", json!({"s": unfolding(caps::MAX_VALUES)}))),
        ("releases", rolled_back),
        ("a cycle of every flag", with(document(), "/flags", cycle)),
        ("variants named", with(flag_with("prerequisites", named), "/flags/g", flag("g"))),
        ("parts", segment(&any(list(20 * caps::MAX_PARTS, |_| json!({"any": []}))))),
        ("bad values", segment(&test("cidr", list(caps::MAX_VALUES, |_| json!("x"))))),
        ("hosts", with(document(), "/edge", json!({"hosts": list(20 * caps::MAX_HOSTS, |_| json!("h.example"))}))),
    ];
    for (name, document) in cases {
        let text = document.to_string();
        let started = Instant::now();
        let refused = parse(text.as_bytes()).and_then(|wire| check(wire, &BucketingKey::new([7; 16])));
        let took = started.elapsed();
        let problems = refused.map(|_| ()).unwrap_err();
        assert!(problems.len() <= caps::MAX_PROBLEMS, "{name}");
        let shown: usize = problems.iter().map(|problem| problem.detail.len()).sum();
        assert!(shown < 200_000, "{name}: {shown} bytes of detail");
        // Measured below a second each on an idle machine; minutes when a check multiplies what it should add.
        assert!(took < Duration::from_secs(20), "{name}: {took:?}");
    }
}

/// Keys and values that collide under an unkeyed hash would make loading quadratic.
#[test]
fn lists_of_a_hundred_thousand_values_load_and_decide() {
    let customers = list(caps::MAX_VALUES, |i| json!(format!("customer-{i:08}")));
    let snapshot = load(&with(document(), "/flags", json!({"f": condition("f", &test("in", customers))}))).unwrap();
    let is_on = |value: &str| documents::variant(&snapshot, &json!({"x": value}), "f") == "on";
    assert!(is_on("customer-00000000") && is_on("customer-00099999"));
    assert!(!is_on("customer-00100000") && !is_on("customer-0000000"));
}
