//! The Workers runtime, the optimiser of WebAssembly and wrangler, all from npm.
//!
//! Invariant: what `tests/worker` pins is what is installed, below the target folder. Once there it stays, so that builds
//! and tests need no network; another list of versions is another installation.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::packages::{self, Tool};
use crate::process::{run_as_talk, say};
use crate::workspace::Workspace;

/// Files that say what to install, in the folder of the sources.
const LISTS: [&str; 3] = [".npmrc", "package.json", "package-lock.json"];
/// What the lists were when the last installation was complete.
const STAMP: &str = "installed";

const TOOLS: &[Tool] = &[
    Tool { name: "node", package: "nodejs", reason: "runs the Workers runtime" },
    Tool { name: "npm", package: "npm", reason: "installs it" },
];

/// The folder in which they are installed, now if they are missing.
pub(crate) fn workerd(workspace: &Workspace) -> Result<PathBuf> {
    packages::tools(TOOLS)?;
    let (from, to) = (workspace.root.join("tests/worker"), workspace.target.join("worker-runtime"));
    let mut lists = Vec::new();
    for list in LISTS {
        lists.extend(fs::read(from.join(list)).with_context(|| format!("cannot read tests/worker/{list}"))?);
    }
    let stamp = to.join(STAMP);
    if fs::read(&stamp).is_ok_and(|installed| installed == lists) {
        return Ok(to);
    }
    say("setup: installing the Workers runtime");
    if to.exists() {
        fs::remove_dir_all(&to).with_context(|| format!("cannot remove {}", to.display()))?;
    }
    fs::create_dir_all(&to)?;
    for list in LISTS {
        fs::copy(from.join(list), to.join(list)).with_context(|| format!("cannot copy {list}"))?;
    }
    run_as_talk(Command::new("npm").current_dir(&to).args(["ci", "--no-progress"]))?;
    // Last: an installation that was interrupted does not count.
    fs::write(&stamp, lists).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(to)
}
