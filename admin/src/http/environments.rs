//! Environments, without their traffic.

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
use admin_api::objects::{EnvironmentBody, Named, Page};
use admin_api::releases::EnvironmentMetrics;

const ONE: Gives = Gives::Json(schema_of::<Named<EnvironmentBody>>);
const PATH: &str = "/api/v1/apps/{app}/environments/{env}";

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "getMetrics",
        method: Method::GET,
        path: "/api/v1/apps/{app}/environments/{env}/metrics",
        summary: "Shows how the releases of an environment fare, from what edges reported in the last minute.",
        access: Access::environment(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "How they fare.", body: Gives::Json(schema_of::<EnvironmentMetrics>) }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(metrics(call)),
    },
    Operation {
        id: "listEnvironments",
        method: Method::GET,
        path: "/api/v1/apps/{app}/environments",
        summary: "Lists the environments of an app that the token reaches.",
        access: Access::some_of_app(Role::Viewer),
        query: &[CURSOR, LIMIT],
        body: Takes::Nothing,
        answers: &[Answer {
            status: 200,
            help: "A part of the list.",
            body: Gives::Json(schema_of::<Page<Named<EnvironmentBody>>>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(list(call)),
    },
    Operation {
        id: "getEnvironment",
        method: Method::GET,
        path: PATH,
        summary: "Shows an environment.",
        access: Access::environment(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "The environment.", body: ONE }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(get(call)),
    },
    Operation {
        id: "putEnvironment",
        method: Method::PUT,
        path: PATH,
        summary: "Makes an environment, or replaces its settings.",
        access: Access::all_of_app(Role::Admin),
        query: &[DRY_RUN, REASON],
        body: Takes::Json(schema_of::<EnvironmentBody>),
        answers: &[
            Answer { status: 200, help: "The environment, or in a dry run what would change.", body: ONE },
            Answer { status: 201, help: "The new environment.", body: ONE },
        ],
        if_match: IfMatch::ForExisting,
        handler: |call| Box::pin(put(call)),
    },
    Operation {
        id: "deleteEnvironment",
        method: Method::DELETE,
        path: PATH,
        summary: "Deletes an environment with everything in it; edges stop serving it.",
        access: Access::all_of_app(Role::Admin),
        query: &[REASON],
        body: Takes::Nothing,
        answers: &[Answer { status: 204, help: "It is gone.", body: Gives::Nothing }],
        if_match: IfMatch::Required,
        handler: |call| Box::pin(delete(call)),
    },
];

async fn list(call: Call) -> Result<Reply, Failure> {
    let (principal, app) = (call.principal()?.clone(), call.param("app").to_owned());
    let reaches = move |environment: &serde_json::Value| {
        principal.has(Role::Viewer, &app, environment["key"].as_str().unwrap_or_default())
    };
    objects::list(&call, Kind::Environment, "", reaches).await
}

async fn get(call: Call) -> Result<Reply, Failure> {
    objects::get(&call, &At::environment(call.param("env")), call.param("env"), "environment").await
}

async fn put(call: Call) -> Result<Reply, Failure> {
    let name = call.param("env").to_owned();
    objects::put(call, At::environment(&name), name).await
}

async fn delete(call: Call) -> Result<Reply, Failure> {
    let name = call.param("env").to_owned();
    let own = name.clone();
    objects::delete(&call, At::environment(&name), name, "environment", move |app| {
        let follower =
            app.environments().find(|(_, parts)| parts.promotes_from.as_ref().is_some_and(|from| from.as_str() == own));
        let Some((follower, _)) = follower else { return Ok(()) };
        Err(ServiceError::Refused {
            code: "environment_in_use",
            detail: format!("the environment \"{follower}\" promotes from it"),
            hint: Some("change promotesFrom there first".to_owned()),
        })
    })
    .await
}

async fn metrics(call: Call) -> Result<Reply, Failure> {
    let (app, environment) = (call.param("app"), call.param("env"));
    let control = &call.shared.control;
    let cached = control.existing(app).await?;
    if cached.app.environment(environment).is_none() {
        return Err(ServiceError::not_found("environment", environment).into());
    }
    Ok(Reply::ok(&control.releases.environment(app, environment, crate::ids::now_ms())))
}
