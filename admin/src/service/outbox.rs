//! Telling: what happened is written down with the decision, and sent from there until somebody has taken it.
//!
//! Invariants: a notification is in the transaction of what it is about, so neither is without the other; it is sent at least
//! once, under the same id however often; what is told of an environment to one destination is told in order, and neither
//! one that does not answer nor another environment is in the way of others. Secrets are read when something is sent and are in no row.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use super::{Actor, Control, Intent, ServiceError};
use crate::ids;
use crate::integrations::{Channel, Destination, Endpoint, Occasion};
use crate::notify::pagerduty::{self, Action};
use crate::notify::{Announcement, slack, webhook};
use crate::outbound::sign::Signers;
use crate::outbound::{OutCall, OutUrl};
use crate::store::{OutboxRow, WriteTx};

/// It waits to be sent.
pub const WAITING: &str = "waiting";
/// Somebody took it.
pub const DELIVERED: &str = "delivered";
/// Nobody will.
pub const GIVEN_UP: &str = "givenUp";

/// How long one attempt may take.
const LIMIT: Duration = Duration::from_secs(10);
/// While it is tried, nobody else tries it: whoever ends in the middle leaves it to be tried after this.
const CLAIM_MS: i64 = 30_000;
/// The pause after the first attempt; twice that after the next, and so on.
const FIRST_PAUSE_MS: i64 = 1000;
/// What the pause grows to.
const LONGEST_PAUSE_MS: i64 = 15 * 60_000;
/// After three days nobody is told any more.
const PATIENCE_MS: i64 = 3 * 24 * 3_600_000;
/// Characters of what a receiver says about a refusal.
const MOST_ERROR: usize = 300;
/// What is sent in one go.
const MOST_DUE: u32 = 200;

/// How one attempt ended.
enum Sent {
    Taken,
    /// It will never be taken.
    Refused(String),
    /// Perhaps later; and when, where the receiver says so.
    Later(String, Option<Duration>),
}

/// Writes down whom to tell.
pub(crate) async fn enqueue(
    tx: &mut WriteTx,
    destinations: &[Destination],
    told: &Announcement,
) -> Result<(), ServiceError> {
    let Announcement { app, environment, occasion, .. } = told;
    for destination in destinations.iter().filter(|one| one.is_for(app, environment)) {
        let mut actions = Vec::new();
        match &destination.channel {
            // Whoever was called is told that it is over, whatever else they want to hear.
            Channel::PagerDuty { .. } if is_over(*occasion) => {
                let open = tx.open_pages(&destination.name, app, environment).await?;
                let open =
                    open.into_iter().filter(|rollout| *occasion != Occasion::Advanced || *rollout == told.rollout);
                actions.extend(open.map(|rollout| (Action::Resolve.as_str(), rollout)));
            }
            _ if !destination.events.contains(occasion) => {}
            Channel::PagerDuty { .. } if told.page => actions.push((Action::Trigger.as_str(), told.rollout)),
            Channel::PagerDuty { .. } => {}
            Channel::Slack { .. } | Channel::Webhook { .. } => actions.push(("post", told.rollout)),
        }
        for (action, rollout) in actions {
            let row = OutboxRow {
                id: 0,
                destination: destination.name.clone(),
                channel: destination.channel.as_str().to_owned(),
                app: app.clone(),
                environment: environment.clone(),
                rollout,
                occasion: occasion.as_str().to_owned(),
                action: action.to_owned(),
                created_at: told.at_ms,
                next_at: Some(told.at_ms),
                attempts: 0,
                state: WAITING.to_owned(),
                error: None,
                // Text keys and finite numbers, and nothing else can fail.
                document: serde_json::to_string(told).unwrap_or_default(),
            };
            tx.add_outbox(&row).await?;
        }
    }
    Ok(())
}

/// Whether what somebody was called for is over: traffic is where it belongs, or the rollout goes on.
fn is_over(occasion: Occasion) -> bool {
    matches!(occasion, Occasion::RolledBack | Occasion::Promoted | Occasion::Advanced)
}

/// What a rollback by a person is told as, where no rollout is under way.
pub(crate) fn rollback(
    (app, environment): (&str, &str),
    (from, to): (&str, &str),
    (by, reason): (&str, &str),
    at_ms: i64,
) -> Announcement {
    Announcement {
        occasion: Occasion::RollingBack,
        page: false,
        app: app.to_owned(),
        environment: environment.to_owned(),
        rollout: 0,
        release: from.to_owned(),
        stable: to.to_owned(),
        from: "promoted".to_owned(),
        to: "rollingBack".to_owned(),
        by: by.to_owned(),
        at_ms,
        sentence: format!("{by} took all traffic of {from} back to {to}: {reason}"),
        evidence: None,
        detected_after_ms: None,
        rolled_back_after_ms: None,
    }
}

impl Control {
    /// Sends what is due to a destination, in order, until something has to wait.
    pub async fn deliver(&self, destination: &str, now: i64) -> Result<(), ServiceError> {
        let rows = self.store.read().await?.due(destination, now, MOST_DUE).await?;
        // What has to wait holds up what is told of the same environment, and of no other.
        let mut waiting = BTreeSet::new();
        for row in rows {
            let place = (row.app.clone(), row.environment.clone());
            if waiting.contains(&place) {
                continue;
            }
            let Some(mut row) = self.claim(row, now).await? else {
                waiting.insert(place);
                continue;
            };
            let sent = self.send(&row).await;
            row.attempts += 1;
            let is_late = now - row.created_at > PATIENCE_MS;
            (row.state, row.next_at, row.error) = match sent {
                Sent::Taken => (DELIVERED.to_owned(), None, None),
                Sent::Refused(error) => (GIVEN_UP.to_owned(), None, Some(error)),
                Sent::Later(error, _) if is_late => (GIVEN_UP.to_owned(), None, Some(error)),
                Sent::Later(error, after) => {
                    waiting.insert(place);
                    let pause = after.map_or_else(|| pause_ms(row.attempts), clamp_ms);
                    (WAITING.to_owned(), Some(ids::now_ms().max(now) + pause), Some(error))
                }
            };
            if row.state != DELIVERED {
                let OutboxRow { id, destination, attempts, state, error, .. } = &row;
                tracing::warn!(notification = id, destination, attempts, state, error, "a notification was not taken");
            }
            let mut tx = self.store.write().await?;
            tx.update_outbox(&row).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// What was told of an environment, newest first.
    pub async fn notifications(
        &self,
        app: &str,
        environment: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, ServiceError> {
        let cached = self.existing(app).await?;
        if cached.app.environment(environment).is_none() {
            return Err(ServiceError::not_found("environment", environment));
        }
        Ok(self.store.read().await?.notifications(app, environment, before, limit).await?)
    }

    /// Sends a notification again.
    pub async fn retry_notification(
        &self,
        actor: &Actor,
        (app, environment): (&str, &str),
        id: &str,
    ) -> Result<OutboxRow, ServiceError> {
        let missing = || ServiceError::not_found("notification", id);
        let number: i64 = id.parse().map_err(|_| missing())?;
        let mut tx = self.store.write().await?;
        let row = tx.notification(number).await?;
        let is_there = |row: &OutboxRow| row.app == app && row.environment == environment;
        let mut row = row.filter(is_there).ok_or_else(missing)?;
        (row.state, row.next_at, row.error) = (WAITING.to_owned(), Some(ids::now_ms()), None);
        tx.update_outbox(&row).await?;
        let intent = Intent {
            app: app.to_owned(),
            environment: environment.to_owned(),
            operation: "retryNotification",
            subject: format!("notifications/{number}"),
            ..Intent::default()
        };
        tx.append_audit(super::change::entry(actor, &intent, &[], ids::now_ms())).await?;
        tx.commit().await?;
        self.told.notify_waiters();
        Ok(row)
    }

    /// Takes a row for this process, if nobody else has it and nothing before it waits.
    async fn claim(&self, row: OutboxRow, now: i64) -> Result<Option<OutboxRow>, ServiceError> {
        let mut tx = self.store.write().await?;
        if tx.waits_before(&row).await? > 0 {
            return Ok(None);
        }
        let current = tx.notification(row.id).await?;
        let is_same = |current: &OutboxRow| current.next_at == row.next_at && current.attempts == row.attempts;
        let Some(mut row) = current.filter(is_same) else { return Ok(None) };
        row.next_at = Some(now + CLAIM_MS);
        tx.update_outbox(&row).await?;
        tx.commit().await?;
        Ok(Some(row))
    }

    async fn send(&self, row: &OutboxRow) -> Sent {
        let Some(destination) = self.integrations.notify.iter().find(|one| one.name == row.destination) else {
            return Sent::Refused("there is no such destination any more".to_owned());
        };
        let Ok(told) = serde_json::from_str::<Announcement>(&row.document) else {
            return Sent::Refused("the announcement cannot be read".to_owned());
        };
        let call = match call(destination, row, &told) {
            Ok(call) => call,
            // A secret that is being turned may be there again in a moment.
            Err(error) => return Sent::Later(error, None),
        };
        let answer = match self.outbound.call(call).await {
            Ok(answer) => answer,
            Err(error) => return Sent::Later(chain(&error), None),
        };
        // What a receiver says may repeat the secret that it was sent.
        let said = answer.status.to_string();
        match answer.status {
            status if status.is_success() => Sent::Taken,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Sent::Later(said, retry_after(answer.headers.get(header::RETRY_AFTER)))
            }
            status if status.is_server_error() => {
                Sent::Later(said, retry_after(answer.headers.get(header::RETRY_AFTER)))
            }
            _ => Sent::Refused(said),
        }
    }
}

/// The request that tells a destination.
fn call(destination: &Destination, row: &OutboxRow, told: &Announcement) -> Result<OutCall, String> {
    let link = destination.link.as_deref();
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut fields = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let (url, body) = match &destination.channel {
        Channel::Slack { url } => {
            let url: OutUrl = url.read().map_err(|error| text(&error))?.parse().map_err(|error| text(&error))?;
            (url, bytes(&slack::message(told, link)))
        }
        Channel::PagerDuty { url, routing_key } => {
            let key = routing_key.read().map_err(|error| text(&error))?;
            let action = if row.action == Action::Resolve.as_str() { Action::Resolve } else { Action::Trigger };
            (url.clone(), bytes(&pagerduty::event(told, row.rollout, action, &key, link)))
        }
        Channel::Webhook { url, secret } => {
            let url = match url {
                Endpoint::Url(url) => url.clone(),
                Endpoint::Secret(at) => {
                    at.read().map_err(|error| text(&error))?.parse().map_err(|error| text(&error))?
                }
            };
            let signers = Signers::parse(&secret.read().map_err(|error| text(&error))?);
            let signers = signers.map_err(|error| text(&error))?;
            let body = bytes(&webhook::message(told));
            let signed: Vec<(HeaderName, HeaderValue)> =
                signers.fields(&format!("msg_{}_{}", row.created_at, row.id), ids::now_ms() / 1000, &body);
            fields.extend(signed);
            (url, body)
        }
    };
    Ok(OutCall { method: Method::POST, url, fields, body, timeout: LIMIT, most_bytes: 4096 })
}

fn bytes(body: &Value) -> Bytes {
    body.to_string().into()
}

/// After which pause it is tried again, with a fifth of chance in it, so that many do not come at once.
fn pause_ms(attempts: i64) -> i64 {
    let doubled = FIRST_PAUSE_MS.saturating_mul(1 << (attempts - 1).clamp(0, 20));
    let pause = doubled.min(LONGEST_PAUSE_MS);
    let [byte]: [u8; 1] = ids::random();
    let chance = i64::from(byte) * pause / 5 / 255;
    pause - pause / 10 + chance
}

fn clamp_ms(after: Duration) -> i64 {
    i64::try_from(after.as_millis()).unwrap_or(LONGEST_PAUSE_MS).clamp(FIRST_PAUSE_MS, LONGEST_PAUSE_MS)
}

/// Seconds, as nearly everybody writes them.
fn retry_after(field: Option<&HeaderValue>) -> Option<Duration> {
    field?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text.chars().take(MOST_ERROR).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_quarter_of_an_hour() {
        for (attempts, expected) in [(1, 1000), (2, 2000), (5, 16_000), (11, 900_000), (60, 900_000)] {
            let pause = pause_ms(attempts);
            assert!((expected * 9 / 10..=expected * 11 / 10 + 1).contains(&pause), "{attempts}: {pause}");
        }
        let after = |text: &'static str| retry_after(Some(&HeaderValue::from_static(text))).map(clamp_ms);
        assert_eq!((after("7"), after("0"), after("100000")), (Some(7000), Some(1000), Some(900_000)));
        assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }
}
