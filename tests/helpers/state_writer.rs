//! Saves snapshots into a state directory and says which ones are saved: the victim of the tests that
//! kill it, or fail its system calls, at every point.
//!
//! `state-writer DIR FIRST LAST`: saves the numbers from FIRST to LAST, each with the content that
//! [`tests::state_content`] gives it, and prints each number when its save has returned.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use server::gateway::scope::Scope;
use server::state_dir::StateDir;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, first, last] = args.as_slice() else { bail!("usage: state-writer DIR FIRST LAST") };
    let (first, last) = (first.parse::<u64>()?, last.parse::<u64>()?);
    // As the gateway does: a write beyond the file size limit is an error, not the end.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _in_runtime = runtime.enter();
    server::lifecycle::ignore_file_size_signal()?;
    let dir = StateDir::open(dir).context("cannot open")?;
    let scope = Scope::new("web", "production");
    let mut out = std::io::stdout().lock();
    for number in first..=last {
        dir.save(&scope, number, &tests::state_content(number)).with_context(|| format!("cannot save {number}"))?;
        writeln!(out, "{number}")?;
        out.flush()?;
    }
    Ok(())
}
