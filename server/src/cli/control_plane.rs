//! `bascule admin` and `bascule serve`: the control plane alone, and with a gateway in the same process.

use std::path::Path;

use admin::serve::{Admin, Settings};
use admin::store::Location;

use super::exit::{Exit, Failure, Outcome};
use super::output::Paint;
use crate::config::control::ControlConfig;
use crate::config::flags::{self, Flags};
use crate::config::{self, Config, ConfigError};
use crate::control_plane::{self, Error};
use crate::gateway::tls;
use crate::lifecycle::Stopped;
use crate::telemetry;

const SERVE_EXAMPLES: &str = "\
Examples:
  bascule serve                                     everything on this machine, state in ./bascule-state
  bascule serve --state-dir /var/lib/bascule --listen 0.0.0.0:80
  bascule apply bascule.yaml                        then, from another terminal

The first start prints a token once, unless BASCULE_BOOTSTRAP_ADMIN_TOKEN or BASCULE_BOOTSTRAP_ADMIN_TOKEN_FILE gives one
(`bascule token mint` makes one). `bascule doctor serve` takes the same flags and says what they come to.";

const ADMIN_EXAMPLES: &str = "\
Examples:
  bascule admin --listen 0.0.0.0:7400 --tls-cert chain.pem --tls-key key.pem
  BASCULE_DATABASE=postgres://bascule@db.example/bascule bascule admin

Gateways follow it with `bascule gateway --admin https://HOST:7400 --token-file FILE`. Several processes may share a
PostgreSQL database; they need the same BASCULE_SIGNING_KEY or BASCULE_SIGNING_KEY_FILE. `bascule doctor admin` takes the
same flags and says what they come to.";

/// Arguments of `admin`.
#[derive(Debug, clap::Args)]
#[command(after_help = ADMIN_EXAMPLES)]
pub(super) struct AdminArgs {
    #[command(flatten)]
    flags: Flags<flags::Admin>,
}

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    flags: Flags<flags::Serve>,
}

pub(super) fn admin(args: &AdminArgs) -> Outcome {
    let config = ControlConfig::read(&args.flags.clone().layers()).map_err(|error| wrong(&error, "admin"))?;
    telemetry::init(&config.telemetry)?;
    config::report(&config.effective, &config.warnings);
    finished(control_plane::run(settings(config)?, None, started))
}

pub(super) fn serve(args: &ServeArgs) -> Outcome {
    let layers = args.flags.clone().layers();
    let config = ControlConfig::read(&layers).map_err(|error| wrong(&error, "serve"))?;
    let mut gateway = Config::read(&layers).map_err(|error| wrong(&error, "serve"))?;
    if !gateway.files.is_empty() || gateway.follow.is_some() {
        let failure = Failure::new(Exit::Usage, "the gateway of serve follows the control plane beside it");
        let help = "leave --file and --admin out, and bring a file in by `bascule apply FILE`";
        return Err(failure.with_help(help.to_owned()).into());
    }
    telemetry::init(&config.telemetry)?;
    gateway.state_dir = Some(config.places.edge.clone());
    finished(control_plane::run(settings(config)?, Some(gateway), started))
}

fn wrong(error: &ConfigError, verb: &str) -> Failure {
    let help = format!("bascule doctor {verb} shows every setting and where it came from");
    Failure::new(Exit::Usage, error.to_string().trim_end()).with_help(help)
}

fn settings(config: ControlConfig) -> anyhow::Result<Settings> {
    if config.database == Location::Sqlite(config.places.database.clone()) {
        make(&config.places.database)?;
    }
    let tls = config.tls.map(|files| tls::server(&files.cert, &files.key)).transpose()?;
    Ok(Settings {
        listen: config.listen,
        database: config.database,
        state_dir: config.places.admin,
        signing_key: config.signing_key.map(|key| key.expose().to_owned()),
        bootstrap_token: config.bootstrap_token,
        tls,
        limits: config.limits,
        timeouts: config.timeouts,
        workers: config.workers,
        integrations: config.integrations,
    })
}

/// The folder of a file.
fn make(file: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| Failure::new(Exit::Usage, format!("cannot make {}: {error}", folder.display())).into())
}

/// The one moment in which the first token is shown. It goes to the terminal, not into the log.
fn started(admin: &Admin) {
    let paint = Paint::stderr();
    let Some(token) = &admin.first_token else { return };
    eprintln!("{} this token may do everything; it is shown only now:", paint.strong("first start:"));
    eprintln!("  {}", token.expose());
    eprintln!("  export BASCULE_URL=http://{} BASCULE_TOKEN=…", admin.address());
}

fn finished(outcome: Result<Stopped, Error>) -> Outcome {
    match outcome? {
        Stopped::Drained => Ok(Exit::Ok),
        Stopped::Cut => Err(Failure::new(Exit::Timeout, "the grace ended before all requests did").into()),
    }
}
