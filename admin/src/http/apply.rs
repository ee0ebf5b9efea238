//! A whole `bascule.yaml`, in and out.

use http::{Method, StatusCode};

use super::call::Call;
use super::error::Failure;
use super::objects;
use super::operation::{
    Access, Answer, DRY_RUN, Gives, IfMatch, Operation, Query, QueryKind, REASON, Takes, schema_of,
};
use super::reply::Reply;
use crate::principal::Role;
use crate::service::apply::Options;
use admin_api::answers::Outcome;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "apply",
        method: Method::PUT,
        path: "/api/v1/apply",
        summary: "Makes an app what a bascule.yaml says, in one step. The same again changes nothing.",
        access: Access::anywhere(Role::Editor),
        query: &[
            DRY_RUN,
            REASON,
            Query { name: "prune", kind: QueryKind::Flag, help: "Also delete what the file does not mention." },
            Query {
                name: "allowRolledBack",
                kind: QueryKind::Flag,
                help: "Also bring back releases that were rolled back; otherwise such a file is refused with `release_rolled_back`.",
            },
        ],
        body: Takes::Manifest,
        answers: &[Answer {
            status: 200,
            help: "What changed, or would change.",
            body: Gives::Json(schema_of::<Outcome>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(apply(call)),
    },
    Operation {
        id: "export",
        method: Method::GET,
        path: "/api/v1/apps/{app}/export",
        summary: "Shows an app as a bascule.yaml; applying it changes nothing.",
        access: Access::all_of_app(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "The file.", body: Gives::Other("application/yaml") }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(export(call)),
    },
];

async fn apply(call: Call) -> Result<Reply, Failure> {
    let text = std::str::from_utf8(&call.body)
        .map_err(|_| Failure::new(StatusCode::BAD_REQUEST, "body_invalid", "the body is not UTF-8 text"))?;
    let manifest = edge_manifest::load(text, "bascule.yaml").map_err(Failure::of_findings)?;
    let options = Options {
        dry_run: call.flag("dryRun"),
        prune: call.flag("prune"),
        allow_rolled_back: call.flag("allowRolledBack"),
    };
    let reason = call.query("reason").unwrap_or_default().to_owned();
    let app = manifest.app().as_str().to_owned();
    let applied = call.shared.control.apply(&call.actor(), &app, manifest.objects(), reason, options).await?;
    Ok(Reply::ok(&objects::outcome(&applied.committed, options.dry_run, applied.kept)))
}

async fn export(call: Call) -> Result<Reply, Failure> {
    let cached = call.shared.control.existing(call.param("app")).await?;
    let yaml = crate::model::export::yaml(&cached.app);
    Ok(Reply::bytes(StatusCode::OK, "application/yaml", yaml))
}
