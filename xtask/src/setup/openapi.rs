//! The programs that compare the control plane with its `OpenAPI` document.
//!
//! Invariant: what `tests/openapi` pins is what is installed, below the target folder. Once there it stays, so that
//! tests need no network; another list of versions is another installation.

use std::fs;

use anyhow::{Context as _, Result};

use super::packages::{self, Tool};
use super::python;
use crate::process::say;
use crate::workspace::Workspace;

/// The file that says what to install.
const LIST: &str = "requirements.txt";
/// What the list was when the last installation was complete.
const STAMP: &str = "installed";

const TOOLS: &[Tool] = &[Tool { name: "python3", package: "python3", reason: "runs schemathesis" }];

/// Sees to it that the programs are there.
pub(super) fn programs(workspace: &Workspace) -> Result<()> {
    packages::tools(TOOLS)?;
    let (from, to) = (workspace.root.join("tests/openapi").join(LIST), workspace.target.join("openapi"));
    let list = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    let stamp = to.join(STAMP);
    if fs::read(&stamp).is_ok_and(|installed| installed == list) {
        return Ok(());
    }
    say("setup: installing schemathesis and openapi-spec-validator");
    if to.exists() {
        fs::remove_dir_all(&to).with_context(|| format!("cannot remove {}", to.display()))?;
    }
    fs::create_dir_all(&to)?;
    fs::copy(&from, to.join(LIST)).with_context(|| format!("cannot copy {}", from.display()))?;
    python::install(&to)?;
    // Last: an installation that was interrupted does not count.
    fs::write(&stamp, list).with_context(|| format!("cannot write {}", stamp.display()))
}
