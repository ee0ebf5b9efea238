//! The panic path of Workers: a signed text that an operator puts into a Worker.

use http::{Method, StatusCode};

use super::call::Call;
use super::error::Failure;
use super::operation::{Access, Answer, Gives, IfMatch, Operation, Takes, schema_of};
use super::reply::Reply;
use crate::principal::Role;
use crate::service::panic::{OPERATION, PanicError};
use admin_api::answers::{PanicOverrideAnswer, PanicOverrideRequest};

pub(super) const OPERATIONS: &[Operation] = &[Operation {
    id: OPERATION,
    method: Method::POST,
    path: "/api/v1/apps/{app}/environments/{env}/panic-override",
    summary: "Signs what gives a Worker's traffic to one release while no snapshot can be pushed to it.",
    access: Access::environment(Role::Operator),
    query: &[],
    body: Takes::OptionalJson(schema_of::<PanicOverrideRequest>),
    answers: &[Answer {
        status: 200,
        help: "It is signed; nothing else has changed.",
        body: Gives::Json(schema_of::<PanicOverrideAnswer>),
    }],
    if_match: IfMatch::No,
    handler: |call| Box::pin(sign(call)),
}];

async fn sign(call: Call) -> Result<Reply, Failure> {
    let request: PanicOverrideRequest =
        if call.body.is_empty() { PanicOverrideRequest::default() } else { call.typed()? };
    if let Some(reason) = &request.reason {
        Call::check_reason(reason)?;
    }
    if request.before == Some(0) {
        return Err(Failure::unfit("/before", "out_of_range", "the numbers of snapshots begin with 1"));
    }
    let (app, environment) = (call.param("app"), call.param("env"));
    let signed = call.shared.control.sign_panic_override(&call.actor(), app, environment, &request).await;
    signed.map(|answer| Reply::ok(&answer)).map_err(refused)
}

fn refused(error: PanicError) -> Failure {
    let detail = error.to_string();
    match error {
        PanicError::Service(error) => error.into(),
        PanicError::NoSnapshot { .. } => Failure::new(StatusCode::NOT_FOUND, "snapshot_missing", detail),
        PanicError::NothingServes { .. } => {
            Failure::unfit("/release", "nothing_serves", detail).hint("name a registered release with \"release\"")
        }
        PanicError::NoRelease { .. } => Failure::unfit("/release", "release_unknown", detail),
        PanicError::NotInSnapshot { .. } => Failure::unfit("/release", "release_not_in_snapshot", detail)
            .hint("a Worker can send requests to releases of its snapshot only: name one of them with \"release\""),
    }
}
