//! Commits whose rows say of themselves whether they are whole, for the tests that kill a writer.

use admin::store::{Kind, NewAudit, Object, ObjectId, Publication, Store, StoreError, View};
use sha2::{Digest as _, Sha256};

/// The document of the N-th commit: long enough that a write of it can be cut.
pub fn document(number: i64) -> String {
    format!("{{\"number\":{number},\"fill\":\"{}\"}}", format!("{number:08}").repeat(4096))
}

/// Where the object of all these commits is.
pub fn id() -> ObjectId {
    ObjectId { app: "web".into(), kind: Kind::Flag, environment: String::new(), key: "new-checkout".into() }
}

/// An audit entry that means nothing.
pub fn entry(at: i64) -> NewAudit {
    NewAudit {
        at,
        actor: "system".into(),
        actor_name: "system".into(),
        app: "web".into(),
        environment: "production".into(),
        operation: "updateFlag".into(),
        subject: "flags/new-checkout".into(),
        reason: String::new(),
        request_id: format!("request-{at}"),
        changes: "{}".into(),
    }
}

/// A snapshot with this document.
pub fn publication(number: i64, document: Option<String>) -> Publication {
    let sha256 = document.as_ref().map(|text| hex(text)).unwrap_or_default();
    Publication {
        sequence: 0,
        app: "web".into(),
        environment: "production".into(),
        number,
        created_at: number,
        document,
        sha256,
        previous: String::new(),
        key_id: "key-1".into(),
        signature: "00".into(),
        audit: number,
    }
}

/// The SHA-256 of a text.
pub fn hex(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// One change, its audit entry and its snapshot, as a use-case does it; answers its number.
pub async fn commit(store: &Store) -> Result<i64, StoreError> {
    let mut tx = store.write().await?;
    let number = tx.next_revision().await?;
    let document = document(number);
    let object = Object { id: id(), revision: number, document: document.clone(), created_at: 1, updated_at: number };
    tx.put_object(&object).await?;
    let audit = tx.append_audit(entry(number)).await?;
    assert_eq!(audit.sequence, number, "the audit and the revisions go together");
    tx.publish(publication(number, Some(document))).await?;
    tx.commit().await?;
    Ok(number)
}

/// How many of these commits the store holds, each of them whole.
pub async fn committed(view: &mut View) -> i64 {
    let revision = view.app_revision("web").await.expect("readable");
    let verdict = view.verify_audit(None).await.expect("readable");
    assert_eq!((verdict.entries, verdict.broken), (revision, None));
    assert_eq!(view.last_sequence().await.expect("readable"), revision);
    let object = view.object(&id()).await.expect("readable");
    assert_eq!(object.map(|object| object.document), (revision > 0).then(|| document(revision)));
    for number in 1..=revision {
        let snapshot = view.snapshot("web", "production", number).await.expect("readable").expect("it was published");
        assert_eq!(snapshot.sha256, hex(&document(number)), "snapshot {number}");
        assert_eq!(snapshot.document, Some(document(number)), "snapshot {number}");
    }
    assert_eq!(view.snapshot("web", "production", revision + 1).await.expect("readable"), None);
    revision
}
