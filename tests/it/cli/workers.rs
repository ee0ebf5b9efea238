//! A control plane that is told of Workers by a file: what it says of them, and what it does not.

use serde_json::Value;
use tests::binary::{self, Ended};
use tests::{Mood, PlayedWorker};

use super::control_plane::Process;
use super::{SOUND, folder};
use crate::rig::eventually;

const TOKEN: &str = "canaryedgetoken";

fn listed(url: &str) -> String {
    format!(
        "[[worker]]\nid = \"edge-eu\"\napp = \"web\"\nenvironment = \"production\"\nurl = \"{url}\"\n\
         tokenFile = \"edge-eu.token\"\nregion = \"eu\"\n"
    )
}

#[test]
fn a_rollback_says_when_every_isolate_follows_and_the_log_only_what_changed() {
    let worker = PlayedWorker::start(TOKEN);
    let root = admin::token::TokenText::mint();
    let folder = folder(&[("web.yaml", SOUND), ("token", root.expose())]);
    let configured = worker.configured("edge-eu", folder.path());
    std::fs::write(folder.path().join("workers.toml"), listed(&configured.url)).expect("writable");
    let mut admin = binary::command(["admin", "--listen", "127.0.0.1:0", "--workers", "workers.toml"]);
    admin.current_dir(folder.path()).env("BASCULE_BOOTSTRAP_ADMIN_TOKEN_FILE", "token");
    admin.env("BASCULE_LOG_FORMAT", "json").env("BASCULE_LOG_LEVEL", "trace");
    let process = Process::start(admin);
    let run = |args: &[&str]| -> Ended {
        let mut command = binary::command(args);
        command.current_dir(folder.path()).env("BASCULE_TOKEN_FILE", "token");
        command.env("BASCULE_URL", format!("http://{}", process.address));
        binary::finish(command, "")
    };
    let applied = run(&["apply", "web.yaml", "--yes"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let shown = eventually("it is pushed", || run(&["edges"]).stdout, |text| text.contains("web/production 1"));
    assert!(shown.contains("edge-eu  worker  eu") && shown.contains("connected"), "{shown}");

    let roll_back = ["rollback", "-e", "production", "--app", "web", "--reason", "errors", "--yes", "--wait", "20s"];
    let done = run(&roll_back);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    let last = done.stdout.lines().last();
    assert_eq!(last, Some("edge-eu: every isolate follows within 1000 ms of its acknowledgement"), "{done:?}");

    let count = |message: &str| {
        let log = process.log();
        let records = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records.filter(|record| record["message"] == message).count()
    };
    assert_eq!((count("a Worker is reached"), count("a Worker cannot be reached")), (1, 0));
    worker.set_mood(Mood::Breaks);
    let before = worker.pushes().len();
    let set = ["traffic", "set", "-e", "production", "--app", "web", "--green", "web-1.5.0", "--weight", "1"];
    let set = run(&[&set[..], &["--reason", "again", "--yes"]].concat());
    assert_eq!(set.code, 0, "{set:?}");
    eventually("it was tried again and again", || worker.pushes().len(), |count| *count > before + 3);
    assert_eq!(count("a Worker cannot be reached"), 1, "and was said once");
    let shown = run(&["edges"]).stdout;
    assert!(shown.contains("unreachable: ") && shown.contains("web/production 2 (1 behind)"), "{shown}");
    worker.set_mood(Mood::Takes);
    eventually("it is there again", || count("a Worker is reached"), |count| *count == 2);
    assert!(!process.log().contains(TOKEN), "the token is in no log");
}

#[test]
fn doctor_shows_the_file_of_workers_and_what_is_wrong_with_it() {
    let folder = folder(&[("edge-eu.token", TOKEN), ("workers.toml", &listed("https://edge.example"))]);
    let doctor = || {
        let mut command = binary::command(["doctor", "admin", "--json", "--workers", "workers.toml"]);
        command.current_dir(folder.path());
        let ended = binary::finish(command, "");
        assert!(!ended.stdout.contains("canary"), "{ended:?}");
        (ended.code, serde_json::from_str::<Value>(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}")))
    };
    let (code, answer) = doctor();
    assert_eq!(code, 0, "{answer:#}");
    let settings = answer["settings"].as_array().expect("a list");
    let shown = settings.iter().find(|setting| setting["key"] == "admin_workers").expect("it is one");
    assert_eq!((&shown["value"], &shown["origin"]), (&"workers.toml".into(), &"--workers".into()));

    let wrong = listed("http://edge.example").replace("region", "regoin").replace("edge-eu.token", "none");
    std::fs::write(folder.path().join("workers.toml"), wrong).expect("writable");
    let (code, answer) = doctor();
    assert_eq!(code, 2, "{answer:#}");
    let problems = answer["problems"].as_array().expect("a list").iter();
    let problems: Vec<String> = problems.map(|one| format!("{}: {}", one["origin"], one["detail"])).collect();
    for (problem, part) in problems.iter().zip(["workers.toml:5", "workers.toml:6", "workers.toml:7"]) {
        assert!(problem.contains(part), "{problems:#?}");
    }
    assert!(problems[0].contains("use https") && problems[1].contains("none cannot be read"), "{problems:#?}");
    assert!(problems[2].contains("did you mean `region`?"), "{problems:#?}");

    let mut command = binary::command(["admin", "--listen", "127.0.0.1:0", "--workers", "workers.toml"]);
    command.current_dir(folder.path());
    let ended = binary::finish(command, "");
    assert_eq!(ended.code, 2, "it does not start: {ended:?}");
    assert!(ended.stderr.contains("workers.toml:7: regoin: there is no such key"), "{ended:?}");
}
