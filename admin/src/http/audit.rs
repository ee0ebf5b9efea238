//! The audit: who did what, when and why, and whether the record is whole.

use http::{Method, StatusCode};
use serde_json::Value;

use super::call::Call;
use super::error::Failure;
use super::operation::{Access, Answer, CURSOR, Gives, IfMatch, LIMIT, Operation, Query, QueryKind, Takes, schema_of};
use super::reply::Reply;
use crate::ids;
use crate::principal::{Principal, Role};
use crate::store::Audit;
use crate::store::AuditFilter;
use admin_api::answers::{AuditEntry, AuditVerdict, BrokenEntry};
use admin_api::objects::Page;

const fn text(name: &'static str, help: &'static str) -> Query {
    Query { name, kind: QueryKind::Text, help }
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listAudit",
        method: Method::GET,
        path: "/api/v1/audit",
        summary: "Lists audit entries, the newest first: those of the apps and environments that the token reaches.",
        access: Access::anywhere(Role::Viewer),
        query: &[
            CURSOR,
            LIMIT,
            text("app", "Only of this app."),
            text("environment", "Only of this environment."),
            text("actor", "Only by this token id."),
            text("operation", "Only this operation."),
            text("subject", "Only what begins with this, e.g. `flags/`."),
            text("requestId", "Only of this request."),
        ],
        body: Takes::Nothing,
        answers: &[Answer {
            status: 200,
            help: "A part of the list.",
            body: Gives::Json(schema_of::<Page<AuditEntry>>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(list(call)),
    },
    Operation {
        id: "verifyAudit",
        method: Method::GET,
        path: "/api/v1/audit/verify",
        summary: "Walks the hash chain of the audit and names the first entry that is not what it was.",
        access: Access::everything(Role::Viewer),
        query: &[
            Query {
                name: "sequence",
                kind: QueryKind::Number(1, u32::MAX),
                help: "Place of an entry of which the hash is known from elsewhere.",
            },
            text("hash", "That hash."),
        ],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "Whether it is whole.", body: Gives::Json(schema_of::<AuditVerdict>) }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(verify(call)),
    },
];

async fn list(call: Call) -> Result<Reply, Failure> {
    let principal = call.principal()?;
    let own = |name: &str| call.query(name).map(str::to_owned);
    let filter = AuditFilter {
        app: own("app"),
        environment: own("environment"),
        actor: own("actor"),
        operation: own("operation"),
        subject: own("subject"),
        request_id: own("requestId"),
    };
    let mut before = match call.cursor()?.as_str() {
        "" => None,
        text => Some(text.parse::<i64>().map_err(|_| {
            Failure::new(StatusCode::BAD_REQUEST, "cursor_invalid", "the cursor is not one that a list has answered")
        })?),
    };
    let limit = call.limit() as usize;
    let mut tx = call.shared.control.store.read().await?;
    let mut items: Vec<AuditEntry> = Vec::new();
    let mut is_last = false;
    while items.len() <= limit && !is_last {
        let page = tx.audit(&filter, before, 200).await?;
        is_last = page.len() < 200;
        before = page.last().map(|entry| entry.sequence);
        items.extend(page.into_iter().filter(|entry| may_see(principal, entry)).map(shown));
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|last| Call::cursor_after(&last.sequence.to_string()));
    Ok(Reply::ok(&Page { items, next_cursor }))
}

/// An entry about several environments shows all of them, so it needs all of them.
fn may_see(principal: &Principal, entry: &Audit) -> bool {
    let or_all = |name: &str| if name.is_empty() { "*".to_owned() } else { name.to_owned() };
    principal.has(Role::Viewer, &or_all(&entry.entry.app), &or_all(&entry.entry.environment))
}

pub(super) fn shown(row: Audit) -> AuditEntry {
    let some = |text: String| (!text.is_empty()).then_some(text);
    AuditEntry {
        sequence: row.sequence,
        at: ids::rfc3339(row.entry.at),
        actor: row.entry.actor,
        actor_name: row.entry.actor_name,
        app: some(row.entry.app),
        environment: some(row.entry.environment),
        operation: row.entry.operation,
        subject: row.entry.subject,
        reason: row.entry.reason,
        request_id: row.entry.request_id,
        changes: serde_json::from_str(&row.entry.changes).unwrap_or(Value::Null),
        previous: row.previous,
        hash: row.hash,
    }
}

async fn verify(call: Call) -> Result<Reply, Failure> {
    let known = match (call.query("sequence"), call.query("hash")) {
        (None, None) => None,
        (Some(sequence), Some(hash)) => Some((sequence.parse::<i64>().unwrap_or(0), hash)),
        _ => {
            let detail = "sequence and hash come together";
            return Err(Failure::new(StatusCode::BAD_REQUEST, "query_invalid", detail));
        }
    };
    let mut tx = call.shared.control.store.read().await?;
    let verdict = tx.verify_audit(known).await?;
    Ok(Reply::ok(&AuditVerdict {
        intact: verdict.broken.is_none(),
        entries: verdict.entries,
        head: verdict.head,
        broken: verdict.broken.map(|broken| BrokenEntry { sequence: broken.sequence, why: broken.why }),
    }))
}

pub(super) fn visible(principal: &Principal, entry: &Audit) -> bool {
    may_see(principal, entry)
}
