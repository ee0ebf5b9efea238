//! Programs from Debian's packages.
//!
//! Owns the lists of programs that tests and fuzz targets need. Invariant: a test never looks for a program and skips
//! itself; what is in its list is there when the tests start, or they do not start.

use anyhow::{Context as _, Result};

use crate::process::{as_root, run_as_talk, say, which};

/// A program that other commands start.
struct Tool {
    name: &'static str,
    package: &'static str,
    reason: &'static str,
}

const TEST_TOOLS: &[Tool] = &[
    Tool { name: "strace", package: "strace", reason: "stops the gateway at each system call of a state write" },
    Tool {
        name: "wrk",
        package: "wrk",
        reason: "loads the gateway while it is restarted and while snapshots are swapped",
    },
];

const FUZZ_TOOLS: &[Tool] = &[Tool { name: "c++", package: "g++", reason: "compiles libFuzzer" }];

/// Sees to it that the programs the tests start are installed.
pub(crate) fn test_tools() -> Result<()> {
    provide(TEST_TOOLS)
}

/// Sees to it that what the fuzz targets are linked with can be compiled.
pub(crate) fn fuzz_tools() -> Result<()> {
    // Whoever names a compiler has one.
    if std::env::var_os("CXX").is_some() { Ok(()) } else { provide(FUZZ_TOOLS) }
}

fn provide(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| which(tool.name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        say(format_args!("setup: {} is missing ({})", tool.name, tool.reason));
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    install(&packages)?;
    match missing.iter().find(|tool| which(tool.name).is_none()) {
        None => Ok(()),
        Some(Tool { name, package, .. }) => {
            anyhow::bail!("the package {package} was installed, and there is no program {name} on PATH")
        }
    }
}

/// Installs packages, or says what to type.
pub(super) fn install(names: &[&str]) -> Result<()> {
    let list = names.join(" ");
    let advice = || format!("cannot install Debian packages; as root: apt-get install {list}");
    if which("apt-get").is_none() {
        anyhow::bail!("this machine has no apt-get; install what these Debian packages hold: {list}");
    }
    say(format_args!("setup: apt-get install {list}"));
    // The lists of a fresh machine are empty or old; without network they may still do.
    if apt_get(&["update", "-q"]).is_err() {
        say("setup: apt-get update failed; going on with the lists that are there");
    }
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(names);
    apt_get(&arguments).with_context(advice)
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = as_root("env")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=120"]);
    run_as_talk(command.args(arguments))
}
