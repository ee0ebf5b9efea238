//! Edges: what people see of them, and the protocol that they speak.

use std::collections::BTreeMap;

use http::{Method, StatusCode};

use super::call::Call;
use super::error::Failure;
use super::observed;
use super::operation::{Access, Answer, Gives, IfMatch, Operation, Query, QueryKind, Takes, schema_of};
use super::reply::Reply;
use super::standing;
use crate::edges::Edge;
use crate::edges::stream::Places;
use crate::ids;
use crate::limits::come_back;
use crate::principal::Role;
use crate::service::reports::Taken;
use admin_api::answers::{self, EdgeEnvironment, SigningKeys};
use admin_api::edge::{self, Accepted, Acks, EdgeKind, Hello, Report};
use admin_api::objects::Page;

/// The longest name that an edge may give itself or its place.
const MAX_NAME: usize = 128;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listEdges",
        method: Method::GET,
        path: "/api/v1/edges",
        summary: "Lists the edges of the environments that the token reaches, and what each one runs.",
        access: Access::anywhere(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer {
            status: 200,
            help: "All edges seen in the last day.",
            body: Gives::Json(schema_of::<Page<answers::Edge>>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(async move { list(&call) }),
    },
    Operation {
        id: "listSigningKeys",
        method: Method::GET,
        path: "/api/v1/signing-keys",
        summary: "Lists the public keys that snapshots are signed with, to be pinned at edges.",
        access: Access::anywhere(Role::Viewer),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "The keys.", body: Gives::Json(schema_of::<SigningKeys>) }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(async move { Ok(keys(&call)) }),
    },
];

const fn text(name: &'static str, help: &'static str) -> Query {
    Query { name, kind: QueryKind::Text, help }
}

pub(super) const PROTOCOL: &[Operation] = &[
    Operation {
        id: "streamSnapshots",
        method: Method::GET,
        path: edge::SNAPSHOTS,
        summary: "For edges: all snapshots of the environments that the token reaches, as server-sent events.",
        access: Access::anywhere(Role::Edge),
        query: &[
            text("edge", "The edge's id, stable over restarts."),
            text("boot", "New with each process."),
            text("kind", "`gateway` or `worker`."),
            text("region", "Where it is."),
            text("version", "The version of its program."),
            text("engine", "Its engine hash, or `native`."),
        ],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "The stream; it does not end by itself.", body: Gives::Events }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(async move { stream(&call) }),
    },
    Operation {
        id: "acknowledge",
        method: Method::POST,
        path: edge::ACKS,
        summary: "For edges: what they run, what they refuse, and that they leave.",
        access: Access::anywhere(Role::Edge),
        query: &[],
        body: Takes::Json(schema_of::<Acks>),
        answers: &[Answer { status: 204, help: "Taken.", body: Gives::Nothing }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(async move { acknowledge(&call) }),
    },
    Operation {
        id: "report",
        method: Method::POST,
        path: edge::REPORTS,
        summary: "For edges: what they counted. Each sequence is taken once.",
        access: Access::anywhere(Role::Edge),
        query: &[],
        body: Takes::Json(schema_of::<Report>),
        answers: &[Answer { status: 200, help: "It is stored.", body: Gives::Json(schema_of::<Accepted>) }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(report(call)),
    },
];

fn list(call: &Call) -> Result<Reply, Failure> {
    let principal = call.principal()?;
    let hub = &call.shared.control.hub;
    let latest: BTreeMap<_, _> = hub.all_latest().into_iter().filter(|(_, latest)| latest.document.is_some()).collect();
    let mut items = Vec::new();
    for edge in hub.edges() {
        let environments: Vec<EdgeEnvironment> = latest
            .iter()
            .filter(|(scope, _)| edge.serves(scope) && principal.has(Role::Viewer, &scope.app, &scope.environment))
            .map(|(scope, latest)| {
                let run = edge.runs.get(scope).map(|run| run.number);
                let refused = edge.refusals.get(scope).filter(|refusal| Some(refusal.number) > run);
                EdgeEnvironment {
                    scope: scope.clone(),
                    number: run,
                    lag: latest.number.saturating_sub(run.unwrap_or(0)),
                    refused: refused.map(|refusal| format!("{}: {}", refusal.number, refusal.detail)),
                }
            })
            .collect();
        if !environments.is_empty() || principal.has(Role::Viewer, "*", "*") {
            items.push(shown(&edge, environments));
        }
    }
    Ok(Reply::ok(&Page { items, next_cursor: None }))
}

fn shown(edge: &Edge, environments: Vec<EdgeEnvironment>) -> answers::Edge {
    // An open stream is a contact at every moment; pushes are some.
    let is_open = edge.is_connected() && !edge.is_pushed_to();
    answers::Edge {
        id: edge.hello.edge.clone(),
        kind: edge.hello.kind,
        region: edge.hello.region.clone(),
        version: edge.hello.version.clone(),
        engine: edge.hello.engine.clone(),
        connected: edge.is_reachable(),
        unreachable: edge.unreachable.clone(),
        last_contact: ids::rfc3339(if is_open { ids::now_ms() } else { edge.last_contact }),
        requests_per_second: edge.requests_per_second,
        lost_requests: edge.lost_requests,
        environments,
    }
}

fn keys(call: &Call) -> Reply {
    Reply::ok(&SigningKeys { keys: vec![call.shared.control.signer.public_key().clone()] })
}

fn is_name(text: &str) -> bool {
    edge_engine::FlagKey::new(text).is_ok()
}

fn wrong(name: &str) -> Failure {
    let detail = format!("an edge says its {name} in 1 to {MAX_NAME} letters, digits and . _ - / : +");
    Failure::new(StatusCode::BAD_REQUEST, "edge_invalid", detail)
}

fn stream(call: &Call) -> Result<Reply, Failure> {
    let named = |name: &str| {
        let value = call.query(name).filter(|value| is_name(value));
        value.map(str::to_owned).ok_or_else(|| wrong(name))
    };
    let kind = match call.query("kind") {
        Some("gateway") => EdgeKind::Gateway,
        Some("worker") => EdgeKind::Worker,
        _ => return Err(Failure::new(StatusCode::BAD_REQUEST, "edge_invalid", "kind is gateway or worker")),
    };
    let hello = Hello {
        edge: named("edge")?,
        boot: named("boot")?,
        kind,
        region: call.query("region").map(|_| named("region")).transpose()?,
        version: named("version")?,
        engine: named("engine")?,
    };
    let after = call.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let later =
        |detail, within| Failure::later(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail, come_back(within));
    if call.shared.control.hub.is_fenced() {
        let detail = "the store does not answer, so other processes could not know of this edge";
        return Err(Failure::later(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail, come_back(10)));
    }
    let place = call.shared.admission.stream();
    let place = place.ok_or_else(|| later("as many streams as there may be are open", 10))?;
    let handout = call.shared.admission.handout();
    let handout = handout.ok_or_else(|| later("too many edges are getting their snapshots at this moment", 4))?;
    let (stop, watched) = standing::watch(&call.shared, &call.headers);
    let hub = &call.shared.control.hub;
    let events = hub.stream(hello, call.principal()?.clone(), after, Places { stop, handout, held: (place, watched) });
    Ok(Reply::events(events))
}

fn acknowledge(call: &Call) -> Result<Reply, Failure> {
    let acks: Acks = call.typed()?;
    if call.shared.control.hub.acknowledged(&acks, call.principal()?) {
        return Ok(Reply::empty(StatusCode::NO_CONTENT));
    }
    Err(Failure::new(
        StatusCode::CONFLICT,
        "connection_unknown",
        "there is no such connection of this edge; open the stream anew",
    ))
}

async fn report(call: Call) -> Result<Reply, Failure> {
    let mut report: Report = call.typed()?;
    let principal = call.principal()?;
    // They are kept to know what was counted already.
    for (name, text) in [("edge", &report.edge), ("boot", &report.boot)] {
        if !is_name(text) {
            return Err(wrong(name));
        }
    }
    observed::check(&report)?;
    // Nobody counts for environments that are not theirs.
    report.environments.retain(|one| principal.has(Role::Edge, &one.scope.app, &one.scope.environment));
    let requests: u64 = report.environments.iter().flat_map(|one| &one.releases).map(|one| one.requests).sum();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = requests as f64 * 1000.0 / report.covers_ms.max(1) as f64;
    let (sequence, lost) = (report.sequence, report.lost);
    let (edge, boot) = (report.edge.clone(), report.boot.clone());
    let hub = &call.shared.control.hub;
    if !hub.reported(&report.edge, &report.boot, principal, rate) {
        // Without a stream: an isolate of a Worker, perhaps.
        hub.worker_reported(&report.edge, principal, requests);
    }
    let detail = "the report could not be stored now; send it again";
    let taken = call.shared.control.report(report).await;
    let taken = taken.ok_or_else(|| Failure::later(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail, 1))?;
    if lost > 0 && taken == Taken::Now {
        call.shared.metrics.lost(hub.lost(&edge, &boot, principal, lost), lost);
    }
    Ok(Reply::ok(&Accepted { sequence }))
}
