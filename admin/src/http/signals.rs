//! What others say of an environment: alerts, what its infrastructure uses, and events of its app.

use http::{Method, StatusCode};

use super::call::Call;
use super::error::Failure;
use super::operation::{Access, Answer, Gives, IfMatch, Operation, Takes, schema_of};
use super::reply::Reply;
use crate::ids;
use crate::principal::Role;
use admin_api::signals::{AlertmanagerMessage, AlertsTaken, AppEvents, AppEventsTaken, InfrastructureUse};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "takeAlerts",
        method: Method::POST,
        path: "/api/v1/apps/{app}/environments/{env}/signals/alertmanager",
        summary: "Takes what Prometheus Alertmanager sends to a webhook. An alert about the candidate takes traffic back.",
        access: Access::environment(Role::Operator),
        query: &[],
        body: Takes::Json(schema_of::<AlertmanagerMessage>),
        answers: &[Answer {
            status: 200,
            help: "What each alert comes to.",
            body: Gives::Json(schema_of::<AlertsTaken>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(alerts(call)),
    },
    Operation {
        id: "takeInfrastructureUse",
        method: Method::POST,
        path: "/api/v1/apps/{app}/environments/{env}/signals/infrastructure",
        summary: "Takes what the infrastructure uses. Above a plan's thresholds no step goes forward.",
        access: Access::environment(Role::Editor),
        query: &[],
        body: Takes::Json(schema_of::<InfrastructureUse>),
        answers: &[Answer { status: 204, help: "It is kept.", body: Gives::Nothing }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(infrastructure(call)),
    },
    Operation {
        id: "takeAppEvents",
        method: Method::POST,
        path: "/api/v1/apps/{app}/environments/{env}/events",
        summary: "Takes what happened in an app: payments, sign-ins. Criteria of a rollout's plan are judged by them.",
        access: Access::environment(Role::Ofrep),
        query: &[],
        body: Takes::Json(schema_of::<AppEvents>),
        answers: &[Answer {
            status: 200,
            help: "How many were counted, and how many are evidence.",
            body: Gives::Json(schema_of::<AppEventsTaken>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(events(call)),
    },
];

fn scope(call: &Call) -> (&str, &str) {
    (call.param("app"), call.param("env"))
}

async fn alerts(call: Call) -> Result<Reply, Failure> {
    let message: AlertmanagerMessage = call.typed()?;
    let taken = call.shared.control.take_alerts(scope(&call), &message, ids::now_ms()).await?;
    Ok(Reply::ok(&taken))
}

async fn infrastructure(call: Call) -> Result<Reply, Failure> {
    let used: InfrastructureUse = call.typed()?;
    call.shared.control.take_use(scope(&call), &used, ids::now_ms()).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

async fn events(call: Call) -> Result<Reply, Failure> {
    let events: AppEvents = call.typed()?;
    let taken = call.shared.control.take_events(scope(&call), &events, ids::now_ms()).await?;
    Ok(Reply::ok(&taken))
}
