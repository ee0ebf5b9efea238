//! What the figures were measured on and with.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::capture;
use crate::workspace::Workspace;

/// The head of `docs/benchmarks.md`.
pub(super) fn head(workspace: &Workspace) -> Result<String> {
    let mut text = String::from(HEAD);
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let mut line = |what: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {what} | {} |", value.trim());
    };
    line("processor", &format!("{} × {}", cpus.matches("processor\t").count(), field(&cpus, "model name")));
    line("memory", &field(&memory, "MemTotal"));
    line("kernel", &fs::read_to_string("/proc/sys/kernel/osrelease")?);
    line("rustc", &capture(Command::new("rustc").arg("--version"))?);
    // These two say it on stderr; a shell merges.
    for (name, command) in [
        ("nginx", "/usr/sbin/nginx -v 2>&1"),
        ("HAProxy", "/usr/sbin/haproxy -v 2>&1 | head -n 1"),
        ("wrk", "wrk -v 2>&1 | head -n 1"),
        ("valgrind", "valgrind --version"),
    ] {
        line(name, &capture(Command::new("sh").args(["-c", command]))?);
    }
    let lock = fs::read_to_string(workspace.root.join("Cargo.lock"))?;
    let peers = fs::read_to_string(workspace.root.join("xtask/peers/Cargo.lock"))?;
    for (name, lock) in [("wasmtime", &lock), ("hyper", &lock), ("unleash-yggdrasil", &peers), ("pingora", &peers)] {
        if let Some(version) = locked(lock, name) {
            line(name, &version);
        }
    }
    Ok(text)
}

/// When a section was measured and how busy the machine was.
pub(super) fn circumstances(load: f64, rounds: u32, seconds: u64) -> Result<String> {
    let time = capture(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?;
    let cores = f64::from(u32::try_from(std::thread::available_parallelism()?.get())?);
    let quiet =
        if load < cores / 2.0 + 0.5 { "the machine was quiet" } else { "**the machine was busy with other work**" };
    Ok(format!(
        "Measured {}; rounds: {rounds}, {seconds} s of load each; load average before the start {load:.1}: {quiet}.",
        time.trim()
    ))
}

fn field(text: &str, name: &str) -> String {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    found.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

fn locked(lock: &str, name: &str) -> Option<String> {
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// The document that is written.
pub(super) fn document(workspace: &Workspace) -> std::path::PathBuf {
    workspace.root.join(Path::new("docs/benchmarks.md"))
}

const HEAD: &str = "\
# Benchmarks

Written by `cargo xtask bench`, which installs and builds all it compares with (nginx, HAProxy, wrk, valgrind and \
strace from Debian, the other peers from crates.io) and measures everything on 127.0.0.1. Ratios count, absolute figures belong to \
this machine. Peers take turns in rounds (A B A B …), a figure is the median of the rounds, and a ratio is the median \
of the ratios within each round. CPU per request is user and system time from `/proc/PID/stat` by the number of \
requests, which is far steadier than requests per second. A figure that misses its target stays in the table.

| | |
| --- | --- |
";

#[cfg(test)]
mod tests {
    use super::{field, locked};

    #[test]
    fn facts_are_found_by_name() {
        assert_eq!(field("model name\t: Fast CPU\n", "model name"), "Fast CPU");
        assert_eq!(locked("name = \"hyper\"\nversion = \"1.2.3\"\n", "hyper").as_deref(), Some("1.2.3"));
        assert_eq!(locked("", "hyper"), None);
    }
}
