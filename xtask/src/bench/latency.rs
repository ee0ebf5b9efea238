//! Latency that a proxy adds at a rate that keeps nobody busy.

use anyhow::{Context as _, Result};

use super::figures::Figures;
use super::report::Section;
use super::stage::{Peer, Running};
use super::{Bench, load, preflight};
use crate::process::say;

/// Requests per second of the open loop.
const RATE: f64 = 1000.0;

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let stage = bench.stage()?;
    let proxies = bench.proxies(&stage)?;
    preflight::check(&proxies)?;
    let mut direct = Figures::default();
    let mut added: Vec<Figures> = proxies.iter().map(|_| Figures::default()).collect();
    let seconds = f64::from(u32::try_from(bench.seconds)?);
    for round in 1..=bench.rounds {
        say(format_args!("latency: round {round} of {}", bench.rounds));
        let floor = load::open_loop(stage.origin().address, RATE, seconds)?;
        direct.push(floor);
        for (proxy, added) in proxies.iter().zip(&mut added) {
            added.push(load::open_loop(proxy.address, RATE, seconds)? - floor);
        }
    }
    section(&proxies, &added, direct.median())
}

fn section(proxies: &[Running], added: &[Figures], direct: f64) -> Result<Section> {
    let of = |peer: Peer| {
        let found = proxies.iter().zip(added).find(|(proxy, _)| proxy.peer == peer);
        found.map(|(_, added)| added.median()).with_context(|| format!("{} was not measured", peer.name()))
    };
    let mut section = Section::default();
    let (wasm, haproxy) = (of(Peer::Wasm)?, of(Peer::HaProxy)?);
    let ratio = wasm / haproxy;
    let figures = format!("{ratio:.2} × (+{wasm:.0} µs to +{haproxy:.0} µs)");
    section.judged("added latency at 1 000 requests/s, p50, beside HAProxy", "≤ 1.2 ×", figures, ratio <= 1.2);
    let lines: Vec<_> = proxies
        .iter()
        .zip(added)
        .map(|(proxy, added)| {
            let name = proxy.peer.name().to_owned();
            vec![name, format!("+{:.0}", added.median()), format!("± {:.0} %", added.spread() * 100.0)]
        })
        .collect();
    section.table(&["proxy", "added p50 µs", "spread"], &lines);
    section.paragraph(&format!(
        "Open loop: {RATE:.0} requests a second are sent on 16 connections when they are due, whether or not earlier ones \
         were answered. What is added is the median minus that of the same round straight to the origin, {direct:.0} µs."
    ));
    Ok(section)
}
