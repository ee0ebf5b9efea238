//! How objects of an app are shown, listed and changed: what all of their resources share.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::error::Failure;
use super::operation::IfMatch;
use super::reply::Reply;
use crate::ids;
use crate::model::diff::diff;
use crate::model::{App, At, Edit, Entry, ObjectChange};
use crate::service::{Committed, ServiceError};
use crate::store::{Kind, Object};

/// An object with its key and meta data.
pub(super) fn shown(key: &str, entry: &Entry) -> Value {
    with_meta(key, &entry.document, entry.revision, entry.created_at, entry.updated_at)
}

fn with_meta(key: &str, document: &Value, revision: i64, created_at: i64, updated_at: i64) -> Value {
    let mut object = document.as_object().cloned().unwrap_or_default();
    object.insert("key".to_owned(), key.into());
    object.insert("revision".to_owned(), revision.into());
    object.insert("createdAt".to_owned(), ids::rfc3339(created_at).into());
    object.insert("updatedAt".to_owned(), ids::rfc3339(updated_at).into());
    Value::Object(object)
}

/// A row as its object is shown.
pub(super) fn row(row: &Object) -> Value {
    let document = serde_json::from_str(&row.document).unwrap_or(Value::Null);
    let key = if row.id.kind == Kind::App { &row.id.app } else { &row.id.key };
    with_meta(key, &document, row.revision, row.created_at, row.updated_at)
}

/// One object, or 404.
pub(super) async fn get(call: &Call, at: &At, key: &str, what: &'static str) -> Result<Reply, Failure> {
    let mut tx = call.shared.control.store.read().await?;
    let found = tx.object(&at.in_app(call.param("app"))).await?;
    let found = found.ok_or_else(|| ServiceError::not_found(what, key))?;
    Ok(Reply::ok(&row(&found)).etag(found.revision))
}

/// A part of the objects of a kind.
pub(super) async fn list(
    call: &Call,
    kind: Kind,
    environment: &str,
    keep: impl Fn(&Value) -> bool,
) -> Result<Reply, Failure> {
    let app = if kind == Kind::App { "" } else { call.param("app") };
    let mut tx = call.shared.control.store.read().await?;
    if kind != Kind::App && tx.object(&At::app().in_app(app)).await?.is_none() {
        return Err(ServiceError::not_found("app", app).into());
    }
    let (limit, mut after) = (call.limit() as usize, call.cursor()?);
    let mut items = Vec::new();
    loop {
        let page = tx.objects_of(app, kind, environment, &after, 200).await?;
        let is_last = page.len() < 200;
        for found in &page {
            after.clone_from(if kind == Kind::App { &found.id.app } else { &found.id.key });
            let shown = row(found);
            if keep(&shown) {
                items.push((after.clone(), shown));
            }
            if items.len() > limit {
                break;
            }
        }
        if is_last || items.len() > limit {
            break;
        }
    }
    // One more than wanted says that there is more.
    let more = (items.len() > limit).then(|| items.truncate(limit));
    let next = more.and_then(|()| items.last()).map(|(key, _)| Call::cursor_after(key));
    let items: Vec<Value> = items.into_iter().map(|(_, item)| item).collect();
    let mut page = Map::from_iter([("items".to_owned(), Value::from(items))]);
    if let Some(next) = next {
        page.insert("nextCursor".to_owned(), next.into());
    }
    Ok(Reply::ok(&page))
}

/// Replaces, or makes, one object by the body.
pub(super) async fn put(call: Call, at: At, key: String) -> Result<Reply, Failure> {
    let document = call.object()?.into();
    change_one(&call, at, key, move |_, _| Ok(Some(document))).await
}

/// Deletes one object.
pub(super) async fn delete(
    call: &Call,
    at: At,
    key: String,
    what: &'static str,
    may: impl FnOnce(&App) -> Result<(), ServiceError> + Send,
) -> Result<Reply, Failure> {
    change_one(call, at, key.clone(), move |app, before| {
        if before.is_none() {
            return Err(ServiceError::not_found(what, &key).into());
        }
        may(app)?;
        Ok(None)
    })
    .await
}

/// Merges the body into one object, as RFC 7396 has it.
pub(super) async fn patch(call: Call, at: At, key: String, what: &'static str) -> Result<Reply, Failure> {
    let patch = call.object()?.into();
    let name = key.clone();
    change_one(&call, at, key, move |_, before| {
        let mut document = before.ok_or_else(|| ServiceError::not_found(what, &name))?;
        merge(&mut document, patch);
        Ok(Some(document))
    })
    .await
}

fn merge(document: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *document = patch;
        return;
    };
    if !document.is_object() {
        *document = json!({});
    }
    let Some(object) = document.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            object.remove(&key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Changes one object under the conditions that its request makes.
pub(super) async fn change_one(
    call: &Call,
    at: At,
    key: String,
    edit: impl FnOnce(&App, Option<Value>) -> Result<Option<Value>, Failure> + Send,
) -> Result<Reply, Failure> {
    let intent = call.intent(&at);
    let mut refused = None;
    let mut existed = false;
    let place = at.clone();
    let committed = call
        .shared
        .control
        .change(&call.actor(), intent, |app| {
            let entry = app.entry(&place);
            existed = entry.is_some();
            let current = entry.map(|entry| (entry.revision, shown(&key, entry)));
            let condition = match call.operation.if_match {
                IfMatch::No => Ok(()),
                IfMatch::Required | IfMatch::ForExisting => call.check_seen(current),
            };
            let edited = condition.and_then(|()| edit(app, entry.map(|entry| (*entry.document).clone())));
            match edited {
                Ok(document) => {
                    let mut edits = vec![Edit { at: place.clone(), document }];
                    edits.extend(crate::service::apply::histories(app, &edits));
                    Ok(edits)
                }
                Err(failure) => {
                    refused = Some(failure);
                    // Its words are in `refused`.
                    Err(ServiceError::Faults(Vec::new()))
                }
            }
        })
        .await;
    if let Some(failure) = refused {
        return Err(failure);
    }
    let committed = committed.map_err(|error| Failure::of_service(error, Some(&at)))?;
    if call.flag("dryRun") {
        return Ok(Reply::ok(&outcome(&committed, true, Vec::new())));
    }
    Ok(match committed.app.entry(&at) {
        Some(entry) => {
            let status = if existed { StatusCode::OK } else { StatusCode::CREATED };
            let reply = Reply::json(status, &shown(&key, entry)).etag(entry.revision);
            if existed { reply } else { reply.header(http::header::LOCATION, &location(call, &at)) }
        }
        None => Reply::empty(StatusCode::NO_CONTENT),
    })
}

/// The path of an object.
pub(super) fn location(call: &Call, at: &At) -> String {
    let app = call.param("app");
    let encode = |text: &str| text.replace('/', "%2F").replace(':', "%3A").replace('+', "%2B");
    match at.kind {
        Kind::App => format!("/api/v1/apps/{app}"),
        Kind::Flag => format!("/api/v1/apps/{app}/flags/{}", encode(&at.key)),
        Kind::Segment => format!("/api/v1/apps/{app}/segments/{}", encode(&at.key)),
        Kind::Release => format!("/api/v1/apps/{app}/releases/{}", encode(&at.key)),
        Kind::Targeting => {
            format!("/api/v1/apps/{app}/environments/{}/flags/{}", at.environment, encode(&at.key))
        }
        Kind::Environment => format!("/api/v1/apps/{app}/environments/{}", at.environment),
        Kind::Template => {
            format!("/api/v1/apps/{app}/environments/{}/rollout-templates/{}", at.environment, encode(&at.key))
        }
        Kind::Traffic | Kind::History => format!("/api/v1/apps/{app}/environments/{}/traffic", at.environment),
    }
}

/// What a change came to, as API v1 tells it.
pub(super) fn outcome(committed: &Committed, dry_run: bool, kept: Vec<String>) -> admin_api::answers::Outcome {
    use admin_api::answers::{Move, Outcome, SnapshotRef};
    Outcome {
        dry_run,
        revision: committed.revision,
        // Histories follow from the traffic.
        changes: committed.changes.iter().filter(|change| change.at.kind != Kind::History).map(change).collect(),
        moves: committed
            .moves
            .iter()
            .map(|moved| Move {
                flag: Some(moved.flag.clone()),
                environment: moved.environment.clone(),
                rule: moved.rule.clone(),
                percent: f64::from(moved.buckets) / 10_000.0,
            })
            .collect(),
        snapshots: committed
            .snapshots
            .iter()
            .map(|(environment, number)| SnapshotRef { environment: environment.clone(), number: *number })
            .collect(),
        kept,
    }
}

fn change(change: &ObjectChange) -> admin_api::answers::Change {
    use admin_api::answers::{Action, Change};
    let (action, differences) = match (&change.before, &change.after) {
        (None, Some(after)) => (Action::Create, diff(&json!({}), after)),
        (Some(before), None) => (Action::Delete, diff(before, &json!({}))),
        (Some(before), Some(after)) => (Action::Update, diff(before, after)),
        (None, None) => (Action::Update, Vec::new()),
    };
    Change { object: change.at.to_string(), action, differences: differences.into_iter().map(difference).collect() }
}

/// A difference as API v1 tells it.
pub(super) fn difference(difference: crate::model::diff::Difference) -> admin_api::answers::Difference {
    admin_api::answers::Difference { pointer: difference.pointer, before: difference.before, after: difference.after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_works_as_its_rfc_says() {
        let check = |document: Value, patch: Value, expected: Value| {
            let mut merged = document;
            merge(&mut merged, patch);
            assert_eq!(merged, expected);
        };
        check(json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"}));
        check(json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"}));
        check(json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}}));
        check(json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]}));
        check(json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}}));
    }
}
