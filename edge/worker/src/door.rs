//! Where requests come in: the Worker's own few paths, and all others, which are decided and forwarded.
//!
//! Own paths begin with `/.bascule/v1/` and take the edge token only; without it nobody learns more than that.

use admin_api::edge::{PushAck, Scope};
use edge_engine::{EvaluateOptions, FlagSelection, JsonContext};
use worker::js_sys::Promise;
use worker::wasm_bindgen::prelude::*;
use worker::wasm_bindgen_futures::future_to_promise;
use worker::web_sys::{Request, Response};
use worker::{Context, Env, Result, console_error, event};

use crate::forward::{forward, without_engine};
use crate::fresh::STALE_MS;
use crate::held::{self, current};
use crate::object::MAX_BYTES;
use crate::platform::{self, now_ms};
use crate::settings::{Settings, settings};
use crate::url::parts;
use crate::{reports, settings as bindings};

/// The engine of an edge that has it compiled in.
const ENGINE: &str = "native";
const PREFIX: &str = "/.bascule/v1/";
/// What a context may weigh.
const MAX_CONTEXT: usize = 1 << 20;

#[event(fetch)]
async fn fetch(request: worker::Request, env: Env, ctx: Context) -> Result<worker::Response> {
    let request = request.inner();
    let url = request.url();
    let answered = match parts(&url).path.strip_prefix(PREFIX) {
        Some(own) => answer(own, request, &env, &ctx).await,
        None => forward(request, &env, &ctx).await,
    };
    // What the platform could not do is no reason for its error page.
    let answer = match answered {
        Ok(answer) => answer,
        Err(error) => {
            console_error!("the request could not be answered: {error}");
            refuse(502, "internal", "the Worker could not pass on this request")?
        }
    };
    Ok(answer.into())
}

/// Answers from the origin, for `entry.mjs`: the instance before this one ended at this request.
#[wasm_bindgen]
#[expect(unreachable_pub, reason = "it is reached from outside of Rust")]
pub fn origin(request: Request, env: Env) -> Promise {
    future_to_promise(async move { Ok(without_engine(&request, &env).await?.into()) })
}

/// The instance before this one ended with so many requests in no report.
#[wasm_bindgen]
#[expect(unreachable_pub, reason = "it is reached from outside of Rust")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
pub fn lost(env: &Env, requests: f64) {
    reports::lost(env, requests as u64);
}

async fn answer(own: &str, request: &Request, env: &Env, ctx: &Context) -> Result<Response> {
    let settings = settings(env);
    let authorization = request.headers().get("authorization")?;
    let scope = settings.trust.as_ref().map(|trust| &trust.scope);
    let Some(scope) = scope.filter(|_| settings.is_allowed(authorization.as_deref())) else {
        return refuse(401, "unauthorized", "this needs the Worker's edge token");
    };
    match (&*request.method(), own) {
        ("PUT", "snapshot") => push(request, env, &settings).await,
        ("POST", "evaluate") => evaluate(request, scope, env, ctx).await,
        ("GET", "state") => state(scope),
        _ => refuse(404, "not_found", "the Worker has no such path"),
    }
}

/// Hands a snapshot to the Durable Object; its answer is the acknowledgement.
async fn push(request: &Request, env: &Env, settings: &Settings) -> Result<Response> {
    let Some(object) = bindings::object(env) else {
        return refuse(503, "object_unavailable", "the Durable Object is not bound");
    };
    let Some(sealed) = platform::body(request, MAX_BYTES).await? else { return too_large(MAX_BYTES) };
    let answer = match object.ask(&platform::request("PUT", "https://object/", &[], Some(&sealed))?).await {
        Ok(answer) => answer,
        Err(error) => {
            console_error!("the snapshot was not kept: {error}");
            return refuse(
                503,
                "object_unavailable",
                "the Durable Object does not answer; the snapshot may not be kept",
            );
        }
    };
    if answer.status() == 200
        && let Some(trust) = &settings.trust
        && let Err(refusal) = held::take(&sealed, trust, settings).await
    {
        console_error!("the object took what this isolate did not: {} ({})", refusal.detail, refusal.code);
    }
    Ok(answer)
}

/// Decides for a JSON context, as `bascule decide` does.
async fn evaluate(request: &Request, scope: &Scope, env: &Env, ctx: &Context) -> Result<Response> {
    let Some(body) = platform::body(request, MAX_CONTEXT).await? else { return too_large(MAX_CONTEXT) };
    let Some(opened) = current(env, ctx).await else {
        return refuse(503, "no_snapshot", &format!("there is no snapshot of {} of {}", scope.environment, scope.app));
    };
    let context = match JsonContext::parse(&body) {
        Ok(context) => context,
        Err(error) => return refuse(400, error.code, &error.detail),
    };
    let options = EvaluateOptions { engine: ENGINE, now_ms: now_ms(), flags: FlagSelection::All, explain: false };
    let mut out = Vec::new();
    edge_engine::evaluate_plainly(&opened.snapshot, &context, &options, &mut out);
    json(200, "application/json", &out)
}

/// What the isolate that answers has in memory.
fn state(scope: &Scope) -> Result<Response> {
    let number = held::held().map(|opened| opened.snapshot.number());
    let memory = core::arch::wasm32::memory_size(0) * 65_536;
    let state = serde_json::json!({
        "app": scope.app, "environment": scope.environment, "engine": ENGINE, "snapshot": number, "boundMs": STALE_MS,
        "memoryBytes": memory,
    });
    json(200, "application/json", state.to_string().as_bytes())
}

/// The Durable Object's acknowledgement.
pub(crate) fn acknowledge(number: u64) -> Result<Response> {
    let ack = PushAck { number, engine: ENGINE.to_owned(), bound_ms: Some(STALE_MS.unsigned_abs()) };
    json(200, "application/json", &serde_json::to_vec(&ack)?)
}

/// The answer to a body beyond a limit.
pub(crate) fn too_large(limit: usize) -> Result<Response> {
    refuse(413, "too_large", &format!("a body here has at most {limit} bytes"))
}

/// The Worker's own answer to what it cannot do.
pub(crate) fn refuse(status: u16, code: &str, detail: &str) -> Result<Response> {
    let problem = serde_json::json!({"status": status, "code": code, "detail": detail});
    json(status, "application/problem+json", problem.to_string().as_bytes())
}

fn json(status: u16, kind: &str, body: &[u8]) -> Result<Response> {
    platform::answer(status, [("content-type", kind), ("cache-control", "no-store")], body)
}
