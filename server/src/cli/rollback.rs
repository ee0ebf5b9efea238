//! `bascule rollback`: traffic goes back at once, and every edge says so.
//!
//! What is rolled back is named to the control plane, also when nobody named it here: if somebody else moved traffic in
//! the meantime, nothing is done.

use std::time::Duration;

use admin_api::{
    answers::{RollbackAnswer, RollbackRequest},
    objects::{Slot, TrafficBody},
};
use anyhow::Context as _;

use super::{
    changes::clean,
    confirm::Consent,
    edges,
    exit::{Exit, Failure, Outcome},
    output::Paint,
    plane::{AppName, Connection, Session, duration},
    table::Table,
};

const EXAMPLES: &str = "\
Examples:
  bascule rollback -e production --reason \"5xx after the release\"
  bascule rb -e production --reason \"errors\" --to web-1.4.1 --from web-1.5.0 --yes
  bascule rb -e production --reason \"drill\" --wait 20s --yes --json | jq .propagatedMs

A candidate that takes traffic goes; otherwise the active release does, and the one before it takes over.
Exit code 0 when every connected edge has acknowledged, 12 when some have not yet: the rollback is published
all the same. 4 when something else is being served than --from; nothing is done then.";

/// Arguments of `rollback`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The environment
    #[arg(long, short, value_name = "NAME")]
    environment: String,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The release that is to serve
    #[arg(long, value_name = "RELEASE")]
    to: Option<String>,
    /// The release that goes; by default what the traffic says now
    #[arg(long, value_name = "RELEASE")]
    from: Option<String>,
    /// How long to wait for acknowledgements, at most 60s
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    wait: Duration,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    app: AppName,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> Outcome {
    let wait_ms = u32::try_from(args.wait.as_millis()).context("--wait is too long")?;
    args.connection.run(async |session| {
        let app = session.app(&args.app).await?;
        let traffic = session.client.get_traffic(&app, &args.environment).await?.value.body;
        let from = args.from.clone().or_else(|| goes(&traffic, args.to.as_deref()));
        let from = from.ok_or_else(|| {
            let message = format!("no release serves {} of {app}", args.environment);
            Failure::new(Exit::Conflict, message)
        })?;
        let to = args.to.clone().or_else(|| comes(&traffic, &from));
        let to = to.as_deref().unwrap_or("the release that served before it");
        args.consent.ask(&clean(&format!("Roll back {app} in {} from {from} to {to}?", args.environment)))?;
        let request = RollbackRequest {
            to: args.to.clone(),
            from: Some(from),
            reason: args.reason.clone(),
            wait_ms: Some(wait_ms),
        };
        roll_back(session, &app, &args.environment, &request).await
    })
}

async fn roll_back(session: &Session, app: &str, environment: &str, request: &RollbackRequest) -> Outcome {
    let done = session.client.rollback(app, environment, request).await?;
    session.say(&done.json, || text(app, environment, &done.value))?;
    if done.value.missing.is_empty() {
        return Ok(Exit::Ok);
    }
    let count = done.value.missing.len();
    let edges = if count == 1 { "edge has" } else { "edges have" };
    let message = format!("the rollback is published, and {count} {edges} not acknowledged it yet");
    let help = "bascule edges shows what each edge runs".to_owned();
    Err(Failure::new(Exit::Timeout, message).with_help(help).into())
}

/// The release that the control plane would take back.
fn goes(traffic: &TrafficBody, to: Option<&str>) -> Option<String> {
    let active = held(traffic, active_slot(traffic))?;
    let candidate = held(traffic, other(active_slot(traffic)));
    let by_split =
        traffic.candidate_weight > 0.0 || traffic.regions.values().any(|region| region.candidate_weight > 0.0);
    let by_rule = traffic.rules.iter().any(|rule| rule.slot != active_slot(traffic));
    let candidate = candidate.filter(|_| by_split || by_rule);
    match (candidate, to) {
        (Some(candidate), None) => Some(candidate),
        (Some(candidate), Some(to)) if to == active => Some(candidate),
        _ => Some(active),
    }
}

/// The release that takes over, where the traffic shows it.
fn comes(traffic: &TrafficBody, from: &str) -> Option<String> {
    held(traffic, active_slot(traffic)).filter(|active| active != from)
}

fn active_slot(traffic: &TrafficBody) -> Slot {
    traffic.active.unwrap_or(if traffic.slots.blue.is_some() { Slot::Blue } else { Slot::Green })
}

fn other(slot: Slot) -> Slot {
    match slot {
        Slot::Blue => Slot::Green,
        Slot::Green => Slot::Blue,
    }
}

fn held(traffic: &TrafficBody, slot: Slot) -> Option<String> {
    match slot {
        Slot::Blue => traffic.slots.blue.clone(),
        Slot::Green => traffic.slots.green.clone(),
    }
}

fn text(app: &str, environment: &str, done: &RollbackAnswer) -> String {
    let paint = Paint::stdout();
    let head = format!("{app} in {environment}: {} → {}, snapshot {}", done.from, done.to, done.snapshot);
    let mut text = format!("{}\n", paint.strong(&clean(&head)));
    if done.edges.is_empty() && done.missing.is_empty() {
        return text + "no edge is connected; the next one that connects runs it\n";
    }
    let mut table = Table::new(&["EDGE", "KIND", "REGION", "ENGINE", "ACK"]);
    for edge in &done.edges {
        let region = edge.region.clone().unwrap_or_default();
        let ack = format!("{:.1} ms", edge.ack_ms);
        table.row([edge.id.clone(), edges::kind(edge.kind).to_owned(), region, edges::short(&edge.engine), ack]);
    }
    for edge in &done.missing {
        let detail = edge.detail.as_deref().map_or_else(String::new, |detail| format!(": {detail}"));
        let runs = edge.number.map_or_else(String::new, |number| format!(", runs {number}"));
        let state = format!("MISSING ({}{detail}{runs})", edge.state);
        table.row([edge.id.clone(), String::new(), edge.region.clone().unwrap_or_default(), String::new(), state]);
    }
    text.push_str(&table.text(paint));
    let (acknowledged, connected) = (done.acknowledged, done.connected);
    text + &format!("{acknowledged} of {connected} acknowledged, the last after {:.1} ms\n", done.propagated_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn traffic(json: serde_json::Value) -> TrafficBody {
        serde_json::from_value(json).expect("traffic")
    }

    #[test]
    fn a_candidate_goes_before_the_active_release() {
        let both = json!({"blue": "web-1", "green": "web-2"});
        let canary = traffic(json!({"active": "blue", "slots": both, "candidateWeight": 5}));
        assert_eq!(goes(&canary, None).as_deref(), Some("web-2"));
        assert_eq!(goes(&canary, Some("web-1")).as_deref(), Some("web-2"));
        assert_eq!(goes(&canary, Some("web-0")).as_deref(), Some("web-1"));
        assert_eq!(comes(&canary, "web-2").as_deref(), Some("web-1"));
        let region = json!({"active": "blue", "slots": both, "regions": {"eu": {"candidateWeight": 1}}});
        assert_eq!(goes(&traffic(region), None).as_deref(), Some("web-2"));
        let kept = traffic(json!({"active": "green", "slots": both}));
        assert_eq!((goes(&kept, None).as_deref(), comes(&kept, "web-2")), (Some("web-2"), None));
        assert_eq!(goes(&traffic(json!({"slots": {}})), None), None);
    }
}
