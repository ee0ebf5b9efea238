//! Where requests come in: the Worker's own few paths, and all others, which are decided and forwarded.
//!
//! Own paths begin with `/.bascule/v1/` and take the edge token only; without it nobody learns more than that.

use admin_api::edge::Scope;
use edge_engine::{EvaluateOptions, FlagSelection, JsonContext};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use worker::{Context, Env, Method, Request, RequestInit, Response, Result, console_error, event};

use crate::context::Subject;
use crate::held::{self, copy, current, now_ms};
use crate::url::parts;
use crate::{choice, proxy, settings};

/// The engine of an edge that has it compiled in.
const ENGINE: &str = "native";
const PREFIX: &str = "/.bascule/v1/";

#[event(fetch)]
async fn fetch(request: Request, env: Env, ctx: Context) -> Result<Response> {
    let path = request.path();
    match path.strip_prefix(PREFIX) {
        Some(own) => answer(own, request, &env, &ctx).await,
        None => forward(&request, &env, &ctx).await,
    }
}

async fn forward(request: &Request, env: &Env, ctx: &Context) -> Result<Response> {
    let subject = subject(request, env);
    let (request_id, unit) = match ids(&subject) {
        Ok(ids) => ids,
        Err(error) => {
            console_error!("no random bytes: {error}");
            return refuse(500, "internal", "the Worker cannot make an id");
        }
    };
    let Some(opened) = current(env, ctx).await else {
        let Some(origin) = settings::origin(env) else {
            return refuse(503, "no_snapshot", "this Worker has no configuration yet");
        };
        let fields = choice::outgoing(&subject, None, &request_id);
        return match proxy::send(request.inner(), &origin, &fields).await {
            Ok(answer) => proxy::dress(&answer, &request_id, None).map(Into::into),
            Err(error) => proxy::failed(&error),
        };
    };
    let snapshot = &opened.snapshot;
    let choice = choice::choose(snapshot, &subject, &unit, now_ms());
    let fields = choice::outgoing(&subject, Some((snapshot, &choice)), &request_id);
    match proxy::send(request.inner(), &choice.upstream, &fields).await {
        Ok(answer) => proxy::dress(&answer, &request_id, Some((snapshot, &choice))).map(Into::into),
        Err(error) => proxy::failed(&error),
    }
}

/// The request's id, the client's when it may pass, and a unit for whoever has none.
fn ids(subject: &Subject) -> std::result::Result<(String, [u8; 32]), getrandom::Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    let unit = edge_http::ids::unit(random);
    getrandom::fill(&mut random)?;
    let given = subject.headers.get("x-request-id").filter(|id| edge_http::fields::is_sane_id(id.as_bytes()));
    let id = match given.and_then(|id| id.to_str().ok()) {
        Some(id) => id.to_owned(),
        None => String::from_utf8_lossy(&edge_http::ids::request_id(random, now_ms())).into_owned(),
    };
    Ok((id, unit))
}

fn subject(request: &Request, env: &Env) -> Subject {
    let url = request.inner().url();
    let url = parts(&url);
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers().entries() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    let ip = headers.get("cf-connecting-ip").and_then(|ip| ip.to_str().ok()).map(str::to_owned);
    let cf = request.cf();
    Subject {
        method: request.inner().method(),
        path: url.path.to_owned(),
        query: url.query.to_owned(),
        authority: url.authority.to_owned(),
        ip,
        country: cf.and_then(worker::Cf::country),
        region: settings::region(env).or_else(|| cf.map(|cf| cf.colo().to_ascii_lowercase())),
        is_tls: url.scheme == "https",
        headers,
    }
}

async fn answer(own: &str, mut request: Request, env: &Env, ctx: &Context) -> Result<Response> {
    let Some(scope) = settings::scope(env).filter(|_| is_allowed(&request, env)) else {
        return refuse(401, "unauthorized", "this needs the Worker's edge token");
    };
    match (request.method(), own) {
        (Method::Put, "snapshot") => push(request.bytes().await?, env, ctx).await,
        (Method::Post, "evaluate") => evaluate(&request.bytes().await?, &scope, env, ctx).await,
        _ => refuse(404, "not_found", "the Worker has no such path"),
    }
}

/// Whether the request has the edge token. Digests are compared, and all of them, so that time tells nothing.
fn is_allowed(request: &Request, env: &Env) -> bool {
    let given = request.headers().get("authorization").ok().flatten().unwrap_or_default();
    let Some((given, token)) = given.strip_prefix("Bearer ").zip(settings::token(env)) else { return false };
    let (given, token) = (Sha256::digest(given), Sha256::digest(token));
    given.iter().zip(&token).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Hands a snapshot to the Durable Object; its answer is the acknowledgement.
async fn push(sealed: Vec<u8>, env: &Env, ctx: &Context) -> Result<Response> {
    let Some(object) = settings::object(env) else {
        return refuse(503, "object_unavailable", "the Durable Object is not bound");
    };
    let mut init = RequestInit::new();
    init.with_method(Method::Put).with_body(Some(worker::js_sys::Uint8Array::from(&sealed[..]).into()));
    let answer = match object.fetch_with_request(Request::new_with_init("https://object/", &init)?).await {
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
    if answer.status_code() == 200 {
        if let Some(trust) = settings::trust(env) {
            held::take(&sealed, &trust);
        }
        let env = env.clone();
        ctx.wait_until(async move { copy(&env, &sealed).await });
    }
    Ok(answer)
}

/// Decides for a JSON context, as `bascule decide` does.
async fn evaluate(body: &[u8], scope: &Scope, env: &Env, ctx: &Context) -> Result<Response> {
    let Some(opened) = current(env, ctx).await else {
        return refuse(503, "no_snapshot", &format!("there is no snapshot of {} of {}", scope.environment, scope.app));
    };
    let context = match JsonContext::parse(body) {
        Ok(context) => context,
        Err(error) => return refuse(400, error.code, &error.detail),
    };
    let options = EvaluateOptions { engine: ENGINE, now_ms: now_ms(), flags: FlagSelection::All, explain: false };
    let mut out = Vec::new();
    edge_engine::evaluate(&opened.snapshot, &context, &options, &mut out);
    json(200, "application/json", out)
}

/// The Durable Object's acknowledgement.
pub(crate) fn acknowledge(number: u64) -> Result<Response> {
    let ack = serde_json::json!({"number": number, "engine": ENGINE});
    json(200, "application/json", ack.to_string().into_bytes())
}

/// The Worker's own answer to what it cannot do.
pub(crate) fn refuse(status: u16, code: &str, detail: &str) -> Result<Response> {
    let problem = serde_json::json!({"status": status, "code": code, "detail": detail});
    json(status, "application/problem+json", problem.to_string().into_bytes())
}

fn json(status: u16, kind: &str, body: Vec<u8>) -> Result<Response> {
    let response = Response::from_bytes(body)?.with_status(status);
    response.headers().set("content-type", kind)?;
    response.headers().set("cache-control", "no-store")?;
    Ok(response)
}
