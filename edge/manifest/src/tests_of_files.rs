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
    // A tab is one column, wherever JSON allows it.
    let text = "{\n\t\"flags\": {\"a/b\":\t{\"rules\":\t[\n\t\t{\t\"id\"\t:\t\"x\"\t}\t]\t}\t}\n\t}\t";
    let findings = locate_json(text, "s.json", &[problem("/flags/a~1b/rules/0/id"), problem("/flags/a~1b")]);
    let places: Vec<_> = findings.iter().map(|f| (f.line, f.column)).collect();
    assert_eq!(places, [(2, 12), (3, 12)]);
}

#[test]
fn a_truth_value_is_no_name_of_an_app() {
    for text in
        ["app: false\nenvironments: {}\n", "{\"app\": true, \"environments\": {}}", "app: False\nenvironments: {}\n"]
    {
        let findings = load(text, "a.yaml").unwrap_err();
        assert_eq!((findings[0].code, findings[0].line), ("type_mismatch", 1), "{text}: {findings:?}");
    }
    assert!(load("app: \"false\"\nenvironments: {}\n", "a.yaml").is_ok(), "in quotes it is one");
}

#[test]
fn a_description_is_a_paragraph_wherever_it_stands() {
    let long = "ä".repeat(2001);
    let with = |rest: &str| format!("app: a\n{}\n", rest.replace("LONG", &long));
    for text in [
        "description: LONG\nenvironments: {}",
        "environments: {x: {description: LONG}}",
        "environments: {}\nflags: {f: {description: LONG}}",
        "environments: {}\nsegments: {s: {description: LONG, when: {attr: a, op: exists}}}",
        "environments: {}\nreleases: {r: {description: LONG, version: 1, upstreams: [{url: \"http://x\"}]}}",
    ] {
        let text = with(text);
        let column = text.lines().find_map(|line| line.find('ä')).unwrap() + 1;
        let findings = load(&text, "a.yaml").unwrap_err();
        let found: Vec<_> = findings.iter().map(|f| (f.code, f.column)).collect();
        assert_eq!(found, [("out_of_range", column)], "{text:.60}");
        assert!(load(&text.replacen('ä', "", 1), "a.yaml").is_ok(), "{text:.60}");
    }
    let findings = load("app: a\ndescription: \"x\\0\"\nenvironments: {}\n", "a.yaml").unwrap_err();
    assert_eq!(findings[0].code, "text_invalid");
}
