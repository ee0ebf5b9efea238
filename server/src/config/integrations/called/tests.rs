use admin::integrations::Endpoint;
use admin::integrations::gate::{Check, HookKind};

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn written(text: &str) -> (tempfile::TempDir, Result<Integrations, Vec<Problem>>) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).expect("writable");
    std::fs::write(folder.path().join("url"), "https://hooks.example/services/canary\n").expect("writable");
    std::fs::write(folder.path().join("bad"), "canary canary\n").expect("writable");
    let file = folder.path().join("integrations.toml");
    std::fs::write(&file, text).expect("writable");
    let read = super::super::integrations(&file);
    (folder, read)
}

#[track_caller]
fn problems(text: &str, expected: &[&str]) {
    let (folder, read) = written(text);
    let prefix = format!("{}/", folder.path().display());
    let found = read.expect_err("not a file of integrations");
    let found: Vec<String> = found.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect();
    assert_eq!(found, expected);
    assert!(!found.join("").contains("canary"), "{found:?}");
}

#[test]
fn every_kind_of_gate_is_read() {
    let (_folder, read) = written(
        r#"
[[gate]]
name = "change"
kind = "webhook"
urlFile = "url"
secretFile = "secret"
app = "web"
metadata = {team = "shop"}

[[gate]]
name = "smoke"
kind = "http"
urls = ["https://eu.shop.example/health", "https://us.shop.example/health"]
host = "shop.example"
method = "GET"
status = [200, "301-302"]
jsonPath = "$.checks[0].status"
equals = "healthy"
maxLatencyMs = 500
count = 3
intervalMs = 2000
timeoutMs = 1000

[[gate]]
name = "errors"
kind = "prometheus"
url = "http://prometheus:9090"
query = 'sum(rate(errors{release="{{release}}"}[5m]))'
above = 0.01
below = 0
"#,
    );
    let read = read.expect("it is a file of integrations");
    assert!(!format!("{read:?}").contains("canary") && !format!("{read:?}").contains("MfKQ"), "{read:?}");
    let [change, smoke, errors] = read.gates.as_slice() else { panic!("{read:?}") };
    assert!(change.reach.covers("web", "any") && !change.reach.covers("api", "any"));
    let Check::Webhook(webhook) = &change.check else { panic!("{change:?}") };
    assert_eq!((matches!(webhook.url, Endpoint::Secret(_)), webhook.secret.is_some()), (true, true));
    let Check::Http(check) = &smoke.check else { panic!("{smoke:?}") };
    assert_eq!((check.urls.len(), check.count, &check.status), (2, 3, &vec![200..=200, 301..=302]));
    assert_eq!((smoke.pace.interval.as_millis(), smoke.pace.timeout.as_millis()), (2000, 1000));
    let Check::Prometheus(query) = &errors.check else { panic!("{errors:?}") };
    assert_eq!((query.above, query.below, query.token.is_none()), (Some(0.01), Some(0.0), true));
}

#[test]
fn every_kind_of_hook_is_read() {
    let tables = HookKind::ALL
        .map(|kind| format!("[[hook]]\nname = \"one\"\nkind = \"{}\"\nurl = \"http://hooks.example\"\n", kind.name()));
    let (_folder, read) = written(&tables.join(""));
    let hooks = read.expect("it is a file of integrations").hooks;
    assert_eq!(hooks.len(), 8);
    assert_eq!((hooks[1].gate_name(), hooks[1].threshold), ("hook:pre-rollout/one".to_owned(), 5));
}

#[test]
fn everything_that_is_wrong_is_said_with_its_line() {
    problems("gate = 1\n", &["integrations.toml:1: gate: each begins with `[[gate]]`"]);
    problems(
        "[[gate]]\nname = \"a\"\nkind = \"promtheus\"\n",
        &["integrations.toml:3: kind: must be one of webhook, http, prometheus; did you mean `prometheus`?"],
    );
    problems(
        "[[gate]]\nname = \"acknowledged\"\nkind = \"webhook\"\nurl = \"ftp://canary\"\nsecretFile = \"bad\"\ncuont = 1\n",
        &[
            "integrations.toml:2: name: acknowledged, and what begins with hook:, is always there",
            "integrations.toml:4: url: a URL begins with http:// or https:// and a host, and has no user and no fragment",
            "integrations.toml:5: secretFile: a secret is whsec_ and 24 to 64 bytes in base64, as `echo whsec_$(openssl rand -base64 32)` prints one",
            "integrations.toml:6: cuont: there is no such key in this gate",
        ],
    );
    problems(
        "[[gate]]\nname = \"a\"\nkind = \"http\"\nurl = \"http://h\"\nstatus = [700]\njsonPath = \"$..a\"\nintervalMs = 1\n",
        &[
            "integrations.toml:5: status: must be a list of statuses and ranges such as \"200-299\"",
            "integrations.toml:6: jsonPath: must name one place, as in $.checks[0].status or /checks/0/status",
            "integrations.toml:6: jsonPath: needs equals, or exists = true",
            "integrations.toml:7: intervalMs: must be a whole number from 100 to 3600000",
        ],
    );
    problems(
        "[[gate]]\nname = \"a\"\nkind = \"prometheus\"\nurlEnv = \"NO_SUCH_VARIABLE\"\nquery = \"up\"\n",
        &[
            "integrations.toml:1: above: is missing; above and below say from where on it is a no",
            "integrations.toml:4: urlEnv: NO_SUCH_VARIABLE cannot be read: environment variable not found",
        ],
    );
    let hook = "[[hook]]\nname = \"a\"\nkind = \"event\"\nurl = \"http://h\"\n";
    problems(
        &format!("{hook}{hook}threshold = 3\n"),
        &["integrations.toml:9: threshold: there is no such key in this hook"],
    );
    problems(&format!("{hook}{hook}"), &["integrations.toml:6: name: there is a hook hook:event/a before this one"]);
    let (_folder, read) = written("[[gate]\n");
    assert!(read.expect_err("no TOML")[0].to_string().contains("integrations.toml:1: "));
}
