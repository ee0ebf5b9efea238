//! The gateway beside other proxies: CPU per request and system calls first, then requests per second and latency.

use anyhow::{Context as _, Result};

use super::figures::Figures;
use super::load::{CONNECTIONS, USERS, Wrk};
use super::report::Section;
use super::stage::{Peer, Running};
use super::system_calls::{self, Calls};
use super::{Bench, preflight, processes};
use crate::process::say;

/// Seconds of wrk before the first round: pools fill, caches warm.
const WARM_UP: u64 = 1;

/// What one proxy did over all rounds.
#[derive(Default)]
struct Measured {
    cpu: Figures,
    user: Figures,
    system: Figures,
    rate: Figures,
    p50: Figures,
    p99: Figures,
    errors: f64,
    calls: Option<Calls>,
    memory: f64,
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let stage = bench.stage()?;
    let proxies = bench.proxies(&stage)?;
    preflight::check(&proxies)?;
    let wrk = Wrk::new(&stage.folder)?;
    let all: Vec<&Running> = std::iter::once(stage.origin()).chain(&proxies).collect();
    let mut measured: Vec<Measured> = all.iter().map(|_| Measured::default()).collect();
    for running in &all {
        wrk.run(running.address, WARM_UP)?;
    }
    for round in 1..=bench.rounds {
        say(format_args!("gateway: round {round} of {}", bench.rounds));
        for (running, measured) in all.iter().zip(&mut measured) {
            saturate(&wrk, running, bench.seconds, measured)?;
        }
    }
    for (running, measured) in all.iter().zip(&mut measured).skip(1) {
        measured.calls = Some(system_calls::count(&stage, running)?);
        measured.memory = processes::memory(running.process())?.0;
    }
    let mut section = Section::default();
    judge(&all, &measured, &mut section)?;
    table(&all, &measured, &mut section);
    explain(&mut section);
    Ok(section)
}

fn saturate(wrk: &Wrk, running: &Running, seconds: u64, measured: &mut Measured) -> Result<()> {
    let before = processes::cpu(running.process())?;
    let load = wrk.run(running.address, seconds)?;
    let cpu = processes::cpu(running.process())?.since(before);
    let each = |seconds: f64| seconds * 1e6 / load.requests;
    measured.cpu.push(each(cpu.total()));
    measured.user.push(each(cpu.user));
    measured.system.push(each(cpu.system));
    measured.rate.push(load.rate());
    measured.p50.push(load.p50_ms);
    measured.p99.push(load.p99_ms);
    measured.errors += load.errors;
    Ok(())
}

fn judge(all: &[&Running], measured: &[Measured], section: &mut Section) -> Result<()> {
    let found = |peer: Peer| all.iter().zip(measured).find(|(running, _)| running.peer == peer).map(|(_, m)| m);
    let of = |peer: Peer| found(peer).with_context(|| format!("{} was not measured", peer.name()));
    let (nginx, wasm) = (of(Peer::Nginx)?, of(Peer::Wasm)?);
    let cpu = |other: &Measured| {
        let ratio = wasm.cpu.ratio_to(&other.cpu);
        (ratio, format!("{ratio:.2} × ({:.1} µs to {:.1} µs)", wasm.cpu.median(), other.cpu.median()))
    };
    let (ratio, figures) = cpu(nginx);
    let what = "CPU per proxied keep-alive request, wasm engine, beside nginx";
    section.judged(what, "≤ 1.10 ×", figures.clone(), ratio <= 1.10);
    section.judged("the same, the stretch target", "≤ 1.00 ×", figures, ratio <= 1.0);
    let others = [Peer::HaProxy, Peer::Pingora].map(|peer| (peer, found(peer)));
    for (peer, other) in others.iter().filter_map(|(peer, other)| Some((peer, (*other)?))) {
        section.noted(&format!("the same beside {}", peer.name()), cpu(other).1);
    }
    let cost = (wasm.cpu.ratio_to(&of(Peer::Native)?.cpu) - 1.0) * 100.0;
    let what = "what wasm costs instead of native, CPU per request";
    section.judged(what, "≤ 1.5 %", format!("{cost:+.1} %"), cost <= 1.5);
    let flags = of(Peer::WasmFlags)?;
    let ratio = flags.cpu.ratio_to(&nginx.cpu);
    let figures = format!("{ratio:.2} × ({:.1} µs to {:.1} µs)", flags.cpu.median(), nginx.cpu.median());
    section.noted("CPU per request when the gateway also decides and forwards 20 flags, beside nginx", figures);
    if let Some(calls) = &wasm.calls {
        let figures = format!("{:.2} ({})", calls.all, calls.text());
        section.judged("system calls per proxied keep-alive request", "≤ 4", figures, calls.all <= 4.0);
    }
    for (peer, other) in [(Peer::Nginx, Some(nginx))].iter().chain(&others) {
        if let Some(other) = other {
            let what = format!("requests per second, wasm engine, beside {}", peer.name());
            section.noted(&what, format!("{:.2} ×", wasm.rate.ratio_to(&other.rate)));
        }
    }
    let errors: f64 = measured.iter().map(|measured| measured.errors).sum();
    section.judged("errors of all proxies under saturation", "0", format!("{errors:.0}"), errors == 0.0);
    Ok(())
}

fn table(all: &[&Running], measured: &[Measured], section: &mut Section) {
    let head = [
        "proxy",
        "CPU µs per request (user + system)",
        "spread",
        "system calls per request",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "memory MiB",
    ];
    let lines: Vec<_> = all.iter().zip(measured).map(|(running, measured)| line(running.peer, measured)).collect();
    section.table(&head, &lines);
}

fn line(peer: Peer, m: &Measured) -> Vec<String> {
    // The origins' own cost is not part of the comparison.
    let only = |text: String| if peer == Peer::Origin { "–".to_owned() } else { text };
    vec![
        peer.name().to_owned(),
        only(format!("{:.1} ({:.1} + {:.1})", m.cpu.median(), m.user.median(), m.system.median())),
        only(format!("± {:.0} %", m.cpu.spread() * 100.0)),
        m.calls.as_ref().map_or_else(|| "–".to_owned(), |calls| format!("{:.2}: {}", calls.all, calls.text())),
        format!("{:.0}", m.rate.median()),
        format!("{:.2}", m.p50.median()),
        format!("{:.2}", m.p99.median()),
        only(format!("{:.1}", m.memory / 1024.0)),
    ]
}

fn explain(section: &mut Section) {
    section.paragraph(&format!(
        "{CONNECTIONS} kept connections from wrk (one thread), {USERS} users in turn, six header fields beside `host`, one \
         worker thread per proxy, two origins in one nginx process, bodies of 128 bytes, no access logs. Proxies take \
         turns within a round; ratios are medians of the ratios within rounds."
    ));
    section.paragraph(&format!(
        "Before the rounds every proxy answered all {USERS} users twice: the same two bodies, about a tenth of the users \
         in the second arm, every user the same way both times. Which users are in that tenth depends on each proxy's \
         hash. Every proxy adds `x-request-id`, `x-forwarded-for`, `-proto`, `-host` and `traceparent` towards the origin \
         and `x-request-id` towards the client; nginx's `traceparent` has a constant span. The gateway does more than \
         the others: it tells the origin of app, environment, slot and release, counts every decision, and drops names \
         that clients must not set; in the row with flags it also decides 20 of them by five of the headers."
    ));
    section.paragraph(&format!(
        "System calls: `strace -c -f` over {} requests on connections that were served before. Under strace a proxy is \
         slower than its clients, so it finds more work per `epoll_wait` than it would otherwise; this is so for all.",
        system_calls::EACH * CONNECTIONS
    ));
}
