//! What operators take from deploy/ is about this program: every metric that is named there exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tests::admin::ControlPlane;

use crate::api::{PRODUCTION, shop};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace").to_path_buf()
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Words of a text that are names of metrics.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == ':';
    let words = text.split(|char| !is_part(char));
    words.filter(|word| word.starts_with("bascule_") || word.starts_with("bascule:")).map(str::to_owned).collect()
}

/// A name without what the exposition adds to it.
fn base(name: &str) -> &str {
    ["_total", "_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// The metrics that a scrape describes.
fn described(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// A control plane that has seen something of everything.
fn busy() -> ControlPlane {
    let plane = shop();
    let edge = plane.token("*", "*", "edge");
    let started = plane.ask("POST", &format!("{PRODUCTION}/rollouts"), Some(json!({"release": "web-2"})));
    assert_eq!(started.status, 201, "{started:?}");
    let mut latency = vec![0; admin_api::edge::LATENCY_BOUNDS_US.len() + 1];
    latency[3] = 100;
    let release = json!({"release": "web-2", "requests": 100, "clientErrors": 7, "serverErrors": 2, "transportErrors": 1,
        "latency": latency, "latencyUs": 700_000});
    let environments = json!([{"app": "web", "environment": "production", "releases": [release]}]);
    let report = json!({"edge": "e", "boot": "b", "sequence": 1, "coversMs": 2000, "environments": environments});
    assert_eq!(plane.request("POST", "/edge/v1/reports").token(&edge).json(Some(report)).send().status, 200);
    let used = json!({"values": {"cpu": 0.42}});
    let taken = plane.ask("POST", &format!("{PRODUCTION}/signals/infrastructure"), Some(used));
    assert_eq!(taken.status, 204, "{taken:?}");
    let back_end = plane.token("web", "production", "ofrep");
    let events = json!({"events": [{"criterion": "successfulPayments", "release": "web-2", "count": 3}]});
    let taken = plane.request("POST", &format!("{PRODUCTION}/events")).token(&back_end).json(Some(events)).send();
    assert_eq!((taken.status, &taken.body["counted"]), (200, &json!(3)), "{taken:?}");
    plane
}

#[test]
fn every_metric_of_the_standard_is_there_for_each_release() {
    let plane = busy();
    let text = plane.request("GET", "/metrics").send().text;
    let of = "{app=\"web\",environment=\"production\",release=\"web-2\"";
    for line in [
        format!("bascule_release_requests_total{of}}} 100"),
        format!("bascule_release_client_errors_total{of}}} 7"),
        format!("bascule_release_server_errors_total{of}}} 2"),
        format!("bascule_release_transport_errors_total{of}}} 1"),
        format!("bascule_release_error_ratio{of}}} 0.03"),
        format!("bascule_release_request_duration_seconds_count{of}}} 100"),
        format!("bascule_release_request_duration_seconds_sum{of}}} 0.7"),
        format!("bascule_release_events_total{of},criterion=\"successfulPayments\"}} 3"),
        "bascule_infrastructure_ratio{app=\"web\",environment=\"production\",resource=\"cpu\"} 0.42".to_owned(),
        "bascule_rollout_state{app=\"web\",environment=\"production\",state=\"step\"} 1".to_owned(),
        "bascule_rollout_candidate_weight_ratio{app=\"web\",environment=\"production\"} 0.05".to_owned(),
    ] {
        assert!(text.lines().any(|known| known == line), "{line} in {text}");
    }
    for gauge in ["requests_per_second", "request_duration_p95_seconds", "request_duration_p99_seconds"] {
        assert!(text.contains(&format!("bascule_release_{gauge}{of}")), "{gauge} in {text}");
    }
    let shown = plane.ask("GET", &format!("{PRODUCTION}/metrics"), None).body;
    let release = &shown["releases"][0];
    assert_eq!((&release["clientErrors"], &release["errorRatio"]), (&json!(7), &json!(0.03)), "{shown}");
    // All of them took between 5 and 10 ms.
    let p95 = release["p95Seconds"].as_f64().unwrap_or_default();
    assert!((p95 - 0.009_75).abs() < 1e-9, "{shown}");
    assert_eq!(shown["infrastructure"]["cpu"], 0.42);
}

#[test]
fn every_metric_that_rules_and_dashboard_name_exists() {
    let rules = read("deploy/prometheus/bascule.rules.yaml");
    let dashboard = read("deploy/grafana/bascule.json");
    let document: Value = serde_json::from_str(&dashboard).expect("a dashboard is JSON");
    let panels = document["panels"].as_array().expect("panels");
    let queries: String = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .fold(String::new(), |all, target| all + target["expr"].as_str().expect("a query") + "\n");
    assert!(panels.len() >= 12);
    let mut there = described(&busy().request("GET", "/metrics").send().text);
    // It has series only where Workers are pushed to.
    assert!(read("admin/src/metrics.rs").contains("register(\"worker_reachable\""));
    there.insert("bascule_admin_worker_reachable".to_owned());
    // Those of gateways are in a table that a test holds to the exposition.
    there.extend(named(&read("docs/metrics.md")).iter().map(|name| base(name).to_owned()));
    there.extend(rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).map(str::to_owned));
    let tests = read("deploy/prometheus/bascule.test.yaml");
    for (file, text) in [("rules", &rules), ("dashboard", &queries), ("tests", &tests)] {
        let names = named(text);
        assert!(!names.is_empty(), "{file}");
        let missing: Vec<&String> =
            names.iter().filter(|name| !there.contains(*name) && !there.contains(base(name))).collect();
        assert!(missing.is_empty(), "{file} name what does not exist: {missing:?}");
    }
    for (threshold, what) in [("> 0.01 and", "errors"), ("> 2\n", "p95"), ("> 0.8\n", "cpu"), ("> 0.85\n", "memory")] {
        assert!(rules.contains(threshold), "the standard's threshold of {what}");
    }
}

#[test]
fn prometheus_takes_the_rules_and_they_fire_when_they_should() {
    let folder = root().join("deploy/prometheus");
    for arguments in [["check", "rules", "bascule.rules.yaml"], ["test", "rules", "bascule.test.yaml"]] {
        let output = Command::new("promtool").args(arguments).current_dir(&folder).output();
        let output = output.unwrap_or_else(|error| panic!("promtool: {error}: run `cargo xtask setup`"));
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {text}");
    }
}
