//! `bascule demo`: a rollout with each fault, as a program reads it and as people see it without a terminal.

use std::net::TcpListener;

use serde_json::Value;
use tests::binary;

/// The events of one walk.
fn walk(fault: &str) -> Vec<Value> {
    // The usual ports are taken, by us or by somebody else; the demo must find others.
    let _taken: Vec<_> = [7400, 8080, 9090, 7001, 7002].map(|port| TcpListener::bind(("127.0.0.1", port))).into();
    let arguments =
        ["demo", "--once", "--json", "--visitors", "400", "--rate", "2000", "--step", "0.5", "--fault", fault];
    let ended = binary::run(arguments);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("NDJSON")).collect()
}

fn of<'e>(events: &'e [Value], event: &str) -> Vec<&'e Value> {
    events.iter().filter(|one| one["event"] == event).collect()
}

#[test]
fn a_release_that_begins_to_fail_is_taken_back_by_the_verdict() {
    let events = walk("errors");
    let [started] = of(&events, "started")[..] else { panic!("one beginning: {events:#?}") };
    assert_eq!(started["engine"].as_str().map(str::len), Some(64), "the module decides");
    for address in ["gateway", "ops", "admin"] {
        let url = started[address].as_str().expect("a URL");
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        assert!(!url.contains(":8080") && !url.contains(":9090"), "{url}");
    }
    let changes = of(&events, "change");
    let steps: Vec<_> = changes.iter().map(|c| (c["toPercent"].as_u64(), c["rollback"].as_bool())).collect();
    assert_eq!(steps.first(), Some(&(Some(5), Some(false))), "{steps:?}");
    assert!(steps.contains(&(Some(25), Some(false))) && !steps.contains(&(Some(100), Some(false))), "{steps:?}");
    let last = changes.last().expect("a rollback");
    assert_eq!((&last["rollback"], &last["toPercent"]), (&true.into(), &0.into()));
    assert!(last["moved"].as_u64() > Some(0), "{last}");
    let edges = last["edges"].as_array().expect("the rollback's acknowledgements");
    let regions: std::collections::BTreeSet<_> = edges.iter().filter_map(|edge| edge["region"].as_str()).collect();
    assert_eq!(regions, ["eu", "us"].into(), "{edges:?}");
    let [outcome] = of(&events, "outcome")[..] else { panic!("one outcome: {events:#?}") };
    assert_eq!((&outcome["state"], &outcome["verified"]), (&"rolledBack".into(), &true.into()), "{outcome}");
    let sentence = outcome["sentence"].as_str().unwrap_or_default();
    assert!(sentence.contains("5xx: ") && sentence.contains("e-value"), "{sentence}");
    let ms = |key: &str| outcome[key].as_f64().unwrap_or(f64::NAN);
    assert!(ms("detectedMs") > 0.0 && ms("detectedMs") < 30_000.0, "{outcome}");
    assert!(ms("rolledBackMs") >= 0.0 && ms("rolledBackMs") < 5000.0, "{outcome}");
    assert!((1..400).contains(&outcome["visitorsHurt"].as_u64().unwrap_or(0)), "{outcome}");
    let [finished] = of(&events, "finished")[..] else { panic!("one end: {events:#?}") };
    assert_eq!((&finished["ok"], &finished["errors"], &finished["flapped"]), (&true.into(), &0.into(), &0.into()));
}

#[test]
fn a_release_that_slows_down_or_ends_is_taken_back_too() {
    for fault in ["latency", "crash"] {
        let events = walk(fault);
        let [outcome] = of(&events, "outcome")[..] else { panic!("one outcome: {events:#?}") };
        assert_eq!(
            (&outcome["state"], &outcome["verified"]),
            (&"rolledBack".into(), &true.into()),
            "{fault}: {outcome}"
        );
        // Whose request was under way when it ended saw an error, and nobody after them.
        assert!(outcome["visitorsHurt"].as_u64() < Some(40), "{fault}: {outcome}");
    }
}

#[test]
fn a_good_release_takes_over_and_nobody_notices() {
    let events = walk("none");
    let changes = of(&events, "change");
    let steps: Vec<_> = changes.iter().filter_map(|c| c["toPercent"].as_u64()).collect();
    assert_eq!(steps, [5, 25, 50, 100]);
    let moved: u64 = changes.iter().filter_map(|change| change["moved"].as_u64()).sum();
    assert_eq!(moved, 400, "everybody moved once");
    for change in &changes {
        assert_eq!(change["flapped"], 0, "{change}");
        let ms = |key: &str| change[key].as_f64().expect("a number");
        assert!(ms("acknowledgedMs") >= 0.0);
        // Requests that were under way may still arrive; a second is far more than they need.
        assert!(ms("lastAtOldMs") < ms("acknowledgedMs") + 1000.0, "{change}");
    }
    let [outcome] = of(&events, "outcome")[..] else { panic!("one outcome: {events:#?}") };
    assert_eq!((&outcome["state"], &outcome["visitorsHurt"]), (&"promoted".into(), &0.into()), "{outcome}");
    let [finished] = of(&events, "finished")[..] else { panic!("one end: {events:#?}") };
    assert_eq!((&finished["ok"], &finished["errors"], &finished["flapped"]), (&true.into(), &0.into(), &0.into()));
}

#[test]
fn without_a_terminal_it_writes_plain_lines() {
    let ended =
        binary::run(["demo", "--once", "--engine", "native", "--visitors", "400", "--rate", "2000", "--step", "0.1"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    assert!(!ended.stdout.contains('\u{1b}'), "no escape sequences: {}", ended.stdout);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(
        lines[0].starts_with("bascule demo: 400 visitors at http://127.0.0.1:") && lines[0].ends_with("engine native"),
        "{lines:#?}"
    );
    assert!(lines.iter().any(|line| line.contains("5 →  25 % green")), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains("rollback to  0 %")).count(), 1);
    assert_eq!(lines.iter().filter(|line| line.contains("acknowledged after")).count(), 2, "{lines:#?}");
    assert!(ended.stdout.contains("time to detect") && ended.stdout.contains("visitors hurt"), "{lines:#?}");
    assert!(lines.last().is_some_and(|line| line.ends_with("0 errors; 0 of 400 visitors went back and forth")));
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
}
