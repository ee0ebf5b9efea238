//! `cargo xtask bench`: every figure that DESIGN.md section 9 sets a target for, beside the programs it names.
//!
//! This file owns the list of sections and the order of work: install, build, preflight, measure, write. Invariant:
//! what is compared runs in the same rounds with the same bodies, arms and users; everything is bounded in time and
//! only on 127.0.0.1. It changes no code and judges no figure; the sections do.

pub(crate) mod callgrind;
mod client;
mod documents;
mod endurance;
mod engine;
mod figures;
mod gateway;
mod load;
mod machine;
mod processes;
mod report;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};

use self::report::{Results, Section, shown};
use self::stage::Stage;
use crate::process::{run_as_talk, say, timed, which};
use crate::workspace::Workspace;
use crate::{build, setup};

pub(crate) const SUMMARY: &str = "measure against nginx, HAProxy and others; write docs/benchmarks.md";
pub(crate) const HELP: &str = "\
Installs and builds what it compares with, measures in alternating rounds, prints the table and writes
docs/benchmarks.md. Sections: engine, gateway, latency, memory, start, swaps, filter, instructions.
  --rounds N    rounds (5)
  --seconds S   seconds of load per proxy and round (5)
  --only NAME   one section anew; the document keeps what was measured of the others before
Pingora takes part when `cargo xtask bench --pingora` has built it (some minutes of compiling).";

struct Part {
    name: &'static str,
    title: &'static str,
    measure: fn(&Bench) -> Result<Section>,
}

const PARTS: &[Part] = &[
    Part { name: "engine", title: "The engine", measure: engine::measure },
    Part { name: "instructions", title: "Instructions per decision", measure: instructions },
    Part { name: "gateway", title: "The gateway under saturation", measure: gateway::measure },
    Part { name: "latency", title: "Added latency", measure: gateway::latency },
    Part { name: "swaps", title: "Snapshots swapped under saturation", measure: endurance::swaps },
    Part { name: "start", title: "Cold start", measure: endurance::cold_start },
    Part { name: "memory", title: "Memory", measure: endurance::memory },
    Part { name: "filter", title: "The filter", measure: endurance::filter },
];

/// What every section gets.
struct Bench {
    workspace: Workspace,
    /// Below the target folder: documents, configurations, logs.
    folder: PathBuf,
    rounds: u32,
    seconds: u64,
}

impl Bench {
    fn stage(&self) -> Result<Stage> {
        Stage::set(&self.workspace, &self.folder.join("stage"))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    rounds: u32,
    seconds: u64,
    only: Option<String>,
    pingora: bool,
}

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let options = options(arguments)?;
    let workspace = Workspace::load()?;
    setup::tools(setup::BENCH_TOOLS)?;
    let folder = workspace.target.join("bench");
    documents::write(&folder)?;
    prepare(&workspace, &options)?;
    let bench = Bench { workspace, folder, rounds: options.rounds, seconds: options.seconds };
    let results = Results::in_folder(&bench.folder)?;
    for part in PARTS.iter().filter(|part| options.only.as_deref().is_none_or(|only| only == part.name)) {
        let load = processes::load()?;
        let section = timed(&format!("bench: {}", part.name), || (part.measure)(&bench))?;
        print!("{}", shown(&section));
        results.keep(part.name, &machine::circumstances(load, bench.rounds)?, &section)?;
    }
    let titles: Vec<_> = PARTS.iter().map(|part| (part.name, part.title)).collect();
    let document = results.document(&titles, &machine::head(&bench.workspace)?)?;
    let path = machine::document(&bench.workspace);
    std::fs::write(&path, document).with_context(|| format!("cannot write {}", path.display()))?;
    say(format_args!("bench: wrote {}", bench.workspace.relative(&path).display()));
    Ok(ExitCode::SUCCESS)
}

fn options(arguments: &[String]) -> Result<Options> {
    let mut options = Options { rounds: 5, seconds: 5, only: None, pingora: false };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--rounds" => options.rounds = value()?.parse().context("--rounds takes a number")?,
            "--seconds" => options.seconds = value()?.parse().context("--seconds takes a number")?,
            "--only" => options.only = Some(value()?.clone()),
            "--pingora" => options.pingora = true,
            other => bail!("unexpected argument `{other}`; see --help"),
        }
    }
    ensure!(options.rounds > 0 && options.seconds > 0, "at least one round of at least one second");
    if let Some(only) = &options.only {
        let names: Vec<_> = PARTS.iter().map(|part| part.name).collect();
        ensure!(names.contains(&only.as_str()), "there is no section `{only}`, only {}", names.join(", "));
    }
    Ok(options)
}

/// Builds what the chosen sections run.
fn prepare(workspace: &Workspace, options: &Options) -> Result<()> {
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    if options.only.as_deref() != Some("instructions") {
        build::with_module(workspace)?;
        timed("bench: release build", || {
            let binary = ["build", "--locked", "--release", "--package", "server", "--bin", "bascule"];
            run_as_talk(workspace.cargo().args(binary))
        })?;
    }
    if wanted("engine") {
        engine::build(workspace)?;
    }
    if options.pingora {
        // Its TLS libraries are not built: the comparison is plain HTTP.
        timed("bench: building Pingora", || engine::build_peer(workspace, "balancer"))?;
    }
    ensure!(which("wrk").is_some(), "wrk is not on PATH");
    Ok(())
}

fn instructions(bench: &Bench) -> Result<Section> {
    let counts = callgrind::count(&bench.workspace)?;
    let mut section = Section::default();
    let lines: Vec<_> = counts.iter().map(|(name, count)| vec![name.clone(), format!("{count:.0}")]).collect();
    for (name, count) in &counts {
        section.noted(&format!("instructions: {name}"), format!("{count:.0}"));
    }
    section.table(&["scenario, native", "instructions per call"], &lines);
    section.paragraph("Counted by callgrind. `cargo xtask callgrind --check` fails when one grows by over 2 %.");
    Ok(section)
}

#[cfg(test)]
mod tests {
    use super::{Options, options};

    fn parsed(text: &str) -> anyhow::Result<Options> {
        options(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_have_defaults_and_are_checked() {
        assert_eq!(parsed("").unwrap(), Options { rounds: 5, seconds: 5, only: None, pingora: false });
        let all = parsed("--rounds 7 --seconds 2 --only engine").unwrap();
        assert_eq!(all, Options { rounds: 7, seconds: 2, only: Some("engine".to_owned()), pingora: false });
        for wrong in ["--rounds", "--rounds x", "--rounds 0", "--only nothing", "--fast"] {
            parsed(wrong).unwrap_err();
        }
    }
}
