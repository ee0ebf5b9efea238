//! HTTP: one table of operations, and the order in which every request goes through the same gates.
//!
//! A request is: named (request id), looked at (path tricks are refused before routing), routed, admitted, recognised,
//! authorised, read (bounded in size and time), and only then handled. There is no way past it: a handler can be reached
//! only through an [`Operation`], and what an operation needs is a field of it. The `OpenAPI` document is made from the
//! same table.

pub mod call;
pub mod error;
pub mod idempotency;
pub mod openapi;
pub mod operation;
pub mod reply;

mod apply;
mod apps;
mod audit;
mod calibration;
mod edges;
mod environments;
mod evaluate;
mod events;
mod flags;
mod gates;
mod health;
mod notifications;
mod objects;
mod observed;
mod ofrep;
mod ops;
mod panic;
mod releases;
mod rollback;
mod rollouts;
mod segments;
mod signals;
mod snapshots;
mod standing;
mod strict;
mod targeting;
mod templates;
mod tokens;
mod traffic;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::RawPathParams;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{Admission, Buckets};
use crate::metrics::Metrics;
use crate::service::Control;
use error::Failure;
use operation::Operation;
use reply::Reply;

pub use operation::{Access, all};

/// What all requests share.
#[derive(Debug)]
pub struct Shared {
    /// The control plane.
    pub control: Arc<Control>,
    /// Ends streams.
    pub stop: CancellationToken,
    /// Work that must be finished although its client has gone.
    pub tasks: TaskTracker,
    /// How many requests are under way.
    pub admission: Admission,
    /// How often tokens and addresses may ask.
    pub buckets: Buckets,
    /// The longest that a body may take.
    pub body_timeout: Duration,
    /// What is counted.
    pub metrics: Metrics,
    /// Requests with an `Idempotency-Key` that are under way.
    pub idempotency: idempotency::UnderWay,
    /// Where the state directory is, for the check of the disk.
    pub state_dir: Option<std::path::PathBuf>,
}

/// The address of whoever opened the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// Under which its failures are counted.
    fn name(peer: Option<Self>) -> String {
        peer.map_or_else(String::new, |Self(address)| address.to_string())
    }
}

/// Routes all operations.
pub fn router(shared: &Arc<Shared>) -> Router {
    let mut paths: Vec<(&'static str, MethodRouter)> = Vec::new();
    for operation in all() {
        let shared = Arc::clone(shared);
        let handle = move |params: RawPathParams, request: Request<Body>| {
            let shared = Arc::clone(&shared);
            async move { answer(shared, operation, params, request).await }
        };
        let filter = match operation.method {
            Method::POST => MethodFilter::POST,
            Method::PUT => MethodFilter::PUT,
            Method::PATCH => MethodFilter::PATCH,
            Method::DELETE => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        match paths.iter_mut().find(|(path, _)| *path == operation.path) {
            Some((_, methods)) => *methods = std::mem::take(methods).on(filter, handle),
            None => paths.push((operation.path, on(filter, handle))),
        }
    }
    let mut router = Router::new();
    for (path, mut methods) in paths {
        if path.starts_with("/ofrep/") {
            let shared = Arc::clone(shared);
            let ask = move |headers: HeaderMap| {
                let reply = ofrep::preflight(&shared.control.hub, &headers);
                async move { reply.into_response() }
            };
            methods = methods.options(ask);
        }
        router = router.route(path, methods.fallback(gates::wrong_method));
    }
    router.fallback(gates::not_found).layer(axum::middleware::from_fn(gates::first))
}

/// One request from its routing to its answer.
async fn answer(
    shared: Arc<Shared>,
    operation: &'static Operation,
    params: RawPathParams,
    request: Request<Body>,
) -> Response<Body> {
    let started = Instant::now();
    let request_id = gates::request_id(&request);
    let params: BTreeMap<String, String> =
        params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let key = params.get("key").cloned();
    let outcome = gates::through(&shared, operation, params, request, &request_id).await;
    let mut response = match outcome {
        Ok(reply) => reply.into_response(),
        Err(failure) if operation.path.starts_with("/ofrep/") => {
            ofrep::failure(&failure, key.as_deref()).into_response()
        }
        Err(failure) => failure.into_response(&request_id),
    };
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("x-request-id", id);
    }
    shared.metrics.answered(operation.id, response.status(), started.elapsed());
    response
}

/// Runs a handler so that it is finished although its client has gone, and so that a panic is an answer.
async fn handled(shared: &Shared, operation: &'static Operation, call: call::Call) -> Result<Reply, Failure> {
    let work = shared.tasks.spawn((operation.handler)(call));
    match work.await {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::error!(operation = operation.id, error = %error, "a handler panicked: this is a bug in bascule");
            Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "this is a bug in bascule"))
        }
    }
}
