//! The app that the demo serves: a `bascule.yaml` like anybody's, and the traffic of each step.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

pub(super) const APP: &str = "web";
pub(super) const ENVIRONMENT: &str = "production";
pub(super) const BLUE_RELEASE: &str = "web-1.0.0";
pub(super) const GREEN_RELEASE: &str = "web-1.1.0";
pub(super) const FLAG: &str = "new-checkout";
/// Percentages that green takes, one after the other.
pub(super) const STEPS: [u32; 4] = [5, 25, 50, 100];
/// The percentage at which green begins to show its fault.
pub(super) const FAULTY_FROM: u32 = 25;
/// Percentage of the visitors who get the flag.
pub(super) const FLAG_SHARE: u32 = 20;

/// Before a walk: blue serves everybody.
pub(super) fn traffic() -> Value {
    json!({"active": "blue", "slots": {"blue": BLUE_RELEASE}, "candidateWeight": 0})
}

/// How green takes over: as anybody's plan, with the times of a demo. A step takes a little longer than it is shown.
pub(super) fn plan(step: Duration) -> Value {
    let hold = u64::try_from(step.as_millis()).unwrap_or(u64::MAX) + 1500;
    let steps: Vec<Value> = STEPS.iter().map(|weight| json!({"weight": weight, "holdMs": hold})).collect();
    json!({"name": "demo", "steps": steps, "bakeMs": hold, "keepWarmMs": hold, "maximumMs": 86_400_000_u64})
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
      slots: {{blue: {BLUE_RELEASE}}}
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
