//! The host against modules that are broken, hostile or from another generation.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use edge_engine::{BucketingKey, Decision, RequestContext, RouteReason, Slot, Value};
use server::host::{Decided, Decider, Engine, FallbackCause, LoadError, LoadedSnapshot, Module, ModuleError};

const SNAPSHOT: &str = r#"{
    "format": "v1", "app": "web", "environment": "production", "number": 1,
    "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k1", "unit": ["header:x-user-id"],
    "traffic": {"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 1000000, "salt": "s"},
    "releases": {"web-1": {"version": "1", "upstreams": [{"url": "http://127.0.0.1:7001"}]},
                 "web-2": {"version": "2", "upstreams": [{"url": "http://127.0.0.1:7002"}]}}
}"#;

/// A decision of the snapshot above: green, release 1, SPLIT.
const GREEN: &str = r"\01\01\03\00\01\00\00\00\00\00\00\00\00\00\00\00\00";

fn key() -> BucketingKey {
    BucketingKey::new([1; 16])
}

/// A module that answers `first` to the trial request and runs `then` for every later one.
fn misbehaving(first: &str, then: &str) -> Vec<u8> {
    let regions = |at: u64, len: u64| at << 32 | len;
    wat::parse_str(format!(
        r#"(module
            (memory (export "memory") 4)
            (global $calls (mut i32) (i32.const 0))
            (data (i32.const 16) "{first}")
            (func (export "abi_version") (result i32) (i32.const 65537))
            (func (export "input") (param i32) (result i32) (i32.const 1024))
            (func (export "configure") (result i64) (i64.const 0))
            (func (export "evaluate") (result i64) (i64.const 0))
            (func (export "explain") (result i64) (i64.const 0))
            (func $then (result i64) {then})
            (func (export "decide") (result i64)
                (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                (if (result i64) (i32.eq (global.get $calls) (i32.const 1))
                    (then (i64.const {}))
                    (else (call $then)))))"#,
        regions(16, 17)
    ))
    .expect("the text is WebAssembly")
}

fn load(wasm: &[u8]) -> Result<LoadedSnapshot, LoadError> {
    let module = Module::compile(wasm).expect("the module keeps the contract");
    LoadedSnapshot::load(SNAPSHOT.as_bytes(), &key(), &Engine::wasm(module))
}

fn decide(decider: &mut Decider) -> (Decided, Decision) {
    let values = [Value::from("u1"); 4];
    let mut decision = decider.new_decision();
    let decided = decider.decide(&RequestContext { values: &values, now_ms: 0 }, &mut decision);
    (decided, decision)
}

/// The request is answered by the active slot, and soon by a fresh instance again.
#[track_caller]
fn check_falls_back(then: &str, cause: FallbackCause) {
    let mut decider = load(&misbehaving(GREEN, then)).expect("the trial goes well").decider().expect("an instance");
    let started = Instant::now();
    let (decided, decision) = decide(&mut decider);
    assert_eq!(decided, Decided::Fallback(cause));
    assert_eq!((decision.route.slot, decision.route.reason), (Slot::Blue, RouteReason::Fallback));
    // 50 ms is the deadline; the rest is a busy machine.
    assert!(started.elapsed() < Duration::from_secs(2), "the fallback took {:?}", started.elapsed());

    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let (decided, decision) = decide(&mut decider);
        if decided == Decided::Engine {
            assert_eq!(decision.route.slot, Slot::Green, "a fresh instance answers its first request well");
            break;
        }
        assert_eq!(decided, Decided::Fallback(FallbackCause::Replacing));
        assert!(Instant::now() < patience, "no fresh instance came");
        std::thread::yield_now();
    }
}

#[test]
fn a_trap_is_answered_by_the_active_slot() {
    check_falls_back("unreachable", FallbackCause::Trap);
}

#[test]
fn an_endless_loop_is_answered_by_the_active_slot_at_the_deadline() {
    check_falls_back("(loop $l (br $l)) unreachable", FallbackCause::Deadline);
}

#[test]
fn deep_recursion_is_answered_by_the_active_slot() {
    check_falls_back("(drop (call $then)) (i64.const 0)", FallbackCause::Trap);
}

#[test]
fn a_memory_hog_is_stopped_at_its_limit() {
    let hog = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1024)) (i32.const -1)))) unreachable";
    check_falls_back(hog, FallbackCause::Trap);
}

#[test]
fn answers_that_are_not_for_the_snapshot_are_not_believed() {
    for then in [
        "(i64.const 0)",                                                      // nothing
        "(i64.const -1)",                                                     // outside of its memory
        "(i64.const 0xfffffff000000011)",                                     // the same, by address only
        "(i64.const 0x1000000003)",                                           // cut short
        "(i32.store8 (i32.const 17) (i32.const 0)) (i64.const 0x1000000011)", // blue does not hold release 1
        "(i32.store8 (i32.const 17) (i32.const 7)) (i64.const 0x1000000011)", // no such slot
        "(i32.store8 (i32.const 18) (i32.const 9)) (i64.const 0x1000000011)", // no such reason
        "(i32.store8 (i32.const 29) (i32.const 1)) (i64.const 0x1000000011)", // a flag too many
    ] {
        check_falls_back(then, FallbackCause::Answer);
    }
}

#[test]
fn a_module_that_fails_its_trial_is_refused_before_it_serves() {
    for (first, why) in [(r"\02", "format"), (&GREEN.replace(r"\01\01\03\00\01", r"\01\01\03\00\05"), "slot")] {
        let error = load(&misbehaving(first, "(i64.const 0)")).expect_err("the trial fails");
        let cause = std::error::Error::source(&error).and_then(|error| error.source()).expect("a cause").to_string();
        assert!(cause.contains(why), "{cause}");
    }
}

#[test]
fn a_difference_between_module_and_native_engine_is_seen() {
    let blue = r"\01\00\04\00\00\00\00\00\00\00\00\00\00\00\00\00\00";
    let module = Module::compile(&misbehaving(blue, "(i64.const 0x1000000011)")).expect("a module");
    let engine = Engine::wasm(module).with_shadow(true);
    let mut decider =
        LoadedSnapshot::load(SNAPSHOT.as_bytes(), &key(), &engine).expect("loads").decider().expect("an instance");
    let (decided, decision) = decide(&mut decider);
    assert_eq!((decided, decision.route.slot), (Decided::ShadowDiffered, Slot::Blue), "the module's answer counts");
}

#[test]
fn the_embedded_module_agrees_with_the_native_engine() {
    let engine = Engine::wasm(Module::embedded().expect("the embedded module")).with_shadow(true);
    let mut decider =
        LoadedSnapshot::load(SNAPSHOT.as_bytes(), &key(), &engine).expect("loads").decider().expect("an instance");
    for _ in 0..1000 {
        let (decided, decision) = decide(&mut decider);
        assert_eq!((decided, decision.route.reason), (Decided::Engine, RouteReason::Split));
    }
}

#[test]
fn a_module_that_breaks_the_contract_is_refused_with_the_reason() {
    let whole = String::from_utf8(wat_of("i32.const 65537", "")).expect("text");
    let cases = [
        (wat_of("i32.const 131072", ""), "ABI 2.0"),
        (wat_of("i32.const 65535", ""), "ABI 0.65535"),
        (wat_of("unreachable", ""), "does not run"),
        (wat_of("i32.const 65537", r#"(import "wasi" "clock" (func))"#), "imports `wasi.clock`"),
        (whole.replace(r#"(export "decide")"#, "").into_bytes(), "does not export `decide`"),
        (whole.replace(r#"(export "memory")"#, "").into_bytes(), "does not export `memory`"),
        (b"not a module".to_vec(), "does not compile"),
    ];
    for (text, expected) in cases {
        let wasm = wat::parse_bytes(&text).map_or_else(|_| text.clone(), std::borrow::Cow::into_owned);
        let error = Module::compile(&wasm).expect_err("the module is refused");
        assert!(chain(&error).contains(expected), "{}", chain(&error));
    }
    assert!(Module::compile(&wat::parse_str(&whole).expect("text")).is_ok(), "the unchanged text is accepted");
}

fn wat_of(version: &str, import: &str) -> Vec<u8> {
    let functions = ["configure", "decide", "evaluate", "explain"].iter().fold(String::new(), |mut text, name| {
        write!(text, r#"(func (export "{name}") (result i64) (i64.const 0))"#).expect("a String takes everything");
        text
    });
    format!(
        r#"(module {import} (memory (export "memory") 1) {functions}
            (func (export "abi_version") (result i32) {version})
            (func (export "input") (param i32) (result i32) (i32.const 0)))"#
    )
    .into_bytes()
}

fn chain(error: &ModuleError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        write!(text, ": {error}").expect("a String takes everything");
        cause = error.source();
    }
    text
}
