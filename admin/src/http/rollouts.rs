//! Rollouts: started and decided by people, driven by evidence.

use http::{Method, StatusCode};

use super::call::Call;
use super::error::Failure;
use super::operation::{
    Access, Answer, CURSOR, DRY_RUN, Gives, IfMatch, LIMIT, Operation, Query, QueryKind, Takes, schema_of,
};
use super::reply::Reply;
use crate::ids;
use crate::model::At;
use crate::principal::Role;
use crate::service::rollouts::Act;
use admin_api::objects::Page;
use admin_api::rollouts::{
    PreviewLinks, PreviewRequest, PromoteRollout, Rollout, RolloutAction, RolloutHead, RolloutReports, StartRollout,
};

const ONE: Gives = Gives::Json(schema_of::<Rollout>);
const NOW: Answer = Answer { status: 200, help: "The rollout as it is now.", body: ONE };

const AFTER: Query = Query {
    name: "after",
    kind: QueryKind::Number(0, u32::MAX),
    help: "`next` of the part before; absent for the first.",
};

/// What a person does with the rollout under way.
macro_rules! act {
    ($id:literal, $verb:literal, $summary:literal, $body:ty, $handler:ident) => {
        Operation {
            id: $id,
            method: Method::POST,
            path: concat!("/api/v1/apps/{app}/environments/{env}/rollouts/current/", $verb),
            summary: $summary,
            access: Access::environment(Role::Operator),
            query: &[],
            body: Takes::OptionalJson(schema_of::<$body>),
            answers: &[NOW],
            if_match: IfMatch::No,
            handler: |call| Box::pin($handler(call)),
        }
    };
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "startRollout",
        method: Method::POST,
        path: "/api/v1/apps/{app}/environments/{env}/rollouts",
        summary: "Starts a rollout: the release takes over step by step, by evidence.",
        access: Access::environment(Role::Operator),
        query: &[DRY_RUN],
        body: Takes::Json(schema_of::<StartRollout>),
        answers: &[
            Answer { status: 200, help: "What would be started, in a dry run.", body: ONE },
            Answer { status: 201, help: "The rollout.", body: ONE },
        ],
        if_match: IfMatch::No,
        handler: |call| Box::pin(start(call)),
    },
    Operation {
        id: "listRollouts",
        method: Method::GET,
        path: "/api/v1/apps/{app}/environments/{env}/rollouts",
        summary: "Lists the rollouts of an environment, newest first.",
        access: Access::environment(Role::Viewer),
        query: &[CURSOR, LIMIT],
        body: Takes::Nothing,
        answers: &[Answer {
            status: 200,
            help: "A part of the list.",
            body: Gives::Json(schema_of::<Page<RolloutHead>>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(list(call)),
    },
    Operation {
        id: "getRollout",
        method: Method::GET,
        path: "/api/v1/apps/{app}/environments/{env}/rollouts/{rollout}",
        summary: "Shows a rollout with everything that was decided; `current` is the newest.",
        access: Access::environment(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "The rollout.", body: ONE }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(get(call)),
    },
    Operation {
        id: "getRolloutReports",
        method: Method::GET,
        path: "/api/v1/apps/{app}/environments/{env}/rollouts/{rollout}/reports",
        summary: "Shows what edges reported of a rollout, so that anybody can judge it again.",
        access: Access::environment(Role::Viewer),
        query: &[AFTER],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "A part of it.", body: Gives::Json(schema_of::<RolloutReports>) }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(reports(call)),
    },
    act!("pauseRollout", "pause", "The weight stays until somebody resumes.", RolloutAction, pause),
    act!("resumeRollout", "resume", "A paused or held rollout begins its step anew.", RolloutAction, resume),
    act!("approveRollout", "approve", "Approves the step that waits for it, and nothing else.", RolloutAction, approve),
    act!(
        "promoteRollout",
        "promote",
        "Approves, or goes one place further without waiting for hold and evidence, with `full` to 100 %.",
        PromoteRollout,
        promote
    ),
    act!("abortRollout", "abort", "Takes all traffic back; nothing is said of the release.", RolloutAction, abort),
    act!(
        "retryRollout",
        "retry",
        "Starts the newest rollout anew after its traffic was taken back.",
        RolloutAction,
        retry
    ),
    Operation {
        id: crate::service::rollouts::preview::OPERATION,
        method: Method::POST,
        path: "/api/v1/apps/{app}/environments/{env}/rollouts/current/preview-links",
        summary: "Signs links that show the candidate to whoever has them, whatever its weight is.",
        access: Access::environment(Role::Operator),
        query: &[],
        body: Takes::OptionalJson(schema_of::<PreviewRequest>),
        answers: &[Answer {
            status: 200,
            help: "One link for each host of the environment.",
            body: Gives::Json(schema_of::<PreviewLinks>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(preview(call)),
    },
];

fn place(call: &Call) -> (&str, &str) {
    (call.param("app"), call.param("env"))
}

/// The body, which may be left out.
fn body<T: serde::de::DeserializeOwned + Default>(call: &Call) -> Result<T, Failure> {
    if call.body.is_empty() { Ok(T::default()) } else { call.typed() }
}

fn reason(reason: Option<String>) -> Result<Option<String>, Failure> {
    if let Some(reason) = &reason {
        Call::check_reason(reason)?;
    }
    Ok(reason)
}

async fn start(call: Call) -> Result<Reply, Failure> {
    let request: StartRollout = call.typed()?;
    let dry_run = call.flag("dryRun");
    reason(request.reason.clone())?;
    let started =
        call.shared.control.start_rollout(&call.actor(), place(&call), &request, dry_run, ids::now_ms()).await;
    let rollout = started.map_err(|error| Failure::of_service(error, Some(&At::traffic(call.param("env")))))?;
    if dry_run {
        return Ok(Reply::ok(&rollout));
    }
    let (app, environment) = place(&call);
    let path = format!("/api/v1/apps/{app}/environments/{environment}/rollouts/{}", rollout.head.id);
    Ok(Reply::json(StatusCode::CREATED, &rollout).header(http::header::LOCATION, &path))
}

async fn list(call: Call) -> Result<Reply, Failure> {
    let cursor = call.cursor()?;
    let before = match cursor.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| invalid_id())?),
    };
    let limit = call.limit();
    let (app, environment) = place(&call);
    let mut items = call.shared.control.rollouts(app, environment, before, limit + 1).await?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next_cursor = items.last().filter(|_| more).map(|last| Call::cursor_after(&last.id.to_string()));
    Ok(Reply::ok(&Page { items, next_cursor }))
}

/// `None` is the newest.
fn id(call: &Call) -> Result<Option<i64>, Failure> {
    match call.param("rollout") {
        "current" => Ok(None),
        text => text.parse().ok().filter(|id: &i64| *id > 0).map(Some).ok_or_else(invalid_id),
    }
}

async fn get(call: Call) -> Result<Reply, Failure> {
    let (app, environment) = place(&call);
    Ok(Reply::ok(&call.shared.control.rollout(app, environment, id(&call)?).await?))
}

async fn reports(call: Call) -> Result<Reply, Failure> {
    let (app, environment) = place(&call);
    let control = &call.shared.control;
    let after = call.query("after").and_then(|after| after.parse().ok()).unwrap_or(0);
    let id = match id(&call)? {
        Some(id) => id,
        None => control.rollout(app, environment, None).await?.head.id,
    };
    Ok(Reply::ok(&control.rollout_reports(app, environment, id, after).await?))
}

fn invalid_id() -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "number_invalid", "a rollout is `current`, or a whole number from 1")
}

async fn act(call: &Call, act: Act, why: Option<String>) -> Result<Reply, Failure> {
    let done = (act, reason(why)?);
    let rollout = call.shared.control.act_on_rollout(&call.actor(), place(call), done, ids::now_ms()).await?;
    Ok(Reply::ok(&rollout))
}

async fn pause(call: Call) -> Result<Reply, Failure> {
    let RolloutAction { reason } = body(&call)?;
    act(&call, Act::Pause, reason).await
}

async fn resume(call: Call) -> Result<Reply, Failure> {
    let RolloutAction { reason } = body(&call)?;
    act(&call, Act::Resume, reason).await
}

async fn approve(call: Call) -> Result<Reply, Failure> {
    let RolloutAction { reason } = body(&call)?;
    act(&call, Act::Approve, reason).await
}

async fn promote(call: Call) -> Result<Reply, Failure> {
    let PromoteRollout { full, reason } = body(&call)?;
    act(&call, Act::Promote { full }, reason).await
}

async fn abort(call: Call) -> Result<Reply, Failure> {
    let RolloutAction { reason } = body(&call)?;
    act(&call, Act::Abort, reason).await
}

async fn retry(call: Call) -> Result<Reply, Failure> {
    let RolloutAction { reason: why } = body(&call)?;
    let why = reason(why)?;
    Ok(Reply::ok(&call.shared.control.retry_rollout(&call.actor(), place(&call), why, ids::now_ms()).await?))
}

async fn preview(call: Call) -> Result<Reply, Failure> {
    let request: PreviewRequest = body(&call)?;
    reason(request.reason.clone())?;
    if request.seconds.is_some_and(|seconds| !(1..=PreviewRequest::MOST_SECONDS).contains(&seconds)) {
        return Err(Failure::unfit("/seconds", "out_of_range", "links are good for 1 s to 24 h"));
    }
    let is_path =
        |path: &String| path.len() <= 1024 && path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !request.path.as_ref().is_none_or(is_path) {
        return Err(Failure::unfit(
            "/path",
            "path_invalid",
            "a page begins with / and has no spaces, 1024 bytes at most",
        ));
    }
    let links = call.shared.control.preview_links(&call.actor(), place(&call), &request, ids::now_ms()).await?;
    Ok(Reply::ok(&links))
}
