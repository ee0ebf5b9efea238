//! OFREP on the control plane: the same bytes as at an edge, evaluated natively on what was published last.
//!
//! The environment is the token's. A token that reaches several says which one by `x-bascule-environment: APP/ENV`.

use std::sync::Arc;
use std::time::Duration;

use edge_ofrep::{
    Audience, Conditions, Failure as OfrepFailure, Fingerprint, Reply as OfrepReply, Request, Target, Tickets, cors,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::Peer;
use super::call::Call;
use super::error::Failure;
use super::operation::{Access, Answer, Gives, IfMatch, Operation, Query, QueryKind, Takes, schema_of};
use super::reply::Reply;
use crate::edges::stream::Events;
use crate::edges::{Evaluable, Hub};
use crate::ids;
use crate::principal::{Principal, Role};
use admin_api::edge::Scope;
use bytes::Bytes;

/// Names the environment where a token reaches several.
const ENVIRONMENT: &str = "x-bascule-environment";
const VALUE: Gives = Gives::Json(schema_of::<serde_json::Value>);
/// The query as it came: its order and spelling count for OFREP's conditions.
pub(super) const QUERY: &str = "x-bascule-query";

const fn text(name: &'static str, help: &'static str) -> Query {
    Query { name, kind: QueryKind::Text, help }
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "ofrepBulk",
        method: Method::POST,
        path: "/ofrep/v1/evaluate/flags",
        summary: "OFREP 0.3.0: evaluates all flags that the token may see.",
        access: Access::Public,
        query: &[
            text("flagConfigEtag", "The `etag` of an event that led to this request."),
            text("flagConfigLastModified", "The `lastModified` of that event."),
        ],
        body: Takes::Ofrep,
        answers: &[
            Answer { status: 200, help: "The flags, with an ETag.", body: VALUE },
            Answer { status: 304, help: "The client has this answer already.", body: Gives::Nothing },
            Answer { status: 401, help: "No token, or one that does not count.", body: VALUE },
            Answer { status: 403, help: "The token is for something else.", body: VALUE },
        ],
        if_match: IfMatch::No,
        handler: |call| Box::pin(evaluate(call)),
    },
    Operation {
        id: "ofrepSingle",
        method: Method::POST,
        path: "/ofrep/v1/evaluate/flags/{*key}",
        summary: "OFREP 0.3.0: evaluates one flag.",
        access: Access::Public,
        query: &[],
        body: Takes::Ofrep,
        answers: &[
            Answer { status: 200, help: "The flag.", body: VALUE },
            Answer { status: 401, help: "No token, or one that does not count.", body: VALUE },
            Answer { status: 403, help: "The token is for something else.", body: VALUE },
        ],
        if_match: IfMatch::No,
        handler: |call| Box::pin(evaluate(call)),
    },
    Operation {
        id: "ofrepEvents",
        method: Method::GET,
        path: "/ofrep/v1/events",
        summary: "OFREP 0.3.0: says when to evaluate again, as server-sent events.",
        access: Access::Public,
        query: &[text("ticket", "From the URL that a bulk evaluation has answered.")],
        body: Takes::Nothing,
        answers: &[
            Answer { status: 200, help: "The stream; it does not end by itself.", body: Gives::Events },
            Answer { status: 401, help: "No ticket, or one that does not count.", body: VALUE },
        ],
        if_match: IfMatch::No,
        handler: |call| Box::pin(events(call)),
    },
];

/// A published environment that a token may ask about.
struct Reached {
    scope: Scope,
    evaluable: Arc<Evaluable>,
    /// Sees only what browsers may see.
    is_client: bool,
}

/// The environment that a token reaches; `None` when it is none, or several and nobody says which.
fn reached(call: &Call, principal: &Principal) -> Option<Reached> {
    let wanted = call.headers.get(ENVIRONMENT).and_then(|value| value.to_str().ok());
    let role = |scope: &Scope| {
        let has = |role| principal.has(role, &scope.app, &scope.environment);
        if has(Role::Ofrep) { Some(false) } else { has(Role::OfrepClient).then_some(true) }
    };
    let mut reached = call.shared.control.hub.all_latest().into_iter().filter_map(|(scope, latest)| {
        let is_wanted = wanted.is_none_or(|wanted| wanted == format!("{}/{}", scope.app, scope.environment));
        let is_client = role(&scope).filter(|_| is_wanted && latest.document.is_some())?;
        Some((scope, latest, is_client))
    });
    let (scope, latest, is_client) = reached.next()?;
    if reached.next().is_some() {
        return None;
    }
    Some(Reached { evaluable: latest.evaluable(&scope)?, scope, is_client })
}

/// The value of `Access-Control-Allow-Origin` for the page that asks: by the environment's list, or, while it is not known
/// which environment that is, by any list.
fn allowed(hub: &Hub, headers: &HeaderMap, evaluable: Option<&Evaluable>) -> Option<String> {
    let origin = headers.get(header::ORIGIN)?.to_str().ok()?;
    let by = |evaluable: &Evaluable| cors::allowed(&evaluable.snapshot.edge().cors, origin).map(str::to_owned);
    match evaluable {
        Some(evaluable) => by(evaluable),
        None => hub.all_latest().into_iter().find_map(|(scope, latest)| by(&*latest.evaluable(&scope)?)),
    }
}

fn shared_with(reply: Reply, origin: Option<String>) -> Reply {
    let reply = reply.header(header::VARY, "Origin");
    let Some(origin) = origin else { return reply };
    reply
        .header(header::ACCESS_CONTROL_ALLOW_ORIGIN, &origin)
        .header(header::ACCESS_CONTROL_EXPOSE_HEADERS, cors::EXPOSE_HEADERS)
}

/// A browser's question whether a page may ask.
pub(super) fn preflight(hub: &Hub, headers: &HeaderMap) -> Reply {
    let origin = allowed(hub, headers, None);
    let reply = Reply::empty(StatusCode::NO_CONTENT);
    if origin.is_none() {
        return reply.header(header::VARY, "Origin");
    }
    shared_with(reply, origin)
        .header(header::ACCESS_CONTROL_ALLOW_METHODS, cors::ALLOW_METHODS)
        .header(header::ACCESS_CONTROL_ALLOW_HEADERS, cors::ALLOW_HEADERS)
        .header(header::ACCESS_CONTROL_MAX_AGE, &cors::MAX_AGE_SECONDS.to_string())
}

async fn evaluate(call: Call) -> Result<Reply, Failure> {
    let key = call.params.get("key").cloned();
    let target = key.map_or(Target::Bulk, |key| Target::Single(key.into()));
    let mut reply = OfrepReply::default();
    let token = super::gates::presented(&call.headers);
    let principal = match &token {
        Some(token) => call.shared.control.recognise(&token.sha256()).await?,
        None => None,
    };
    let (Some(token), Some(principal)) = (token, principal) else {
        reply.fail(&OfrepFailure::UNAUTHORIZED, target.key());
        return Ok(shared_with(answered(&reply), allowed(&call.shared.control.hub, &call.headers, None)));
    };
    let Some(Reached { scope, evaluable, is_client }) = reached(&call, &principal) else {
        reply.fail(&OfrepFailure::FORBIDDEN, target.key());
        return Ok(answered(&reply));
    };
    let now = ids::now_ms();
    let uri = Fingerprint::parse(&token.sha256()).map(|own| evaluable.tickets.stream_uri(&own, Tickets::expiry(now)));
    let query = call.headers.get(QUERY).and_then(|value| value.to_str().ok());
    let if_none_match = call.headers.get_all(header::IF_NONE_MATCH).iter().map(HeaderValue::as_bytes).collect();
    let request = Request {
        target: &target,
        content_type: call.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes),
        body: &call.body,
        conditions: Conditions { if_none_match, query },
    };
    let audience = Audience {
        snapshot: &evaluable.snapshot,
        visible: is_client.then_some(evaluable.visible.as_slice()),
        stream_uri: uri.as_deref(),
    };
    edge_ofrep::respond(&request, &audience, edge_ofrep::native(&evaluable.snapshot, now), &mut reply);
    tracing::debug!(app = scope.app, environment = scope.environment, status = reply.status, "flags were evaluated");
    let origin = allowed(&call.shared.control.hub, &call.headers, Some(&evaluable));
    Ok(shared_with(answered(&reply), origin))
}

fn answered(reply: &OfrepReply) -> Reply {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let answer = match status {
        StatusCode::NOT_MODIFIED => Reply::empty(status),
        _ => Reply::bytes(status, "application/json", reply.body.clone()),
    };
    match &reply.etag {
        Some(etag) => answer.header(header::ETAG, etag.as_str()),
        None => answer,
    }
}

/// What a gate refused, as OFREP says it.
pub(super) fn failure(failure: &Failure, key: Option<&str>) -> Reply {
    let known = match failure.status().as_u16() {
        401 => OfrepFailure::UNAUTHORIZED,
        403 => OfrepFailure::FORBIDDEN,
        405 => OfrepFailure::METHOD,
        408 => OfrepFailure::TIMEOUT,
        413 => OfrepFailure::TOO_LARGE,
        415 => OfrepFailure::MEDIA_TYPE,
        429 => OfrepFailure::TOO_MANY,
        503 => OfrepFailure::UNAVAILABLE,
        status @ (400 | 414) => {
            OfrepFailure { status, code: "PARSE_ERROR", detail: failure.detail().to_owned().into() }
        }
        _ => OfrepFailure::INTERNAL,
    };
    said(&known, key)
}

fn said(known: &OfrepFailure, key: Option<&str>) -> Reply {
    let mut reply = OfrepReply::default();
    reply.fail(known, key);
    let answer = answered(&reply);
    if known.may_be_retried() { answer.header(header::RETRY_AFTER, "1") } else { answer }
}

async fn events(call: Call) -> Result<Reply, Failure> {
    let ticket = call.query(edge_ofrep::TICKET_PARAMETER).unwrap_or_default().to_owned();
    let refused = |known: OfrepFailure| Ok(said(&known, None));
    // A wrong ticket is a wrong token that was tried.
    let wrong = || {
        let (buckets, address) = (&call.shared.buckets, Peer::name(call.peer));
        let (is_try, may_try) = (!ticket.is_empty(), buckets.failures_left(&address));
        if is_try && may_try {
            buckets.failed(&address);
        }
        refused(if is_try && !may_try { OfrepFailure::TOO_MANY } else { OfrepFailure::UNAUTHORIZED })
    };
    let Some(claimed) = Tickets::claimed(&ticket) else { return wrong() };
    let Some(principal) = call.shared.control.recognise(&claimed.hex()).await? else { return wrong() };
    let Some(Reached { scope, evaluable, .. }) = reached(&call, &principal) else {
        return refused(OfrepFailure::FORBIDDEN);
    };
    if evaluable.tickets.verify(&ticket, ids::now_ms()).is_none() {
        return wrong();
    }
    let Some(place) = call.shared.admission.listener() else { return refused(OfrepFailure::STREAMS) };
    let origin = allowed(&call.shared.control.hub, &call.headers, Some(&evaluable));
    let last = call.headers.get("last-event-id").map(|id| id.as_bytes().to_vec());
    let missed = edge_ofrep::events::has_missed(last.as_deref(), &evaluable.snapshot);
    let (sender, events) = Events::channel();
    let hub = Arc::clone(&call.shared.control.hub);
    let (stop, watched) = super::standing::watch_token(&call.shared, Some(claimed.hex()));
    tokio::spawn(async move {
        let _held = (place, watched);
        let mut published = hub.published();
        let mut told = if missed { 0 } else { evaluable.snapshot.number() };
        let mut ping = tokio::time::interval(Duration::from_secs(edge_ofrep::events::PING_SECONDS));
        if sender.send(Bytes::from_static(edge_ofrep::events::OPENING)).await.is_err() {
            return;
        }
        loop {
            published.mark_unchanged();
            let newest = hub.latest(&scope).and_then(|latest| latest.evaluable(&scope));
            let Some(newest) = newest else { return };
            if newest.snapshot.number() != told {
                told = newest.snapshot.number();
                let frame = edge_ofrep::events::refetch(&newest.snapshot);
                if sender.send(frame.into()).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sender.closed() => return,
                changed = published.changed() => if changed.is_err() { return },
                _ = ping.tick() => {
                    if sender.send(Bytes::from_static(edge_ofrep::events::PING)).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    Ok(shared_with(Reply::events(events), origin))
}
