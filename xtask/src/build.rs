//! `cargo xtask build`: the release binary with the edge module in it.

use std::process::ExitCode;

use anyhow::Result;

use crate::process::{run_as_talk, timed};
use crate::setup::Toolchain;
use crate::workspace::Workspace;
use crate::{module, setup};

pub(crate) const SUMMARY: &str = "build target/release/bascule with the edge module embedded";
pub(crate) const HELP: &str = "\
Builds the edge module, checks that it has no imports and fits its size budget, and then the release binary.
On stdout: the path of the binary.";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    crate::no_arguments(args)?;
    let workspace = Workspace::load()?;
    with_module(&workspace)?;
    module::fits(&workspace)?;
    binary(&workspace)?;
    println!("{}", workspace.target.join("release/bascule").display());
    Ok(ExitCode::SUCCESS)
}

/// The release binary with the module and its machine code, whatever the module weighs.
pub(crate) fn release(workspace: &Workspace) -> Result<()> {
    with_module(workspace)?;
    binary(workspace)
}

fn binary(workspace: &Workspace) -> Result<()> {
    timed("release build", || {
        module::precompile(workspace, &["--release"])?;
        let arguments = "build --locked --release --package server --bin bascule";
        run_as_talk(workspace.cargo().args(arguments.split(' ')))
    })
}

/// What every build of `server` needs first. Answers the toolchain that built the module.
pub(crate) fn with_module(workspace: &Workspace) -> Result<Toolchain> {
    let toolchain = setup::toolchain(workspace)?;
    module::build(workspace, toolchain)?;
    Ok(toolchain)
}
