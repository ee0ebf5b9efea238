//! `cargo xtask fuzz`: random bytes against everything that reads bytes it did not write.
//!
//! Owns how the targets in `tests/fuzz` are built, run and reported. Invariant: all chosen targets run, also after one
//! has failed, and a failure is reported with the bytes that cause it and the command that repeats it. What must hold is
//! not said here: `tests/fuzz/targets` does, for this command and for `cargo test` alike.

mod arguments;
mod build;
mod keep;
mod progress;
mod session;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use self::arguments::Arguments;
use self::build::Binaries;
use self::session::{Outcome, Session};
use crate::process::{say, timed};
use crate::setup;
use crate::workspace::Workspace;

pub(crate) const SUMMARY: &str = "fuzz what reads foreign bytes, 60 s for each target";
pub(crate) const HELP: &str = "\
Builds the targets of tests/fuzz with coverage counters and runs them with libFuzzer, one after the other:
  snapshot   snapshot documents: parse, check, and every decision on what passes
  abi        the messages between host and module, both ways
  manifest   bascule.yaml
  context    the JSON contexts of decide, evaluate and explain
  --target NAME    only this one; may be repeated
  --seconds N      how long each of them runs (60)
  --keep           afterwards, add inputs to tests/fuzz/corpus that reach code which no input there reaches
  --replay FILE    runs the one --target on the bytes of FILE instead, with a backtrace
Inputs that were found stay below the target folder, and the next run goes on from them. The exit code is 1 when a claim
broke; the bytes and the command that repeats it are printed. On stdout: a table, a line for each target.";

/// A fuzz target: a binary of tests/fuzz, with a corpus and a dictionary of its name.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    name: &'static str,
    /// Bytes of the longest input. Longer ones cost runs; shorter ones cannot hold what the target reads.
    max_len: usize,
}

const TARGETS: &[Target] = &[
    // The snapshot with one of everything has 9 KB, and mutations need room beside it.
    Target { name: "snapshot", max_len: 16 << 10 },
    // A few hundred bytes are every kind of value; the rest is for many of them.
    Target { name: "abi", max_len: 2 << 10 },
    Target { name: "manifest", max_len: 8 << 10 },
    Target { name: "context", max_len: 4 << 10 },
];

/// The folders that a target reads and writes.
struct Folders {
    committed: PathBuf,
    found: PathBuf,
    failures: PathBuf,
    dictionary: PathBuf,
    log: PathBuf,
}

impl Folders {
    fn of(workspace: &Workspace, target: &Target) -> Result<Self> {
        let (package, output) = (package(workspace), output(workspace));
        let folders = Self {
            committed: package.join("corpus").join(target.name),
            found: output.join("corpus").join(target.name),
            failures: output.join("failures").join(target.name),
            dictionary: package.join("dictionaries").join(target.name).with_extension("dict"),
            log: output.join("logs").join(target.name).with_extension("log"),
        };
        let logs = folders.log.parent().context("a log is in a folder")?;
        for folder in [&folders.found, &folders.failures, logs] {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        Ok(folders)
    }
}

fn package(workspace: &Workspace) -> PathBuf {
    workspace.root.join("tests/fuzz")
}

/// A folder of its own: other flags in the same one would rebuild everything at each change between the two.
fn output(workspace: &Workspace) -> PathBuf {
    workspace.target.join("fuzz")
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let arguments = Arguments::parse(args)?;
    let workspace = Workspace::load()?;
    setup::fuzz_tools()?;
    let binaries = timed("fuzz: building the targets with coverage counters", || build::targets(&workspace))?;
    if let Some(file) = &arguments.replay {
        return replay(&workspace, &binaries, arguments.only()?, file);
    }
    let mut sessions = Vec::new();
    for target in &arguments.targets {
        let folders = Folders::of(&workspace, target)?;
        say(format_args!("fuzz: {}, {} s …", target.name, arguments.seconds));
        let session = session::run(&binaries, target, &folders, arguments.seconds)?;
        report(&workspace, target, &session);
        if arguments.keep && session.outcome == Outcome::Held {
            keep::keep(&binaries, target, &folders)?;
        }
        sessions.push((*target, session));
    }
    Ok(table(&sessions))
}

/// What was found wrong, and how to see it again.
fn report(workspace: &Workspace, target: &Target, session: &Session) {
    let Outcome::Broke { bytes } = &session.outcome else { return };
    let bytes = workspace.relative(bytes).display();
    say(format_args!("fuzz: {} FAILED", target.name));
    for line in &session.last_words {
        eprintln!("    {line}");
    }
    say(format_args!("fuzz: the bytes are in {bytes}"));
    say(format_args!("fuzz: to repeat it: cargo xtask fuzz --target {} --replay {bytes}", target.name));
    let corpus = format!("tests/fuzz/corpus/{}", target.name);
    say(format_args!("fuzz: once it is fixed, keep the bytes in {corpus} under a name that says what was wrong"));
}

/// The result of each target on stdout, and the exit code.
fn table(sessions: &[(&Target, Session)]) -> ExitCode {
    println!("{:<10} {:>10} {:>8} {:>7} {:>7}  result", "target", "runs", "runs/s", "edges", "inputs");
    for (target, Session { progress, outcome, .. }) in sessions {
        let result = if *outcome == Outcome::Held { "ok" } else { "FAILED" };
        let (runs, rate) = (progress.runs, progress.rate);
        println!("{:<10} {runs:>10} {rate:>8} {:>7} {:>7}  {result}", target.name, progress.edges, progress.inputs);
    }
    let held = sessions.iter().all(|(_, session)| session.outcome == Outcome::Held);
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one input; libFuzzer says how it went.
fn replay(workspace: &Workspace, binaries: &Binaries, target: &Target, file: &Path) -> Result<ExitCode> {
    if !file.is_file() {
        bail!("there is no file {}", file.display());
    }
    let file = std::path::absolute(file)?;
    let mut binary = binaries.command(target);
    // If it fails again, libFuzzer would write the same bytes once more, where the command was started.
    binary.current_dir(output(workspace)).arg(file).args(["-exact_artifact_path=/dev/null", "-timeout=10"]);
    let status = binary.env("RUST_BACKTRACE", "1").status().context("cannot start the target")?;
    say(format_args!("fuzz: {}", if status.success() { "every claim held" } else { "a claim broke, see above" }));
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::{HELP, TARGETS, package};
    use crate::workspace::Workspace;

    /// The binaries of the package, as its manifest has them.
    fn binaries(workspace: &Workspace) -> Vec<String> {
        let manifest = std::fs::read_to_string(package(workspace).join("Cargo.toml")).unwrap();
        let sections = manifest.split("[[bin]]").skip(1);
        sections.filter_map(|section| Some(section.split_once("name = \"")?.1.split_once('"')?.0.to_owned())).collect()
    }

    #[test]
    fn every_target_is_a_binary_with_a_corpus_a_dictionary_and_a_line_of_help() {
        let workspace = Workspace::load().unwrap();
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        assert_eq!(names, binaries(&workspace));
        for name in names {
            assert!(package(&workspace).join("corpus").join(name).is_dir(), "{name}");
            assert!(package(&workspace).join("dictionaries").join(name).with_extension("dict").is_file(), "{name}");
            assert!(HELP.contains(&format!("\n  {name} ")), "{name}");
        }
    }
}
