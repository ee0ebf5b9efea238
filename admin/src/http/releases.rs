//! Releases: registered once, never changed.

use http::Method;
use serde_json::Value;

use super::call::Call;
use super::error::Failure;
use super::objects;
use super::operation::{Access, Answer, CURSOR, DRY_RUN, Gives, IfMatch, LIMIT, Operation, REASON, Takes, schema_of};
use super::reply::Reply;
use crate::model::At;
use crate::principal::Role;
use crate::service::ServiceError;
use crate::store::Kind;
use admin_api::objects::{Named, NewRelease, Page, ReleaseBody};

const ONE: Gives = Gives::Json(schema_of::<Named<ReleaseBody>>);
const PATH: &str = "/api/v1/apps/{app}/releases/{release}";

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listReleases",
        method: Method::GET,
        path: "/api/v1/apps/{app}/releases",
        summary: "Lists the releases of an app.",
        access: Access::some_of_app(Role::Viewer),
        query: &[CURSOR, LIMIT],
        body: Takes::Nothing,
        answers: &[Answer {
            status: 200,
            help: "A part of the list.",
            body: Gives::Json(schema_of::<Page<Named<ReleaseBody>>>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(list(call)),
    },
    Operation {
        id: "createRelease",
        method: Method::POST,
        path: "/api/v1/apps/{app}/releases",
        summary: "Registers a release. The same again is no mistake; another content under its id is.",
        access: Access::some_of_app(Role::Editor),
        query: &[DRY_RUN, REASON],
        body: Takes::Json(schema_of::<NewRelease>),
        answers: &[
            Answer { status: 200, help: "It was registered before, or what a dry run would change.", body: ONE },
            Answer { status: 201, help: "The release.", body: ONE },
        ],
        if_match: IfMatch::No,
        handler: |call| Box::pin(create(call)),
    },
    Operation {
        id: "getRelease",
        method: Method::GET,
        path: PATH,
        summary: "Shows a release.",
        access: Access::some_of_app(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "The release.", body: ONE }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(get(call)),
    },
];

async fn list(call: Call) -> Result<Reply, Failure> {
    objects::list(&call, Kind::Release, "", |_| true).await
}

async fn create(call: Call) -> Result<Reply, Failure> {
    let mut object = call.object()?;
    let Some(Value::String(id)) = object.remove("id") else {
        return Err(Failure::unfit("/id", "key_missing", "a release needs an id, a text"));
    };
    let document = object.into();
    let cached = call.shared.control.existing(call.param("app")).await?;
    if let Some(entry) = cached.app.entry(&At::release(&id)) {
        // Two ways to say the same are the same release.
        let same = edge_manifest::object::release(&id, &document).is_ok_and(|(_, read)| read == *entry.document);
        if same {
            return Ok(Reply::ok(&objects::shown(&id, entry)).etag(entry.revision));
        }
    }
    objects::change_one(&call, At::release(&id), id.clone(), move |_, before| match before {
        Some(_) => Err(ServiceError::Exists { what: "release with another content under the id", key: id }.into()),
        None => Ok(Some(document)),
    })
    .await
}

async fn get(call: Call) -> Result<Reply, Failure> {
    objects::get(&call, &At::release(call.param("release")), call.param("release"), "release").await
}
