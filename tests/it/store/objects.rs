//! Objects and the revisions of apps.

use admin::store::{Kind, Object, ObjectId, StoreError};

use super::Place;

fn id(app: &str, kind: Kind, environment: &str, key: &str) -> ObjectId {
    ObjectId { app: app.into(), kind, environment: environment.into(), key: key.into() }
}

fn object(id: ObjectId, revision: i64) -> Object {
    let document = format!("{{\"key\":\"{} – Ä'\\\"\"}}", id.key);
    Object { id, revision, document, created_at: 10 + revision, updated_at: 20 + revision }
}

pub(super) async fn an_object_is_read_as_it_was_put(place: &Place) {
    let store = place.open().await;
    let id = id("web", Kind::Flag, "", "new-checkout");
    let mut tx = store.write().await.unwrap();
    assert_eq!(tx.object(&id).await.unwrap(), None);
    let first = object(id.clone(), tx.next_revision().await.unwrap());
    tx.put_object(&first).await.unwrap();
    assert_eq!(tx.object(&id).await.unwrap(), Some(first));
    let second = Object { document: "{}".into(), ..object(id.clone(), tx.next_revision().await.unwrap()) };
    tx.put_object(&second).await.unwrap();
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    assert_eq!(read.object(&id).await.unwrap(), Some(second));
    for other in [ObjectId { kind: Kind::Segment, ..id.clone() }, ObjectId { environment: "staging".into(), ..id }] {
        assert_eq!(read.object(&other).await.unwrap(), None);
    }
}

pub(super) async fn objects_of_an_app_are_ordered_by_id(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    for kind in Kind::ALL.into_iter().rev() {
        for (environment, key) in [("staging", "b"), ("", "é"), ("staging", "B"), ("production", "z")] {
            tx.put_object(&object(id("web", kind, environment, key), 1)).await.unwrap();
        }
    }
    tx.put_object(&object(id("other", Kind::Flag, "", "a"), 1)).await.unwrap();
    tx.commit().await.unwrap();
    let ids: Vec<ObjectId> =
        store.read().await.unwrap().objects("web").await.unwrap().into_iter().map(|object| object.id).collect();
    assert_eq!(ids.len(), Kind::ALL.len() * 4);
    assert!(ids.is_sorted(), "{ids:?}");
    assert!(store.read().await.unwrap().objects("nobody").await.unwrap().is_empty());
}

pub(super) async fn objects_of_a_kind_are_paged_by_key(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    // By bytes: capitals first, what is not ASCII last, whatever the language of the server.
    let keys = ["B", "a", "a-1", "a_1", "b", "z", "é"];
    for key in keys.into_iter().rev() {
        tx.put_object(&object(id("web", Kind::Targeting, "production", key), 1)).await.unwrap();
        tx.put_object(&object(id("web", Kind::Targeting, "staging", key), 1)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let (mut seen, mut after) = (Vec::new(), String::new());
    let mut read = store.read().await.unwrap();
    loop {
        let page = read.objects_of("web", Kind::Targeting, "production", &after, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after.clone_from(&last.id.key);
        seen.extend(page.into_iter().map(|object| object.id.key));
    }
    assert_eq!(seen, keys);
}

pub(super) async fn apps_are_listed_by_name(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    for app in ["web", "api", "shop"] {
        tx.put_object(&object(id(app, Kind::App, "", ""), 1)).await.unwrap();
        tx.put_object(&object(id(app, Kind::Flag, "", "aaa"), 1)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    let names = |page: Vec<Object>| page.into_iter().map(|object| object.id.app).collect::<Vec<_>>();
    assert_eq!(names(read.objects_of("", Kind::App, "", "", 2).await.unwrap()), ["api", "shop"]);
    assert_eq!(names(read.objects_of("", Kind::App, "", "shop", 2).await.unwrap()), ["web"]);
}

pub(super) async fn the_revision_of_an_app_knows_deletions(place: &Place) {
    let store = place.open().await;
    let flag = id("web", Kind::Flag, "", "a");
    let mut tx = store.write().await.unwrap();
    assert_eq!(tx.app_revision("web").await.unwrap(), 0);
    assert_eq!(tx.next_revision().await.unwrap(), 1);
    tx.put_object(&object(flag.clone(), 1)).await.unwrap();
    assert_eq!(tx.app_revision("web").await.unwrap(), 1);
    assert_eq!(tx.next_revision().await.unwrap(), 2);
    tx.delete_object(&flag, 2).await.unwrap();
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    assert_eq!((read.object(&flag).await.unwrap(), read.app_revision("web").await.unwrap()), (None, 2));
    assert_eq!(read.app_revision("api").await.unwrap(), 0);
    drop(read);
    let mut tx = store.write().await.unwrap();
    assert_eq!(tx.next_revision().await.unwrap(), 3, "the revision goes on after a commit");
    tx.put_object(&object(flag, 1)).await.unwrap();
    assert_eq!(tx.app_revision("web").await.unwrap(), 2, "it never falls");
}

pub(super) async fn a_text_with_a_nul_is_refused(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    let refused = tx.put_object(&object(id("web", Kind::Flag, "", "a\0b"), 1)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
}
