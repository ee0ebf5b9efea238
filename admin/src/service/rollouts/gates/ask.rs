//! Asking: one question to whoever knows, in bounded time. It never fails; what could not be asked is no answer.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;

use super::answers::{self, Said, quoted};
use super::subject::Subject;
use crate::ids;
use crate::integrations::Endpoint;
use crate::integrations::gate::{Check, Hook, Query, Smoke, Webhook};
use crate::outbound::secret::SecretAt;
use crate::outbound::sign::Signers;
use crate::outbound::{OutAnswer, OutCall, OutUrl, Outbound, OutboundError, UrlError};
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
        match read(secret).and_then(|text| Signers::parse(&text).map_err(|error| error.to_string())) {
            Ok(signers) => fields.extend(signers.fields(&id, ids::now_ms() / 1000, &body)),
            Err(why) => return Said::Nothing(why),
        }
    }
    let url = match place(&webhook.url) {
        Ok(url) => url,
        Err(why) => return Said::Nothing(why),
    };
    let call = OutCall { method: Method::POST, url, fields, body, timeout, most_bytes: MOST_BYTES };
    match outbound.call(call).await {
        Ok(OutAnswer { status, body, .. }) => answers::webhook(status, &body),
        Err(error) => Said::Nothing(told(&error)),
    }
}

async fn instant(outbound: &Outbound, query: &Query, subject: &Subject, timeout: Duration) -> Said {
    let form =
        form_urlencoded::Serializer::new(String::new()).append_pair("query", &subject.fill(&query.query)).finish();
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    let mut fields = vec![(CONTENT_TYPE, kind), (ACCEPT, HeaderValue::from_static("application/json"))];
    if let Some(token) = &query.token {
        match read(token).and_then(|token| sensitive(&format!("Bearer {token}"))) {
            Ok(bearer) => fields.push((AUTHORIZATION, bearer)),
            Err(why) => return Said::Nothing(why),
        }
    }
    let url = match place(&query.url) {
        Ok(url) => url.below("api/v1/query"),
        Err(why) => return Said::Nothing(why),
    };
    let call = OutCall { method: Method::POST, url, fields, body: form.into(), timeout, most_bytes: MOST_BYTES };
    match outbound.call(call).await {
        Ok(OutAnswer { status, body, .. }) => answers::prometheus(query, status, &body),
        Err(error) => Said::Nothing(told(&error)),
    }
}

/// Asks the candidate itself: each URL so many times, until one answer is not good.
async fn check(outbound: &Outbound, smoke: &Smoke, way: &Override, release: &str, timeout: Duration) -> Said {
    let mut slowest = Duration::ZERO;
    for url in &smoke.urls {
        for _ in 0..smoke.count {
            let (url, mut fields) = match place(url).and_then(|url| shown(url, way)) {
                Ok(shown) => shown,
                Err(why) => return Said::Nothing(why),
            };
            fields.extend(smoke.host.clone().map(|host| (HOST, host)));
            let method = smoke.method.clone();
            let call = OutCall { method, url, fields, body: Bytes::new(), timeout, most_bytes: MOST_BYTES };
            let shown_url = call.url.to_string();
            let answer = match outbound.call(call).await {
                Ok(answer) => answer,
                Err(error) => return Said::Nothing(told(&error)),
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
fn shown(url: OutUrl, way: &Override) -> Result<(OutUrl, Vec<(HeaderName, HeaderValue)>), String> {
    let unfit = || "the environment's override has a name that no request has".to_owned();
    if let Some(header) = &way.header {
        let name = HeaderName::try_from(header.as_str()).map_err(|_| unfit())?;
        return Ok((url, vec![(name, sensitive(&way.token)?)]));
    }
    if let Some(cookie) = &way.cookie {
        return Ok((url, vec![(COOKIE, sensitive(&format!("{cookie}={}", way.token))?)]));
    }
    let query = way.query.as_ref().ok_or_else(unfit)?;
    Ok((url.query(&[(query, &way.token)]), Vec::new()))
}

/// Where something is called; a secret place is read now, so that a turned one counts at once.
fn place(url: &Endpoint) -> Result<OutUrl, String> {
    match url {
        Endpoint::Url(url) => Ok(url.clone()),
        Endpoint::Secret(secret) => read(secret)?.parse().map_err(|error: UrlError| error.to_string()),
    }
}

fn read(secret: &SecretAt) -> Result<String, String> {
    secret.read().map_err(|error| error.to_string())
}

/// A value that is in no log.
fn sensitive(text: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(text);
    let mut value = value.map_err(|_| "a secret has characters that no request has".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why there is no answer, with what the system said.
fn told(error: &OutboundError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
