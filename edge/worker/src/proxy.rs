//! The exchange with an upstream: the client's body streams up, the upstream's streams down, an upgrade stays one.
//!
//! Redirects are the client's to follow. The runtime sends the upstream's own name as `host`; the client's is in
//! `x-forwarded-host`.

use edge_engine::Snapshot;
use edge_http::cookies;
use edge_http::fields::is_dropped_from_response;
use worker::wasm_bindgen::{JsCast as _, JsValue};
use worker::wasm_bindgen_futures::JsFuture;
use worker::web_sys::{self, Headers, Request, RequestInit, RequestRedirect, Response, ResponseInit};
use worker::{Result, console_error, js_sys};

use crate::choice::{self, Choice};
use crate::door;
use crate::url::parts;

/// Sends the client's request to an upstream with these fields.
pub(crate) async fn send(request: &Request, upstream: &str, fields: &[(String, String)]) -> Result<Response> {
    let target = format!("{upstream}{}", parts(&request.url()).target);
    let headers = Headers::new()?;
    for (name, value) in fields {
        headers.append(name, value)?;
    }
    // A request as its own init keeps method and body stream.
    let copied = Request::new_with_str_and_init(&target, request.unchecked_ref::<RequestInit>())?;
    let init = RequestInit::new();
    init.set_headers(&headers);
    init.set_redirect(RequestRedirect::Manual);
    let sent = Request::new_with_request_and_init(&copied, &init)?;
    let scope: web_sys::WorkerGlobalScope = js_sys::global().unchecked_into();
    let answer: JsValue = JsFuture::from(scope.fetch_with_request(&sent)).await?;
    Ok(answer.dyn_into()?)
}

/// The upstream's answer with our fields and without those that end here.
pub(crate) fn dress(answer: &Response, request_id: &str, decided: Option<(&Snapshot, &Choice)>) -> Result<Response> {
    let dressed = Response::new_with_opt_readable_stream_and_init(
        answer.body().as_ref(),
        answer.unchecked_ref::<ResponseInit>(),
    )?;
    let headers = dressed.headers();
    for name in worker::Headers(answer.headers()).keys().filter(|name| is_dropped_from_response(name)) {
        // The runtime speaks for the connection and the upgrade itself.
        if name.starts_with('x') {
            headers.delete(&name)?;
        }
    }
    headers.set("x-request-id", request_id)?;
    if let Some((snapshot, choice)) = decided {
        if snapshot.edge().debug {
            headers.set("x-bascule-release", snapshot.release(choice.route.release).id.as_str())?;
            headers.set("x-bascule-decision", &choice::explain(snapshot, &choice.route))?;
        }
        give_cookies(&headers, &choice.cookies)?;
        if let Some(vary) = choice::vary(snapshot, &choice.route) {
            headers.append("vary", &vary)?;
        }
    }
    Ok(dressed)
}

/// Our cookies, unless a cache would give them to everybody.
fn give_cookies(headers: &Headers, given: &[String]) -> Result<()> {
    let caching = headers.get("cache-control")?;
    if given.is_empty() || caching.as_ref().is_some_and(|value| cookies::is_public(value.as_bytes())) {
        return Ok(());
    }
    for cookie in given {
        headers.append("set-cookie", cookie)?;
    }
    if caching.is_none() {
        headers.set("cache-control", "private")?;
    }
    Ok(())
}

/// The answer when the upstream gave none.
pub(crate) fn failed(error: &worker::Error) -> Result<worker::Response> {
    console_error!("the upstream did not answer: {error}");
    door::refuse(503, "upstream_unavailable", "no upstream can answer now; try again")
}
