//! `bascule verdict`.

use serde_json::{Value, json};
use tests::binary::{self, Ended};

use super::folder;

fn simulate(arguments: &[&str]) -> Ended {
    binary::run(["verdict", "simulate"].iter().chain(arguments))
}

/// A report in which this many units failed at each release, which have 5 % and 95 % of the traffic.
fn report(sequence: u64, candidate: u64, stable: u64) -> String {
    let event = |unit: u64, arm: &str| json!({ "measure": "errors", "unit": unit, "arm": arm, "weight": 50_000 });
    let there = (0..candidate).map(|unit| event(unit, "candidate"));
    let events: Vec<Value> = there.chain((0..stable).map(|unit| event(1000 + unit, "stable"))).collect();
    let units = json!([{ "weight": 50_000, "candidate": 240, "stable": 4560 }]);
    json!({ "edge": "eu-1", "sequence": sequence, "window": sequence, "units": units, "events": events }).to_string()
}

fn judge(arguments: &[&str], stdin: &str) -> Ended {
    binary::finish(binary::command(["verdict", "judge"].iter().chain(arguments)), stdin)
}

#[test]
fn a_simulation_ends_with_a_sentence_that_its_seed_decides() {
    let arguments = ["--rate", "20", "--minutes", "20", "--base", "0.1", "--candidate", "1", "--runs", "40"];
    let ended = simulate(&arguments);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert!(ended.stdout.starts_with("RULE"), "{}", ended.stdout);
    let sentence = ended.stdout.lines().last().unwrap();
    assert!(sentence.starts_with("at 20 requests/s a rise from 0.1 % to 1 % at 5 % takes about "), "{sentence}");
    assert!(sentence.contains(" visitors see an error; of 40 runs without a fault "), "{sentence}");
    assert_eq!(simulate(&arguments).stdout, ended.stdout);

    let document: Value = serde_json::from_str(&simulate(&[&arguments[..], &["--json"]].concat()).stdout).unwrap();
    assert_eq!(document["sentence"], sentence);
    assert_eq!(document["rules"].as_array().unwrap().len(), 4);
    assert!(document["rules"][0]["fault"]["rolledBack"].as_u64() >= Some(36));
    assert_ne!(simulate(&[&arguments[..], &["--seed", "2"]].concat()).stdout, ended.stdout);
}

#[test]
fn a_fault_that_is_often_missed_gets_no_time() {
    let ended = simulate(&["--rate", "1", "--minutes", "20", "--base", "0.1", "--candidate", "0.2", "--runs", "40"]);
    let sentence = ended.stdout.lines().last().unwrap();
    assert!(sentence.starts_with("at 1 requests/s a doubling of 0.1 % at 5 % is found in "), "{sentence}");
    assert!(sentence.contains(" of 40 runs within 20 min, "), "{sentence}");
}

#[test]
fn what_cannot_be_simulated_is_a_usage_error() {
    for (arguments, why) in [
        (["--weight", "5,x"], "is no weight"),
        (["--weight", "5@3"], "the first from 0"),
        (["--rate", "0"], "the rate is 0"),
        (["--base", "101"], "the base is 1.01"),
        (["--alpha", "0"], "alpha is 0"),
        (["--objective", "95"], "an objective is"),
    ] {
        let ended = simulate(&arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ended.stderr.contains(why), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn reports_are_judged_and_the_exit_code_is_the_verdict() {
    let bad = format!("{}\n\n{}\n{}\n", report(0, 12, 3), report(1, 0, 0), report(0, 12, 3));
    let ended = judge(&["--candidate", "green", "--stable", "blue"], &bad);
    assert_eq!((ended.code, ended.stderr.as_str()), (10, ""));
    let expected =
        "roll back: 5xx: 12 of 480 units at green against 3 of 9 120 at blue, e-value 10^10 over the bound 125\n";
    assert_eq!(ended.stdout, expected, "the report that came twice counts once");
    let document: Value = serde_json::from_str(&judge(&["--json"], &bad).stdout).unwrap();
    assert_eq!(document["verdict"], json!({ "verdict": "rollBack", "reason": { "worse": "errors" } }));
    assert_eq!(document["findings"][0]["candidate"], json!({ "total": 480, "bad": 12 }));

    assert_eq!(judge(&[], &report(0, 0, 3)).code, 0);
    let over = judge(&["--elapsed", "600", "--maximum", "600"], "");
    assert_eq!((over.code, over.stdout.as_str()), (11, "hold: not a single request at the candidate in 10 min\n"));
}

#[test]
fn the_report_in_the_documentation_is_one() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/verdict.md")).unwrap();
    let example = text.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let report: Value = serde_json::from_str(example).unwrap();
    let ended = judge(&[], &report.to_string());
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    assert!(ended.stdout.contains("1 of 40 requests"), "{}", ended.stdout);
}

#[test]
fn a_policy_of_ones_own_is_checked() {
    let folder =
        folder(&[("strict.json", "{\"alpha\": 1e-12}"), ("wrong.json", "{\"alpha\": 2}"), ("odd.json", "{\"x\": 1}")]);
    let with = |file: &str| {
        let path = folder.path().join(file).display().to_string();
        judge(&["--policy", &path], &report(0, 12, 3))
    };
    assert_eq!(with("strict.json").code, 11, "suspicious, and not proven");
    assert!(with("wrong.json").code == 2 && with("wrong.json").stderr.contains("alpha is 2"));
    assert_eq!((with("odd.json").code, with("absent.json").code), (2, 3));
    let ended = judge(&[], "{\"edge\": 1}");
    assert!(ended.code == 2 && ended.stderr.contains("line 1 is no report"), "{}", ended.stderr);
}
