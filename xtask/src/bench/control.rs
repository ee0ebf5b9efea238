//! The control plane as it is run: durable writes, rollbacks to many edges, and what edges cost it.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Bench;
use super::report::Section;
use crate::process::{run_as_talk, timed};
use crate::workspace::Workspace;

/// Milliseconds until every edge decides by a change, by the numbers of edges and flags.
const PROPAGATED: [(u64, u64, f64); 4] = [(1, 20, 5.0), (1, 100, 5.0), (100, 100, 25.0), (1_000, 100, 150.0)];
/// Milliseconds of a durable, audited write.
const WRITTEN: [(&str, f64); 2] = [("SQLite", 2.0), ("PostgreSQL", 6.0)];
/// MiB of a control plane with its crowd of edges.
const MEMORY: f64 = 200.0;

pub(super) fn build(workspace: &Workspace) -> Result<()> {
    timed("bench: building the edges of the control plane", || {
        let example = ["build", "--locked", "--release", "--package", "tests", "--example", "control_plane"];
        run_as_talk(workspace.cargo().args(example))
    })
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let release = bench.workspace.target.join("release");
    let mut command = Command::new(release.join("examples/control_plane"));
    command.arg(release.join("bascule")).arg(bench.rounds.to_string());
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot start the edges")?;
    ensure!(output.status.success(), "the edges ended with {}", output.status);
    let measured: Value = serde_json::from_slice(&output.stdout).context("the edges wrote no JSON")?;
    section(&measured)
}

fn section(measured: &Value) -> Result<Section> {
    let mut section = Section::default();
    fleets(&mut section, measured)?;
    crowd(&mut section, measured)?;
    writes(&mut section, measured)?;
    let flags = &measured["flags"];
    section.paragraph(&format!(
        "The release binary, asked from outside, with an environment of {flags} flags, where nothing else is said, that have a rule and a split each. Rollbacks: from \
         the commit until the last edge's acknowledgement has arrived, as the answer of `POST …/rollback` says; an edge \
         acknowledges when all its workers decide by the snapshot. One edge is a real gateway with the wasm engine; the others \
         speak the same protocol over connections of their own and acknowledge at once, since a thousand gateways have \
         machines of their own. All share the processors of this one with the control plane. Writes: `PUT` of a flag's \
         targeting over a kept-alive connection, answered when change, audit entry and snapshot are durable; with one edge, a \
         real gateway that takes each snapshot. The first tenth is left out."
    ));
    Ok(section)
}

fn fleets(section: &mut Section, measured: &Value) -> Result<()> {
    let mut lines = Vec::new();
    for (edges, flags, target) in PROPAGATED {
        let fleet = find(measured, "fleets", |one| one["edges"] == edges && one["flags"] == flags)?;
        let times = Times::read(&fleet["ms"])?;
        section.judged(
            &format!("rollback, {flags} flags: commit → every one of {edges} edges decides by it, p99"),
            &format!("≤ {target:.0} ms"),
            format!("{:.1} ms (p50 {:.1})", times.at(0.99), times.at(0.5)),
            times.at(0.99) <= target,
        );
        lines.push(times.line(&format!("rollback, {edges} edges, {flags} flags")));
    }
    for one in measured["writes"].as_array().context("writes")? {
        let name = format!("write on {}, {} edges", one["store"].as_str().unwrap_or_default(), one["edges"]);
        lines.push(Times::read(&one["ms"])?.line(&name));
    }
    section.table(&["milliseconds", "count", "p50", "p90", "p99", "longest"], &lines);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^53")]
fn crowd(section: &mut Section, measured: &Value) -> Result<()> {
    let crowd = &measured["crowd"];
    let mib = |name: &str| Ok::<_, anyhow::Error>(crowd[name].as_u64().context("a size")? as f64 / 1024.0);
    let (before, with, after) = (mib("beforeKib")?, mib("withKib")?, mib("afterKib")?);
    section.judged(
        &format!("memory of a control plane with {} connected edges", crowd["edges"]),
        &format!("≤ {MEMORY:.0} MiB"),
        format!("{:.0} MiB ({before:.0} without, {after:.0} after three changes)", with.max(after)),
        with.max(after) <= MEMORY,
    );
    section.noted(
        &format!("rollback with {} edges, the longest of three", crowd["edges"]),
        format!("{:.0} ms", Times::read(&crowd["ms"])?.at(1.0)),
    );
    Ok(())
}

fn writes(section: &mut Section, measured: &Value) -> Result<()> {
    for (store, target) in WRITTEN {
        let of = |edges: u64| {
            Times::read(&find(measured, "writes", |one| one["store"] == store && one["edges"] == edges)?["ms"])
        };
        let (alone, followed) = (of(0)?, of(1)?);
        section.judged(
            &format!("durable, audited write on {store}, p50"),
            &format!("≤ {target:.0} ms"),
            format!("{:.2} ms (p99 {:.1})", alone.at(0.5), alone.at(0.99)),
            alone.at(0.5) <= target,
        );
        section.noted(
            &format!("the same on {store} while a gateway on this machine loads every snapshot, p50"),
            format!("{:.2} ms (p99 {:.1})", followed.at(0.5), followed.at(0.99)),
        );
    }
    Ok(())
}

fn find<'v>(measured: &'v Value, list: &str, is_it: impl Fn(&Value) -> bool) -> Result<&'v Value> {
    let list = measured[list].as_array().with_context(|| format!("no {list}"))?;
    list.iter().find(|one| is_it(one)).context("something was not measured")
}

/// Milliseconds in order.
struct Times(Vec<f64>);

impl Times {
    fn read(times: &Value) -> Result<Self> {
        let mut times: Vec<f64> = times.as_array().context("no times")?.iter().filter_map(Value::as_f64).collect();
        ensure!(!times.is_empty(), "nothing was measured");
        times.sort_by(f64::total_cmp);
        Ok(Self(times))
    }

    /// The smallest time that this share of them does not exceed.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place")]
    fn at(&self, share: f64) -> f64 {
        let place = (self.0.len() as f64 * share).ceil() as usize;
        self.0[place.clamp(1, self.0.len()) - 1]
    }

    fn line(&self, name: &str) -> Vec<String> {
        let figures = [0.5, 0.9, 0.99, 1.0].map(|share| format!("{:.2}", self.at(share)));
        [name.to_owned(), self.0.len().to_string()].into_iter().chain(figures).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Times, section};
    use crate::bench::report::shown;

    #[test]
    fn a_share_of_the_times_is_not_longer_than_its_quantile() {
        let times = Times::read(&json!((1..=200).rev().collect::<Vec<_>>())).unwrap();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| times.at(share).to_string()), ["1", "100", "198", "200"]);
        assert!(Times::read(&json!([])).is_err());
    }

    #[test]
    fn what_misses_its_target_says_so() {
        let fleets = [(1, 20), (1, 100), (100, 100), (1000, 100)];
        let fleets = fleets.map(|(edges, flags)| json!({"edges": edges, "flags": flags, "ms": [edges]}));
        let write = |store: &str, edges: u64| json!({"store": store, "edges": edges, "ms": [1.0, 2.5, 9.0]});
        let writes = [write("SQLite", 0), write("SQLite", 1), write("PostgreSQL", 0), write("PostgreSQL", 1)];
        let crowd = json!({"edges": 2000, "beforeKib": 20480, "withKib": 102_400, "afterKib": 112_640, "ms": [3.0]});
        let measured = json!({"flags": 100, "fleets": fleets, "writes": writes, "crowd": crowd});
        let text = shown(&section(&measured).unwrap());
        let judged = |what: &str| text.lines().find(|line| line.contains(what)).unwrap().to_owned();
        assert!(judged("every one of 1 edges").ends_with("met"), "{text}");
        assert!(judged("every one of 100 edges").ends_with("MISSED"), "{text}");
        assert!(
            judged("write on SQLite").ends_with("MISSED") && judged("write on PostgreSQL").ends_with("met"),
            "{text}"
        );
        assert!(judged("memory of a control plane").contains("110 MiB (20 without"), "{text}");
    }
}
