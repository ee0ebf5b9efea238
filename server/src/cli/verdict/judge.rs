//! `bascule verdict judge`: reports in, a verdict out. The same engine as the control plane's, as a filter.

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;

use ::verdict::{Added, Batch, Evidence, Names, Policy, Progress, Verdict};
use anyhow::Context as _;
use serde_json::json;

use super::super::exit::{Exit, Failure, Outcome};
use super::super::target;

const EXAMPLES: &str = "\
Examples:
  bascule verdict judge < reports.jsonl
  bascule verdict judge --policy policy.json --elapsed 600 --json < reports.jsonl
  bascule verdict judge --candidate green --stable blue < reports.jsonl

Each line is what an edge saw in one flush: {\"edge\", \"sequence\", \"window\", \"units\", \"counts\",
\"events\"}, as docs/verdict.md describes it. A report that is there twice counts once.
Exit code 0 for continue and promote, 10 for a rollback, 11 for a hold.";

/// Arguments of `verdict judge`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// A policy as JSON; the defaults without one
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How many seconds the step is old
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    elapsed: u64,
    /// How many seconds the step lasts at least
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    minimum: u64,
    /// After how many seconds the step is inconclusive
    #[arg(long, value_name = "SECONDS")]
    maximum: Option<u64>,
    /// What the candidate is called
    #[arg(long, value_name = "NAME", default_value = "the candidate")]
    candidate: String,
    /// What stable is called
    #[arg(long, value_name = "NAME", default_value = "stable")]
    stable: String,
    /// One JSON document on stdout instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let mut evidence = Evidence::new(policy(args)?).map_err(|error| usage(&error))?;
    for (number, line) in (1..).zip(std::io::stdin().lock().lines()) {
        let line = line.context("cannot read stdin")?;
        if line.trim().is_empty() {
            continue;
        }
        let batch: Batch = serde_json::from_str(&line)
            .map_err(|error| Failure::new(Exit::Usage, format!("line {number} is no report: {error}")))?;
        if let Added::Refused(refusal) = evidence.add(&batch) {
            return Err(Failure::new(Exit::Usage, format!("line {number} is refused: {refusal}")).into());
        }
    }
    let progress =
        Progress { elapsed_seconds: args.elapsed, minimum_seconds: args.minimum, maximum_seconds: args.maximum };
    let verdict = evidence.verdict(&progress);
    let sentence = evidence.sentence(&verdict, &progress, Names { candidate: &args.candidate, stable: &args.stable });
    let mut stdout = std::io::stdout().lock();
    if args.json {
        let answer = json!({ "verdict": verdict, "sentence": sentence, "findings": evidence.findings() });
        writeln!(stdout, "{}", serde_json::to_string_pretty(&answer)?)?;
    } else {
        writeln!(stdout, "{}: {sentence}", word(&verdict))?;
    }
    Ok(match verdict {
        Verdict::Continue | Verdict::PromoteReady => Exit::Ok,
        Verdict::RollBack(_) => Exit::RolledBack,
        Verdict::Hold(_) => Exit::Paused,
    })
}

fn policy(args: &Args) -> anyhow::Result<Policy> {
    let Some(file) = &args.policy else { return Ok(Policy::default()) };
    let text = target::read(file)?;
    let policy = serde_json::from_str(&text);
    policy.map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", file.display())).into())
}

fn usage(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Usage, error.to_string())
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Continue => "continue",
        Verdict::PromoteReady => "promote",
        Verdict::Hold(_) => "hold",
        Verdict::RollBack(_) => "roll back",
    }
}
