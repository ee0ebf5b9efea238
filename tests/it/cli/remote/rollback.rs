//! `bascule rollback` and `bascule traffic`.

use serde_json::{Value, json};
use tests::admin::ControlPlane;
use tests::binary::{self, Ended};
use tests::edge::Edge;

use super::{command, done, json, run};
use crate::api::shop;

/// A shop with a candidate at 5 %.
fn canary() -> ControlPlane {
    let plane = shop();
    let set = ["traffic", "set", "-e", "production", "--green", "web-2", "--weight", "5", "--reason", "canary"];
    let refused = run(&plane, set);
    assert_eq!(refused.code, 6, "{refused:?}");
    assert!(refused.stdout.contains("~ environments/production/traffic"), "it is shown first: {refused:?}");
    let shown = done(&plane, set.iter().chain(&["--yes"]));
    assert!(shown.contains("  blue   web-1 (active)\n  green  web-2 (weight 5 %)\n"), "{shown}");
    plane
}

const ROLLBACK: [&str; 5] = ["rollback", "-e", "production", "--reason", "errors"];

/// Rolls back while these edges acknowledge.
fn roll_back(plane: &ControlPlane, edges: &mut [Edge], args: &[&str]) -> Ended {
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| run(plane, ROLLBACK.iter().chain(args)));
        for edge in edges {
            edge.stream.until("current");
            assert_eq!(edge.stream.until("snapshot").json(0)["number"], 3);
            assert_eq!(edge.acknowledge(plane, "production", 3), 204);
        }
        ended.join().expect("no panic")
    })
}

#[test]
fn every_acknowledgement_is_shown() {
    let plane = canary();
    let mut edges = ["e1", "e2"].map(|id| Edge::connect(&plane, id, None));
    let ended = roll_back(&plane, &mut edges, &["--yes", "--wait", "20s"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[0], "web in production: web-2 → web-1, snapshot 3");
    assert_eq!(lines[1], "EDGE  KIND     REGION  ENGINE  ACK");
    assert!(lines[2].starts_with("e1    gateway  eu      native  ") && lines[2].ends_with(" ms"), "{lines:?}");
    assert!(lines[3].starts_with("e2 ") && lines[4].starts_with("2 of 2 acknowledged, the last after "), "{lines:?}");
    let traffic = json(&plane, ["traffic", "get", "-e", "production"]);
    assert_eq!((&traffic["slots"], &traffic["rolledBack"]), (&json!({"blue": "web-1"}), &json!(["web-2"])));
    let edges = done(&plane, ["edges"]);
    assert!(edges.contains("connected") && edges.contains("web/production 3"), "{edges}");
}

#[test]
fn an_edge_that_is_silent_makes_it_a_timeout_and_is_named() {
    let plane = canary();
    let quiet = Edge::connect(&plane, "quiet", None);
    let ended = run(&plane, ["rb", "-e", "production", "--reason", "errors", "--yes", "--wait", "300ms"]);
    assert_eq!(ended.code, 12, "{ended:?}");
    assert!(ended.stdout.contains("quiet  -     eu      -       MISSING (waiting"), "{ended:?}");
    assert!(ended.stdout.contains("0 of 1 acknowledged"), "{ended:?}");
    assert!(ended.stderr.contains("1 edge has not acknowledged it yet"), "{ended:?}");
    let traffic = json(&plane, ["traffic", "get", "-e", "production"]);
    assert_eq!(traffic["rolledBack"], json!(["web-2"]), "it is published all the same");
    drop(quiet);
}

#[test]
fn json_is_the_answer_of_the_api() {
    let plane = canary();
    let ended = run(&plane, ROLLBACK.iter().chain(&["--yes", "--json"]));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    let answer: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&answer["from"], &answer["to"], &answer["connected"]), (&json!("web-2"), &json!("web-1"), &json!(0)));
    assert_eq!(answer["reason"], "errors");
}

#[test]
fn nothing_is_sent_without_a_yes() {
    let plane = canary();
    for args in [&[][..], &["--no-input"]] {
        let ended = run(&plane, ROLLBACK.iter().chain(args));
        assert_eq!((ended.code, ended.stdout.as_str()), (6, ""), "{ended:?}");
        assert!(ended.stderr.contains("Roll back web in production from web-2 to web-1?"), "{ended:?}");
    }
    let piped = binary::finish(command(&plane, ROLLBACK), "yes\n");
    assert_eq!(piped.code, 6, "a pipe is no person: {piped:?}");
    assert_eq!(json(&plane, ["traffic", "get", "-e", "production"])["candidateWeight"], json!(5));
}

#[test]
fn another_release_than_the_one_that_was_meant_is_not_moved() {
    let plane = canary();
    let ended = run(&plane, ROLLBACK.iter().chain(&["--yes", "--from", "web-1"]));
    assert_eq!((ended.code, ended.stdout.as_str()), (4, ""), "{ended:?}");
    assert!(ended.stderr.contains("(412 release_mismatch)"), "{ended:?}");
    assert_eq!(run(&plane, ROLLBACK.iter().chain(&["--yes", "--to", "web-9"])).code, 2);
    assert_eq!(run(&plane, ROLLBACK.iter().chain(&["--yes"])).code, 0);
    let again = run(&plane, ROLLBACK.iter().chain(&["--yes"]));
    assert_eq!(again.code, 4, "there is nothing left to go back to: {again:?}");
    assert_eq!(run(&plane, ["rollback", "-e", "nowhere", "--reason", "x", "--yes"]).code, 3);
    assert_eq!(run(&plane, ["rollback", "-e", "production", "--yes"]).code, 2, "a reason is needed");
}

#[test]
fn after_a_cut_over_the_release_before_comes_back() {
    let plane = canary();
    done(&plane, ["traffic", "set", "-e", "production", "--active", "green", "--weight", "0", "--yes"]);
    let ended = run(&plane, ROLLBACK.iter().chain(&["--yes"]));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.starts_with("web in production: web-2 → web-1, snapshot 4\n"), "{ended:?}");
    let set = ["traffic", "set", "-e", "production", "--weight", "0", "--yes"];
    assert_eq!(done(&plane, set), "nothing to change\n");
}

#[test]
fn a_release_that_was_kept_and_has_rules_is_not_taken_for_a_candidate() {
    let plane = canary();
    done(&plane, ["traffic", "set", "-e", "production", "--active", "green", "--weight", "0", "--yes"]);
    let mut traffic = json(&plane, ["traffic", "get", "-e", "production"]);
    traffic["rules"] = json!([{"id": "staff", "when": {"segment": "staff"}, "slot": "blue"}]);
    let set = command(&plane, ["traffic", "set", "-e", "production", "--file", "-", "--yes"]);
    let set = binary::finish(set, &traffic.to_string());
    assert_eq!(set.code, 0, "{set:?}");
    let ended = run(&plane, ROLLBACK.iter().chain(&["--yes"]));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.starts_with("web in production: web-2 → web-1, "), "{ended:?}");
}

#[test]
fn applying_the_file_of_before_is_refused_by_policy_and_still_can_be_compared() {
    let plane = canary();
    let folder = crate::cli::folder(&[("web.yaml", &done(&plane, ["export", "web"]))]);
    let file = folder.path().join("web.yaml");
    let file = file.to_str().expect("a path");
    done(&plane, ROLLBACK.iter().chain(&["--yes"]));
    let refused = run(&plane, ["apply", file, "--yes"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (5, ""), "{refused:?}");
    assert!(refused.stderr.contains("web-2 was rolled back in production"), "{refused:?}");
    assert!(refused.stderr.contains("--allow-rolled-back"), "{refused:?}");
    assert!(done(&plane, ["diff", file]).contains("/slots/green \"web-2\""));
    let back = done(&plane, ["apply", file, "--yes", "--allow-rolled-back"]);
    assert!(back.contains("1 changed"), "{back}");
}

#[test]
fn a_panic_override_is_the_text_alone() {
    let plane = canary();
    let ended = run(&plane, ["worker", "override", "-e", "production", "--reason", "the object is down"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    assert!(ended.stdout.starts_with("bascule-panic-override-v1 web production 3 web-1 "), "{ended:?}");
    assert_eq!(ended.stdout.split(' ').next_back().map(str::len), Some(129), "a signature and a line end: {ended:?}");
    let answer = json(&plane, ["worker", "override", "-e", "production", "--release", "web-2", "--before", "7"]);
    assert_eq!((&answer["release"], &answer["before"]), (&json!("web-2"), &json!(7)));
    assert_eq!(answer.as_object().map(serde_json::Map::len), Some(3), "{answer}");
    for (args, code) in [(["--release", "web-9"], 2), (["--before", "0"], 2)] {
        let ended = run(&plane, ["worker", "override", "-e", "production"].iter().chain(&args));
        assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{ended:?}");
    }
    assert_eq!(run(&plane, ["worker", "override", "-e", "nope"]).code, 3);
}
