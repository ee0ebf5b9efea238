//! How far the verdict can be trusted in an environment.

use admin_api::calibration::Calibration;
use http::Method;

use super::call::Call;
use super::error::Failure;
use super::operation::{Access, Answer, Gives, IfMatch, Operation, Takes, schema_of};
use super::reply::Reply;
use crate::principal::Role;

pub(super) const OPERATIONS: &[Operation] = &[Operation {
    id: "getCalibration",
    method: Method::GET,
    path: "/api/v1/apps/{app}/environments/{env}/calibration",
    summary: "Shows how often stable, judged against itself beside every rollout, raised a false alarm.",
    access: Access::environment(Role::Viewer),
    query: &[],
    body: Takes::Nothing,
    answers: &[Answer {
        status: 200,
        help: "What the rollouts that ended have shown.",
        body: Gives::Json(schema_of::<Calibration>),
    }],
    if_match: IfMatch::No,
    handler: |call| Box::pin(get(call)),
}];

async fn get(call: Call) -> Result<Reply, Failure> {
    Ok(Reply::ok(&call.shared.control.calibration(call.param("app"), call.param("env")).await?))
}
