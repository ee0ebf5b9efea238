//! Claims about files as wholes: what they say against each other, and where a document's problems are.

use edge_engine::Problem;

use super::{conflicts, load, locate_json};

#[test]
fn sound_files_may_contradict_each_other() {
    let one = load("app: a\nenvironments: {x: {hosts: [h.example]}}\n", "one.yaml").unwrap();
    let two = load("app: b\nenvironments: {x: {hosts: [i.example, H.example]}}\n", "two.yaml").unwrap();
    let again = load("app: a\nenvironments: {}\n", "again.yaml").unwrap();
    let findings: Vec<String> = conflicts(&[one, two, again]).iter().map(ToString::to_string).collect();
    assert_eq!(
        findings,
        [
            "two.yaml:2:39: error[host_duplicate]: the host \"H.example\" already selects a/x in one.yaml",
            "again.yaml:1:6: error[app_duplicate]: the app \"a\" is already in one.yaml",
        ]
    );
}

#[test]
fn a_snapshots_problems_have_places_too() {
    let text = "{\n  \"flags\": {\"a/b\": {\"rules\": [\n    {\"id\": \"x\"}]}}}";
    let problem = |pointer: &str| Problem { pointer: pointer.into(), code: "c", detail: "d".into() };
    let findings = locate_json(text, "s.json", &[problem("/flags/a~1b/rules/0/id"), problem("")]);
    let places: Vec<_> = findings.iter().map(|f| (f.line, f.column, f.detail.as_str())).collect();
    assert_eq!(places, [(1, 1, "d, at /"), (3, 12, "d, at /flags/a~1b/rules/0/id")]);
}
