//! `bascule import flagd`.

use serde_json::Value;
use tests::binary;

use super::folder;

const DEFINITIONS: &str = include_str!("../../vectors/flagd/definitions.json");

/// One flag that can be translated, and one that cannot.
const MIXED: &str = r#"{
  "metadata": {"flagSetId": "shop"},
  "flags": {
    "headline": {"state": "ENABLED", "variants": {"long": "Buy it now", "short": "Buy"}, "defaultVariant": "long",
      "targeting": {"fractional": [["short", 1], ["long", 2]]}},
    "odd": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
      "targeting": {"if": [{"%": [{"var": "age"}, 2]}, "on"]}}
  }
}
"#;

const SAID: &str = "\
shop.json:2:3: dropped[metadata_dropped]: metadata has no equivalent: flagSetId
shop.json:7:29: refused[operator_untranslatable]: flag \"odd\": the operator \"%\" has no equivalent
1 of 2 flags translated; 1 left out, 0 differ
";

#[test]
fn what_is_imported_passes_check_and_decides() {
    let folder = folder(&[("definitions.json", DEFINITIONS)]);
    let run = |arguments: &[&str], stdin: &str| {
        let mut command = binary::command(arguments);
        command.current_dir(folder.path());
        binary::finish(command, stdin)
    };
    let imported = run(&["import", "flagd", "definitions.json", "--app", "web", "-o", "bascule.yaml"], "");
    assert_eq!((imported.code, imported.stdout.as_str()), (0, ""), "{}", imported.stderr);
    assert!(imported.stderr.ends_with(" differ\n") && !imported.stderr.contains("refused["), "{}", imported.stderr);
    let checked = run(&["check", "bascule.yaml"], "");
    assert_eq!((checked.code, checked.stdout.as_str()), (0, "ok bascule.yaml: web (production)\n"));
    let decided =
        run(&["decide", "-f", "bascule.yaml", "--flags", "fractional-flag"], "{\"targetingKey\": \"jack\"}\n");
    let decision: Value = serde_json::from_str(&decided.stdout).unwrap();
    assert_eq!(decision["flags"]["fractional-flag"]["reason"], "SPLIT");
    let again = run(&["import", "flagd", "definitions.json", "--app", "web", "-o", "bascule.yaml"], "");
    assert_eq!(again.code, 4, "a file that exists is not replaced: {}", again.stderr);
}

#[test]
fn a_flag_that_cannot_be_translated_stops_the_import_unless_it_may_be_partial() {
    let folder = folder(&[("shop.json", MIXED)]);
    let run = |arguments: &[&str]| {
        let mut command = binary::command(["import", "flagd", "shop.json"].iter().chain(arguments));
        command.current_dir(folder.path());
        binary::finish(command, "")
    };
    let refused = run(&["--output", "bascule.yaml"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""));
    let help = "  help: nothing was written; --partial leaves the refused flags out\n";
    assert_eq!(refused.stderr, format!("{SAID}{help}"));
    assert!(!folder.path().join("bascule.yaml").exists());

    let partial = run(&["--partial", "--environment", "staging", "--algorithm", "v3"]);
    assert_eq!((partial.code, partial.stderr.as_str()), (0, SAID));
    assert!(partial.stdout.contains("\napp: shop\n") && partial.stdout.contains("algorithm: flagd-v3"));
    let checked = binary::finish(binary::command(["check", "-"]), &partial.stdout);
    assert_eq!((checked.code, checked.stdout.as_str()), (0, "ok -: shop (staging)\n"), "{}", checked.stderr);
}

#[test]
fn the_report_is_json_too() {
    let run = |arguments: &[&str]| {
        let arguments = ["import", "flagd", "-", "--app", "web", "--json"].iter().chain(arguments);
        let ended = binary::finish(binary::command(arguments), MIXED);
        assert_eq!(ended.stderr, "");
        (ended.code, serde_json::from_str::<Value>(&ended.stdout).unwrap())
    };
    let (code, report) = run(&[]);
    assert_eq!((code, &report["ok"], &report["yaml"]), (2, &Value::Bool(false), &Value::Null));
    let note = serde_json::json!({"kind": "refused", "flag": "odd", "line": 7, "column": 29,
        "code": "operator_untranslatable", "detail": "the operator \"%\" has no equivalent"});
    assert_eq!(report["notes"][1], note);
    let (code, report) = run(&["--partial"]);
    assert_eq!((code, &report["flags"]), (0, &serde_json::json!(["headline"])));
    assert!(report["yaml"].as_str().unwrap().contains("headline:"));
}

#[test]
fn what_cannot_be_read_is_said_with_its_place() {
    let ended = binary::finish(binary::command(["import", "flagd", "-", "--app", "web"]), "{\"flags\": 1}");
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert_eq!(ended.stderr, "-:1:11: error[type_mismatch]: \"flags\" is a mapping or a list, not the number 1\n");
    let ended = binary::finish(binary::command(["import", "flagd", "-"]), MIXED);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("help: name it with --app"), "{}", ended.stderr);
}
