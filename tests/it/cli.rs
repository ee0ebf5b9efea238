//! The command line: exit codes, what goes to stdout and what to stderr, and that documents are true.

mod check;
mod control_plane;
mod db;
mod decide;
mod demo;
mod documents;
mod gateway;
mod import;
mod overrides;
mod remote;
mod verdict;
mod workers;

use tests::binary;

/// A sound file with every section.
const SOUND: &str = r#"app: web
environments:
  staging: {traffic: {slots: {blue: web-1.4.1}}}
  production:
    promotesFrom: staging
    hosts: [shop.example]
    unit: [header:x-user-id, cookie:uid]
    traffic:
      active: blue
      slots: {blue: web-1.4.1, green: web-1.5.0}
      candidateWeight: 5
      rules: [{when: {segment: staff}, slot: green}]
      override: {header: x-bascule-override}
releases:
  web-1.4.1: {version: 1.4.1, upstreams: [{url: "http://127.0.0.1:7001"}]}
  web-1.5.0: {version: 1.5.0, upstreams: [{url: "http://127.0.0.1:7002"}]}
segments:
  staff: {when: {attr: email, op: endsWith, values: ["@shop.example"]}}
flags:
  new-checkout:
    forward: true
    environments:
      production:
        rules: [{id: staff, when: {segment: staff}, serve: on}]
        fallthrough: {split: {on: 10, off: 90}}
  theme:
    type: string
    variants: {light: bright, dark: dim}
    offVariant: light
"#;

/// A folder that lives as long as the test, with files in it.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("a file in it");
    }
    folder
}

#[test]
fn every_verb_explains_itself_with_examples() {
    let help = binary::run(["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    let verbs: Vec<&str> = help
        .stdout
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.contains(&"decide"), "{verbs:?}");
    for verb in verbs {
        let help = binary::run([verb, "--help"]);
        assert!(help.stdout.contains(&format!("bascule {verb}")), "{verb}: {}", help.stdout);
        assert!(help.stdout.contains("Example"), "{verb} has no example");
    }
}

#[test]
fn wrong_arguments_are_usage_errors() {
    for args in [&["frobnicate"][..], &["check"], &["decide"], &["override", "--file", "x"], &["completions", "tcl"]] {
        let ended = binary::run(args);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{args:?}");
        assert!(ended.stderr.starts_with("error: "), "{args:?}: {}", ended.stderr);
    }
}
