//! Apps.

use http::{Method, StatusCode};
use serde_json::json;

use super::call::Call;
use super::error::Failure;
use super::objects;
use super::operation::{Access, Answer, CURSOR, DRY_RUN, Gives, IfMatch, LIMIT, Operation, REASON, Takes, schema_of};
use super::reply::Reply;
use crate::model::{At, Edit};
use crate::principal::{Needs, Reach, Role};
use crate::service::{Intent, ServiceError};
use crate::store::Kind;
use admin_api::objects::{AppBody, Named, NewApp, Page};

const ONE: Gives = Gives::Json(schema_of::<Named<AppBody>>);
const PATH: &str = "/api/v1/apps/{app}";

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listApps",
        method: Method::GET,
        path: "/api/v1/apps",
        summary: "Lists the apps that the token reaches.",
        access: Access::anywhere(Role::Viewer),
        query: &[CURSOR, LIMIT],
        body: Takes::Nothing,
        answers: &[Answer {
            status: 200,
            help: "A part of the list.",
            body: Gives::Json(schema_of::<Page<Named<AppBody>>>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(list(call)),
    },
    Operation {
        id: "createApp",
        method: Method::POST,
        path: "/api/v1/apps",
        summary: "Makes an app.",
        access: Access::everything(Role::Admin),
        query: &[REASON],
        body: Takes::Json(schema_of::<NewApp>),
        answers: &[Answer { status: 201, help: "The app.", body: ONE }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(create(call)),
    },
    Operation {
        id: "getApp",
        method: Method::GET,
        path: PATH,
        summary: "Shows an app.",
        access: Access::some_of_app(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "The app.", body: ONE }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(get(call)),
    },
    Operation {
        id: "updateApp",
        method: Method::PATCH,
        path: PATH,
        summary: "Changes an app by a merge patch (RFC 7396).",
        access: Access::all_of_app(Role::Admin),
        query: &[DRY_RUN, REASON],
        body: Takes::Json(schema_of::<AppBody>),
        answers: &[Answer { status: 200, help: "The app, or in a dry run what would change.", body: ONE }],
        if_match: IfMatch::Required,
        handler: |call| Box::pin(update(call)),
    },
    Operation {
        id: "deleteApp",
        method: Method::DELETE,
        path: PATH,
        summary: "Deletes an app that has no environments any more.",
        access: Access::all_of_app(Role::Admin),
        query: &[REASON],
        body: Takes::Nothing,
        answers: &[Answer { status: 204, help: "It is gone.", body: Gives::Nothing }],
        if_match: IfMatch::Required,
        handler: |call| Box::pin(delete(call)),
    },
];

async fn list(call: Call) -> Result<Reply, Failure> {
    let principal = call.principal()?.clone();
    let reaches = move |app: &serde_json::Value| {
        let needs = Needs { role: Role::Viewer, reach: Reach::SomeOfApp };
        principal.may(needs, app["key"].as_str().unwrap_or_default(), "")
    };
    objects::list(&call, Kind::App, "", reaches).await
}

async fn create(call: Call) -> Result<Reply, Failure> {
    let new: NewApp = call.typed()?;
    if let Err(rule) = edge_engine::AppName::new(new.name.as_str()) {
        return Err(Failure::of_faults(vec![fault("/name", "name_invalid", rule.to_string())], Some(&At::app())));
    }
    let intent = Intent { app: new.name.clone(), may_create_app: true, ..call.intent(&"app") };
    let document = new.description.map_or_else(|| json!({}), |description| json!({"description": description}));
    let name = new.name.clone();
    let actor = call.actor();
    let committed = call.shared.control.change(&actor, intent, move |app| {
        if app.exists() {
            return Err(ServiceError::Exists { what: "app", key: name });
        }
        Ok(vec![Edit::put(At::app(), document)])
    });
    let committed = committed.await.map_err(|error| Failure::of_service(error, Some(&At::app())))?;
    let entry = committed.app.entry(&At::app()).ok_or_else(|| ServiceError::not_found("app", &new.name))?;
    Ok(Reply::json(StatusCode::CREATED, &objects::shown(&new.name, entry))
        .etag(entry.revision)
        .header(http::header::LOCATION, &format!("/api/v1/apps/{}", new.name)))
}

fn fault(pointer: &str, code: &'static str, detail: String) -> crate::model::Fault {
    crate::model::Fault { pointer: pointer.to_owned(), ..crate::model::Fault::whole(At::app(), code, detail) }
}

async fn get(call: Call) -> Result<Reply, Failure> {
    objects::get(&call, &At::app(), call.param("app"), "app").await
}

async fn update(call: Call) -> Result<Reply, Failure> {
    let key = call.param("app").to_owned();
    objects::patch(call, At::app(), key, "app").await
}

async fn delete(call: Call) -> Result<Reply, Failure> {
    let key = call.param("app").to_owned();
    objects::delete(&call, At::app(), key, "app", |app| {
        if app.environments().next().is_none() {
            return Ok(());
        }
        Err(ServiceError::Refused {
            code: "app_in_use",
            detail: "the app still has environments".to_owned(),
            hint: Some("delete them first".to_owned()),
        })
    })
    .await
}
