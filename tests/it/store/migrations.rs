//! The schema up, down and up again.

use std::collections::BTreeMap;

use admin::store::migrate::{Direction, State, Step, down, status, up};
use admin::store::{Kind, Object, ObjectId, Store, StoreError};
use tests::store::{commit, committed};

use super::Place;

fn versions(steps: &[Step], direction: Direction) -> Vec<i64> {
    assert!(steps.iter().all(|step| step.direction == direction), "{steps:?}");
    steps.iter().map(|step| step.version).collect()
}

async fn newest(place: &Place) -> i64 {
    status(&place.location).await.unwrap().last().expect("there are migrations").version
}

pub(super) async fn down_and_up_keep_the_schema_and_the_rows_of_what_stays(place: &Place) {
    let store = place.open().await;
    for _ in 0..3 {
        commit(&store).await.unwrap();
    }
    store.close().await;
    let (schema, newest) = (place.schema().await, newest(place).await);
    // Objects, publications and the audit are the first three.
    let undone = down(&place.location, 3, false).await.unwrap();
    assert_eq!(versions(&undone, Direction::Down), (4..=newest).rev().collect::<Vec<_>>());
    assert_ne!(place.schema().await, schema);
    let done = up(&place.location, None, false).await.unwrap();
    assert_eq!(versions(&done, Direction::Up), (4..=newest).collect::<Vec<_>>());
    assert_eq!(place.schema().await, schema);
    let store = place.open().await;
    assert_eq!(committed(&mut store.read().await.unwrap()).await, 3);
    assert_eq!(commit(&store).await.unwrap(), 4);
}

pub(super) async fn every_version_can_be_reached_from_every_other(place: &Place) {
    let states = status(&place.location).await.unwrap();
    assert!(states.iter().all(|state| state.state == State::Pending), "{states:?}");
    let mut schemas = BTreeMap::new();
    for version in 0..=states.last().unwrap().version {
        up(&place.location, Some(version), false).await.unwrap();
        schemas.insert(version, place.schema().await);
    }
    for (version, schema) in schemas.iter().rev() {
        down(&place.location, *version, false).await.unwrap();
        assert_eq!(place.schema().await, *schema, "down to {version}");
        up(&place.location, None, false).await.unwrap();
        assert_eq!(place.schema().await, *schemas.last_key_value().unwrap().1, "up from {version}");
        down(&place.location, *version, false).await.unwrap();
    }
    assert_eq!(commit(&place.open().await).await.unwrap(), 1, "opening brings it up");
    for wrong in [-1, 99] {
        let refused = up(&place.location, Some(wrong), false).await.unwrap_err();
        assert!(matches!(refused, StoreError::Migration { .. }), "{refused}");
        assert!(matches!(down(&place.location, wrong, false).await, Err(StoreError::Migration { .. })));
    }
}

pub(super) async fn a_dry_run_changes_nothing(place: &Place) {
    let newest = newest(place).await;
    let all = (1..=newest).collect::<Vec<_>>();
    assert_eq!(versions(&up(&place.location, None, true).await.unwrap(), Direction::Up), all);
    if place.folder.is_some() {
        assert!(!place.file().exists(), "not even the file");
    }
    up(&place.location, None, false).await.unwrap();
    let schema = place.schema().await;
    assert!(up(&place.location, None, true).await.unwrap().is_empty());
    let steps = down(&place.location, 0, true).await.unwrap();
    assert_eq!(versions(&steps, Direction::Down), all.into_iter().rev().collect::<Vec<_>>());
    assert_eq!(place.schema().await, schema);
    assert!(status(&place.location).await.unwrap().iter().all(|state| state.state == State::Applied));
}

pub(super) async fn a_newer_schema_is_refused(place: &Place) {
    place.open().await.close().await;
    place.execute(applied(99)).await.unwrap();
    let Err(refused) = Store::open(&place.location).await else { panic!("it opened") };
    assert!(matches!(refused, StoreError::Migration { version: Some(99), .. }), "{refused:?}");
    assert!(refused.to_string().contains("use the newer bascule"), "{refused}");
    for dry_run in [true, false] {
        assert!(matches!(up(&place.location, None, dry_run).await, Err(StoreError::Migration { .. })));
        assert!(matches!(down(&place.location, 0, dry_run).await, Err(StoreError::Migration { .. })));
    }
    let last = status(&place.location).await.unwrap().pop().unwrap();
    assert_eq!((last.version, last.state), (99, State::Unknown));
}

/// What a newer binary would leave behind.
fn applied(version: i64) -> String {
    format!(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT {version}, 'later', success, checksum, 1 FROM _sqlx_migrations WHERE version = 1"
    )
}

pub(super) async fn an_edited_migration_is_noticed(place: &Place) {
    let store = place.open().await;
    let id = ObjectId { app: "web".into(), kind: Kind::App, environment: String::new(), key: String::new() };
    let mut tx = store.write().await.unwrap();
    tx.put_object(&Object { id, revision: 1, document: "{}".into(), created_at: 1, updated_at: 1 }).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    let sql = "UPDATE _sqlx_migrations SET checksum = \
        (SELECT checksum FROM _sqlx_migrations WHERE version = 1) WHERE version = 2";
    place.execute(sql).await.unwrap();
    let Err(refused) = Store::open(&place.location).await else { panic!("it opened") };
    assert!(matches!(refused, StoreError::Migration { version: Some(2), .. }), "{refused:?}");
    assert_eq!(status(&place.location).await.unwrap()[1].state, State::Changed);
}
