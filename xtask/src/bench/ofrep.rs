//! OFREP: bulk answers of ten flags by one worker, each for another context.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::figures::Figures;
use super::load::{CONNECTIONS, Load, USERS, finish};
use super::report::Section;
use super::{Bench, processes};
use crate::process::{run_as_talk, say, timed};
use crate::workspace::Workspace;

/// Bulk answers per second that one core must be able to give.
const TARGET: f64 = 40_000.0;

pub(super) fn build(workspace: &Workspace) -> Result<()> {
    timed("bench: building the gateway that answers OFREP", || {
        let example = ["build", "--locked", "--release", "--package", "server", "--example", "ofrep_gateway"];
        run_as_talk(workspace.cargo().args(example))
    })
}

/// A gateway with one worker, ten flags and a token; it ends with this.
struct Gateway {
    child: Child,
    address: String,
}

impl Gateway {
    fn start(program: &Path, engine: &str) -> Result<Self> {
        let mut command = Command::new(program);
        let mut child = command.arg(engine).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().context("stdout is piped")?).read_line(&mut address)?;
        Ok(Self { child, address: address.trim().to_owned() })
    }

    fn load(&self, script: &Path, seconds: u64) -> Result<Load> {
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "1", "--connections", &CONNECTIONS.to_string(), "--duration", &format!("{seconds}s")]);
        wrk.arg("--latency").arg("--script").arg(script);
        wrk.arg(format!("http://{}/ofrep/v1/evaluate/flags", self.address));
        finish(wrk.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start wrk")?)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script(folder: &Path) -> Result<PathBuf> {
    let script = format!(
        r#"local requests, n = {{}}, 0
function init()
  for user = 0, {last} do
    local body = '{{"context":{{"targetingKey":"user-' .. user ..
      '","email":"someone@example.org","plan":"pro","country":"de","age":33}}}}'
    local fields = {{['Authorization'] = 'Bearer bsc_bench', ['Content-Type'] = 'application/json'}}
    requests[user] = wrk.format('POST', nil, fields, body)
  end
end
function request() n = (n + 1) % {USERS}; return requests[n] end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('RESULT %d %d %f %f %d\n', summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"#,
        last = USERS - 1
    );
    let file = folder.join("ofrep.lua");
    fs::write(&file, script)?;
    Ok(file)
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let script = script(&bench.folder)?;
    let program = bench.workspace.target.join("release/examples/ofrep_gateway");
    let engines = ["wasm", "native"];
    let gateways = [Gateway::start(&program, engines[0])?, Gateway::start(&program, engines[1])?];
    let mut rates = [Figures::default(), Figures::default()];
    let mut costs = rates.clone();
    for round in 1..=bench.rounds {
        say(format_args!("ofrep: round {round} of {}", bench.rounds));
        for ((gateway, rates), costs) in gateways.iter().zip(&mut rates).zip(&mut costs) {
            let before = processes::cpu(gateway.child.id())?;
            let load = gateway.load(&script, bench.seconds)?;
            ensure!(load.errors == 0.0, "{} requests for flags failed", load.errors);
            rates.push(load.rate());
            costs.push(processes::cpu(gateway.child.id())?.since(before).total() / load.requests * 1e6);
        }
    }
    Ok(section(engines, &rates, &costs))
}

fn section(engines: [&str; 2], rates: &[Figures; 2], costs: &[Figures; 2]) -> Section {
    let mut section = Section::default();
    let a_core = 1e6 / costs[0].median();
    section.judged(
        "OFREP bulk of 10 flags, one core: answers per second of processor time",
        "≥ 40 000",
        format!("{a_core:.0}"),
        a_core >= TARGET,
    );
    let lines: Vec<_> = engines
        .iter()
        .zip(rates.iter().zip(costs))
        .map(|(engine, (rate, cost))| {
            let spread = format!("± {:.0} %", cost.spread() * 100.0);
            vec![(*engine).to_owned(), format!("{:.1}", cost.median()), spread, format!("{:.0}", rate.median())]
        })
        .collect();
    section.table(&["engine", "CPU µs per answer", "spread", "answers/s beside wrk"], &lines);
    section.paragraph(
        "One worker; `POST /ofrep/v1/evaluate/flags` with a token and a context of five attributes, a thousand of them in turn; \
         ten flags with a rule that is tried and a split; the ETag is hashed and the stream's ticket is signed for each answer \
         of 1.8 KB. The processors are shared with wrk, so the answers per second are those of the machine; what counts is \
         the processor time of one.",
    );
    section
}
