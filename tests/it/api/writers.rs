//! Many who change the same at once: one wins each revision, nobody's change is lost, numbers have no gaps.

use std::collections::BTreeSet;
use std::sync::Barrier;

use serde_json::{Value, json};
use tests::admin::ControlPlane;

use super::PRODUCTION;
use super::authorisation::patient_shop;

const WRITERS: usize = 50;

fn rule(name: &str) -> Value {
    json!({"id": name, "when": {"attr": "name", "op": "in", "values": [name]}, "serve": "on"})
}

/// Adds a rule, as often as it takes; the revision that it got.
fn add(plane: &ControlPlane, name: &str) -> i64 {
    let path = format!("{PRODUCTION}/flags/checkout");
    loop {
        let seen = plane.ask("GET", &path, None);
        let mut rules = seen.body["rules"].as_array().cloned().unwrap_or_default();
        rules.push(rule(name));
        let body = json!({"rules": rules, "fallthrough": {"serve": "off"}});
        let changed = plane.change("PUT", &path, seen.etag(), Some(body));
        match changed.status {
            200 => return changed.body["revision"].as_i64().expect("a revision"),
            412 => assert_ne!(changed.etag(), seen.etag(), "only a newer revision refuses"),
            _ => panic!("{changed:?}"),
        }
    }
}

#[test]
fn of_many_writers_one_wins_each_revision_and_nothing_is_lost() {
    let plane = patient_shop();
    let start = Barrier::new(WRITERS);
    let names: Vec<String> = (0..WRITERS).map(|n| format!("writer-{n}")).collect();
    let revisions: Vec<i64> = std::thread::scope(|scope| {
        let one = |name| {
            let (plane, start) = (&plane, &start);
            scope.spawn(move || {
                start.wait();
                add(plane, name)
            })
        };
        let writers: Vec<_> = names.iter().map(|name| one(name.as_str())).collect();
        writers.into_iter().map(|writer| writer.join().expect("it does not panic")).collect()
    });
    let distinct: BTreeSet<i64> = revisions.iter().copied().collect();
    assert_eq!(distinct.len(), WRITERS, "each revision has one winner");
    let (first, last) = (distinct.first().expect("some"), distinct.last().expect("some"));
    assert_eq!(usize::try_from(last - first).expect("ordered") + 1, WRITERS, "revisions have no gaps");
    let rules = plane.ask("GET", &format!("{PRODUCTION}/flags/checkout"), None).body["rules"].clone();
    let rules: BTreeSet<&str> =
        rules.as_array().expect("rules").iter().filter_map(|rule| rule["id"].as_str()).collect();
    assert!(names.iter().all(|name| rules.contains(name.as_str())), "{rules:?}");
    let listed = plane.ask("GET", &format!("{PRODUCTION}/snapshots?limit=200"), None);
    let numbers = listed.body["items"].as_array().expect("items").iter().filter_map(|item| item["number"].as_u64());
    let expected: Vec<u64> = (1..=51).rev().collect();
    assert_eq!(numbers.collect::<Vec<_>>(), expected, "numbers have no gaps");
    let entries = plane.ask("GET", "/api/v1/audit?operation=putTargeting&limit=200", None);
    assert_eq!(entries.body["items"].as_array().map(Vec::len), Some(WRITERS));
    assert_eq!(plane.ask("GET", "/api/v1/audit/verify", None).body["intact"], true);
}

#[test]
fn one_key_of_many_who_make_the_same_is_one_object() {
    let plane = patient_shop();
    let start = Barrier::new(WRITERS);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let one = || {
            scope.spawn(|| {
                start.wait();
                plane.ask("POST", "/api/v1/apps/web/flags", Some(json!({"key": "one"}))).status
            })
        };
        let makers: Vec<_> = (0..WRITERS).map(|_| one()).collect();
        makers.into_iter().map(|maker| maker.join().expect("it does not panic")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 201 | 409)), "{statuses:?}");
}
