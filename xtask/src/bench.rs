//! `cargo xtask bench`: every figure with a target, beside the programs that it is a ratio to.
//!
//! This file owns the list of sections and the order of work: install, build, preflight, measure, write. Invariant:
//! what is compared runs in the same rounds with the same bodies, arms and users; everything is bounded in time and
//! only on 127.0.0.1. It changes no code and judges no figure; the sections do.

pub(crate) mod callgrind;
mod client;
mod control;
mod documents;
mod endurance;
mod engine;
mod figures;
mod gateway;
mod latency;
mod load;
mod machine;
mod ofrep;
mod preflight;
mod processes;
mod report;
mod stage;
mod swaps;
mod system_calls;
mod verdict;
mod work;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};

use self::report::{Results, Section, shown};
use self::stage::{Peer, Running, Stage};
use crate::process::{say, timed};
use crate::workspace::Workspace;
use crate::{build, setup};

pub(crate) const SUMMARY: &str = "measure against nginx, HAProxy and others; write docs/benchmarks.md";
pub(crate) const HELP: &str = "\
Installs and builds what it compares with, measures in alternating rounds, prints the table and writes
docs/benchmarks.md. Sections: engine, instructions, work, gateway, latency, ofrep, control, worker, swaps,
start, memory, filter, verdict.
  --rounds N         rounds (5)
  --seconds S        seconds of load per proxy and round (5)
  --section NAME,…   these anew; the document keeps what was measured of the others before
  --without pingora  leaves out Pingora, which takes some minutes to compile
A whole run takes about ten minutes after the builds. Anything else that runs on the machine spoils it.";

/// Flags of a large snapshot.
const MANY: usize = 10_000;

struct Part {
    name: &'static str,
    title: &'static str,
    measure: fn(&Bench) -> Result<Section>,
}

const PARTS: &[Part] = &[
    Part { name: "engine", title: "The engine", measure: engine::measure },
    Part { name: "instructions", title: "Instructions per decision", measure: instructions },
    Part { name: "work", title: "Instructions per proxied request", measure: work::measure },
    Part { name: "gateway", title: "The gateway under saturation", measure: gateway::measure },
    Part { name: "latency", title: "Added latency", measure: latency::measure },
    Part { name: "ofrep", title: "Flags by OFREP", measure: ofrep::measure },
    Part { name: "control", title: "The control plane", measure: control::measure },
    Part { name: "worker", title: "The Cloudflare Worker", measure: worker::measure },
    Part { name: "swaps", title: "Snapshots swapped under saturation", measure: swaps::measure },
    Part { name: "start", title: "Cold start", measure: endurance::cold_start },
    Part { name: "memory", title: "Memory", measure: endurance::memory },
    Part { name: "filter", title: "The filter", measure: endurance::filter },
    Part { name: "verdict", title: "Until a rollback", measure: verdict::measure },
];

/// What every section gets.
struct Bench {
    workspace: Workspace,
    /// Below the target folder: documents, configurations, logs.
    folder: PathBuf,
    rounds: u32,
    seconds: u64,
    pingora: bool,
}

impl Bench {
    fn stage(&self) -> Result<Stage> {
        Stage::set(&self.workspace, &self.folder.join("stage"))
    }

    /// Everybody who takes part; the gateways are neighbours because they differ least.
    fn peers(&self) -> Vec<Peer> {
        let mut peers = vec![Peer::Nginx, Peer::HaProxy, Peer::Wasm, Peer::Native, Peer::WasmFlags];
        if self.pingora {
            peers.push(Peer::Pingora);
        }
        peers
    }

    fn proxies(&self, stage: &Stage) -> Result<Vec<Running>> {
        self.peers().into_iter().map(|peer| stage.start(peer)).collect()
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    rounds: u32,
    seconds: u64,
    /// Names of sections; none means all.
    sections: Vec<String>,
    pingora: bool,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.sections.is_empty() || self.sections.iter().any(|section| section == name)
    }

    fn wants_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.wants(name))
    }
}

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let options = options(arguments)?;
    let workspace = Workspace::load()?;
    let folder = workspace.target.join("bench");
    documents::write(&folder)?;
    prepare(&workspace, &options)?;
    let Options { rounds, seconds, pingora, .. } = options;
    let bench = Bench { workspace, folder, rounds, seconds, pingora };
    let results = Results::in_folder(&bench.folder)?;
    for part in PARTS.iter().filter(|part| options.wants(part.name)) {
        let load = processes::load()?;
        let section = timed(&format!("bench: {}", part.name), || (part.measure)(&bench))?;
        print!("\n{}\n{}", part.title, shown(&section));
        results.keep(part.name, &machine::circumstances(load, rounds, seconds)?, &section)?;
    }
    let titles: Vec<_> = PARTS.iter().map(|part| (part.name, part.title)).collect();
    let document = results.document(&titles, &machine::head(&bench.workspace)?)?;
    let path = machine::document(&bench.workspace);
    std::fs::write(&path, document).with_context(|| format!("cannot write {}", path.display()))?;
    say(format_args!("bench: wrote {}", bench.workspace.relative(&path).display()));
    Ok(ExitCode::SUCCESS)
}

fn options(arguments: &[String]) -> Result<Options> {
    let mut options = Options { rounds: 5, seconds: 5, sections: Vec::new(), pingora: true };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--rounds" => options.rounds = value()?.parse().context("--rounds takes a number")?,
            "--seconds" => options.seconds = value()?.parse().context("--seconds takes a number")?,
            "--section" => options.sections.extend(value()?.split(',').map(str::to_owned)),
            "--without" => match value()?.as_str() {
                "pingora" => options.pingora = false,
                other => bail!("only pingora can be left out, not `{other}`"),
            },
            other => bail!("unexpected argument `{other}`; see --help"),
        }
    }
    ensure!(options.rounds > 0 && options.seconds > 0, "at least one round of at least one second");
    let names: Vec<_> = PARTS.iter().map(|part| part.name).collect();
    if let Some(wrong) = options.sections.iter().find(|section| !names.contains(&section.as_str())) {
        bail!("there is no section `{wrong}`, only {}", names.join(", "));
    }
    Ok(options)
}

/// Installs and builds what the chosen sections run.
fn prepare(workspace: &Workspace, options: &Options) -> Result<()> {
    setup::tools(setup::BENCH_TOOLS)?;
    // The others run the program itself.
    if PARTS.iter().any(|part| !matches!(part.name, "instructions" | "worker") && options.wants(part.name)) {
        build::release(workspace)?;
    }
    if options.wants("engine") {
        engine::build(workspace)?;
    }
    if options.wants("ofrep") {
        ofrep::build(workspace)?;
    }
    if options.wants("control") {
        control::build(workspace)?;
    }
    if options.pingora && options.wants_any(&["work", "gateway", "latency"]) {
        setup::tools(setup::PINGORA_TOOLS)?;
        // Its TLS libraries are not built: the comparison is plain HTTP.
        timed("bench: building Pingora", || engine::build_peer(workspace, "balancer"))?;
    }
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
        let defaults = Options { rounds: 5, seconds: 5, sections: Vec::new(), pingora: true };
        assert_eq!(parsed("").unwrap(), defaults);
        let all = parsed("--rounds 7 --seconds 2 --section engine,swaps --without pingora").unwrap();
        let sections = vec!["engine".to_owned(), "swaps".to_owned()];
        assert_eq!(all, Options { rounds: 7, seconds: 2, sections, pingora: false });
        for wrong in ["--rounds", "--rounds x", "--rounds 0", "--section nothing", "--without nginx", "--fast"] {
            parsed(wrong).unwrap_err();
        }
    }

    #[test]
    fn sections_are_chosen_by_name() {
        let some = parsed("--section engine").unwrap();
        assert!(some.wants("engine") && !some.wants("swaps") && !some.wants_any(&["gateway", "latency"]));
        assert!(parsed("").unwrap().wants("swaps"));
    }
}
