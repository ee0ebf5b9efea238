//! `bascule admin` and `bascule serve`: the control plane alone, and with a gateway in the same process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use admin::serve::{Admin, Settings};
use admin::store::Location;
use admin::token::TokenText;

use super::exit::{Exit, Failure, Outcome};
use super::output::Paint;
use crate::config::{Config, flags::Flags};
use crate::control_plane::{self, Error, Places};
use crate::gateway::tls;
use crate::lifecycle::Stopped;
use crate::telemetry::{self, Format};

const SERVE_EXAMPLES: &str = "\
Examples:
  bascule serve                                     everything on this machine, state in ./bascule-state
  bascule serve --state-dir /var/lib/bascule --listen 0.0.0.0:80
  bascule apply bascule.yaml                        then, from another terminal

The first start prints a token once, unless BASCULE_BOOTSTRAP_ADMIN_TOKEN or BASCULE_BOOTSTRAP_ADMIN_TOKEN_FILE gives one
(`bascule token mint` makes one). The flags of the gateway are those of `bascule gateway`.";

const ADMIN_EXAMPLES: &str = "\
Examples:
  bascule admin --listen 0.0.0.0:7400 --tls-cert chain.pem --tls-key key.pem
  BASCULE_DATABASE=postgres://bascule@db.example/bascule bascule admin

Gateways follow it with `bascule gateway --admin https://HOST:7400 --token-file FILE`. Several processes may share a
PostgreSQL database; they need the same BASCULE_SIGNING_KEY or BASCULE_SIGNING_KEY_FILE.";

/// Where a control plane keeps what it knows.
#[derive(Debug, clap::Args)]
struct Store {
    /// SQLite file or postgres://… URL; by default bascule.db in the state directory
    #[arg(long, value_name = "DATABASE", env = "BASCULE_DATABASE", hide_env_values = true)]
    database: Option<String>,
}

/// Arguments of `admin`.
#[derive(Debug, clap::Args)]
#[command(after_help = ADMIN_EXAMPLES)]
pub(super) struct AdminArgs {
    #[command(flatten)]
    store: Store,
    /// Where the API listens
    #[arg(long, value_name = "ADDR", env = "BASCULE_ADMIN_LISTEN", default_value = "127.0.0.1:7400")]
    listen: SocketAddr,
    /// Where the database and the signing key are kept
    #[arg(long, value_name = "DIR", env = "BASCULE_STATE_DIR", default_value = "bascule-state")]
    state_dir: PathBuf,
    /// PEM file with the certificate chain; with it the API speaks TLS
    #[arg(long, value_name = "FILE", env = "BASCULE_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the private key
    #[arg(long, value_name = "FILE", env = "BASCULE_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// error, warn, info, debug or trace, or directives
    #[arg(long, value_name = "VALUE", env = "BASCULE_LOG_LEVEL", default_value = "info")]
    log_level: String,
    /// How records look
    #[arg(long, value_name = "VALUE", env = "BASCULE_LOG_FORMAT", default_value = "auto", value_parser = ["auto", "json", "pretty"])]
    log_format: String,
}

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    store: Store,
    /// Where the API listens
    #[arg(long, value_name = "ADDR", env = "BASCULE_ADMIN_LISTEN", default_value = "127.0.0.1:7400")]
    admin_listen: SocketAddr,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn admin(args: &AdminArgs) -> Outcome {
    let format = match args.log_format.as_str() {
        "json" => Format::Json,
        "pretty" => Format::Pretty,
        _ => Format::Auto,
    };
    let environment = std::env::var("BASCULE_ENVIRONMENT").unwrap_or_else(|_| "production".to_owned());
    telemetry::init(&telemetry::Settings { filter: args.log_level.clone(), format, environment })?;
    let places = Places::below(&args.state_dir);
    let mut settings = settings(args.listen, args.store.database.as_deref(), &places)?;
    if let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) {
        settings.tls = Some(tls::server(cert, key)?);
    }
    finished(control_plane::run(settings, None, started))
}

pub(super) fn serve(args: &ServeArgs) -> Outcome {
    let mut config = Config::read(&args.flags.clone().layers())
        .map_err(|error| Failure::new(Exit::Usage, error.to_string().trim_end().to_owned()))?;
    if !config.files.is_empty() || config.follow.is_some() {
        let failure = Failure::new(Exit::Usage, "the gateway of serve follows the control plane beside it");
        let help = "leave --file and --admin out, and bring a file in by `bascule apply FILE`";
        return Err(failure.with_help(help.to_owned()).into());
    }
    telemetry::init(&config.telemetry)?;
    let folder = config.state_dir.take().unwrap_or_else(|| PathBuf::from("bascule-state"));
    let places = Places::below(&folder);
    let settings = settings(args.admin_listen, args.store.database.as_deref(), &places)?;
    config.state_dir = Some(places.edge);
    finished(control_plane::run(settings, Some(config), started))
}

fn settings(listen: SocketAddr, database: Option<&str>, places: &Places) -> anyhow::Result<Settings> {
    let database = if let Some(text) = database {
        text.parse()
            .map_err(|error: admin::store::LocationError| Failure::new(Exit::Usage, format!("--database: {error}")))?
    } else {
        make(&places.database)?;
        Location::Sqlite(places.database.clone())
    };
    let bootstrap_token = secret("BASCULE_BOOTSTRAP_ADMIN_TOKEN")?.map(|text| {
        TokenText::parse(&text).ok_or_else(|| {
            let failure = Failure::new(Exit::Usage, "BASCULE_BOOTSTRAP_ADMIN_TOKEN is not a token");
            failure.with_help("`bascule token mint` makes one".to_owned())
        })
    });
    Ok(Settings {
        listen,
        database,
        state_dir: places.admin.clone(),
        signing_key: secret("BASCULE_SIGNING_KEY")?,
        bootstrap_token: bootstrap_token.transpose()?,
        tls: None,
        limits: admin::limits::Limits::default(),
        timeouts: admin::limits::Timeouts::default(),
    })
}

/// The folder of a file.
fn make(file: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| Failure::new(Exit::Usage, format!("cannot make {}: {error}", folder.display())).into())
}

/// A secret from its variable or from the file that the variable with `_FILE` names.
fn secret(name: &str) -> anyhow::Result<Option<String>> {
    let file = format!("{name}_FILE");
    match (std::env::var(name).ok(), std::env::var_os(&file)) {
        (Some(_), Some(_)) => Err(Failure::new(Exit::Usage, format!("{name} and {file} are both set")).into()),
        (Some(text), None) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        (None, Some(path)) => match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) => Err(Failure::new(
                Exit::Usage,
                format!("{file}: {} cannot be read: {error}", Path::new(&path).display()),
            )
            .into()),
        },
        (None, None) => Ok(None),
    }
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
