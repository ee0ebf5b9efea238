//! Segments, releases, snapshots, tokens and the audit.

use std::io::{BufRead as _, BufReader};

use admin::token::TokenText;
use serde_json::json;
use tests::binary;

use super::{command, done, json, run};
use crate::api::{PRODUCTION, shop};

#[test]
fn segments_are_made_replaced_and_deleted() {
    let plane = shop();
    let when = r#"{"attr": "plan", "op": "in", "values": ["pro"]}"#;
    let set = ["segment", "set", "paying", "--when", when, "--description", "who pays"];
    assert!(done(&plane, set).starts_with("paying, revision "));
    assert_eq!(done(&plane, set), "", "nothing to change");
    assert!(done(&plane, ["segment", "list"]).contains("paying  who pays"));
    let copy = json(&plane, ["segment", "get", "paying"]).to_string();
    let copied = binary::finish(command(&plane, ["segment", "set", "copy", "--file", "-"]), &copy);
    assert_eq!(copied.code, 0, "{copied:?}");
    assert_eq!(run(&plane, ["segment", "set", "copy", "--when", when, "--revision", "1"]).code, 4);
    assert_eq!(done(&plane, ["segment", "delete", "copy", "--yes"]), "deleted copy\n");
    let used = run(&plane, ["segment", "delete", "staff", "--yes"]);
    assert_eq!(used.code, 2, "{used:?}");
    assert!(used.stderr.contains("segment_unknown"), "{used:?}");
    assert_eq!(run(&plane, ["segment", "set", "x", "--when", "{"]).code, 2);
    assert_eq!(run(&plane, ["segment", "get", "nobody"]).code, 3);
}

#[test]
fn a_release_is_registered_once() {
    let plane = shop();
    let create = ["release", "create", "web-3", "--version", "3.0.0", "--upstream", "http://127.0.0.1:7003,eu"];
    assert_eq!(done(&plane, create.iter().chain(&["--dry-run"])).lines().next(), Some("+ releases/web-3"));
    assert_eq!(done(&plane, create), "registered web-3\n");
    assert_eq!(run(&plane, create).stderr, "nothing to change\n");
    let other = create.map(|part| if part == "3.0.0" { "3.0.1" } else { part });
    assert_eq!(run(&plane, other).code, 4);
    let shown = json(&plane, ["release", "get", "web-3"]);
    assert_eq!(shown["upstreams"], json!([{"url": "http://127.0.0.1:7003", "region": "eu"}]));
    assert!(done(&plane, ["release", "list"]).contains("web-3  3.0.0"));
}

#[test]
fn snapshots_are_listed_compared_and_published_again() {
    let plane = shop();
    done(&plane, ["flag", "disable", "checkout", "-e", "production"]);
    let listed = json(&plane, ["snapshot", "list", "-e", "production"]);
    assert_eq!((&listed["items"][0]["number"], &listed["items"][1]["number"]), (&json!(2), &json!(1)));
    assert_eq!(
        json(&plane, ["snapshot", "list", "-e", "production", "--limit", "1"])["items"].as_array().map(Vec::len),
        Some(1)
    );
    let diff = done(&plane, ["snapshot", "diff", "1", "2", "-e", "production"]);
    assert!(diff.contains("/flags/checkout/enabled true → false"), "{diff}");
    let document = done(&plane, ["snapshot", "get", "1", "-e", "production"]);
    assert!(edge_engine::parse(document.as_bytes()).is_ok(), "{document}");
    let publish = ["snapshot", "publish", "1", "-e", "production", "--reason", "compare"];
    assert_eq!(run(&plane, publish).code, 6);
    assert_eq!(done(&plane, publish.iter().chain(&["--yes"])), "web in production runs snapshot 1 as 3\n");
    assert_eq!(run(&plane, ["snapshot", "get", "99", "-e", "production"]).code, 3);
}

#[test]
fn a_token_is_shown_once_works_and_is_revoked() {
    let plane = shop();
    let made = run(&plane, ["token", "create", "ci", "--scope", "web/production:viewer"]);
    assert_eq!(made.code, 0, "{made:?}");
    let secret = made.stdout.trim_end();
    assert!(TokenText::parse(secret).is_some() && !made.stderr.contains(secret), "{made:?}");
    let id = made.stderr.split(' ').nth(1).expect("its id").to_owned();
    let asks = || {
        let mut command = command(&plane, ["traffic", "get", "-e", "production", "--app", "web"]);
        command.env("BASCULE_TOKEN", secret);
        binary::finish(command, "").code
    };
    assert_eq!(asks(), 0);
    let listed = done(&plane, ["token", "list"]);
    assert!(listed.contains("web/production:viewer") && !listed.contains(secret), "{listed}");
    assert_eq!(done(&plane, ["token", "revoke", &id]), format!("revoked {id}\n"));
    assert_eq!(asks(), 8);
    assert_eq!(run(&plane, ["token", "revoke", "nobody"]).code, 3);
    let edge = json(&plane, ["token", "create", "edge", "--scope", "*/*:edge"]);
    assert!(edge["secret"].is_string() && edge["publicKey"].is_string(), "{edge}");
}

#[test]
fn a_bootstrap_token_is_minted_without_a_control_plane() {
    let minted = [(); 2].map(|()| binary::run(["token", "mint", "--url", "http://127.0.0.1:1"]));
    for ended in &minted {
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
        assert!(TokenText::parse(ended.stdout.trim_end()).is_some(), "{ended:?}");
    }
    assert_ne!(minted[0], minted[1]);
}

#[test]
fn the_audit_is_listed_and_verified() {
    let plane = shop();
    done(&plane, ["flag", "disable", "checkout", "-e", "production", "--reason", "look into it"]);
    let listed = done(&plane, ["audit", "list", "--app", "web"]);
    assert!(listed.lines().nth(1).is_some_and(|line| line.ends_with("look into it")), "{listed}");
    let some = json(&plane, ["audit", "list", "--operation", "putTargeting", "--limit", "1"]);
    assert_eq!(some["items"][0]["subject"], "environments/production/flags/checkout", "{some}");
    let verdict = done(&plane, ["audit", "verify"]);
    assert!(verdict.contains("all as they were"), "{verdict}");
    let (sequence, hash) =
        (some["items"][0]["sequence"].to_string(), some["items"][0]["hash"].as_str().unwrap_or_default());
    done(&plane, ["audit", "verify", "--sequence", &sequence, "--hash", hash]);
    let forged = run(&plane, ["audit", "verify", "--sequence", &sequence, "--hash", &"0".repeat(64)]);
    assert_eq!(forged.code, 1, "{forged:?}");
    assert_eq!(run(&plane, ["audit", "verify", "--sequence", "1"]).code, 2);
}

#[test]
fn the_audit_is_followed_as_it_grows() {
    let plane = shop();
    let mut child =
        command(&plane, ["audit", "list", "--follow", "--json", "--limit", "1"]).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || -> serde_json::Value {
        serde_json::from_str(&lines.next().expect("it goes on").expect("readable")).expect("JSON")
    };
    assert_eq!(next()["operation"], "apply");
    // The stream is open before the list is read, so nothing from here on is missed.
    plane.change("PUT", &format!("{PRODUCTION}/flags/checkout"), "*", Some(json!({"enabled": false})));
    assert_eq!(next()["operation"], "putTargeting");
    plane.change("PUT", &format!("{PRODUCTION}/flags/checkout"), "*", Some(json!({"enabled": true})));
    assert_eq!(next()["operation"], "putTargeting");
    child.kill().expect("it runs");
    child.wait().expect("it ended");
}
