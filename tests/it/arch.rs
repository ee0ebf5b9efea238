//! What ARCHITECTURE.md says about the shape of the workspace, as tests: which of our crates may use which, what the
//! engine never depends on, and that its table of dependencies is the list in `Cargo.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Every crate of the workspace with the crates of the workspace that it uses. An arrow that is not here is a change of
/// the architecture: change ARCHITECTURE.md with it.
const EDGES: &[(&str, &[&str])] = &[
    ("verdict", &[]),
    ("rollout", &["verdict"]),
    ("edge-engine", &[]),
    ("edge-abi", &["edge-engine"]),
    ("edge-http", &[]),
    ("edge-manifest", &["edge-engine"]),
    ("edge-module", &["edge-abi", "edge-engine"]),
    ("edge-ofrep", &["edge-engine"]),
    ("edge-worker", &["admin-api", "edge-engine", "edge-http", "edge-ofrep"]),
    ("admin-api", &[]),
    ("admin", &["admin-api", "edge-engine", "edge-manifest", "edge-ofrep", "rollout", "verdict"]),
    (
        "server",
        &[
            "admin",
            "admin-api",
            "edge-abi",
            "edge-engine",
            "edge-http",
            "edge-manifest",
            "edge-ofrep",
            "rollout",
            "verdict",
        ],
    ),
    ("tests", &["admin", "admin-api", "edge-abi", "edge-engine", "edge-manifest", "edge-ofrep", "server"]),
    ("xtask", &[]),
    ("counted", &["edge-engine"]),
];

/// Crates that do I/O, read a clock, make random numbers, log, or talk to an operating system or a JavaScript host.
const IMPURE: &str = "async-std chrono fastrand getrandom h2 hyper jiff js-sys log mio rand rand_core reqwest rustix smol \
    socket2 time tokio tracing wasm-bindgen web-sys web-time windows-sys";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace").to_path_buf()
}

fn metadata(arguments: &[&str]) -> Value {
    let cargo = std::env::var_os("CARGO").expect("cargo test sets CARGO");
    let mut command = Command::new(cargo);
    command.current_dir(root()).args(["metadata", "--format-version=1", "--locked"]).args(arguments);
    let output = command.output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Each member with the names of all that it depends on, also for its tests.
fn dependencies_of_members() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata(&["--no-deps"]);
    let members = list(&metadata["packages"]).map(|package| {
        let names = list(&package["dependencies"]).map(|dependency| text(&dependency["name"]).to_owned());
        (text(&package["name"]).to_owned(), names.collect())
    });
    members.collect()
}

/// The keys of `[workspace.dependencies]`. Each entry is one line, and stays so: this reads it without a TOML parser.
fn workspace_dependencies() -> BTreeSet<String> {
    let manifest = read("Cargo.toml");
    let (_, section) = manifest.split_once("[workspace.dependencies]\n").expect("the section exists");
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned())).collect()
}

fn read(file: &str) -> String {
    let path = root().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn our_crates_depend_on_each_other_in_one_direction() {
    let members = dependencies_of_members();
    let names: BTreeSet<String> = members.keys().cloned().collect();
    let actual: BTreeMap<&str, BTreeSet<&str>> = members
        .iter()
        .map(|(name, dependencies)| (name.as_str(), dependencies.intersection(&names).map(String::as_str).collect()))
        .collect();
    let stated: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(name, dependencies)| (*name, dependencies.iter().copied().collect())).collect();
    assert_eq!(actual, stated);
}

#[test]
fn the_engine_ofrep_and_the_verdict_reach_nothing_impure() {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc starts").stdout;
    let version = String::from_utf8(version).expect("rustc speaks UTF-8");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let metadata = metadata(&["--filter-platform", host]);

    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).map(|node| (text(&node["id"]), node)).collect();
    let names: BTreeMap<&str, &str> =
        list(&metadata["packages"]).map(|package| (text(&package["id"]), text(&package["name"]))).collect();
    let member = |wanted| *names.iter().find(|(_, name)| **name == wanted).expect("it is a member").0;

    // OFREP uses the engine, so that everything of both is reached.
    let (mut reached, mut open) = (BTreeSet::new(), vec![member("edge-ofrep"), member("verdict")]);
    while let Some(id) = open.pop() {
        if !reached.insert(names[id]) {
            continue;
        }
        for dependency in list(&nodes[id]["deps"]) {
            // A kind of null is a normal dependency; tests of a crate and build scripts are not part of the engine.
            if list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null()) {
                open.push(text(&dependency["pkg"]));
            }
        }
    }
    assert!(reached.contains("edge-engine") && reached.len() > 5, "the dependencies were found: {reached:?}");
    let impure: Vec<_> = IMPURE.split(' ').filter(|name| reached.contains(name)).collect();
    assert!(impure.is_empty(), "the engine, OFREP or the verdict reaches {impure:?}");
}

#[test]
fn every_dependency_is_explained_and_used() {
    let architecture = read("ARCHITECTURE.md");
    let (_, section) = architecture.split_once("\n## Dependencies\n").expect("the section exists");
    let rows = section.lines().take_while(|line| !line.starts_with("## "));
    // A row explains one crate or a family of them: | `http`, `http-body` | reason |
    let explained: BTreeSet<String> = rows
        .filter_map(|row| row.strip_prefix("| `")?.split_once(" | "))
        .flat_map(|(names, _)| names.split(", ").map(|name| name.trim_matches('`').to_owned()).collect::<Vec<_>>())
        .collect();
    let members = dependencies_of_members();
    let used: BTreeSet<String> = members.values().flatten().cloned().collect();
    let declared = workspace_dependencies();

    assert!(declared.is_subset(&used), "nobody uses {:?}", declared.difference(&used));
    let foreign: BTreeSet<String> = declared.iter().filter(|name| !members.contains_key(*name)).cloned().collect();
    assert_eq!(explained, foreign, "ARCHITECTURE.md's table (left) and Cargo.toml (right)");
}
