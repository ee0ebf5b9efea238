//! The Cloudflare Worker as the files that are deployed.
//!
//! Owns the steps from the crate to `target/worker/` and the budget of what an isolate loads. Nothing is downloaded but from
//! crates.io and npm, at pinned versions. Invariant: the folder holds the files of one build that is within the budget, or
//! the command failed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::module;
use crate::process::{capture, cargo, run_as_talk, say};
use crate::setup::{self, Toolchain, WASM};
use crate::workspace::Workspace;

/// What holds the instance; it becomes `index.js`.
const ENTRY: &str = "edge/worker/entry.mjs";
/// What the Worker may weigh compressed, which is what the platform counts and every cold start loads.
const BUDGET: usize = 300 * 1024;
/// What the compiler uses of WebAssembly, and what every version of the runtime has.
const FEATURES: [&str; 6] =
    ["bulk-memory", "multivalue", "mutable-globals", "nontrapping-float-to-int", "reference-types", "sign-ext"];

/// Builds the Worker, and answers the path of its entry.
pub(crate) fn build(workspace: &Workspace, toolchain: Toolchain) -> Result<PathBuf> {
    let runtime = setup::workerd(workspace)?;
    let linked = link(workspace, toolchain)?;
    let source = workspace.root.join(ENTRY);
    let placed = workspace.target.join("worker");
    let entry = placed.join("index.js");
    let shown = workspace.relative(&placed);
    if is_newer(&entry, &[&linked, &source, &runtime.join("package-lock.json"), &std::env::current_exe()?]) {
        say(format_args!("worker: {} is what was built before", shown.display()));
        return Ok(entry);
    }
    let made = workspace.target.join("worker-build");
    run_as_talk(bindgen(workspace).arg(&linked).arg(&made))?;
    fs::create_dir_all(&placed)?;
    let (wasm, glue) = (placed.join("index.wasm"), placed.join("glue.js"));
    optimise(&runtime, &made.join("glue_bg.wasm"), &wasm)?;
    fs::write(&glue, whole(&made)?)?;
    let (raw, compressed) = (fs::metadata(&wasm)?.len().div_ceil(1024), compressed(&[&source, &glue, &wasm])?);
    let size = format!("{} KiB compressed of {}, {raw} KiB raw", compressed.div_ceil(1024), BUDGET / 1024);
    if compressed > BUDGET {
        bail!("the Worker is over its budget: {size}");
    }
    // Last, and written anew: its age says that all of it is whole.
    fs::write(&entry, fs::read(&source).context(ENTRY)?)?;
    say(format_args!("worker: {} ({size})", shown.display()));
    Ok(entry)
}

/// The crate as WebAssembly.
fn link(workspace: &Workspace, toolchain: Toolchain) -> Result<PathBuf> {
    let mut cargo = toolchain.cargo();
    cargo.current_dir(&workspace.root);
    cargo.args(["build", "--locked", "--package", "edge-worker", "--profile", "isolate", "--target", WASM]);
    // Whatever flags the caller has for native code must not change these bytes.
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags()?);
    run_as_talk(&mut cargo)?;
    Ok(workspace.target.join(WASM).join("isolate/edge_worker.wasm"))
}

fn optimise(runtime: &Path, from: &Path, to: &Path) -> Result<()> {
    let mut optimiser = Command::new(runtime.join("node_modules/.bin/wasm-opt"));
    optimiser.args(FEATURES.map(|feature| format!("--enable-{feature}")));
    optimiser.args(["-Oz", "--converge", "--strip-debug", "--strip-producers"]);
    run_as_talk(optimiser.arg(from).arg("--output").arg(to))
}

/// Whether a file was written after all that it is made of.
fn is_newer(made: &Path, of: &[&Path]) -> bool {
    let written = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let Some(made) = written(made) else { return false };
    of.iter().all(|path| written(path).is_some_and(|written| written < made))
}

/// The program of `xtask/bindgen`, with its arguments to come.
fn bindgen(workspace: &Workspace) -> Command {
    let mut cargo = cargo();
    cargo.args(["run", "--quiet", "--locked", "--manifest-path"]).arg(workspace.root.join("xtask/bindgen/Cargo.toml"));
    // Another profile of other crates: its own folder keeps both warm.
    cargo.env_remove("RUSTFLAGS").arg("--target-dir").arg(workspace.target.join("bindgen"));
    cargo.arg("--");
    cargo
}

fn flags() -> Result<OsString> {
    let mut flags = module::flags()?;
    // A digest is made of each snapshot and of nothing that is frequent: its code may be small instead of fast.
    flags.push("\u{1f}--cfg=sha2_backend_soft=\"compact\"");
    Ok(flags)
}

/// What the glue does with its first instance and with another one, so that the entry learns how they end.
const HOOKS: [(&str, &str); 2] = [
    ("wasm = instance.exports;", "wasm = globalThis.bascule.guard(instance.exports);"),
    ("wasm = wasmInstance.exports;", "wasm = globalThis.bascule.guard(wasmInstance.exports);"),
];

/// The bindings as one module: what they import from files beside them is put in their place.
fn whole(made: &Path) -> Result<String> {
    let glue = fs::read_to_string(made.join("glue.js")).context("wasm-bindgen made no glue.js")?;
    let mut whole = String::with_capacity(glue.len());
    for line in glue.lines() {
        let from = line.strip_prefix("import ").and_then(|import| import.split_once(" from './"));
        match from.and_then(|(_, file)| file.strip_suffix("';")) {
            Some(file) => {
                let imported = fs::read_to_string(made.join(file)).with_context(|| format!("cannot read {file}"))?;
                whole.push_str(&imported.replace("export const ", "const "));
            }
            None => whole.push_str(line),
        }
        whole.push('\n');
    }
    for (found, put) in HOOKS {
        if whole.matches(found).count() != 1 {
            bail!("wasm-bindgen's glue is another one than the entry was written for: `{found}` is not there once");
        }
        whole = whole.replace(found, put);
    }
    Ok(whole)
}

/// What the files weigh together, each compressed as the platform does.
fn compressed(files: &[&Path]) -> Result<usize> {
    let script = "let n = 0; for (const f of process.argv.slice(1)) \
        n += require('zlib').gzipSync(require('fs').readFileSync(f)).length; console.log(n)";
    let mut node = Command::new("node");
    node.args(["--eval", script, "--"]).args(files);
    capture(&mut node)?.trim().parse().context("node printed no number")
}
