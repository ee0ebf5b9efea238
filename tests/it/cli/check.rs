//! `bascule check`.

use serde_json::{Value, json};
use tests::binary;

use super::{SOUND, folder};

#[test]
fn a_sound_file_passes() {
    let folder = folder(&[("web.yaml", SOUND)]);
    let mut command = binary::command(["check", "web.yaml"]);
    command.current_dir(folder.path());
    let ended = binary::finish(command, "");
    assert_eq!(ended.stdout, "ok web.yaml: web (staging, production)\n");
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn every_problem_is_printed_as_a_compiler_does() {
    let broken = SOUND
        .replace("promotesFrom", "promotes_from")
        .replace("{segment: staff}, slot", "{segment: staf}, slot")
        .replace("op: endsWith", "op: endswith")
        .replace("on: 10, off: 90", "on: 10, off: 80")
        .replace("http://127.0.0.1:7002", "127.0.0.1:7002");
    let folder = folder(&[("web.yaml", &broken)]);
    let mut command = binary::command(["check", "web.yaml"]);
    command.current_dir(folder.path());
    let ended = binary::finish(command, "");
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert_eq!(
        ended.stderr,
        "\
web.yaml:5:5: error[key_unknown]: an environment has no key \"promotes_from\"
  help: did you mean \"promotesFrom\"?
web.yaml:12:32: error[segment_unknown]: there is no segment \"staf\"
  help: did you mean \"staff\"?
web.yaml:16:49: error[upstream_invalid]: `127.0.0.1:7002` is not http://HOST[:PORT] or https://HOST[:PORT]
web.yaml:18:35: error[operator_unknown]: there is no operator \"endswith\"
  help: did you mean \"endsWith\"?
web.yaml:25:23: error[split_sum]: the shares of a split sum to 100, not 90
"
    );
}

#[test]
fn json_has_the_same_problems_on_stdout() {
    let folder = folder(&[("web.yaml", &SOUND.replace("candidateWeight: 5", "candidateWeight: 5%"))]);
    let mut command = binary::command(["check", "--json", "web.yaml"]);
    command.current_dir(folder.path());
    let ended = binary::finish(command, "");
    assert_eq!((ended.code, ended.stderr.as_str()), (2, ""));
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    let problem = json!({
        "file": "web.yaml", "line": 11, "column": 24, "code": "type_mismatch",
        "detail": "a percentage is a number from 0 to 100, not \"5%\"", "suggestion": "write 5"
    });
    assert_eq!(answer, json!({"ok": false, "apps": [], "problems": [problem]}));
}

#[test]
fn a_folder_is_checked_as_a_gateway_would_serve_it() {
    let other = "app: api\nenvironments: {production: {hosts: [shop.example], traffic: {slots: {blue: r}}}}\nreleases: {r: {version: 1, upstreams: [{url: 'http://h'}]}}\n";
    let folder = folder(&[("api.yml", other), ("notes.txt", "not ours"), ("web.yaml", SOUND)]);
    let mut command = binary::command(["check", "."]);
    command.current_dir(folder.path());
    let ended = binary::finish(command, "");
    assert_eq!(ended.code, 2);
    assert_eq!(
        ended.stderr,
        "./web.yaml:6:13: error[host_duplicate]: the host \"shop.example\" already selects api/production in ./api.yml\n"
    );
}

#[test]
fn stdin_is_a_file_too() {
    let ended = binary::finish(binary::command(["check", "-"]), SOUND);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "ok -: web (staging, production)\n"));
}

#[test]
fn a_snapshot_document_is_checked_with_places() {
    let snapshot = "{\n  \"format\": \"v1\", \"app\": \"web\", \"environment\": \"production\", \"number\": 3,\n  \"createdAt\": \"2026-01-01T00:00:00Z\", \"bucketingKeyId\": \"k\",\n  \"traffic\": {\"active\": \"green\", \"slots\": {}, \"salt\": \"t\"}\n}\n";
    let folder = folder(&[("s.json", snapshot)]);
    let mut command = binary::command(["check", "s.json"]);
    command.current_dir(folder.path());
    let ended = binary::finish(command, "");
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.starts_with("s.json:4:"), "{}", ended.stderr);
    assert!(ended.stderr.contains("error[slot_empty]"), "{}", ended.stderr);
}

#[test]
fn a_missing_file_is_not_found() {
    let ended = binary::run(["check", "/nowhere/at-all.yaml"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (3, ""));
    assert!(ended.stderr.starts_with("error: cannot read /nowhere/at-all.yaml: "), "{}", ended.stderr);
}

#[test]
fn doctor_shows_where_each_value_came_from_and_what_is_wrong() {
    let folder = folder(&[
        ("web.yaml", SOUND),
        ("broken.yaml", "app: Web\n"),
        ("bascule.toml", "region = \"eu\"\n[timeouts]\nread = \"7s\"\n"),
    ]);
    let doctor = |file: &str| {
        let mut command = binary::command([
            "doctor",
            "--json",
            "--config",
            "bascule.toml",
            "--listen",
            "127.0.0.1:0",
            "--ops",
            "127.0.0.1:0",
            "--file",
            file,
        ]);
        command.current_dir(folder.path()).env("BASCULE_WORKERS", "3").env("BASCULE_WOKRERS", "3");
        let ended = binary::finish(command, "");
        (ended.code, serde_json::from_str::<Value>(&ended.stdout).unwrap())
    };
    let (code, answer) = doctor("web.yaml");
    assert_eq!((code, &answer["ok"]), (0, &json!(true)), "{answer:#}");
    let setting = |key: &str| {
        let settings = answer["settings"].as_array().unwrap();
        settings.iter().find(|setting| setting["key"] == key).cloned().unwrap()
    };
    assert_eq!(setting("region"), json!({"key": "region", "value": "eu", "origin": "bascule.toml:1"}));
    assert_eq!(setting("timeouts.read"), json!({"key": "timeouts.read", "value": "7s", "origin": "bascule.toml:3"}));
    assert_eq!(setting("workers"), json!({"key": "workers", "value": "3", "origin": "BASCULE_WORKERS"}));
    assert_eq!(setting("file"), json!({"key": "file", "value": "web.yaml", "origin": "--file"}));
    assert_eq!(setting("engine.kind")["origin"], "default");
    let warnings = answer["warnings"].to_string();
    assert!(warnings.contains("BASCULE_WOKRERS") && warnings.contains("bucketing key is derived"), "{warnings}");
    assert_eq!(answer["engine"].as_str().unwrap().len(), 64);

    let (code, answer) = doctor("broken.yaml");
    assert_eq!((code, &answer["ok"]), (2, &json!(false)));
    assert_eq!(answer["problems"][0]["origin"], "broken.yaml:1:1");
    assert_eq!(answer["problems"].as_array().unwrap().len(), 2, "{answer:#}");
}
