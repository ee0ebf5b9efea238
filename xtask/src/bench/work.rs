//! Instructions per proxied request, counted by callgrind: what a busy machine does not change.
//!
//! Only user space is counted. The wasm engine is missing, because the gateway does not start with it under valgrind;
//! what it adds is the difference of the engines in the section of the engine.

use anyhow::{Context as _, Result};

use super::load::{CONNECTIONS, Kept};
use super::report::Section;
use super::stage::{Peer, Stage};
use super::{Bench, callgrind};
use crate::process::say;

/// Requests on each connection in the shorter run; the longer one has twice as many.
const EACH: usize = 30;

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let stage = bench.stage()?;
    let mut counts = Vec::new();
    for peer in bench.peers().into_iter().filter(|peer| !matches!(peer, Peer::Wasm | Peer::WasmFlags)) {
        say(format_args!("work: {}", peer.name()));
        counts.push((peer, per_request(&stage, peer)?));
    }
    let of = |peer: Peer| counts.iter().find(|(other, _)| *other == peer).map(|(_, count)| *count);
    let ours = of(Peer::Native).context("the native engine takes part")?;
    let mut section = Section::default();
    for peer in [Peer::Nginx, Peer::HaProxy, Peer::Pingora] {
        if let Some(count) = of(peer) {
            let what = format!("user-space instructions per proxied request, native engine, beside {}", peer.name());
            section.noted(&what, format!("{:.2} × ({ours:.0} to {count:.0})", ours / count));
        }
    }
    let lines: Vec<_> =
        counts.iter().map(|(peer, count)| vec![peer.name().to_owned(), format!("{count:.0}")]).collect();
    section.table(&["proxy", "instructions per request"], &lines);
    section.paragraph(&format!(
        "callgrind over {} and {} requests on {CONNECTIONS} kept connections, the difference divided, so that start and \
         end cancel out; user space only.",
        EACH * CONNECTIONS,
        2 * EACH * CONNECTIONS
    ));
    Ok(section)
}

fn per_request(stage: &Stage, peer: Peer) -> Result<f64> {
    let once = instructions(stage, peer, EACH)?;
    let twice = instructions(stage, peer, 2 * EACH)?;
    Ok((twice - once) / f64::from(u32::try_from(EACH * CONNECTIONS)?))
}

fn instructions(stage: &Stage, peer: Peer, each: usize) -> Result<f64> {
    let out = stage.folder.join("work.out");
    let running = stage.start_counted(peer, &out)?;
    Kept::connect(running.address)?.ask(each)?;
    // Of the signals, this is the one on which each of them ends without waiting for anybody.
    running.stop("-INT")?;
    callgrind::total_in(&out)
}
