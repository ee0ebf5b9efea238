//! The Durable Object: the one place that says which snapshot of the environment is the newest.
//!
//! Invariant: the number it keeps only grows. Between reading the number and writing a newer snapshot it awaits storage
//! only, so that the runtime lets no other event in; the answer leaves after the write is durable, because the runtime
//! holds it back until then.

use worker::js_sys::{Object, Reflect, Uint8Array};
use worker::wasm_bindgen::JsValue;
use worker::{Env, Method, Request, Response, Result, State, Storage, durable_object};

use crate::held::SNAPSHOT_HEADER;
use crate::sealed::{Refusal, may_follow, open};
use crate::{door, settings};

/// A value of the storage has at most 128 KiB.
const CHUNK: usize = 120 * 1024;
/// One write has at most 128 keys; the rest is for `number`, `digest` and `chunks`.
const MAX_CHUNKS: usize = 120;

/// Keeps one environment's snapshot.
#[durable_object]
#[derive(Debug)]
pub struct SnapshotObject {
    state: State,
    env: Env,
}

impl worker::DurableObject for SnapshotObject {
    fn new(state: State, env: Env) -> Self {
        Self { state, env }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        if request.method() == Method::Put {
            let sealed = request.bytes().await?;
            return self.put(&sealed).await;
        }
        let have = request.headers().get(SNAPSHOT_HEADER)?.and_then(|number| number.parse().ok());
        self.get(have).await
    }
}

impl SnapshotObject {
    async fn put(&self, sealed: &[u8]) -> Result<Response> {
        let Some(trust) = settings::trust(&self.env) else {
            return door::refuse(
                503,
                "worker_not_configured",
                "APP, ENVIRONMENT or PUBLIC_KEYS is missing or malformed",
            );
        };
        let refuse = |refusal: Refusal| {
            let status = if matches!(refusal.code, "older" | "same_number") { 409 } else { 422 };
            door::refuse(status, refusal.code, &refusal.detail)
        };
        let opened = match open(sealed, &trust) {
            Ok(opened) => opened,
            Err(refusal) => return refuse(refusal),
        };
        let storage = self.state.storage();
        if let Err(refusal) = may_follow(&opened, kept(&storage).await?) {
            return refuse(refusal);
        }
        if sealed.len() > CHUNK * MAX_CHUNKS {
            return door::refuse(413, "snapshot_too_large", "a Worker keeps at most 14 MiB");
        }
        storage.put_multiple_raw(entries(opened.snapshot.number(), &opened.digest, sealed)?).await?;
        door::acknowledge(opened.snapshot.number())
    }

    /// The newest snapshot, or nothing when the asker has it.
    async fn get(&self, have: Option<u64>) -> Result<Response> {
        let storage = self.state.storage();
        let Some((number, _)) = kept(&storage).await? else {
            return Ok(Response::empty()?.with_status(404));
        };
        if have.is_some_and(|have| have >= number) {
            return Ok(Response::empty()?.with_status(204));
        }
        let count: u32 = storage.get("chunks").await?.unwrap_or_default();
        let keys: Vec<String> = (0..count).map(chunk_key).collect();
        let chunks = storage.get_multiple(keys.iter().map(String::as_str).collect()).await?;
        let mut sealed = Vec::new();
        for key in &keys {
            sealed.extend(Uint8Array::new(&chunks.get(&JsValue::from_str(key))).to_vec());
        }
        Response::from_bytes(sealed)
    }
}

fn chunk_key(index: u32) -> String {
    format!("chunk-{index}")
}

/// Number and digest of what is kept.
async fn kept(storage: &Storage) -> Result<Option<(u64, [u8; 32])>> {
    let number: Option<String> = storage.get("number").await?;
    let digest: Option<Vec<u8>> = storage.get("digest").await?;
    Ok(number.and_then(|number| number.parse().ok()).zip(digest.and_then(|digest| digest.try_into().ok())))
}

/// All of it in one write, which is atomic.
fn entries(number: u64, digest: &[u8; 32], sealed: &[u8]) -> Result<Object> {
    let entries = Object::new();
    let mut count = 0_u32;
    for chunk in sealed.chunks(CHUNK) {
        Reflect::set(&entries, &chunk_key(count).into(), &Uint8Array::from(chunk))?;
        count += 1;
    }
    Reflect::set(&entries, &"chunks".into(), &count.into())?;
    Reflect::set(&entries, &"digest".into(), &Uint8Array::from(&digest[..]))?;
    // A number beyond 2^53 would lose digits as a number of JavaScript.
    Reflect::set(&entries, &"number".into(), &number.to_string().into())?;
    Ok(entries)
}
