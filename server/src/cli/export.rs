//! `bascule export`: an app as a file; applying it changes nothing.

use std::{io::Write as _, path::PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::{
    exit::{Exit, Outcome},
    plane::{AppName, Connection},
};

const EXAMPLES: &str = "\
Examples:
  bascule export web > bascule.yaml
  bascule export web --output bascule.yaml && git diff --exit-code bascule.yaml";

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The app; by default --app, or the only one
    #[arg(value_name = "APP")]
    name: Option<String>,
    /// Where to write; stdout by default
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    app: AppName,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> Outcome {
    args.connection.run(async |session| {
        let app = match &args.name {
            Some(name) => name.clone(),
            None => session.app(&args.app).await?,
        };
        let exported = session.client.export(&app).await?;
        if let Some(path) = &args.output {
            let written = std::fs::write(path, &exported.body);
            written.with_context(|| format!("cannot write {}", path.display()))?;
            eprintln!("wrote {app} to {}", path.display());
        } else if session.json {
            session.say(&json!({"app": app, "yaml": String::from_utf8_lossy(&exported.body)}), String::new)?;
        } else {
            std::io::stdout().lock().write_all(&exported.body)?;
        }
        Ok(Exit::Ok)
    })
}
