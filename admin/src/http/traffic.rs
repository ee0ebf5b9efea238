//! Traffic: which release serves whom in an environment.

use http::Method;

use super::call::Call;
use super::error::Failure;
use super::objects;
use super::operation::{Access, Answer, DRY_RUN, Gives, IfMatch, Operation, REASON, Takes, schema_of};
use super::reply::Reply;
use crate::model::At;
use crate::principal::Role;
use crate::service::ServiceError;
use admin_api::objects::{Named, TrafficBody};

const ONE: Gives = Gives::Json(schema_of::<Named<TrafficBody>>);
const PATH: &str = "/api/v1/apps/{app}/environments/{env}/traffic";

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "getTraffic",
        method: Method::GET,
        path: PATH,
        summary: "Shows slots, weights and routing rules of an environment.",
        access: Access::environment(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "The traffic.", body: ONE }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(get(call)),
    },
    Operation {
        id: "putTraffic",
        method: Method::PUT,
        path: PATH,
        summary: "Sets slots, weights and routing rules of an environment.",
        access: Access::environment(Role::Operator),
        query: &[DRY_RUN, REASON],
        body: Takes::Json(schema_of::<TrafficBody>),
        answers: &[
            Answer { status: 200, help: "The traffic, or in a dry run what would change.", body: ONE },
            Answer { status: 201, help: "The traffic, the environment's first.", body: ONE },
        ],
        if_match: IfMatch::ForExisting,
        handler: |call| Box::pin(put(call)),
    },
];

async fn get(call: Call) -> Result<Reply, Failure> {
    objects::get(&call, &At::traffic(call.param("env")), call.param("env"), "traffic of the environment").await
}

async fn put(call: Call) -> Result<Reply, Failure> {
    let environment = call.param("env").to_owned();
    let document = call.object()?.into();
    objects::change_one(&call, At::traffic(&environment), environment.clone(), move |app, _| {
        if app.environment(&environment).is_none() {
            return Err(ServiceError::not_found("environment", &environment).into());
        }
        Ok(Some(document))
    })
    .await
}
