//! The platform by the few calls that are needed: bindings of any kind, signatures, bodies, time.

use std::future::Future;
use std::time::Duration;

use futures_util::future::{Either, select};
use worker::js_sys::{self, Array, Promise, Reflect, Uint8Array};
use worker::wasm_bindgen::prelude::*;
use worker::wasm_bindgen_futures::JsFuture;
use worker::web_sys::{ReadableStreamDefaultReader, Request, RequestInit, Response, WorkerGlobalScope};
use worker::{Date, Delay, Env, Result};

#[wasm_bindgen]
extern "C" {
    /// A KV namespace, a service or the stub of a Durable Object: each has some of these methods.
    #[derive(Debug, Clone)]
    pub(crate) type Binding;

    #[wasm_bindgen(method, catch)]
    fn fetch(this: &Binding, request: &Request) -> std::result::Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn get(this: &Binding, key: &str, kind: &str) -> std::result::Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn put(this: &Binding, key: &str, value: &Uint8Array) -> std::result::Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = idFromName)]
    fn id_from_name(this: &Binding, name: &str) -> std::result::Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = get)]
    fn by_id(this: &Binding, id: &JsValue) -> std::result::Result<Binding, JsValue>;

    #[wasm_bindgen(catch, js_namespace = ["crypto", "subtle"], js_name = importKey)]
    fn import_key(
        format: &str,
        key: &Uint8Array,
        algorithm: &str,
        extractable: bool,
        usages: &Array,
    ) -> std::result::Result<Promise, JsValue>;
    #[wasm_bindgen(catch, js_namespace = ["crypto", "subtle"])]
    fn verify(
        algorithm: &str,
        key: &JsValue,
        signature: &Uint8Array,
        data: &Uint8Array,
    ) -> std::result::Result<Promise, JsValue>;

    /// Of `entry.mjs`: so many requests are in reports that were taken.
    #[wasm_bindgen(js_namespace = ["globalThis", "bascule"], js_name = reported)]
    pub(crate) fn reported(requests: f64);
}

/// What is bound under a name.
pub(crate) fn binding(env: &Env, name: &str) -> Option<Binding> {
    let value = Reflect::get(env, &name.into()).ok()?;
    value.is_object().then(|| value.unchecked_into())
}

/// A variable or secret; an empty one is none.
pub(crate) fn text(env: &Env, name: &str) -> Option<String> {
    Reflect::get(env, &name.into()).ok()?.as_string().filter(|text| !text.is_empty())
}

impl Binding {
    /// Asks a service or an object.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Response> {
        response(self.fetch(request)?).await
    }

    /// The bytes under a key of a KV namespace.
    pub(crate) async fn bytes(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let value = JsFuture::from(self.get(key, "arrayBuffer")?).await?;
        Ok(value.is_object().then(|| Uint8Array::new(&value).to_vec()))
    }

    /// Writes bytes under a key of a KV namespace.
    pub(crate) async fn store(&self, key: &str, value: &[u8]) -> Result<()> {
        JsFuture::from(self.put(key, &Uint8Array::from(value))?).await?;
        Ok(())
    }

    /// The object of a namespace with this name.
    pub(crate) fn named(&self, name: &str) -> Option<Self> {
        self.by_id(&self.id_from_name(name).ok()?).ok()
    }
}

/// Asks whoever the request's URL names.
pub(crate) async fn fetch(request: &Request) -> Result<Response> {
    let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
    response(scope.fetch_with_request(request)).await
}

async fn response(promise: Promise) -> Result<Response> {
    Ok(JsFuture::from(promise).await?.dyn_into()?)
}

/// A request of our own.
pub(crate) fn request(method: &str, url: &str, fields: &[(&str, &str)], body: Option<&[u8]>) -> Result<Request> {
    let init = RequestInit::new();
    init.set_method(method);
    if let Some(body) = body {
        init.set_body(&Uint8Array::from(body));
    }
    let request = Request::new_with_str_and_init(url, &init)?;
    for (name, value) in fields {
        request.headers().set(name, value)?;
    }
    Ok(request)
}

/// An answer of our own.
pub(crate) fn answer<'f>(
    status: u16,
    fields: impl IntoIterator<Item = (&'f str, &'f str)>,
    body: &[u8],
) -> Result<Response> {
    let init = worker::web_sys::ResponseInit::new();
    init.set_status(status);
    let bytes = Uint8Array::from(body);
    // An empty body is not the same as none: 204 and 304 may have none only.
    let response = if body.is_empty() {
        Response::new_with_opt_str_and_init(None, &init)?
    } else {
        Response::new_with_opt_js_u8_array_and_init(Some(&bytes), &init)?
    };
    for (name, value) in fields {
        response.headers().set(name, value)?;
    }
    Ok(response)
}

/// The bytes of an answer.
pub(crate) async fn bytes(response: &Response) -> Result<Vec<u8>> {
    let buffer = JsFuture::from(response.array_buffer()?).await?;
    Ok(Uint8Array::new(&buffer).to_vec())
}

/// A request's body, or `None` when it is longer than the limit: what a client sends must not fill the isolate's memory.
pub(crate) async fn body(request: &Request, limit: usize) -> Result<Option<Vec<u8>>> {
    let announced = request.headers().get("content-length")?.and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Ok(None);
    }
    let mut whole = Vec::new();
    let Some(stream) = request.body() else { return Ok(Some(whole)) };
    let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
    loop {
        let part = JsFuture::from(reader.read()).await?;
        if Reflect::get(&part, &"done".into())?.is_truthy() {
            return Ok(Some(whole));
        }
        let part = Uint8Array::new(&Reflect::get(&part, &"value".into())?);
        if whole.len() + part.length() as usize > limit {
            // Nobody reads the rest; that cancelling fails changes nothing.
            let _ = JsFuture::from(reader.cancel()).await;
            return Ok(None);
        }
        whole.extend(part.to_vec());
    }
}

/// Whether the signature of these bytes is good, by Ed25519 of the platform (RFC 8032).
pub(crate) async fn is_signed(key: &[u8; 32], signature: &[u8; 64], message: &[u8]) -> Result<bool> {
    let usages = Array::of1(&"verify".into());
    let key = JsFuture::from(import_key("raw", &Uint8Array::from(&key[..]), "Ed25519", false, &usages)?).await?;
    let (signature, message) = (Uint8Array::from(&signature[..]), Uint8Array::from(message));
    Ok(JsFuture::from(verify("Ed25519", &key, &signature, &message)?).await?.is_truthy())
}

/// The isolate's clock. It moves only when something arrives from outside, which is what a request is.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(Date::now().as_millis()).unwrap_or(i64::MAX)
}

/// What a future gives within a time.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    match select(std::pin::pin!(future), Delay::from(limit)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

/// So many random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random bytes: {error}"))?;
    Ok(bytes)
}
