//! Python programs in an environment of their own, below a folder.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::packages;
use crate::process::run_as_talk;

/// Installs what `requirements.txt` in the folder says into `python` in the same folder.
pub(super) fn install(to: &Path) -> Result<()> {
    let make = || run_as_talk(Command::new("python3").current_dir(to).args(["-m", "venv", "python"]));
    if make().is_err() {
        // Debian has the module without what it installs.
        packages::install(&["python3-venv"])?;
        make()?;
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", "requirements.txt"];
    run_as_talk(Command::new(to.join("python/bin/python")).current_dir(to).args(pip))
}
