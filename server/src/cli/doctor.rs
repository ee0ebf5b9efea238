//! `bascule doctor`: what a gateway started here and now would do, and what is wrong with that.
//!
//! Looks only: it starts nothing, writes nothing and binds a listener for no longer than it takes
//! to see that it could.

use std::{
    fmt::Write as _,
    io::Write,
    net::{SocketAddr, TcpListener},
};

use serde::Serialize;

use super::{
    exit::{Exit, Outcome},
    output::Paint,
};
use crate::{
    config::{
        Config,
        flags::Flags,
        layers::{Effective, Origin, Problem},
    },
    gateway::tls,
    host::Module,
};

const EXAMPLES: &str = "\
Examples:
  bascule doctor --file bascule.yaml
  bascule doctor --config /etc/bascule.toml --json | jq .problems

Takes the flags of `bascule gateway`. Exit code 0 when a gateway would start, 2 when it would not.";

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
    /// One JSON document on stdout instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    ok: bool,
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
    let report = examine(args.flags.clone());
    let mut stdout = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut stdout, &report).map_err(std::io::Error::from)?;
        writeln!(stdout)?;
    } else {
        stdout.write_all(text(&report).as_bytes())?;
    }
    Ok(if report.ok { Exit::Ok } else { Exit::Usage })
}

fn examine(flags: Flags) -> Report {
    let layers = flags.layers();
    let resolved = layers.resolve();
    let mut report = Report { settings: resolved.effective.iter().map(setting).collect(), ..Report::default() };
    match Config::read(&layers) {
        Ok(config) => {
            report.warnings.extend(config.warnings.iter().map(remark));
            report.try_out(&config);
        }
        Err(error) => {
            report.problems.extend(error.problems.iter().map(remark));
            report.warnings.extend(resolved.warnings.iter().map(remark));
        }
    }
    report.ok = report.problems.is_empty();
    report
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
    /// What only shows when it is tried.
    fn try_out(&mut self, config: &Config) {
        self.try_files(config);
        self.try_module(config);
        for address in [config.listen, config.ops] {
            self.try_listener(address);
        }
        self.try_tls(config);
        if config.follow.is_none() && config.keys.is_derived() {
            let detail = "the bucketing key is derived from app and environment: clients can compute who lands in which \
                          cohort; set it before real traffic (openssl rand -hex 16)";
            self.warnings.push(Remark { origin: "BASCULE_BUCKETING_KEY".into(), detail: detail.into() });
        }
    }

    fn try_files(&mut self, config: &Config) {
        if config.files.is_empty() && config.follow.is_none() && config.state_dir.is_none() {
            let detail = "there is nothing to serve: name a bascule.yaml with --file, or a control plane with --admin"
                .to_owned();
            self.problems.push(Remark { origin: "file".into(), detail });
        }
        match super::check::problems(&config.files, &config.keys) {
            Ok(findings) => {
                let remark = |finding: edge_manifest::Finding| {
                    let origin = format!("{}:{}:{}", finding.file, finding.line, finding.column);
                    Remark { origin, detail: format!("[{}] {}", finding.code, finding.detail) }
                };
                self.problems.extend(findings.into_iter().map(remark));
            }
            Err(error) => self.problems.push(Remark { origin: "file".into(), detail: format!("{error:#}") }),
        }
    }

    fn try_module(&mut self, config: &Config) {
        if config.engine.native {
            self.engine = Some("native".into());
            return;
        }
        let module = match &config.engine.module {
            Some(path) => Module::from_file(path),
            None => Module::embedded(),
        };
        match module {
            Ok(module) => self.engine = Some(module.hash().to_owned()),
            Err(error) => {
                let detail = format!("{:#}", anyhow::Error::new(error));
                self.problems.push(Remark { origin: "engine.module".into(), detail });
            }
        }
    }

    fn try_tls(&mut self, config: &Config) {
        let server = config.tls.as_ref().map(|files| tls::server(&files.cert, &files.key).map(drop));
        let client = tls::client(config.upstream_ca.as_deref()).map(drop);
        let admin =
            config.follow.as_ref().and_then(|follow| follow.ca.as_deref()).map(|ca| tls::client(Some(ca)).map(drop));
        let tried = [
            ("tls.cert", server.unwrap_or(Ok(()))),
            ("tls.upstream_ca", client),
            ("admin_ca", admin.unwrap_or(Ok(()))),
        ];
        for (origin, tried) in tried {
            if let Err(error) = tried {
                let detail = format!("{:#}", anyhow::Error::new(error));
                self.problems.push(Remark { origin: origin.into(), detail });
            }
        }
    }

    fn try_listener(&mut self, address: SocketAddr) {
        if let Err(error) = TcpListener::bind(address) {
            // A gateway beside its successor is how one restarts, so this stops nobody.
            self.warnings.push(Remark { origin: address.to_string(), detail: format!("cannot listen now: {error}") });
        }
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
        0 => paint.good("a gateway would start"),
        1 => paint.error("1 problem: a gateway would not start"),
        count => paint.error(&format!("{count} problems: a gateway would not start")),
    };
    let _ = writeln!(text, "\n{verdict}");
    text
}
