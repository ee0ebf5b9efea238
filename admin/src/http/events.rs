//! What happens, as it happens: the audit as server-sent events, without what the changes say.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use super::call::Call;
use super::error::Failure;
use super::operation::{Access, Answer, Gives, IfMatch, Operation, Takes};
use super::reply::Reply;
use crate::edges::frame;
use crate::edges::stream::Events;
use crate::limits::come_back;
use crate::principal::Role;

/// Between two signs of life.
const PING: Duration = Duration::from_secs(15);

pub(super) const OPERATIONS: &[Operation] = &[Operation {
    id: "streamEvents",
    method: Method::GET,
    path: "/api/v1/events",
    summary: "Changes as they are committed, as server-sent events; `Last-Event-ID` goes on where a client was.",
    access: Access::anywhere(Role::Viewer),
    query: &[],
    body: Takes::Nothing,
    answers: &[Answer { status: 200, help: "The stream; it does not end by itself.", body: Gives::Events }],
    if_match: IfMatch::No,
    handler: |call| Box::pin(stream(call)),
}];

async fn stream(call: Call) -> Result<Reply, Failure> {
    let place = call.shared.admission.listener().ok_or_else(|| {
        let detail = "as many streams as there may be are open";
        Failure::later(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail, come_back(10))
    })?;
    let principal = call.principal()?.clone();
    let store = call.shared.control.store.clone();
    let mut changes = call.shared.control.hub.changes();
    let newest = store.read().await?.audit(&crate::store::AuditFilter::default(), None, 1).await?;
    let newest = newest.first().map_or(0, |entry| entry.sequence);
    let after = call.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<i64>().ok());
    let mut seen = after.filter(|after| (0..=newest).contains(after)).unwrap_or(newest);
    let (stop, watched) = super::standing::watch(&call.shared, &call.headers);
    let (sender, events) = Events::channel();
    tokio::spawn(async move {
        let _held = (place, watched);
        let mut ping = tokio::time::interval(PING);
        if sender.send(Bytes::from_static(b": ok\n\n")).await.is_err() {
            return;
        }
        loop {
            changes.mark_unchanged();
            let Ok(mut tx) = store.read().await else { return };
            let Ok(page) = tx.audit_after(seen, 100).await else { return };
            drop(tx);
            let is_full = page.len() == 100;
            for entry in page {
                seen = entry.sequence;
                if !super::audit::visible(&principal, &entry) {
                    continue;
                }
                let data = json!({
                    "sequence": entry.sequence, "operation": entry.entry.operation, "app": entry.entry.app,
                    "environment": entry.entry.environment, "subject": entry.entry.subject,
                    "actorName": entry.entry.actor_name, "requestId": entry.entry.request_id,
                });
                let id = u64::try_from(seen).ok();
                if sender.send(frame(id, "change", &data, None)).await.is_err() {
                    return;
                }
            }
            if is_full {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sender.closed() => return,
                changed = changes.changed() => if changed.is_err() { return },
                _ = ping.tick() => if sender.send(Bytes::from_static(b": ping\n\n")).await.is_err() { return },
            }
        }
    });
    Ok(Reply::events(events))
}
