//! The published vectors in `tests/vectors/`, run against every engine there is.
//!
//! Each engine must give the decision that the vector states, and the same bytes as the native engine,
//! traces included. A new host of the engine (a Worker) joins by implementing [`engines::Engine`].

mod engines;
pub(crate) mod file;
mod flagd;

use std::collections::BTreeSet;

use edge_engine::{Bucketer, BucketingKey, Domain, FlagSelection, check, parse};
use engines::{Engine, Native, Wasm};
use file::{Case, Expected, VectorFile, invalid_documents, vector_files};
use serde::Deserialize;
use serde_json::Value as Json;

/// Runs every case on an engine and collects what differs.
fn run(engine: &mut dyn Engine) -> Vec<String> {
    let mut failures = Vec::new();
    let mut cases = 0;
    for file in vector_files() {
        let document = serde_json::to_vec(&file.snapshot).unwrap();
        engine.load(&document, &file.key).unwrap_or_else(|problems| panic!("{}: {problems:?}", file.name));
        for case in &file.cases {
            cases += 1;
            let run = if case.fallback { run_fallback(&file, case) } else { run_case(engine, &file, case) };
            failures.extend(run.err().map(|why| format!("{} / {}: {why}", file.name, case.name)));
        }
    }
    assert!(cases >= 600, "only {cases} cases were found");
    failures
}

fn run_case(engine: &mut dyn Engine, file: &VectorFile, case: &Case) -> Result<(), String> {
    let native = check(parse(&serde_json::to_vec(&file.snapshot).unwrap()).unwrap(), &file.key).unwrap();
    let flags: Vec<_> = case.flags.iter().map(|key| native.flag_index(key).unwrap()).collect();
    let answer = engine.evaluate(&case.context, FlagSelection::These(&flags), case.now_ms, case.explain);
    match (&case.expected, answer) {
        (Expected::Error(code), Err(got)) if *code == got => Ok(()),
        (Expected::Error(code), got) => Err(format!("expected {code}, got {got:?}")),
        (Expected::Decision(expected), Ok(bytes)) => {
            let mut got: Json = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            got.as_object_mut().and_then(|decision| decision.remove("engine")).ok_or("no engine is named")?;
            if got == *expected { Ok(()) } else { Err(format!("expected {expected}, got {got}")) }
        }
        (Expected::Decision(_), Err(code)) => Err(format!("refused: {code}")),
    }
}

/// What a host without an engine answers.
fn run_fallback(file: &VectorFile, case: &Case) -> Result<(), String> {
    let snapshot = check(parse(&serde_json::to_vec(&file.snapshot).unwrap()).unwrap(), &file.key).unwrap();
    let mut decision = engines::nothing();
    edge_engine::fall_back(&snapshot, &mut decision);
    let mut bytes = Vec::new();
    let context = edge_engine::RequestContext { values: &[], now_ms: case.now_ms };
    edge_engine::write_decision(&snapshot, &context, &decision, "native", &mut bytes);
    let mut got: Json = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    got.as_object_mut().and_then(|decision| decision.remove("engine")).ok_or("no engine is named")?;
    match &case.expected {
        Expected::Decision(expected) if *expected == got => Ok(()),
        _ => Err(format!("got {got}")),
    }
}

#[test]
fn every_vector_decides_as_written() {
    let failures = run(&mut Native::default());
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_module_decides_every_vector_as_written() {
    let failures = run(&mut Wasm::new());
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures.join("\n"));
}

/// Bytes, not meanings: all flags, with and without trace, and the flat codec of the request path.
#[test]
fn the_module_answers_every_vector_with_the_native_bytes() {
    let (mut native, mut wasm) = (Native::default(), Wasm::new());
    let mut compared = 0;
    for file in vector_files() {
        let document = serde_json::to_vec(&file.snapshot).unwrap();
        native.load(&document, &file.key).unwrap();
        wasm.load(&document, &file.key).unwrap();
        for case in &file.cases {
            for (selection, explain) in
                [(FlagSelection::All, true), (FlagSelection::All, false), (FlagSelection::Forwarded, true)]
            {
                let here = native.evaluate(&case.context, selection, case.now_ms, explain);
                let there = wasm.evaluate(&case.context, selection, case.now_ms, explain);
                assert_eq!(shown(&here), shown(&there), "{} / {}", file.name, case.name);
                compared += 1;
            }
            assert_eq!(
                native.decide(&case.context, case.now_ms),
                wasm.decide(&case.context, case.now_ms),
                "{} / {}",
                file.name,
                case.name
            );
        }
    }
    assert!(compared >= 1800, "only {compared} answers were compared");
}

fn shown(answer: &Result<Vec<u8>, String>) -> Result<String, String> {
    answer.clone().map(|bytes| String::from_utf8(bytes).unwrap())
}

/// The three ways to ask for one decision.
#[test]
fn deciding_evaluating_and_explaining_agree_on_every_vector() {
    let mut native = Native::default();
    for file in vector_files() {
        native.load(&serde_json::to_vec(&file.snapshot).unwrap(), &file.key).unwrap();
        for case in &file.cases {
            let place = format!("{} / {}", file.name, case.name);
            let plain = native.evaluate(&case.context, FlagSelection::All, case.now_ms, false);
            let explained = native.evaluate(&case.context, FlagSelection::All, case.now_ms, true);
            let without_trace = explained.map(|bytes| {
                let mut decision: Json = serde_json::from_slice(&bytes).unwrap();
                decision.as_object_mut().unwrap().remove("trace").expect("explaining adds a trace");
                decision
            });
            assert_eq!(plain.map(|bytes| serde_json::from_slice::<Json>(&bytes).unwrap()), without_trace, "{place}");
            let forwarded = native.evaluate(&case.context, FlagSelection::Forwarded, case.now_ms, false);
            assert_eq!(shown(&native.decide(&case.context, case.now_ms)), shown(&forwarded), "{place}");
        }
    }
}

#[test]
fn invalid_documents_have_exactly_the_problems_that_are_written() {
    let documents = invalid_documents();
    assert!(documents.len() >= 60);
    let failures: Vec<String> = documents
        .iter()
        .filter_map(|document| {
            let found = parse(&document.text).and_then(|wire| check(wire, &BucketingKey::new([0; 16])));
            let mut found: Vec<(String, String)> =
                found.err()?.into_iter().map(|problem| (problem.pointer, problem.code.to_owned())).collect();
            found.sort();
            (found != document.problems)
                .then(|| format!("{}: expected {:?}, found {found:?}", document.name, document.problems))
        })
        .collect();
    let accepted: Vec<&str> = documents
        .iter()
        .filter(|document| parse(&document.text).is_ok_and(|wire| check(wire, &BucketingKey::new([0; 16])).is_ok()))
        .map(|document| document.name.as_str())
        .collect();
    assert!(failures.is_empty() && accepted.is_empty(), "{}\naccepted: {accepted:?}", failures.join("\n"));
}

/// Nothing public is without an example.
#[test]
fn every_operator_reason_and_error_has_a_vector() {
    let mut seen = BTreeSet::new();
    for file in vector_files() {
        collect(&serde_json::to_value(&file.snapshot).unwrap(), "op", &mut seen);
        for case in &file.cases {
            match &case.expected {
                Expected::Error(code) => drop(seen.insert(code.clone())),
                Expected::Decision(decision) => {
                    let route = decision["reason"].as_str().unwrap();
                    seen.insert(format!("route {route}"));
                    collect(&decision["flags"], "reason", &mut seen);
                    collect(&decision["flags"], "errorCode", &mut seen);
                }
            }
        }
    }
    let routes = ["OVERRIDE", "RULE", "PIN", "SPLIT", "ACTIVE", "FALLBACK"].map(|reason| format!("route {reason}"));
    let flags = ["STATIC", "DEFAULT", "TARGETING_MATCH", "SPLIT", "DISABLED", "ERROR"].map(str::to_owned);
    let errors = ["TARGETING_KEY_MISSING", "PREREQUISITE_FAILED", "GENERAL", "PARSE_ERROR", "INVALID_CONTEXT"];
    let operators = edge_engine::OPERATORS.map(str::to_owned);
    let wanted = routes.into_iter().chain(flags).chain(errors.map(str::to_owned)).chain(operators);
    let missing: Vec<String> = wanted.filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "no vector has {missing:?}");
}

/// All texts under a key, at any depth.
fn collect(json: &Json, key: &str, into: &mut BTreeSet<String>) {
    match json {
        Json::Object(object) => {
            into.extend(object.get(key).and_then(Json::as_str).map(str::to_owned));
            for inner in object.values() {
                collect(inner, key, into);
            }
        }
        Json::Array(list) => {
            for inner in list {
                collect(inner, key, into);
            }
        }
        _ => {}
    }
}

#[derive(Deserialize)]
struct BucketingCase {
    key: String,
    domain: String,
    salt: String,
    source: String,
    value: String,
    bucket: u32,
}

#[test]
fn every_bucketing_vector_has_its_bucket() {
    let cases: Vec<BucketingCase> = file::cases("bucketing.json");
    assert!(cases.len() >= 100);
    for case in cases {
        let domain = if case.domain == "flag" { Domain::Flag } else { Domain::Traffic };
        let bucketer = Bucketer::new(&file::key(&case.key), domain, &case.salt, &case.source);
        assert_eq!(bucketer.bucket(case.value.as_bytes()), case.bucket, "{:?} of {:?}", case.value, case.salt);
    }
}
