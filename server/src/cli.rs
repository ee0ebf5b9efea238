//! The command line: a file for each verb, one enum for all exit codes.
//!
//! Data goes to stdout, talk to stderr. A verb answers with an [`Exit`], or with an error that says
//! what to do; only this file prints errors and only `main` ends the process.

mod api;
mod apply;
mod audit;
mod changes;
mod check;
mod completions;
mod confirm;
mod control_plane;
mod db;
mod decide;
mod demo;
mod diff;
mod doctor;
mod edges;
mod exit;
mod export;
mod flag;
mod gateway;
mod import;
mod man;
mod noun;
mod output;
mod r#override;
mod plane;
mod reference;
mod release;
mod remote;
mod rollback;
mod segment;
mod snapshot;
mod table;
mod target;
mod token;
mod traffic;
mod verdict;
mod worker;

use std::{io::ErrorKind, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::Exit;
use exit::Failure;
pub(crate) use output::Paint;
pub use reference::reference;

/// Routes requests to releases and flags to people, with one engine.
#[derive(Debug, Parser)]
#[command(name = "bascule", bin_name = "bascule", version, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
Examples:
  bascule demo                                see a canary and a rollback, with nothing to set up
  bascule serve                               control plane and gateway on this machine
  bascule check bascule.yaml                  every mistake in a file, with its place
  bascule decide --file bascule.yaml          one decision for each JSON context on stdin
  bascule apply bascule.yaml                  make the control plane's app what a file says
  bascule rollback -e production --reason R   take traffic back at once
  bascule verdict simulate --rate 3           how fast a fault would be found in such traffic

Exit codes:
  0 ok, 1 unexpected, 2 usage or problems in a file, 3 not found, 4 conflict, 5 refused by policy,
  6 confirmation needed, 7 unreachable, 8 not authorised, 10 rolled back, 11 paused, 12 timeout";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show a canary and a rollback with real traffic on this machine.
    Demo(demo::Args),
    /// Run control plane and gateway in one process.
    Serve(control_plane::ServeArgs),
    /// Run a control plane alone.
    Admin(control_plane::AdminArgs),
    /// Route traffic by bascule.yaml files or snapshots, and watch them.
    Gateway(gateway::Args),
    /// Check bascule.yaml files and snapshots, and report every problem at once.
    Check(check::Args),
    /// Decide for JSON contexts on stdin, one per line.
    Decide(decide::Args),
    /// Show every effective setting of a gateway, where it came from, and what is wrong.
    Doctor(doctor::Args),
    /// Turn flag definitions of flagd into a bascule.yaml.
    Import(import::Args),
    /// Show and change the version of the control plane's schema.
    Db(db::Args),
    /// Try out and replay the statistics that judge a candidate.
    #[command(subcommand)]
    Verdict(verdict::Verb),
    /// Sign an override that takes a tester to a slot.
    Override(r#override::Args),
    #[command(flatten)]
    Remote(remote::Verb),
    /// Write a completion script for a shell to stdout.
    Completions(completions::Args),
    /// Write the manual pages into a folder.
    Man(man::Args),
}

/// Parses the process's arguments, runs the verb and reports what went wrong.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Demo(args) => demo::run(&args),
        Verb::Serve(args) => control_plane::serve(&args),
        Verb::Admin(args) => control_plane::admin(&args),
        Verb::Gateway(args) => gateway::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Decide(args) => decide::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Import(args) => import::run(&args),
        Verb::Db(args) => db::run(&args),
        Verb::Verdict(verb) => verdict::run(&verb),
        Verb::Override(args) => r#override::run(&args),
        Verb::Remote(verb) => remote::run(&verb),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
    };
    outcome.unwrap_or_else(|error| report(&error)).into()
}

/// The whole command tree, for completions, manual pages and the reference.
fn command() -> clap::Command {
    Cli::command()
}

/// Whether the program would understand these arguments, for tests of what documents say; runs nothing.
pub fn understands(arguments: &[String]) -> Result<(), String> {
    command().try_get_matches_from(arguments).map(drop).map_err(|error| error.to_string())
}

fn report(error: &anyhow::Error) -> Exit {
    // Whoever read our output has seen enough; that is no failure of ours.
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return Exit::Ok;
    }
    let failure = error.downcast_ref::<Failure>();
    let paint = Paint::stderr();
    eprintln!("{}: {error:#}", paint.error("error"));
    for note in failure.map(Failure::notes).unwrap_or_default() {
        eprintln!("  {note}");
    }
    if let Some(help) = failure.and_then(Failure::help) {
        eprintln!("  {}: {help}", paint.help("help"));
    }
    failure.map_or(Exit::Unexpected, Failure::exit)
}

/// The clock, for what the engine may not ask itself: milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
