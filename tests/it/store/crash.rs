//! A writer that is killed, or whose system calls fail, at every point: what was acknowledged is there, and whole.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use admin::store::{Location, Store};
use tests::store::{commit, committed};

use super::file::WRITER;

/// What SQLite does to files.
const CALLS: [&str; 7] = ["pwrite64", "fdatasync", "fsync", "ftruncate", "rename", "unlink", "fallocate"];

/// A closed store with one commit, to be copied.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    block_on(async {
        let store = Store::open(&location(folder.path())).await.expect("opens");
        commit(&store).await.expect("committed");
        store.close().await;
    });
    folder
}

fn copy(template: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    fs::copy(template.join("bascule.db"), folder.path().join("bascule.db")).expect("copied");
    folder
}

fn location(folder: &Path) -> Location {
    Location::Sqlite(folder.join("bascule.db"))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Commits once more with the N-th of these system calls of each thread treated as `how` says.
fn inject(folder: &Path, call: &str, how: &str, when: usize) -> Output {
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:{how}:when={when}")])
        .args([WRITER.as_ref(), folder.join("bascule.db").as_os_str(), "1".as_ref()])
        .output()
        .expect("strace is installed (apt-get install strace)")
}

/// The last commit that was acknowledged; the first one was before.
fn acknowledged(output: &Output) -> i64 {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.parse().ok()).next_back().unwrap_or(1)
}

/// Opens what is left: every commit is whole, and another one works. Answers how many there were.
fn reopened(folder: &Path) -> i64 {
    block_on(async {
        let store = Store::open(&location(folder)).await.expect("opens");
        let found = committed(&mut store.read().await.expect("readable")).await;
        assert_eq!(commit(&store).await.expect("goes on"), found + 1);
        store.close().await;
        found
    })
}

#[test]
fn a_kill_at_any_system_call_of_a_commit_leaves_the_old_or_the_new_state() {
    let template = prepared();
    let mut points = 0;
    for call in CALLS {
        for when in 1.. {
            let folder = copy(template.path());
            let output = inject(folder.path(), call, "signal=KILL", when);
            let found = reopened(folder.path());
            assert!(found == 1 || found == 2, "{call} {when}: {found}");
            assert!(found >= acknowledged(&output), "{call} {when}: an acknowledged commit is lost");
            if output.status.success() {
                assert_eq!(found, 2, "{call} {when}: it said that it was committed");
                break;
            }
            points += 1;
        }
    }
    assert!(points >= 12, "only {points} points were hit");
}

#[test]
fn an_error_of_any_system_call_of_a_commit_leaves_the_old_or_the_new_state_and_passes() {
    let template = prepared();
    let mut failed = 0;
    for (call, error) in [
        ("pwrite64", "ENOSPC"),
        ("pwrite64", "EIO"),
        ("fdatasync", "EIO"),
        ("fsync", "EIO"),
        ("fsync", "ENOSPC"),
        ("ftruncate", "EIO"),
        ("unlink", "EIO"),
    ] {
        let mut before = None;
        for when in 1.. {
            let folder = copy(template.path());
            let output = inject(folder.path(), call, &format!("error={error}"), when);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let context = || format!("{call} {error} {when}: {said} {}", String::from_utf8_lossy(&output.stderr));
            assert!(output.status.code().is_some(), "it answers: {}", context());
            // The commit that failed may have become durable all the same: its error says that nobody knows.
            let found = reopened(folder.path());
            assert!((1..=3).contains(&found) && found >= acknowledged(&output), "{found}: {}", context());
            if said.contains("failed") {
                failed += 1;
                // A second attempt has a connection of its own, and strace counts its calls from the beginning.
                let again = String::from_utf8_lossy(&output.stderr).into_owned();
                let is_known = ["no space left to write", "not available"].iter().any(|known| again.contains(known));
                assert!(output.status.success() || is_known, "{}", context());
                assert!(!said.contains("otherwise"), "{}", context());
                assert!(error != "ENOSPC" || call != "pwrite64" || said.contains("full"), "{}", context());
            }
            // Behind the last call nothing is injected. One that fails unnoticed is told apart by going on once more.
            let quiet = output.status.success() && !said.contains("failed");
            if quiet && before == Some(true) && when > 12 {
                break;
            }
            before = Some(quiet);
        }
    }
    assert!(failed >= 10, "only {failed} commits failed");
}

#[test]
fn two_hundred_kills_lose_nothing_that_was_acknowledged() {
    let folder = prepared();
    let mut last = 1_i64;
    for round in 0..200_u32 {
        let mut writer = Command::new(WRITER)
            .args([folder.path().join("bascule.db").as_os_str(), "1000000".as_ref()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the helper is built");
        let mut lines = BufReader::new(writer.stdout.take().expect("piped")).lines();
        // After another number of commits in each round, somewhere in the next one.
        for _ in 0..=round % 5 {
            last = lines.next().expect("it goes on").expect("text").parse().expect("a number");
        }
        writer.kill().expect("it runs");
        writer.wait().expect("it ends");
        // It may have gone on between the last line that was read and the kill.
        let said = lines.map_while(Result::ok).filter_map(|line| line.parse().ok()).last().unwrap_or(last);
        let found = block_on(async {
            let store = Store::open(&location(folder.path())).await.expect("opens");
            let mut read = store.read().await.expect("readable");
            let found = read.app_revision("web").await.expect("readable");
            // All of them are looked at now and then, and at the end.
            if round % 50 == 49 {
                assert_eq!(committed(&mut read).await, found);
            }
            drop(read);
            store.close().await;
            found
        });
        assert!(found == said || found == said + 1, "round {round}: {found} after {said}");
        last = found;
    }
}
