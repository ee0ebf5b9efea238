//! Memory, cold start and the filter: what one process does by itself.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::client::{Client, wait_for};
use super::documents;
use super::figures::Figures;
use super::report::Section;
use super::stage::{Peer, Running, Stage};
use super::{Bench, MANY, processes};

/// Idle connections whose memory is counted. Each needs a descriptor here and one there.
const IDLE: u32 = 2_000;
/// What the memory of each connection is divided into: KiB.
const CONNECTION_LIMIT_KIB: f64 = 12.0;
const MIB: f64 = 1024.0;
/// Lines for `bascule decide`.
const LINES: usize = 400_000;
const START: Duration = Duration::from_secs(30);

/// What is resident, in KiB: everything, and what is not backed by files.
#[derive(Default)]
struct Resident {
    all: Figures,
    anonymous: Figures,
}

impl Resident {
    fn read(&mut self, process: u32) -> Result<f64> {
        let (all, anonymous) = processes::memory(process)?;
        self.all.push(all);
        self.anonymous.push(anonymous);
        Ok(all)
    }

    fn judge(&self, what: &str, limit: f64, section: &mut Section) {
        let (all, anonymous) = (self.all.median() / MIB, self.anonymous.median() / MIB);
        let figures = format!("{all:.1} MiB ({anonymous:.1} anonymous)");
        section.judged(what, &format!("≤ {limit:.0} MiB"), figures, all <= limit);
    }
}

/// Memory of a gateway that idles, with many flags, and per idle connection.
pub(super) fn memory(bench: &Bench) -> Result<Section> {
    let stage = bench.stage()?;
    let (mut idle, mut many, mut each) = (Resident::default(), Resident::default(), Figures::default());
    let file = stage.write_snapshot("many.json", MANY, 1)?.display().to_string();
    for _ in 0..bench.rounds {
        let gateway = stage.start(Peer::WasmFlags)?;
        let before = idle.read(gateway.process())?;
        each.push(per_connection(&gateway, before)?);
        drop(gateway);
        many.read(stage.gateway(Peer::Wasm, &["--file", &file])?.process())?;
    }
    let mut section = Section::default();
    idle.judge("memory: idle gateway, 20 flags", 15.0, &mut section);
    many.judge("memory: gateway with 10 000 flags", 40.0, &mut section);
    let kib = each.median();
    let what = "memory per idle connection that was served before";
    let limit = CONNECTION_LIMIT_KIB;
    section.judged(what, &format!("≤ {limit:.0} KiB"), format!("{kib:.1} KiB"), kib <= limit);
    section.paragraph(&format!(
        "Resident memory (VmRSS) of a process with one worker after its first request; in parentheses what is not backed \
         by files, that is, without the program's own code. Per connection: the growth by {IDLE} connections, each kept \
         after one request, divided by their number."
    ));
    Ok(section)
}

/// KiB that each of many connections adds.
fn per_connection(gateway: &Running, before: f64) -> Result<f64> {
    let mut connections = Vec::new();
    for user in 0..IDLE {
        let mut client = Client::connect(gateway.address)?;
        ensure!(client.ask(usize::try_from(user)?)?.status == 200, "a connection was not answered");
        connections.push(client);
    }
    let (with, _) = processes::memory(gateway.process())?;
    Ok((with - before) / f64::from(IDLE))
}

/// From the start of the process to the first answer, with a state directory and a source that is away.
pub(super) fn cold_start(bench: &Bench) -> Result<Section> {
    let stage = bench.stage()?;
    let state = stage.folder.join("state");
    let file = stage.write_snapshot("many.json", MANY, 1)?.display().to_string();
    if state.exists() {
        // It names the ports of an earlier run.
        std::fs::remove_dir_all(&state)?;
    }
    let (state, away) = (state.display().to_string(), stage.folder.join("away.json").display().to_string());
    // The first one reads the file and leaves its snapshot in the directory.
    stage.gateway(Peer::Wasm, &["--state-dir", &state, "--file", &file])?.stop("-TERM")?;
    let mut section = Section::default();
    let mut lines = Vec::new();
    let peers = [Peer::Wasm, Peer::Native];
    let mut starts = [Figures::default(), Figures::default()];
    for _ in 0..bench.rounds {
        for (peer, figures) in peers.iter().zip(&mut starts) {
            let start = Instant::now();
            let running = stage.spawn_gateway(*peer, &["--state-dir", &state, "--file", &away])?;
            wait_for(running.address, START)?;
            figures.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    for (peer, figures) in peers.iter().zip(&starts) {
        let ms = figures.median();
        if *peer == Peer::Wasm {
            let what = "cold start from the state directory, 10 000 flags, to the first decided request";
            section.judged(what, "≤ 100 ms", format!("{ms:.0} ms"), ms <= 100.0);
        }
        let spread = format!("± {:.0} %", figures.spread() * 100.0);
        lines.push(vec![peer.name().to_owned(), format!("{ms:.0}"), spread]);
    }
    section.table(&["gateway", "cold start ms", "spread"], &lines);
    section.paragraph("From the start of the process, whose watched file is away, to the first answer of an origin.");
    Ok(section)
}

/// `bascule decide` over many contexts.
pub(super) fn filter(bench: &Bench) -> Result<Section> {
    let stage = bench.stage()?;
    stage.write_snapshot("filter.json", 20, 1)?;
    std::fs::write(stage.folder.join("contexts.ndjson"), documents::contexts(LINES))?;
    let engines = ["native", "wasm"];
    let mut rates = [Figures::default(), Figures::default()];
    for _ in 0..bench.rounds {
        for (engine, rates) in engines.iter().zip(&mut rates) {
            rates.push(filtered(&stage, engine)?);
        }
    }
    let mut section = Section::default();
    for (engine, rates) in engines.iter().zip(&rates) {
        let rate = rates.median();
        let what = format!("`bascule decide`, 20 flags, one core, {engine}");
        section.judged(&what, "≥ 200 000/s", format!("{rate:.0} decisions/s"), rate >= 200_000.0);
    }
    section.paragraph(&format!(
        "{LINES} contexts of five headers and a cookie from a file to a file, reading and writing JSON included, each \
         decision with the release and all 20 flags."
    ));
    Ok(section)
}

/// Decisions per second of one run.
fn filtered(stage: &Stage, engine: &str) -> Result<f64> {
    let mut decide = Command::new(&stage.bascule);
    decide.args(["decide", "--engine", engine, "--file"]).arg(stage.folder.join("filter.json"));
    decide.stdin(File::open(stage.folder.join("contexts.ndjson"))?);
    decide.stdout(File::create(stage.folder.join("decisions.ndjson"))?);
    let start = Instant::now();
    let status = decide.stderr(Stdio::null()).status().context("cannot start bascule")?;
    ensure!(status.success(), "bascule decide failed with {status}");
    #[expect(clippy::cast_precision_loss, reason = "some hundred thousand lines")]
    Ok(LINES as f64 / start.elapsed().as_secs_f64())
}
