//! Flags: their definitions, the same in every environment.

use http::Method;
use serde_json::Value;

use super::call::Call;
use super::error::Failure;
use super::objects;
use super::operation::{
    Access, Answer, CURSOR, DRY_RUN, Gives, IfMatch, LIMIT, Operation, Query, QueryKind, REASON, Takes, schema_of,
};
use super::reply::Reply;
use crate::model::At;
use crate::principal::Role;
use crate::service::ServiceError;
use crate::store::Kind;
use admin_api::answers::StaleFlag;
use admin_api::objects::{FlagBody, Named, NewFlag, Page};

const ONE: Gives = Gives::Json(schema_of::<Named<FlagBody>>);
const PATH: &str = "/api/v1/apps/{app}/flags/{flag}";
/// Days after which a flag that does the same for everybody is stale, when nobody says how many.
const STALE_DAYS: u32 = 30;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listFlags",
        method: Method::GET,
        path: "/api/v1/apps/{app}/flags",
        summary: "Lists the flags of an app.",
        access: Access::some_of_app(Role::Viewer),
        query: &[
            CURSOR,
            LIMIT,
            Query {
                name: "archived",
                kind: QueryKind::Flag,
                help: "`true` lists archived flags only; by default the others.",
            },
        ],
        body: Takes::Nothing,
        answers: &[Answer {
            status: 200,
            help: "A part of the list.",
            body: Gives::Json(schema_of::<Page<Named<FlagBody>>>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(list(call)),
    },
    Operation {
        id: "createFlag",
        method: Method::POST,
        path: "/api/v1/apps/{app}/flags",
        summary: "Makes a flag. It is off everywhere until its targeting is set.",
        access: Access::some_of_app(Role::Editor),
        query: &[DRY_RUN, REASON],
        body: Takes::Json(schema_of::<NewFlag>),
        answers: &[
            Answer { status: 200, help: "In a dry run what would change.", body: ONE },
            Answer { status: 201, help: "The flag.", body: ONE },
        ],
        if_match: IfMatch::No,
        handler: |call| Box::pin(create(call)),
    },
    Operation {
        id: "listStaleFlags",
        method: Method::GET,
        path: "/api/v1/apps/{app}/stale-flags",
        summary: "Lists flags that serve one variant to everybody for long, or that no edge has evaluated.",
        access: Access::all_of_app(Role::Viewer),
        query: &[Query { name: "days", kind: QueryKind::Number(0, 3650), help: "For so many days; by default 30." }],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "All of them.", body: Gives::Json(schema_of::<Page<StaleFlag>>) }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(stale(call)),
    },
    Operation {
        id: "getFlag",
        method: Method::GET,
        path: PATH,
        summary: "Shows a flag.",
        access: Access::some_of_app(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "The flag.", body: ONE }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(get(call)),
    },
    Operation {
        id: "updateFlag",
        method: Method::PATCH,
        path: PATH,
        summary: "Changes a flag by a merge patch (RFC 7396).",
        access: Access::all_of_app(Role::Editor),
        query: &[DRY_RUN, REASON],
        body: Takes::Json(schema_of::<FlagBody>),
        answers: &[Answer { status: 200, help: "The flag, or in a dry run what would change.", body: ONE }],
        if_match: IfMatch::Required,
        handler: |call| Box::pin(update(call)),
    },
    Operation {
        id: "deleteFlag",
        method: Method::DELETE,
        path: PATH,
        summary: "Deletes a flag that no environment serves any more.",
        access: Access::all_of_app(Role::Editor),
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

async fn list(call: Call) -> Result<Reply, Failure> {
    let archived = call.flag("archived");
    let wanted = move |flag: &Value| flag.get("archived").and_then(Value::as_bool).unwrap_or(false) == archived;
    objects::list(&call, Kind::Flag, "", wanted).await
}

async fn create(call: Call) -> Result<Reply, Failure> {
    let mut object = call.object()?;
    let Some(Value::String(key)) = object.remove("key") else {
        return Err(Failure::unfit("/key", "key_missing", "a flag needs a key, a text"));
    };
    let document = object.into();
    objects::change_one(&call, At::flag(&key), key.clone(), move |_, before| match before {
        Some(_) => Err(ServiceError::Exists { what: "flag", key }.into()),
        None => Ok(Some(document)),
    })
    .await
}

async fn stale(call: Call) -> Result<Reply, Failure> {
    let days = call.query("days").and_then(|days| days.parse().ok()).unwrap_or(STALE_DAYS);
    let items = call.shared.control.stale(call.param("app"), days).await?;
    Ok(Reply::ok(&Page { items, next_cursor: None }))
}

async fn get(call: Call) -> Result<Reply, Failure> {
    objects::get(&call, &At::flag(call.param("flag")), call.param("flag"), "flag").await
}

async fn update(call: Call) -> Result<Reply, Failure> {
    let key = call.param("flag").to_owned();
    objects::patch(call, At::flag(&key), key, "flag").await
}

async fn delete(call: Call) -> Result<Reply, Failure> {
    let key = call.param("flag").to_owned();
    let own = key.clone();
    objects::delete(&call, At::flag(&key), key, "flag", move |app| {
        let serving: Vec<&str> = app
            .environments()
            .filter(|(name, _)| app.flag(&own).is_some_and(|flag| flag.wire(name).enabled))
            .map(|(name, _)| name.as_str())
            .collect();
        if serving.is_empty() {
            return Ok(());
        }
        Err(ServiceError::Refused {
            code: "flag_in_use",
            detail: format!("the flag is enabled in {}", serving.join(", ")),
            hint: Some("archive it ({\"archived\": true}), or disable it there first".to_owned()),
        })
    })
    .await
}
