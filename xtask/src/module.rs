//! Building the edge module, and refusing one that breaks its contract.
//!
//! Owns the flags of that build and its size budget. Invariant: the file at [`placed`] was built from this tree and
//! has no imports, one memory and at least a mebibyte of stack; `server`'s build script embeds that file and nothing
//! else. A module over its budget works and is only not fit to be released: [`fits`] decides that apart.

mod anatomy;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use self::anatomy::Anatomy;
use crate::process::{run_as_talk, say};
use crate::setup::{Toolchain, WASM};
use crate::workspace::Workspace;

/// What the module may weigh, so that growth is a decision and not an accident. The goal is 200 KiB; reading and
/// checking snapshot documents inside the module is most of the difference.
const BUDGET: usize = 512 * 1024;
/// A list of a few hundred items overflowed 64 KiB in other projects' modules; a mebibyte is also the linker's default,
/// stated here because the contract asks for it.
const STACK: u32 = 1024 * 1024;

/// Where the finished module is put for `server`'s build script.
pub(crate) fn placed(workspace: &Workspace) -> PathBuf {
    workspace.target.join("module/edge_module.wasm")
}

/// Builds the module, checks it, and puts it in its place.
pub(crate) fn build(workspace: &Workspace, toolchain: Toolchain) -> Result<()> {
    let mut cargo = toolchain.cargo();
    cargo.current_dir(&workspace.root);
    cargo.args(["build", "--locked", "--package", "edge-module", "--profile", "module", "--target", WASM]);
    // Whatever flags the caller has for native code must not change these bytes: their hash names the engine.
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags()?);
    run_as_talk(&mut cargo)?;
    let bytes = fs::read(workspace.target.join(WASM).join("module/edge_module.wasm"))?;
    check(&bytes)?;
    let placed = placed(workspace);
    let written = place(&placed, &bytes)?;
    let news = if written { "new" } else { "unchanged" };
    say(format_args!("module: {} ({news}, {})", workspace.relative(&placed).display(), size(bytes.len())));
    Ok(())
}

/// Whether the module in its place is within the budget.
pub(crate) fn fits(workspace: &Workspace) -> Result<()> {
    let bytes = fs::metadata(placed(workspace))?.len();
    within_budget(usize::try_from(bytes)?)
}

fn within_budget(bytes: usize) -> Result<()> {
    if bytes > BUDGET {
        bail!("the edge module is over its budget: {}", size(bytes));
    }
    Ok(())
}

fn size(bytes: usize) -> String {
    format!("{} of {} KiB", bytes.div_ceil(1024), BUDGET / 1024)
}

/// Leaves machine code for this processor beside the module, for `server` to embed, so that a start takes milliseconds.
/// The program that makes it contains the host, so that code and host cannot disagree on settings; `server` is built
/// once more after that, and only when the code changed.
pub(crate) fn precompile(workspace: &Workspace, profile: &[&str]) -> Result<()> {
    let module = placed(workspace);
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--locked"]).args(profile).args(["--package", "server", "--example", "precompile", "--"]);
    run_as_talk(cargo.arg(&module).arg(module.with_extension("cwasm")))
}

/// The compiler flags, separated as cargo wants them.
pub(crate) fn flags() -> Result<OsString> {
    let mut flags = OsString::from(format!("-Clink-arg=-zstack-size={STACK}"));
    // Panic messages name the sources of dependencies; where this user keeps them must not change the module's hash.
    flags.push("\u{1f}--remap-path-prefix=");
    flags.push(cargo_home()?);
    flags.push("=/cargo");
    Ok(flags)
}

fn cargo_home() -> Result<OsString> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(home);
    }
    let home = std::env::home_dir().context("neither CARGO_HOME nor a home folder is set")?;
    Ok(home.join(".cargo").into_os_string())
}

fn check(bytes: &[u8]) -> Result<()> {
    let Anatomy { imports, memories, stack } =
        anatomy::read(bytes).context("the module that was built is malformed")?;
    if imports != 0 {
        bail!("the module has {imports} imports, and every host refuses one with any");
    }
    if memories != 1 {
        bail!("the module has {memories} memories instead of one");
    }
    if stack.is_none_or(|stack| stack < STACK) {
        bail!("the module's stack is {stack:?} bytes and has to be at least {STACK}");
    }
    Ok(())
}

/// Writes only what changed, since cargo rebuilds `server` when the file's time changes. True if it wrote.
fn place(path: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let folder = path.parent().context("the module's place has a folder")?;
    fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(&new, path)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::{BUDGET, STACK, check, place, within_budget};
    use crate::module::anatomy::tests::module;

    #[track_caller]
    fn refused(bytes: &[u8], because: &str) {
        let error = format!("{:#}", check(bytes).unwrap_err());
        assert!(error.contains(because), "{error}");
    }

    #[test]
    fn a_module_that_keeps_the_contract_passes() {
        check(&module(0, 1, STACK, 100)).unwrap();
    }

    #[test]
    fn imports_memories_and_small_stacks_are_refused() {
        refused(&module(1, 1, STACK, 0), "1 imports");
        refused(&module(0, 2, STACK, 0), "2 memories");
        refused(&module(0, 1, STACK / 2, 0), "stack");
        refused(b"\0asm", "malformed");
    }

    #[test]
    fn the_budget_is_kept_to_the_byte() {
        within_budget(BUDGET).unwrap();
        assert!(within_budget(BUDGET + 1).unwrap_err().to_string().contains("513 of 512 KiB"));
    }

    #[test]
    fn an_unchanged_module_keeps_its_time() {
        let folder = std::env::temp_dir().join(format!("xtask-place-{}", std::process::id()));
        let path = folder.join("module/edge_module.wasm");
        assert!(place(&path, b"one").unwrap());
        let time = path.metadata().unwrap().modified().unwrap();
        assert!(!place(&path, b"one").unwrap());
        assert_eq!(path.metadata().unwrap().modified().unwrap(), time);
        assert!(place(&path, b"two").unwrap());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
