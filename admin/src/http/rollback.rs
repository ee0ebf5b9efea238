//! Rollback with proof.

use http::{Method, StatusCode};

use super::call::Call;
use super::error::Failure;
use super::operation::{Access, Answer, Gives, IfMatch, Operation, Takes, schema_of};
use super::reply::Reply;
use crate::principal::Role;
use crate::service::rollback::MAX_WAIT_MS;
use admin_api::answers::{RollbackAnswer, RollbackRequest};

const ANSWER: Gives = Gives::Json(schema_of::<RollbackAnswer>);

pub(super) const OPERATIONS: &[Operation] = &[Operation {
    id: "rollback",
    method: Method::POST,
    path: "/api/v1/apps/{app}/environments/{env}/rollback",
    summary: "Takes traffic back at once and waits until every connected edge has acknowledged it.",
    access: Access::environment(Role::Operator),
    query: &[],
    body: Takes::Json(schema_of::<RollbackRequest>),
    answers: &[
        Answer {
            status: 200,
            help: "Every edge has acknowledged: no request reaches the release any more.",
            body: ANSWER,
        },
        Answer { status: 202, help: "It is published; the missing edges had not acknowledged in time.", body: ANSWER },
    ],
    if_match: IfMatch::No,
    handler: |call| Box::pin(roll_back(call)),
}];

async fn roll_back(call: Call) -> Result<Reply, Failure> {
    let request: RollbackRequest = call.typed()?;
    Call::check_reason(&request.reason)?;
    if request.wait_ms.is_some_and(|wait| wait > MAX_WAIT_MS) {
        return Err(Failure::unfit("/waitMs", "out_of_range", format!("waitMs is at most {MAX_WAIT_MS}")));
    }
    let (app, environment) = (call.param("app"), call.param("env"));
    let answer = call.shared.control.roll_back(&call.actor(), app, environment, &request).await?;
    let status = if answer.missing.is_empty() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(Reply::json(status, &answer))
}
