//! What was told of an environment, and telling it again.

use http::{Method, StatusCode};

use super::call::Call;
use super::error::Failure;
use super::operation::{Access, Answer, CURSOR, Gives, IfMatch, LIMIT, Operation, Takes, schema_of};
use super::reply::Reply;
use crate::ids;
use crate::principal::Role;
use crate::store::OutboxRow;
use admin_api::notifications::Notification;
use admin_api::objects::Page;

const ONE: Gives = Gives::Json(schema_of::<Notification>);

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listNotifications",
        method: Method::GET,
        path: "/api/v1/apps/{app}/environments/{env}/notifications",
        summary: "Lists what was told of an environment and what is still to be told, newest first.",
        access: Access::environment(Role::Viewer),
        query: &[CURSOR, LIMIT],
        body: Takes::Nothing,
        answers: &[Answer {
            status: 200,
            help: "A part of the list.",
            body: Gives::Json(schema_of::<Page<Notification>>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(list(call)),
    },
    Operation {
        id: "retryNotification",
        method: Method::POST,
        path: "/api/v1/apps/{app}/environments/{env}/notifications/{notification}/retry",
        summary: "Sends a notification again, under the same id, whatever became of it.",
        access: Access::environment(Role::Operator),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "It waits to be sent.", body: ONE }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(retry(call)),
    },
];

fn shown(row: &OutboxRow) -> Notification {
    Notification {
        id: row.id,
        destination: row.destination.clone(),
        channel: row.channel.clone(),
        rollout: (row.rollout != 0).then_some(row.rollout),
        event: row.occasion.clone(),
        action: row.action.clone(),
        at: ids::rfc3339(row.created_at),
        state: row.state.clone(),
        attempts: row.attempts,
        next_at: row.next_at.map(ids::rfc3339),
        error: row.error.clone(),
    }
}

async fn list(call: Call) -> Result<Reply, Failure> {
    let before = match call.cursor()?.as_str() {
        "" => None,
        text => Some(text.parse::<i64>().map_err(|_| {
            let detail = "the cursor is not one that a list has answered";
            Failure::new(StatusCode::BAD_REQUEST, "cursor_invalid", detail)
        })?),
    };
    let limit = call.limit();
    let (app, environment) = (call.param("app"), call.param("env"));
    let rows = call.shared.control.notifications(app, environment, before, limit + 1).await?;
    let is_more = rows.len() > limit as usize;
    let items: Vec<Notification> = rows.iter().take(limit as usize).map(shown).collect();
    let next_cursor = items.last().filter(|_| is_more).map(|last| Call::cursor_after(&last.id.to_string()));
    Ok(Reply::ok(&Page { items, next_cursor }))
}

async fn retry(call: Call) -> Result<Reply, Failure> {
    let scope = (call.param("app"), call.param("env"));
    let row = call.shared.control.retry_notification(&call.actor(), scope, call.param("notification")).await?;
    Ok(Reply::ok(&shown(&row)))
}
