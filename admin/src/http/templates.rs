//! Templates of rollouts: what an environment asks of whoever rolls out there.

use http::Method;

use super::call::Call;
use super::error::Failure;
use super::objects;
use super::operation::{Access, Answer, CURSOR, DRY_RUN, Gives, IfMatch, LIMIT, Operation, REASON, Takes, schema_of};
use super::reply::Reply;
use crate::model::At;
use crate::principal::Role;
use crate::service::ServiceError;
use crate::store::Kind;
use admin_api::objects::{Named, Page};
use admin_api::rollouts::RolloutTemplate;

const ONE: Gives = Gives::Json(schema_of::<Named<RolloutTemplate>>);
const PATH: &str = "/api/v1/apps/{app}/environments/{env}/rollout-templates/{template}";

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listRolloutTemplates",
        method: Method::GET,
        path: "/api/v1/apps/{app}/environments/{env}/rollout-templates",
        summary: "Lists the templates that an environment has of its own. Where it has some, rollouts keep to them.",
        access: Access::environment(Role::Viewer),
        query: &[CURSOR, LIMIT],
        body: Takes::Nothing,
        answers: &[Answer {
            status: 200,
            help: "A part of the list.",
            body: Gives::Json(schema_of::<Page<Named<RolloutTemplate>>>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(list(call)),
    },
    Operation {
        id: "getRolloutTemplate",
        method: Method::GET,
        path: PATH,
        summary: "Shows a template of rollouts.",
        access: Access::environment(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "The template.", body: ONE }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(get(call)),
    },
    Operation {
        id: "putRolloutTemplate",
        method: Method::PUT,
        path: PATH,
        summary: "Makes a template of rollouts, or replaces it. Rollouts under way keep the one they were started with.",
        access: Access::environment(Role::Admin),
        query: &[DRY_RUN, REASON],
        body: Takes::Json(schema_of::<RolloutTemplate>),
        answers: &[
            Answer { status: 200, help: "The template, or in a dry run what would change.", body: ONE },
            Answer { status: 201, help: "The new template.", body: ONE },
        ],
        if_match: IfMatch::ForExisting,
        handler: |call| Box::pin(put(call)),
    },
    Operation {
        id: "deleteRolloutTemplate",
        method: Method::DELETE,
        path: PATH,
        summary: "Deletes a template of rollouts.",
        access: Access::environment(Role::Admin),
        query: &[DRY_RUN, REASON],
        body: Takes::Nothing,
        answers: &[
            Answer { status: 200, help: "In a dry run what would change.", body: ONE },
            Answer { status: 204, help: "It is gone.", body: Gives::Nothing },
        ],
        if_match: IfMatch::Required,
        handler: |call| Box::pin(delete(call)),
    },
];

fn at(call: &Call) -> At {
    At::template(call.param("env"), call.param("template"))
}

async fn list(call: Call) -> Result<Reply, Failure> {
    objects::list(&call, Kind::Template, call.param("env"), |_| true).await
}

async fn get(call: Call) -> Result<Reply, Failure> {
    objects::get(&call, &at(&call), call.param("template"), "template").await
}

async fn put(call: Call) -> Result<Reply, Failure> {
    let (place, key, environment) = (at(&call), call.param("template").to_owned(), call.param("env").to_owned());
    let document = call.object()?.into();
    objects::change_one(&call, place, key, move |app, _| {
        if app.environment(&environment).is_none() {
            return Err(ServiceError::not_found("environment", &environment).into());
        }
        Ok(Some(document))
    })
    .await
}

async fn delete(call: Call) -> Result<Reply, Failure> {
    objects::delete(&call, at(&call), call.param("template").to_owned(), "template", |_| Ok(())).await
}
