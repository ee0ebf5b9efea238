//! `bascule verdict simulate`: what to expect of one's own traffic, before it happens.

use std::io::Write as _;

use ::verdict::simulate::{Checks, Noisy, Rule, Scenario, Step, Summary, run as simulated};
use ::verdict::{Errors, Objective, Policy, grouped};
use serde_json::json;

use super::super::{
    exit::{Exit, Failure, Outcome},
    output::Paint,
    table::Table,
};

const EXAMPLES: &str = "\
Examples:
  bascule verdict simulate --rate 3 --weight 5 --base 0.1 --candidate 1
  bascule verdict simulate --rate 50 --weight 5,25@10,50@20 --base 0.1 --candidate 0.3
  bascule verdict simulate --rate 50 --noisy 4 --runs 200 --json | jq .sentence

Traffic is made up by a seed, and judged by the control plane's engine and by three configurations of
other tools: Flagger (every minute 99 % of success, 5 failed checks) and Argo Rollouts (every minute
99 %, none may fail; every 5 minutes 95 %, 3 may). MEDIAN and 9 OF 10 are of the runs that were rolled
back; FALSE is how many runs without a fault were.";

/// Arguments of `verdict simulate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Requests per second to both releases together
    #[arg(long, value_name = "N", default_value_t = 3.0)]
    rate: f64,
    /// The candidate's share in per cent, and from which minute on: 5 or 5,25@10,50@20
    #[arg(long, value_name = "PERCENT", default_value = "5")]
    weight: String,
    /// Failed requests of stable, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1)]
    base: f64,
    /// Failed requests of the candidate, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    candidate: f64,
    /// How long to watch
    #[arg(long, value_name = "N", default_value_t = 60)]
    minutes: u64,
    /// The minute in which the candidate begins to differ
    #[arg(long, value_name = "N", default_value_t = 0)]
    onset: u64,
    /// How many visitors there are; by default one for ten requests
    #[arg(long, value_name = "N")]
    visitors: Option<u32>,
    /// Clients beside them that are broken: one request per second, half of them failing
    #[arg(long, value_name = "N", default_value_t = 0)]
    noisy: u32,
    /// What counts
    #[arg(long, default_value = "unit")]
    level: super::Level,
    /// The chance in per cent that a good release is rolled back
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    alpha: f64,
    /// The failed requests in per cent that the environment allows itself
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    objective: f64,
    /// How many seconds there are between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    look: u64,
    /// How many times
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// The same seed gives the same numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// One JSON document on stdout instead of text
    #[arg(long)]
    json: bool,
}

/// A rule with what it did.
struct Tried {
    name: &'static str,
    fault: Summary,
    without: Summary,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (scenario, policy) = (scenario(args)?, policy(args)?);
    let rules = [
        ("bascule", Rule::Verdict(Box::new(policy.clone()))),
        ("flagger 99 %, 5 × 1 min", Rule::Checks(Checks::FL5)),
        ("argo 99 %, 1 × 1 min", Rule::Checks(Checks::AR1)),
        ("argo 95 %, 4 × 5 min", Rule::Checks(Checks::AR4)),
    ];
    let try_it = |(name, rule)| {
        let fault = simulated(&scenario, &rule, args.seed, args.runs)?;
        let without = simulated(&scenario.without_fault(), &rule, args.seed.wrapping_add(1), args.runs)?;
        Ok(Tried { name, fault, without })
    };
    let tried: Result<Vec<Tried>, ::verdict::simulate::ScenarioError> = rules.into_iter().map(try_it).collect();
    let tried = tried.map_err(|error| usage(format!("{:#}", anyhow::Error::new(error))))?;
    let sentence = tried.first().map(|ours| sentence(args, &scenario.schedule, ours)).unwrap_or_default();
    let mut stdout = std::io::stdout().lock();
    if args.json {
        let rule = |tried: &Tried| json!({ "rule": tried.name, "fault": tried.fault, "withoutFault": tried.without });
        let rules: Vec<_> = tried.iter().map(rule).collect();
        let answer = json!({
            "scenario": scenario, "policy": policy, "seed": args.seed, "rules": rules, "sentence": sentence,
        });
        writeln!(stdout, "{}", serde_json::to_string_pretty(&answer)?)?;
    } else {
        writeln!(stdout, "{}\n{sentence}", table(&tried).text(Paint::stdout()))?;
    }
    Ok(Exit::Ok)
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, message)
}

fn scenario(args: &Args) -> anyhow::Result<Scenario> {
    let seconds = args.minutes.saturating_mul(60);
    // One for ten requests; the counts that hold this many are cheap.
    let visitors = args.visitors.unwrap_or_else(|| whole(args.rate * as_float(seconds) / 10.0).clamp(1, 100_000));
    let scenario = Scenario {
        visitors: matches!(args.level, super::Level::Unit).then_some(visitors),
        noisy: Noisy { clients: args.noisy, rate: 1.0, errors: 0.5 },
        onset_seconds: args.onset.saturating_mul(60),
        schedule: schedule(&args.weight)?,
        seconds,
        look_seconds: args.look,
        ..Scenario::new(args.rate, 0, args.base / 100.0, args.candidate / 100.0)
    };
    scenario.check().map_err(|error| usage(error.to_string()))?;
    Ok(scenario)
}

fn policy(args: &Args) -> anyhow::Result<Policy> {
    let objective = Objective::new(args.objective / 100.0).map_err(|error| usage(error.to_string()))?;
    let errors = Errors { objective: Some(objective), ..Errors::default() };
    let policy = Policy { alpha: args.alpha / 100.0, level: args.level.into(), errors, ..Policy::default() };
    policy.check().map_err(|error| usage(error.to_string()))?;
    Ok(policy)
}

/// `5` or `5,25@10,50@20`: per cent, and the minute from which they hold.
fn schedule(text: &str) -> anyhow::Result<Vec<Step>> {
    let step = |part: &str| {
        let (weight, minute) = part.split_once('@').unwrap_or((part, "0"));
        let weight: f64 = weight.trim().parse().ok()?;
        let minute: u64 = minute.trim().parse().ok()?;
        let weight = (0.0..=100.0).contains(&weight).then(|| whole(weight * 10_000.0))?;
        Some(Step { from_seconds: minute.saturating_mul(60), weight })
    };
    let steps: Option<Vec<Step>> = text.split(',').map(step).collect();
    let help = "write per cent and minutes, such as 5,25@10,50@20".to_owned();
    Ok(steps.ok_or_else(|| usage(format!("\"{text}\" is no weight")).with_help(help))?)
}

fn table(tried: &[Tried]) -> Table {
    let mut table = Table::new(&["RULE", "ROLLED BACK", "MEDIAN", "9 OF 10", "ERRORS SEEN", "VISITORS HURT", "FALSE"]);
    for Tried { name, fault, without } in tried {
        let time = |seconds| if fault.rolled_back == 0 { String::new() } else { duration(seconds) };
        table.row([
            (*name).to_owned(),
            share(fault),
            time(fault.seconds.median),
            time(fault.seconds.p90),
            grouped(fault.errors.median),
            grouped(fault.units.median),
            share(without),
        ]);
    }
    table
}

fn sentence(args: &Args, schedule: &[Step], ours: &Tried) -> String {
    let Tried { fault, without, .. } = ours;
    let runs = |count: u32| grouped(count.into());
    let falsely =
        format!("of {} runs without a fault {} were rolled back", runs(without.runs), runs(without.rolled_back));
    if args.candidate <= args.base {
        return falsely;
    }
    let rise = if (args.candidate / args.base - 2.0).abs() < 1e-9 {
        format!("a doubling of {} %", args.base)
    } else {
        format!("a rise from {} % to {} %", args.base, args.candidate)
    };
    // The median is one of the runs that found it, so it says little where many did not.
    let found = if u64::from(fault.rolled_back) * 10 >= u64::from(fault.runs) * 9 {
        let after = fault.seconds.median.saturating_sub(args.onset.saturating_mul(60));
        format!("takes about {} (median)", duration(after))
    } else {
        format!("is found in {} of {} runs within {} min", runs(fault.rolled_back), runs(fault.runs), args.minutes)
    };
    let hurt = fault.units.median;
    let hurt = if hurt == 1 {
        "1 visitor sees an error".to_owned()
    } else {
        format!("{} visitors see an error", grouped(hurt))
    };
    let weight = |step: Option<&Step>| f64::from(step.map_or(0, |step| step.weight)) / 10_000.0;
    let weights = match schedule {
        [only] => format!("{}", weight(Some(only))),
        steps => format!("{} to {}", weight(steps.first()), weight(steps.last())),
    };
    format!("at {} requests/s {rise} at {weights} % {found}, {hurt}; {falsely}", args.rate)
}

/// Rollbacks in per cent of runs.
fn share(summary: &Summary) -> String {
    format!("{:.1} %", f64::from(summary.rolled_back) / f64::from(summary.runs.max(1)) * 100.0)
}

fn duration(seconds: u64) -> String {
    if seconds < 120 { format!("{seconds} s") } else { format!("{:.0} min", as_float(seconds) / 60.0) }
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a simulation")]
fn as_float(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates; limits are checked after"
)]
fn whole(number: f64) -> u32 {
    number.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_per_cent_and_minutes() {
        let steps = schedule("5, 25@10,50@20").unwrap();
        let expected = [(0, 50_000), (600, 250_000), (1200, 500_000)];
        assert_eq!(steps, expected.map(|(from_seconds, weight)| Step { from_seconds, weight }));
        for wrong in ["", "5,x", "101", "5@-1", "5@"] {
            assert!(schedule(wrong).is_err(), "{wrong}");
        }
    }
}
