//! `bascule apply`, `diff` and `export`.

use serde_json::json;
use tests::admin::ControlPlane;
use tests::binary;

use super::{command, done, json, run};
use crate::api::{SHOP, shop};

#[test]
fn what_is_exported_changes_nothing_when_it_is_applied() {
    let plane = shop();
    let yaml = done(&plane, ["export", "web"]);
    let folder = crate::cli::folder(&[]);
    let file = folder.path().join("web.yaml");
    let file = file.to_str().expect("a path");
    let written = run(&plane, ["export", "--output", file]);
    assert_eq!((written.code, written.stdout.as_str()), (0, ""), "{written:?}");
    assert_eq!(std::fs::read_to_string(file).expect("it was written"), yaml);
    assert_eq!(done(&plane, ["apply", file]), "nothing to change\n");
    assert_eq!(done(&plane, ["diff", file, "--prune", "--exit-code"]), "nothing to change\n");
    assert_eq!(json(&plane, ["apply", file])["changes"], json!([]));
}

#[test]
fn a_first_apply_needs_a_yes_and_shows_what_it_does() {
    let plane = ControlPlane::start();
    let folder = crate::cli::folder(&[("web.yaml", SHOP)]);
    let file = folder.path().join("web.yaml");
    let file = file.to_str().expect("a path");
    let refused = run(&plane, ["apply", file]);
    assert_eq!(refused.code, 6, "{refused:?}");
    assert!(refused.stderr.contains("nobody is there to be asked"), "{refused:?}");
    assert_eq!(plane.ask("GET", "/api/v1/apps/web", None).status, 404, "nothing was sent");
    let dry = done(&plane, ["apply", file, "--dry-run"]);
    assert!(dry.contains("+ flags/checkout\n") && dry.contains("+ environments/production/traffic\n"), "{dry}");
    assert_eq!(plane.ask("GET", "/api/v1/apps/web", None).status, 404);
    let applied = done(&plane, ["apply", file, "--yes", "--reason", "the first"]);
    assert!(applied.starts_with(&dry) && applied.contains(" created\n"), "{applied}");
    assert_eq!(plane.ask("GET", "/api/v1/audit", None).body["items"][0]["reason"], "the first");
    let again = binary::finish(command(&plane, ["apply", "-"]), SHOP);
    assert_eq!((again.code, again.stdout.as_str()), (0, "nothing to change\n"), "{again:?}");
}

#[test]
fn a_difference_is_shown_and_counted_only_if_that_is_wanted() {
    let plane = shop();
    let other = SHOP.replace("on: 10, off: 90", "on: 25, off: 75").replace("  web-2:", "  web-3:");
    let diff = |args: &[&str]| binary::finish(command(&plane, ["diff", "-"].iter().chain(args)), &other);
    let shown = diff(&[]);
    assert_eq!(shown.code, 0, "{shown:?}");
    for line in [
        "~ environments/production/flags/checkout\n",
        "+ releases/web-3\n",
        "  releases/web-2 stays: only --prune deletes it\n",
        "15 % of the units move: checkout in production\n",
    ] {
        assert!(shown.stdout.contains(line), "{line}: {}", shown.stdout);
    }
    assert_eq!(diff(&["--exit-code"]).code, 1);
    let pruned = diff(&["--prune"]);
    assert!(pruned.stdout.contains("- releases/web-2\n"), "{pruned:?}");
    // A flag alone moves no traffic, so nobody is asked; a deletion is asked for.
    let apply = |args: &[&str]| binary::finish(command(&plane, ["apply", "-"].iter().chain(args)), &other);
    assert_eq!(apply(&["--prune"]).code, 6);
    assert_eq!(apply(&[]).code, 0);
    let pruned = apply(&["--prune", "--yes", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&pruned.stdout).expect("JSON alone on stdout");
    assert_eq!((&answer["dryRun"], &answer["changes"][0]["action"]), (&json!(false), &json!("delete")), "{pruned:?}");
}

#[test]
fn mistakes_in_a_file_have_file_and_line() {
    let plane = ControlPlane::start();
    let broken = SHOP.replace("segment: staff", "segment: staf").replace("version: 2.0.0", "versoin: 2.0.0");
    let folder = crate::cli::folder(&[("web.yaml", &broken)]);
    let mut command = command(&plane, ["apply", "web.yaml"]);
    command.current_dir(folder.path());
    let refused = binary::finish(command, "");
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{refused:?}");
    for part in ["(422 manifest_invalid)", "  web.yaml:", "did you mean \"version\"?", "  request "] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert_eq!(run(&plane, ["apply", "/nowhere/web.yaml"]).code, 3);
}
