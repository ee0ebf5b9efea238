//! The Durable Object: the one place that says which snapshot of the environment is the newest.
//!
//! Invariant: the number it keeps only grows. Between reading the number and writing a newer snapshot it awaits storage
//! only, so that the runtime lets no other event in; the answer leaves after the write is durable, because the runtime
//! holds it back until then. It alone writes the copy in KV, one after the other, so that the newest one stays there.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use worker::js_sys::{Map, Object, Reflect, Uint8Array};
use worker::wasm_bindgen::{JsCast as _, JsValue};
use worker::web_sys;
use worker::{Delay, Env, Request, Response, Result, State, Storage, console_error, durable_object};

use crate::held::{self, VERSION_FIELD, open};
use crate::sealed::{Opened, Refusal, may_follow};
use crate::settings::settings;
use crate::{door, platform};

/// A value of the storage has at most 128 KiB.
const CHUNK: usize = 120 * 1024;
/// One write has at most 128 keys; the rest is for `number`, `digest`, `version` and `chunks`.
const MAX_CHUNKS: usize = 120;
/// What a sealed snapshot may weigh.
pub(crate) const MAX_BYTES: usize = CHUNK * MAX_CHUNKS;
/// A key of KV takes one write a second.
const COPY_PAUSE: Duration = Duration::from_millis(1100);
/// Attempts to write a copy; the next snapshot tries again.
const COPY_ATTEMPTS: u32 = 5;

/// Keeps one environment's snapshot.
#[durable_object]
#[derive(Debug)]
pub struct SnapshotObject {
    state: State,
    env: Env,
    uncopied: Rc<RefCell<Option<Vec<u8>>>>,
    is_copying: Rc<Cell<bool>>,
}

impl worker::DurableObject for SnapshotObject {
    fn new(state: State, env: Env) -> Self {
        Self { state, env, uncopied: Rc::default(), is_copying: Rc::default() }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let request = request.inner();
        if request.method() == "PUT" {
            let Some(sealed) = platform::body(request, MAX_BYTES).await? else {
                return Ok(door::too_large(MAX_BYTES)?.into());
            };
            return self.put(sealed).await.map(Into::into);
        }
        let have = request.headers().get(VERSION_FIELD)?;
        self.get(have.as_deref()).await.map(Into::into)
    }
}

impl SnapshotObject {
    async fn put(&self, sealed: Vec<u8>) -> Result<web_sys::Response> {
        let settings = settings(&self.env);
        let Some(trust) = &settings.trust else {
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
        let opened = match open(&sealed, trust, &settings).await {
            Ok(opened) => opened,
            Err(refusal) => return refuse(refusal),
        };
        let storage = self.state.storage();
        let kept = Kept::read(&storage).await?;
        if let Err(refusal) = may_follow(&opened, kept.as_ref().map(|kept| (kept.number, kept.digest))) {
            return refuse(refusal);
        }
        if kept.is_none_or(|kept| kept.version != opened.version) {
            storage.put_multiple_raw(entries(&opened, &sealed)?).await?;
            self.copy(sealed);
        }
        door::acknowledge(opened.snapshot.number())
    }

    /// Copies the newest snapshot after the answer.
    fn copy(&self, sealed: Vec<u8>) {
        *self.uncopied.borrow_mut() = Some(sealed);
        if self.is_copying.replace(true) {
            return;
        }
        let (env, uncopied, is_copying) = (self.env.clone(), Rc::clone(&self.uncopied), Rc::clone(&self.is_copying));
        self.state.wait_until(async move {
            let mut attempts = 0;
            while let Some(sealed) = uncopied.take().filter(|_| attempts < COPY_ATTEMPTS) {
                if let Err(error) = held::copy(&env, &sealed).await {
                    attempts += 1;
                    console_error!("the snapshot was not copied: {error}");
                    uncopied.borrow_mut().get_or_insert(sealed);
                }
                if uncopied.borrow().is_some() {
                    Delay::from(COPY_PAUSE).await;
                }
            }
            is_copying.set(false);
        });
    }

    /// The newest snapshot, or nothing when the asker has it.
    async fn get(&self, have: Option<&str>) -> Result<web_sys::Response> {
        let storage = self.state.storage();
        let Some(kept) = Kept::read(&storage).await? else {
            return platform::answer(404, [], &[]);
        };
        if have == Some(&kept.version) {
            return platform::answer(204, [], &[]);
        }
        let keys: Vec<String> = (0..kept.chunks).map(chunk_key).collect();
        let chunks = values(&storage, &keys).await?;
        let mut sealed = Vec::new();
        for key in &keys {
            sealed.extend(Uint8Array::new(&chunks.get(&JsValue::from_str(key))).to_vec());
        }
        platform::answer(200, [], &sealed)
    }
}

/// What is kept beside the snapshot's text.
struct Kept {
    number: u64,
    digest: [u8; 32],
    version: String,
    chunks: u32,
}

impl Kept {
    async fn read(storage: &Storage) -> Result<Option<Self>> {
        let found = values(storage, &["number", "digest", "version", "chunks"].map(str::to_owned)).await?;
        let text = |name: &str| found.get(&name.into()).as_string();
        let Some(number) = text("number").and_then(|number| number.parse().ok()) else { return Ok(None) };
        let digest = Uint8Array::new(&found.get(&"digest".into())).to_vec();
        let Ok(digest) = <[u8; 32]>::try_from(digest) else { return Ok(None) };
        let chunks = text("chunks").and_then(|chunks| chunks.parse().ok()).unwrap_or_default();
        Ok(Some(Self { number, digest, version: text("version").unwrap_or_default(), chunks }))
    }
}

async fn values(storage: &Storage, keys: &[String]) -> Result<Map> {
    storage.get_multiple(keys.iter().map(String::as_str).collect()).await
}

fn chunk_key(index: u32) -> String {
    format!("chunk-{index}")
}

/// All of it in one write, which is atomic. Numbers are texts: beyond 2^53 a number of JavaScript would lose digits.
fn entries(opened: &Opened, sealed: &[u8]) -> Result<Object> {
    let entries = Object::new();
    let mut count = 0_u32;
    for chunk in sealed.chunks(CHUNK) {
        Reflect::set(&entries, &chunk_key(count).into(), &Uint8Array::from(chunk))?;
        count += 1;
    }
    Reflect::set(&entries, &"chunks".into(), &count.to_string().into())?;
    Reflect::set(&entries, &"digest".into(), &Uint8Array::from(&opened.digest[..]))?;
    Reflect::set(&entries, &"version".into(), &opened.version.as_str().into())?;
    Reflect::set(&entries, &"number".into(), &opened.snapshot.number().to_string().into())?;
    Ok(entries.unchecked_into())
}
