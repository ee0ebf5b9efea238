//! Liveness, readiness, metrics and the description of the API: for machines, without a token, and without anything worth
//! one. What `/api/health` says is in [`super::health`].

use http::{Method, StatusCode};

use super::call::Call;
use super::error::Failure;
use super::operation::{Access, Answer, Gives, IfMatch, Operation, Takes, schema_of};
use super::reply::Reply;
use crate::ids;
use admin_api::answers::Health;

/// The exposition format's media type.
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const fn operation(
    id: &'static str,
    path: &'static str,
    summary: &'static str,
    answers: &'static [Answer],
    handler: super::operation::Handler,
) -> Operation {
    Operation {
        id,
        method: Method::GET,
        path,
        summary,
        access: Access::Public,
        query: &[],
        body: Takes::Nothing,
        answers,
        if_match: IfMatch::No,
        handler,
    }
}

const HEALTH: Gives = Gives::Json(schema_of::<Health>);
const PLAIN: Gives = Gives::Other("text/plain");

pub(super) const OPERATIONS: &[Operation] = &[
    operation(
        "livez",
        "/livez",
        "Says that the process lives.",
        &[Answer { status: 200, help: "It does.", body: PLAIN }],
        |_| Box::pin(async { Ok(Reply::bytes(StatusCode::OK, "text/plain", "ok\n")) }),
    ),
    operation(
        "readyz",
        "/readyz",
        "Says whether requests can be served now.",
        &[
            Answer { status: 200, help: "They can.", body: PLAIN },
            Answer { status: 503, help: "The store does not answer, or the process ends.", body: PLAIN },
        ],
        |call| Box::pin(readyz(call)),
    ),
    operation(
        "health",
        "/api/health",
        "Says how each part is.",
        &[
            Answer { status: 200, help: "Healthy.", body: HEALTH },
            Answer { status: 503, help: "Not healthy.", body: HEALTH },
        ],
        |call| Box::pin(async move { Ok(super::health::reply(&call.shared).await) }),
    ),
    operation(
        "metrics",
        "/metrics",
        "Counters in the exposition format of Prometheus.",
        &[Answer { status: 200, help: "The counters.", body: Gives::Other(METRICS) }],
        |call| {
            Box::pin(async move {
                let text = call.shared.metrics.render(&call.shared.control.hub, ids::now_ms());
                Ok(Reply::bytes(StatusCode::OK, METRICS, text))
            })
        },
    ),
    operation(
        "openapi",
        "/openapi.json",
        "This API as an OpenAPI 3.1 document.",
        &[Answer { status: 200, help: "The document.", body: Gives::Other("application/json") }],
        |_| Box::pin(async { Ok(Reply::ok(super::openapi::document())) }),
    ),
];

async fn readyz(call: Call) -> Result<Reply, Failure> {
    let why = if call.shared.stop.is_cancelled() {
        Some("the process ends\n")
    } else if call.shared.control.store.ping().await.is_err() {
        Some("the store does not answer\n")
    } else {
        None
    };
    Ok(match why {
        None => Reply::bytes(StatusCode::OK, "text/plain", "ok\n"),
        Some(why) => Reply::bytes(StatusCode::SERVICE_UNAVAILABLE, "text/plain", why),
    })
}
