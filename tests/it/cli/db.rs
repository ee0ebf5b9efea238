//! `bascule db`.

use std::path::Path;

use serde_json::{Value, json};
use tests::binary::{self, Ended};

fn db(folder: &Path, args: &[&str]) -> Ended {
    let mut command = binary::command(["db"].iter().chain(args));
    command.current_dir(folder);
    binary::finish(command, "")
}

fn steps(ended: &Ended) -> Vec<i64> {
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    let document: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    document["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| step["version"].as_i64().expect("a number"))
        .collect()
}

#[test]
fn the_schema_goes_up_and_down_and_says_where_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let of = |args: &[&str]| db(folder.path(), &[args, &["--database", "bascule.db"]].concat());
    let states = |word: &str| of(&["status"]).stdout.lines().filter(|line| line.ends_with(word)).count();
    let all = states("pending");
    assert!(all >= 5 && !folder.path().join("bascule.db").exists());
    assert_eq!(steps(&of(&["up", "--dry-run", "--json"])).len(), all);
    assert_eq!(steps(&of(&["up", "--to", "2", "--json"])), [1, 2]);
    assert_eq!((states("applied"), states("pending")), (2, all - 2));
    let up = of(&["up"]);
    assert_eq!((up.code, up.stdout.lines().count()), (0, all - 2), "{}", up.stdout);
    assert_eq!(of(&["up"]).stdout, "nothing to do\n");
    assert!(of(&["down", "--to", "0", "--dry-run"]).stdout.ends_with("1  objects       would be taken back\n"));
    assert_eq!(states("applied"), all);
    assert_eq!(steps(&of(&["down", "--to", "1", "--json"])).len(), all - 1);
    let status: Value = serde_json::from_str(&of(&["status", "--json"]).stdout).expect("JSON");
    assert_eq!(status["migrations"][0], json!({ "version": 1, "name": "objects", "state": "applied" }));
    assert_eq!(status["migrations"][1]["state"], "pending");
}

#[test]
fn the_database_is_found_by_the_environment_and_in_the_state_directory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let up = |name: &str, value: &str| {
        let mut command = binary::command(["db", "up"]);
        command.current_dir(folder.path()).env(name, value);
        let ended = binary::finish(command, "");
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    };
    up("BASCULE_DATABASE", "sqlite:one.db");
    up("BASCULE_STATE_DIR", "state/of/it");
    assert!(folder.path().join("one.db").is_file() && folder.path().join("state/of/it/bascule.db").is_file());
    let none = db(folder.path(), &["status"]);
    assert!(none.code == 2 && none.stderr.contains("--state-dir"), "{}", none.stderr);
}

#[test]
fn what_cannot_be_done_has_its_exit_code_and_shows_no_password() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let of = |args: &[&str]| db(folder.path(), args);
    let absent = of(&["down", "--to", "0", "--database", "absent.db"]);
    assert!(absent.code == 3 && !folder.path().join("absent.db").exists(), "{}", absent.stderr);
    assert_eq!(of(&["up", "--to", "99", "--database", "new.db"]).code, 2);
    for (url, code) in
        [("postgres://a:canary@127.0.0.1:1/b", 7), ("mysql://a:canary@db/b", 2), ("postgres://a:canary@:x", 2)]
    {
        let ended = of(&["status", "--database", url]);
        assert_eq!(ended.code, code, "{}", ended.stderr);
        assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
    }
    let location = admin::store::Location::Sqlite(folder.path().join("held.db"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let store = runtime.block_on(admin::store::Store::open(&location)).expect("opens");
    let held = of(&["up", "--database", "held.db"]);
    assert!(held.code == 4 && held.stderr.contains("is in use by process"), "{}", held.stderr);
    assert_eq!(of(&["status", "--database", "held.db"]).code, 0, "looking is allowed");
    runtime.block_on(store.close());
}
