//! Building the targets with coverage counters.
//!
//! Invariant: the flags are for the targets and what they link, never for build scripts, so nothing of the normal
//! build is touched. All of them are flags of a stable compiler. No sanitizer: the code under test forbids `unsafe`, and
//! one would need a nightly compiler and halve the runs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::{Target, output, package};
use crate::process::run_as_talk;
use crate::setup;
use crate::workspace::Workspace;

const FLAGS: &[&str] = &[
    // Counters on each edge, and the operands of comparisons, for libFuzzer to steer by.
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // Inputs that recurse deeper are interesting: the module's stack is 1 MiB.
    "-Cllvm-args=-sanitizer-coverage-stack-depth",
    // Folded branches would hide steps on the way to an input.
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    // The counters of functions that are in several units would be counted apart.
    "-Ccodegen-units=1",
];

/// The built targets.
pub(super) struct Binaries(PathBuf);

impl Binaries {
    pub(super) fn command(&self, target: &Target) -> Command {
        Command::new(self.0.join(target.name))
    }
}

pub(super) fn targets(workspace: &Workspace) -> Result<Binaries> {
    let host = setup::host()?;
    let mut cargo = workspace.cargo();
    // With `--target` the flags leave build scripts and macros alone, which have no libFuzzer to link with.
    cargo.args(["build", "--locked", "--release", "--bins", "--target", &host, "--manifest-path"]);
    cargo.arg(package(workspace).join("Cargo.toml")).env("CARGO_TARGET_DIR", output(workspace));
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", OsString::from(FLAGS.join("\u{1f}")));
    run_as_talk(&mut cargo)?;
    Ok(Binaries(output(workspace).join(host).join("release")))
}
