//! `bascule demo`: a rollout that goes wrong and is taken back by the verdict, to look at, with nothing to set up.
//!
//! Everything is real: two HTTP servers, a control plane, two gateways with the edge module, visitors over TCP. It
//! listens on the loopback address only, and on other ports when the usual ones are taken.
//! What is measured is measured from outside the gateways, by the visitors and the upstreams.

mod board;
mod gateway;
mod ports;
mod site;
mod upstream;
mod view;
mod visitors;
mod walk;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context as _;

use crate::host::{Engine, Module};
use board::Board;
use gateway::Stage;
use upstream::Upstreams;
use view::{Setting, Style, View};
use walk::Walk;

/// Between two walks, for whoever looks only now.
const BETWEEN_WALKS: Duration = Duration::from_secs(5);

/// What is wrong with the candidate, from 25 % on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A fifth of its answers are errors.
    Errors,
    /// It takes its time.
    Latency,
    /// It ends.
    Crash,
    /// Nothing.
    None,
}

/// How to demonstrate.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many visitors.
    pub visitors: usize,
    /// How many requests they send in a second, together.
    pub rate: u32,
    /// How long each step is shown at least.
    pub step: Duration,
    /// End after one walk.
    pub once: bool,
    /// NDJSON instead of a picture.
    pub json: bool,
    /// The engine in this binary instead of the module.
    pub native: bool,
    /// What is wrong with the candidate.
    pub fault: Fault,
}

/// Runs the demo; the answer is whether every walk ended as it should, nothing but the fault failed, and no visitor went back
/// and forth.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let engine = if options.native { Engine::native() } else { Engine::wasm(Module::embedded()?) };
    let board = Arc::new(Board::new(options.visitors));
    let upstreams = Upstreams::start(&board, options.fault)?;
    let stage = Stage::start(options.native)?;
    stage.apply(&site::yaml(upstreams.blue, upstreams.green))?;
    let gateways = stage.addresses();
    let setting = Setting {
        gateways: gateways.iter().map(|address| format!("http://{address}")).collect(),
        admin: format!("http://{}", stage.admin_address()),
        ops: format!("http://{}/api/health", stage.ops_address()),
        engine: engine.name().to_owned(),
        visitors: options.visitors,
    };
    let stop = stop_on_signal()?;
    visitors::start(&board, &gateways, options.rate)?;
    let view = View::new(Style::of(options.json), setting, Arc::clone(&board))?;
    let mut walk = Walk {
        board: Arc::clone(&board),
        stage: &stage,
        view,
        fault: options.fault,
        step: options.step,
        stop,
        share: 0,
        settled: Vec::new(),
        as_expected: true,
    };
    let walked = walk_about(&mut walk, options.once);
    walk.view.finish()?;
    walked?;
    Ok(walk.as_expected && board.errors() == 0 && board.flaps() == 0)
}

fn walk_about(walk: &mut Walk<'_>, once: bool) -> anyhow::Result<()> {
    let step = walk.step;
    while walk.settle()? && walk.once()? && !once {
        walk.step = step.max(BETWEEN_WALKS);
        if !walk.settle()? {
            break;
        }
        walk.step = step;
        walk.begin_anew()?;
    }
    Ok(())
}

/// Set when the process is asked to end.
fn stop_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let life = crate::lifecycle::Lifecycle::new();
    let signals = {
        let _in_runtime = runtime.enter();
        life.follow_signals().context("cannot follow signals")?
    };
    let stopped = Arc::clone(&stop);
    let work = move || {
        runtime.block_on(async {
            tokio::spawn(signals);
            life.soft().cancelled().await;
            stopped.store(true, Relaxed);
        });
    };
    std::thread::Builder::new().name("signals".into()).spawn(work)?;
    Ok(stop)
}
