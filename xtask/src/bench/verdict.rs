//! How long a bad release stays, whom it hurts, and how often a good one is taken back: our verdict beside what users of Flagger
//! and Argo Rollouts configure, on the same made-up traffic.
//!
//! `bascule verdict simulate` makes the traffic by a seed, so the figures are the same on every machine.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Bench;
use super::report::Section;
use crate::process::say;

/// Runs of each scenario.
const RUNS: u32 = 300;

/// What is simulated: in words, and as arguments.
struct Scenario {
    words: &'static str,
    /// Requests per second of the candidate, which has a tenth of the traffic.
    rate: f64,
    base: f64,
    candidate: f64,
    onset: u32,
    /// Broken clients that are everywhere alike.
    noisy: u32,
}

const fn scenario(words: &'static str, rate: f64, base: f64, candidate: f64) -> Scenario {
    Scenario { words, rate, base, candidate, onset: 0, noisy: 0 }
}

/// Those that nothing is wrong with: whatever is taken back is a false alarm.
const GOOD: [Scenario; 7] = [
    scenario("good, 0.1 % fail", 2.0, 0.1, 0.1),
    scenario("good, 0.5 % fail", 2.0, 0.5, 0.5),
    scenario("good, 1 % fail", 0.2, 1.0, 1.0),
    scenario("good, 1 % fail", 2.0, 1.0, 1.0),
    scenario("good, 1 % fail", 20.0, 1.0, 1.0),
    scenario("an outage of both, 20 % fail", 2.0, 20.0, 20.0),
    Scenario { noisy: 4, ..scenario("good, and four broken clients", 2.0, 0.1, 0.1) },
];

/// Those that something is wrong with.
const BAD: [Scenario; 7] = [
    scenario("0.1 % → 1 %", 2.0, 0.1, 1.0),
    scenario("0.1 % → 1 %", 20.0, 0.1, 1.0),
    scenario("1 % → 2 %", 20.0, 1.0, 2.0),
    scenario("0.1 % → 5 %", 2.0, 0.1, 5.0),
    scenario("0.1 % → 5 %", 20.0, 0.1, 5.0),
    scenario("0.1 % → 50 %", 20.0, 0.1, 50.0),
    Scenario { onset: 15, ..scenario("0.1 % → 5 % after 15 min", 20.0, 0.1, 5.0) },
];

/// What a rule came to.
struct Tried {
    rolled_back: f64,
    seconds: u64,
    hurt: u64,
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let mut section = Section::default();
    let mut good = Vec::new();
    for scenario in &GOOD {
        let tried = simulate(bench, scenario, "withoutFault")?;
        let line = tried.iter().map(|tried| format!("{:.1} %", tried.rolled_back * 100.0));
        good.push(row(scenario, line));
    }
    let mut bad = Vec::new();
    for scenario in &BAD {
        let tried = simulate(bench, scenario, "fault")?;
        let line = tried.iter().map(|tried| match tried.rolled_back {
            0.0 => format!("never, {} hurt", tried.hurt),
            share => {
                let after = tried.seconds.saturating_sub(u64::from(scenario.onset) * 60);
                let share = if share < 0.995 { format!("{:.0} %: ", share * 100.0) } else { String::new() };
                format!("{share}{}, {} hurt", duration(after), tried.hurt)
            }
        });
        bad.push(row(scenario, line));
        judge(&mut section, scenario, &tried);
    }
    let head = [
        "candidate",
        "its requests/s",
        "Bascule",
        "Flagger 99 %, 5 × 1 min",
        "Argo 99 %, 1 × 1 min",
        "Argo 95 %, 4 × 5 min",
    ];
    section.paragraph("Rollbacks of releases without a fault, in half an hour at a tenth of the traffic:");
    section.table(&head, &good);
    section.paragraph(
        "Median time from the begin of a fault until its rollback, and visitors who met an error of the candidate; a share in \
         front says how many of the runs were rolled back at all:",
    );
    section.table(&head, &bad);
    section.paragraph(&format!(
        "{RUNS} runs each by `bascule verdict simulate`, looks every two seconds, one visitor for ten requests. Flagger as \
         documented: success rate at least 99 % every minute, threshold 5. Argo Rollouts: at least 99 % every minute with the \
         default failure limit 0, and as in its documentation's example at least 95 % every five minutes, failure limit 3. A \
         fixed threshold is right for one error rate: beside it, it fires always or never."
    ));
    Ok(section)
}

/// The targets: a fault is found in nearly all runs, before the others, and hurts fewer.
fn judge(section: &mut Section, scenario: &Scenario, tried: &[Tried]) {
    let [ours, flagger, ..] = tried else { return };
    let faster = ours.seconds <= flagger.seconds || flagger.rolled_back < 0.5;
    let what = format!("rollback, {} at {} requests/s: median, beside Flagger's", scenario.words, scenario.rate);
    let onset = u64::from(scenario.onset) * 60;
    let after = |tried: &Tried| duration(tried.seconds.saturating_sub(onset));
    let measured = format!("{} beside {}, {} hurt beside {}", after(ours), after(flagger), ours.hurt, flagger.hurt);
    section.judged(&what, "found and not later", measured, faster && ours.rolled_back > 0.9);
}

fn row(scenario: &Scenario, cells: impl Iterator<Item = String>) -> Vec<String> {
    [scenario.words.to_owned(), scenario.rate.to_string()].into_iter().chain(cells).collect()
}

fn duration(seconds: u64) -> String {
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", (seconds + 30) / 60) }
}

/// What each rule made of it, ours first.
fn simulate(bench: &Bench, scenario: &Scenario, which: &str) -> Result<Vec<Tried>> {
    say(format_args!("verdict: {} at {} requests/s", scenario.words, scenario.rate));
    let text = |value: f64| value.to_string();
    let output = Command::new(bench.workspace.target.join("release/bascule"))
        .args(["verdict", "simulate", "--json", "--minutes", "30", "--weight", "10", "--look", "2"])
        .args(["--rate", &text(scenario.rate * 10.0), "--base", &text(scenario.base)])
        .args(["--candidate", &text(scenario.candidate), "--onset", &scenario.onset.to_string()])
        .args(["--noisy", &scenario.noisy.to_string(), "--runs", &RUNS.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run bascule verdict simulate")?;
    ensure!(output.status.success(), "bascule verdict simulate failed");
    let answer: Value = serde_json::from_slice(&output.stdout).context("its answer is no JSON")?;
    let rules = answer["rules"].as_array().context("it tells of no rules")?;
    rules.iter().map(|rule| tried(&rule[which])).collect()
}

fn tried(summary: &Value) -> Result<Tried> {
    let number = |path: &str| summary.pointer(path).and_then(Value::as_u64).with_context(|| format!("no {path}"));
    #[expect(clippy::cast_precision_loss, reason = "a share of some hundred runs")]
    let rolled_back = number("/rolledBack")? as f64 / number("/runs")?.max(1) as f64;
    Ok(Tried { rolled_back, seconds: number("/seconds/median")?, hurt: number("/units/median")? })
}
