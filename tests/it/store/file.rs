//! What is special about a file: one process, its mode, and what happens when it is no database.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use admin::store::{Location, Store, StoreError};
use tests::store::{commit, committed};

use super::{Place, run};

pub(super) const WRITER: &str = env!("CARGO_BIN_EXE_store-writer");

#[test]
fn a_second_process_is_refused() {
    run(Place::sqlite(), async |place: &Place| {
        let store = place.open().await;
        let refused = Command::new(WRITER).arg(place.file()).arg("1").output().expect("the helper is built");
        let said = String::from_utf8(refused.stderr).unwrap();
        let pid = std::process::id();
        assert!(!refused.status.success() && said.contains(&format!("is in use by process {pid}")), "{said}");
        let Err(again) = Store::open(&place.location).await else { panic!("it opened") };
        assert!(matches!(again, StoreError::Locked { holder: Some(holder), .. } if holder == pid), "{again:?}");
        commit(&store).await.expect("the first is not disturbed");
        store.close().await;
        let allowed = Command::new(WRITER).arg(place.file()).arg("1").output().expect("the helper is built");
        assert_eq!(String::from_utf8(allowed.stdout).unwrap(), "2\n");
    });
}

#[test]
fn nobody_else_may_read_the_files() {
    run(Place::sqlite(), async |place: &Place| {
        let folder = place.file().parent().unwrap().join("made/for/it");
        let store = Store::open(&Location::Sqlite(folder.join("b.db"))).await.unwrap();
        commit(&store).await.unwrap();
        let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
        let modes: Vec<_> =
            entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().permissions().mode() & 0o777)).collect();
        assert!(modes.len() >= 3 && modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    });
}

#[test]
fn what_is_no_database_is_named_and_left_alone() {
    run(Place::sqlite(), async |place: &Place| {
        let text = "this is no database at all, but somebody's letter. ".repeat(100);
        std::fs::write(place.file(), &text).unwrap();
        let Err(error) = Store::open(&place.location).await else { panic!("it opened") };
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("bascule.db"), "{error}");
        assert_eq!(std::fs::read_to_string(place.file()).unwrap(), text);
    });
}

#[test]
fn a_name_with_special_characters_is_a_name() {
    run(Place::sqlite(), async |place: &Place| {
        let path = place.file().with_file_name("file:a b?mode=memory&c%20#.db");
        let store = Store::open(&Location::Sqlite(path.clone())).await.unwrap();
        commit(&store).await.unwrap();
        store.close().await;
        assert!(path.is_file());
        let store = Store::open(&Location::Sqlite(path)).await.unwrap();
        assert_eq!(committed(&mut store.read().await.unwrap()).await, 1);
    });
}

#[test]
fn closing_leaves_one_file_and_its_lock() {
    run(Place::sqlite(), async |place: &Place| {
        let store = place.open().await;
        commit(&store).await.unwrap();
        drop(store.read().await.unwrap());
        store.close().await;
        let mut names: Vec<_> = std::fs::read_dir(place.file().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["bascule.db", "bascule.db.lock"]);
    });
}

/// Commits fifty times with this file size limit.
fn limited(place: &Place, limit: &str) -> (Option<i32>, String, String) {
    let output = Command::new("prlimit")
        .arg(format!("--fsize={limit}"))
        .args([WRITER.as_ref(), place.file().as_os_str(), "50".as_ref()])
        .output()
        .expect("prlimit is part of util-linux");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_file_size_limit_is_a_full_disk_and_loses_nothing() {
    run(Place::sqlite(), async |place: &Place| {
        let store = place.open().await;
        commit(&store).await.unwrap();
        store.close().await;
        let size = std::fs::metadata(place.file()).unwrap().len();
        let (code, out, err) = limited(place, &size.to_string());
        assert_eq!(code, Some(1), "an error, and not a signal: {err}");
        assert!(out.contains("failed full") && err.contains("no space left to write"), "{out} {err}");
        let acknowledged = out.lines().filter_map(|line| line.parse().ok()).next_back().unwrap_or(1);
        let store = place.open().await;
        assert_eq!(committed(&mut store.read().await.unwrap()).await, acknowledged);
        assert_eq!(commit(&store).await.expect("there is room again"), acknowledged + 1);
        let litter = std::fs::read_dir(place.file().parent().unwrap()).unwrap();
        assert!(!litter.into_iter().any(|entry| entry.unwrap().path().to_string_lossy().ends_with(".probe")));
    });
}

#[test]
fn a_process_that_met_a_full_disk_goes_on_when_there_is_room() {
    run(Place::sqlite(), async |place: &Place| {
        place.open().await.close().await;
        let size = std::fs::metadata(place.file()).unwrap().len();
        let (code, out, err) = limited(place, &format!("{size}:unlimited"));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.contains("failed full") && out.ends_with("\n50\n"), "{out}");
        let store = place.open().await;
        assert_eq!(committed(&mut store.read().await.unwrap()).await, 50);
    });
}
