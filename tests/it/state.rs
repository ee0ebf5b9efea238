//! The last good snapshots on disk: whatever kills the process or the disk, the old or the new one is found.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use server::gateway::scope::Scope;
use server::state_dir::StateDir;
use tests::state_content;

use crate::rig::{Setup, document, eventually, manifest};

const WRITER: &str = env!("CARGO_BIN_EXE_state-writer");

fn scope() -> Scope {
    Scope::new("web", "production")
}

/// The number that a start would find; its content must be the one that was saved under it.
#[track_caller]
fn found(dir: &Path) -> u64 {
    let stored = StateDir::open(dir).expect("opens").load(&scope()).expect("a snapshot is found");
    assert_eq!(stored.bytes, state_content(stored.number), "snapshot {} is not what was saved", stored.number);
    stored.number
}

/// A folder that holds the snapshots up to this number.
fn prepared(up_to: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let dir = StateDir::open(folder.path()).expect("opens");
    (1..=up_to).for_each(|number| dir.save(&scope(), number, &state_content(number)).expect("saved"));
    folder
}

/// Saves snapshot 3 with the N-th of these system calls treated as `how` says.
fn inject(dir: &Path, call: &str, how: &str, when: usize) -> Output {
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:{how}:when={when}")])
        .args([WRITER, &dir.display().to_string(), "3", "3"])
        .output()
        .expect("strace is installed (apt-get install strace)")
}

/// What the writer does to files. `write` is also how the content gets there.
const CALLS: [&str; 8] = ["openat", "write", "fsync", "rename", "flock", "close", "unlink", "mkdir"];

#[test]
fn a_kill_at_any_system_call_of_a_save_leaves_the_old_or_the_new_snapshot() {
    let mut points = 0;
    for call in CALLS {
        for when in 1.. {
            let folder = prepared(2);
            let output = inject(folder.path(), call, "signal=KILL", when);
            let number = found(folder.path());
            assert!(matches!(number, 2 | 3), "{call} {when}: {number}");
            let dir = StateDir::open(folder.path()).expect("opens");
            dir.save(&scope(), 4, &state_content(4)).expect("a later save works");
            assert_eq!(found(folder.path()), 4, "{call} {when}");
            let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left.len(), 3, "two generations and the lock, no litter: {left:?}");
            if output.status.success() {
                assert_eq!(number, 3, "{call} {when}: it said that it was saved");
                break;
            }
            points += 1;
        }
    }
    // The save itself has at least: open lock, lock, open, two writes, sync, rename, open folder, sync.
    assert!(points >= 9, "only {points} points were hit");
}

#[test]
fn an_error_of_any_system_call_of_a_save_leaves_the_old_or_the_new_snapshot() {
    for (call, error) in [
        ("write", "ENOSPC"),
        ("write", "EIO"),
        ("fsync", "EIO"),
        ("fsync", "ENOSPC"),
        ("rename", "EIO"),
        ("openat", "EMFILE"),
    ] {
        for when in 1.. {
            let folder = prepared(2);
            let output = inject(folder.path(), call, &format!("error={error}"), when);
            let number = found(folder.path());
            assert!(matches!(number, 2 | 3), "{call} {error} {when}: {number}");
            if output.status.success() {
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_is_named_and_leaves_no_litter() {
    for (call, error) in [("write", "ENOSPC"), ("write", "EDQUOT"), ("fsync", "ENOSPC")] {
        let folder = prepared(2);
        let output = inject(folder.path(), call, &format!("error={error}"), 1);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("no space left to write"), "{call} {error}: {said}");
        assert!(
            !fs::read_dir(folder.path()).unwrap().any(|e| e.unwrap().path().extension().is_some_and(|e| e == "tmp"))
        );
        assert_eq!(found(folder.path()), 2);
    }
}

#[test]
fn the_file_size_limit_is_an_error_and_not_the_end_of_the_process() {
    let folder = prepared(2);
    let output = Command::new("prlimit")
        .args(["--fsize=4096", WRITER, &folder.path().display().to_string(), "3", "3"])
        .output()
        .expect("prlimit is part of util-linux");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no space left to write"), "{said}");
    assert_eq!(found(folder.path()), 2);
}

#[test]
fn thirty_kills_in_the_middle_of_saving_lose_nothing_that_was_saved() {
    let folder = prepared(1);
    let mut last = 1;
    for round in 0..30_u64 {
        let mut writer = Command::new(WRITER)
            .args([&folder.path().display().to_string(), &(last + 1).to_string(), "1000000"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the helper is built");
        let mut lines = BufReader::new(writer.stdout.take().expect("piped")).lines();
        // After another number of saves in each round, somewhere in the next one.
        for _ in 0..=round % 7 {
            last = lines.next().expect("it goes on").expect("text").parse().expect("a number");
        }
        writer.kill().expect("it runs");
        writer.wait().expect("it ends");
        // It may have gone on between the last line that was read and the kill.
        let said = lines.map_while(Result::ok).filter_map(|line| line.parse().ok()).last().unwrap_or(last);
        let number = found(folder.path());
        assert!(number == said || number == said + 1, "round {round}: {number} after {said}");
        last = number;
    }
}

#[test]
fn a_gateway_whose_file_is_broken_or_gone_starts_from_disk_with_the_same_number() {
    let setup = Setup::new().file("bascule.yaml", Some(&manifest("1.0.0"))).state_dir();
    let rig = setup.start();
    fs::write(rig.path("bascule.yaml"), manifest("1.1.0")).expect("writable");
    assert_eq!(rig.until_version("1.1.0"), 2);
    let mut folder = stop(rig);
    for text in [Some("app: ["), Some(""), None] {
        let path = folder.path().join("bascule.yaml");
        let _ = fs::remove_file(&path);
        let rig = Setup { folder, ..Setup::new() }.file("bascule.yaml", text).state_dir().start();
        assert_eq!(rig.only(), Some((2, "1.1.0".to_owned())), "{text:?}");
        let health = rig.health_json();
        let check = &health["checks"]["snapshot:web/production"];
        assert_eq!((&check["origin"], &check["status"]), (&"state-dir".into(), &"warn".into()), "{health}");
        assert_eq!(rig.get("/readyz").status, 200);
        folder = stop(rig);
    }
    let rig = Setup { folder, ..Setup::new() }.file("bascule.yaml", None).state_dir().start();
    fs::write(rig.path("bascule.yaml"), manifest("1.2.0")).expect("writable");
    assert_eq!(rig.until_version("1.2.0"), 3, "the number goes on");
}

#[test]
fn numbers_of_a_manifest_go_on_after_a_restart() {
    let rig = Setup::new().file("bascule.yaml", Some(&manifest("1.0.0"))).state_dir().start();
    assert_eq!(rig.only().map(|(number, _)| number), Some(1));
    let rig =
        Setup { folder: stop(rig), ..Setup::new() }.file("bascule.yaml", Some(&manifest("1.1.0"))).state_dir().start();
    assert_eq!(rig.only(), Some((2, "1.1.0".to_owned())));
}

#[test]
fn a_document_older_than_the_one_on_disk_is_refused_at_the_start() {
    let rig = Setup::new().file("snapshot.json", Some(&document(7, "1.0.0"))).state_dir().start();
    assert_eq!(rig.only().map(|(number, _)| number), Some(7));
    let folder = stop(rig);
    let rig = Setup { folder, ..Setup::new() }.file("snapshot.json", Some(&document(6, "0.9.0"))).state_dir().start();
    assert_eq!(rig.only(), Some((7, "1.0.0".to_owned())));
    let reason = rig.until_refused(&rig.path("snapshot.json"), 1);
    assert_eq!(reason, "snapshot 6 of web/production is older than 7, which runs");
}

#[test]
fn a_broken_newest_generation_gives_the_one_before() {
    let rig = Setup::new().file("bascule.yaml", Some(&manifest("1.0.0"))).state_dir().start();
    fs::write(rig.path("bascule.yaml"), manifest("1.1.0")).expect("writable");
    rig.until_version("1.1.0");
    let newest = |name: &str| rig.path("state").join(format!("web@production.{name}.snapshot"));
    let saved = || fs::read_to_string(newest("b")).unwrap_or_default();
    let text = eventually("the second generation is saved", saved, |text| text.contains("1.1.0"));
    fs::write(newest("b"), text.replace("1.1.0", "6.6.6")).expect("writable");
    fs::write(rig.path("bascule.yaml"), "app: [").expect("writable");
    let rig = Setup { folder: stop(rig), ..Setup::new() }.file("bascule.yaml", Some("app: [")).state_dir().start();
    assert_eq!(rig.only(), Some((1, "1.0.0".to_owned())));
}

#[test]
fn what_was_restored_for_a_broken_file_goes_when_the_good_file_does_not_name_it() {
    let rig = Setup::new().file("bascule.yaml", Some(&manifest("1.0.0"))).state_dir().start();
    let rig = Setup { folder: stop(rig), ..Setup::new() }.file("bascule.yaml", Some("app: [")).state_dir().start();
    assert_eq!(rig.runs().len(), 1);
    fs::write(rig.path("bascule.yaml"), manifest("1.0.0").replace("app: web", "app: shop")).expect("writable");
    let scopes = || rig.runs().into_iter().map(|seen| seen.scope).collect::<Vec<_>>();
    eventually("only the app of the file runs", scopes, |seen| *seen == ["shop/production"]);
}

/// Ends a control side and keeps its folder.
fn stop(rig: crate::rig::Rig) -> tempfile::TempDir {
    let crate::rig::Rig { folder, control, .. } = rig;
    drop(control);
    folder
}
