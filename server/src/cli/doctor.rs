//! `bascule doctor`: what a process started here and now would do, and what is wrong with that.
//!
//! Looks only: it starts nothing, writes nothing and binds a listener for no longer than it takes
//! to see that it could. What only shows when it is tried is in [`tries`].

mod tries;

use std::{fmt::Write as _, io::Write};

use serde::Serialize;

use super::{
    exit::{Exit, Outcome},
    output::Paint,
};
use crate::config::{
    ConfigError,
    flags::{self, Flags},
    layers::{Effective, Layers, Origin, Problem},
};

const EXAMPLES: &str = "\
Examples:
  bascule doctor --file bascule.yaml
  bascule doctor --config /etc/bascule.toml --json | jq .problems
  bascule doctor admin --database postgres://bascule@db/bascule
  bascule doctor serve --state-dir /var/lib/bascule

Takes the flags of `bascule gateway`; after `admin` and `serve` those of these. Exit code 0 when the process would start,
2 when it would not.";

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    process: Option<Process>,
    #[command(flatten)]
    flags: Flags,
    /// One JSON document on stdout instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Process {
    /// The same for a control plane alone
    Admin(Of<flags::Admin>),
    /// The same for control plane and gateway in one process
    Serve(Of<flags::Serve>),
}

#[derive(Debug, clap::Args)]
struct Of<P: flags::Of> {
    #[command(flatten)]
    flags: Flags<P>,
    /// One JSON document on stdout instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    ok: bool,
    #[serde(skip)]
    process: &'static str,
    /// The engine hash of the module that would decide.
    engine: Option<String>,
    settings: Vec<Setting>,
    problems: Vec<Remark>,
    warnings: Vec<Remark>,
}

#[derive(Debug, Serialize)]
struct Setting {
    key: &'static str,
    value: String,
    origin: String,
    #[serde(skip)]
    is_default: bool,
}

/// Something to know, and where it comes from.
#[derive(Debug, Serialize)]
struct Remark {
    origin: String,
    detail: String,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (report, is_json) = examine(args);
    let mut stdout = std::io::stdout().lock();
    if is_json {
        serde_json::to_writer_pretty(&mut stdout, &report).map_err(std::io::Error::from)?;
        writeln!(stdout)?;
    } else {
        stdout.write_all(text(&report).as_bytes())?;
    }
    Ok(if report.ok { Exit::Ok } else { Exit::Usage })
}

fn examine(args: &Args) -> (Report, bool) {
    match &args.process {
        None => (Report::of(&args.flags.clone().layers(), "gateway", Report::try_gateway), args.json),
        Some(Process::Admin(Of { flags, json })) => {
            (Report::of(&flags.clone().layers(), "control plane", Report::try_admin), *json)
        }
        Some(Process::Serve(Of { flags, json })) => {
            (Report::of(&flags.clone().layers(), "control plane with its gateway", Report::try_serve), *json)
        }
    }
}

fn setting(effective: &Effective) -> Setting {
    Setting {
        key: effective.key,
        value: effective.shown(),
        origin: effective.origin.to_string(),
        is_default: effective.origin == Origin::Default,
    }
}

fn remark(problem: &Problem) -> Remark {
    let key = problem.key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
    Remark { origin: problem.origin.to_string(), detail: format!("{key}{}", problem.detail) }
}

impl Report {
    fn of(
        layers: &Layers,
        process: &'static str,
        tries: impl FnOnce(&mut Self, &Layers) -> Result<(), ConfigError>,
    ) -> Self {
        let resolved = layers.resolve();
        let settings = resolved.effective.iter().map(setting).collect();
        let warnings = resolved.warnings.iter().map(remark).collect();
        let mut report = Self { process, settings, warnings, ..Self::default() };
        if let Err(error) = tries(&mut report, layers) {
            report.problems.extend(error.problems.iter().map(remark));
        }
        report.ok = report.problems.is_empty();
        report
    }
}

fn text(report: &Report) -> String {
    let paint = Paint::stdout();
    let mut text = String::new();
    let width = |of: fn(&Setting) -> usize| report.settings.iter().map(of).max().unwrap_or_default().min(40);
    let (keys, values) = (width(|setting| setting.key.len()), width(|setting| setting.value.len()));
    // Writing to a String cannot fail.
    for setting in &report.settings {
        let line = format!("{:keys$}  {:values$}  {}", setting.key, setting.value, setting.origin);
        let line = if setting.is_default { paint.faint(&line) } else { paint.strong(&line) };
        let _ = writeln!(text, "{line}");
    }
    if let Some(engine) = &report.engine {
        let _ = writeln!(text, "\nengine {engine}");
    }
    for (remarks, word) in [(&report.problems, paint.error("problem")), (&report.warnings, paint.warning("warning"))] {
        for remark in remarks {
            let _ = writeln!(text, "\n{word}: {}\n  {}", remark.origin, remark.detail);
        }
    }
    let verdict = match report.problems.len() {
        0 => paint.good(&format!("a {} would start", report.process)),
        1 => paint.error(&format!("1 problem: a {} would not start", report.process)),
        count => paint.error(&format!("{count} problems: a {} would not start", report.process)),
    };
    let _ = writeln!(text, "\n{verdict}");
    text
}
