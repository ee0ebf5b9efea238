//! `[[gate]]`: what a step of a template may ask.

use std::time::Duration;

use admin::integrations::Endpoint;
use admin::integrations::gate::{Check, Gate, PREFIX, Path, Query, Says, Smoke};
use admin::model::rollout::ACKNOWLEDGED;
use http::{HeaderValue, Method};
use toml::de::DeValue;

use super::super::super::layers::did_you_mean;
use super::entry::{Entry, statuses};

const KINDS: [&str; 3] = ["webhook", "http", "prometheus"];
/// URLs of one smoke check.
const MOST_URLS: usize = 32;

pub(super) fn gate(entry: &mut Entry<'_, '_, '_>) -> Option<Gate> {
    let name = entry.name();
    let taken = name.as_deref().is_some_and(|name| name == ACKNOWLEDGED || name.starts_with(PREFIX));
    entry.unless(!taken, "name", || format!("{ACKNOWLEDGED}, and what begins with {PREFIX}, is always there"));
    let (reach, pace) = (entry.reach(), entry.pace());
    let kind = entry.needed("kind");
    let check = match kind.as_deref() {
        Some("webhook") => entry.webhook().map(Check::Webhook),
        Some("http") => smoke(entry).map(Check::Http),
        Some("prometheus") => query(entry).map(Check::Prometheus),
        Some(other) => {
            let help = did_you_mean(other, KINDS.into_iter());
            entry.problem("kind", format!("must be one of {}{help}", KINDS.join(", ")));
            return None;
        }
        None => return None,
    };
    entry.is_sound().then_some(Gate { name: name?, reach, pace, check: check? })
}

fn smoke(entry: &mut Entry<'_, '_, '_>) -> Option<Smoke> {
    let texts = entry.list("urls", "URLs in quotes", |value| match value {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    });
    let urls: Option<Vec<Endpoint>> = match texts {
        Some(texts) if texts.len() <= MOST_URLS => texts.iter().map(|text| entry.parse_url("urls", text)).collect(),
        Some(_) => {
            entry.problem("urls", format!("there are {MOST_URLS} at most"));
            None
        }
        None => entry.one_url().map(|url| vec![url]),
    };
    let host = entry.text("host").and_then(|host| {
        let value = HeaderValue::from_str(&host).ok().filter(|_| host.parse::<http::uri::Authority>().is_ok());
        entry.unless(value.is_some(), "host", || "must be a host".to_owned());
        value
    });
    let method = entry.text("method").unwrap_or_else(|| "GET".to_owned());
    let method = [Method::GET, Method::HEAD, Method::POST].into_iter().find(|known| known.as_str() == method);
    entry.unless(method.is_some(), "method", || "must be GET, HEAD or POST".to_owned());
    let status = entry.list("status", "statuses and ranges such as \"200-299\"", statuses);
    let body = says(entry);
    let has_body = method != Some(Method::HEAD) || body.is_none();
    entry.unless(has_body, "method", || "an answer to HEAD has no body to look at".to_owned());
    let limit = entry.whole("maxLatencyMs", 1..=60_000, 0);
    let count = entry.whole("count", 1..=20, 1);
    Some(Smoke {
        urls: urls?,
        host,
        method: method?,
        status: status.unwrap_or_else(|| vec![200..=299]),
        body,
        latency: (limit > 0).then(|| Duration::from_millis(limit)),
        count: u32::try_from(count).unwrap_or(1),
    })
}

fn says(entry: &mut Entry<'_, '_, '_>) -> Option<Says> {
    let (jsonpath, pointer) = (entry.text("jsonPath"), entry.text("jsonPointer"));
    let (equals, exists) = (entry.json("equals"), entry.truth("exists"));
    let (key, shown, path) = match (jsonpath, pointer) {
        (Some(text), None) => ("jsonPath", text.clone(), Path::of_jsonpath(&text)),
        (None, Some(text)) => ("jsonPointer", text.clone(), Path::of_pointer(&text)),
        (None, None) => {
            let key = if equals.is_some() { "equals" } else { "exists" };
            let needless = equals.is_some() || exists.is_some();
            entry.unless(!needless, key, || "needs a jsonPath or a jsonPointer".to_owned());
            return None;
        }
        (Some(_), Some(_)) => {
            entry.problem("jsonPointer", "there is a jsonPath already");
            return None;
        }
    };
    let detail = "must name one place, as in $.checks[0].status or /checks/0/status";
    entry.unless(path.is_some(), key, || detail.to_owned());
    entry.unless(exists != Some(false), "exists", || "what must not be there cannot be asked for".to_owned());
    let asked = equals.is_some() || exists == Some(true);
    entry.unless(asked, key, || "needs equals, or exists = true".to_owned());
    Some(Says { path: path?, shown, equals })
}

fn query(entry: &mut Entry<'_, '_, '_>) -> Option<Query> {
    let url = entry.one_url();
    let query = entry.needed("query");
    let (above, below) = (entry.number("above"), entry.number("below"));
    let limited = above.is_some() || below.is_some();
    entry.unless(limited, "above", || "is missing; above and below say from where on it is a no".to_owned());
    let token = entry.secret("tokenFile", "tokenEnv", |text| {
        let sound = text.bytes().all(|byte| byte.is_ascii_graphic());
        let wrong = || "a token is one word of ASCII letters, digits and signs".to_owned();
        sound.then_some(()).ok_or_else(wrong)
    });
    Some(Query { url: url?, query: query?, above, below, token })
}
