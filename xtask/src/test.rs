//! `cargo xtask test`: every test of the workspace, or a failure.
//!
//! Owns the promise that a green run means all tests ran. Invariant: a test that was ignored or filtered out, a test
//! target that did not run, and a test binary that died without a result each fail the run.

mod tally;

use std::io::{BufRead as _, BufReader, Read, Write};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result};

use self::tally::Tally;
use crate::build::with_module;
use crate::process::{run_as_talk, say};
use crate::workspace::Workspace;
use crate::{module, setup, worker};

pub(crate) const SUMMARY: &str = "set up, build the module, and run all tests";
pub(crate) const HELP: &str = "\
Runs `cargo test --workspace` and fails if any test was skipped. The last line is `N passed, N failed`.
For a part of the tests use `cargo test` itself, after one `cargo xtask build` or `cargo xtask test`.";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    crate::no_arguments(args)?;
    let outcome = all()?;
    println!("{outcome}");
    Ok(outcome.exit_code())
}

/// The outcome of all tests; prints as the last line of the run.
pub(crate) struct Outcome {
    passed: u64,
    failed: u64,
}

impl Outcome {
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Runs all tests. An error means that they could not be built or started.
pub(crate) fn all() -> Result<Outcome> {
    let workspace = Workspace::load()?;
    let toolchain = with_module(&workspace)?;
    setup::test_tools(&workspace)?;
    worker::build(&workspace, toolchain)?;
    worker::check(&workspace)?;
    module::precompile(&workspace, &[])?;
    // Built first, so that a compiler error is not reported as a failed test.
    run_as_talk(workspace.cargo().args("test --locked --workspace --no-run".split(' ')))?;
    let (tally, succeeded) = run_tests(&workspace)?;
    let mut complaints = tally.complaints(&workspace.test_targets());
    if !succeeded && tally.failed == 0 && complaints.is_empty() {
        complaints.push("cargo test failed without a failed test".to_owned());
    }
    for complaint in &complaints {
        say(format_args!("test: {complaint}"));
    }
    Ok(Outcome { passed: tally.passed, failed: tally.failed + u64::try_from(complaints.len())? })
}

/// Runs cargo, passes on what it prints, and counts.
fn run_tests(workspace: &Workspace) -> Result<(Tally, bool)> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--locked", "--workspace", "--no-fail-fast", "--color=never", "--", "--color=never"]);
    // A variable that makes the test harness stop early or print otherwise would be a way around the count.
    cargo.env_remove("RUST_TEST_NOCAPTURE").env("CARGO_TERM_VERBOSE", "false").env("CARGO_TERM_QUIET", "false");
    let mut child = cargo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start cargo")?;
    let (stdout, stderr) =
        (child.stdout.take().context("stdout is piped")?, child.stderr.take().context("stderr is piped")?);
    let (results, runs) = std::thread::scope(|scope| {
        let runs = scope.spawn(|| relay(stderr, std::io::stderr()));
        let results = relay(stdout, std::io::stdout());
        (results, runs.join())
    });
    let runs = runs.map_err(|_| anyhow::anyhow!("the reader of cargo's messages panicked"))?;
    let mut tally = Tally::default();
    for line in results?.iter().chain(&runs?) {
        tally.read(line);
    }
    Ok((tally, child.wait()?.success()))
}

/// Copies lines as they come, and keeps those that the tally reads.
fn relay(from: impl Read, mut to: impl Write) -> Result<Vec<String>> {
    let mut from = BufReader::new(from);
    let (mut kept, mut line) = (Vec::new(), Vec::new());
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        let text = String::from_utf8_lossy(&line);
        if Tally::reads(&text) {
            kept.push(text.trim_end().to_owned());
        }
        line.clear();
    }
    Ok(kept)
}
