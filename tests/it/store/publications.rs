//! Snapshots, withdrawals, and the keys of environments.

use admin::store::{EnvironmentKey, Publication, PublicationHead, StoreError};
use tests::store::publication;

use super::Place;

fn of(environment: &str, number: i64) -> Publication {
    let document = Some(format!("{{\"number\":{number}}}"));
    Publication { environment: environment.into(), ..publication(number, document) }
}

pub(super) async fn a_publication_gets_the_next_sequence(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    assert_eq!(tx.last_sequence().await.unwrap(), 0);
    let first = tx.publish(of("production", 1)).await.unwrap();
    let second = tx.publish(of("staging", 1)).await.unwrap();
    assert_eq!((first.sequence, second.sequence), (1, 2));
    assert_eq!(Publication { sequence: 0, ..first.clone() }, of("production", 1));
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    assert_eq!(read.last_sequence().await.unwrap(), 2);
    assert_eq!(read.snapshot("web", "production", 1).await.unwrap(), Some(first));
    assert_eq!(read.snapshot("web", "production", 2).await.unwrap(), None);
    assert_eq!(read.latest_snapshot("web", "staging").await.unwrap(), Some(second));
    assert_eq!(read.latest_snapshot("api", "staging").await.unwrap(), None);
}

pub(super) async fn a_number_is_published_once(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    tx.publish(of("production", 7)).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.write().await.unwrap();
    let twice = tx.publish(of("production", 7)).await.unwrap_err();
    assert!(matches!(twice, StoreError::Conflict(_)) && !twice.is_transient(), "{twice:?}");
    drop(tx);
    let mut tx = store.write().await.unwrap();
    assert_eq!(tx.publish(of("staging", 7)).await.unwrap().sequence, 2, "a refused one takes no sequence");
}

pub(super) async fn a_withdrawal_is_the_newest_publication(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    let snapshot = tx.publish(of("production", 1)).await.unwrap();
    let withdrawal = tx.publish(publication(1, None)).await.unwrap();
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    assert_eq!(read.latest_snapshot("web", "production").await.unwrap(), Some(withdrawal.clone()));
    assert_eq!(read.publications_after(0, 10).await.unwrap(), [withdrawal]);
    assert_eq!(read.snapshot("web", "production", 1).await.unwrap(), Some(snapshot));
}

pub(super) async fn heads_are_paged_newest_first(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    for number in 1..=5 {
        tx.publish(of("production", number)).await.unwrap();
        tx.publish(of("staging", number)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    let numbers = |heads: &[PublicationHead]| heads.iter().map(|head| head.number).collect::<Vec<_>>();
    let first = read.snapshots("web", "production", None, 2).await.unwrap();
    assert_eq!(numbers(&first), [5, 4]);
    let sound = of("production", 5);
    assert_eq!(first[0].bytes, i64::try_from(sound.document.unwrap().len()).unwrap());
    assert_eq!((&first[0].sha256, &first[0].key_id, first[0].audit), (&sound.sha256, &sound.key_id, sound.audit));
    assert_eq!(numbers(&read.snapshots("web", "production", Some(4), 9).await.unwrap()), [3, 2, 1]);
    assert!(read.snapshots("web", "production", Some(1), 9).await.unwrap().is_empty());
}

pub(super) async fn who_catches_up_gets_the_newest_of_each_environment(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    for (environment, number) in [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2), ("a", 3)] {
        tx.publish(of(environment, number)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    let mut after = async |sequence, limit| {
        let found = read.publications_after(sequence, limit).await.unwrap();
        found.into_iter().map(|p| (p.sequence, p.environment, p.number)).collect::<Vec<_>>()
    };
    let all = [(4, "c".to_owned(), 1), (5, "b".to_owned(), 2), (6, "a".to_owned(), 3)];
    assert_eq!(after(0, 10).await, all);
    assert_eq!(after(0, 2).await, all[..2]);
    assert_eq!(after(5, 10).await, all[2..]);
    assert!(after(6, 10).await.is_empty());
}

pub(super) async fn a_document_of_thirty_mebibytes_is_kept(place: &Place) {
    let store = place.open().await;
    let large: String = (0..).map(|line| format!("{line:032x}")).take(30 * 1024 * 1024 / 32).collect();
    let mut tx = store.write().await.unwrap();
    tx.publish(publication(1, Some(large.clone()))).await.unwrap();
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    let found = read.latest_snapshot("web", "production").await.unwrap().unwrap();
    assert!(found.document.as_deref() == Some(&large));
    assert_eq!(read.snapshots("web", "production", None, 1).await.unwrap()[0].bytes, 30 * 1024 * 1024);
}

pub(super) async fn keys_of_environments_are_kept(place: &Place) {
    let store = place.open().await;
    let key = |environment: &str, id: &str| EnvironmentKey {
        app: "web".into(),
        environment: environment.into(),
        id: id.into(),
        key: "0123456789abcdef0123456789abcdef".into(),
    };
    let mut tx = store.write().await.unwrap();
    for one in [key("staging", "k2"), key("production", "k1"), key("production", "k3")] {
        tx.put_environment_key(&one).await.unwrap();
    }
    assert_eq!(tx.environment_keys().await.unwrap(), [key("production", "k3"), key("staging", "k2")]);
    tx.delete_environment_key("web", "staging").await.unwrap();
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    assert_eq!(read.environment_key("web", "staging").await.unwrap(), None);
    let found = read.environment_key("web", "production").await.unwrap().unwrap();
    assert_eq!(found, key("production", "k3"));
    assert!(!format!("{found:?}").contains("0123456789abcdef"));
}
