//! The Cloudflare Worker in its runtime, beside Workers that a team would write instead.
//!
//! Each has a runtime of its own, the same origins and the same requests. What a request costs is the processor time of the
//! runtime, its own part included: that is the same for all.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

use super::figures::Figures;
use super::load::Wrk;
use super::report::Section;
use super::{Bench, documents, processes};
use crate::process::{capture, say};
use crate::{setup, worker};

/// Requests over which memory is looked at.
const MANY: f64 = 200_000.0;
/// Fresh processes whose start is measured.
const STARTS: usize = 9;
/// What a start may take, milliseconds.
const START_MS: f64 = 20.0;

/// A Worker in a runtime; it ends with this.
struct Contestant {
    name: &'static str,
    child: Child,
    runtime: u32,
    address: SocketAddr,
    costs: Figures,
    rates: Figures,
}

impl Contestant {
    fn start(bench: &Bench, name: &'static str, kind: &str, options: &Value) -> Result<Self> {
        let mut node = Command::new("node");
        node.arg(bench.workspace.root.join("tests/worker/bench.mjs")).arg(kind);
        node.arg(bench.workspace.target.join("worker")).arg(options.to_string());
        node.env("WORKER_RUNTIME", setup::workerd(&bench.workspace)?);
        let mut child = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start node")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("stdout is piped")?).read_line(&mut line)?;
        let told: Value = serde_json::from_str(&line).with_context(|| format!("{name} did not start"))?;
        let address = told["address"].as_str().and_then(|address| address.parse().ok());
        let runtime = told["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let (address, runtime) = address.zip(runtime).context("no address or process")?;
        Ok(Self { name, child, runtime, address, costs: Figures::default(), rates: Figures::default() })
    }

    fn round(&mut self, wrk: &Wrk, seconds: u64) -> Result<()> {
        let before = processes::cpu(self.runtime)?;
        let load = wrk.run(self.address, seconds)?;
        ensure!(load.errors == 0.0, "{} requests at {} failed", load.errors, self.name);
        self.costs.push(processes::cpu(self.runtime)?.since(before).total() / load.requests * 1e6);
        self.rates.push(load.rate());
        Ok(())
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // The end of its input ends the runtime too.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let entry = worker::build(&bench.workspace, setup::toolchain(&bench.workspace)?)?;
    let folder = entry.parent().context("the entry is in a folder")?;
    let stage = bench.stage()?;
    let [blue, green] = &stage.origins;
    let ours = |flags: usize| -> Result<Value> {
        let document = stage.write_snapshot(&format!("worker-{flags}"), flags, 1)?;
        Ok(json!({"document": document, "blue": blue, "green": green}))
    };
    let theirs = json!({"flags": flagd(20), "blue": blue, "green": green});
    let mut contestants = [
        Contestant::start(bench, "Bascule, no flags", "ours", &ours(0)?)?,
        Contestant::start(bench, "JavaScript, split by a hash", "split", &theirs)?,
        Contestant::start(bench, "Bascule, 20 flags", "ours", &ours(20)?)?,
        Contestant::start(bench, "JavaScript, 20 flags by flagd's evaluator", "flagd", &theirs)?,
    ];
    let wrk = Wrk::new(&bench.folder)?;
    for round in 0..=bench.rounds {
        say(format_args!("worker: round {round} of {}", bench.rounds));
        for contestant in &mut contestants {
            contestant.round(&wrk, bench.seconds)?;
            if round == 0 {
                // The first one warms the machine code up.
                (contestant.costs, contestant.rates) = Default::default();
            }
        }
    }
    let memory = [memory(&contestants[0], &wrk)?, memory(&contestants[1], &wrk)?];
    Ok(section(&contestants, memory, &starts(bench, folder)?))
}

/// Resident MiB of the runtime before and after many requests.
fn memory(contestant: &Contestant, wrk: &Wrk) -> Result<(f64, f64)> {
    let resident = || Ok::<_, anyhow::Error>(processes::memory(contestant.runtime)?.0 / 1024.0);
    let (before, mut sent) = (resident()?, 0.0);
    while sent < MANY {
        sent += wrk.run(contestant.address, 10)?.requests;
    }
    Ok((before, resident()?))
}

/// Milliseconds of processor time to compile, and to evaluate and instantiate.
fn starts(bench: &Bench, folder: &Path) -> Result<[Figures; 2]> {
    let mut figures = [Figures::default(), Figures::default()];
    for _ in 0..STARTS {
        let mut node = Command::new("node");
        node.arg(bench.workspace.root.join("tests/worker/start.mjs")).arg(folder);
        let told: Value = serde_json::from_str(&capture(&mut node)?)?;
        for (figure, name) in figures.iter_mut().zip(["compile", "evaluate"]) {
            figure.push(told[name].as_f64().context("start.mjs gave no figure")?);
        }
    }
    Ok(figures)
}

fn section(contestants: &[Contestant; 4], memory: [(f64, f64); 2], [compile, evaluate]: &[Figures; 2]) -> Section {
    let mut section = Section::default();
    let [plain, split, flags, flagd] = contestants;
    let compared = |ours: &Contestant, theirs: &Contestant| {
        let (a, b) = (ours.costs.median(), theirs.costs.median());
        format!("{:.2} × ({a:.0} µs to {b:.0} µs)", ours.costs.ratio_to(&theirs.costs))
    };
    section.noted(
        "Worker: CPU per request in workerd, beside a JavaScript Worker that splits by a hash",
        compared(plain, split),
    );
    section.noted(
        "Worker: the same with 20 forwarded flags, beside a JavaScript Worker with flagd's evaluator",
        compared(flags, flagd),
    );
    let start = evaluate.median();
    section.judged(
        "Worker: processor time to evaluate the modules and instantiate the WebAssembly",
        "≤ 20 ms",
        format!("{start:.1} ms (and {:.1} ms to compile)", compile.median()),
        start + compile.median() <= START_MS,
    );
    let shown = |(before, after): (f64, f64)| format!("{before:.0} → {after:.0} MiB");
    section.noted(
        "Worker: memory of workerd over 200 000 proxied requests, beside the JavaScript Worker that splits",
        format!("{} to {}", shown(memory[0]), shown(memory[1])),
    );
    let lines: Vec<_> = contestants
        .iter()
        .map(|one| {
            let spread = format!("± {:.0} %", one.costs.spread() * 100.0);
            vec![
                one.name.to_owned(),
                format!("{:.0}", one.costs.median()),
                spread,
                format!("{:.0}", one.rates.median()),
            ]
        })
        .collect();
    section.table(&["Worker", "CPU µs per request", "spread", "requests/s beside wrk"], &lines);
    section.paragraph(
        "Four runtimes (workerd, started by miniflare) on one machine, each with one Worker, the same two origins and the same \
         requests: six fields, a cookie with one of a thousand units, a tenth of them to the second origin. The figures are the \
         processor time of the whole runtime, so they hold what every Worker pays for taking a request and asking an origin. The \
         JavaScript Workers copy the request and change its URL; they clean no fields, mint no ids, count nothing and have no \
         fallback. flagd's evaluator runs without code generation, which Workers do not allow.",
    );
    section.paragraph(
        "Memory is the resident memory of the runtime, which collects garbage late on a machine with much of it, whatever the Worker is; \
         that the memory of the program itself does not grow by a page over 200 000 requests is a test.",
    );
    section.paragraph(
        "The start is measured in fresh Node processes, whose V8 stands for the runtime's: processor time for compiling the \
         WebAssembly, which the platform does when a Worker is deployed, and for evaluating the modules with the first instance, \
         which an isolate does before its first request; medians of nine. The target counts both.",
    );
    section
}

/// The flags of the comparison in flagd's words: the same conditions and shares.
fn flagd(count: usize) -> Value {
    let var = |name: &str| json!({"var": name});
    let conditions = [
        json!({"in": [var("x-country"), ["US", "DE", "FR"]]}),
        json!({"==": [var("x-plan"), "enterprise"]}),
        json!({"sem_ver": [var("x-version"), ">=", "2.0.0"]}),
        json!({"in": ["Firefox", var("user-agent")]}),
        json!({"or": [{"starts_with": [var("accept-language"), "de"]}, {"starts_with": [var("accept-language"), "fr"]}]}),
    ];
    let flag = |n: usize| {
        let share = json!({"fractional": [["on", 10], ["off", 90]]});
        json!({
            "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
            "targeting": {"if": [conditions[n % conditions.len()], share, "off"]},
        })
    };
    Value::Object((0..count).map(|n| (documents::name(n), flag(n))).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::flagd;

    #[test]
    fn flagd_gets_as_many_flags_as_we_do() {
        assert_eq!(flagd(20).as_object().unwrap().len(), 20);
    }
}
