//! Memory, cold start, swaps under saturation, and the filter: what one gateway does by itself.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::client::{Client, wait_for};
use super::documents;
use super::figures::Figures;
use super::load::{Load, Wrk, finish};
use super::report::Section;
use super::stage::Peer;
use super::{Bench, processes};
use crate::process::say;

const MANY: usize = 10_000;
/// Idle connections whose memory is counted. Each needs a descriptor here and one there.
const IDLE: u32 = 2_000;
/// What the memory of each connection is divided into: KiB.
const CONNECTION_LIMIT_KIB: f64 = 12.0;
const MIB: f64 = 1024.0;
/// Swaps over all rounds.
const SWAPS: u64 = 1000;
/// A watched file is taken after two looks 50 ms apart found it the same, so one file changes at most eight times a
/// second; three files make a thousand changes in three quarters of a minute.
const FILES: u64 = 3;
const PAUSE: Duration = Duration::from_millis(45);
/// Lines for `bascule decide`.
const LINES: usize = 400_000;
const START: Duration = Duration::from_secs(30);

/// Memory of a gateway that idles, with many flags, and per idle connection.
pub(super) fn memory(bench: &Bench) -> Result<Section> {
    let stage = bench.stage()?;
    let mut section = Section::default();
    let idle = stage.start(Peer::Wasm)?;
    let (all, anonymous) = processes::memory(idle.process())?;
    section.judged("memory: idle gateway, 20 flags", "≤ 15 MiB", mib(all, anonymous), all <= 15.0 * MIB);
    let mut connections = Vec::new();
    for user in 0..IDLE {
        let mut client = Client::connect(idle.address)?;
        ensure!(client.ask(usize::try_from(user)?)?.status == 200, "a connection was not answered");
        connections.push(client);
    }
    let (with, _) = processes::memory(idle.process())?;
    let each = (with - all) / f64::from(IDLE);
    section.judged(
        "memory per idle connection that was served before",
        "≤ 12 KiB",
        format!("{each:.1} KiB"),
        each <= CONNECTION_LIMIT_KIB,
    );
    drop((connections, idle));
    let file = stage.write_snapshot("many.json", MANY, 1)?;
    let many = stage.gateway(Peer::Wasm, &["--file", &file.display().to_string()])?;
    let (all, anonymous) = processes::memory(many.process())?;
    section.judged("memory: gateway with 10 000 flags", "≤ 40 MiB", mib(all, anonymous), all <= 40.0 * MIB);
    section.paragraph(
        "Resident memory (VmRSS) of a process with one worker; in parentheses what is not backed by files, that is, \
         without the program's own code. Connections are kept after one request each.",
    );
    Ok(section)
}

fn mib(all: f64, anonymous: f64) -> String {
    format!("{:.1} MiB ({:.1} anonymous)", all / MIB, anonymous / MIB)
}

/// From the start of the process to the first answer, with nothing but a state directory.
pub(super) fn cold_start(bench: &Bench) -> Result<Section> {
    let stage = bench.stage()?;
    let state = stage.folder.join("state");
    let file = stage.write_snapshot("many.json", MANY, 1)?.display().to_string();
    let state_arguments = ["--state-dir", &state.display().to_string()].map(str::to_owned);
    let from_state: Vec<&str> = state_arguments.iter().map(String::as_str).collect();
    // The first one reads the file and leaves its snapshot in the directory.
    drop(stage.gateway(Peer::Wasm, &[&from_state[..], &["--file", &file]].concat())?);
    let mut section = Section::default();
    let mut lines = Vec::new();
    for peer in [Peer::Wasm, Peer::Native] {
        let mut figures = Figures::default();
        for _ in 0..bench.rounds {
            let start = Instant::now();
            let running = stage.spawn_gateway(peer, &from_state)?;
            wait_for(running.address, START)?;
            figures.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let ms = figures.median();
        if peer == Peer::Wasm {
            let what = "cold start from the state directory, 10 000 flags, to the first decided request";
            section.judged(what, "≤ 100 ms", format!("{ms:.0} ms"), ms <= 100.0);
        }
        let spread = format!("± {:.0} %", figures.spread() * 100.0);
        lines.push(vec![peer.name().to_owned(), format!("{ms:.0}"), spread]);
    }
    section.table(&["gateway", "cold start ms", "spread"], &lines);
    Ok(section)
}

/// Saturation with and without a thousand new snapshots.
pub(super) fn swaps(bench: &Bench) -> Result<Section> {
    let stage = bench.stage()?;
    let wrk = Wrk::new(&stage.folder)?;
    let files: Vec<String> = (0..FILES)
        .map(|n| Ok(write_version(&stage.folder, &stage.origins, n, 1)?.display().to_string()))
        .collect::<Result<_>>()?;
    let arguments: Vec<&str> = files.iter().flat_map(|file| ["--file", file]).collect();
    let gateway = stage.gateway(Peer::Wasm, &arguments)?;
    wrk.run(gateway.address, 1)?;
    let each = SWAPS.div_ceil(u64::from(bench.rounds));
    let seconds = (PAUSE * u32::try_from(each)?).as_secs() + 1;
    let (mut quiet_p99, mut busy_p99, mut errors, mut requests) = (Figures::default(), Figures::default(), 0.0, 0.0);
    let mut number = 1;
    for round in 1..=bench.rounds {
        say(format_args!("swaps: round {round} of {}", bench.rounds));
        quiet_p99.push(wrk.run(gateway.address, seconds)?.p99_ms);
        let load = wrk.start(gateway.address, seconds)?;
        let begin = Instant::now();
        for turn in 0..each {
            number += 1;
            write_version(&stage.folder, &stage.origins, turn % FILES, number)?;
            let due = begin + PAUSE * u32::try_from(turn + 1)?;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let load: Load = finish(load)?;
        busy_p99.push(load.p99_ms);
        errors += load.errors;
        requests += load.requests;
    }
    let taken = swaps_taken(gateway.ops)?;
    let ratio = busy_p99.ratio_to(&quiet_p99);
    let mut section = Section::default();
    section.judged(
        &format!("{taken:.0} snapshots swapped in at saturation: errors"),
        "0",
        format!("{errors:.0} of {requests:.0} requests"),
        errors == 0.0,
    );
    section.judged("p99 while swapping, to p99 without", "≤ 1.05 ×", format!("{ratio:.2} ×"), ratio <= 1.05);
    section.paragraph(&format!(
        "{SWAPS} files written, {:.0} a second, to {FILES} watched files of 20 flags; every one taken replaces the state \
         of all environments. Medians of p99: {:.2} ms without, {:.2} ms with. On two cores wrk, the origins, the \
         worker and the thread that loads snapshots share the processors, so this figure holds the load's own CPU too.",
        1.0 / PAUSE.as_secs_f64(),
        quiet_p99.median(),
        busy_p99.median()
    ));
    Ok(section)
}

/// One of several environments; the first has the traffic.
fn write_version(
    folder: &std::path::Path,
    origins: &[String; 2],
    file: u64,
    number: u64,
) -> Result<std::path::PathBuf> {
    let mut document = documents::gateway(origins, 20, number);
    if file > 0 {
        document["app"] = format!("web{file}").into();
        document["edge"]["hosts"] = serde_json::json!([format!("web{file}.example")]);
    }
    let (path, new) = (folder.join(format!("swap{file}.json")), folder.join("swap.new"));
    std::fs::write(&new, serde_json::to_vec(&document)?)?;
    std::fs::rename(&new, &path)?;
    Ok(path)
}

fn swaps_taken(ops: std::net::SocketAddr) -> Result<f64> {
    let answer = Client::connect(ops)?.get("/metrics", "")?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let lines = text.lines().filter(|line| line.starts_with("bascule_snapshot_swaps_total{"));
    let counts: Vec<f64> = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
    ensure!(!counts.is_empty(), "the metrics count no swaps");
    Ok(counts.iter().sum())
}

/// `bascule decide` over many contexts.
pub(super) fn filter(bench: &Bench) -> Result<Section> {
    let stage = bench.stage()?;
    let snapshot = stage.write_snapshot("filter.json", 20, 1)?;
    let contexts = stage.folder.join("contexts.ndjson");
    std::fs::write(&contexts, documents::contexts(LINES))?;
    let mut section = Section::default();
    for engine in ["native", "wasm"] {
        let mut figures = Figures::default();
        for _ in 0..bench.rounds {
            let mut decide = Command::new(&stage.bascule);
            decide.args(["decide", "--engine", engine, "--file"]).arg(&snapshot);
            decide.stdin(File::open(&contexts)?).stdout(File::create(stage.folder.join("decisions.ndjson"))?);
            let start = Instant::now();
            let status = decide.stderr(Stdio::null()).status().context("cannot start bascule")?;
            ensure!(status.success(), "bascule decide failed with {status}");
            #[expect(clippy::cast_precision_loss, reason = "some hundred thousand lines")]
            figures.push(LINES as f64 / start.elapsed().as_secs_f64());
        }
        let rate = figures.median();
        let what = format!("`bascule decide`, 20 flags, one core, {engine}");
        let measured = format!("{rate:.0} decisions/s");
        if engine == "native" {
            section.judged(&what, "≥ 200 000/s", measured, rate >= 200_000.0);
        } else {
            section.noted(&what, measured);
        }
    }
    section.paragraph(&format!(
        "{LINES} contexts of four headers from a file to a file, reading and writing JSON included."
    ));
    Ok(section)
}
