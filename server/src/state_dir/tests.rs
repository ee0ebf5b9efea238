//! Tests of the state directory.

use super::*;

fn open() -> (tempfile::TempDir, StateDir, Scope) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let dir = StateDir::open(folder.path().join("state")).expect("creatable");
    (folder, dir, Scope::new("web", "production"))
}

fn number(dir: &StateDir, scope: &Scope) -> Option<u64> {
    dir.load(scope).map(|stored| stored.number)
}

#[test]
fn the_last_saved_snapshot_is_found_and_its_predecessor_kept() {
    let (_folder, dir, scope) = open();
    assert_eq!(dir.load(&scope), None);
    for n in 1..=5 {
        dir.save(&scope, n, format!("snapshot {n}").as_bytes()).expect("saved");
        let expected = Stored { number: n, bytes: format!("snapshot {n}").into(), head: None };
        assert_eq!(dir.load(&scope), Some(expected));
    }
    let numbers = dir.generations(&scope).map(|(_, stored)| stored.map(|stored| stored.number));
    assert_eq!(numbers, [Some(5), Some(4)]);
}

#[test]
fn any_broken_byte_of_the_newest_generation_gives_the_one_before() {
    let (_folder, dir, scope) = open();
    dir.save(&scope, 1, b"old").expect("saved");
    dir.save(&scope, 2, b"new").expect("saved");
    let [_, newest] = dir.paths(&scope);
    let good = fs::read(&newest).expect("there");
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 0x20;
        fs::write(&newest, &bad).expect("writable");
        assert_eq!(number(&dir, &scope), Some(1), "byte {i}");
        fs::write(&newest, &good[..i]).expect("writable");
        assert_eq!(number(&dir, &scope), Some(1), "cut at {i}");
    }
    fs::write(&newest, [good.as_slice(), b"x"].concat()).expect("writable");
    assert_eq!(number(&dir, &scope), Some(1));
}

#[test]
fn a_save_repairs_the_broken_generation_and_not_the_good_one() {
    let (_folder, dir, scope) = open();
    dir.save(&scope, 1, b"one").expect("saved");
    dir.save(&scope, 2, b"two").expect("saved");
    let [_, newest] = dir.paths(&scope);
    fs::write(&newest, b"garbage").expect("writable");
    dir.save(&scope, 3, b"three").expect("saved");
    let numbers = dir.generations(&scope).map(|(_, stored)| stored.map(|stored| stored.number));
    assert_eq!(numbers, [Some(1), Some(3)]);
}

#[test]
fn an_older_number_or_another_content_under_the_same_one_is_not_saved() {
    let (_folder, dir, scope) = open();
    dir.save(&scope, 7, b"seven").expect("saved");
    dir.save(&scope, 7, b"seven").expect("the same again is no change");
    for (n, bytes) in [(6, b"seven"), (7, b"other")] {
        let error = dir.save(&scope, n, bytes).expect_err("superseded");
        assert!(matches!(error, StateError::Superseded { stored: 7, .. }), "{error}");
    }
    assert_eq!(dir.load(&scope).expect("kept").bytes, b"seven");
}

#[test]
fn environments_do_not_meet_and_a_withdrawn_one_is_gone() {
    let (_folder, dir, production) = open();
    let staging = Scope::new("web", "staging");
    dir.save(&production, 1, b"p").expect("saved");
    dir.save(&staging, 9, b"s").expect("saved");
    assert_eq!(dir.scopes().expect("listed"), [production.clone(), staging.clone()]);
    dir.remove(&production).expect("removed");
    dir.remove(&production).expect("removing nothing is fine");
    assert_eq!(dir.scopes().expect("listed"), [staging]);
}

#[test]
fn opening_clears_what_a_killed_save_left() {
    let (folder, dir, scope) = open();
    dir.save(&scope, 1, b"one").expect("saved");
    let [path, _] = dir.paths(&scope);
    fs::write(temporary(&path), b"half").expect("writable");
    let dir = StateDir::open(folder.path().join("state")).expect("opened");
    assert!(!temporary(&path).exists());
    assert_eq!(number(&dir, &scope), Some(1));
}

#[test]
fn a_directory_that_is_a_file_is_an_error_that_names_it() {
    let file = tempfile::NamedTempFile::new().expect("a file for the test");
    let error = StateDir::open(file.path()).expect_err("not a directory");
    assert!(error.to_string().contains(file.path().to_str().expect("utf-8")), "{error}");
}

#[test]
fn only_the_owner_reads_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, dir, scope) = open();
    dir.save(&scope, 1, b"one").expect("saved");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(dir.path()), mode(&dir.paths(&scope)[0])), (DIR_MODE, FILE_MODE));
}

#[test]
fn room_is_told() {
    let (_folder, dir, _) = open();
    let space = dir.space().expect("told");
    assert!(space.total > 0 && space.free <= space.total);
}

fn head(number: u64) -> SnapshotHead {
    SnapshotHead {
        scope: admin_api::edge::Scope { app: "web".into(), environment: "production".into() },
        number,
        previous: String::new(),
        key_id: "0123456789abcdef".into(),
        signature: "ab".repeat(64),
        bucketing_key: admin_api::edge::BucketingSecret { id: "k1".into(), key: "00".repeat(16) },
    }
}

#[test]
fn a_signed_snapshot_is_found_with_its_head_and_any_broken_byte_gives_the_one_before() {
    let (_folder, dir, scope) = open();
    dir.save_signed(&scope, &head(1), b"old").expect("saved");
    dir.save_signed(&scope, &head(2), b"new").expect("saved");
    assert_eq!(dir.signed(&scope), [(head(2), b"new".to_vec()), (head(1), b"old".to_vec())]);
    let [_, newest] = dir.paths(&scope);
    let good = fs::read(&newest).expect("there");
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 0x20;
        fs::write(&newest, &bad).expect("writable");
        assert_eq!(dir.signed(&scope), [(head(1), b"old".to_vec())], "byte {i}");
    }
}

#[test]
fn what_came_from_a_file_is_no_predecessor_of_a_signed_snapshot() {
    let (_folder, dir, scope) = open();
    dir.save(&scope, 8, b"file").expect("saved");
    dir.save(&scope, 9, b"file").expect("saved");
    assert_eq!(dir.signed(&scope), []);
    dir.save_signed(&scope, &head(3), b"signed").expect("its number counts among signed ones only");
    assert_eq!(dir.signed(&scope), [(head(3), b"signed".to_vec())]);
    let error = dir.save_signed(&scope, &head(2), b"signed").expect_err("older");
    assert!(matches!(error, StateError::Superseded { stored: 3, .. }), "{error}");
}

#[test]
fn a_note_is_kept_whole_and_only_for_the_owner() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, dir, _) = open();
    assert_eq!(dir.noted("edge-id").expect("readable"), None);
    dir.note("edge-id", b"one").expect("kept");
    dir.note("edge-id", b"two").expect("kept");
    assert_eq!(dir.noted("edge-id").expect("readable").as_deref(), Some(&b"two"[..]));
    let mode = fs::metadata(dir.path().join("edge-id")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, FILE_MODE);
    assert_eq!(dir.scopes().expect("listed"), [], "a note is no snapshot");
}
