//! `cargo xtask callgrind`: instructions of the engine's scenarios, against the counts that are committed.
//!
//! Invariant: what is counted is one more call, with start-up and loading cancelled out: each scenario runs with two
//! numbers of calls, and the difference is divided. Such a count repeats to a few parts in ten thousand on any
//! machine with the same compiler, however busy; time does not. Counts of two compilers are shown and never judged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::documents::{self, FLAG, ROUTE, ROUTE_10000};
use crate::process::{capture, run_as_talk, say, timed};
use crate::setup::{self, Toolchain};
use crate::workspace::Workspace;

pub(crate) const SUMMARY: &str = "count the instructions of the engine's scenarios";
pub(crate) const HELP: &str = "\
Counts instructions per decision with valgrind and shows them beside xtask/callgrind.json.
  --check   fail when a scenario needs over 2 % more than the committed count; a step of `ci`
  --write   commit to the new counts: rewrites xtask/callgrind.json
Counts hold for one rustc. With another they are shown and not judged, and a line says so.";

/// Counts move by some parts in ten thousand with the layout of the heap; one more branch on a path of a few hundred
/// instructions is already half a per cent.
const TOLERANCE: f64 = 0.02;
const BASELINE: &str = "xtask/callgrind.json";

/// A scenario: its name in the baseline, what to run, on which documents, and how many calls are counted.
struct Scenario {
    name: &'static str,
    run: &'static str,
    documents: &'static str,
    calls: u32,
}

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "flag by key, 100 flags", run: "flag", documents: FLAG, calls: 10_000 },
    Scenario { name: "route, 20 forwarded flags", run: "route", documents: ROUTE, calls: 2_000 },
    Scenario { name: "route, 20 forwarded of 10 000 flags", run: "route", documents: ROUTE_10000, calls: 2_000 },
    Scenario { name: "load, 100 flags", run: "load", documents: FLAG, calls: 10 },
];

type Counts = BTreeMap<String, f64>;

/// What is committed: the counts, and the compiler they hold for.
#[derive(Debug, PartialEq)]
struct Baseline {
    rustc: String,
    counts: Counts,
}

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    match arguments {
        [] => compare(&Workspace::load()?).map(drop)?,
        [only] if only == "--check" => check()?,
        [only] if only == "--write" => write(&Workspace::load()?)?,
        [other, ..] => bail!("unexpected argument `{other}`; see --help"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails when a scenario needs more instructions than are committed.
pub(crate) fn check() -> Result<()> {
    let grown = compare(&Workspace::load()?)?;
    ensure!(
        grown.is_empty(),
        "over {:.0} % more instructions than in {BASELINE}: {}. If that is the price of something, `cargo xtask callgrind \
         --write` and say so in the commit",
        TOLERANCE * 100.0,
        grown.join(", ")
    );
    Ok(())
}

fn write(workspace: &Workspace) -> Result<()> {
    let baseline = Baseline { rustc: compiler()?, counts: count(workspace)? };
    fs::write(workspace.root.join(BASELINE), text(&baseline)?)?;
    for (name, count) in &baseline.counts {
        println!("{name:40} {count:>12.1} instructions");
    }
    say(format_args!("callgrind: wrote {BASELINE} for rustc {}", baseline.rustc));
    Ok(())
}

/// Prints every scenario beside its committed count and names those that grew beyond the tolerance: none if the
/// committed counts are another compiler's.
fn compare(workspace: &Workspace) -> Result<Vec<String>> {
    let path = workspace.root.join(BASELINE);
    let committed = fs::read_to_string(&path).with_context(|| format!("cannot read {BASELINE}; `--write` makes it"))?;
    let committed =
        parsed(&committed).with_context(|| format!("{BASELINE} cannot be read; `--write` makes it anew"))?;
    let grown = grown(&count(workspace)?, &committed.counts)?;
    let rustc = compiler()?;
    if rustc == committed.rustc {
        return Ok(grown);
    }
    say(format_args!(
        "callgrind: NOT judged: the committed counts are of rustc {}, and this is {rustc}, whose code differs by itself. \
         Judge with the former (`cargo +VERSION xtask callgrind --check`), or commit to this one with `--write`",
        committed.rustc
    ));
    Ok(Vec::new())
}

/// The release and the host of the active rustc.
fn compiler() -> Result<String> {
    let (release, host) = setup::version(Toolchain::Active)?;
    Ok(format!("{release} {host}"))
}

/// The instructions of one call of each scenario.
pub(super) fn count(workspace: &Workspace) -> Result<Counts> {
    setup::tools(setup::CALLGRIND_TOOLS)?;
    documents::write(&workspace.target.join("bench"))?;
    timed("callgrind: building the scenarios", || {
        run_as_talk(workspace.cargo().args(["build", "--locked", "--release", "--package", "counted"]))
    })?;
    timed("callgrind: counting", || {
        SCENARIOS.iter().map(|scenario| Ok((scenario.name.to_owned(), per_call(workspace, scenario)?))).collect()
    })
}

fn per_call(workspace: &Workspace, scenario: &Scenario) -> Result<f64> {
    let once = instructions(workspace, scenario, scenario.calls)?;
    let twice = instructions(workspace, scenario, 2 * scenario.calls)?;
    Ok(((twice - once) / f64::from(scenario.calls) * 10.0).round() / 10.0)
}

fn instructions(workspace: &Workspace, scenario: &Scenario, calls: u32) -> Result<f64> {
    let folder = workspace.target.join("bench");
    let out: PathBuf = folder.join("callgrind.out");
    let document = |kind: &str| folder.join(format!("{}{kind}.json", scenario.documents));
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind"]).arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.arg(workspace.target.join("release/counted")).arg(scenario.run);
    valgrind.arg(document("")).arg(document(".context")).arg(calls.to_string());
    capture(&mut valgrind)?;
    total_in(&out)
}

/// All instructions that callgrind wrote down.
pub(super) fn total_in(out: &Path) -> Result<f64> {
    let text = fs::read_to_string(out).with_context(|| format!("callgrind wrote no {}", out.display()))?;
    total(&text).context("callgrind's file has no totals")
}

fn total(text: &str) -> Option<f64> {
    let totals = |line: &str| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")).map(str::to_owned);
    text.lines().find_map(totals)?.trim().parse().ok()
}

fn parsed(text: &str) -> Result<Baseline> {
    let value: Value = serde_json::from_str(text)?;
    let rustc = value["rustc"].as_str().context("`rustc` is missing")?.to_owned();
    let counts = value["instructions"].as_object().context("`instructions` is missing")?;
    let counts = counts.iter().map(|(name, count)| Ok((name.clone(), count.as_f64().context("a count is a number")?)));
    Ok(Baseline { rustc, counts: counts.collect::<Result<_>>()? })
}

fn text(baseline: &Baseline) -> Result<String> {
    let value = json!({"rustc": baseline.rustc, "instructions": baseline.counts});
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

fn grown(counts: &Counts, committed: &Counts) -> Result<Vec<String>> {
    if !counts.keys().eq(committed.keys()) {
        bail!("{BASELINE} has other scenarios than there are; `cargo xtask callgrind --write`");
    }
    let mut grown = Vec::new();
    for ((name, now), before) in counts.iter().zip(committed.values()) {
        let change = now / before - 1.0;
        println!("{name:40} {now:>12.1} instructions, committed {before:>12.1}, {:+.2} %", change * 100.0);
        if change > TOLERANCE {
            grown.push(format!("{name} {:+.1} %", change * 100.0));
        }
    }
    Ok(grown)
}

#[cfg(test)]
mod tests {
    use super::{Baseline, Counts, grown, parsed, text, total};

    fn counts(count: f64) -> Counts {
        Counts::from([("one".to_owned(), count)])
    }

    #[test]
    fn growth_beyond_the_tolerance_is_named_and_shrinking_is_fine() {
        assert!(grown(&counts(101.9), &counts(100.0)).unwrap().is_empty());
        assert!(grown(&counts(50.0), &counts(100.0)).unwrap().is_empty());
        assert_eq!(grown(&counts(103.0), &counts(100.0)).unwrap(), ["one +3.0 %"]);
    }

    #[test]
    fn a_scenario_without_a_committed_count_is_an_error() {
        grown(&counts(1.0), &Counts::new()).unwrap_err();
    }

    #[test]
    fn what_is_written_is_read() {
        let baseline = Baseline { rustc: "1.95.0 x86_64".to_owned(), counts: counts(12.5) };
        assert_eq!(parsed(&text(&baseline).unwrap()).unwrap(), baseline);
        parsed("{\"instructions\": {}}").unwrap_err();
    }

    #[test]
    fn the_total_of_callgrinds_file_is_read() {
        assert_eq!(total("events: Ir\nfn=x\n1 2\ntotals: 12345\n"), Some(12345.0));
    }
}
