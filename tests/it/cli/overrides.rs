//! `bascule override`.

use serde_json::{Value, json};
use tests::binary::{self, Ended};

use super::{SOUND, folder};

const KEY: (&str, &str) = ("BASCULE_BUCKETING_KEY", "00112233445566778899aabbccddeeff");

fn mint(yaml: &str, args: &[&str]) -> Ended {
    let folder = folder(&[("web.yaml", yaml)]);
    let mut command = binary::command(["override", "--file", "web.yaml", "-e", "production"]);
    command.args(args).current_dir(folder.path()).env(KEY.0, KEY.1);
    binary::finish(command, "")
}

fn reason(token: &str, now: &str) -> String {
    let folder = folder(&[("web.yaml", SOUND)]);
    let mut command = binary::command(["decide", "--file", "web.yaml", "-e", "production", "--now", now]);
    command.current_dir(folder.path()).env(KEY.0, KEY.1);
    let context = json!({"header": {"x-bascule-override": token}}).to_string();
    let ended = binary::finish(command, &context);
    let decision: Value = serde_json::from_str(&ended.stdout).expect("a decision");
    format!("{} {}", decision["reason"].as_str().unwrap(), decision["slot"].as_str().unwrap())
}

#[test]
fn a_token_takes_its_bearer_to_the_slot_until_it_expires() {
    let ended = mint(SOUND, &["--slot", "green", "--ttl", "2h", "--json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&answer["slot"], &answer["header"]), (&json!("green"), &json!("x-bascule-override")));
    let token = answer["token"].as_str().unwrap();
    assert_eq!(reason(token, "2026-01-01T00:00:00Z"), "OVERRIDE green");
    let (day, time) = answer["expiresAt"].as_str().unwrap().split_once('T').unwrap();
    let later = format!("{}T{time}", day.replace("20", "21"));
    assert_ne!(reason(token, &later), "OVERRIDE green");
    assert_ne!(reason(&token.replace("green", "blue"), "2026-01-01T00:00:00Z"), "OVERRIDE blue");
}

#[test]
fn without_json_only_the_token_is_on_stdout() {
    let ended = mint(SOUND, &["--slot", "blue"]);
    assert_eq!(ended.code, 0);
    assert_eq!(reason(ended.stdout.trim_end(), "2026-01-01T00:00:00Z"), "OVERRIDE blue");
    assert!(ended.stderr.ends_with("as header x-bascule-override\n"), "{}", ended.stderr);
}

#[test]
fn an_environment_without_overrides_says_what_to_add() {
    let ended = mint(&SOUND.replace("      override: {header: x-bascule-override}\n", ""), &["--slot", "green"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert!(ended.stderr.contains("add traffic.override"), "{}", ended.stderr);
}

#[test]
fn an_empty_slot_is_not_found() {
    let folder = folder(&[(
        "web.yaml",
        &SOUND.replace("{slots: {blue: web-1.4.1}}}", "{slots: {blue: web-1.4.1}, override: {query: o}}}"),
    )]);
    let mut command = binary::command(["override", "--file", "web.yaml", "-e", "staging", "--slot", "green"]);
    let ended = binary::finish(
        {
            command.current_dir(folder.path());
            command
        },
        "",
    );
    assert_eq!((ended.code, ended.stdout.as_str()), (3, ""));
    assert!(ended.stderr.contains("the slot green holds no release"), "{}", ended.stderr);
}
