//! A gateway with one worker and ten flags that answers OFREP to the token `bsc_bench`, for measuring: prints where it
//! listens, and ends when its standard input does.

use std::io::Read as _;

use admin_api::edge::{Access, EnvironmentAccess, OfrepToken, Scope};
use edge_engine::BucketingKey;
use edge_ofrep::Fingerprint;
use serde_json::json;
use server::config::Config;
use server::config::layers::Layers;
use server::gateway::board::Origin;
use server::gateway::publish::Change;
use server::gateway::start::Gateway;
use server::host::{Engine, LoadedSnapshot, Module};
use server::lifecycle::Lifecycle;

fn document() -> serde_json::Value {
    let flags: serde_json::Map<_, _> = (0..10)
        .map(|n| {
            let flag = json!({
                "id": format!("flag-{n}"), "type": "boolean", "enabled": true, "offVariant": "off", "clientVisible": true,
                "variants": [{"key": "on", "value": true}, {"key": "off", "value": false}],
                "rules": [{"id": "staff", "serve": "on",
                    "when": {"attr": "email", "op": "endsWith", "values": ["@shop.example"]}}],
                "fallthrough": {"split": [{"variant": "on", "from": 0, "to": 100_000},
                    {"variant": "off", "from": 100_000, "to": 1_000_000}]},
            });
            (format!("flag-{n}"), flag)
        })
        .collect();
    json!({
        "format": "v1", "app": "web", "environment": "production", "number": 1,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k1",
        "traffic": {"active": "blue", "slots": {"blue": "web-1"}, "salt": "s"},
        "releases": {"web-1": {"version": "1", "upstreams": [{"url": "http://127.0.0.1:9"}]}},
        "flags": flags,
    })
}

fn main() -> anyhow::Result<()> {
    let mut config = Config::read(&Layers::default()).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    config.listen = "127.0.0.1:0".parse()?;
    config.ops = "127.0.0.1:0".parse()?;
    config.workers = 1;
    let native = std::env::args().any(|argument| argument == "native");
    let engine = if native { Engine::native() } else { Engine::wasm(Module::embedded()?) };
    let gateway = Gateway::start(&config, &Lifecycle::new())?;
    let loaded = LoadedSnapshot::load(document().to_string().as_bytes(), &BucketingKey::new([7; 16]), &engine)?;
    let token = OfrepToken { sha256: Fingerprint::of("bsc_bench").hex(), is_client: false, expires_at_ms: None };
    let scope = Scope { app: "web".into(), environment: "production".into() };
    let access = Access { environments: vec![EnvironmentAccess { scope, tokens: vec![token] }] };
    gateway.publisher().publish(Change { access: Some(access), ..Change::one(loaded, Origin::Direct) })?;
    println!("{}", gateway.address());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    gateway.stop();
    Ok(())
}
