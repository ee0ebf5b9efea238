//! `bascule decide`.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};
use tests::binary::{self, Ended};

use super::{SOUND, folder};

/// Decides for contexts against the sound file's production.
fn decide(args: &[&str], contexts: &str) -> Ended {
    let folder = folder(&[("web.yaml", SOUND)]);
    let mut command = binary::command(["decide", "--file", "web.yaml", "--environment", "production"]);
    command.args(args).current_dir(folder.path()).env("BASCULE_BUCKETING_KEY", "00112233445566778899aabbccddeeff");
    binary::finish(command, contexts)
}

#[track_caller]
fn lines(ended: &Ended) -> Vec<Value> {
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[test]
fn a_context_becomes_a_decision() {
    let ended = decide(&[], "{\"header\": {\"x-user-id\": \"ada\"}, \"email\": \"ada@shop.example\"}\n");
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert_eq!(
        lines(&ended),
        [json!({
            "app": "web", "environment": "production", "snapshot": 1, "engine": "native",
            "unit": {"source": "header:x-user-id", "value": "ada"},
            "slot": "green", "release": "web-1.5.0", "reason": "RULE", "rule": "rule-1",
            "flags": {
                "new-checkout": {"value": true, "variant": "on", "reason": "TARGETING_MATCH", "rule": "staff"},
                "theme": {"value": "bright", "variant": "light", "reason": "DISABLED"}
            }
        })]
    );
}

#[test]
fn both_engines_answer_alike() {
    let contexts: String = (0..200).map(|n| format!("{{\"header.x-user-id\": \"u{n}\", \"n\": {n}}}\n")).collect();
    let native = decide(&["--explain", "--now", "2026-01-01T00:00:00Z"], &contexts);
    let wasm = decide(&["--explain", "--now", "2026-01-01T00:00:00Z", "--engine", "wasm"], &contexts);
    assert_eq!((native.code, wasm.code), (0, 0), "{}", wasm.stderr);
    let (native, wasm) = (lines(&native), lines(&wasm));
    assert_eq!(native.len(), 200);
    assert!(wasm.iter().all(|line| line["engine"].as_str().is_some_and(|hash| hash.len() == 64)));
    let without_engine = |lines: Vec<Value>| -> Vec<Value> {
        let strip = |mut line: Value| {
            line["engine"].take();
            line
        };
        lines.into_iter().map(strip).collect()
    };
    assert_eq!(without_engine(native), without_engine(wasm));
}

#[test]
fn a_malformed_line_is_answered_and_the_rest_goes_on() {
    let ended = decide(&["--flags", "theme"], "{\"header.x-user-id\": \"a\"}\nnot json\n[1]\n\n{\"now\": 5}\n{}");
    assert_eq!(ended.code, 1);
    let lines = lines(&ended);
    assert_eq!(lines.len(), 5, "{}", ended.stdout);
    assert_eq!(lines[0]["unit"]["value"], "a");
    let errors: Vec<_> = lines[1..4].iter().map(|line| (line["line"].clone(), line["error"]["code"].clone())).collect();
    let expected = [(2, "PARSE_ERROR"), (3, "INVALID_CONTEXT"), (5, "INVALID_CONTEXT")];
    assert_eq!(errors, expected.map(|(line, code)| (json!(line), json!(code))));
    assert!(lines[1]["error"]["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    assert_eq!(lines[4]["reason"], "FALLBACK", "a context without a unit");
}

#[test]
fn a_line_beyond_the_limit_is_skipped_and_the_rest_goes_on() {
    let long = format!("{{\"x\": \"{}\"}}\n{{\"header.x-user-id\": \"a\"}}\n", "y".repeat(3 << 20));
    let ended = decide(&[], &long);
    let lines = lines(&ended);
    assert_eq!((ended.code, lines.len()), (1, 2));
    assert_eq!((&lines[0]["line"], &lines[0]["error"]["code"]), (&json!(1), &json!("LINE_TOO_LONG")));
    assert_eq!(lines[1]["unit"]["value"], "a");
}

#[test]
fn only_the_flags_asked_for_are_answered_in_their_order() {
    let ended = decide(&["--flags", "theme,new-checkout"], "{}\n");
    let at = |key: &str| ended.stdout.find(&format!("\"{key}\":")).unwrap();
    assert!(at("theme") < at("new-checkout"), "{}", ended.stdout);
    let ended = decide(&["--flags", "theme"], "{}\n");
    assert!(!ended.stdout.contains("new-checkout"));
}

#[test]
fn what_does_not_exist_is_not_found_with_a_suggestion() {
    let ended = decide(&["--flags", "new-chekout"], "{}\n");
    assert_eq!((ended.code, ended.stdout.as_str()), (3, ""));
    assert_eq!(ended.stderr, "error: there is no flag \"new-chekout\"\n  help: did you mean \"new-checkout\"?\n");
    let folder = folder(&[("web.yaml", SOUND)]);
    let at = |environment: &[&str]| {
        let mut command = binary::command(["decide", "--file", "web.yaml"]);
        command.args(environment).current_dir(folder.path());
        binary::finish(command, "")
    };
    let ended = at(&["--environment", "prodction"]);
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.contains("did you mean \"production\"?"), "{}", ended.stderr);
    let ended = at(&[]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("add --environment with one of staging, production"), "{}", ended.stderr);
}

#[test]
fn a_trace_explains_the_decision() {
    let ended = decide(&["--explain"], "{\"header.x-user-id\": \"ada\", \"email\": \"eve@elsewhere.example\"}\n");
    let trace = lines(&ended)[0]["trace"].to_string();
    assert!(trace.contains("eve@elsewhere.example") && trace.contains("endsWith"), "{trace}");
}

#[test]
fn the_key_decides_the_cohorts_and_is_never_shown() {
    let folder =
        folder(&[("web.yaml", SOUND), ("key", "00112233445566778899aabbccddeeff\n"), ("bad", "secret-canary")]);
    let bucket = |variable: &str, value: &str| {
        let mut command = binary::command(["decide", "--file", "web.yaml", "-e", "production"]);
        command.current_dir(folder.path());
        if !variable.is_empty() {
            command.env(variable, value);
        }
        let ended = binary::finish(command, "{\"header.x-user-id\": \"ada\"}\n");
        (ended.stdout.lines().next().map(|line| serde_json::from_str::<Value>(line).unwrap()["bucket"].clone()), ended)
    };
    let (given, ended) = bucket("BASCULE_BUCKETING_KEY", "00112233445566778899AABBCCDDEEFF");
    assert_eq!(ended.stderr, "");
    let (from_file, _) = bucket("BASCULE_BUCKETING_KEY_FILE", "key");
    assert_eq!(given, from_file);
    let (other, _) = bucket("BASCULE_BUCKETING_KEY", "ff112233445566778899aabbccddeeff");
    assert_ne!(given, other);
    let (derived, ended) = bucket("", "");
    assert_ne!(given, derived);
    assert!(ended.stderr.contains("BASCULE_BUCKETING_KEY"), "{}", ended.stderr);
    for (variable, value) in [("BASCULE_BUCKETING_KEY", "secret-canary"), ("BASCULE_BUCKETING_KEY_FILE", "bad")] {
        let (_, ended) = bucket(variable, value);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
        assert!(ended.stderr.contains("32 hex") && !ended.stderr.contains("canary"), "{}", ended.stderr);
    }
}

#[test]
fn each_line_is_answered_before_the_next_is_asked() {
    let folder = folder(&[("web.yaml", SOUND)]);
    let mut command = binary::command(["decide", "--file", "web.yaml", "-e", "production"]);
    let mut child = command.current_dir(folder.path()).stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    for unit in ["ada", "eve"] {
        writeln!(stdin, "{{\"header.x-user-id\": \"{unit}\"}}").unwrap();
        let mut line = String::new();
        // Would block for ever if the answer stayed in a buffer.
        stdout.read_line(&mut line).unwrap();
        assert!(line.contains(&format!("\"value\":\"{unit}\"")), "{line}");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let folder = folder(&[("web.yaml", SOUND)]);
    let mut command = binary::command(["decide", "--file", "web.yaml", "-e", "production"]);
    command.env("BASCULE_BUCKETING_KEY", "00112233445566778899aabbccddeeff");
    let mut child = command.current_dir(folder.path()).stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let line = b"{\"header.x-user-id\": \"ada\"}\n".repeat(1000);
        while stdin.write_all(&line).is_ok() {}
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
