//! The released OpenFeature clients that the tests run.
//!
//! Invariant: what `tests/openfeature` pins is what is installed, below the target folder. Once there it stays, so that
//! tests need no network; another list of versions is another installation.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::packages::{self, Tool};
use super::python;
use crate::process::{run_as_talk, say};
use crate::workspace::Workspace;

/// Files that say what to install, in the folder of the sources.
const LISTS: [&str; 4] = [".npmrc", "package.json", "package-lock.json", "requirements.txt"];
/// What the lists were when the last installation was complete.
const STAMP: &str = "installed";

const TOOLS: &[Tool] = &[
    Tool { name: "node", package: "nodejs", reason: "runs the OpenFeature clients for JavaScript" },
    Tool { name: "npm", package: "npm", reason: "installs them" },
    Tool { name: "python3", package: "python3", reason: "runs the OpenFeature client for Python" },
];

/// Sees to it that the clients are there.
pub(super) fn clients(workspace: &Workspace) -> Result<()> {
    packages::tools(TOOLS)?;
    let (from, to) = (workspace.root.join("tests/openfeature"), workspace.target.join("openfeature"));
    let lists = lists(&from)?;
    let stamp = to.join(STAMP);
    if fs::read(&stamp).is_ok_and(|installed| installed == lists) {
        return Ok(());
    }
    say("setup: installing the OpenFeature clients that the tests run");
    if to.exists() {
        fs::remove_dir_all(&to).with_context(|| format!("cannot remove {}", to.display()))?;
    }
    fs::create_dir_all(&to)?;
    for list in LISTS {
        fs::copy(from.join(list), to.join(list)).with_context(|| format!("cannot copy {list}"))?;
    }
    run_as_talk(Command::new("npm").current_dir(&to).args(["ci", "--no-progress"]))?;
    python::install(&to)?;
    // Last: an installation that was interrupted does not count.
    fs::write(&stamp, lists).with_context(|| format!("cannot write {}", stamp.display()))
}

fn lists(from: &Path) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for list in LISTS {
        let path = from.join(list);
        all.extend(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(all)
}
