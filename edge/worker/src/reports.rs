//! What this isolate counted, on its way to the control plane: behind the answers, in batches, never before one.
//!
//! The first request after a report stays in the platform's memory until the next one is due and sends it. Counters of an
//! isolate that ends before that are lost, at most those of [`REPORT_MS`].

use std::cell::{Cell, RefCell};
use std::time::Duration;

use admin_api::edge::REPORTS;
use edge_engine::{FlagOutcome, Snapshot};
use worker::{Context, Delay, Env, Result, console_error};

use crate::ledger::{BAD_MS, Exchange, Ledger, REPORT_MS, Unit};
use crate::platform::{self, now_ms, within};
use crate::sealed::Opened;
use crate::settings::settings;

/// How long a report may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The platform lets a request's afterwork live for 30 s; one that was to send by then will not.
const DEAD_MS: i64 = 30_000;

thread_local! {
    static LEDGER: RefCell<Option<Ledger>> = const { RefCell::new(None) };
    /// When somebody took it upon itself to send, and for when.
    static SENDER: Cell<Option<(i64, i64)>> = const { Cell::new(None) };
}

fn with_ledger<T>(change: impl FnOnce(&mut Ledger) -> T) -> Option<T> {
    LEDGER.with_borrow_mut(|ledger| ledger.as_mut().map(change))
}

/// Makes the ledger if there is a control plane to tell.
pub(crate) fn open(env: &Env) -> bool {
    LEDGER.with_borrow_mut(|ledger| {
        if ledger.is_none() {
            let settings = settings(env);
            let (Some(trust), true) = (&settings.trust, settings.control_plane.is_some()) else { return false };
            let Ok(random) = platform::random::<16>() else { return false };
            let boot = String::from_utf8_lossy(&edge_http::ids::unit(random)).into_owned();
            *ledger = Some(Ledger::new(trust.scope.clone(), settings.edge.clone(), boot, now_ms()));
        }
        true
    })
}

/// Requests are decided by this snapshot; `sampled` is a unit that comes now and stands for others.
pub(crate) fn came(opened: &Opened, sampled: Option<Unit>) {
    with_ledger(|ledger| {
        ledger.follow(&opened.version, &opened.snapshot, &opened.salt);
        if let Some(unit) = sampled {
            ledger.exposed(unit);
        }
    });
}

/// A release was asked.
pub(crate) fn exchange(exchange: &Exchange<'_>) {
    with_ledger(|ledger| ledger.exchange(exchange));
}

/// A request was decided and answered.
pub(crate) fn decided(env: &Env, ctx: &Context, snapshot: &Snapshot, flags: &[FlagOutcome]) {
    if open(env) {
        with_ledger(|ledger| ledger.decided(snapshot, flags));
        schedule(env, ctx);
    }
}

/// A request was served without the engine.
pub(crate) fn fell_back(env: &Env, ctx: &Context) {
    if open(env) {
        with_ledger(Ledger::fell_back);
        schedule(env, ctx);
    }
}

/// The instance before this one ended with so many requests in no report.
pub(crate) fn lost(env: &Env, requests: u64) {
    if open(env) {
        with_ledger(|ledger| ledger.lost(requests));
    }
}

/// Somebody sends when a report is due; earlier when units met failures.
fn schedule(env: &Env, ctx: &Context) {
    let now = now_ms();
    let pause = if with_ledger(|ledger| ledger.is_urgent()) == Some(true) { BAD_MS } else { REPORT_MS };
    let is_taken = SENDER.get().is_some_and(|(since, due)| now - since < DEAD_MS && due <= now + pause);
    if is_taken {
        return;
    }
    SENDER.set(Some((now, now + pause)));
    let env = env.clone();
    ctx.wait_until(async move {
        Delay::from(Duration::from_millis(pause.unsigned_abs())).await;
        // Another one may have taken over, for an earlier time.
        if SENDER.get() == Some((now, now + pause)) {
            SENDER.set(None);
            if let Err(error) = send(&env).await {
                console_error!("reports wait: {error}");
            }
        }
    });
}

/// Sends what waits, oldest first, and stops at the first that is not taken.
async fn send(env: &Env) -> Result<()> {
    let settings = settings(env);
    let Some((control_plane, authorization)) = settings.control_plane.as_ref().zip(settings.authorization()) else {
        return Ok(());
    };
    let now = now_ms();
    let waiting = with_ledger(|ledger| {
        let told = |report: &admin_api::edge::Report| Ok((report.sequence, serde_json::to_vec(report)?));
        ledger.take(now).map(told).collect::<Result<Vec<_>>>()
    });
    for (sequence, body) in waiting.transpose()?.unwrap_or_default() {
        let fields = [("content-type", "application/json"), ("authorization", &*authorization)];
        let request = platform::request("POST", &format!("{control_plane}{REPORTS}"), &fields, Some(&body))?;
        let answer = within(PATIENCE, platform::fetch(&request)).await;
        let answer = answer.ok_or("the control plane did not answer in time")??;
        if !answer.ok() {
            return Err(format!("the control plane answered {}", answer.status()).into());
        }
        if let Some(requests) = with_ledger(|ledger| ledger.accepted(sequence)) {
            #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
            platform::reported(requests as f64);
        }
    }
    Ok(())
}
