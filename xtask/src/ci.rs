//! `cargo xtask ci`: what has to be green before a change is merged.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bench::callgrind;
use crate::{lint, test};

pub(crate) const SUMMARY: &str = "lint, callgrind and test, as CI does";
pub(crate) const HELP: &str = "\
Runs `lint`, `callgrind --check` and then `test`, and says how long each took. The last line is that of `test`.
CI_ADVISORIES=1 lets `lint` also ask the advisory database, which needs the network.";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    crate::no_arguments(args)?;
    let ((), linting) = stopwatch(lint::all)?;
    let ((), counting) = stopwatch(callgrind::check)?;
    let (outcome, testing) = stopwatch(test::all)?;
    for (phase, time) in [("lint", linting), ("callgrind", counting), ("test", testing)] {
        eprintln!("{phase:>10} {:>7.1} s", time.as_secs_f64());
    }
    println!("{outcome}");
    Ok(outcome.exit_code())
}

fn stopwatch<T>(phase: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    Ok((phase()?, start.elapsed()))
}
