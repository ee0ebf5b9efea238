//! `bascule rollback`: traffic goes back at once, and every edge says so.
//!
//! What is rolled back is named to the control plane, also when nobody named it here: if somebody else moved traffic in
//! the meantime, nothing is done.

use std::time::Duration;

use admin_api::{
    ClientError,
    answers::{EdgeAck, RollbackAnswer, RollbackRequest},
    objects::{Slot, TrafficBody},
};

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

A candidate that takes traffic goes; otherwise the active release does, and the one before it
takes over. Exit code 0 when every connected edge has acknowledged, 12 when some have not yet: the
rollback is published all the same. 4 when something else is being served than --from; nothing is
done then.";

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
    args.connection.run(async |session| {
        let app = session.app(&args.app).await?;
        let traffic = session.client.get_traffic(&app, &args.environment).await?.value.body;
        let may_go = args.from.clone().map_or_else(|| goes(&traffic, args.to.as_deref()), |from| vec![from]);
        let Some((last, before)) = may_go.split_last() else {
            let message = format!("no release serves {} of {app}", args.environment);
            return Err(Failure::new(Exit::Conflict, message).into());
        };
        for from in before {
            match roll_back(session, args, &app, &traffic, from).await {
                // It is not the candidate that would go, so it is the active one, and that needs its own yes.
                Err(error) if is_mismatch(&error) => {}
                outcome => return outcome,
            }
        }
        roll_back(session, args, &app, &traffic, last).await
    })
}

fn is_mismatch(error: &anyhow::Error) -> bool {
    let problem = error.downcast_ref::<ClientError>();
    matches!(problem, Some(ClientError::Problem(problem)) if problem.code == "release_mismatch")
}

async fn roll_back(session: &Session, args: &Args, app: &str, traffic: &TrafficBody, from: &str) -> Outcome {
    let environment = &args.environment;
    let to = args.to.clone().or_else(|| comes(traffic, from));
    let to = to.as_deref().unwrap_or("the release that served before it");
    args.consent.ask(&clean(&format!("Roll back {app} in {environment} from {from} to {to}?")))?;
    let request = RollbackRequest {
        to: args.to.clone(),
        from: Some(from.to_owned()),
        reason: args.reason.clone(),
        wait_ms: Some(u32::try_from(args.wait.as_millis()).unwrap_or(u32::MAX)),
    };
    let done = session.client.rollback(app, environment, &request).await?;
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

/// The releases that the control plane would take back, the likelier first. There are two where only rules send requests
/// to the other slot: whether that release is on its way in, or was kept, the traffic does not say.
fn goes(traffic: &TrafficBody, to: Option<&str>) -> Vec<String> {
    let slot = active_slot(traffic);
    let Some(active) = held(traffic, slot) else { return Vec::new() };
    let regional = traffic.regions.values().any(|region| region.candidate_weight > 0.0);
    let by_split = traffic.candidate_weight > 0.0 || regional;
    let by_rule = traffic.rules.iter().any(|rule| rule.slot != slot);
    let candidate = held(traffic, other(slot)).filter(|_| to.is_none_or(|to| to == active));
    match candidate {
        Some(candidate) if by_split => vec![candidate],
        Some(candidate) if by_rule => vec![candidate, active],
        _ => vec![active],
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
    let last = done.propagated_ms;
    let sum = format!("{acknowledged} of {connected} acknowledged, the last after {last:.1} ms\n");
    text.extend([sum].into_iter().chain(done.edges.iter().filter_map(follows)));
    text
}

/// A Worker acknowledges for one place, and its isolates follow.
fn follows(edge: &EdgeAck) -> Option<String> {
    let bound = edge.bound_ms?;
    Some(clean(&format!("{}: every isolate follows within {bound} ms of its acknowledgement", edge.id)) + "\n")
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
        assert_eq!(goes(&canary, None), ["web-2"]);
        assert_eq!(goes(&canary, Some("web-1")), ["web-2"]);
        assert_eq!(goes(&canary, Some("web-0")), ["web-1"]);
        assert_eq!(comes(&canary, "web-2").as_deref(), Some("web-1"));
        let region = json!({"active": "blue", "slots": both, "regions": {"eu": {"candidateWeight": 1}}});
        assert_eq!(goes(&traffic(region), None), ["web-2"]);
        let rule = json!([{"when": {"segment": "staff"}, "slot": "green"}]);
        let ruled = traffic(json!({"active": "blue", "slots": both, "rules": rule}));
        assert_eq!(goes(&ruled, None), ["web-2", "web-1"]);
        let kept = traffic(json!({"active": "green", "slots": both}));
        assert_eq!((goes(&kept, None), comes(&kept, "web-2")), (vec!["web-2".to_owned()], None));
        assert_eq!(goes(&traffic(json!({"slots": {}})), None), Vec::<String>::new());
    }
}
