//! `bascule rollout` and `bascule verdict replay`.

use admin_api::edge::{EnvironmentReport, Failure, FirstBad, ReleaseReport, Report, Scope};
use serde_json::{Value, json};
use tests::admin::ControlPlane;

use super::{done, json, run};
use crate::api::{PRODUCTION, shop};
use crate::rig::eventually;

/// What an edge saw: one in ten of the candidate's requests failed.
fn report(plane: &ControlPlane, token: &str, sequence: u64) {
    let release = |release: &str, server_errors| ReleaseReport {
        release: release.into(),
        requests: 100,
        server_errors,
        ..ReleaseReport::default()
    };
    let first_bad = (0..10).map(|n| FirstBad {
        unit: format!("{sequence:08x}{n:08x}"),
        release: "web-2".into(),
        is_candidate: true,
        weight: 50_000,
        failure: Failure::Status,
        slower_than_ms: None,
    });
    let environment = EnvironmentReport {
        first_bad: first_bad.collect(),
        scope: Scope { app: "web".into(), environment: "production".into() },
        fallbacks: 0,
        releases: vec![release("web-2", 10), release("web-1", 0)],
        flags: Vec::new(),
        ..EnvironmentReport::default()
    };
    let report = Report {
        edge: "eu-1".into(),
        boot: "b".into(),
        sequence,
        covers_ms: 0,
        lost: 0,
        environments: vec![environment],
    };
    let body = serde_json::to_value(report).expect("a report");
    let taken = plane.request("POST", "/edge/v1/reports").token(token).json(Some(body)).send();
    assert_eq!(taken.status, 200, "{taken:?}");
}

fn state(plane: &ControlPlane) -> Value {
    plane.ask("GET", &format!("{PRODUCTION}/rollouts/current"), None).body["state"].clone()
}

#[test]
fn a_rollout_is_started_watched_and_computed_again() {
    let plane = shop();
    let web = ["--app", "web"];
    let with = |args: &[&str]| run(&plane, [&["rollout"], args, &web].concat());
    let shown = done(&plane, ["rollout", "plan", "web-2", "-e", "production", "--template", "careful"]);
    assert!(shown.contains("web-2 against web-1, careful") && shown.contains("a person"), "{shown}");
    assert_eq!(with(&["status", "-e", "production"]).code, 3, "nothing was started");
    let started = json(&plane, ["rollout", "start", "web-2", "-e", "production", "--reason", "autumn"]);
    assert_eq!((&started["state"], &started["weight"]), (&json!("step"), &json!(5.0)));
    assert_eq!(with(&["start", "web-2", "-e", "production"]).code, 4, "it is under way");
    assert_eq!(with(&["status", "-e", "production", "--watch", "--within", "10ms"]).code, 12);
    assert!(done(&plane, ["rollout", "pause", "-e", "production"]).contains("paused"));
    let paused = with(&["status", "-e", "production", "--watch"]);
    assert_eq!(paused.code, 11, "{paused:?}");
    done(&plane, ["rollout", "resume", "-e", "production"]);
    assert_eq!(with(&["promote", "-e", "production", "--full", "--no-input"]).code, 6, "nobody said yes");
    let token = plane.token("*", "*", "edge");
    for sequence in 1..=3 {
        report(&plane, &token, sequence);
    }
    let ended = with(&["status", "-e", "production", "--watch"]);
    assert_eq!(ended.code, 10, "{ended:?}");
    assert!(ended.stdout.contains("rolledBack") && ended.stderr.contains("e-value"), "{ended:?}");
    let whole = done(&plane, ["rollout", "get", "-e", "production"]);
    assert!(whole.contains("started web-2 against web-1") && whole.contains("rolledBack"), "{whole}");
    let again = json(&plane, ["verdict", "replay", "-e", "production"]);
    let decisions = again["decisions"].as_array().cloned().expect("decisions");
    assert!(!decisions.is_empty() && decisions.iter().all(|decision| decision["same"] == true), "{again}");
    let known = json(&plane, ["verdict", "calibration", "-e", "production"]);
    assert_eq!((&known["alpha"], &known["requestsAreUnsafe"]), (&json!(0.01), &json!(false)), "{known}");
    let retried = json(&plane, ["rollout", "retry", "-e", "production"]);
    assert_eq!((&retried["id"], &retried["state"]), (&json!(2), &json!("step")));
    assert!(done(&plane, ["rollout", "abort", "-e", "production", "--yes"]).contains("rollingBack"));
    eventually("it ends", || state(&plane), |state| state == "aborted");
    let listed = done(&plane, ["rollout", "list", "-e", "production"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
}

#[test]
fn a_policy_that_refuses_has_a_code_of_its_own() {
    let plane = shop();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("plan.json");
    let steps = json!([{"weight": 10, "approval": true}, {"weight": 100}]);
    std::fs::write(&file, json!({"steps": steps}).to_string()).expect("written");
    let path = file.display().to_string();
    done(&plane, ["rollout", "template", "set", "asked", "-e", "production", "--file", &path]);
    assert!(done(&plane, ["rollout", "template", "list", "-e", "production"]).contains("10 % (approval), 100 %"));
    let other = run(&plane, ["rollout", "start", "web-2", "-e", "production", "--template", "canary"]);
    assert_eq!(other.code, 5, "{other:?}");
    done(&plane, ["rollout", "template", "get", "asked", "-e", "production"]);
    done(&plane, ["rollout", "start", "web-2", "-e", "production"]);
    done(&plane, ["rollout", "template", "delete", "asked", "-e", "production", "--yes"]);
    let refused = run(&plane, ["rollout", "promote", "-e", "production"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("four_eyes"), "{refused:?}");
    let early = run(&plane, ["approve", "-e", "production"]);
    assert_eq!(early.code, 4, "nothing waits for it yet: {early:?}");
    assert!(early.stderr.contains("rollout_not_now"), "{early:?}");
}

#[test]
fn an_approval_is_given_by_somebody_else_and_passes_one_step() {
    let plane = shop();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("plan.json");
    let steps = json!([{"weight": 10, "holdMs": 0, "limitMs": 1, "approval": true}, {"weight": 100}]);
    std::fs::write(&file, json!({"inconclusive": "promote", "steps": steps}).to_string()).expect("written");
    done(&plane, ["rollout", "start", "web-2", "-e", "production", "--file", &file.display().to_string()]);
    eventually("it waits", || state(&plane), |state| state == "waitingForApproval");
    let alone = run(&plane, ["approve", "-e", "production"]);
    assert_eq!(alone.code, 5, "who started it does not approve it: {alone:?}");
    let bob = plane.token("web", "production", "operator");
    let path = format!("{PRODUCTION}/rollouts/current");
    let approve = || plane.request("POST", &format!("{path}/approve")).token(&bob).send();
    let approved = approve();
    assert_eq!((&approved.body["state"], &approved.body["step"]), (&json!("step"), &json!(2)), "{approved:?}");
    let again = approve();
    assert_eq!(
        (again.status, &again.body["code"]),
        (409, &json!("rollout_not_now")),
        "it passes nothing else: {again:?}"
    );
    done(&plane, ["rollout", "abort", "-e", "production", "--yes"]);
    eventually("it ended", || state(&plane), |state| state == "aborted");
    let start = [("template", "blue-green"), ("release", "web-2")].map(|(key, value)| (key.to_owned(), json!(value)));
    let body = Value::Object(start.into_iter().collect());
    assert_eq!(
        plane.request("POST", &format!("{PRODUCTION}/rollouts")).token(&bob).json(Some(body)).send().status,
        201
    );
    let nothing = run(&plane, ["approve", "-e", "production"]);
    assert_eq!(nothing.code, 4, "a preview waits for no approval: {nothing:?}");
    let links = run(&plane, ["rollout", "preview", "-e", "production", "--for", "2h"]);
    assert_eq!(links.code, 4, "{links:?}");
    assert!(links.stderr.contains("no_override") && links.stderr.contains("traffic"), "{links:?}");
    done(&plane, ["rollout", "abort", "-e", "production", "--yes"]);
    eventually("it ended", || state(&plane), |state| state == "aborted");
    let slots = json!({"active": "blue", "slots": {"blue": "web-1"}, "override": {"query": "try"}});
    assert_eq!(plane.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(slots)).status, 200);
    done(&plane, ["rollout", "start", "web-2", "-e", "production", "--template", "blue-green"]);
    let links = done(&plane, ["rollout", "preview", "-e", "production", "--for", "2h"]);
    assert!(links.starts_with("https://shop.example/?try=o1.green."), "{links}");
    assert_eq!(run(&plane, ["rollout", "preview", "-e", "production", "--for", "25h"]).code, 2, "at most a day");
}
