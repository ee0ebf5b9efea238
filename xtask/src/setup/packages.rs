//! Programs from Debian's packages.
//!
//! Owns the lists of programs that tests, fuzz targets and benchmarks start. Invariant: a test never looks for a program
//! and skips itself; what is in its list is there when the tests start, or they do not start.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::process::{as_root, run_as_talk, say, which};

/// A program that a command starts.
pub(crate) struct Tool {
    pub(super) name: &'static str,
    pub(super) package: &'static str,
    pub(super) reason: &'static str,
}

impl Tool {
    /// A program whose package has its name.
    const fn new(name: &'static str, reason: &'static str) -> Self {
        Self { name, package: name, reason }
    }
}

const POSTGRES: Tool =
    Tool { name: "postgres", package: "postgresql", reason: "is one of the two databases of the control plane" };

const TEST_TOOLS: &[Tool] = &[
    POSTGRES,
    Tool::new("strace", "stops whoever writes at each system call of a write"),
    Tool { name: "promtool", package: "prometheus", reason: "reads and tries the alert rules" },
    Tool::new("wrk", "loads the gateway while it is restarted and while snapshots are swapped"),
];

const FUZZ_TOOLS: &[Tool] = &[Tool { name: "c++", package: "g++", reason: "compiles libFuzzer" }];

/// What `cargo xtask callgrind` starts.
pub(crate) const CALLGRIND_TOOLS: &[Tool] = &[VALGRIND];

/// What `cargo xtask bench` starts.
pub(crate) const BENCH_TOOLS: &[Tool] = &[
    Tool::new("nginx", "is what the gateway is measured against, and the origin behind all proxies"),
    Tool::new("haproxy", "is what the gateway is measured against"),
    Tool::new("wrk", "saturates the proxies"),
    Tool::new("strace", "counts system calls per request"),
    POSTGRES,
    VALGRIND,
];

/// What Pingora's build starts.
pub(crate) const PINGORA_TOOLS: &[Tool] = &[Tool::new("cmake", "builds the compression library that Pingora links")];

const VALGRIND: Tool = Tool::new("valgrind", "counts the engine's instructions");

/// Sees to it that the programs the tests start are installed.
pub(super) fn test_tools() -> Result<()> {
    tools(TEST_TOOLS)
}

/// Sees to it that what the fuzz targets are linked with can be compiled.
pub(crate) fn fuzz_tools() -> Result<()> {
    // Whoever names a compiler has one.
    if std::env::var_os("CXX").is_some() { Ok(()) } else { tools(FUZZ_TOOLS) }
}

/// Sees to it that these programs are installed.
pub(crate) fn tools(wanted: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = wanted.iter().filter(|tool| !is_there(tool.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        say(format_args!("setup: {} is missing ({})", tool.name, tool.reason));
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    install(&packages)?;
    match missing.iter().find(|tool| !is_there(tool.name)) {
        None => Ok(()),
        Some(Tool { name, package, .. }) => {
            anyhow::bail!("the package {package} was installed, and there is no program {name}")
        }
    }
}

/// Servers are in a folder that is not on everybody's PATH, and each version of PostgreSQL has one of its own.
fn is_there(program: &str) -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    which(program).is_some()
        || Path::new("/usr/sbin").join(program).is_file()
        || versions.into_iter().any(|version| version.path().join("bin").join(program).is_file())
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
    // RUNLEVEL: Debian starts a server that it installs; in the run level of repairs it does not.
    command.args(["RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=120"]);
    run_as_talk(command.args(arguments))
}
