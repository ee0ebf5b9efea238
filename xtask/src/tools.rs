//! Programs from crates.io that commands use, at the versions the commands were written for.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::process::{cargo, run_as_talk, timed};
use crate::workspace::Workspace;

/// A program of a crate.
pub(crate) struct Tool {
    name: &'static str,
    program: &'static str,
    version: &'static str,
}

pub(crate) const DENY: Tool = Tool { name: "cargo-deny", program: "cargo-deny", version: "0.20.2" };
pub(crate) const MACHETE: Tool = Tool { name: "cargo-machete", program: "cargo-machete", version: "0.9.2" };

impl Tool {
    /// The program, installed now if it is missing. The version is part of the folder's name: another version is
    /// another tool, and nothing has to be asked to know which one is there.
    pub(crate) fn command(&self, workspace: &Workspace) -> Result<Command> {
        let root = workspace.target.join("tools").join(format!("{}-{}", self.name, self.version));
        let program = root.join("bin").join(self.program);
        if !program.is_file() {
            timed(&format!("installing {} {}", self.name, self.version), || self.install(root))?;
        }
        Ok(Command::new(program))
    }

    /// A debug build: it takes a quarter of the time of a release build and the program runs for seconds only.
    fn install(&self, root: PathBuf) -> Result<()> {
        let mut cargo = cargo();
        cargo.args(["install", "--locked", "--debug", "--quiet", "--root"]).arg(root);
        cargo.arg(format!("{}@{}", self.name, self.version));
        run_as_talk(cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").env_remove("CARGO_TARGET_DIR"))
    }
}
