//! The exchange with an upstream: the client's body streams up, the upstream's streams down, an upgrade stays one.
//!
//! Redirects are the client's to follow. The runtime sends the upstream's own name as `host`; the client's is in
//! `x-forwarded-host`. An upstream `https://NAME.binding` is the service that is bound as `NAME`.

use std::time::Duration;

use edge_http::cookies;
use edge_http::fields::is_dropped_from_response;
use worker::wasm_bindgen::JsCast as _;
use worker::web_sys::{
    AbortController, Headers, ReadableStream, Request, RequestInit, RequestRedirect, Response, ResponseInit,
};
use worker::{Env, Result};

use crate::choice::Decided;
use crate::context::Fields;
use crate::platform::{self, within};
use crate::url::{binding, parts};

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The upstream did not answer in time.
    Timeout,
    /// It could not be reached, or broke off.
    Transport(worker::Error),
}

/// Sends the client's request to an upstream with these fields.
pub(crate) async fn send(
    env: &Env,
    request: &Request,
    upstream: &str,
    fields: &Fields,
    patience: Duration,
) -> std::result::Result<Response, Fault> {
    let abort = AbortController::new().map_err(|error| Fault::Transport(error.into()))?;
    let sent = outgoing(request, upstream, fields, &abort).map_err(Fault::Transport)?;
    let answer = async {
        match binding(upstream) {
            None => platform::fetch(&sent).await,
            Some(name) => {
                let service = platform::binding(env, &name).ok_or_else(|| format!("no service is bound as {name}"))?;
                service.ask(&sent).await
            }
        }
    };
    if let Some(answer) = within(patience, answer).await {
        return answer.map_err(Fault::Transport);
    }
    abort.abort();
    Err(Fault::Timeout)
}

fn outgoing(request: &Request, upstream: &str, fields: &Fields, abort: &AbortController) -> Result<Request> {
    let target = format!("{}{}", upstream.trim_end_matches('/'), parts(&request.url()).target);
    let headers = Headers::new()?;
    for (name, value) in fields {
        headers.append(name, value)?;
    }
    // A request as its own init keeps method and body stream.
    let copied = Request::new_with_str_and_init(&target, request.unchecked_ref::<RequestInit>())?;
    let init = RequestInit::new();
    init.set_headers(&headers);
    init.set_redirect(RequestRedirect::Manual);
    init.set_signal(Some(&abort.signal()));
    Ok(Request::new_with_request_and_init(&copied, &init)?)
}

/// The upstream's answer with our fields and without those that end here.
pub(crate) fn dress(answer: &Response, request_id: &str, decided: Option<Decided<'_>>) -> Result<Response> {
    let dressed = Response::new_with_opt_readable_stream_and_init(
        answer.body().as_ref(),
        answer.unchecked_ref::<ResponseInit>(),
    )?;
    let headers = dressed.headers();
    for name in worker::Headers(answer.headers()).keys().filter(|name| is_dropped_from_response(name)) {
        // The runtime speaks for the connection and the upgrade itself.
        if !matches!(&*name, "connection" | "transfer-encoding" | "upgrade") {
            headers.delete(&name)?;
        }
    }
    headers.set("x-request-id", request_id)?;
    if let Some(decided) = decided {
        let snapshot = decided.snapshot;
        if snapshot.edge().debug {
            headers.set("x-bascule-release", snapshot.release(decided.serving.release).id.as_str())?;
            headers.set("x-bascule-decision", &decided.explain())?;
        }
        give_cookies(&headers, &decided)?;
        if let Some(vary) = decided.vary() {
            headers.append("vary", &vary)?;
        }
    }
    Ok(dressed)
}

/// Our cookies, unless a cache would give them to everybody.
fn give_cookies(headers: &Headers, decided: &Decided<'_>) -> Result<()> {
    let caching = headers.get("cache-control")?;
    if caching.as_ref().is_some_and(|value| cookies::is_public(value.as_bytes())) {
        return Ok(());
    }
    let mut given = false;
    for cookie in decided.cookies() {
        headers.append("set-cookie", cookie)?;
        given = true;
    }
    if given && caching.is_none() {
        headers.set("cache-control", "private")?;
    }
    Ok(())
}

/// Lets an answer go that nobody gets.
pub(crate) fn discard(answer: &Response) {
    if let Some(body) = answer.body() {
        // That cancelling fails changes nothing for the request.
        let _: worker::js_sys::Promise = ReadableStream::cancel(&body);
    }
}
