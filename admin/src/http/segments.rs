//! Segments: named conditions.

use http::Method;

use super::call::Call;
use super::error::Failure;
use super::objects;
use super::operation::{Access, Answer, CURSOR, DRY_RUN, Gives, IfMatch, LIMIT, Operation, REASON, Takes, schema_of};
use super::reply::Reply;
use crate::model::At;
use crate::principal::Role;
use crate::store::Kind;
use admin_api::objects::{Named, Page, SegmentBody};

const ONE: Gives = Gives::Json(schema_of::<Named<SegmentBody>>);
const PATH: &str = "/api/v1/apps/{app}/segments/{segment}";

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listSegments",
        method: Method::GET,
        path: "/api/v1/apps/{app}/segments",
        summary: "Lists the segments of an app.",
        access: Access::some_of_app(Role::Viewer),
        query: &[CURSOR, LIMIT],
        body: Takes::Nothing,
        answers: &[Answer {
            status: 200,
            help: "A part of the list.",
            body: Gives::Json(schema_of::<Page<Named<SegmentBody>>>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(list(call)),
    },
    Operation {
        id: "getSegment",
        method: Method::GET,
        path: PATH,
        summary: "Shows a segment.",
        access: Access::some_of_app(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "The segment.", body: ONE }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(get(call)),
    },
    Operation {
        id: "putSegment",
        method: Method::PUT,
        path: PATH,
        summary: "Makes a segment, or replaces it, in all environments at once.",
        access: Access::some_of_app(Role::Editor),
        query: &[DRY_RUN, REASON],
        body: Takes::Json(schema_of::<SegmentBody>),
        answers: &[
            Answer { status: 200, help: "The segment, or in a dry run what would change.", body: ONE },
            Answer { status: 201, help: "The new segment.", body: ONE },
        ],
        if_match: IfMatch::ForExisting,
        handler: |call| Box::pin(put(call)),
    },
    Operation {
        id: "deleteSegment",
        method: Method::DELETE,
        path: PATH,
        summary: "Deletes a segment that nothing refers to.",
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
    objects::list(&call, Kind::Segment, "", |_| true).await
}

async fn get(call: Call) -> Result<Reply, Failure> {
    objects::get(&call, &At::segment(call.param("segment")), call.param("segment"), "segment").await
}

async fn put(call: Call) -> Result<Reply, Failure> {
    let key = call.param("segment").to_owned();
    objects::put(call, At::segment(&key), key).await
}

async fn delete(call: Call) -> Result<Reply, Failure> {
    let key = call.param("segment").to_owned();
    // What still refers to it is found by the engine's check.
    objects::delete(&call, At::segment(&key), key, "segment", |_| Ok(())).await
}
