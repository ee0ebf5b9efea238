//! The app that the demo serves: a `bascule.yaml` like anybody's, and the traffic of each step.

use std::net::SocketAddr;

use serde_json::{Value, json};

pub(super) const APP: &str = "web";
pub(super) const ENVIRONMENT: &str = "production";
pub(super) const BLUE_RELEASE: &str = "web-1.0.0";
pub(super) const GREEN_RELEASE: &str = "web-1.1.0";
pub(super) const FLAG: &str = "new-checkout";
/// Percentage of the visitors who get the flag.
pub(super) const FLAG_SHARE: u32 = 20;

/// Green with this percentage; also after a rollback has emptied its slot.
pub(super) fn traffic(percent: u32) -> Value {
    json!({
        "active": "blue",
        "slots": {"blue": BLUE_RELEASE, "green": GREEN_RELEASE},
        "candidateWeight": percent,
    })
}

pub(super) fn yaml(blue: SocketAddr, green: SocketAddr) -> String {
    format!(
        "app: {APP}
environments:
  {ENVIRONMENT}:
    hosts: [localhost, 127.0.0.1]
    debug: true
    unit: [header:x-user-id]
    traffic:
      active: blue
      slots: {{blue: {BLUE_RELEASE}, green: {GREEN_RELEASE}}}
releases:
  {BLUE_RELEASE}: {{version: 1.0.0, upstreams: [{{url: \"http://{blue}\"}}]}}
  {GREEN_RELEASE}: {{version: 1.1.0, upstreams: [{{url: \"http://{green}\"}}]}}
flags:
  {FLAG}:
    forward: true
    environments:
      {ENVIRONMENT}:
        fallthrough: {{split: {{on: {FLAG_SHARE}, off: {}}}}}
",
        100 - FLAG_SHARE
    )
}
