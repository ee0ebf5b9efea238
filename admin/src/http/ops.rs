//! Health, metrics and the description of the API: for machines, without a token, and without anything worth one.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::call::Call;
use super::error::Failure;
use super::operation::{Access, Answer, Gives, IfMatch, Operation, Takes, schema_of};
use super::reply::Reply;
use crate::ids;
use admin_api::answers::Health;

/// Free space below which the disk is worth a warning, and below which it is not healthy.
const WARN_FREE: u64 = 1 << 30;
const MIN_FREE: u64 = 64 << 20;
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
        |call| Box::pin(health(call)),
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

/// A check and whether it is bad enough for the whole to be unhealthy.
type Check = (&'static str, Value, bool);

async fn health(call: Call) -> Result<Reply, Failure> {
    let checks: Vec<Check> = vec![store(&call).await, disk(&call), memory(), edges(&call), snapshots(&call)];
    let is_healthy = checks.iter().all(|(_, _, is_bad)| !is_bad);
    let health = Health {
        status: if is_healthy { "healthy" } else { "unhealthy" }.to_owned(),
        timestamp: ids::rfc3339(ids::now_ms()),
        checks: checks.into_iter().map(|(name, value, _)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>(),
    };
    let status = if is_healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(Reply::json(status, &health))
}

async fn store(call: &Call) -> Check {
    let started = std::time::Instant::now();
    let answered = call.shared.control.store.ping().await;
    let latency_ms = started.elapsed().as_secs_f64() * 1000.0;
    let status = if answered.is_ok() { "pass" } else { "fail" };
    ("store", json!({"status": status, "latencyMs": latency_ms}), answered.is_err())
}

fn disk(call: &Call) -> Check {
    let Some(folder) = &call.shared.state_dir else { return ("disk", json!({"status": "pass"}), false) };
    match rustix::fs::statvfs(folder.as_path()) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let status = match free {
                0..MIN_FREE => "fail",
                MIN_FREE..WARN_FREE => "warn",
                _ => "pass",
            };
            ("disk", json!({"status": status, "freeBytes": free}), free < MIN_FREE)
        }
        Err(error) => ("disk", json!({"status": "fail", "detail": error.to_string()}), true),
    }
}

/// What the process holds, from the kernel's own books.
fn memory() -> Check {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let resident = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    let bytes = resident.map(|pages| pages.saturating_mul(rustix::param::page_size() as u64));
    ("memory", json!({"status": "pass", "residentBytes": bytes}), false)
}

fn edges(call: &Call) -> Check {
    let edges = call.shared.control.hub.edges();
    let connected = edges.iter().filter(|edge| edge.is_connected()).count();
    let refusing = edges.iter().filter(|edge| !edge.refusals.is_empty()).count();
    let status = if refusing > 0 || connected < edges.len() { "warn" } else { "pass" };
    let seen = edges.len();
    ("edges", json!({"status": status, "connected": connected, "seen": seen, "refusing": refusing}), false)
}

fn snapshots(call: &Call) -> Check {
    let now = ids::now_ms();
    let latest = call.shared.control.hub.all_latest();
    let newest = latest.iter().map(|(_, latest)| latest.created_at).max();
    let age = newest.map(|at| now.saturating_sub(at).max(0) / 1000);
    let value = json!({"status": "pass", "environments": latest.len(), "newestAgeSeconds": age});
    ("snapshots", value, false)
}
