//! What operators deploy names what the Worker reads.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names in capitals that stand in quotes.
fn quoted(source: &str) -> BTreeSet<&str> {
    let words = source.split('"').skip(1).step_by(2);
    let is_name = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    words.filter(is_name).collect()
}

#[test]
fn wrangler_terraform_and_documentation_name_every_setting_of_the_worker() {
    let settings = read("edge/worker/src/settings.rs");
    let settings = quoted(&settings);
    assert!(settings.len() >= 10, "{settings:?}");
    let wrangler = read("deploy/cloudflare/wrangler.toml");
    let wrangler: toml::Table = wrangler.parse().expect("TOML");
    let wrangler = serde_json::to_value(wrangler).expect("JSON");
    let mut bound: BTreeSet<String> = wrangler["vars"].as_object().unwrap().keys().cloned().collect();
    let name = |value: &Value| value.as_str().unwrap().to_owned();
    bound.insert(name(&wrangler["durable_objects"]["bindings"][0]["name"]));
    bound.insert(name(&wrangler["kv_namespaces"][0]["binding"]));
    // Secrets are in no file.
    bound.extend(["EDGE_TOKEN", "PANIC_OVERRIDE"].map(str::to_owned));
    assert_eq!(settings, bound.iter().map(String::as_str).collect());
    let documents = [read("docs/worker.md"), read("deploy/cloudflare/terraform/main.tf")];
    for name in settings.iter().filter(|name| **name != "PANIC_OVERRIDE") {
        for document in &documents {
            assert!(document.contains(*name), "{name} is missing in {}", document.lines().next().unwrap_or_default());
        }
    }
}
