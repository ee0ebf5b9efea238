//! A flag in one environment: who gets which variant.

use http::{Method, StatusCode};

use super::call::Call;
use super::error::Failure;
use super::objects;
use super::operation::{Access, Answer, CURSOR, DRY_RUN, Gives, IfMatch, LIMIT, Operation, REASON, Takes, schema_of};
use super::reply::Reply;
use crate::model::{App, At, Edit};
use crate::principal::Role;
use crate::service::{Intent, ServiceError};
use crate::store::Kind;
use admin_api::answers::{CopyRequest, Outcome};
use admin_api::objects::{Named, Page, TargetingBody};

const ONE: Gives = Gives::Json(schema_of::<Named<TargetingBody>>);
const PATH: &str = "/api/v1/apps/{app}/environments/{env}/flags/{flag}";

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listTargetings",
        method: Method::GET,
        path: "/api/v1/apps/{app}/environments/{env}/flags",
        summary: "Lists the targeting of every flag that has some in an environment.",
        access: Access::environment(Role::Viewer),
        query: &[CURSOR, LIMIT],
        body: Takes::Nothing,
        answers: &[Answer {
            status: 200,
            help: "A part of the list.",
            body: Gives::Json(schema_of::<Page<Named<TargetingBody>>>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(list(call)),
    },
    Operation {
        id: "getTargeting",
        method: Method::GET,
        path: PATH,
        summary: "Shows a flag's targeting in an environment.",
        access: Access::environment(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "The targeting.", body: ONE }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(get(call)),
    },
    Operation {
        id: "putTargeting",
        method: Method::PUT,
        path: PATH,
        summary: "Sets a flag's targeting in an environment. Changed weights move as few units as possible.",
        access: Access::environment(Role::Editor),
        query: &[DRY_RUN, REASON],
        body: Takes::Json(schema_of::<TargetingBody>),
        answers: &[
            Answer { status: 200, help: "The targeting, or in a dry run what would change and who moves.", body: ONE },
            Answer { status: 201, help: "The targeting, the flag's first here.", body: ONE },
        ],
        if_match: IfMatch::ForExisting,
        handler: |call| Box::pin(put(call)),
    },
    Operation {
        id: "copyTargeting",
        method: Method::POST,
        path: "/api/v1/apps/{app}/environments/{env}/flags/{flag}/copy",
        summary: "Copies a flag's targeting from another environment, by default from the one that this one promotes from.",
        access: Access::environment(Role::Editor),
        query: &[DRY_RUN],
        body: Takes::OptionalJson(schema_of::<CopyRequest>),
        answers: &[Answer {
            status: 200,
            help: "What changed, or would change.",
            body: Gives::Json(schema_of::<Outcome>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(copy(call)),
    },
];

async fn list(call: Call) -> Result<Reply, Failure> {
    objects::list(&call, Kind::Targeting, call.param("env"), |_| true).await
}

async fn get(call: Call) -> Result<Reply, Failure> {
    let at = At::targeting(call.param("env"), call.param("flag"));
    objects::get(&call, &at, call.param("flag"), "targeting of the flag").await
}

async fn put(call: Call) -> Result<Reply, Failure> {
    let at = At::targeting(call.param("env"), call.param("flag"));
    let key = call.param("flag").to_owned();
    let document = call.object()?.into();
    objects::change_one(&call, at.clone(), key.clone(), move |app, _| {
        exists(app, &at.environment, &key)?;
        Ok(Some(document))
    })
    .await
}

fn exists(app: &App, environment: &str, flag: &str) -> Result<(), ServiceError> {
    if app.environment(environment).is_none() {
        return Err(ServiceError::not_found("environment", environment));
    }
    if app.flag(flag).is_none() {
        return Err(ServiceError::not_found("flag", flag));
    }
    Ok(())
}

async fn copy(call: Call) -> Result<Reply, Failure> {
    let request: CopyRequest =
        if call.body.is_empty() { CopyRequest { from: None, reason: None } } else { call.typed()? };
    if let Some(reason) = &request.reason {
        Call::check_reason(reason)?;
    }
    let (environment, flag) = (call.param("env").to_owned(), call.param("flag").to_owned());
    let principal = call.principal()?.clone();
    let intent = Intent {
        reason: request.reason.clone().unwrap_or_default(),
        ..call.intent(&At::targeting(&environment, &flag))
    };
    let app_name = call.param("app").to_owned();
    let actor = call.actor();
    let committed = call.shared.control.change(&actor, intent, move |app| {
        exists(app, &environment, &flag)?;
        let before = || app.environment(&environment)?.promotes_from.as_ref().map(|name| name.as_str().to_owned());
        let from = request.from.or_else(before).ok_or_else(|| ServiceError::Refused {
            code: "no_source",
            detail: format!("\"{environment}\" promotes from no environment"),
            hint: Some("name one with \"from\"".to_owned()),
        })?;
        exists(app, &from, &flag)?;
        if !principal.has(Role::Viewer, &app_name, &from) {
            return Err(ServiceError::Forbidden { role: Role::Viewer.as_str(), place: format!("in {from}") });
        }
        let source = app.entry(&At::targeting(&from, &flag));
        let source =
            source.ok_or_else(|| ServiceError::not_found("targeting of the flag", &format!("{flag} in {from}")))?;
        let mut document = (*source.document).clone();
        // Buckets of another environment hash other units: only the shares are copied.
        forget_ranges(&mut document);
        Ok(vec![Edit::put(At::targeting(&environment, &flag), document)])
    });
    let committed = committed.await?;
    Ok(Reply::json(StatusCode::OK, &objects::outcome(&committed, call.flag("dryRun"), Vec::new())))
}

fn forget_ranges(document: &mut serde_json::Value) {
    let forget = |serve: &mut serde_json::Value| {
        if let Some(object) = serve.as_object_mut() {
            object.remove("ranges");
        }
    };
    if let Some(serve) = document.get_mut("fallthrough") {
        forget(serve);
    }
    for rule in document.get_mut("rules").and_then(serde_json::Value::as_array_mut).into_iter().flatten() {
        forget(rule);
    }
}
