//! The environment that a verb works on: a file, and which of the environments in it.

use std::{
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use edge_engine::{AppName, BucketingKey, EnvironmentName, Problem, wire::SnapshotWire};
use edge_manifest::{self as manifest, Finding, Manifest};

use super::{
    exit::{Exit, Failure},
    output::Paint,
};
use crate::config::{
    flags::{Flags, Gateway},
    secret::{KeySource, Secret},
};

const KEY_SETTING: &str = "bucketing_key";
const KEY_VARIABLE: &str = "BASCULE_BUCKETING_KEY";

/// A file and an environment in it.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// A bascule.yaml or a snapshot document
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
    /// The environment; may be left out when the file has one
    #[arg(long, short, value_name = "NAME")]
    environment: Option<String>,
    /// The app; may be left out when the file has one
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
}

/// What was found there.
pub(super) struct Found {
    pub(super) wire: SnapshotWire,
    pub(super) key: BucketingKey,
    file: String,
    manifest: Option<Manifest>,
}

impl Target {
    /// Reads the file and picks the environment. Says on stderr when the key is no secret.
    pub(super) fn find(&self) -> anyhow::Result<Found> {
        let keys = keys()?;
        let text = read(&self.file)?;
        let file = self.file.display().to_string();
        let (wire, manifest) = match parse(&text, &file, &keys)? {
            Document::Snapshot(wire) => (self.accept(*wire)?, None),
            Document::Apps(manifests) => {
                let manifest = self.pick_app(manifests)?;
                let environment = self.pick_environment(&manifest)?;
                let now = edge_engine::format_rfc3339(super::now_ms());
                let wire = manifest.snapshot(&environment, 1, &now).context("the environment was just found")?;
                (wire, Some(manifest))
            }
        };
        if keys.is_derived() {
            let note = Paint::stderr().warning("note");
            eprintln!(
                "{note}: the bucketing key is derived from app and environment; set {KEY_VARIABLE} to the gateway's"
            );
        }
        let key = keys.key(wire.app.as_str(), wire.environment.as_str());
        Ok(Found { wire, key, file, manifest })
    }

    fn accept(&self, wire: SnapshotWire) -> anyhow::Result<SnapshotWire> {
        let other = |wanted: &Option<String>, has: &str| wanted.as_deref().is_some_and(|wanted| wanted != has);
        if other(&self.app, wire.app.as_str()) || other(&self.environment, wire.environment.as_str()) {
            let message = format!("the snapshot is of {}/{}", wire.app, wire.environment);
            return Err(Failure::new(Exit::NotFound, message).into());
        }
        Ok(wire)
    }

    fn pick_app(&self, manifests: Vec<Manifest>) -> anyhow::Result<Manifest> {
        let names: Vec<String> = manifests.iter().map(|manifest| manifest.app().to_string()).collect();
        let index = pick("app", self.app.as_deref(), &names)?;
        manifests.into_iter().nth(index).context("the index was just found")
    }

    fn pick_environment(&self, manifest: &Manifest) -> anyhow::Result<EnvironmentName> {
        let names: Vec<String> = manifest.environments().map(ToString::to_string).collect();
        let index = pick("environment", self.environment.as_deref(), &names)?;
        manifest.environments().nth(index).cloned().context("the index was just found")
    }
}

impl Found {
    /// The engine's problems as people read them, with places where the file has some.
    pub(super) fn explain(&self, problems: &[Problem]) -> anyhow::Error {
        match &self.manifest {
            Some(manifest) => refused(&manifest.locate(&self.wire.environment, problems)),
            None => refused(&in_snapshot(&self.file, problems)),
        }
    }

    /// Shows the file.
    pub(super) fn file(&self) -> &str {
        &self.file
    }
}

/// The bucketing keys as a gateway with the same environment would have them.
fn keys() -> anyhow::Result<KeySource> {
    let resolved = Flags::<Gateway>::default().layers().resolve();
    let about_key = |key: Option<&str>| key == Some(KEY_SETTING);
    if let Some(problem) = resolved.problems.iter().find(|problem| about_key(problem.key.as_deref())) {
        return Err(Failure::new(Exit::Usage, problem.to_string()).into());
    }
    let setting = resolved.effective.iter().find(|effective| effective.key == KEY_SETTING);
    let Some(text) = setting.and_then(|setting| setting.texts.first()) else { return Ok(KeySource::Derived) };
    KeySource::parse(&Secret::new(text.as_str())).map_err(|error| Failure::new(Exit::Usage, error.to_string()).into())
}

fn pick(what: &str, wanted: Option<&str>, names: &[String]) -> anyhow::Result<usize> {
    let listed = names.join(", ");
    match (wanted, names) {
        (None, [_]) => Ok(0),
        (None, []) => Err(Failure::new(Exit::NotFound, format!("the file has no {what}")).into()),
        (None, _) => {
            let message = format!("the file has several {what}s");
            Err(Failure::new(Exit::Usage, message).with_help(format!("add --{what} with one of {listed}")).into())
        }
        (Some(wanted), _) => names.iter().position(|name| name == wanted).ok_or_else(|| {
            let message = format!("the file has no {what} \"{wanted}\"");
            let names = names.iter().map(String::as_str);
            Failure::new(Exit::NotFound, message).with_help(manifest::did_you_mean(wanted, names)).into()
        }),
    }
}

/// What a file holds.
pub(super) enum Document {
    Apps(Vec<Manifest>),
    Snapshot(Box<SnapshotWire>),
}

/// Reads a document completely; problems are printed and become one error.
fn parse(text: &str, file: &str, keys: &KeySource) -> anyhow::Result<Document> {
    review(text, file, |app, environment| keys.key(app.as_str(), environment.as_str()))
        .map_err(|findings| refused(&findings))
}

/// Reads and checks a document of either kind.
pub(super) fn review(
    text: &str,
    file: &str,
    key: impl Fn(&AppName, &EnvironmentName) -> BucketingKey,
) -> Result<Document, Vec<Finding>> {
    // A snapshot is one JSON object; nobody begins a bascule.yaml with a brace.
    if !text.trim_start().starts_with('{') {
        return manifest::review(text, file, key).map(Document::Apps);
    }
    let wire = edge_engine::parse(text.as_bytes()).map_err(|problems| in_snapshot(file, &problems))?;
    let key = key(&wire.app, &wire.environment);
    match edge_engine::check(wire.clone(), &key) {
        Ok(_) => Ok(Document::Snapshot(Box::new(wire))),
        Err(problems) => Err(manifest::locate_json(text, file, &problems)),
    }
}

fn in_snapshot(file: &str, problems: &[Problem]) -> Vec<Finding> {
    manifest::locate_json("", file, problems)
}

fn refused(findings: &[Finding]) -> anyhow::Error {
    print(findings);
    let count = findings.len();
    let message = format!("{count} problem{}", if count == 1 { "" } else { "s" });
    Failure::new(Exit::Usage, message).into()
}

/// Prints findings as compilers do.
pub(super) fn print(findings: &[Finding]) {
    let paint = Paint::stderr();
    for finding in findings {
        let place = format!("{}:{}:{}", finding.file, finding.line, finding.column);
        let error = paint.error(&format!("error[{}]", finding.code));
        eprintln!("{}: {error}: {}", paint.strong(&place), finding.detail);
        if let Some(suggestion) = &finding.suggestion {
            eprintln!("  {}: {suggestion}", paint.help("help"));
        }
    }
}

/// The text of a file; `-` is stdin.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    let read = if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| {
        let exit = match error.kind() {
            ErrorKind::NotFound => Exit::NotFound,
            ErrorKind::InvalidData => Exit::Usage,
            _ => Exit::Unexpected,
        };
        Failure::new(exit, format!("cannot read {}: {error}", path.display())).into()
    })
}
