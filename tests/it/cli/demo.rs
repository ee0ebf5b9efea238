//! `bascule demo`: one walk, as a program reads it and as people see it without a terminal.

use std::net::TcpListener;

use serde_json::Value;
use tests::binary;

#[test]
fn one_walk_loses_no_request_and_no_visitor_flaps() {
    // The usual ports are taken, by us or by somebody else; the demo must find others.
    let _taken: Vec<_> = [7400, 8080, 9090, 7001, 7002].map(|port| TcpListener::bind(("127.0.0.1", port))).into();
    let ended = binary::run(["demo", "--once", "--json", "--visitors", "300", "--rate", "600", "--step", "0.3"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    let events: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).expect("NDJSON")).collect();
    let of = |event: &str| events.iter().filter(|e| e["event"] == event).collect::<Vec<_>>();
    let [started] = of("started")[..] else { panic!("one beginning: {}", ended.stdout) };
    assert_eq!(started["engine"].as_str().map(str::len), Some(64), "the module decides");
    for address in ["gateway", "ops", "admin"] {
        let url = started[address].as_str().expect("a URL");
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        assert!(!url.contains(":8080") && !url.contains(":9090"), "{url}");
    }

    let changes = of("change");
    let steps: Vec<_> = changes.iter().map(|c| (c["toPercent"].as_u64(), c["rollback"].as_bool())).collect();
    let expected = [(5, false), (25, false), (50, false), (100, false), (0, true)];
    assert_eq!(steps, expected.map(|(to, rollback)| (Some(to), Some(rollback))));
    let moved: Vec<u64> = changes.iter().filter_map(|change| change["moved"].as_u64()).collect();
    let up: u64 = moved[..4].iter().sum();
    assert_eq!((up, moved[4]), (300, 300), "everybody moved once up, and back at once: {moved:?}");
    for change in &changes {
        assert_eq!(change["flapped"], 0, "{change}");
        let ms = |key: &str| change[key].as_f64().expect("a number");
        assert!(ms("acknowledgedMs") > 0.0);
        // Requests that were under way may still arrive; a second is far more than they need.
        assert!(ms("lastAtOldMs") < ms("acknowledgedMs") + 1000.0, "{change}");
    }
    let edges = changes[4]["edges"].as_array().expect("the rollback's acknowledgements");
    let regions: std::collections::BTreeSet<_> = edges.iter().filter_map(|edge| edge["region"].as_str()).collect();
    assert_eq!(regions, ["eu", "us"].into(), "{edges:?}");
    let [finished] = of("finished")[..] else { panic!("one end: {}", ended.stdout) };
    assert_eq!((&finished["ok"], &finished["errors"], &finished["flapped"]), (&true.into(), &0.into(), &0.into()));
    assert!(finished["requests"].as_u64() >= Some(6 * 300), "every visitor was answered in each step: {finished}");
}

#[test]
fn without_a_terminal_it_writes_plain_lines() {
    let ended =
        binary::run(["demo", "--once", "--engine", "native", "--visitors", "100", "--rate", "400", "--step", "0.1"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    assert!(!ended.stdout.contains('\u{1b}'), "no escape sequences: {}", ended.stdout);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(
        lines[0].starts_with("bascule demo: 100 visitors at http://127.0.0.1:") && lines[0].ends_with("engine native"),
        "{lines:#?}"
    );
    assert_eq!(lines.iter().filter(|line| line.contains("% green")).count(), 4, "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains("rollback to  0 %")).count(), 1);
    assert_eq!(lines.iter().filter(|line| line.contains("acknowledged after")).count(), 2, "{lines:#?}");
    assert!(lines.last().is_some_and(|line| line.ends_with("0 errors; 0 of 100 visitors went back and forth")));
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
}
