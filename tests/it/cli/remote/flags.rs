//! `bascule flag`.

use serde_json::json;

use super::{done, json, run};
use crate::api::{PRODUCTION, shop};

#[test]
fn a_flag_lives_from_its_making_to_its_end() {
    let plane = shop();
    let made = done(&plane, ["flag", "create", "team/new", "--client-visible", "--description", "the new one"]);
    assert!(made.starts_with("made team/new"), "{made}");
    assert_eq!(run(&plane, ["flag", "create", "team/new"]).code, 4, "it exists");
    let listed = done(&plane, ["flag", "list"]);
    assert!(listed.starts_with("KEY       TYPE"), "{listed}");
    assert!(listed.contains("\nteam/new  boolean  on, off   yes"), "{listed}");
    let set = ["flag", "set", "team/new", "-e", "production", "--split", "on=12.5,off=87.5", "--reason", "a part"];
    let line = done(&plane, set);
    assert_eq!(line, "team/new in web/production is on, otherwise off 87.5 %, on 12.5 %, revision 3\n");
    assert_eq!(done(&plane, set), "", "nothing to change");
    let off = done(&plane, ["flag", "disable", "team/new", "-e", "production"]);
    assert!(off.starts_with("team/new in web/production is off, otherwise off 87.5 %"), "the split stays: {off}");
    let shown = done(&plane, ["flag", "get", "team/new"]);
    assert!(shown.contains("production   off") && shown.contains("staging      off    -"), "{shown}");
    assert!(done(&plane, ["flag", "archive", "team/new"]).contains("is archived"));
    assert!(!done(&plane, ["flag", "list"]).contains("team/new"));
    assert!(done(&plane, ["flag", "list", "--archived"]).contains("team/new"));
    assert_eq!(run(&plane, ["flag", "delete", "team/new"]).code, 6);
    assert_eq!(done(&plane, ["flag", "delete", "team/new", "--yes"]), "deleted team/new\n");
    assert_eq!(run(&plane, ["flag", "get", "team/new"]).code, 3);
}

#[test]
fn a_flag_that_serves_is_not_deleted() {
    let plane = shop();
    let refused = run(&plane, ["flag", "delete", "checkout", "--yes"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.contains("flag_in_use") && refused.stderr.contains("help: archive it"), "{refused:?}");
}

#[test]
fn setting_what_everybody_gets_keeps_the_rules() {
    let plane = shop();
    done(&plane, ["flag", "set", "checkout", "-e", "production", "--serve", "on"]);
    let now = json(&plane, ["flag", "get", "checkout", "-e", "production"]);
    assert_eq!(now["rules"][0]["id"], "staff", "{now}");
    assert_eq!(now["fallthrough"], json!({"serve": "on"}), "{now}");
    done(&plane, ["flag", "set", "checkout", "-e", "production", "--rule", "staff", "--split", "on=50,off=50"]);
    let now = json(&plane, ["flag", "get", "checkout", "-e", "production"]);
    assert_eq!(now["rules"][0]["split"]["on"], json!(50), "{now}");
    assert_eq!(now["fallthrough"], json!({"serve": "on"}), "{now}");
    let shown = done(&plane, ["flag", "get", "checkout", "-e", "production"]);
    assert!(shown.contains("staff  off 50 %, on 50 %"), "{shown}");
    let unknown = run(&plane, ["flag", "set", "checkout", "-e", "production", "--rule", "nobody", "--serve", "on"]);
    assert_eq!(unknown.code, 3, "{unknown:?}");
}

#[test]
fn a_revision_that_is_not_the_newest_is_a_conflict() {
    let plane = shop();
    let seen = json(&plane, ["flag", "get", "checkout", "-e", "production"])["revision"].to_string();
    let set = |serve: &str| {
        run(&plane, ["flag", "set", "checkout", "-e", "production", "--serve", serve, "--revision", &seen])
    };
    assert_eq!(set("on").code, 0);
    let late = set("off");
    assert_eq!((late.code, late.stdout.as_str()), (4, ""), "{late:?}");
    assert!(late.stderr.contains("(412 revision_stale)") && late.stderr.contains("  help: "), "{late:?}");
}

#[test]
fn a_dry_run_says_who_would_move() {
    let plane = shop();
    let set = ["flag", "set", "checkout", "-e", "production", "--split", "on=30,off=70", "--dry-run"];
    let dry = done(&plane, set);
    assert!(dry.contains("20 % of the units move: checkout in production"), "{dry}");
    assert_eq!(json(&plane, set)["dryRun"], true);
    let after = plane.ask("GET", &format!("{PRODUCTION}/flags/checkout"), None);
    assert_eq!(after.body["fallthrough"]["split"]["on"], json!(10), "{after:?}");
}

#[test]
fn mistakes_are_explained() {
    let plane = shop();
    let unknown = run(&plane, ["flag", "set", "checkout", "-e", "production", "--serve", "maybe"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.stderr.contains("  /fallthrough") && unknown.stderr.contains("error["), "{unknown:?}");
    let sum = run(&plane, ["flag", "set", "checkout", "-e", "production", "--split", "on=10,off=80"]);
    assert_eq!(sum.code, 2, "{sum:?}");
    assert!(sum.stderr.contains("sum to 100"), "{sum:?}");
    assert_eq!(run(&plane, ["flag", "enable", "nothing", "-e", "production"]).code, 3);
    assert_eq!(run(&plane, ["flag", "enable", "checkout", "-e", "nowhere"]).code, 3);
    for args in [&["--serve", "on", "--split", "on=100"][..], &[], &["--split", "on"], &["--split", "on=101"]] {
        let all = ["flag", "set", "checkout", "-e", "production"].iter().chain(args);
        assert_eq!(run(&plane, all).code, 2, "{args:?}");
    }
}

#[test]
fn targeting_is_copied_and_stale_flags_are_listed() {
    let plane = shop();
    let copied = done(&plane, ["flag", "copy", "checkout", "-e", "production"]);
    assert!(copied.contains("~ environments/production/flags/checkout"), "{copied}");
    let now = json(&plane, ["flag", "list", "-e", "production"]);
    assert_eq!(now["items"][0]["fallthrough"], json!({"serve": "on"}), "{now}");
    let stale = done(&plane, ["flag", "stale", "--days", "0"]);
    assert!(stale.contains("checkout"), "{stale}");
    assert_eq!(json(&plane, ["flag", "stale"])["items"], json!([]));
}
