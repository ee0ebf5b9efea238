//! The description of the API against the API, by tools that know neither: schemathesis makes thousands of requests from
//! `/openapi.json` and compares what comes with what is promised; openapi-spec-validator reads the document itself.
//!
//! `cargo xtask setup` installs both into the target folder in the versions of `tests/openapi`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tests::admin::ControlPlane;

use super::authorisation::patient_shop;

fn program(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a running test has a path");
    let target = exe.ancestors().nth(3).expect("cargo's layout");
    let path = target.join("openapi/python/bin").join(name);
    assert!(path.is_file(), "{} is missing: run `cargo xtask setup`", path.display());
    path
}

fn run(command: &mut Command) -> String {
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").env("NO_COLOR", "1").output().expect("it starts");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}

fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_document_is_openapi_3_1_and_the_one_in_docs() {
    let plane = ControlPlane::start();
    let document = plane.request("GET", "/openapi.json").send().body;
    let text = format!("{}\n", serde_json::to_string_pretty(&document).expect("JSON"));
    let copy = sources().parent().expect("tests is in the workspace").join("docs/openapi.json");
    if std::env::var_os("BASCULE_UPDATE_DOCS").is_some() {
        std::fs::write(&copy, &text).expect("docs can be written");
    }
    let kept = std::fs::read_to_string(&copy).unwrap_or_default();
    assert!(kept == text, "docs/openapi.json is of another version: run the test with BASCULE_UPDATE_DOCS=1");
    run(Command::new(program("openapi-spec-validator")).args(["--schema", "3.1"]).arg(&copy));
}

/// One token for people's, edges' and flag clients' operations.
fn all_roles(plane: &ControlPlane) -> String {
    let scope =
        |app: &str, environment: &str, role: &str| json!({"app": app, "environment": environment, "role": role});
    let scopes = [scope("*", "*", "admin"), scope("*", "*", "edge"), scope("web", "production", "ofrep")];
    let made = plane.ask("POST", "/api/v1/tokens", Some(json!({"name": "all", "scopes": scopes})));
    made.body["secret"].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned()
}

/// How often an operation was answered with a status of this class, from the control plane's own counters.
fn answered(metrics: &str, operation: &str, class: char) -> bool {
    let of = |line: &&str| line.starts_with("bascule_") && line.contains(&format!("operation=\"{operation}\""));
    metrics.lines().filter(of).any(|line| line.contains(&format!("code=\"{class}")))
}

#[test]
fn the_api_is_as_its_document_says() {
    let plane = patient_shop();
    let folder = tempfile::tempdir().expect("a folder for the reports");
    let mut command = Command::new(program("schemathesis"));
    command.current_dir(folder.path()).arg("--config-file").arg(sources().join("openapi/schemathesis.toml"));
    command.arg("run").arg(format!("{}/openapi.json", plane.url()));
    // By the environment, so that no list of processes shows it.
    command.env("BASCULE_TOKEN", all_roles(&plane));
    let text = run(&mut command);
    assert!(text.contains("74 selected / 77 total"), "all but the three streams: {text}");
    let metrics = plane.request("GET", "/metrics").send().text;
    for operation in
        ["getApp", "createApp", "createFlag", "copyTargeting", "evaluate", "republishSnapshot", "ofrepBulk"]
    {
        assert!(answered(&metrics, operation, '2'), "{operation} was only refused: {metrics}");
    }
    assert_eq!(plane.request("GET", "/api/health").send().body["status"], "healthy");
    assert_eq!(plane.ask("GET", "/api/v1/audit/verify", None).body["intact"], true);
}
