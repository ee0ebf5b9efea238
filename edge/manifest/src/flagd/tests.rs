//! Claims about what is refused, left out and said. That what is translated decides alike is a matter of the recorded
//! answers in `tests/vectors/flagd`.

use edge_engine::{AppName, EnvironmentName, Flagd};
use serde_json::{Value, json};

use super::super::load;
use super::{FlagdOptions, Imported, as_yaml, import_flagd};

fn options(algorithm: Flagd) -> FlagdOptions {
    FlagdOptions {
        app: AppName::new("web").unwrap(),
        environment: EnvironmentName::new("production").unwrap(),
        algorithm,
    }
}

fn import(text: &str) -> Imported {
    import_flagd(text, "f.json", &options(Flagd::V2)).unwrap_or_else(|findings| panic!("{findings:#?}"))
}

/// A file with one flag around its targeting.
fn with(targeting: &str) -> String {
    format!(
        r#"{{"$evaluators": {{"a": {{"==": [{{"var": "x"}}, "y"]}}, "b": {{"$ref": "a"}}}},
"flags": {{"f": {{"state": "ENABLED", "variants": {{"a": 1, "b": 2}}, "defaultVariant": "a",
"targeting": {targeting}}}}}}}"#
    )
}

/// The only refusal, as `line:column code: sentence`.
#[track_caller]
fn refused(text: &str, expected: &str) {
    let imported = import(text);
    assert!(imported.is_partial() && imported.flags.is_empty(), "{}", imported.yaml);
    let [note] = imported.notes.iter().filter(|note| note.code != "evaluator_unused").collect::<Vec<_>>()[..] else {
        panic!("{:#?}", imported.notes)
    };
    assert_eq!(note.flag.as_deref(), Some("f"));
    assert_eq!(format!("{}:{} {}: {}", note.line, note.column, note.code, note.detail), expected);
}

#[track_caller]
fn refused_targeting(targeting: &str, expected: &str) {
    refused(&with(targeting), expected);
}

/// The flag `f` of the production snapshot.
fn flag(text: &str) -> Value {
    let imported = import(text);
    assert!(!imported.is_partial(), "{:#?}", imported.notes);
    let manifest = load(&imported.yaml, "f.yaml").unwrap();
    let production = EnvironmentName::new("production").unwrap();
    serde_json::to_value(manifest.snapshot(&production, 1, "").unwrap()).unwrap()["flags"]["f"].take()
}

/// The codes of the notes.
fn noted(text: &str) -> Vec<&'static str> {
    import(text).notes.iter().map(|note| note.code).filter(|code| *code != "evaluator_unused").collect()
}

#[test]
fn json_becomes_yaml_without_moving_anything() {
    for (json, expected) in [
        ("{\n\t\"a\":\t1}", "{\n \"a\": 1}"),
        (r#"{"\ud83d\ude00\\ud83d\ude00": "\u00e9\n\""}"#, r#"{"\U0001f600\\ud83d\ude00": "\u00e9\n\""}"#),
        ("{\"a\": \"\\", "{\"a\": \"\\"),
        ("a:\n  - \"\\t\"\t# yaml", "a:\n  - \"\\t\"\t# yaml"),
    ] {
        assert_eq!(as_yaml(json), expected);
    }
}

#[test]
fn every_operator_without_equivalent_is_refused_by_name() {
    let operators = [
        "missing",
        "missing_some",
        "+",
        "-",
        "*",
        "/",
        "%",
        "max",
        "min",
        "map",
        "filter",
        "all",
        "none",
        "some",
        "merge",
        "cat",
        "substr",
        "reduce",
        "unheard_of",
    ];
    for operator in operators {
        let sentence = format!("operator_untranslatable: the operator \"{operator}\" has no equivalent");
        refused_targeting(&format!(r#"{{"if": [{{"{operator}": [1, 2]}}, "b"]}}"#), &format!("3:23 {sentence}"));
        refused_targeting(&format!(r#"{{"{operator}": [1, 2]}}"#), &format!("3:15 {sentence}"));
        let operand = format!("3:31 operand_untranslatable: \"==\" of the result of \"{operator}\" has no equivalent");
        refused_targeting(&format!(r#"{{"if": [{{"==": [{{"{operator}": [1]}}, 2]}}, "b"]}}"#), &operand);
    }
}

#[test]
fn operands_without_equivalent_are_refused_with_their_place() {
    let var = r#"{"var": "x"}"#;
    for (condition, expected) in [
        (format!(r#"{{"==": [{var}, {var}]}}"#), "3:23 operand_untranslatable: \"==\" compares with a constant only"),
        (format!(r#"{{"==": [{var}, [1]]}}"#), "3:44 operand_untranslatable: \"==\" of a list has no equivalent"),
        (format!(r#"{{"==": [{var}]}}"#), "3:23 arguments_invalid: \"==\" takes two arguments"),
        (
            format!(r#"{{"<": [{var}, "m"]}}"#),
            "3:23 order_untranslatable: \"<\" of anything but a number has no equivalent",
        ),
        (
            format!(r#"{{"in": [{var}, "text"]}}"#),
            "3:23 in_untranslatable: \"in\" is translated for an attribute in a list of constants, and for a text in an attribute",
        ),
        (
            format!(r#"{{"in": ["a", [{var}]]}}"#),
            "3:35 in_untranslatable: \"in\" a list with more than constants has no equivalent",
        ),
        (
            format!(r#"{{"starts_with": ["a", {var}]}}"#),
            "3:23 operand_untranslatable: \"starts_with\" is translated for an attribute and a text",
        ),
        (
            format!(r#"{{"sem_ver": [{var}, "=", "one"]}}"#),
            "3:23 version_invalid: \"one\" is no version to every implementation of flagd",
        ),
        (format!(r#"{{"sem_ver": [{var}, "~=", "1"]}}"#), "3:23 version_invalid: \"sem_ver\" has no operator \"~=\""),
        (
            r#"{"fractional": [["a", 1]]}"#.into(),
            "3:23 fractional_in_condition: \"fractional\" inside of a condition has no equivalent",
        ),
        (
            r#"{"var": ""}"#.into(),
            "3:23 var_untranslatable: \"var\" of \"\" has no equivalent: it is the whole context",
        ),
        (
            r#"{"var": "items.0"}"#.into(),
            "3:23 var_untranslatable: \"var\" of \"items.0\" has no equivalent: it is an element of a list",
        ),
        (
            r#"{"var": "now"}"#.into(),
            "3:23 var_untranslatable: \"var\" of \"now\" has no equivalent: the name means the clock",
        ),
        (r#"{"$ref": "z"}"#.into(), "3:23 ref_unknown: there is no evaluator \"z\""),
        (
            r#"{"$ref": "b"}"#.into(),
            "3:23 ref_nested: the evaluator \"b\" refers to another, which flagd leaves as it is",
        ),
        (r#"{"==": 1, "!=": 2}"#.into(), "3:22 operation_form: an operation is an object with one key"),
    ] {
        refused_targeting(&format!(r#"{{"if": [{condition}, "b"]}}"#), expected);
    }
}

#[test]
fn splits_without_equivalent_are_refused_with_their_place() {
    for (fractional, expected) in [
        (
            r#"[{"cat": [{"var": "x"}, "y"]}, ["a", 1]]"#,
            "3:31 fractional_untranslatable: \"fractional\" by anything behind an attribute in \"cat\" has no equivalent",
        ),
        (
            r#"[{"cat": [{"var": "x"}]}, ["a", 1]]"#,
            "3:31 fractional_untranslatable: \"fractional\" by \"cat\" of an attribute alone has no equivalent; use \"var\"",
        ),
        (
            r#"[{"substr": [{"var": "x"}, 1]}, ["a", 1]]"#,
            "3:31 fractional_untranslatable: \"fractional\" by the result of \"substr\" has no equivalent",
        ),
        (
            r#"[{"var": "$flagd.timestamp"}, ["a", 1]]"#,
            "3:31 fractional_untranslatable: \"fractional\" by the clock has no equivalent",
        ),
        (r#"[["a", {"+": [1]}]]"#, "3:36 fractional_untranslatable: a weight that is computed has no equivalent"),
        (
            r#"[[{"if": [true, "a"]}, 1]]"#,
            "3:31 fractional_untranslatable: a variant that is computed inside of \"fractional\" has no equivalent",
        ),
        (r#"[["a", 0.5]]"#, "3:36 fractional_invalid: a weight is a whole number up to 2147483647"),
        (r#"[["a", 1, 2]]"#, "3:30 fractional_invalid: a part of \"fractional\" is a list of a variant and a weight"),
        (r#"[["a", 2147483647], ["b", 1]]"#, "3:15 fractional_invalid: the weights sum to more than 2147483647"),
        (r#"[["c", 1]]"#, "3:15 variant_unknown: the flag has no variant \"c\""),
    ] {
        refused_targeting(&format!(r#"{{"fractional": {fractional}}}"#), expected);
    }
    let two = r#"{"if": [{"$ref": "a"}, {"fractional": [["a"]]}, {"fractional": [{"var": "x"}, ["a"]]}]}"#;
    refused_targeting(two, "3:63 fractional_untranslatable: two \"fractional\" of one flag bucket by different values");
    refused_targeting(
        r#"{"or": [{"fractional": [["a"]]}, "b"]}"#,
        "3:23 fractional_untranslatable: \"fractional\" before the end of \"or\" has no equivalent",
    );
}

#[test]
fn results_that_name_no_variant_are_refused() {
    refused_targeting(r#"{"if": [true, "c"]}"#, "3:28 variant_unknown: the flag has no variant \"c\"");
    refused_targeting(r#"{"==": [{"var": "x"}, 1]}"#, "3:15 variant_unknown: the flag has no variant \"true\"");
    refused_targeting(
        r#"{"var": "x"}"#,
        "3:15 result_untranslatable: a variant that an attribute names has no equivalent",
    );
    refused_targeting(r#"{"if": [true, ["a"]]}"#, "3:28 result_untranslatable: a list names no variant");
    assert_eq!(flag(&with(r#"{"if": [false, "c", "b"]}"#))["fallthrough"], json!({"serve": "b"}));
}

#[test]
fn definitions_that_are_none_are_refused() {
    let flag = |rest: &str| format!(r#"{{"flags": {{"f": {{{rest}}}}}}}"#);
    let missing = "default_variant_missing: without a default variant flagd leaves the answer to the application here; Bascule always serves a variant";
    for (rest, expected) in [
        (r#""variants": {"a": 1}"#, "1:12 state_unknown: the state is ENABLED or DISABLED".to_owned()),
        (r#""state": "ENABLED""#, "1:12 variants_empty: a flag has at least one variant".into()),
        (
            r#""state": "ENABLED", "variants": {"a": 1, "b": "x"}"#,
            "1:38 variant_type: all variants of a flag have values of one type".into(),
        ),
        (r#""state": "ENABLED", "variants": {"a": [1]}"#, "1:56 variant_type: the variant \"a\" is a list".into()),
        (
            r#""state": "ENABLED", "variants": {"a": 1}, "defaultVariant": "b""#,
            "1:78 variant_unknown: the flag has no variant \"b\"".into(),
        ),
        (r#""state": "ENABLED", "variants": {"a": 1}"#, format!("1:12 {missing}")),
        (r#""state": "DISABLED", "variants": {"a": 1}, "targeting": {"if": [true, "a"]}"#, format!("1:27 {missing}")),
        (
            r#""state": "ENABLED", "variants": {"a": 1}, "targeting": {"fractional": [["a"]]}"#,
            format!("1:74 {missing}"),
        ),
        (
            r#""state": "ENABLED", "variants": {"not a key": 1}, "defaultVariant": "not a key""#,
            "1:12 name_invalid: \"not a key\" is not a name: a variant key is 1 to 128 letters, digits and the characters . _ - / : +, starting with a letter or digit".into(),
        ),
    ] {
        refused(&flag(rest), &expected);
    }
}

#[test]
fn what_is_left_out_and_what_differs_is_said() {
    let text = r#"{"metadata": {"version": "7"}, "extra": 1, "flags": {"f": {"state": "DISABLED", "source": "s",
"variants": {"a": 1}, "defaultVariant": "a", "metadata": {"owner": "me"}}}}"#;
    assert_eq!(
        noted(text),
        ["metadata_dropped", "key_unknown", "disabled_serves_variant", "key_unknown", "metadata_dropped"]
    );
    for (targeting, expected) in [
        (r#"{"if": [{"==": [{"var": "x"}, "y"]}, "b"]}"#, &[][..]),
        (r#"{"if": [{"==": [{"var": "x"}, "5"]}, "b"]}"#, &["type_blind"]),
        (r#"{"if": [{"==": [{"var": "x"}, false]}, "b"]}"#, &["implementations_differ", "type_blind"]),
        (r#"{"if": [{"var": "x"}, "b"]}"#, &["type_blind"]),
        (r#"{"if": [{"in": ["y", {"var": "x"}]}, "b"]}"#, &["list_blind"]),
        (r#"{"if": [{"starts_with": [{"var": "x"}, "1"]}, "b"]}"#, &["type_blind"]),
        (r#"{"fractional": [{"var": "x"}, ["a"], ["b", -1]]}"#, &["implementations_differ", "implementations_differ"]),
        (r#"{"fractional": [{"cat": ["s", {"var": "x"}]}, ["a"]]}"#, &["implementations_differ"]),
    ] {
        assert_eq!(noted(&with(targeting)), expected, "{targeting}");
    }
    let unused = import(&with("{}")).notes;
    assert_eq!(unused.iter().filter(|note| note.code == "evaluator_unused").count(), 2);
}

#[test]
fn a_list_of_flags_and_yaml_are_read_too() {
    let list = "flags:\n  - key: f\n    state: ENABLED\n    variants: {on: true, off: false}\n    defaultVariant: on\n    targeting: {fractional: [[on, 1], [off, 3]]}\n";
    let f = flag(list);
    assert_eq!((&f["algorithm"], &f["salt"], &f["unit"]), (&json!("flagd-v2"), &json!("f"), &json!(["targetingKey"])));
    let range = |variant: &str, from, to| json!({"variant": variant, "from": from, "to": to});
    assert_eq!(f["fallthrough"]["split"], json!([range("on", 0, 1), range("off", 1, 4)]));
}

#[test]
fn the_clock_is_compared_in_whole_seconds() {
    let when = |condition: &str| {
        let targeting =
            with(&format!(r#"{{"if": [{condition}, "b"]}}"#)).replace("TS", r#"{"var": "$flagd.timestamp"}"#);
        flag(&targeting)["rules"][0]["when"].take()
    };
    let before = |time: &str| json!({"attr": "now", "op": "before", "values": [time]});
    assert_eq!(when(r#"{"<": [TS, 86400]}"#), before("1970-01-02T00:00:00.000Z"));
    assert_eq!(when(r#"{"<=": [TS, 86400]}"#), before("1970-01-02T00:00:01.000Z"));
    assert_eq!(when(r#"{">=": [TS, 86400]}"#), json!({"not": before("1970-01-02T00:00:00.000Z")}));
    assert_eq!(when(r#"{"<": [86400, TS]}"#), json!({"not": before("1970-01-02T00:00:01.000Z")}));
}

#[test]
fn a_file_that_is_none_has_findings() {
    let codes = |text: &str| {
        let findings = import_flagd(text, "f.json", &options(Flagd::V3)).unwrap_err();
        findings.iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(""), ["type_mismatch"]);
    assert_eq!(codes("[]"), ["type_mismatch"]);
    assert_eq!(codes("{}"), ["key_missing"]);
    assert_eq!(codes("{\"flags\": 1}"), ["type_mismatch"]);
    assert_eq!(codes("{\"flags\": [{}]}"), ["key_missing"]);
    assert_eq!(codes("{\"flags\": [{\"key\": \"a\"}, {\"key\": \"a\"}]}"), ["key_duplicate"]);
    assert_eq!(codes("{\"flags\": {\"a\": {}, \"a\": {}}}"), ["key_duplicate"]);
    assert_eq!(codes("{\"flags\": {"), ["yaml_syntax"]);
}

#[test]
fn hostile_targeting_ends() {
    // Conditions of conditions double what is written.
    let deep = (0..60).fold(r#"{"var": "x"}"#.to_owned(), |inner, _| {
        format!(r#"{{"if": [{inner}, {{"var": "y"}}, {{"var": "z"}}]}}"#)
    });
    let imported = import(&with(&format!(r#"{{"if": [{deep}, "b"]}}"#)));
    assert_eq!(imported.notes.iter().filter(|note| note.code == "targeting_too_large").count(), 1);
    let wide: Vec<String> = (0..600).map(|n| format!(r#"{{"==": [{{"var": "x"}}, "v{n}"]}}, "b""#)).collect();
    let imported = import(&with(&format!(r#"{{"if": [{}, "a"]}}"#, wide.join(", "))));
    assert_eq!(imported.notes.iter().filter(|note| note.code == "targeting_too_large").count(), 1);
}
