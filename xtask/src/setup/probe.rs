//! Whether a toolchain really builds an edge module.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::{Toolchain, WASM, version};
use crate::process::capture;
use crate::workspace::Workspace;

/// Allocates, so that std and its allocator must be there and fit the compiler, and not only core.
const PROBE: &str = r#"#[unsafe(no_mangle)]
pub extern "C" fn probe(bytes: usize) -> usize {
    vec![1_u8; bytes].iter().map(|byte| usize::from(*byte)).sum()
}
"#;

/// Compiles and links a small module the way the real one is built: a std without bitcode fails only under `lto`.
pub(super) fn links(workspace: &Workspace, toolchain: Toolchain) -> Result<()> {
    let scratch = Scratch::new(workspace, "probe")?;
    let (source, module) = (scratch.0.join("probe.rs"), scratch.0.join("probe.wasm"));
    fs::write(&source, PROBE)?;
    let mut rustc = toolchain.rustc();
    rustc.args(["--edition=2024", "--crate-type=cdylib", "-O", "-Clto=fat", "-Cpanic=abort", "--target", WASM]);
    capture(rustc.arg(&source).arg("-o").arg(&module))?;
    let bytes = fs::read(&module)?;
    if bytes.starts_with(b"\0asm") { Ok(()) } else { bail!("what rustc linked is not a WebAssembly module") }
}

/// Whether a toolchain is new enough for the workspace; Debian has old ones too.
pub(super) fn is_recent(workspace: &Workspace, toolchain: Toolchain) -> Result<()> {
    let (release, _) = version(toolchain)?;
    let wanted = workspace.rust_version()?;
    if at_least(&release, wanted) { Ok(()) } else { bail!("rustc is {release}, and Bascule needs {wanted} or newer") }
}

fn at_least(release: &str, wanted: &str) -> bool {
    // A pre-release suffix (`1.97.0-nightly`) ends the number it follows.
    let numbers =
        |text: &str| -> Vec<u32> { text.split('.').map_while(|part| part.split('-').next()?.parse().ok()).collect() };
    numbers(release) >= numbers(wanted)
}

/// A folder below the target folder that is gone when dropped.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(workspace: &Workspace, name: &str) -> Result<Self> {
        let folder = workspace.target.join(format!("xtask-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is below `target`, and the next run does not depend on it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::at_least;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(at_least("1.95.0", "1.95"));
        assert!(at_least("1.100.0", "1.95"));
        assert!(at_least("1.97.0-nightly", "1.95"));
        assert!(!at_least("1.85.1", "1.95"));
        assert!(!at_least("1.9.0", "1.95"));
    }
}
