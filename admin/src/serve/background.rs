//! What the control plane does by itself: writing reports and uses of tokens, driving rollouts, forgetting, hearing of other
//! processes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{rollouts, rosters};
use crate::http::idempotency::KEPT_MS;
use crate::ids;
use crate::service::publish::TOPIC_PUBLISHED;
use crate::service::tokens::TOPIC_TOKENS;
use crate::service::{Control, ServiceError};
use crate::store::Notice;

/// What edges reported of a rollout is kept so long after its end: 90 days.
const REPORTS_KEPT_MS: i64 = 90 * 24 * 60 * 60 * 1000;
/// An alert that nobody resolves is forgotten after a day; Alertmanager repeats those that fire.
const SIGNALS_KEPT_MS: i64 = 24 * 60 * 60 * 1000;
/// Between two looks at what is to be told.
const TELL: Duration = Duration::from_secs(1);
/// What was told is kept so long: 90 days.
const TOLD_KEPT_MS: i64 = REPORTS_KEPT_MS;
/// Between two times of writing what may wait.
const TIDY: Duration = Duration::from_mins(1);
/// Boots of edges are looked through once in so many times.
const BOOTS: u32 = 60;
/// A boot is forgotten when it has not reported for seven days: by then no report of it is sent again. Isolates of Workers
/// are boots too, and come and go.
const FORGOTTEN_BOOT_MS: i64 = 7 * 24 * 60 * 60 * 1000;

pub(super) fn start(control: &Arc<Control>, stop: &CancellationToken, tasks: &TaskTracker) {
    let (own, until) = (Arc::clone(control), stop.clone());
    tasks.spawn(async move { until.run_until_cancelled(own.write_reports()).await });
    let (own, until) = (Arc::clone(control), stop.clone());
    tasks.spawn(async move {
        let mut turn = 0_u32;
        while until.run_until_cancelled(tokio::time::sleep(TIDY)).await.is_some() {
            said("tidying up", tidy(&own).await);
            if turn.is_multiple_of(BOOTS) {
                said("forgetting boots of edges", forget(&own).await);
            }
            turn = turn.wrapping_add(1);
        }
        said("writing the last uses of tokens", tidy(&own).await);
    });
    let (own, until) = (Arc::clone(control), stop.clone());
    tasks.spawn(async move { rosters::write(&own, &until).await });
    let (own, until) = (Arc::clone(control), stop.clone());
    tasks.spawn(async move { rollouts::drive(&own, &until).await });
    for destination in &control.integrations.notify {
        let (own, until, name) = (Arc::clone(control), stop.clone(), destination.name.clone());
        tasks.spawn(async move { until.run_until_cancelled(tell(&own, &name)).await });
    }
    if control.store.is_shared() {
        let (own, until) = (Arc::clone(control), stop.clone());
        tasks.spawn(async move { until.run_until_cancelled(rosters::listen(&own)).await });
        let (own, until) = (Arc::clone(control), stop.clone());
        tasks.spawn(async move { until.run_until_cancelled(listen(&own)).await });
    }
}

/// Sends what is to be told to one destination.
async fn tell(control: &Control, destination: &str) {
    loop {
        said("telling", control.deliver(destination, ids::now_ms()).await);
        // What another process wrote, and what is tried again, comes by the clock.
        let _ = tokio::time::timeout(TELL, control.told.notified()).await;
    }
}

fn said(what: &str, outcome: Result<(), ServiceError>) {
    if let Err(error) = outcome {
        tracing::error!(error = &error as &dyn std::error::Error, what, "background work failed");
    }
}

async fn tidy(control: &Control) -> Result<(), ServiceError> {
    let used = control.tokens.take_used();
    let mut tx = control.store.write().await?;
    tx.touch_tokens(&used).await?;
    tx.forget_remembered(ids::now_ms() - KEPT_MS).await?;
    tx.forget_batches(ids::now_ms() - REPORTS_KEPT_MS).await?;
    tx.forget_outbox(ids::now_ms() - TOLD_KEPT_MS).await?;
    tx.forget_signals(ids::now_ms() - SIGNALS_KEPT_MS).await?;
    tx.commit().await?;
    Ok(())
}

async fn forget(control: &Control) -> Result<(), ServiceError> {
    let mut tx = control.store.write().await?;
    tx.forget_reports(ids::now_ms() - FORGOTTEN_BOOT_MS).await?;
    tx.commit().await?;
    Ok(())
}

/// Follows what other processes on the same database do.
async fn listen(control: &Control) {
    let mut notices = control.store.notices();
    loop {
        let notice = match notices.recv().await {
            Ok(notice) if notice.body["process"] == control.hub.process() => continue,
            Ok(notice) => notice,
            Err(RecvError::Lagged(_)) => Notice::lagged(),
            Err(RecvError::Closed) => return,
        };
        if notice.topic == TOPIC_PUBLISHED || notice.is_lagged() {
            said("following another process", control.catch_up().await);
            control.hub.changed_elsewhere();
        }
        if notice.topic == TOPIC_TOKENS || notice.is_lagged() {
            said("following another process", control.refresh_access().await);
        }
    }
}
