//! The gates, in order. Each one lets through or answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::middleware::Next;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};

use super::call::Call;
use super::error::Failure;
use super::operation::{Access, Operation, Query, QueryKind, Takes, all};
use super::reply::Reply;
use super::{Peer, Shared, handled, idempotency};
use crate::ids;
use crate::limits::come_back;
use crate::principal::Principal;
use crate::token::TokenText;

/// The longest request id that is taken from a client.
const MAX_REQUEST_ID: usize = 128;
/// The longest path and query.
const MAX_TARGET: usize = 8 << 10;
/// The longest query.
const MAX_QUERY: usize = 4096;
/// The longest value of a query parameter.
const MAX_QUERY_VALUE: usize = 512;

/// The id that the client sent, if it can be kept, or a new one.
pub(super) fn request_id<B>(request: &Request<B>) -> String {
    let sent = request.headers().get("x-request-id").and_then(|value| value.to_str().ok());
    let is_good = |id: &&str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:/+=".contains(&byte))
    };
    sent.filter(is_good).map_or_else(ids::random_id, str::to_owned)
}

/// A refusal before routing, in the words of whoever would have been asked.
fn refused(request: &Request<Body>, failure: Failure) -> Response<Body> {
    if request.uri().path().starts_with("/ofrep/") {
        return super::ofrep::failure(&failure, None).into_response();
    }
    failure.into_response(&request_id(request))
}

/// Before routing: a path that two readers could take for two paths is refused, not repaired.
pub(super) async fn first(request: Request<Body>, next: Next) -> Response<Body> {
    let path = request.uri().path();
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > MAX_TARGET) {
        let detail = format!("a path and its query have at most {MAX_TARGET} bytes");
        return refused(&request, Failure::new(StatusCode::URI_TOO_LONG, "target_too_long", detail));
    }
    if is_tricky(path) {
        let failure = Failure::new(
            StatusCode::BAD_REQUEST,
            "path_invalid",
            "a path has no empty, '.' or '..' segments, no ';', '\\' or control characters, plain or encoded",
        );
        return refused(&request, failure);
    }
    next.run(request).await
}

fn is_tricky(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let encoded = ["%2e", "%5c", "%00", "%3b", "%25"].iter().any(|code| lower.contains(code));
    let segment = |segment: &str| matches!(segment, "." | "..");
    encoded
        || path.contains("//")
        || path.bytes().any(|byte| byte == b';' || byte == b'\\' || byte.is_ascii_control())
        || path.split('/').any(segment)
        || !percent_encoded_well(path)
}

/// Every `%` is followed by two hexadecimal digits, and what they say is UTF-8.
fn percent_encoded_well(path: &str) -> bool {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return false };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or(0));
    }
    std::str::from_utf8(&bytes).is_ok_and(|text| !text.chars().any(char::is_control))
}

/// No such path.
pub(super) async fn not_found(request: Request<Body>) -> Response<Body> {
    let failure = Failure::new(StatusCode::NOT_FOUND, "path_unknown", "there is nothing at this path");
    failure.hint("GET /openapi.json lists all operations").into_response(&request_id(&request))
}

/// A path, and not this method.
pub(super) async fn wrong_method(matched: axum::extract::MatchedPath, request: Request<Body>) -> Response<Body> {
    let methods: Vec<&str> = all()
        .filter(|operation| operation.path == matched.as_str())
        .map(|operation| operation.method.as_str())
        .collect();
    let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_unknown", "this path has no such method");
    failure.allow(methods.join(", ")).into_response(&request_id(&request))
}

/// From routing to the handler.
pub(super) async fn through(
    shared: &Arc<Shared>,
    operation: &'static Operation,
    params: BTreeMap<String, String>,
    request: Request<Body>,
    request_id: &str,
) -> Result<Reply, Failure> {
    let _admitted = shared.admission.enter().ok_or_else(|| {
        let detail = "too many requests are under way";
        Failure::later(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail, come_back(4))
    })?;
    let peer = request.extensions().get::<Peer>().copied();
    let (mut parts, body) = request.into_parts();
    let principal = authorised(shared, operation, &params, &parts.headers, peer).await?;
    let query = query(operation, parts.uri.query().unwrap_or_default())?;
    check_media_type(operation, &parts.headers)?;
    let body = read(operation.body, &parts.headers, body, shared.body_timeout).await?;
    parts.headers.remove(super::ofrep::QUERY);
    if let Some(raw) = parts.uri.query().and_then(|raw| HeaderValue::from_str(raw).ok()) {
        parts.headers.insert(super::ofrep::QUERY, raw);
    }
    let call = Call {
        shared: Arc::clone(shared),
        operation,
        principal,
        peer,
        request_id: request_id.to_owned(),
        params,
        query,
        headers: parts.headers,
        body,
    };
    idempotency::once(shared, call, |call| handled(shared, operation, call)).await
}

async fn authorised(
    shared: &Shared,
    operation: &Operation,
    params: &BTreeMap<String, String>,
    headers: &HeaderMap,
    peer: Option<Peer>,
) -> Result<Option<Arc<Principal>>, Failure> {
    // OFREP refuses in its own words; a wrong token counts all the same.
    let is_ofrep = operation.path.starts_with("/ofrep/") && presented(headers).is_some();
    if operation.access == Access::Public && !is_ofrep {
        return Ok(None);
    }
    let address = Peer::name(peer);
    let recognised = match presented(headers) {
        Some(token) => shared.control.recognise(&token.sha256()).await?,
        None => None,
    };
    // A right token counts whatever else came from its address: behind a proxy all have the same.
    if recognised.is_none() && presented(headers).is_some() {
        if !shared.buckets.failures_left(&address) {
            return Err(Failure::later(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_failures",
                "too many requests with a wrong token came from this address",
                10,
            ));
        }
        shared.buckets.failed(&address);
    }
    let Access::Token(needs) = operation.access else { return Ok(None) };
    let principal = recognised.ok_or_else(Failure::unauthenticated)?;
    let is_machine = operation.path.starts_with("/edge/") || operation.path.starts_with("/ofrep/");
    if !is_machine && !shared.buckets.take(&principal.id) {
        return Err(Failure::later(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "this token has asked too often", 1));
    }
    let param = |name: &str| params.get(name).map_or("", String::as_str);
    if !principal.may(needs, param("app"), param("env")) {
        let role = needs.role.as_str();
        return Err(Failure::forbidden(format!("this needs the role {role} here, and the token has it not")));
    }
    Ok(Some(principal))
}

/// The token of a request, from the one place or the other.
pub(super) fn presented(headers: &HeaderMap) -> Option<TokenText> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    TokenText::parse(bearer.or_else(|| text("x-api-key"))?)
}

fn query(operation: &Operation, text: &str) -> Result<BTreeMap<String, String>, Failure> {
    let wrong = |code, detail: String| Err(Failure::new(StatusCode::BAD_REQUEST, code, detail));
    if text.len() > MAX_QUERY {
        return wrong("query_too_long", format!("a query has at most {MAX_QUERY} bytes"));
    }
    let mut query = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let Some(Query { kind, .. }) = operation.query.iter().find(|known| known.name == name) else {
            let known: Vec<&str> = operation.query.iter().map(|known| known.name).collect();
            let known = if known.is_empty() { "it has none".to_owned() } else { known.join(", ") };
            return wrong("query_unknown", format!("this operation has no query parameter of this name: {known}"));
        };
        let is_good = match kind {
            QueryKind::Text => value.len() <= MAX_QUERY_VALUE && !value.chars().any(char::is_control),
            QueryKind::Flag => matches!(&*value, "true" | "false"),
            QueryKind::Number(from, to) => {
                value.bytes().all(|byte| byte.is_ascii_digit())
                    && value.parse::<u32>().is_ok_and(|number| (from..=to).contains(&&number))
            }
        };
        if !is_good {
            return wrong("query_invalid", format!("the query parameter {name} has no such value"));
        }
        if query.insert(name.clone().into_owned(), value.into_owned()).is_some() {
            return wrong("query_duplicate", format!("the query parameter {name} comes twice"));
        }
    }
    Ok(query)
}

fn check_media_type(operation: &Operation, headers: &HeaderMap) -> Result<(), Failure> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = sent.map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let is_good = match operation.body {
        Takes::Nothing | Takes::Ofrep => true,
        Takes::Json(_) => essence.as_deref() == Some("application/json"),
        Takes::OptionalJson(_) => essence.is_none() || essence.as_deref() == Some("application/json"),
        Takes::Manifest => matches!(
            essence.as_deref(),
            Some("application/yaml" | "application/x-yaml" | "text/yaml" | "application/json")
        ),
    };
    if is_good {
        return Ok(());
    }
    let expected = match operation.body {
        Takes::Manifest => "application/yaml or application/json",
        _ => "application/json",
    };
    Err(Failure::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "media_type_unknown",
        format!("the body of this operation is {expected}"),
    ))
}

/// Reads the body whole, within its size and time.
async fn read(takes: Takes, headers: &HeaderMap, body: Body, within: Duration) -> Result<Bytes, Failure> {
    let limit = takes.limit();
    let too_large = || {
        let detail = format!("the body of this operation has at most {limit} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let read = tokio::time::timeout(within, Limited::new(body, limit).collect()).await;
    match read {
        Err(_) => {
            let detail = format!("the body did not come within {} s", within.as_secs_f64());
            Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail))
        }
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Failure::new(StatusCode::BAD_REQUEST, "body_broken", "the body broke off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_two_readers_could_read_differently_are_refused() {
        for path in [
            "/api/v1/health/../flags",
            "/api//v1/apps",
            "/api/v1/%2e%2e/apps",
            "/api/v1/%2E/apps",
            "/api/v1/apps;x=1",
            "/api/v1/apps/a%00",
            "/api/v1/apps/a%5cb",
            "/api/v1/apps/a\\b",
            "/api/v1/./apps",
            "/api/v1/apps/%252e",
            "/api/v1/apps/%zz",
            "/api/v1/apps/%ff",
            "/api/v1/apps/..",
        ] {
            assert!(is_tricky(path), "{path}");
        }
        for path in ["/api/v1/apps/web/flags/a%2Fb", "/api/v1/apps/web/flags/a..b", "/", "/livez"] {
            assert!(!is_tricky(path), "{path}");
        }
    }
}
