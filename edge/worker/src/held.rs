//! The snapshot in an isolate's memory.
//!
//! Invariants: the number never goes down, and a request is decided by a snapshot that was the newest at most
//! [`STALE_MS`] before the request came, unless the Durable Object did not answer: then the last good one serves. From
//! [`REFRESH_MS`] on the next one is asked for behind the answer, so that an isolate with steady traffic never waits.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use edge_engine::Snapshot;
use futures_util::future::{Either, select};
use worker::{Context, Date, Delay, Env, Headers, Request, RequestInit, Result, console_error};

use crate::sealed::{Opened, Trust, may_follow, open};
use crate::settings;

/// Tells the Durable Object what the asker has.
pub(crate) const SNAPSHOT_HEADER: &str = "x-bascule-snapshot";
/// Key of the copy.
const COPY: &str = "snapshot";
/// From this age on a newer snapshot is asked for behind the answer.
const REFRESH_MS: i64 = 500;
/// From this age on a request waits for the Durable Object.
const STALE_MS: i64 = 1000;
/// How long a request waits for it.
const PATIENCE: Duration = Duration::from_secs(1);
/// After it did not answer, requests do not wait again for so long.
const PAUSE_MS: i64 = 1000;

#[derive(Debug, Default)]
struct Held {
    opened: Option<Rc<Opened>>,
    /// When the question began that was answered last: what is held was the newest then.
    confirmed_ms: i64,
    /// When a question began last, answered or not.
    asked_ms: i64,
    /// When it last did not answer.
    failed_ms: i64,
}

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
}

/// The isolate's clock. It moves only when something arrives from outside, which is what a request is.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(Date::now().as_millis()).unwrap_or(i64::MAX)
}

/// The snapshot that decides a request that came now.
pub(crate) async fn current(env: &Env, ctx: &Context) -> Option<Rc<Opened>> {
    let now = now_ms();
    let (held, age, since_asked, since_failed) = HELD
        .with_borrow(|held| (held.opened.clone(), now - held.confirmed_ms, now - held.asked_ms, now - held.failed_ms));
    match held {
        Some(opened) if age < REFRESH_MS => Some(opened),
        Some(opened) if age < STALE_MS => {
            if since_asked >= REFRESH_MS {
                let env = env.clone();
                ctx.wait_until(async move {
                    refresh(&env).await;
                });
            }
            Some(opened)
        }
        Some(opened) if since_failed < PAUSE_MS => Some(opened),
        _ => {
            refresh(env).await;
            if HELD.with_borrow(|held| held.opened.is_none()) {
                from_copy(env).await;
            }
            HELD.with_borrow(|held| held.opened.clone())
        }
    }
}

/// Asks the Durable Object, and takes what it has when it is newer.
async fn refresh(env: &Env) {
    let began = now_ms();
    HELD.with_borrow_mut(|held| held.asked_ms = began);
    let answer = {
        let (ask, patience) = (std::pin::pin!(ask(env)), Delay::from(PATIENCE));
        match select(ask, patience).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err("the Durable Object did not answer in time".into()),
        }
    };
    match answer {
        Ok(sealed) => {
            if let (Some(sealed), Some(trust)) = (sealed, settings::trust(env)) {
                take(&sealed, &trust);
            }
            HELD.with_borrow_mut(|held| held.confirmed_ms = held.confirmed_ms.max(began));
        }
        Err(error) => {
            console_error!("no newer snapshot: {error}");
            HELD.with_borrow_mut(|held| held.failed_ms = now_ms());
        }
    }
}

async fn ask(env: &Env) -> Result<Option<Vec<u8>>> {
    let object = settings::object(env).ok_or("the Durable Object is not bound")?;
    let headers = Headers::new();
    if let Some(number) = HELD.with_borrow(|held| held.opened.as_deref().map(number)) {
        headers.set(SNAPSHOT_HEADER, &number.to_string())?;
    }
    let mut init = RequestInit::new();
    init.with_headers(headers);
    // The name stands for nothing: the stub is what is asked.
    let mut answer = object.fetch_with_request(Request::new_with_init("https://object/", &init)?).await?;
    match answer.status_code() {
        200 => answer.bytes().await.map(Some),
        204 | 404 => Ok(None),
        status => Err(format!("the Durable Object answered {status}").into()),
    }
}

/// What stood in KV: may be old, but is signed like any other.
async fn from_copy(env: &Env) {
    let Some((copies, trust)) = settings::copies(env).zip(settings::trust(env)) else { return };
    match copies.get(COPY).bytes().await {
        Ok(Some(sealed)) => take(&sealed, &trust),
        Ok(None) => {}
        Err(error) => console_error!("no copy of the snapshot: {error}"),
    }
}

/// Leaves the copy for a cold start.
pub(crate) async fn copy(env: &Env, sealed: &[u8]) {
    let Some(copies) = settings::copies(env) else { return };
    let put = async { copies.put_bytes(COPY, sealed)?.execute().await };
    if let Err(error) = put.await {
        console_error!("the snapshot was not copied: {error}");
    }
}

/// Takes a snapshot if it is good and not older than the one held.
pub(crate) fn take(sealed: &[u8], trust: &Trust) {
    match open(sealed, trust) {
        Ok(opened) => HELD.with_borrow_mut(|held| {
            let old = held.opened.as_deref().map(|old| (number(old), old.digest));
            if may_follow(&opened, old).is_ok() {
                held.opened = Some(Rc::new(opened));
            }
        }),
        Err(refusal) => console_error!("a snapshot was refused: {} ({})", refusal.detail, refusal.code),
    }
}

fn number(opened: &Opened) -> u64 {
    Snapshot::number(&opened.snapshot)
}
