//! The documents of the comparison: snapshots and contexts, made here so that every program reads the same bytes.
//!
//! Invariant: they depend on nothing but their arguments; instruction counts are compared across commits.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};

/// The host name by which requests reach the environment.
pub(crate) const HOST: &str = "bench.example";
/// Flags of which the edge tells the upstream, in the documents with many.
const FORWARDED: usize = 20;

/// What a client sends beside `host`: five headers that the rules ask for, and the cookie with the unit. Engine, gateway
/// and every other proxy see these six and no others.
pub(crate) const HEADERS: [(&str, &str); 5] = [
    ("x-country", "DE"),
    ("x-plan", "pro"),
    ("x-version", "2.4.1"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("accept-language", "de-DE,de;q=0.9,en;q=0.5"),
];

/// One flag out of a hundred, decided for a country with a sticky tenth.
pub(crate) const FLAG: &str = "flag";
/// The same hundred, of which the edge is to decide none: what is left of a call without a flag decision.
pub(crate) const NO_FLAG: &str = "no_flag";
/// The whole route decision with forwarded flags.
pub(crate) const ROUTE: &str = "route";
/// The same among ten thousand flags.
pub(crate) const ROUTE_10000: &str = "route_10000";

/// Nobody listens there; the engine does not connect.
const NOWHERE: [&str; 2] = ["http://127.0.0.1:1", "http://127.0.0.1:2"];

/// Writes `NAME.json` and `NAME.context.json` for each scenario.
pub(crate) fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let one = |forwarded| snapshot(&country_flags(forwarded), "header:x-user-id", &NOWHERE[..1], 1);
    let many = |flags| snapshot(&mixed_flags(flags), "cookie:uid", &NOWHERE, 1);
    let visitor = json!({"header": {"x-user-id": "user-42"}, "country": "DE"});
    for (name, document, context) in [
        (FLAG, one(Some(50)), &visitor),
        (NO_FLAG, one(None), &visitor),
        (ROUTE, many(FORWARDED), &request(42)),
        (ROUTE_10000, many(10_000), &request(42)),
    ] {
        fs::write(folder.join(format!("{name}.json")), serde_json::to_vec(&document)?)?;
        fs::write(folder.join(format!("{name}.context.json")), serde_json::to_vec(context)?)?;
    }
    Ok(())
}

/// What the gateway routes by in the comparison with other proxies: a tenth of the `uid` cookies to the second of
/// two upstreams, and `flags` flags of which some are forwarded.
pub(crate) fn gateway(upstreams: &[String; 2], flags: usize, number: u64) -> Value {
    let [blue, green] = upstreams;
    snapshot(&mixed_flags(flags), "cookie:uid", &[blue, green], number)
}

/// The contexts of `bascule decide`, one per line.
pub(crate) fn contexts(lines: usize) -> String {
    (0..lines).map(|user| request(user).to_string()).collect::<Vec<_>>().join("\n") + "\n"
}

/// The request of a user, as the engine sees it.
fn request(user: usize) -> Value {
    let headers: Map<String, Value> = HEADERS.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    json!({"header": headers, "cookie": {"uid": format!("u{user}")}})
}

fn snapshot(flags: &Map<String, Value>, unit: &str, upstreams: &[&str], number: u64) -> Value {
    let releases: Map<String, Value> = (1..)
        .zip(upstreams)
        .map(|(n, url)| (format!("web-{n}"), json!({"version": n.to_string(), "upstreams": [{"url": url}]})))
        .collect();
    let mut slots = json!({"blue": "web-1"});
    let mut weight = 0;
    if upstreams.len() > 1 {
        slots["green"] = json!("web-2");
        weight = 100_000;
    }
    json!({
        "format": "v1", "app": "web", "environment": "production", "number": number,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "bench", "unit": [unit],
        "traffic": {"active": "blue", "slots": slots, "candidateWeight": weight, "salt": "web-2"},
        "releases": releases, "flags": flags, "edge": {"hosts": [HOST]},
    })
}

fn country_flags(forwarded: Option<usize>) -> Map<String, Value> {
    let condition = json!({"attr": "country", "op": "in", "values": ["US", "DE", "FR"]});
    (0..100).map(|n| (name(n), flag(n, Some(n) == forwarded, &condition))).collect()
}

/// Flags with rules over five headers; the first ones are forwarded.
fn mixed_flags(count: usize) -> Map<String, Value> {
    let conditions = [
        json!({"attr": "header.x-country", "op": "in", "values": ["US", "DE", "FR"]}),
        json!({"attr": "header.x-plan", "op": "eq", "values": ["enterprise"]}),
        json!({"attr": "header.x-version", "op": "semverGte", "values": ["2.0.0"]}),
        json!({"attr": "header.user-agent", "op": "contains", "values": ["Firefox"]}),
        json!({"attr": "header.accept-language", "op": "startsWith", "values": ["de", "fr"]}),
    ];
    (0..count).map(|n| (name(n), flag(n, n < FORWARDED, &conditions[n % conditions.len()]))).collect()
}

/// The key of a flag.
pub(crate) fn name(number: usize) -> String {
    format!("flag-{number:04}")
}

fn flag(number: usize, forward: bool, condition: &Value) -> Value {
    json!({
        "id": format!("id-{number}"), "type": "boolean", "enabled": true, "forward": forward,
        "variants": [{"key": "on", "value": true}, {"key": "off", "value": false}], "offVariant": "off",
        "algorithm": "siphash24-v1",
        "rules": [{"id": "rule", "when": condition, "split": [
            {"variant": "on", "from": 0, "to": 100_000}, {"variant": "off", "from": 100_000, "to": 1_000_000},
        ]}],
        "fallthrough": {"serve": "off"},
    })
}

#[cfg(test)]
mod tests {
    use super::{HEADERS, contexts, gateway, mixed_flags};

    #[test]
    fn a_document_is_the_same_every_time() {
        let upstreams = ["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned()];
        assert_eq!(gateway(&upstreams, 30, 7), gateway(&upstreams, 30, 7));
        assert_eq!(gateway(&upstreams, 30, 7)["flags"].as_object().unwrap().len(), 30);
    }

    #[test]
    fn the_rules_ask_for_every_header_that_is_sent() {
        let rules = serde_json::to_string(&mixed_flags(20)).unwrap();
        for (name, _) in HEADERS {
            assert!(rules.contains(&format!("header.{name}\"")), "{name}");
        }
    }

    #[test]
    fn every_context_is_one_line_of_json() {
        let text = contexts(10);
        assert_eq!(text.lines().count(), 10);
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }
}
