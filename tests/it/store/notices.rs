//! Notices, within a process and between processes.

use std::time::Duration;

use admin::store::{Notice, Store, StoreError};
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

use super::{Place, run};

fn notice(number: i64) -> Notice {
    Notice { topic: "publications".into(), body: json!({ "sequence": number }) }
}

/// The next notice that says something.
async fn next(receiver: &mut Receiver<Notice>) -> Notice {
    loop {
        let received = timeout(Duration::from_secs(20), receiver.recv()).await.expect("in time").expect("it goes on");
        if !received.is_lagged() {
            return received;
        }
    }
}

/// Waits for the word that something may have been missed: from then on everything arrives.
async fn lagged(receiver: &mut Receiver<Notice>) {
    let found = async { while !receiver.recv().await.expect("it goes on").is_lagged() {} };
    timeout(Duration::from_secs(20), found).await.expect("in time");
}

/// An open store, and what it hears.
async fn listening(place: &Place) -> (Store, Receiver<Notice>) {
    let store = place.open().await;
    let mut receiver = store.notices();
    if store.is_shared() {
        lagged(&mut receiver).await;
    }
    (store, receiver)
}

pub(super) async fn a_notice_reaches_this_process(place: &Place) {
    let (store, mut receiver) = listening(place).await;
    let mut second = store.notices();
    for number in 1..=3 {
        store.notify(&notice(number)).await.unwrap();
    }
    for number in 1..=3 {
        assert_eq!(next(&mut receiver).await, notice(number));
        assert_eq!(next(&mut second).await, notice(number));
    }
}

pub(super) async fn a_large_notice_is_refused(place: &Place) {
    let (store, mut receiver) = listening(place).await;
    let of = |length: usize| Notice { topic: "t".into(), body: json!("x".repeat(length)) };
    let refused = store.notify(&of(7900)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
    let largest = 7899 - serde_json::to_string(&of(0)).unwrap().len();
    store.notify(&of(largest)).await.unwrap();
    assert_eq!(next(&mut receiver).await, of(largest));
}

#[test]
fn a_notice_reaches_every_process_on_postgres() {
    run(Place::postgres(), async |place: &Place| {
        let (one, mut first) = listening(place).await;
        let (other, mut second) = listening(place).await;
        one.notify(&notice(1)).await.unwrap();
        assert_eq!((next(&mut first).await, next(&mut second).await), (notice(1), notice(1)));
        other.notify(&notice(2)).await.unwrap();
        assert_eq!((next(&mut first).await, next(&mut second).await), (notice(2), notice(2)));
        let elsewhere = Place::postgres();
        let (third, _) = listening(&elsewhere).await;
        third.notify(&notice(3)).await.unwrap();
        one.notify(&notice(4)).await.unwrap();
        assert_eq!(next(&mut second).await, notice(4), "another database is another installation");
    });
}

#[test]
fn who_loses_the_connection_is_told_that_notices_may_be_missing() {
    run(Place::postgres(), async |place: &Place| {
        let (store, mut receiver) = listening(place).await;
        for number in 1..=2 {
            let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
            place.execute(others).await.unwrap();
            lagged(&mut receiver).await;
            store.notify(&notice(number)).await.expect("the pools come back as well");
            assert_eq!(next(&mut receiver).await, notice(number));
        }
        tests::store::commit(&store).await.expect("and the writer");
    });
}
