//! Claims about splits in integer weights, as flags that come from flagd have them.

use edge_engine::{BucketingKey, EnvironmentName};
use serde_json::{Value, json};

use super::load;

/// A sound file around one split.
fn with(split: &str) -> String {
    format!(
        "app: a\nenvironments: {{x: {{traffic: {{slots: {{blue: r}}}}}}}}\nreleases: {{r: {{version: 1, upstreams: [{{url: \"http://h\"}}]}}}}\nflags:\n  f: {{algorithm: flagd-v3, salt: '', unit: ['attribute:email'], environments: {{x: {{fallthrough: {{split: {split}}}}}}}}}\n"
    )
}

/// The only finding.
#[track_caller]
fn refused(yaml: &str, expected: &str) {
    let findings = load(yaml, "f.yaml").unwrap_err();
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!(format!("{}: {}", finding.code, finding.detail), expected);
}

#[test]
fn weights_are_laid_out_in_the_order_of_their_list() {
    let yaml = with(
        "[{variant: off, weight: 3}, {variant: on, weight: 0}, {variant: on, weight: 1}, {variant: off, weight: 1}]",
    );
    let manifest = load(&yaml, "f.yaml").unwrap();
    let environment = EnvironmentName::new("x").unwrap();
    let flag: Value =
        serde_json::to_value(manifest.snapshot(&environment, 1, "").unwrap()).unwrap()["flags"]["f"].take();
    let range = |variant: &str, from, to| json!({"variant": variant, "from": from, "to": to});
    assert_eq!(flag["fallthrough"]["split"], json!([range("off", 0, 3), range("on", 3, 4), range("off", 4, 5)]));
    assert_eq!((&flag["algorithm"], &flag["salt"]), (&json!("flagd-v3"), &json!("")));
    manifest.check(&environment, &BucketingKey::new([1; 16])).unwrap();
}

#[test]
fn a_split_has_the_form_of_its_algorithm() {
    let sum = "split_sum: the weights of a split sum to 1 to 2147483647, not ";
    refused(&with("[]"), &format!("{sum}0"));
    refused(&with("[{variant: on, weight: 0}]"), &format!("{sum}0"));
    refused(&with("[{variant: on, weight: 2147483647}, {variant: off, weight: 1}]"), &format!("{sum}2147483648"));
    refused(&with("{on: 10, off: 90}"), "type_mismatch: a split in weights is a list, not a mapping");
    refused(&with("[{variant: on}]"), "key_missing: a part of a split needs \"weight\"");
    let percentages = with("[{variant: on, weight: 1}]").replace("flagd-v3", "siphash24-v1");
    refused(&percentages, "type_mismatch: a split is a mapping, not a list");
    let older = with("[]").replace("flagd-v3", "flagd-v1");
    assert_eq!(load(&older, "f.yaml").unwrap_err()[0].code, "choice_unknown");
}
