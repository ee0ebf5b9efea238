//! Published snapshots: listed, shown, compared, published again.

use http::{Method, StatusCode};
use serde_json::Value;

use super::call::Call;
use super::error::Failure;
use super::objects;
use super::operation::{Access, Answer, CURSOR, Gives, IfMatch, LIMIT, Operation, Takes, schema_of};
use super::reply::Reply;
use crate::ids;
use crate::model::diff::diff;
use crate::principal::Role;
use crate::service::ServiceError;
use crate::store::Publication;
use admin_api::answers::{Republish, Snapshot, SnapshotDiff, SnapshotHead, SnapshotRef};
use admin_api::objects::Page;

const PATH: &str = "/api/v1/apps/{app}/environments/{env}/snapshots/{number}";

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listSnapshots",
        method: Method::GET,
        path: "/api/v1/apps/{app}/environments/{env}/snapshots",
        summary: "Lists the snapshots of an environment, the newest first.",
        access: Access::environment(Role::Viewer),
        query: &[CURSOR, LIMIT],
        body: Takes::Nothing,
        answers: &[Answer {
            status: 200,
            help: "A part of the list.",
            body: Gives::Json(schema_of::<Page<SnapshotHead>>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(list(call)),
    },
    Operation {
        id: "getSnapshot",
        method: Method::GET,
        path: PATH,
        summary: "Shows a snapshot as it was signed.",
        access: Access::environment(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "The snapshot.", body: Gives::Json(schema_of::<Snapshot>) }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(get(call)),
    },
    Operation {
        id: "diffSnapshots",
        method: Method::GET,
        path: "/api/v1/apps/{app}/environments/{env}/snapshots/{number}/diff/{other}",
        summary: "Says what differs between two snapshots.",
        access: Access::environment(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "The differences.", body: Gives::Json(schema_of::<SnapshotDiff>) }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(compare(call)),
    },
    Operation {
        id: "republishSnapshot",
        method: Method::POST,
        path: "/api/v1/apps/{app}/environments/{env}/snapshots/{number}/publish",
        summary: "Publishes an old snapshot again, as the next number. The next change publishes what the objects say.",
        access: Access::environment(Role::Operator),
        query: &[],
        body: Takes::Json(schema_of::<Republish>),
        answers: &[Answer { status: 201, help: "The new number.", body: Gives::Json(schema_of::<SnapshotRef>) }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(republish(call)),
    },
];

async fn list(call: Call) -> Result<Reply, Failure> {
    let cursor = call.cursor()?;
    let before = match cursor.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| invalid_number())?),
    };
    let limit = call.limit();
    let mut tx = call.shared.control.store.read().await?;
    exists(&call, &mut tx).await?;
    let rows = tx.snapshots(call.param("app"), call.param("env"), before, limit + 1).await?;
    let more = rows.len() > limit as usize;
    let items: Vec<SnapshotHead> = rows
        .into_iter()
        .take(limit as usize)
        .map(|row| SnapshotHead {
            number: row.number,
            created_at: ids::rfc3339(row.created_at),
            sha256: row.sha256,
            key_id: row.key_id,
            bytes: row.bytes,
            audit: row.audit,
        })
        .collect();
    let next_cursor = items.last().filter(|_| more).map(|last| Call::cursor_after(&last.number.to_string()));
    Ok(Reply::ok(&Page { items, next_cursor }))
}

async fn exists(call: &Call, tx: &mut crate::store::View) -> Result<(), Failure> {
    let at = crate::model::At::environment(call.param("env"));
    let found = tx.object(&at.in_app(call.param("app"))).await?;
    found.map(drop).ok_or_else(|| ServiceError::not_found("environment", call.param("env")).into())
}

fn invalid_number() -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "number_invalid", "a snapshot's number is a whole number from 1")
}

async fn find(call: &Call, param: &str) -> Result<(Publication, Value), Failure> {
    let text = call.param(param);
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = text.parse().ok().filter(|_| is_number).ok_or_else(invalid_number)?;
    let mut tx = call.shared.control.store.read().await?;
    exists(call, &mut tx).await?;
    let found = tx.snapshot(call.param("app"), call.param("env"), number).await?;
    let found = found.filter(|found| found.document.is_some());
    let found = found.ok_or_else(|| ServiceError::not_found("snapshot", text))?;
    let document = serde_json::from_str(found.document.as_deref().unwrap_or_default());
    let document = document.map_err(|error| ServiceError::Corrupt { detail: format!("snapshot {number}: {error}") })?;
    Ok((found, document))
}

async fn get(call: Call) -> Result<Reply, Failure> {
    let (found, document) = find(&call, "number").await?;
    Ok(Reply::ok(&Snapshot {
        number: found.number,
        created_at: ids::rfc3339(found.created_at),
        sha256: found.sha256,
        previous: found.previous,
        key_id: found.key_id,
        signature: found.signature,
        document,
    }))
}

async fn compare(call: Call) -> Result<Reply, Failure> {
    let (from, before) = find(&call, "number").await?;
    let (to, after) = find(&call, "other").await?;
    let differences = diff(&before, &after).into_iter().map(objects::difference).collect();
    Ok(Reply::ok(&SnapshotDiff { from: from.number, to: to.number, differences }))
}

async fn republish(call: Call) -> Result<Reply, Failure> {
    let request: Republish = call.typed()?;
    Call::check_reason(&request.reason)?;
    let (found, _) = find(&call, "number").await?;
    let (app, environment) = (call.param("app"), call.param("env"));
    let number = call.shared.control.republish(&call.actor(), app, environment, found, request.reason).await?;
    let answer = SnapshotRef { environment: environment.to_owned(), number };
    let path = format!("/api/v1/apps/{app}/environments/{environment}/snapshots/{number}");
    Ok(Reply::json(StatusCode::CREATED, &answer).header(http::header::LOCATION, &path))
}
