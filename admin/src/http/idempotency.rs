//! `Idempotency-Key`: a POST that was done is answered again, not done again.
//!
//! The key counts for its token and for 24 hours. Another request under the same key is refused, and so is the same
//! request while the first is still under way. Refusals of ours (4xx and 5xx) are not kept: the caller may mend and
//! repeat the request under the same key.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use http::{HeaderName, Method, StatusCode, header};
use sha2::{Digest as _, Sha256};

use super::Shared;
use super::call::Call;
use super::error::Failure;
use super::operation::Operation;
use super::reply::Reply;
use crate::ids;
use crate::store::Remembered;

const HEADER: &str = "idempotency-key";
/// Bytes of a key.
const MAX_KEY: usize = 255;
/// How long an answer is given again.
pub const KEPT_MS: i64 = 24 * 3_600_000;

/// Requests with a key that are under way.
#[derive(Debug, Default)]
pub struct UnderWay(Mutex<HashSet<(String, String)>>);

/// Ends a request's being under way, however it ends.
struct Entered<'u> {
    under_way: &'u UnderWay,
    place: (String, String),
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.under_way.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
    }
}

impl UnderWay {
    fn enter(&self, place: (String, String)) -> Option<Entered<'_>> {
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone());
        is_new.then_some(Entered { under_way: self, place })
    }
}

/// Whether an operation takes a key.
pub(super) fn counts_for(operation: &Operation) -> bool {
    let is_machine = operation.path.starts_with("/edge/") || operation.path.starts_with("/ofrep/");
    // The text of a token is stored nowhere, so its making cannot be answered twice.
    operation.method == Method::POST && !is_machine && operation.id != "createToken"
}

/// Does what the call asks for, or answers as it was answered before.
pub(super) async fn once<F>(shared: &Shared, call: Call, act: impl FnOnce(Call) -> F) -> Result<Reply, Failure>
where
    F: Future<Output = Result<Reply, Failure>>,
{
    let (Some(key), Some(principal)) = (call.headers.get(HEADER), call.principal.clone()) else {
        return act(call).await;
    };
    if !counts_for(call.operation) {
        return act(call).await;
    }
    let key = key.to_str().ok().filter(|key| (1..=MAX_KEY).contains(&key.len())).map(str::to_owned);
    let key = key.ok_or_else(|| {
        let detail = format!("an Idempotency-Key has 1 to {MAX_KEY} printable ASCII characters");
        Failure::new(StatusCode::BAD_REQUEST, "idempotency_key_invalid", detail)
    })?;
    let token = principal.id.clone();
    let _entered = shared.idempotency.enter((token.clone(), key.clone())).ok_or_else(|| {
        Failure::new(StatusCode::CONFLICT, "idempotency_under_way", "a request with this key is under way")
    })?;
    let request = digest(&call);
    let known = shared.control.store.read().await?.remembered(&token, &key).await?;
    if let Some(known) = known.filter(|known| known.created_at > ids::now_ms() - KEPT_MS) {
        if known.request != request {
            let detail = "another request was made with this Idempotency-Key";
            return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail));
        }
        return Ok(again(&known));
    }
    let reply = act(call).await?;
    if let Some(body) = reply.body() {
        let headers = [header::ETAG, header::LOCATION].map(|name| reply.header_text(&name).map(str::to_owned));
        let remembered = Remembered {
            token,
            key,
            request,
            status: reply.status().as_u16().into(),
            headers: serde_json::to_string(&headers).unwrap_or_default(),
            body: String::from_utf8_lossy(body).into_owned(),
            created_at: ids::now_ms(),
        };
        let mut tx = shared.control.store.write().await?;
        tx.remember(&remembered).await?;
        tx.commit().await?;
    }
    Ok(reply)
}

fn digest(call: &Call) -> String {
    let mut digest = Sha256::new();
    let params = call.params.values().chain(call.query.keys()).chain(call.query.values());
    for part in std::iter::once(call.operation.id).chain(params.map(String::as_str)) {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.update(&call.body);
    ids::hex(&digest.finalize())
}

fn again(known: &Remembered) -> Reply {
    let status = u16::try_from(known.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let reply = Reply::bytes(status.unwrap_or(StatusCode::OK), "application/json", known.body.clone());
    let headers: [Option<String>; 2] = serde_json::from_str(&known.headers).unwrap_or_default();
    let mut reply = reply.header(HeaderName::from_static("idempotent-replayed"), "true");
    for (name, value) in [header::ETAG, header::LOCATION].into_iter().zip(headers) {
        if let Some(value) = value {
            reply = reply.header(name, &value);
        }
    }
    reply
}
