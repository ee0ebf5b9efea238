//! Snapshots swapped under saturation: errors, latency beside quiet rounds, and how long a worker holds requests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, json};

use super::client::Client;
use super::figures::Figures;
use super::load::{Wrk, finish};
use super::report::Section;
use super::stage::{Peer, Stage};
use super::{Bench, MANY, documents};
use crate::process::say;

/// Over all rounds.
const SWAPS: u64 = 1000;
/// Written beyond them: under saturation two changes of one file are sometimes found as one.
const SPARE: u64 = 100;
/// A file is taken after two looks 50 ms apart found it the same, so one file changes at most eight times a second.
/// Each of these is changed every 180 ms.
const FILES: u64 = 4;
/// 1 100 changes take 50 s.
const PAUSE: Duration = Duration::from_millis(45);
/// Changes of the large snapshot in a round, and the pause for each to be loaded on a busy machine.
const LARGE: u64 = 6;
const LARGE_PAUSE: Duration = Duration::from_millis(600);

/// What the rounds of small snapshots gave.
#[derive(Default)]
struct Swapped {
    quiet_p99: Figures,
    busy_p99: Figures,
    errors: f64,
    requests: f64,
    taken: f64,
    seconds: f64,
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let stage = bench.stage()?;
    let swapped = small(bench, &stage)?;
    let mut stalls = Figures::default();
    for round in 1..=bench.rounds {
        say(format_args!("swaps: 10 000 flags, round {round} of {}", bench.rounds));
        stalls.push(stall(&stage)?);
    }
    Ok(section(&swapped, &stalls))
}

/// Saturation without and with changes, in turns.
fn small(bench: &Bench, stage: &Stage) -> Result<Swapped> {
    let wrk = Wrk::new(&stage.folder)?;
    let files: Vec<String> =
        (0..FILES).map(|file| Ok(write_version(stage, file, 1)?.display().to_string())).collect::<Result<_>>()?;
    let arguments: Vec<&str> = files.iter().flat_map(|file| ["--file", file]).collect();
    let gateway = stage.gateway(Peer::Wasm, &arguments)?;
    wrk.run(gateway.address, 1)?;
    let each = (SWAPS + SPARE).div_ceil(u64::from(bench.rounds));
    let seconds = (PAUSE * u32::try_from(each)?).as_secs() + 1;
    let mut swapped = Swapped::default();
    let mut number = 1;
    for round in 1..=bench.rounds {
        say(format_args!("swaps: round {round} of {}, {seconds} s quiet and {seconds} s busy", bench.rounds));
        swapped.quiet_p99.push(wrk.run(gateway.address, seconds)?.p99_ms);
        let before = metric(gateway.ops, "bascule_snapshot_swaps_total")?;
        let load = wrk.start(gateway.address, seconds)?;
        let begin = Instant::now();
        for turn in 0..each {
            number += 1;
            write_version(stage, turn % FILES, number)?;
            let due = begin + PAUSE * u32::try_from(turn + 1)?;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        swapped.seconds += begin.elapsed().as_secs_f64();
        let load = finish(load)?;
        swapped.busy_p99.push(load.p99_ms);
        swapped.errors += load.errors;
        swapped.requests += load.requests;
        swapped.taken += metric(gateway.ops, "bascule_snapshot_swaps_total")? - before;
    }
    Ok(swapped)
}

/// One environment per file. The first has the traffic; the others are as small as can be, so that what loads them does
/// not take the processor from the load. Each change replaces the state of all of them.
fn write_version(stage: &Stage, file: u64, number: u64) -> Result<PathBuf> {
    let mut document = documents::gateway(&stage.origins, 20, number);
    if file > 0 {
        document["app"] = format!("web{file}").into();
        document["flags"] = Map::new().into();
        document["edge"]["hosts"] = json!([format!("web{file}.example")]);
    }
    let path = stage.folder.join(format!("swap{file}.json"));
    replace(&path, &serde_json::to_vec(&document)?)?;
    Ok(path)
}

fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes)?;
    std::fs::rename(&new, path)?;
    Ok(())
}

/// The longest time, in µs, that the worker did nothing but take a state with a large snapshot, under saturation.
fn stall(stage: &Stage) -> Result<f64> {
    let wrk = Wrk::new(&stage.folder)?;
    let file = stage.write_snapshot("large.json", MANY, 1)?;
    let gateway = stage.gateway(Peer::Wasm, &["--file", &file.display().to_string()])?;
    let before = metric(gateway.ops, "bascule_snapshot_swaps_total")?;
    let seconds = (LARGE_PAUSE * u32::try_from(LARGE)?).as_secs() + 1;
    let load = wrk.start(gateway.address, seconds)?;
    for number in 2..2 + LARGE {
        stage.write_snapshot("large.json", MANY, number)?;
        std::thread::sleep(LARGE_PAUSE);
    }
    let load = finish(load)?;
    ensure!(load.errors == 0.0, "{} errors while large snapshots were swapped", load.errors);
    let taken = metric(gateway.ops, "bascule_snapshot_swaps_total")? - before;
    ensure!(taken >= 1.0, "no large snapshot was taken within {seconds} s");
    Ok(metric(gateway.ops, "bascule_swap_stall_seconds")? * 1e6)
}

/// The sum of a metric's series.
fn metric(ops: SocketAddr, name: &str) -> Result<f64> {
    let answer = Client::connect(ops)?.get("/metrics", "")?;
    sum(&String::from_utf8_lossy(&answer.body), name).with_context(|| format!("the metrics have no {name}"))
}

fn sum(text: &str, name: &str) -> Option<f64> {
    let series = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let values: Vec<f64> =
        text.lines().filter(series).filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

fn section(swapped: &Swapped, stalls: &Figures) -> Section {
    let Swapped { quiet_p99, busy_p99, errors, requests, taken, seconds } = swapped;
    let mut section = Section::default();
    #[expect(clippy::cast_precision_loss, reason = "a thousand")]
    let enough = *taken >= SWAPS as f64;
    section.judged(
        "1 000 snapshots swapped in at saturation within 60 s: errors",
        "0",
        format!("{errors:.0} of {requests:.0} requests; {taken:.0} swaps in {seconds:.0} s"),
        *errors == 0.0 && enough && *seconds <= 60.0,
    );
    let ratio = busy_p99.ratio_to(quiet_p99);
    section.judged("p99 while swapping, to p99 without", "≤ 1.05 ×", format!("{ratio:.2} ×"), ratio <= 1.05);
    let longest = stalls.median();
    section.judged(
        "longest stall of a worker by swapping in 10 000 flags at saturation",
        "< 50 µs",
        format!("{longest:.1} µs (± {:.0} %)", stalls.spread() * 100.0),
        longest < 50.0,
    );
    section.paragraph(&format!(
        "{} files are written, {:.0} a second, over {FILES} watched ones; each that is taken (`bascule_snapshot_swaps_total`) \
         replaces the whole state of the worker, with a new instance of the module for each environment. One of them has \
         the traffic and 20 flags. Rounds with and without changes take turns and are equally long; medians of p99: {:.2} ms \
         without, {:.2} ms with. On two cores wrk, the origins, the worker and the thread that loads snapshots share the \
         processors, so the second figure holds the processor time of loading too.",
        SWAPS + SPARE,
        1.0 / PAUSE.as_secs_f64(),
        quiet_p99.median(),
        busy_p99.median()
    ));
    section.paragraph(&format!(
        "The stall is `bascule_swap_stall_seconds` after {LARGE} changes of a file of 10 000 flags under saturation, in a \
         fresh gateway per round: the worst of them, the median over the rounds."
    ));
    section
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn the_series_of_a_metric_are_added() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 3\na_total{x=\"2\"} 4\na_total_b 9\nb 0.5\n";
        assert_eq!(sum(text, "a_total"), Some(7.0));
        assert_eq!(sum(text, "b"), Some(0.5));
        assert_eq!(sum(text, "c"), None);
    }
}
