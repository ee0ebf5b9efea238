//! The engine alone: native, through the module, and Yggdrasil on the same decision.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Bench;
use super::figures::Figures;
use super::report::Section;
use crate::module;
use crate::process::{capture, run_as_talk, say, timed};
use crate::workspace::Workspace;

pub(super) fn build(workspace: &Workspace) -> Result<()> {
    timed("bench: building the engine's timer", || {
        let example = ["build", "--locked", "--release", "--package", "server", "--example", "engine_times"];
        run_as_talk(workspace.cargo().args(example))
    })?;
    timed("bench: building Yggdrasil", || build_peer(workspace, "yggdrasil"))
}

/// Builds a package of the peers' workspace; its program is then in [`peers`].
pub(super) fn build_peer(workspace: &Workspace, name: &str) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.current_dir(workspace.root.join("xtask/peers")).args(["build", "--locked", "--release", "--package", name]);
    run_as_talk(cargo.arg("--target-dir").arg(workspace.target.join("peers")))
}

/// Where the peers' programs are.
pub(super) fn peers(workspace: &Workspace) -> std::path::PathBuf {
    workspace.target.join("peers/release")
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let mut figures: BTreeMap<String, Figures> = BTreeMap::new();
    let ours = bench.workspace.target.join("release/examples/engine_times");
    let yggdrasil = peers(&bench.workspace).join("yggdrasil");
    for round in 1..=bench.rounds {
        say(format_args!("engine: round {round} of {}", bench.rounds));
        for command in [Command::new(&ours).arg(&bench.folder), &mut Command::new(&yggdrasil)] {
            collect(&capture(command)?, &mut figures)?;
        }
    }
    let mut section = Section::default();
    judge(&figures, &mut section)?;
    size(&bench.workspace, &mut section)?;
    explain(&figures, &mut section);
    Ok(section)
}

fn collect(text: &str, figures: &mut BTreeMap<String, Figures>) -> Result<()> {
    for line in text.lines() {
        let (name, value) = line.split_once(' ').context("a line is `NAME VALUE`")?;
        figures.entry(name.to_owned()).or_default().push(value.parse()?);
    }
    Ok(())
}

fn judge(figures: &BTreeMap<String, Figures>, section: &mut Section) -> Result<()> {
    let figure = |name: &str| figures.get(name).with_context(|| format!("nobody measured {name}"));
    let median = |name: &str| figure(name).map(Figures::median);
    let ratio = figure("flag_by_key_native_ns")?.ratio_to(figure("yggdrasil_flag")?);
    let ns = median("flag_by_key_native_ns")?;
    section.judged(
        "one flag decision by key, 100 flags, native",
        "≤ 45 ns",
        format!("{ns:.1} ns; {ratio:.2} × Yggdrasil ({:.1} ns)", median("yggdrasil_flag")?),
        ns <= 45.0,
    );
    let (ns, ratio) = (median("flag_wasm_ns")?, figure("flag_wasm_ns")?.ratio_to(figure("yggdrasil_flag")?));
    section.judged(
        "one forwarded flag of 100 through the module: encoding, both copies, the choice of a single release, decoding",
        "≤ 130 ns",
        format!("{ns:.1} ns; {ratio:.2} × Yggdrasil native"),
        ns <= 130.0,
    );
    section.noted("the same call on the native engine", format!("{:.1} ns", median("flag_native_ns")?));
    section.noted(
        "the same through the module with no flag to decide: what the flag adds is the difference",
        format!("{:.1} ns", median("no_flag_wasm_ns")?),
    );
    let mut bounded = |what: &str, name: &str, limit: f64| -> Result<()> {
        let ns = median(name)?;
        section.judged(what, &format!("≤ {limit:.0} ns"), format!("{ns:.0} ns"), ns <= limit);
        Ok(())
    };
    bounded("route decision, 20 forwarded flags, 6 headers, native", "route_native_ns", 300.0)?;
    bounded("route decision, 20 forwarded flags, 6 headers, wasm", "route_wasm_ns", 1000.0)?;
    for engine in ["native", "wasm"] {
        let many = figure(&format!("route_10000_{engine}_ns"))?;
        let change = (many.ratio_to(figure(&format!("route_{engine}_ns"))?) - 1.0) * 100.0;
        let what = format!("the same with 10 000 flags in the snapshot, {engine}");
        section.judged(&what, "± 10 %", format!("{change:+.1} %"), change.abs() <= 10.0);
    }
    let mut allocations = Vec::new();
    for (name, figures) in figures.iter().filter(|(name, _)| name.ends_with("_allocations")) {
        allocations.push((name, figures.median()));
    }
    let none = allocations.iter().all(|(_, count)| *count == 0.0);
    let most = allocations.iter().map(|(_, count)| *count).fold(0.0, f64::max);
    section.judged("allocations per decision, native and wasm (host side)", "0", format!("{most}"), none);
    let load = median("load_10000_both_ms")?;
    section.judged(
        "load of a 10 000-flag snapshot: parse, check, and the module's trial load",
        "≤ 50 ms",
        format!(
            "{load:.1} ms (native {:.1}, one more instance {:.1})",
            median("load_10000_native_ms")?,
            median("load_10000_module_ms")?
        ),
        load <= 50.0,
    );
    Ok(())
}

fn size(workspace: &Workspace, section: &mut Section) -> Result<()> {
    #[expect(clippy::cast_precision_loss, reason = "a module has far fewer than 2^52 bytes")]
    let kibibytes = |path: &Path| -> Result<f64> { Ok(path.metadata()?.len() as f64 / 1024.0) };
    let wasm = kibibytes(&module::placed(workspace))?;
    section.judged("`.wasm`", "≤ 200 KiB", format!("{wasm:.1} KiB"), wasm <= 200.0);
    Ok(())
}

fn explain(figures: &BTreeMap<String, Figures>, section: &mut Section) {
    let lines: Vec<_> = figures
        .iter()
        .map(|(name, figures)| {
            vec![
                format!("`{name}`"),
                format!("{:.2}", figures.median()),
                format!("± {:.0} %", figures.spread() * 100.0),
            ]
        })
        .collect();
    section.table(&["figure", "median", "spread of the rounds"], &lines);
    section.paragraph(
        "`flag_by_key`: the flag is looked up by its key and decided, with the context ready, as flag libraries are \
         measured; Yggdrasil's `is_enabled` does the same work on the same rule (`country in (US, DE, FR)`, a sticky 10 %). \
         `flag`, `no_flag`, `route`, `route_10000`: what the gateway calls per request, `Decider::decide`, which also \
         chooses the release and has no form for a flag alone; through the module it includes the encoding of the \
         request, the copy in, the call, the copy out and the decoding. `route` has two releases with a 10 % split, 20 \
         forwarded flags with a rule and a 10 % split each, and six headers: five for the rules, and the cookie with the \
         unit. Allocations are the host's; the module's own memory is not looked into. A round's figure is the median of \
         21 batches of at least 5 ms.",
    );
}
