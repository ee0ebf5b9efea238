//! `bascule demo`: see [`crate::demo`].

use std::time::Duration;

use super::exit::{Exit, Outcome};
use crate::demo::{self, Options};

const EXAMPLES: &str = "\
Examples:
  bascule demo                       until ctrl-c; redrawn in place on a terminal
  bascule demo --once                one rollout, about 15 seconds
  bascule demo --once --fault none   one that nothing is wrong with
  bascule demo --once --json | jq 'select(.event == \"outcome\")'

Starts two releases (ports 7001, 7002), a control plane (7400), two gateways (8080 and 8081, health and
metrics 9090 and 9091) and visitors, all on 127.0.0.1; takes free ports where these are taken. Rolls one
release out through 5, 25, 50 and 100 %. At 25 % it begins to fail, and is taken back by the verdict.
Exit code 0 when that came as expected, nothing else failed, and no visitor went back and forth.";

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// End after one walk
    #[arg(long)]
    once: bool,
    /// One JSON object per line on stdout: started, sample, change, outcome, finished
    #[arg(long)]
    json: bool,
    /// Decide by the engine in this binary instead of the edge module
    #[arg(long, value_name = "ENGINE", default_value = "wasm", value_parser = ["wasm", "native"])]
    engine: String,
    /// What is wrong with the candidate from 25 % on
    #[arg(long, value_name = "FAULT", default_value = "errors")]
    fault: Fault,
    /// How many visitors
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    visitors: u32,
    /// How many requests they send in a second, together
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How many seconds each step is shown at least
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    step: Duration,
}

/// What may be wrong with a release.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Fault {
    /// A fifth of its answers are errors
    Errors,
    /// It takes 300 ms
    Latency,
    /// It ends
    Crash,
    /// Nothing
    None,
}

pub(super) fn run(args: &Args) -> Outcome {
    let options = Options {
        visitors: usize::try_from(args.visitors)?,
        rate: args.rate,
        step: args.step,
        once: args.once,
        json: args.json,
        native: args.engine == "native",
        fault: match args.fault {
            Fault::Errors => demo::Fault::Errors,
            Fault::Latency => demo::Fault::Latency,
            Fault::Crash => demo::Fault::Crash,
            Fault::None => demo::Fault::None,
        },
    };
    Ok(if demo::run(&options)? { Exit::Ok } else { Exit::Unexpected })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write a number of seconds, for example 0.5")?;
    if (0.0..=600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("between 0 and 600".into())
    }
}
