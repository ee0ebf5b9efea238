//! `cargo xtask lint`: everything that can be said about the code without running it.
//!
//! Owns the list of checks. Invariant: all of them run, also after one has failed, so that one run names all there is
//! to do.

mod fuzz;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::build::with_module;
use crate::module;
use crate::process::{run_as_talk, say, timed};
use crate::setup::{Toolchain, WASM};
use crate::tools;
use crate::workspace::Workspace;

pub(crate) const SUMMARY: &str = "rustfmt, clippy, rustdoc, cargo-deny, cargo-machete and our own rules";
pub(crate) const HELP: &str = "\
Every warning is an error. cargo-deny and cargo-machete are installed into the target folder when they are missing.
CI_ADVISORIES=1 also asks the advisory database, which needs the network.";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    crate::no_arguments(args)?;
    all()?;
    Ok(ExitCode::SUCCESS)
}

/// A check by name; it gets the toolchain that built the module.
type Check = (&'static str, fn(&Workspace, Toolchain) -> Result<()>);

const CHECKS: &[Check] = &[
    ("tidy", |workspace, _| tidy::check(workspace)),
    ("size of the module", |workspace, _| module::fits(workspace)),
    ("rustfmt", rustfmt),
    ("fuzz targets", |workspace, _| fuzz::check(workspace)),
    ("clippy", clippy),
    ("clippy of the module", clippy_of_the_module),
    ("rustdoc", rustdoc),
    ("cargo-machete", machete),
    ("cargo-deny", deny),
];

/// Runs all checks.
pub(crate) fn all() -> Result<()> {
    let workspace = Workspace::load()?;
    // `server` does not compile without the module.
    let toolchain = with_module(&workspace)?;
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        if let Err(error) = timed(&format!("lint: {name}"), || check(&workspace, toolchain)) {
            say(format_args!("lint: {name} FAILED: {error:#}"));
            failed.push(*name);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

fn rustfmt(workspace: &Workspace, _: Toolchain) -> Result<()> {
    run_as_talk(workspace.cargo().args(["fmt", "--all", "--check"]))
}

fn clippy(workspace: &Workspace, _: Toolchain) -> Result<()> {
    let args = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-Dwarnings"];
    run_as_talk(workspace.cargo().args(args))
}

/// The module and the Worker again for their own target, where `cfg` and the size of `usize` are others.
fn clippy_of_the_module(workspace: &Workspace, toolchain: Toolchain) -> Result<()> {
    if toolchain != Toolchain::Active {
        // Debian's toolchain has no clippy, and a clippy cannot use the std of another compiler.
        say("lint: NOT run for the own target of module and Worker: the toolchain with clippy has no std for it");
        return Ok(());
    }
    let packages = ["--package", "edge-module", "--package", "edge-worker"];
    let mut cargo = workspace.cargo();
    cargo.args(["clippy", "--locked"]).args(packages).args(["--target", WASM, "--", "-Dwarnings"]);
    run_as_talk(&mut cargo)
}

fn rustdoc(workspace: &Workspace, _: Toolchain) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"]);
    run_as_talk(cargo.env("RUSTDOCFLAGS", "-Dwarnings"))
}

fn machete(workspace: &Workspace, _: Toolchain) -> Result<()> {
    run_as_talk(tools::MACHETE.command(workspace)?.current_dir(&workspace.root))
}

fn deny(workspace: &Workspace, _: Toolchain) -> Result<()> {
    let mut deny = tools::DENY.command(workspace)?;
    deny.current_dir(&workspace.root).args([
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]);
    if std::env::var_os("CI_ADVISORIES").is_some_and(|value| value == "1") {
        deny.arg("advisories");
    }
    run_as_talk(&mut deny)
}
