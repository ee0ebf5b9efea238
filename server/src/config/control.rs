//! What a control plane is told: read from all layers, checked once, before anything is bound.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use admin::edges::workers::Worker;
use admin::integrations::Integrations;
use admin::limits::{Limits, Timeouts};
use admin::store::Location;
use admin::token::TokenText;

use super::layers::{Effective, Layers, Problem, Resolved};
use super::secret::Secret;
use super::values::Values;
use super::{ConfigError, TlsFiles};
use crate::telemetry;

/// Where a control plane keeps everything when it is not told.
const STATE_DIR: &str = "bascule-state";

/// A checked configuration.
#[derive(Debug)]
pub struct ControlConfig {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where the store is.
    pub database: Location,
    /// Where everything else is kept.
    pub places: Places,
    /// The seed of the signing key, instead of the file.
    pub signing_key: Option<Secret>,
    /// A token that is to exist.
    pub bootstrap_token: Option<TokenText>,
    /// TLS of the listener.
    pub tls: Option<TlsFiles>,
    /// How often one may ask.
    pub limits: Limits,
    /// How long a client may let us wait.
    pub timeouts: Timeouts,
    /// Which Workers snapshots are pushed to.
    pub workers: Vec<Worker>,
    /// Whom the control plane calls.
    pub integrations: Integrations,
    /// How logs look.
    pub telemetry: telemetry::Settings,
    /// Every setting with its origin, for `bascule doctor`.
    pub effective: Vec<Effective>,
    /// What is odd and does no harm; said once at the start.
    pub warnings: Vec<Problem>,
}

/// Where the parts of one machine's control plane are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The database file, when no other is named.
    pub database: PathBuf,
    /// The signing key.
    pub admin: PathBuf,
    /// The last good snapshots of the gateway beside it.
    pub edge: PathBuf,
}

impl Places {
    /// Below one folder.
    pub fn below(folder: &Path) -> Self {
        Self { database: folder.join("bascule.db"), admin: folder.join("admin"), edge: folder.join("edge") }
    }
}

impl ControlConfig {
    /// Reads the layers and checks them, alone and together. They are those of a process that has a control plane.
    pub fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let Resolved { effective, mut problems, warnings } = layers.resolve();
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        let values = Values(&effective);
        problems.extend(values.log_problem());
        let tls = values.tls("admin_tls").unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        let bootstrap_token = values.bootstrap_token().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        problems.extend(values.zero_timeouts("admin_timeouts."));
        let workers = values.path("admin_workers").map_or(Ok(Vec::new()), |path| super::workers::workers(&path));
        let workers = workers.unwrap_or_else(|found| {
            problems.extend(found);
            Vec::new()
        });
        let integrations = values.path("admin_integrations");
        let integrations =
            integrations.map_or(Ok(Integrations::default()), |path| super::integrations::integrations(&path));
        let integrations = integrations.unwrap_or_else(|found| {
            problems.extend(found);
            Integrations::default()
        });
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        let places = Places::below(&values.path("state_dir").unwrap_or_else(|| STATE_DIR.into()));
        let database = values.parsed("database").pop();
        Ok(Self {
            listen: values.address("admin_listen"),
            database: database.unwrap_or_else(|| Location::Sqlite(places.database.clone())),
            places,
            signing_key: values.text("signing_key").map(Secret::new),
            bootstrap_token,
            tls,
            limits: values.limits(),
            timeouts: values.timeouts(),
            workers,
            integrations,
            telemetry: values.telemetry(),
            warnings,
            effective,
        })
    }
}

impl Values<'_> {
    fn bootstrap_token(&self) -> Result<Option<TokenText>, Problem> {
        let Some(text) = self.text("bootstrap_admin_token") else { return Ok(None) };
        let token = TokenText::parse(text.trim());
        let wrong = || self.problem("bootstrap_admin_token", "not a token; `bascule token mint` makes one".to_owned());
        token.map(Some).ok_or_else(wrong)
    }

    fn limits(&self) -> Limits {
        let number = |key: &str| f64::from(self.number::<u32>(key));
        Limits {
            rate: number("admin_limits.rate"),
            burst: number("admin_limits.burst"),
            failures_rate: number("admin_limits.failures_per_minute") / 60.0,
            failures: number("admin_limits.failures"),
            streams: self.number("admin_limits.streams"),
            handouts: self.number("admin_limits.handouts"),
        }
    }

    fn timeouts(&self) -> Timeouts {
        Timeouts {
            handshake: self.duration("admin_timeouts.handshake"),
            head: self.duration("admin_timeouts.head"),
            body: self.duration("admin_timeouts.body"),
            write: self.duration("admin_timeouts.write"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::setting::Process;
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<ControlConfig, ConfigError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ControlConfig::read(&Layers { process: Process::Admin, variables, ..Layers::default() })
    }

    #[track_caller]
    fn refused(variables: &[(&str, &str)], expected: &str) {
        let error = config(variables).expect_err("not a configuration").to_string();
        assert!(error.contains(expected) && !error.contains("canary"), "{error}");
    }

    #[test]
    fn nothing_set_gives_the_defaults_of_the_control_plane() {
        let config = config(&[]).expect("the defaults are a configuration");
        assert_eq!((config.limits, config.timeouts), (Limits::default(), Timeouts::default()));
        assert_eq!(config.listen, SocketAddr::from(([127, 0, 0, 1], 7400)));
        assert_eq!(config.database, Location::Sqlite("bascule-state/bascule.db".into()));
        assert!(config.signing_key.is_none() && config.bootstrap_token.is_none() && config.tls.is_none());
    }

    #[test]
    fn every_limit_and_timeout_reaches_its_own_field() {
        let config = config(&[
            ("BASCULE_ADMIN_LIMITS_RATE", "11"),
            ("BASCULE_ADMIN_LIMITS_BURST", "12"),
            ("BASCULE_ADMIN_LIMITS_FAILURES_PER_MINUTE", "120"),
            ("BASCULE_ADMIN_LIMITS_FAILURES", "14"),
            ("BASCULE_ADMIN_LIMITS_STREAMS", "19"),
            ("BASCULE_ADMIN_LIMITS_HANDOUTS", "20"),
            ("BASCULE_ADMIN_TIMEOUTS_HANDSHAKE", "15s"),
            ("BASCULE_ADMIN_TIMEOUTS_HEAD", "16s"),
            ("BASCULE_ADMIN_TIMEOUTS_BODY", "17s"),
            ("BASCULE_ADMIN_TIMEOUTS_WRITE", "18s"),
        ])
        .expect("all in range");
        let limits = Limits { rate: 11.0, burst: 12.0, failures_rate: 2.0, failures: 14.0, streams: 19, handouts: 20 };
        assert_eq!(config.limits, limits);
        let Timeouts { handshake, head, body, write } = config.timeouts;
        assert_eq!([handshake, head, body, write].map(|time| time.as_secs()), [15, 16, 17, 18]);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        refused(&[("BASCULE_BOOTSTRAP_ADMIN_TOKEN", "canary")], "bootstrap_admin_token: not a token");
        refused(&[("BASCULE_DATABASE", "mysql://root:canary@db/flags")], "database: ");
        refused(&[("BASCULE_ADMIN_TLS_CERT", "c.pem")], "admin_tls.key is missing");
        refused(&[("BASCULE_ADMIN_TIMEOUTS_HEAD", "0s")], "admin_timeouts.head: must be longer than nothing");
        refused(&[("BASCULE_LOG_LEVEL", "admin=loud")], "log.level");
    }

    #[test]
    fn a_password_may_come_from_a_file_and_is_not_shown() {
        let file = tempfile::NamedTempFile::new().expect("a file for the test");
        std::fs::write(file.path(), "postgres://bascule:canary@db.example/flags\n").expect("writable");
        let config = config(&[("BASCULE_DATABASE_FILE", &file.path().display().to_string())]).expect("a place");
        assert_eq!(config.database.to_string(), "postgres://db.example:5432/flags");
        let shown = config.effective.iter().find(|effective| effective.key == "database").map(Effective::shown);
        assert_eq!(shown.as_deref(), Some("postgres://db.example:5432/flags"));
        assert!(!format!("{config:?}").contains("canary"));
    }
}
