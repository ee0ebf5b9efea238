//! `bascule db`: the versions of the control plane's schema.

use std::io::Write;
use std::path::PathBuf;

use admin::store::migrate::{self, Direction, MigrationState, State, Step};
use admin::store::{Location, StoreError};
use anyhow::Context as _;
use clap::builder::{NonEmptyStringValueParser, TypedValueParser as _};
use serde_json::json;

use super::{
    exit::{Exit, Failure, Outcome},
    output::Paint,
};
use crate::config::control::ControlConfig;
use crate::config::flags::{self, Flags};
use crate::config::layers::{Layers, Origin};
use crate::config::secret::Secret;

const EXAMPLES: &str = "\
Examples:
  bascule db status --database /var/lib/bascule/bascule.db
  BASCULE_DATABASE=postgres://bascule@db/bascule bascule db up
  bascule db down --to 3 --dry-run

The control plane brings the schema up when it starts. `down` takes tables away, with all that is in them: make a copy
of the database first, and stop the control plane. Exit code 3 when there is no database, 4 when another process has it
open or a newer bascule made it, 7 when it does not answer.";

/// Arguments of `db`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show which migrations are applied.
    #[command(after_help = EXAMPLES)]
    Status(Place),
    /// Apply migrations, to the newest or to a version.
    #[command(after_help = EXAMPLES)]
    Up(Up),
    /// Take migrations back, to a version.
    #[command(after_help = EXAMPLES)]
    Down(Down),
}

#[derive(Debug, clap::Args)]
struct Place {
    /// A path, sqlite:PATH or <postgres://USER@HOST/NAME>; bascule.db in the state directory when not given
    // Taken as it is: an error of clap would quote it, and it may hold a password.
    #[arg(long, value_name = "LOCATION")]
    #[arg(value_parser = NonEmptyStringValueParser::new().map(Secret::new))]
    database: Option<Secret>,
    /// Where the control plane keeps what it has to remember
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// TOML file with the settings of `bascule admin`; also `BASCULE_CONFIG`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON document on stdout instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Up {
    #[command(flatten)]
    place: Place,
    /// The version to stop at
    #[arg(long, value_name = "VERSION")]
    to: Option<i64>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct Down {
    #[command(flatten)]
    place: Place,
    /// The version that is the newest afterwards; 0 takes everything away
    #[arg(long, value_name = "VERSION")]
    to: i64,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    match &args.verb {
        Verb::Status(place) => {
            let location = place.location()?;
            let states = runtime.block_on(migrate::status(&location)).map_err(failure)?;
            show_states(place.json, &location, &states)
        }
        Verb::Up(Up { place, to, dry_run }) => {
            let location = place.location()?;
            known(&location, to.unwrap_or_default())?;
            let steps = runtime.block_on(migrate::up(&location, *to, *dry_run)).map_err(failure)?;
            show_steps(place.json, &location, *dry_run, &steps)
        }
        Verb::Down(Down { place, to, dry_run }) => {
            let location = place.location()?;
            known(&location, *to)?;
            if matches!(&location, Location::Sqlite(path) if !path.exists()) {
                return Err(Failure::new(Exit::NotFound, format!("there is no database {location}")).into());
            }
            let steps = runtime.block_on(migrate::down(&location, *to, *dry_run)).map_err(failure)?;
            show_steps(place.json, &location, *dry_run, &steps)
        }
    }
}

impl Place {
    /// Where `bascule admin` with the same flags, variables and file would have its store.
    fn location(&self) -> anyhow::Result<Location> {
        let mut layers = Layers { file: self.config.clone(), ..Flags::<flags::Admin>::default().layers() };
        let database = self.database.as_ref().map(|database| database.expose().to_owned());
        let state_dir = self.state_dir.as_ref().map(|folder| folder.display().to_string());
        let given = [("database", database), ("state-dir", state_dir)];
        layers.flags.extend(given.into_iter().filter_map(|(flag, text)| Some((flag.to_owned(), vec![text?]))));
        let config = ControlConfig::read(&layers)
            .map_err(|error| Failure::new(Exit::Usage, error.to_string().trim_end().to_owned()))?;
        let is_named =
            |key| config.effective.iter().any(|setting| setting.key == key && setting.origin != Origin::Default);
        if is_named("database") || is_named("state_dir") {
            return Ok(config.database);
        }
        let help = "name it with --database or BASCULE_DATABASE, or its folder with --state-dir".to_owned();
        Err(Failure::new(Exit::Usage, "which database?").with_help(help).into())
    }
}

/// A version that there is; 0 is before the first.
fn known(location: &Location, version: i64) -> anyhow::Result<()> {
    let newest = migrate::newest(location);
    if (0..=newest).contains(&version) {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, format!("there is no version {version}: this binary knows 0 to {newest}")).into())
}

/// The error with the exit code that belongs to it.
fn failure(error: StoreError) -> anyhow::Error {
    let exit = match &error {
        StoreError::Locked { .. } | StoreError::Migration { source: None, .. } => Exit::Conflict,
        StoreError::Unavailable(_) | StoreError::Busy => Exit::Unreachable,
        _ => Exit::Unexpected,
    };
    let help = match &error {
        StoreError::Locked { .. } => Some("stop the control plane first".to_owned()),
        _ => None,
    };
    Failure::new(exit, format!("{:#}", anyhow::Error::new(error))).with_help(help).into()
}

fn show_states(is_json: bool, location: &Location, states: &[MigrationState]) -> Outcome {
    if is_json {
        return print(&json!({ "database": location.to_string(), "migrations": states }));
    }
    let paint = Paint::stdout();
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", paint.faint("version  name          state"))?;
    for MigrationState { version, name, state } in states {
        let state = match state {
            State::Applied => paint.good("applied"),
            State::Pending => paint.warning("pending"),
            State::Changed => paint.error("applied with another text"),
            State::Unknown => paint.error("applied by a newer bascule"),
        };
        writeln!(stdout, "{version:>7}  {name:<12}  {state}")?;
    }
    Ok(Exit::Ok)
}

fn show_steps(is_json: bool, location: &Location, dry_run: bool, steps: &[Step]) -> Outcome {
    if is_json {
        return print(&json!({ "database": location.to_string(), "dryRun": dry_run, "steps": steps }));
    }
    let paint = Paint::stdout();
    let mut stdout = std::io::stdout().lock();
    if steps.is_empty() {
        writeln!(stdout, "{}", paint.good("nothing to do"))?;
    }
    for Step { version, name, direction } in steps {
        let done = match (direction, dry_run) {
            (Direction::Up, false) => "applied",
            (Direction::Up, true) => "would be applied",
            (Direction::Down, false) => "taken back",
            (Direction::Down, true) => "would be taken back",
        };
        writeln!(stdout, "{version:>7}  {name:<12}  {done}")?;
    }
    Ok(Exit::Ok)
}

fn print(document: &serde_json::Value) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, document).map_err(std::io::Error::from)?;
    writeln!(stdout)?;
    Ok(Exit::Ok)
}
