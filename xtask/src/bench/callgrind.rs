//! `cargo xtask callgrind`: instructions of the engine's scenarios, against the counts that are committed.
//!
//! Invariant: what is counted is one more call, with start-up and loading cancelled out: each scenario runs with two
//! numbers of calls, and the difference is divided. Such a count repeats to a few parts in ten thousand on any
//! machine with the same compiler, however busy; time does not.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::documents::{self, FLAG, ROUTE, ROUTE_10000};
use super::engine::{build_peer, peers};
use crate::process::{capture, say, timed};
use crate::setup;
use crate::workspace::Workspace;

pub(crate) const SUMMARY: &str = "count the instructions of the engine's scenarios";
pub(crate) const HELP: &str = "\
Counts instructions per decision with valgrind and shows them beside xtask/callgrind.json.
  --check   fail when a scenario needs over 2 % more than the committed count
  --write   commit to the new counts: rewrites xtask/callgrind.json";

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

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let (check, write) = match arguments {
        [] => (false, false),
        [only] if only == "--check" => (true, false),
        [only] if only == "--write" => (false, true),
        [other, ..] => bail!("unexpected argument `{other}`; see --help"),
    };
    let workspace = Workspace::load()?;
    setup::tools(setup::CALLGRIND_TOOLS)?;
    let counts = count(&workspace)?;
    let path = workspace.root.join(BASELINE);
    if write {
        fs::write(&path, serde_json::to_string_pretty(&counts)? + "\n")?;
        say(format_args!("callgrind: wrote {BASELINE}"));
        return Ok(ExitCode::SUCCESS);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {BASELINE}; `--write` makes it"))?;
    let grown = compare(&counts, &baseline(&text)?)?;
    match grown.as_slice() {
        [] => Ok(ExitCode::SUCCESS),
        _ if !check => Ok(ExitCode::SUCCESS),
        names => bail!(
            "more instructions than committed: {}. If that is the price of something, `cargo xtask callgrind --write` \
             and say so in the commit",
            names.join(", ")
        ),
    }
}

/// The instructions of one call of each scenario.
pub(super) fn count(workspace: &Workspace) -> Result<Counts> {
    let folder = workspace.target.join("bench");
    documents::write(&folder)?;
    timed("callgrind: building the scenarios", || build_peer(workspace, "counted"))?;
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
    valgrind.arg(peers(workspace).join("counted")).arg(scenario.run);
    valgrind.arg(document("")).arg(document(".context")).arg(calls.to_string());
    capture(&mut valgrind)?;
    let text = fs::read_to_string(&out)?;
    total(&text).context("callgrind's file has no totals")
}

fn total(text: &str) -> Option<f64> {
    let totals = |line: &str| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")).map(str::to_owned);
    text.lines().find_map(totals)?.trim().parse().ok()
}

fn baseline(text: &str) -> Result<Counts> {
    let value: Value = serde_json::from_str(text).with_context(|| format!("{BASELINE} is not JSON"))?;
    let object = value.as_object().with_context(|| format!("{BASELINE} is not an object"))?;
    let counts = object.iter().map(|(name, count)| Ok((name.clone(), count.as_f64().context("a count is a number")?)));
    counts.collect()
}

/// Prints every scenario beside its committed count, and names those that grew beyond the tolerance.
fn compare(counts: &Counts, committed: &Counts) -> Result<Vec<String>> {
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
    use super::{Counts, baseline, compare, total};

    fn counts(count: f64) -> Counts {
        Counts::from([("one".to_owned(), count)])
    }

    #[test]
    fn growth_beyond_the_tolerance_is_named_and_shrinking_is_fine() {
        assert!(compare(&counts(101.9), &counts(100.0)).unwrap().is_empty());
        assert!(compare(&counts(50.0), &counts(100.0)).unwrap().is_empty());
        assert_eq!(compare(&counts(103.0), &counts(100.0)).unwrap(), ["one +3.0 %"]);
    }

    #[test]
    fn a_scenario_without_a_committed_count_is_an_error() {
        compare(&counts(1.0), &Counts::new()).unwrap_err();
    }

    #[test]
    fn files_are_read() {
        assert_eq!(baseline("{\"one\": 12.5}").unwrap(), counts(12.5));
        assert_eq!(total("events: Ir\nfn=x\n1 2\ntotals: 12345\n"), Some(12345.0));
    }
}
