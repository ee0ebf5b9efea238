//! Claims about the file format, each as a text and what comes out of it.

use edge_engine::{BucketingKey, EnvironmentName};
use serde_json::{Value, json};

use super::{Manifest, load, load_all, review};

/// The example of the documentation, with every section.
const EXAMPLE: &str = r#"
app: web
environments:
  staging: {traffic: {slots: {blue: web-1.4.1}}}
  production:
    promotesFrom: staging
    hosts: [shop.example]
    debug: false
    unit: [header:x-user-id, cookie:uid]        # then the minted bsc_unit cookie
    traffic:
      active: blue
      slots: {blue: web-1.4.1, green: web-1.5.0}
      candidateWeight: 5
      rules: [{when: {segment: staff}, slot: green}]
releases:
  web-1.4.1: {version: 1.4.1, upstreams: [{url: "http://127.0.0.1:7001"}]}
  web-1.5.0: {version: 1.5.0, upstreams: [{url: "http://127.0.0.1:7002", region: eu}], rollbackPlan: docs/rollback.md}
segments:
  staff: {when: {attr: email, op: endsWith, values: ["@shop.example"]}}
flags:
  new-checkout:
    type: boolean
    variants: {on: true, off: false}
    offVariant: off
    forward: true
    environments:
      production:
        enabled: true
        rules: [{id: staff, when: {segment: staff}, serve: on}]
        fallthrough: {split: {on: 10, off: 90}}
"#;

fn manifest(yaml: &str) -> Manifest {
    load(yaml, "f.yaml").unwrap_or_else(|findings| panic!("{findings:#?}"))
}

fn production(yaml: &str) -> Value {
    let environment = EnvironmentName::new("production").unwrap();
    serde_json::to_value(manifest(yaml).snapshot(&environment, 7, "2026-01-01T00:00:00Z").unwrap()).unwrap()
}

/// The part of the production snapshot under a pointer.
#[track_caller]
fn check(yaml: &str, pointer: &str, expected: &Value) {
    let snapshot = production(yaml);
    assert_eq!(snapshot.pointer(pointer), Some(expected), "{snapshot:#}");
}

/// The findings, one line each: `line:column code: sentence | suggestion`.
#[track_caller]
fn refused(yaml: &str, expected: &[&str]) {
    let findings = load_all(yaml, "f.yaml").err().unwrap_or_default();
    let lines: Vec<String> = findings
        .iter()
        .map(|f| {
            let help = f.suggestion.as_ref().map(|help| format!(" | {help}")).unwrap_or_default();
            format!("{}:{} {}: {}{help}", f.line, f.column, f.code, f.detail)
        })
        .collect();
    assert_eq!(lines, expected);
}

/// A sound file around one flag.
fn with_flag(flag: &str) -> String {
    format!(
        "app: a\nenvironments: {{production: {{traffic: {{slots: {{blue: r}}}}}}}}\nreleases: {{r: {{version: 1, upstreams: [{{url: \"http://h\"}}]}}}}\nflags:\n  f: {flag}\n"
    )
}

/// A sound file around one environment.
fn with_environment(environment: &str) -> String {
    format!(
        "app: a\nreleases: {{r1: {{version: 1, upstreams: [{{url: \"http://h\"}}]}}, r2: {{version: 2, upstreams: [{{url: \"http://i\"}}]}}}}\nsegments: {{staff: {{when: {{attr: email, op: exists}}}}}}\nenvironments:\n  production: {environment}\n"
    )
}

#[test]
fn the_documented_example_becomes_the_whole_snapshot() {
    let expected = json!({
        "format": "v1", "app": "web", "environment": "production", "number": 7,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "file",
        "unit": ["header:x-user-id", "cookie:uid"],
        "traffic": {
            "active": "blue", "slots": {"blue": "web-1.4.1", "green": "web-1.5.0"}, "candidateWeight": 50_000,
            "salt": "web-1.5.0", "algorithm": "siphash24-v1",
            "rules": [{"id": "rule-1", "when": {"segment": "staff"}, "slot": "green"}]
        },
        "releases": {
            "web-1.4.1": {"version": "1.4.1", "upstreams": [{"url": "http://127.0.0.1:7001"}]},
            "web-1.5.0": {"version": "1.5.0", "upstreams": [{"url": "http://127.0.0.1:7002", "region": "eu"}],
                          "rollbackPlan": "docs/rollback.md"}
        },
        "segments": {"staff": {"when": {"attr": "email", "op": "endsWith", "values": ["@shop.example"]}}},
        "flags": {"new-checkout": {
            "id": "new-checkout", "type": "boolean", "forward": true, "enabled": true, "algorithm": "siphash24-v1",
            "variants": [{"key": "on", "value": true}, {"key": "off", "value": false}], "offVariant": "off",
            "rules": [{"id": "staff", "when": {"segment": "staff"}, "serve": "on"}],
            "fallthrough": {"split": [{"variant": "on", "from": 0, "to": 100_000},
                                      {"variant": "off", "from": 100_000, "to": 1_000_000}]}
        }},
        "edge": {"hosts": ["shop.example"], "debug": false, "timeouts": {}, "shield": false, "breaker": {}}
    });
    check(EXAMPLE, "", &expected);
}

#[test]
fn an_environment_knows_where_it_is_promoted_from() {
    let manifest = manifest(EXAMPLE);
    let names: Vec<&str> = manifest.environments().map(EnvironmentName::as_str).collect();
    assert_eq!(names, ["staging", "production"]);
    let production = EnvironmentName::new("production").unwrap();
    assert_eq!(manifest.promotes_from(&production).unwrap().as_str(), "staging");
    assert!(manifest.snapshot(&EnvironmentName::new("nowhere").unwrap(), 1, "").is_none());
}

#[test]
fn a_boolean_flag_needs_only_where_it_is_enabled() {
    for flag in ["{environments: {production: {enabled: true}}}", "{environments: {production: }}"] {
        let yaml = with_flag(flag);
        check(&yaml, "/flags/f/enabled", &json!(true));
        check(&yaml, "/flags/f/fallthrough", &json!({"serve": "on"}));
        check(&yaml, "/flags/f/offVariant", &json!("off"));
        check(&yaml, "/flags/f/id", &json!("f"));
        check(&yaml, "/flags/f/variants", &json!([{"key": "on", "value": true}, {"key": "off", "value": false}]));
    }
}

#[test]
fn a_flag_is_off_where_it_is_not_listed() {
    let yaml = with_flag("{type: string, variants: {a: x, b: y}, offVariant: b}");
    check(&yaml, "/flags/f/enabled", &json!(false));
    check(&yaml, "/flags/f/fallthrough", &json!({"serve": "b"}));
}

#[test]
fn names_are_never_booleans() {
    let yaml = with_flag(
        "{variants: {yes: true, true: false}, offVariant: true, environments: {production: {fallthrough: yes}}}",
    );
    check(&yaml, "/flags/f/variants", &json!([{"key": "yes", "value": true}, {"key": "true", "value": false}]));
    check(&yaml, "/flags/f/offVariant", &json!("true"));
    check(&yaml, "/flags/f/fallthrough", &json!({"serve": "yes"}));
}

#[test]
fn variants_have_the_values_of_their_type() {
    check(
        &with_flag("{type: string, variants: {a: on, b: \"1\"}, offVariant: a}"),
        "/flags/f/variants",
        &json!([
            {"key": "a", "value": "on"}, {"key": "b", "value": "1"}
        ]),
    );
    check(
        &with_flag("{type: number, variants: {a: -1, b: 2.5, c: 0x10, d: 1e3}, offVariant: a}"),
        "/flags/f/variants",
        &json!([
            {"key": "a", "value": -1}, {"key": "b", "value": 2.5}, {"key": "c", "value": 16}, {"key": "d", "value": 1000.0}
        ]),
    );
    check(
        &with_flag("{type: object, variants: {a: {x: [1, null, t]}}, offVariant: a}"),
        "/flags/f/variants",
        &json!([
            {"key": "a", "value": {"x": [1, null, "t"]}}
        ]),
    );
    refused(
        &with_flag("{type: string, variants: {a: 1.10, b: true}, offVariant: a}"),
        &[
            "5:35 variant_type: the variant \"a\" of a string flag cannot be the number 1.10 | write \"1.10\" in quotes",
            "5:44 variant_type: the variant \"b\" of a string flag cannot be the boolean true | write \"true\" in quotes",
        ],
    );
    refused(
        &with_flag("{variants: {on: yes, off: no}}"),
        &[
            "5:22 variant_type: the variant \"on\" of a boolean flag cannot be the text \"yes\" | write true",
            "5:32 variant_type: the variant \"off\" of a boolean flag cannot be the text \"no\" | write false",
        ],
    );
}

#[test]
fn a_version_keeps_its_digits() {
    let yaml = with_environment("{traffic: {slots: {blue: r1}}}").replace("version: 1,", "version: 1.10,");
    check(&yaml, "/releases/r1/version", &json!("1.10"));
}

#[test]
fn splits_are_laid_out_in_the_order_of_the_variants() {
    let yaml = with_flag(
        "{type: string, variants: {a: x, b: y, c: z}, offVariant: a, environments: {production: {fallthrough: {split: {c: 33.3334, a: 33.3333, b: 33.3333}}}}}",
    );
    let range = |variant: &str, from, to| json!({"variant": variant, "from": from, "to": to});
    check(
        &yaml,
        "/flags/f/fallthrough/split",
        &json!([range("a", 0, 333_333), range("b", 333_333, 666_666), range("c", 666_666, 1_000_000)]),
    );
}

#[test]
fn a_split_must_sum_to_exactly_a_hundred() {
    let flag =
        |split: &str| with_flag(&format!("{{environments: {{production: {{fallthrough: {{split: {split}}}}}}}}}"));
    refused(&flag("{on: 10, off: 89.9999}"), &["5:49 split_sum: the shares of a split sum to 100, not 99.9999"]);
    refused(&flag("{on: 100, off: 0.0001}"), &["5:49 split_sum: the shares of a split sum to 100, not 100.0001"]);
    refused(
        &flag("{on: 10%, of: 90, off: 0.00001}"),
        &[
            "5:61 type_mismatch: a percentage is a number from 0 to 100, not \"10%\" | write 10",
            "5:66 variant_unknown: the flag \"f\" has no variant \"of\" | did you mean \"off\"?",
            "5:79 share_too_fine: a percentage has at most 4 decimals, not \"0.00001\"",
        ],
    );
    refused(&flag("{on: 100, off: 101}"), &["5:71 out_of_range: a percentage is at most 100, not \"101\""]);
}

#[test]
fn every_setting_of_an_environment_arrives() {
    let yaml = with_environment(
        "
    description: where customers are
    hosts: [a.example, \"*.a.example\"]
    debug: true
    shield: true
    unit: [attribute:accountId, targetingKey]
    timeouts: {connectMs: 1, readMs: 2, totalMs: 3}
    health: {path: /healthz, intervalMs: 4, timeoutMs: 5, unhealthyAfter: 6, healthyAfter: 7}
    breaker: {consecutiveFailures: 8, openMs: 9}
    rollbackGraceMs: 10
    cors: [\"https://app.example\", \"*\"]
    traffic:
      active: green
      slots: {blue: r1, green: r2}
      candidateWeight: 0.0001
      salt: shared
      algorithm: siphash24-v1
      override: {header: x-slot, cookie: slot, query: slot}
      pin: {maxAgeSeconds: 600}
      regions: {eu: {candidateWeight: 12.5}}
      rolledBack: [r2]
      rules: [{id: inside, when: {attr: ip, op: cidr, values: [10.0.0.0/8]}, slot: blue}]",
    );
    check(&yaml, "/unit", &json!(["attribute:accountId", "targetingKey"]));
    check(
        &yaml,
        "/traffic",
        &json!({
            "active": "green", "slots": {"blue": "r1", "green": "r2"}, "candidateWeight": 1, "salt": "shared",
            "algorithm": "siphash24-v1", "override": {"header": "x-slot", "cookie": "slot", "query": "slot"},
            "pin": {"maxAgeSeconds": 600}, "regions": {"eu": {"candidateWeight": 125_000}}, "rolledBack": ["r2"],
            "rules": [{"id": "inside", "when": {"attr": "ip", "op": "cidr", "values": ["10.0.0.0/8"]}, "slot": "blue"}]
        }),
    );
    check(
        &yaml,
        "/edge",
        &json!({
            "hosts": ["a.example", "*.a.example"], "debug": true, "shield": true,
            "timeouts": {"connectMs": 1, "readMs": 2, "totalMs": 3},
            "health": {"path": "/healthz", "intervalMs": 4, "timeoutMs": 5, "unhealthyAfter": 6, "healthyAfter": 7},
            "breaker": {"consecutiveFailures": 8, "openMs": 9}, "rollbackGraceMs": 10,
            "cors": ["https://app.example", "*"]
        }),
    );
}

#[test]
fn every_setting_of_a_flag_arrives() {
    let yaml = with_flag(
        "
    id: f-1
    description: what it is for
    salt: shared
    algorithm: siphash24-v1
    unit: [cookie:uid]
    clientVisible: true
    forward: true
    prerequisites: [{flag: g, is: on}]
    environments:
      production:
        prerequisites: [{flag: g, is: [on, off]}]
        rules:
          - when: {all: [{any: [{not: {flag: g, is: on}}]}, {attr: plan, op: in, values: [pro, 1, true]}]}
            split: {on: 50, off: 50}
  g: {}",
    );
    check(
        &yaml,
        "/flags/f",
        &json!({
            "id": "f-1", "type": "boolean", "salt": "shared", "algorithm": "siphash24-v1", "unit": ["cookie:uid"],
            "clientVisible": true, "forward": true, "enabled": true, "offVariant": "off",
            "variants": [{"key": "on", "value": true}, {"key": "off", "value": false}],
            "prerequisites": [{"flag": "g", "is": ["on", "off"]}],
            "rules": [{"id": "rule-1",
                "when": {"all": [{"any": [{"not": {"flag": "g", "is": ["on"]}}]},
                                 {"attr": "plan", "op": "in", "values": ["pro", 1, true]}]},
                "split": [{"variant": "on", "from": 0, "to": 500_000}, {"variant": "off", "from": 500_000, "to": 1_000_000}]}],
            "fallthrough": {"serve": "on"}
        }),
    );
}

#[test]
fn the_only_filled_slot_is_active() {
    check(&with_environment("{traffic: {slots: {green: r2}}}"), "/traffic/active", &json!("green"));
    refused(
        &with_environment("{traffic: {slots: {blue: r1, green: r2}}}"),
        &["5:16 key_missing: traffic needs \"active\""],
    );
}

#[test]
fn every_problem_is_reported_at_once() {
    let yaml = "
ap: web
environments:
  production:
    promotes_from: staging
    debug: yes
    traffic:
      active: bleu
      slots: {blue: web-1.4, green: web-1.5.0}
      rules: [{when: {segment: stff}, slot: green}]
releases:
  web-1.4.1: {version: 1.4.1, upstream: [{url: \"http://127.0.0.1:7001\"}]}
  web-1.5.0: {version: 1.5.0, upstreams: [{url: \"http://127.0.0.1:7002\", protocol: h2}]}
segments:
  staff: {when: {attr: email, op: endswith, values: [\"@shop.example\"]}}
flags:
  new-checkout:
    environments:
      prod: {enabled: true}
      production: {rules: [{when: {attr: plan}, serve: true}]}
";
    refused(
        yaml,
        &[
            "2:1 key_missing: a bascule.yaml needs \"app\"",
            "2:1 key_unknown: a bascule.yaml has no key \"ap\" | did you mean \"app\"?",
            "5:5 key_unknown: an environment has no key \"promotes_from\" | did you mean \"promotesFrom\"?",
            "6:12 type_mismatch: \"debug\" is true or false, not the text \"yes\" | write true",
            "8:15 choice_unknown: a slot cannot be \"bleu\" | did you mean \"blue\"?",
            "9:21 release_unknown: there is no release \"web-1.4\" | did you mean \"web-1.4.1\"?",
            "10:32 segment_unknown: there is no segment \"stff\" | did you mean \"staff\"?",
            "12:3 key_missing: a release needs \"upstreams\"",
            "12:31 key_unknown: a release has no key \"upstream\" | did you mean \"upstreams\"?",
            "13:84 choice_unknown: a protocol cannot be \"h2\" | known here: http1, http2",
            "15:35 operator_unknown: there is no operator \"endswith\" | did you mean \"endsWith\"?",
            "19:7 environment_unknown: there is no environment \"prod\" | did you mean \"production\"?",
            "20:36 key_missing: a condition on an attribute needs \"op\"",
            "20:56 variant_unknown: the flag \"new-checkout\" has no variant \"true\" | did you mean \"on\"?",
        ],
    );
}

#[test]
fn a_condition_has_exactly_one_form() {
    let segment = |when: &str| {
        let yaml = with_environment("{traffic: {slots: {blue: r1}}}");
        yaml.replace("{attr: email, op: exists}", when)
    };
    refused(
        &segment("{}"),
        &["3:20 condition_form: a condition has one of the keys all, any, not, attr, segment, flag"],
    );
    refused(
        &segment("{segment: staff, attr: x, op: exists}"),
        &[
            "3:43 condition_form: a condition is either \"segment\" or \"attr\", not both | put both into a list under all or any",
        ],
    );
    refused(&segment("{all: [], op: eq}"), &["3:36 key_unknown: \"op\" belongs to a condition with \"attr\""]);
    refused(
        &segment("{attr: x, op: eq, values: y}"),
        &["3:52 type_mismatch: \"values\" is a list, not the text \"y\" | write [y]"],
    );
    refused(
        &segment("{attr: x, op: \">=\", values: [1]}"),
        &["3:40 operator_unknown: there is no operator \">=\" | did you mean \"gte\"?"],
    );
    refused(
        &segment("{attr: x, op: in, values: [[1], null]}"),
        &[
            "3:53 type_mismatch: a value to compare with is a text, a number or a boolean, not a list",
            "3:58 type_mismatch: a value to compare with is a text, a number or a boolean, not nothing",
        ],
    );
}

#[test]
fn promotion_is_an_order() {
    let yaml = "app: a\nenvironments:\n  x: {promotesFrom: y}\n  y: {promotesFrom: z}\n  z: {promotesFrom: x}\n  w: {promotesFrom: x}\n";
    refused(
        yaml,
        &[
            "3:21 promotion_cycle: the order of promotion is a circle: x <- y <- z <- x",
            "4:21 promotion_cycle: the order of promotion is a circle: y <- z <- x <- y",
            "5:21 promotion_cycle: the order of promotion is a circle: z <- x <- y <- z",
        ],
    );
}

#[test]
fn a_host_selects_one_environment() {
    let yaml = "app: a\nenvironments:\n  x: {hosts: [a.example]}\n  y: {hosts: [b.example, A.example]}\n";
    refused(yaml, &["4:26 host_duplicate: the host \"A.example\" already selects the environment \"x\""]);
}

#[test]
fn a_document_is_an_app() {
    let yaml = "app: a\nenvironments: {}\n---\napp: b\nenvironments: {}\n";
    let apps: Vec<String> = load_all(yaml, "f.yaml").unwrap().iter().map(|m| m.app().to_string()).collect();
    assert_eq!(apps, ["a", "b"]);
    assert_eq!(load(yaml, "f.yaml").unwrap_err()[0].code, "several_apps");
    refused(
        "app: a\nenvironments: {}\n---\napp: a\nenvironments: {}\n",
        &["4:6 app_duplicate: the app \"a\" is already in this file"],
    );
}

#[test]
fn yaml_itself_is_checked() {
    refused("", &["1:1 file_empty: there is no app in this file"]);
    refused("# nothing\n", &["1:1 file_empty: there is no app in this file"]);
    refused("[]", &["1:1 type_mismatch: a bascule.yaml is a mapping, not a list"]);
    refused("app: a\napp: b\nenvironments: {}\n", &["2:1 key_duplicate: the key \"app\" is already at line 1"]);
    refused(
        "app: !!int 5\nenvironments: {}\n? [a]\n: b\n",
        &[
            "1:12 tag_unsupported: the tag !!int has no meaning here | remove it; values are read by what is expected",
            "3:3 key_invalid: a key is a name, not a list",
        ],
    );
    refused(
        "app: a\nenvironments: {<<: {}}\n",
        &["2:16 key_merge: merge keys are not part of YAML 1.2 | repeat the keys, or use an alias for the whole value"],
    );
    refused(
        "app: &a b\nenvironments: {x: &e {hosts: *e}}\n",
        &["2:30 alias_to_itself: the alias is inside of what it names"],
    );
}

#[test]
fn a_syntax_error_does_not_hide_the_next_document() {
    let findings = load_all("app: [a\n---\nap: b\n", "f.yaml").unwrap_err();
    let codes: Vec<_> = findings.iter().map(|finding| (finding.line, finding.code)).collect();
    assert_eq!(codes, [(1, "yaml_syntax"), (3, "key_missing"), (3, "key_missing"), (3, "key_unknown")]);
}

#[test]
fn an_alias_stands_for_what_it_names() {
    let yaml = with_flag(
        "{environments: {production: {rules: [{when: &w {attr: x, op: exists}, serve: on}, {when: *w, serve: off}]}}}",
    );
    check(&yaml, "/flags/f/rules/1/when", &json!({"attr": "x", "op": "exists"}));
}

#[test]
fn an_alias_bomb_is_refused_before_it_is_walked() {
    let first = String::from("app: a\nenvironments: {}\nx0: &x0 [a, a, a, a, a, a, a, a, a, a]\n");
    let yaml = (1..20).fold(first, |yaml, level| {
        let previous = vec![format!("*x{}", level - 1); 10].join(", ");
        yaml + &format!("x{level}: &x{level} [{previous}]\n")
    });
    let findings = load_all(&yaml, "f.yaml").unwrap_err();
    assert!(findings.iter().any(|finding| finding.code == "limit_exceeded"), "{findings:?}");
}

#[test]
fn depth_is_bounded_also_through_aliases() {
    let deep = format!("app: a\nenvironments: {{}}\nx: {}{}\n", "[".repeat(200), "]".repeat(200));
    assert_eq!(load_all(&deep, "f.yaml").unwrap_err()[0].code, "limit_exceeded");
    let first = String::from("app: a\nx0: &x0 [a]\n");
    let chained = (1..400).fold(first, |yaml, level| yaml + &format!("x{level}: &x{level} [*x{}]\n", level - 1));
    let findings = load_all(&chained, "f.yaml").unwrap_err();
    assert!(findings.iter().any(|finding| finding.code == "limit_exceeded"), "{findings:?}");
}

#[test]
fn findings_are_bounded() {
    let keys: String = (0..5_000).fold(String::new(), |keys, n| keys + &format!("k{n}: 1\n"));
    let findings = load_all(&keys, "f.yaml").unwrap_err();
    assert_eq!(findings.len(), 1_001);
    assert_eq!(findings.last().unwrap().code, "too_many_problems");
}

#[test]
fn ten_thousand_flags_are_read_in_time_linear_in_their_number() {
    let flag = |n: usize| {
        format!(
            "  flag-{n}:\n    prerequisites: [{{flag: flag-{}, is: on}}]\n    environments: {{production: {{fallthrough: {{split: {{on: 10, off: 90}}}}}}}}\n",
            (n + 1) % 10_000
        )
    };
    let yaml = with_flag("{}") + &(0..10_000).map(flag).collect::<String>();
    let snapshot = production(&yaml);
    assert_eq!(snapshot["flags"].as_object().unwrap().len(), 10_001);
    let range = &snapshot["flags"]["flag-9"]["fallthrough"]["split"][0];
    assert_eq!(*range, json!({"variant": "on", "from": 0, "to": 100_000}));
}

/// The findings of readers and engine together, as `line:column code`.
#[track_caller]
fn reviewed(yaml: &str, expected: &[&str]) {
    let findings = review(yaml, "f.yaml", |_, _| BucketingKey::new([1; 16])).err().unwrap_or_default();
    let lines: Vec<String> = findings.iter().map(|f| format!("{}:{} {}", f.line, f.column, f.code)).collect();
    assert_eq!(lines, expected, "{findings:#?}");
}

#[test]
fn the_documented_example_is_sound() {
    reviewed(EXAMPLE, &[]);
    let manifest = manifest(EXAMPLE);
    let production = EnvironmentName::new("production").unwrap();
    let snapshot = manifest.check(&production, &BucketingKey::new([1; 16])).unwrap();
    assert_eq!(snapshot.traffic().candidate_weight(), 50_000);
    let nowhere = EnvironmentName::new("productoin").unwrap();
    let findings = manifest.check(&nowhere, &BucketingKey::new([1; 16])).unwrap_err();
    assert_eq!(findings[0].suggestion.as_deref(), Some("did you mean \"production\"?"));
}

#[test]
fn the_engines_problems_have_places_in_the_file() {
    let yaml = "app: a
environments:
  production:
    hosts: ['bad host']
    timeouts: {connectMs: 4000000000}
    traffic:
      slots: {blue: r}
      pin: {maxAgeSeconds: 0}
      rules: [{when: {attr: ip, op: cidr, values: [10.0.0.0/8, nonsense]}, slot: green}]
releases:
  r: {version: 1, upstreams: [{url: 'ftp://h'}]}
segments:
  one: {when: {segment: two}}
  two: {when: {not: {segment: one}}}
  odd: {when: {any: [{attr: x, op: matches, values: ['ok', '(']}]}}
flags:
  f:
    unit: []
    environments:
      production:
        rules:
          - {id: same, when: {all: []}, serve: on}
          - {id: same, when: {attr: x, op: lt, values: [text]}, serve: on}
";
    reviewed(
        yaml,
        &[
            "4:13 host_invalid",
            "5:27 out_of_range",
            "8:28 out_of_range",
            "9:64 value_invalid",
            "11:37 upstream_invalid",
            "13:3 reference_cycle",
            "15:60 value_invalid",
            "18:5 unit_empty",
            "23:18 rule_duplicate",
            "23:57 value_invalid",
        ],
    );
}

#[test]
fn a_readers_finding_is_not_said_again_by_the_engine() {
    let yaml = with_environment("{traffic: {slots: {blue: r1}, rules: [{when: {segment: stff}, slot: blue}]}}");
    reviewed(&yaml, &["5:70 segment_unknown"]);
}
