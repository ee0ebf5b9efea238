//! The third way: Debian's own Rust, for machines that cannot reach rustup's server.
//!
//! Debian packages a current compiler for its browsers (`rustc-web`) without a wasm32 std, so std is built here from
//! `rust-web-src`. Invariant: a std in the sysroot carries a stamp with the compiler that built it, so an upgrade of
//! the packages builds it again. Not here: rustfmt and clippy, which Debian's toolchain does not have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::probe::{Scratch, is_recent, links};
use super::{LINKED, Toolchain, WASM, packages, version};
use crate::process::{as_root, capture, run_as_talk, timed, which};
use crate::workspace::Workspace;

pub(super) const CARGO: &str = "/usr/bin/cargo";
pub(super) const RUSTC: &str = "/usr/bin/rustc";
/// Where the sources of std are, as `-Zbuild-std` expects them.
const LIBRARY: &str = "/usr/lib/rustlib/src/rust/library";
/// The linker of the LLVM that Debian's rustc is built with.
const LINKER: &str = "lld-22";
pub(super) const PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", LINKER];
const STAMP: &str = "built-by";

pub(super) fn install(workspace: &Workspace) -> Result<Toolchain> {
    if !packages_are_there(workspace) {
        packages::install(PACKAGES)?;
    }
    is_recent(workspace, Toolchain::Debian)?;
    give_linker()?;
    if !std_is_there(workspace)? {
        timed("setup: building std (one to two CPU minutes)", || build_std(workspace))?;
        links(workspace, Toolchain::Debian).context("the std that was built does not link")?;
        stamp()?;
    }
    if which("rustup").is_none() {
        return Ok(Toolchain::Debian);
    }
    // Linking again replaces the link by the same one.
    run_as_talk(Command::new("rustup").args(["toolchain", "link", LINKED, "/usr"]))?;
    links(workspace, Toolchain::Linked)?;
    Ok(Toolchain::Linked)
}

fn packages_are_there(workspace: &Workspace) -> bool {
    Path::new(CARGO).exists()
        && Path::new(LIBRARY).exists()
        && which(LINKER).is_some()
        && is_recent(workspace, Toolchain::Debian).is_ok()
}

/// rustc looks for its WebAssembly linker under the name `rust-lld` in its own folder; Debian ships it as a package.
fn give_linker() -> Result<()> {
    let (_, host) = version(Toolchain::Debian)?;
    let folder = PathBuf::from(format!("/usr/lib/rustlib/{host}/bin"));
    let linker = which(LINKER).with_context(|| format!("{LINKER} is not on PATH"))?;
    let name = folder.join("rust-lld");
    if fs::canonicalize(&name).is_ok_and(|found| Some(found) == fs::canonicalize(&linker).ok()) {
        return Ok(());
    }
    run_as_talk(as_root("mkdir")?.arg("-p").arg(&folder))?;
    run_as_talk(as_root("ln")?.arg("-sfn").arg(&linker).arg(&name))
}

/// Where rustc looks for the std of the target.
fn sysroot() -> Result<PathBuf> {
    let path = capture(Command::new(RUSTC).args(["--print=target-libdir", "--target", WASM]))?;
    Ok(PathBuf::from(path.trim()))
}

fn compiler() -> Result<String> {
    capture(Command::new(RUSTC).arg("-vV"))
}

fn std_is_there(workspace: &Workspace) -> Result<bool> {
    let stamped = fs::read_to_string(sysroot()?.join(STAMP)).unwrap_or_default();
    Ok(stamped == compiler()? && links(workspace, Toolchain::Debian).is_ok())
}

/// Builds an empty package with `-Zbuild-std` and keeps the libraries that came with it.
fn build_std(workspace: &Workspace) -> Result<()> {
    let scratch = Scratch::new(workspace, "std")?;
    let package = &scratch.0;
    fs::create_dir(package.join("src"))?;
    fs::write(package.join("src/lib.rs"), "#![no_std]\n")?;
    fs::write(
        package.join("Cargo.toml"),
        "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n",
    )?;
    let target = package.join("target");
    let mut cargo = Command::new(CARGO);
    cargo.current_dir(package).args(["build", "--quiet", "--release", "-Zbuild-std=std,panic_abort", "--target", WASM]);
    // RUSTC_BOOTSTRAP: -Z options on a stable compiler. embed-bitcode: a later `lto` fails without bitcode in std.
    cargo.env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Cembed-bitcode=yes");
    cargo.env("CARGO_TARGET_DIR", &target).env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("RUSTUP_TOOLCHAIN");
    run_as_talk(&mut cargo)?;
    replace_libraries(&target.join(WASM).join("release/deps"))
}

fn replace_libraries(built: &Path) -> Result<()> {
    let sysroot = sysroot()?;
    let libraries = fs::read_dir(built)?.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path());
    let libraries: Vec<PathBuf> = libraries.filter(|path| is_std_library(path)).collect();
    run_as_talk(as_root("rm")?.arg("-rf").arg(&sysroot))?;
    run_as_talk(as_root("mkdir")?.arg("-p").arg(&sysroot))?;
    run_as_talk(as_root("cp")?.args(&libraries).arg(&sysroot))
}

fn is_std_library(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.extension().is_some_and(|extension| extension == "rlib") && !name.starts_with("libempty-")
}

/// Last, so that an interrupted installation is not taken for a whole one.
fn stamp() -> Result<()> {
    let script = format!("printf %s \"$1\" > {}", sysroot()?.join(STAMP).display());
    run_as_talk(as_root("sh")?.arg("-c").arg(script).arg("sh").arg(compiler()?))
}

#[cfg(test)]
mod tests {
    use super::is_std_library;
    use std::path::Path;

    #[test]
    fn only_the_libraries_of_std_are_kept() {
        assert!(is_std_library(Path::new("deps/libstd-0123.rlib")));
        assert!(!is_std_library(Path::new("deps/libempty-0123.rlib")));
        assert!(!is_std_library(Path::new("deps/libstd-0123.rmeta")));
    }
}
