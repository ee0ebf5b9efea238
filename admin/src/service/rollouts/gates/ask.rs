//! Asking: one question to whoever knows, in bounded time. It never fails; what could not be asked is no answer.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;

use super::answers::{self, Said, quoted};
use super::subject::Subject;
use crate::ids;
use crate::integrations::gate::{Check, Hook, Query, Smoke, Webhook};
use crate::outbound::{OutAnswer, OutCall, OutUrl, Outbound};
use crate::service::rollouts::preview::Override;

/// Bytes of an answer that anybody looks at.
const MOST_BYTES: usize = 256 << 10;
/// What an edge says of who answered, where it says so.
const RELEASE: &str = "x-bascule-release";

/// One question.
#[derive(Debug, Clone)]
pub(crate) enum Question {
    /// A gate's.
    Gate {
        check: Check,
        /// The way to the candidate; why there is none.
        way: Result<Override, String>,
    },
    /// A hook's.
    Hook(Hook),
}

/// Asks, for at most this long each time.
pub(crate) async fn ask(outbound: &Outbound, question: &Question, subject: &Subject, timeout: Duration) -> Said {
    match question {
        Question::Gate { check: Check::Webhook(webhook), .. } => {
            send(outbound, webhook, &subject.to_gate(webhook), timeout).await
        }
        Question::Gate { check: Check::Prometheus(query), .. } => instant(outbound, query, subject, timeout).await,
        Question::Gate { check: Check::Http(smoke), way } => match way {
            Ok(way) => check(outbound, smoke, way, &subject.release, timeout).await,
            Err(why) => Said::Nothing(why.clone()),
        },
        Question::Hook(hook) => send(outbound, &hook.webhook, &subject.to_hook(hook), timeout).await,
    }
}

/// Sends what a webhook gets, signed where it has a secret.
pub(crate) async fn send(outbound: &Outbound, webhook: &Webhook, body: &Value, timeout: Duration) -> Said {
    let body = Bytes::from(body.to_string());
    let mut fields = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    if let Some(secret) = &webhook.secret {
        let id = format!("msg_{}", ids::random_id());
        fields.extend(secret.sign(&id, ids::now_ms() / 1000, &body));
    }
    let call =
        OutCall { method: Method::POST, url: webhook.url.clone(), fields, body, timeout, most_bytes: MOST_BYTES };
    match outbound.call(call).await {
        Ok(OutAnswer { status, body, .. }) => answers::webhook(status, &body),
        Err(error) => Said::Nothing(format!("{} cannot be asked: {error}", webhook.url)),
    }
}

async fn instant(outbound: &Outbound, query: &Query, subject: &Subject, timeout: Duration) -> Said {
    let form =
        form_urlencoded::Serializer::new(String::new()).append_pair("query", &subject.fill(&query.query)).finish();
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    let mut fields = vec![(CONTENT_TYPE, kind), (ACCEPT, HeaderValue::from_static("application/json"))];
    if let Some(token) = &query.token {
        let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {}", token.expose())) else {
            return Said::Nothing("its token has characters that no header has".to_owned());
        };
        bearer.set_sensitive(true);
        fields.push((AUTHORIZATION, bearer));
    }
    let url = query.url.below("api/v1/query");
    let call = OutCall { method: Method::POST, url, fields, body: form.into(), timeout, most_bytes: MOST_BYTES };
    match outbound.call(call).await {
        Ok(OutAnswer { status, body, .. }) => answers::prometheus(query, status, &body),
        Err(error) => Said::Nothing(format!("{} cannot be asked: {error}", query.url)),
    }
}

/// Asks the candidate itself: each URL so many times, until one answer is not good.
async fn check(outbound: &Outbound, smoke: &Smoke, way: &Override, release: &str, timeout: Duration) -> Said {
    let mut slowest = Duration::ZERO;
    for url in &smoke.urls {
        for _ in 0..smoke.count {
            let (url, mut fields) = match shown(url, way) {
                Ok(shown) => shown,
                Err(why) => return Said::Nothing(why),
            };
            fields.extend(smoke.host.clone().map(|host| (HOST, host)));
            let method = smoke.method.clone();
            let call = OutCall { method, url, fields, body: Bytes::new(), timeout, most_bytes: MOST_BYTES };
            let shown_url = call.url.to_string();
            let answer = match outbound.call(call).await {
                Ok(answer) => answer,
                Err(error) => return Said::Nothing(format!("{shown_url} cannot be asked: {error}")),
            };
            slowest = slowest.max(answer.took);
            match judge(smoke, way, release, &answer) {
                Ok(()) => {}
                Err(Said::No(detail)) => return Said::No(format!("{shown_url} {detail}")),
                Err(other) => return Said::Nothing(format!("{shown_url} {}", other.detail())),
            }
        }
    }
    let answers = smoke.urls.len() * usize::try_from(smoke.count).unwrap_or(1);
    let seen = if way.names_release { format!("{release} gave") } else { "edges do not say which release gave".into() };
    Said::Yes(format!("{seen} {answers} good answers, the slowest in {} ms", slowest.as_millis()))
}

/// Whether one answer is the candidate's, and good.
fn judge(smoke: &Smoke, way: &Override, release: &str, answer: &OutAnswer) -> Result<(), Said> {
    let OutAnswer { status, headers, body, took } = answer;
    let from = headers.get(RELEASE).map(HeaderValue::as_bytes);
    match from {
        Some(from) if from == release.as_bytes() => {}
        Some(from) => return Err(Said::Nothing(format!("is answered by {}, not by {release}", quoted(from)))),
        // What no edge answered says nothing of the candidate.
        None if way.names_release => {
            return Err(Said::Nothing(format!("answers {status} without saying which release that is")));
        }
        None => {}
    }
    let good = smoke.status.iter().any(|range| range.contains(&status.as_u16()));
    if !good {
        return Err(Said::No(format!("answers {status}")));
    }
    if let Some(limit) = smoke.latency.filter(|limit| took > limit) {
        return Err(Said::No(format!("answers in {} ms, and {} ms are allowed", took.as_millis(), limit.as_millis())));
    }
    match smoke.body.as_ref().and_then(|says| answers::misses(says, body)) {
        Some(missing) => Err(Said::No(format!("answers {}: {missing}", StatusCode::as_str(status)))),
        None => Ok(()),
    }
}

/// The request that the override makes the candidate's.
fn shown(url: &OutUrl, way: &Override) -> Result<(OutUrl, Vec<(HeaderName, HeaderValue)>), String> {
    let unfit = || "the environment's override has a name that no request has".to_owned();
    let value = |text: &str| {
        let mut value = HeaderValue::from_str(text).map_err(|_| unfit())?;
        value.set_sensitive(true);
        Ok::<_, String>(value)
    };
    if let Some(header) = &way.header {
        let name = HeaderName::try_from(header.as_str()).map_err(|_| unfit())?;
        return Ok((url.clone(), vec![(name, value(&way.token)?)]));
    }
    if let Some(cookie) = &way.cookie {
        return Ok((url.clone(), vec![(COOKIE, value(&format!("{cookie}={}", way.token))?)]));
    }
    let query = way.query.as_ref().ok_or_else(unfit)?;
    Ok((url.with_query(query, &way.token), Vec::new()))
}
