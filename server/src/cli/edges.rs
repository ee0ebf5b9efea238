//! `bascule edges`: what each edge runs, and how far behind it is.

use admin_api::answers::{Edge, EdgeEnvironment};
use admin_api::edge::EdgeKind;

use super::{
    exit::{Exit, Outcome},
    output::Paint,
    plane::Connection,
    table::Table,
};

const EXAMPLES: &str = "\
Examples:
  bascule edges
  bascule edges --json | jq '.items[] | select(.connected | not) | .id'";

/// Hexadecimal digits of an engine hash that tell engines apart.
const ENGINE_DIGITS: usize = 12;

/// Arguments of `edges`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> Outcome {
    args.connection.run(async |session| {
        let edges = session.client.list_edges().await?;
        session.say(&edges.json, || table(&edges.value.items).text(Paint::stdout()))?;
        Ok(Exit::Ok)
    })
}

fn table(edges: &[Edge]) -> Table {
    let mut table = Table::new(&["EDGE", "KIND", "REGION", "VERSION", "ENGINE", "STATE", "REQ/S", "RUNS"]);
    for edge in edges {
        table.row([
            edge.id.clone(),
            kind(edge.kind).to_owned(),
            edge.region.clone().unwrap_or_default(),
            edge.version.clone(),
            short(&edge.engine),
            state(edge),
            format!("{:.1}", edge.requests_per_second),
            edge.environments.iter().map(runs).collect::<Vec<_>>().join(", "),
        ]);
    }
    table
}

fn state(edge: &Edge) -> String {
    match &edge.unreachable {
        Some(why) => format!("unreachable: {why}"),
        None if edge.connected => "connected".to_owned(),
        None => format!("gone since {}", edge.last_contact),
    }
}

fn runs(runs: &EdgeEnvironment) -> String {
    let number = runs.number.map_or_else(|| "nothing".to_owned(), |number| number.to_string());
    let behind = if runs.lag == 0 { String::new() } else { format!(" ({} behind)", runs.lag) };
    let refused = runs.refused.as_deref().map_or_else(String::new, |why| format!(" (refused: {why})"));
    format!("{}/{} {number}{behind}{refused}", runs.scope.app, runs.scope.environment)
}

/// The kind's word.
pub(super) fn kind(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Gateway => "gateway",
        EdgeKind::Worker => "worker",
    }
}

/// The beginning of an engine hash.
pub(super) fn short(engine: &str) -> String {
    engine.chars().take(ENGINE_DIGITS).collect()
}
