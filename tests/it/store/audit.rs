//! The audit: what it answers, and that nobody changes it unnoticed.

use admin::store::{Audit, AuditFilter, AuditVerdict, NewAudit, Store};
use tests::store::entry;

use super::Place;

const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A store with this many entries.
async fn filled(place: &Place, entries: i64) -> (Store, Vec<Audit>) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    let mut written = Vec::new();
    for at in 1..=entries {
        written.push(tx.append_audit(entry(at)).await.unwrap());
    }
    tx.commit().await.unwrap();
    (store, written)
}

pub(super) async fn entries_form_a_chain(place: &Place) {
    let store = place.open().await;
    let empty = store.read().await.unwrap().verify_audit(Some((0, NOTHING))).await.unwrap();
    assert_eq!(empty, AuditVerdict { entries: 0, head: NOTHING.into(), broken: None });
    let (store, written) = filled(place_of(store, place).await, 3).await;
    assert_eq!(written.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(written[0].previous, NOTHING);
    assert_eq!((&written[1].previous, &written[2].previous), (&written[0].hash, &written[1].hash));
    let mut read = store.read().await.unwrap();
    assert_eq!(read.audit_after(0, 10).await.unwrap(), written);
    let verdict = AuditVerdict { entries: 3, head: written[2].hash.clone(), broken: None };
    assert_eq!(read.verify_audit(None).await.unwrap(), verdict);
    for noted in [(0, NOTHING), (2, written[1].hash.as_str()), (3, written[2].hash.as_str())] {
        assert_eq!(read.verify_audit(Some(noted)).await.unwrap(), verdict, "{noted:?}");
    }
}

/// The place again, after its store was closed.
async fn place_of(store: Store, place: &Place) -> &Place {
    store.close().await;
    place
}

pub(super) async fn entries_are_found_by_each_filter(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    let entries = [
        NewAudit { app: "api".into(), ..entry(1) },
        NewAudit { environment: "staging".into(), ..entry(2) },
        NewAudit { actor: "tok_7".into(), ..entry(3) },
        NewAudit { operation: "rollBack".into(), ..entry(4) },
        NewAudit { subject: "flags/new".into(), ..entry(5) },
        NewAudit { subject: "flags/other".into(), ..entry(6) },
        NewAudit { subject: "segments/new-checkout".into(), ..entry(7) },
    ];
    for entry in entries {
        tx.append_audit(entry).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    let some = |text: &str| Some(text.to_owned());
    let all = AuditFilter::default();
    for (filter, expected) in [
        (all.clone(), vec![7, 6, 5, 4, 3, 2, 1]),
        (AuditFilter { app: some("api"), ..all.clone() }, vec![1]),
        (AuditFilter { environment: some("staging"), ..all.clone() }, vec![2]),
        (AuditFilter { actor: some("tok_7"), ..all.clone() }, vec![3]),
        (AuditFilter { operation: some("rollBack"), ..all.clone() }, vec![4]),
        (AuditFilter { subject: some("flags/new"), ..all.clone() }, vec![5, 4, 3, 2, 1]),
        (AuditFilter { subject: some("flags/"), ..all.clone() }, vec![6, 5, 4, 3, 2, 1]),
        (AuditFilter { request_id: some("request-6"), ..all.clone() }, vec![6]),
        (AuditFilter { app: some("web"), subject: some("segments/"), ..all.clone() }, vec![7]),
        (AuditFilter { app: some("api"), subject: some("segments/"), ..all }, vec![]),
    ] {
        let found = read.audit(&filter, None, 100).await.unwrap();
        assert_eq!(found.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), expected, "{filter:?}");
    }
}

pub(super) async fn entries_are_paged_in_both_directions(place: &Place) {
    let (store, written) = filled(place, 5).await;
    let mut read = store.read().await.unwrap();
    let all = AuditFilter::default();
    let newest = read.audit(&all, None, 2).await.unwrap();
    assert_eq!(newest, [written[4].clone(), written[3].clone()]);
    let older = read.audit(&all, Some(4), 10).await.unwrap();
    assert_eq!(older, [written[2].clone(), written[1].clone(), written[0].clone()]);
    assert_eq!(read.audit_after(1, 2).await.unwrap(), written[1..3]);
    assert_eq!(read.audit_after(3, 9).await.unwrap(), written[3..]);
    assert!(read.audit_after(5, 9).await.unwrap().is_empty());
}

pub(super) async fn entries_cannot_be_changed_or_deleted(place: &Place) {
    let (store, written) = filled(place, 2).await;
    let mut attempts =
        vec!["UPDATE audit SET reason = 'x'", "DELETE FROM audit WHERE sequence = 2", "DELETE FROM audit"];
    if store.is_shared() {
        attempts.push("TRUNCATE audit");
    }
    for sql in attempts {
        let error = place.execute(sql).await.expect_err(sql);
        assert!(error.to_string().contains("the audit only grows"), "{sql}: {error}");
    }
    assert_eq!(store.read().await.unwrap().audit_after(0, 9).await.unwrap(), written);
}

/// Changes the audit as somebody who may do everything with the database, and verifies it.
async fn tampered(place: &Place, store: &Store, sql: &str, noted: Option<(i64, &str)>) -> AuditVerdict {
    let triggers = ["audit_is_not_changed", "audit_is_not_shortened"];
    for trigger in triggers {
        let table = if store.is_shared() { " ON audit" } else { "" };
        place.execute(format!("DROP TRIGGER {trigger}{table}")).await.unwrap();
    }
    place.execute(sql).await.unwrap();
    store.read().await.unwrap().verify_audit(noted).await.unwrap()
}

/// The entry that a verdict names, which follows those that are good.
#[track_caller]
fn named(verdict: &AuditVerdict, written: &[Audit]) -> i64 {
    let broken = verdict.broken.as_ref().expect("it is noticed");
    assert_eq!(verdict.entries, broken.sequence - 1, "{broken:?}");
    let last_good = usize::try_from(verdict.entries).unwrap().checked_sub(1);
    if let (Some(last), false) = (last_good, broken.why.contains("anew")) {
        assert_eq!(verdict.head, written[last].hash);
    }
    broken.sequence
}

pub(super) async fn a_changed_field_is_found(place: &Place) {
    // More than one page of them.
    let (store, written) = filled(place, 600).await;
    let texts =
        ["actor", "actor_name", "app", "environment", "operation", "subject", "reason", "request_id", "changes"];
    let mut sql = "UPDATE audit SET at = at + 1 WHERE sequence = 599;".to_owned();
    let verdict = tampered(place, &store, &sql, None).await;
    assert_eq!(named(&verdict, &written), 599);
    for (field, sequence) in texts.iter().zip((500..).step_by(3).map(|up| 1098 - up)) {
        sql = format!("UPDATE audit SET {field} = {field} || 'x' WHERE sequence = {sequence}");
        place.execute(&sql).await.unwrap();
        let verdict = store.read().await.unwrap().verify_audit(None).await.unwrap();
        assert_eq!(named(&verdict, &written), sequence, "{field}");
    }
}

pub(super) async fn a_changed_hash_is_found(place: &Place) {
    let (store, written) = filled(place, 4).await;
    let sql = "UPDATE audit SET hash = replace(hash, substr(hash, 1, 1), 'x') WHERE sequence = 3";
    assert_eq!(named(&tampered(place, &store, sql, None).await, &written), 3);
    let sql = "UPDATE audit SET previous = hash WHERE sequence = 2";
    place.execute(sql).await.unwrap();
    assert_eq!(named(&store.read().await.unwrap().verify_audit(None).await.unwrap(), &written), 2);
}

pub(super) async fn a_deleted_entry_is_found(place: &Place) {
    let (store, written) = filled(place, 4).await;
    let verdict = tampered(place, &store, "DELETE FROM audit WHERE sequence = 3", None).await;
    assert_eq!(named(&verdict, &written), 3);
    place.execute("DELETE FROM audit WHERE sequence = 1").await.unwrap();
    assert_eq!(named(&store.read().await.unwrap().verify_audit(None).await.unwrap(), &written), 1);
}

pub(super) async fn exchanged_entries_are_found(place: &Place) {
    let (store, written) = filled(place, 4).await;
    let sql = "UPDATE audit SET sequence = -1 WHERE sequence = 2; UPDATE audit SET sequence = 2 WHERE sequence = 3; \
        UPDATE audit SET sequence = 3 WHERE sequence = -1";
    assert_eq!(named(&tampered(place, &store, sql, None).await, &written), 2);
}

pub(super) async fn a_chain_cut_short_is_found(place: &Place) {
    let (store, written) = filled(place, 4).await;
    let verdict = tampered(place, &store, "DELETE FROM audit WHERE sequence > 2", None).await;
    assert_eq!(named(&verdict, &written), 3);
    // Whoever cuts the head too is found only by a head that was noted elsewhere.
    let sql = format!("UPDATE audit_head SET sequence = 2, hash = '{}'", written[1].hash);
    place.execute(sql).await.unwrap();
    let mut read = store.read().await.unwrap();
    assert_eq!(read.verify_audit(None).await.unwrap().broken, None);
    assert_eq!(named(&read.verify_audit(Some((4, &written[3].hash))).await.unwrap(), &written), 3);
}

pub(super) async fn a_chain_written_anew_is_found_by_a_noted_head(place: &Place) {
    let (store, written) = filled(place, 4).await;
    let sql = "DELETE FROM audit WHERE sequence > 2";
    tampered(place, &store, sql, None).await;
    let sql = format!("UPDATE audit_head SET sequence = 2, hash = '{}'", written[1].hash);
    place.execute(sql).await.unwrap();
    let mut tx = store.write().await.unwrap();
    for at in 3..=5 {
        tx.append_audit(NewAudit { reason: "another story".into(), ..entry(at) }).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    assert_eq!(read.verify_audit(None).await.unwrap().broken, None);
    assert_eq!(read.verify_audit(Some((2, &written[1].hash))).await.unwrap().broken, None);
    assert_eq!(named(&read.verify_audit(Some((4, &written[3].hash))).await.unwrap(), &written), 4);
}

pub(super) async fn a_changed_or_missing_head_is_found(place: &Place) {
    let (store, written) = filled(place, 3).await;
    for (sql, sequence) in [
        ("UPDATE audit_head SET hash = 'ff'", 3),
        ("UPDATE audit_head SET sequence = 1", 2),
        ("UPDATE audit_head SET sequence = 9", 4),
        ("DELETE FROM audit_head", 4),
    ] {
        place.execute(sql).await.unwrap();
        let verdict = store.read().await.unwrap().verify_audit(None).await.unwrap();
        let broken = verdict.broken.as_ref().expect(sql);
        assert_eq!((broken.sequence, verdict.entries), (sequence, sequence - 1), "{sql}: {broken:?} {}", written.len());
    }
}
