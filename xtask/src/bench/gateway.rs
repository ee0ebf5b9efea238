//! The gateway beside other proxies: CPU per request first, then requests per second, latency and system calls.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::client::Client;
use super::figures::Figures;
use super::load::{self, CONNECTIONS, USERS, Wrk};
use super::report::Section;
use super::stage::{self, Peer, Running, Stage};
use super::{Bench, processes};
use crate::process::{run_as_talk, say};

/// Seconds of wrk before the first round: pools fill, caches warm.
const WARM_UP: u64 = 1;
/// Requests on each connection while system calls are counted.
const TRACED: usize = 60;
/// Requests per second of the open loop.
const OPEN_RATE: f64 = 1000.0;
/// How far a tenth of 1 000 users may be from 100: over six standard deviations of a fair hash.
const SHARE: std::ops::RangeInclusive<usize> = 40..=160;

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
    calls: Option<f64>,
    memory: f64,
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let stage = bench.stage()?;
    let proxies = proxies(&stage)?;
    preflight(&proxies)?;
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
        measured.calls = Some(system_calls(&stage, running)?);
        measured.memory = processes::memory(running.process())?.0;
    }
    let mut section = Section::default();
    judge(&all, &measured, &mut section)?;
    explain(&all, &measured, &mut section);
    Ok(section)
}

fn proxies(stage: &Stage) -> Result<Vec<Running>> {
    let mut peers = vec![Peer::Nginx, Peer::HaProxy, Peer::Wasm, Peer::Native];
    if stage.has_pingora() {
        peers.push(Peer::Pingora);
    }
    peers.into_iter().map(|peer| stage.start(peer)).collect()
}

/// The same bodies, the same two arms, the same users for all; a tenth of them, and each always the same way.
fn preflight(proxies: &[Running]) -> Result<()> {
    let [blue, green] = stage::bodies();
    for proxy in proxies {
        let name = proxy.peer.name();
        let arms = |client: &mut Client| -> Result<Vec<bool>> {
            (0..USERS)
                .map(|user| {
                    let answer = client.ask(user)?;
                    ensure!(answer.status == 200, "{name} answered {}", answer.status);
                    match answer.body {
                        body if body == green => Ok(true),
                        body if body == blue => Ok(false),
                        body => bail!("{name} answered neither body: {}", String::from_utf8_lossy(&body)),
                    }
                })
                .collect()
        };
        let first = arms(&mut Client::connect(proxy.address)?)?;
        let again = arms(&mut Client::connect(proxy.address)?)?;
        let users = first.iter().filter(|green| **green).count();
        ensure!(first == again, "{name} sent some users another way the second time");
        ensure!(SHARE.contains(&users), "{name} sent {users} of {USERS} users to the second origin");
        say(format_args!("preflight: {name}: {users} of {USERS} users to the second origin, all of them twice"));
    }
    Ok(())
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

/// System calls per request, of all threads, over a fixed number of requests.
fn system_calls(stage: &Stage, running: &Running) -> Result<f64> {
    let summary = stage.folder.join("strace.txt");
    let mut strace = Command::new("strace");
    strace.args(["-c", "-f", "-U", "calls,name", "-p", &running.process().to_string(), "-o"]).arg(&summary);
    let mut strace = strace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot start strace")?;
    // It says on stderr that it is attached; before that, calls would not be counted.
    let mut talk = BufReader::new(strace.stderr.take().context("stderr is piped")?).lines();
    let attached = talk.any(|line| line.is_ok_and(|line| line.contains("attached")));
    let requests =
        if attached { load::fixed(running.address, TRACED) } else { Err(anyhow::anyhow!("strace did not attach")) };
    run_as_talk(Command::new("kill").args(["-INT", &strace.id().to_string()]))?;
    strace.wait()?;
    let text = std::fs::read_to_string(&summary)?;
    let calls = total_calls(&text).with_context(|| format!("strace wrote:\n{text}"))?;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand requests")]
    Ok(calls / requests? as f64)
}

fn total_calls(summary: &str) -> Option<f64> {
    summary.lines().find_map(|line| line.trim().strip_suffix("total")?.trim().parse().ok())
}

fn judge(all: &[&Running], measured: &[Measured], section: &mut Section) -> Result<()> {
    let of = |peer: Peer| {
        let found = all.iter().zip(measured).find(|(running, _)| running.peer == peer);
        found.map(|(_, measured)| measured).with_context(|| format!("{} was not measured", peer.name()))
    };
    let (nginx, wasm, native) = (of(Peer::Nginx)?, of(Peer::Wasm)?, of(Peer::Native)?);
    let ratio = wasm.cpu.ratio_to(&nginx.cpu);
    let figures = format!("{ratio:.2} × ({:.1} µs to {:.1} µs)", wasm.cpu.median(), nginx.cpu.median());
    section.judged("CPU per proxied keep-alive request, wasm engine, beside nginx", "≤ 1.10 ×", figures, ratio <= 1.10);
    let haproxy = wasm.cpu.ratio_to(&of(Peer::HaProxy)?.cpu);
    section.noted("the same beside HAProxy", format!("{haproxy:.2} ×"));
    if let Ok(pingora) = of(Peer::Pingora) {
        section.noted("the same beside Pingora", format!("{:.2} ×", wasm.cpu.ratio_to(&pingora.cpu)));
    }
    let cost = (wasm.cpu.ratio_to(&native.cpu) - 1.0) * 100.0;
    section.judged(
        "what wasm costs instead of native, CPU per request",
        "≤ 1.5 %",
        format!("{cost:+.1} %"),
        cost <= 1.5,
    );
    section
        .noted("requests per second, wasm engine, beside nginx", format!("{:.2} ×", wasm.rate.ratio_to(&nginx.rate)));
    if let Some(calls) = wasm.calls {
        section.judged("system calls per request", "≤ 4 and what polling adds", format!("{calls:.2}"), calls <= 5.0);
    }
    Ok(())
}

fn explain(all: &[&Running], measured: &[Measured], section: &mut Section) {
    let lines: Vec<_> = all
        .iter()
        .zip(measured)
        .map(|(running, m)| {
            let proxy = running.peer != Peer::Origin;
            let only = |text: String| if proxy { text } else { "–".to_owned() };
            vec![
                running.peer.name().to_owned(),
                only(format!("{:.1} ({:.1} + {:.1})", m.cpu.median(), m.user.median(), m.system.median())),
                format!("± {:.0} %", m.cpu.spread() * 100.0),
                format!("{:.0}", m.rate.median()),
                format!("{:.2}", m.p50.median()),
                format!("{:.2}", m.p99.median()),
                m.calls.map_or_else(|| "–".to_owned(), |calls| format!("{calls:.2}")),
                only(format!("{:.1}", m.memory / 1024.0)),
                format!("{:.0}", m.errors),
            ]
        })
        .collect();
    let head = [
        "proxy",
        "CPU µs per request (user + system)",
        "spread",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "system calls per request",
        "memory MiB",
        "errors",
    ];
    section.table(&head, &lines);
    section.paragraph(&format!(
        "{CONNECTIONS} kept connections from wrk (one thread), {USERS} users in turn, one worker thread per proxy, two \
         origins in one nginx process, bodies of 128 bytes. Before the rounds every proxy answered all {USERS} users \
         twice: the same two bodies, about a tenth in the second arm, every user the same way both times. Which \
         users are in that tenth depends on each proxy's hash. Proxies take turns within a round; ratios are medians \
         of the ratios within rounds. System calls: `strace -c -f` over {} requests.",
        TRACED * CONNECTIONS
    ));
}

/// Latency that a proxy adds at a rate that keeps nobody busy.
pub(super) fn latency(bench: &Bench) -> Result<Section> {
    let stage = bench.stage()?;
    let proxies = proxies(&stage)?;
    preflight(&proxies)?;
    let mut direct = Figures::default();
    let mut added: Vec<Figures> = proxies.iter().map(|_| Figures::default()).collect();
    #[expect(clippy::cast_precision_loss, reason = "some seconds")]
    let seconds = bench.seconds as f64;
    for round in 1..=bench.rounds {
        say(format_args!("latency: round {round} of {}", bench.rounds));
        let floor = load::open_loop(stage.origin().address, OPEN_RATE, seconds)?;
        direct.push(floor);
        for (proxy, added) in proxies.iter().zip(&mut added) {
            added.push(load::open_loop(proxy.address, OPEN_RATE, seconds)? - floor);
        }
    }
    let of = |peer: Peer| proxies.iter().zip(&added).find(|(proxy, _)| proxy.peer == peer).map(|(_, added)| added);
    let mut section = Section::default();
    if let (Some(wasm), Some(haproxy)) = (of(Peer::Wasm), of(Peer::HaProxy)) {
        let ratio = wasm.median() / haproxy.median();
        let figures = format!("{ratio:.2} × (+{:.0} µs to +{:.0} µs)", wasm.median(), haproxy.median());
        section.judged("added latency at 1 000 requests/s, p50, beside HAProxy", "≤ 1.2 ×", figures, ratio <= 1.2);
    }
    let lines: Vec<_> = proxies
        .iter()
        .zip(&added)
        .map(|(proxy, added)| {
            let figures = [format!("+{:.0}", added.median()), format!("± {:.0} %", added.spread() * 100.0)];
            std::iter::once(proxy.peer.name().to_owned()).chain(figures).collect()
        })
        .collect();
    section.table(&["proxy", "added p50 µs", "spread"], &lines);
    section.paragraph(&format!(
        "Open loop: {OPEN_RATE:.0} requests a second are sent on 16 connections when they are due; straight to the origin \
         the median is {:.0} µs.",
        direct.median()
    ));
    Ok(section)
}

#[cfg(test)]
mod tests {
    use super::total_calls;

    #[test]
    fn the_total_of_straces_summary_is_read() {
        let text = "    calls syscall\n--------- ----------------\n     1200 recvfrom\n      120 epoll_wait\n--------- ----------------\n     1320 total\n";
        assert_eq!(total_calls(text), Some(1320.0));
    }
}
