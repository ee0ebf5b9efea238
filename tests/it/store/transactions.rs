//! What a transaction promises to itself and to others.

use std::time::Duration;

use admin::store::StoreError;
use tests::store::{commit, committed, entry, publication};

use super::Place;

pub(super) async fn a_dropped_transaction_leaves_nothing(place: &Place) {
    let store = place.open().await;
    commit(&store).await.unwrap();
    for _ in 0..3 {
        let mut tx = store.write().await.unwrap();
        tx.next_revision().await.unwrap();
        tx.append_audit(entry(9)).await.unwrap();
        tx.publish(publication(2, Some("{}".into()))).await.unwrap();
        drop(tx);
    }
    assert_eq!(commit(&store).await.unwrap(), 2);
    assert_eq!(committed(&mut store.read().await.unwrap()).await, 2);
}

pub(super) async fn a_transaction_in_which_something_failed_cannot_be_committed(place: &Place) {
    let store = place.open().await;
    commit(&store).await.unwrap();
    let mut tx = store.write().await.unwrap();
    tx.append_audit(entry(2)).await.unwrap();
    let twice = tx.publish(publication(1, Some("{}".into()))).await.unwrap_err();
    assert!(matches!(twice, StoreError::Conflict(_)), "{twice:?}");
    assert!(matches!(tx.last_sequence().await, Err(StoreError::Conflict(_))));
    assert!(matches!(tx.commit().await, Err(StoreError::Conflict(_))));
    assert_eq!(commit(&store).await.unwrap(), 2);
    assert_eq!(committed(&mut store.read().await.unwrap()).await, 2);
}

pub(super) async fn readers_see_no_uncommitted_state_and_keep_their_view(place: &Place) {
    let store = place.open().await;
    commit(&store).await.unwrap();
    let mut before = store.read().await.unwrap();
    assert_eq!(before.app_revision("web").await.unwrap(), 1);
    let mut tx = store.write().await.unwrap();
    tx.next_revision().await.unwrap();
    tx.publish(publication(2, Some("{}".into()))).await.unwrap();
    assert_eq!(store.read().await.unwrap().last_sequence().await.unwrap(), 1, "not before it is committed");
    tx.commit().await.unwrap();
    assert_eq!(before.last_sequence().await.unwrap(), 1, "a view does not change");
    assert_eq!(store.read().await.unwrap().last_sequence().await.unwrap(), 2);
}

pub(super) async fn a_writer_reads_what_it_wrote(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    tx.append_audit(entry(1)).await.unwrap();
    tx.append_audit(entry(2)).await.unwrap();
    assert_eq!(tx.audit_after(0, 10).await.unwrap().len(), 2);
    assert_eq!(tx.verify_audit(None).await.unwrap().entries, 2);
}

pub(super) async fn concurrent_writers_are_serial(place: &Place) {
    let one = place.open().await;
    // PostgreSQL has a second process; a file has only this one.
    let other = if one.is_shared() { place.open().await } else { one.clone() };
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = if task % 2 == 0 { one.clone() } else { other.clone() };
            tokio::spawn(async move {
                for _ in 0..10 {
                    commit(&store).await.expect("its turn comes");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(committed(&mut one.read().await.unwrap()).await, 80);
}

pub(super) async fn a_writer_that_is_given_up_blocks_nobody(place: &Place) {
    let store = place.open().await;
    for micros in (0..60).map(|round| round * 50) {
        // Wherever it is then: waiting, beginning, in the middle of a statement, committing.
        let _ = tokio::time::timeout(Duration::from_micros(micros), commit(&store)).await;
    }
    let held = store.write().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), store.write()).await.is_err(), "one at a time");
    drop(held);
    let number = commit(&store).await.unwrap();
    assert_eq!(committed(&mut store.read().await.unwrap()).await, number);
}

pub(super) async fn health_is_a_real_read(place: &Place) {
    let store = place.open().await;
    store.ping().await.unwrap();
    let _writing = store.write().await.unwrap();
    store.ping().await.expect("it waits for no writer");
    if store.is_shared() {
        // SQLite lets nobody change a table while somebody writes.
        place.execute("ALTER TABLE counters RENAME TO elsewhere").await.unwrap();
        assert!(store.ping().await.is_err(), "it noticed");
    }
}

pub(super) async fn a_closed_store_is_not_available(place: &Place) {
    let store = place.open().await;
    let clone = store.clone();
    store.close().await;
    assert!(matches!(clone.write().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(clone.ping().await, Err(StoreError::Unavailable(_))));
    place.open().await.ping().await.expect("it can be opened again");
}
