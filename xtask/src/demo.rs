//! `cargo xtask demo`: from a fresh clone to a running `bascule demo`.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::build::with_module;
use crate::module;
use crate::process::{run_as_talk, timed};
use crate::workspace::Workspace;

pub(crate) const SUMMARY: &str = "set up, build, and run `bascule demo`";
pub(crate) const HELP: &str = "\
Arguments are handed to `bascule demo`: `cargo xtask demo --once`, `cargo xtask demo -- --help`.
The binary is a development build: its dependencies are optimised, and the edge module is the one that is shipped.";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    with_module(&workspace)?;
    timed("build", || {
        module::precompile(&workspace, &[])?;
        run_as_talk(workspace.cargo().args("build --locked --package server --bin bascule".split(' ')))
    })?;
    let args = args.strip_prefix(&["--".to_owned()]).unwrap_or(args);
    let binary = workspace.target.join("debug/bascule");
    // Replaces this process, so that Ctrl-C and the exit code are between the terminal and the demo.
    let error = Command::new(&binary).arg("demo").args(args).exec();
    Err(error).with_context(|| format!("cannot start {}", binary.display()))
}
