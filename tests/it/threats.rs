//! The threat model against the code: what docs/threat-model.md names exists, and what it calls missing does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The threats that the document answers for.
const THREATS: [&str; 14] =
    ["T1", "T2", "T3", "T4", "T5", "T6", "T10", "T13", "T14", "T15", "T16", "T17", "T20", "T22"];
const MISSING: &str = "**Not in the product.**";
/// Words of which an operation of the API would have one, if what the document calls missing were there. Whoever builds it
/// describes its defence.
const WORDS: [(&str, &[&str]); 3] = [
    ("T6", &["session", "login", "console"]),
    ("T14", &["login", "logout", "redirect"]),
    ("T22", &["password", "login", "session"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace").to_path_buf()
}

fn read(file: &str) -> String {
    let path = root().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The sections of the document by their threat.
fn sections(document: &str) -> BTreeMap<String, String> {
    let sections = document.split("\n## T").skip(1);
    sections
        .map(|section| {
            let (number, text) = section.split_once(' ').expect("a number and a name");
            (format!("T{number}"), text.to_owned())
        })
        .collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The tests of this program, as it prints them.
fn own_tests() -> BTreeSet<String> {
    let output = Command::new(std::env::current_exe().expect("a running test has a path"));
    let output = { output }.args(["--list", "--format", "terse"]).output().expect("it starts");
    let text = String::from_utf8(output.stdout).expect("names are text");
    text.lines().filter_map(|line| line.strip_suffix(": test").map(str::to_owned)).collect()
}

/// Whether a crate has this unit test: `CRATE::MODULES::tests::NAME`.
fn is_unit_test(path: &str) -> bool {
    let mut steps: Vec<&str> = path.split("::").collect();
    let folder = match steps.remove(0) {
        "admin" => "admin/src",
        "admin_api" => "admin/api/src",
        "server" => "server/src",
        _ => return false,
    };
    let (Some(name), Some("tests")) = (steps.pop(), steps.pop()) else { return false };
    let module = format!("{folder}/{}", steps.join("/"));
    let files = [format!("{module}.rs"), format!("{module}/tests.rs")];
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(root().join(file)).ok());
    texts.into_iter().any(|text| {
        text.contains(&format!("#[test]\n    fn {name}()")) || text.contains(&format!("#[test]\nfn {name}()"))
    })
}

#[test]
fn every_threat_has_an_attempt_a_defence_and_tests_or_is_said_to_have_no_subject() {
    let document = read("docs/threat-model.md");
    let sections = sections(&document);
    assert_eq!(sections.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(THREATS));
    let own = own_tests();
    assert!(own.len() > 400, "{}", own.len());
    let mut wrong = Vec::new();
    for (threat, text) in &sections {
        let (before, tests) = text.split_once("**Tests.**").unwrap_or((text, ""));
        let is_told = ["**Attempt.**", "**Defence.**"].iter().all(|part| before.contains(part));
        if !before.contains(MISSING) && !is_told {
            wrong.push(format!("{threat} has neither attempt and defence nor says that it has no subject"));
        }
        let named: Vec<&str> = quoted(tests).collect();
        if named.is_empty() && !before.contains(MISSING) {
            wrong.push(format!("{threat} names no test"));
        }
        let unknown = named.iter().filter(|name| !own.contains(**name) && !is_unit_test(name));
        wrong.extend(unknown.map(|name| format!("{threat}: there is no test {name}")));
        let is_file = |name: &&str| name.contains('/') && Path::new(name).extension().is_some_and(|it| it == "rs");
        let files = quoted(before).filter(is_file);
        let gone = files.filter(|file| !root().join(file).is_file());
        wrong.extend(gone.map(|file| format!("{threat}: there is no file {file}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_called_missing_is_missing() {
    let document = read("docs/threat-model.md");
    let sections = sections(&document);
    let api: serde_json::Value = serde_json::from_str(&read("docs/openapi.json")).expect("JSON");
    let paths = api["paths"].as_object().expect("paths");
    let operations: Vec<String> = paths
        .iter()
        .flat_map(|(path, methods)| methods.as_object().into_iter().flatten().map(move |(_, it)| (path, it)))
        .map(|(path, operation)| format!("{path} {}", operation["operationId"]).to_lowercase())
        .collect();
    assert!(operations.len() > 40);
    let missing = sections.iter().filter(|(_, text)| text.contains(MISSING)).map(|(threat, _)| threat.as_str());
    assert_eq!(missing.collect::<BTreeSet<_>>(), WORDS.iter().map(|(threat, _)| *threat).collect());
    for (threat, words) in WORDS {
        let there = operations.iter().filter(|operation| words.iter().any(|word| operation.contains(word)));
        let there: Vec<&String> = there.collect();
        assert!(there.is_empty(), "docs/threat-model.md says that {threat} has no subject, and there is {there:?}");
    }
}

#[test]
fn a_newcomer_finds_the_document() {
    for file in ["README.md", "SECURITY.md", "ARCHITECTURE.md"] {
        assert!(read(file).contains("docs/threat-model.md"), "{file}");
    }
}
