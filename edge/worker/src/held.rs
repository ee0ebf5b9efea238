//! The snapshot in an isolate's memory.
//!
//! Invariants: the number never goes down; nothing decides whose signature this isolate has not verified; at most one
//! request asks the Durable Object. How old it may be is [`crate::fresh`]'s affair.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use admin_api::edge::PanicOverride;
use futures_util::future::join;
use worker::{Context, Delay, Env, Result, console_error};

use crate::fresh::{Freshness, PATIENCE_MS, Step};
use crate::platform::{self, now_ms, within};
use crate::sealed::{self, Claim, Opened, Refusal, Trust, may_follow};
use crate::settings::{self, Settings, settings};

/// Tells the Durable Object which version the asker has.
pub(crate) const VERSION_FIELD: &str = "x-bascule-version";
/// Key of the copy.
const COPY: &str = "snapshot";
const PATIENCE: Duration = Duration::from_millis(PATIENCE_MS.unsigned_abs());
/// A request that waits for another one's question looks again after a time that doubles from here.
const FIRST_LOOK_MS: u64 = 1;
const LAST_LOOK_MS: u64 = 16;

#[derive(Debug, Default)]
struct Held {
    opened: Option<Rc<Opened>>,
    fresh: Freshness,
    /// What the secret says, if it was good.
    panic: Option<Rc<PanicOverride>>,
    is_panic_read: bool,
}

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
}

/// What this isolate has, without asking anybody.
pub(crate) fn held() -> Option<Rc<Opened>> {
    HELD.with_borrow(|held| held.opened.clone())
}

/// The snapshot that decides a request that came now.
pub(crate) async fn current(env: &Env, ctx: &Context) -> Option<Rc<Opened>> {
    let now = now_ms();
    let step = HELD.with_borrow_mut(|held| {
        let step = held.fresh.step(now);
        if matches!(step, Step::UseAndAsk | Step::AskAndWait) {
            held.fresh.ask(now);
        }
        step
    });
    if matches!(step, Step::UseAndAsk | Step::AskAndWait) {
        // Not in this request's own time: it may end before, and others wait for the answer too.
        let env = env.clone();
        ctx.wait_until(async move { refresh(&env, now).await });
    }
    if matches!(step, Step::AskAndWait | Step::Wait) {
        settle().await;
    }
    held()
}

/// Waits until nobody asks any more, for as long as a request waits. A future cannot be shared between requests, memory can.
async fn settle() {
    let (mut waited, mut look) = (0, FIRST_LOOK_MS);
    while HELD.with_borrow(|held| held.fresh.is_asking()) && waited < PATIENCE_MS.unsigned_abs() {
        Delay::from(Duration::from_millis(look)).await;
        waited += look;
        look = (2 * look).min(LAST_LOOK_MS);
    }
}

/// Asks the Durable Object, and takes what it has when it is newer. An isolate that has nothing looks for the copy meanwhile.
async fn refresh(env: &Env, began: i64) {
    let settings = settings(env);
    let asked = async {
        let answer = within(PATIENCE, ask(env, &settings)).await;
        let answer = answer.unwrap_or_else(|| Err("the Durable Object did not answer in time".into()));
        let is_good = answer.inspect_err(|error| console_error!("no newer snapshot: {error}")).is_ok();
        HELD.with_borrow_mut(|held| {
            if is_good {
                held.fresh.confirm(began);
            } else {
                held.fresh.fail(began, now_ms());
            }
        });
    };
    if held().is_some() {
        asked.await;
    } else {
        join(asked, within(PATIENCE, from_copy(env, &settings))).await;
    }
}

/// After a good answer, what is held is the newest.
async fn ask(env: &Env, settings: &Settings) -> Result<()> {
    let trust = settings.trust.as_ref().ok_or("APP, ENVIRONMENT or PUBLIC_KEYS is missing or malformed")?;
    let object = settings::object(env).ok_or("the Durable Object is not bound")?;
    let version = held().map(|opened| opened.version.clone()).unwrap_or_default();
    // The name stands for nothing: the stub is what is asked.
    let request = platform::request("GET", "https://object/", &[(VERSION_FIELD, &version)], None)?;
    let answer = object.ask(&request).await?;
    match answer.status() {
        200 => take(&platform::bytes(&answer).await?, trust, settings).await.map_err(|refusal| told(&refusal)),
        204 | 404 => Ok(()),
        status => Err(format!("the Durable Object answered {status}").into()),
    }
}

fn told(refusal: &Refusal) -> worker::Error {
    format!("{} ({})", refusal.detail, refusal.code).into()
}

/// What stands in KV: may be old, but is signed like any other.
async fn from_copy(env: &Env, settings: &Settings) {
    let Some((copies, trust)) = settings::copies(env).zip(settings.trust.as_ref()) else { return };
    let taken = match copies.bytes(COPY).await {
        Ok(Some(sealed)) => take(&sealed, trust, settings).await.map_err(|refusal| told(&refusal)),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = taken {
        console_error!("no copy of the snapshot: {error}");
    }
}

/// Leaves the copy for a cold start.
pub(crate) async fn copy(env: &Env, sealed: &[u8]) -> Result<()> {
    match settings::copies(env) {
        Some(copies) => copies.store(COPY, sealed).await,
        None => Ok(()),
    }
}

/// Takes a snapshot if it is good. One that is older than what is held changes nothing.
pub(crate) async fn take(sealed: &[u8], trust: &Trust, settings: &Settings) -> std::result::Result<(), Refusal> {
    let opened = open(sealed, trust, settings).await?;
    HELD.with_borrow_mut(|held| {
        let old = held.opened.as_deref().map(|old| (old.snapshot.number(), old.digest));
        match may_follow(&opened, old) {
            Err(refusal) if refusal.code != "older" => return Err(refusal),
            Err(_) => {}
            Ok(()) => held.opened = Some(Rc::new(opened)),
        }
        Ok(())
    })
}

/// Checks a sealed snapshot: the signature first, and nothing is looked into before that is good.
pub(crate) async fn open(sealed: &[u8], trust: &Trust, settings: &Settings) -> std::result::Result<Opened, Refusal> {
    let claim = Claim::read(sealed, trust)?;
    let is_good = platform::is_signed(claim.key(), claim.signature(), &claim.message()).await;
    if let Err(error) = &is_good {
        console_error!("a signature cannot be verified: {error}");
    }
    let verified = claim.verified(is_good.unwrap_or(false))?;
    let panic = panic_override(trust, settings).await;
    sealed::open(verified, trust, panic.as_deref())
}

/// What the secret `PANIC_OVERRIDE` says, if a key that counts signed it.
async fn panic_override(trust: &Trust, settings: &Settings) -> Option<Rc<PanicOverride>> {
    let text = settings.panic.as_ref()?;
    if HELD.with_borrow(|held| held.is_panic_read) {
        return HELD.with_borrow(|held| held.panic.clone());
    }
    let mut verified = None;
    if let Some((given, signature)) = sealed::panic_override(text, trust) {
        for key in &trust.keys {
            if platform::is_signed(key, &signature, &given.signed_bytes()).await.unwrap_or(false) {
                verified = Some(Rc::new(given));
                break;
            }
        }
    }
    if verified.is_none() {
        console_error!("PANIC_OVERRIDE is not for this Worker, or its signature is wrong; it does not count");
    }
    HELD.with_borrow_mut(|held| {
        held.panic.clone_from(&verified);
        held.is_panic_read = true;
    });
    verified
}
