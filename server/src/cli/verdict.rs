//! `bascule verdict`: the statistics that judge a candidate, on made-up traffic and on reports that were kept.

mod calibration;
mod judge;
mod replay;
mod simulate;

use super::exit::Outcome;

const EXAMPLES: &str = "\
Examples:
  bascule verdict simulate --rate 3 --weight 5 --base 0.1 --candidate 1
  bascule verdict judge < reports.jsonl
  bascule verdict replay -e production
  bascule verdict calibration -e production";

/// Simulate, or judge.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Verb {
    /// Say how fast a fault would be found in traffic like yours, and how often a good release would be rolled back.
    Simulate(simulate::Args),
    /// Judge the reports of edges, one JSON object per line on stdin.
    Judge(judge::Args),
    /// Compute the decisions of a rollout again, from the reports that the control plane kept.
    Replay(replay::Args),
    /// Show how often stable, judged against itself beside every rollout, raised a false alarm.
    Calibration(calibration::Args),
}

pub(super) fn run(verb: &Verb) -> Outcome {
    match verb {
        Verb::Simulate(args) => simulate::run(args),
        Verb::Judge(args) => judge::run(args),
        Verb::Replay(args) => replay::run(args),
        Verb::Calibration(args) => calibration::run(args),
    }
}

/// A level's words on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Level {
    /// Each unit counts once: units stay at their release
    Unit,
    /// Each request counts: every request is split anew
    Request,
}

impl From<Level> for ::verdict::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Unit => Self::Unit,
            Level::Request => Self::Request,
        }
    }
}
