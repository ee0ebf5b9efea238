//! `bascule check`: every problem of every file, before anything runs from it.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use edge_manifest::{self as manifest, Finding, Manifest};
use serde::Serialize;

use super::{
    exit::{Exit, Outcome},
    output::Paint,
    target::{self, Document},
};
use crate::config::secret::KeySource;

const EXAMPLES: &str = "\
Examples:
  bascule check bascule.yaml
  bascule check deploy/ --json | jq .problems
  generate-flags | bascule check -

Exit code 0 when every file is sound, 2 when there are problems, 3 when a file is missing.";

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Files, folders with *.yaml, *.yml and *.json, or - for stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON document on stdout instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    apps: Vec<Summary>,
    problems: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Summary {
    file: String,
    app: String,
    environments: Vec<String>,
}

pub(super) fn run(args: &Args) -> Outcome {
    // Which key it is changes no problem, so the secret is not asked for.
    let report = check(&expand(&args.files)?, &KeySource::Derived)?;
    let mut stdout = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut stdout, &report).map_err(std::io::Error::from)?;
        writeln!(stdout)?;
    } else {
        target::print(&report.problems);
        let paint = Paint::stdout();
        for app in &report.apps {
            let environments = app.environments.join(", ");
            writeln!(stdout, "{} {}: {} ({environments})", paint.good("ok"), app.file, app.app)?;
        }
    }
    Ok(if report.ok { Exit::Ok } else { Exit::Usage })
}

/// The problems of files and folders as a gateway would find them.
pub(super) fn problems(files: &[PathBuf], keys: &KeySource) -> anyhow::Result<Vec<Finding>> {
    Ok(check(&expand(files)?, keys)?.problems)
}

fn check(files: &[PathBuf], keys: &KeySource) -> anyhow::Result<Report> {
    let mut report = Report { ok: true, apps: Vec::new(), problems: Vec::new() };
    let mut manifests = Vec::new();
    for path in files {
        let text = target::read(path)?;
        let name = path.display().to_string();
        match target::review(&text, &name, |app, environment| keys.key(app.as_str(), environment.as_str())) {
            Ok(Document::Apps(apps)) => {
                report.apps.extend(apps.iter().map(summary));
                manifests.extend(apps);
            }
            Ok(Document::Snapshot(wire)) => {
                let environments = vec![wire.environment.to_string()];
                report.apps.push(Summary { file: name, app: wire.app.to_string(), environments });
            }
            Err(findings) => report.problems.extend(findings),
        }
    }
    report.problems.extend(manifest::conflicts(&manifests));
    report.ok = report.problems.is_empty();
    Ok(report)
}

fn summary(manifest: &Manifest) -> Summary {
    Summary {
        file: manifest.file().to_owned(),
        app: manifest.app().to_string(),
        environments: manifest.environments().map(ToString::to_string).collect(),
    }
}

/// Folders become the files in them, in the order of their names.
pub(super) fn expand(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        found.retain(|path| is_ours(path));
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

fn is_ours(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json")) && path.is_file()
}
