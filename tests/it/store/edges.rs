//! Edges, their reports and their counters.

use admin::store::{RosterRow, Usage, UsageDelta};

use super::Place;

pub(super) async fn rosters_are_replaced_and_deleted(place: &Place) {
    let store = place.open().await;
    let roster =
        |process: &str, beat| RosterRow { process: process.into(), beat, document: format!("{{\"at\":{beat}}}") };
    let mut tx = store.write().await.unwrap();
    for one in [roster("b", 1), roster("a", 2), roster("b", 3)] {
        tx.put_roster(&one).await.unwrap();
    }
    assert_eq!(tx.rosters().await.unwrap(), [roster("a", 2), roster("b", 3)]);
    tx.delete_roster("a").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.read().await.unwrap().rosters().await.unwrap(), [roster("b", 3)]);
}

pub(super) async fn a_report_is_accepted_once(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    let day = 24 * 60 * 60 * 1000;
    for (edge, boot, sequence, at, is_new) in [
        ("a", "x", 1, 0, true),
        ("a", "x", 1, 1, false),
        ("a", "x", 3, 2, true),
        ("a", "x", 2, 3, false),
        ("b", "x", 2, 4, true),
        ("a", "y", 1, day, true),
        // A late one of the boot before.
        ("a", "x", 3, day, false),
        ("a", "x", 4, day, true),
        ("a", "z", 1, 9 * day, true),
        ("a", "z", 1, 9 * day, false),
        ("a", "x", 4, 9 * day, false),
    ] {
        assert_eq!(tx.accept_report(edge, boot, sequence, at).await.unwrap(), is_new, "{edge} {boot} {sequence}");
    }
    tx.commit().await.unwrap();
    let mut tx = store.write().await.unwrap();
    assert!(!tx.accept_report("b", "x", 2, 9 * day).await.unwrap());
    // Of any edge: many boots that report once are not kept for ever.
    assert_eq!(tx.forget_reports(2 * day).await.unwrap(), 3);
    assert!(!tx.accept_report("a", "z", 1, 9 * day).await.unwrap());
    assert!(tx.accept_report("b", "x", 2, 9 * day).await.unwrap());
}

fn delta(environment: &str, key: &str, variant: &str, count: i64) -> UsageDelta {
    UsageDelta {
        app: "web".into(),
        environment: environment.into(),
        kind: "flag".into(),
        key: key.into(),
        variant: variant.into(),
        count,
    }
}

fn usage(key: &str, variant: &str, count: i64, last_at: i64) -> Usage {
    Usage { kind: "flag".into(), key: key.into(), variant: variant.into(), count, last_at }
}

pub(super) async fn counters_add_up(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    let first =
        [delta("p", "b", "on", 2), delta("p", "a", "on", 1), delta("p", "a", "off", 5), delta("s", "a", "on", 9)];
    tx.add_usage(&first, 100).await.unwrap();
    tx.add_usage(&[delta("p", "a", "on", 10), delta("p", "a", "on", 20)], 90).await.unwrap();
    tx.add_usage(&[], 300).await.unwrap();
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    let expected = [usage("a", "off", 5, 100), usage("a", "on", 31, 100), usage("b", "on", 2, 100)];
    assert_eq!(read.usage("web", "p").await.unwrap(), expected);
    assert_eq!(read.usage("web", "s").await.unwrap(), [usage("a", "on", 9, 100)]);
    assert!(read.usage("api", "p").await.unwrap().is_empty());
}

pub(super) async fn counters_take_many_and_stay_at_the_largest_number(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    let many: Vec<UsageDelta> = (0..203).map(|key| delta("p", &format!("{key:03}"), "on", key)).collect();
    for at in 1..=2 {
        tx.add_usage(&many, at).await.unwrap();
    }
    let expected: Vec<Usage> = (0..203).map(|key| usage(&format!("{key:03}"), "on", 2 * key, 2)).collect();
    assert_eq!(tx.usage("web", "p").await.unwrap(), expected);
    for at in 3..=4 {
        tx.add_usage(&[delta("s", "a", "on", i64::MAX), delta("s", "b", "on", -7)], at).await.unwrap();
    }
    assert_eq!(tx.usage("web", "s").await.unwrap(), [usage("a", "on", i64::MAX, 4), usage("b", "on", 0, 4)]);
}
