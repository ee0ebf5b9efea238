//! What a gateway is told: read from all layers, checked once, before anything is bound.
//!
//! It owns the way from texts to a [`Config`] of which every part is usable as it is. It is the only
//! reader of the environment and of the TOML file. Settings and their defaults are in [`setting`], the
//! order of the layers in [`layers`]; files that a setting names (certificates, modules, sources) are
//! read by those who use them.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::gateway::access_log::Destination;
use crate::gateway::limits::{ClientLimits, DataConfig, DrainLimits, UpstreamLimits};
use crate::telemetry;

pub mod control;
pub mod flags;
pub mod follow;
mod integrations;
pub mod layers;
pub mod secret;
pub mod setting;
pub mod table;
mod values;
mod workers;

use follow::Follow;
use layers::{Effective, Layers, Origin, Problem, Resolved};
use secret::{KeySource, Secret};
use values::Values;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// What to serve: manifests, snapshot documents, folders of them.
    pub files: Vec<PathBuf>,
    /// The control plane to follow instead.
    pub follow: Option<Follow>,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where health and metrics are.
    pub ops: SocketAddr,
    /// Where the last good snapshots are kept.
    pub state_dir: Option<PathBuf>,
    /// Worker threads, at least one.
    pub workers: usize,
    /// The bucketing keys.
    pub keys: KeySource,
    /// TLS of the listeners.
    pub tls: Option<TlsFiles>,
    /// Authorities for https upstreams; `None` = those of the system.
    pub upstream_ca: Option<PathBuf>,
    /// What decides.
    pub engine: EngineSettings,
    /// How logs look.
    pub telemetry: telemetry::Settings,
    /// Where the access log goes; `None` = nowhere.
    pub access_log: Option<Destination>,
    /// What the data path is told.
    pub data: DataConfig,
    /// Every setting with its origin, for `bascule doctor`.
    pub effective: Vec<Effective>,
    /// What is odd and does no harm; said once at the start.
    pub warnings: Vec<Problem>,
}

/// Certificate and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM with the chain.
    pub cert: PathBuf,
    /// PEM with the key.
    pub key: PathBuf,
}

/// What decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// The engine that is compiled in, instead of the module.
    pub native: bool,
    /// A module instead of the embedded one.
    pub module: Option<PathBuf>,
    /// Decide with both and count differences.
    pub shadow: bool,
}

/// All that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} problem(s):\n{}", problems.len(), lines(problems))]
pub struct ConfigError {
    /// One by one.
    pub problems: Vec<Problem>,
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

impl Config {
    /// Reads the layers and checks them, alone and together.
    pub fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let Resolved { effective, mut problems, warnings } = layers.resolve();
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        let values = Values(&effective);
        let keys = values.keys().unwrap_or_else(|problem| {
            problems.push(problem);
            KeySource::Derived
        });
        problems.extend(values.log_problem());
        let tls = values.tls("tls").unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        let follow = values.follow().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        problems.extend(values.zero_timeouts("timeouts."));
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        let data = values.data();
        Ok(Self {
            files: values.paths("file"),
            follow,
            listen: values.address("listen"),
            ops: values.address("ops"),
            state_dir: values.path("state_dir"),
            workers: values.workers(),
            keys,
            tls,
            upstream_ca: values.path("tls.upstream_ca"),
            engine: values.engine(),
            telemetry: values.telemetry(),
            access_log: values.access_log(),
            data,
            warnings,
            effective,
        })
    }
}

impl Values<'_> {
    fn keys(&self) -> Result<KeySource, Problem> {
        let Some(text) = self.text("bucketing_key") else { return Ok(KeySource::Derived) };
        KeySource::parse(&Secret::new(text)).map_err(|error| self.problem("bucketing_key", error.to_string()))
    }

    fn follow(&self) -> Result<Option<Follow>, Problem> {
        let Some(url) = self.parsed("admin").pop() else { return Ok(None) };
        if !self.paths("file").is_empty() {
            let files = &self.effective("file").origin;
            let detail =
                format!("a gateway serves either files or what a control plane says; `file` is set too ({files})");
            return Err(self.problem("admin", detail));
        }
        let Some(token) = self.text("admin_token") else {
            let detail = "admin_token is missing: name its file with --token-file or BASCULE_ADMIN_TOKEN_FILE";
            return Err(self.problem("admin", detail.to_owned()));
        };
        if token.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(
                self.problem("admin_token", "a token is one word of ASCII letters, digits and signs".to_owned())
            );
        }
        let public_keys = &self.effective("admin_public_key").texts;
        Ok(Some(Follow {
            url,
            token: Secret::new(token),
            public_keys: public_keys.iter().filter_map(|text| crate::hex::decode(text)).collect(),
            edge_id: self.text("edge_id").map(str::to_owned),
            ca: self.path("admin_ca"),
        }))
    }

    fn workers(&self) -> usize {
        match self.number("workers") {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }

    fn engine(&self) -> EngineSettings {
        EngineSettings {
            native: self.text("engine.kind") == Some("native"),
            module: self.path("engine.module"),
            shadow: self.flag("engine.shadow"),
        }
    }

    fn access_log(&self) -> Option<Destination> {
        match self.text("access_log")? {
            "-" => Some(Destination::Stdout),
            path => Some(Destination::File(path.into())),
        }
    }

    fn data(&self) -> DataConfig {
        DataConfig {
            client: self.client(),
            upstream: self.upstream(),
            drain: DrainLimits {
                grace: self.duration("drain.grace"),
                idle: self.duration("drain.idle"),
                linger: self.duration("drain.linger"),
            },
            trusted_proxies: self
                .effective("trusted_proxies")
                .texts
                .iter()
                .filter_map(|text| setting::network(text))
                .collect(),
            country_header: self.parsed("country_header").pop(),
            region: self.text("region").map(str::to_owned),
        }
    }

    fn client(&self) -> ClientLimits {
        ClientLimits {
            head_bytes: self.number("limits.head_bytes"),
            head_fields: self.number("limits.head_fields"),
            target_bytes: self.number("limits.target_bytes"),
            head_timeout: self.duration("timeouts.head"),
            idle_timeout: self.duration("timeouts.idle"),
            body_timeout: self.duration("timeouts.body"),
            body_min_rate: self.number("limits.body_min_rate"),
            write_timeout: self.duration("timeouts.write"),
            connections: self.number("limits.connections"),
            connections_per_ip: self.number("limits.connections_per_ip"),
            h2_streams: self.number("limits.h2_streams"),
            h2_pending_resets: self.number("limits.h2_pending_resets"),
            h2_local_resets: self.number("limits.h2_local_resets"),
            ofrep_streams: self.number("limits.ofrep_streams"),
            h2_ping_interval: self.duration("timeouts.h2_ping_interval"),
            h2_ping_timeout: self.duration("timeouts.h2_ping"),
        }
    }

    fn upstream(&self) -> UpstreamLimits {
        UpstreamLimits {
            connect_timeout: self.duration("timeouts.connect"),
            read_timeout: self.duration("timeouts.read"),
            total_timeout: Some(self.duration("timeouts.total")).filter(|total| !total.is_zero()),
            pool_idle: self.duration("timeouts.pool_idle"),
            pool_idle_connections: self.number("limits.pool_idle_connections"),
            pool_connections: self.number("limits.pool_connections"),
            continue_timeout: self.duration("timeouts.continue"),
            response_head_bytes: self.number("limits.response_head_bytes"),
            rollback_grace: self.duration("timeouts.rollback_grace"),
        }
    }
}

/// Says once, at the start, what an operator should know about the settings.
pub fn report(effective: &[Effective], warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!(origin = %warning.origin, detail = warning.detail, "an odd setting");
    }
    for effective in effective.iter().filter(|effective| effective.origin != Origin::Default) {
        tracing::debug!(key = effective.key, value = effective.shown(), origin = %effective.origin, "a setting");
    }
}

impl Config {
    /// Says once, at the start, what an operator should know about this gateway.
    pub fn report(&self) {
        report(&self.effective, &self.warnings);
        if let Some(follow) = &self.follow {
            if follow.url.is_exposed() {
                tracing::warn!(
                    admin = %follow.url,
                    "the control plane is not reached by https: the token and the bucketing keys cross the network in clear text"
                );
            }
        } else if self.keys.is_derived() {
            tracing::warn!(
                "BASCULE_BUCKETING_KEY is not set: the key is derived from app and environment, so that a client can \
                 compute which cohort an id lands in; set it before real traffic (openssl rand -hex 16)"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::read(&Layers { variables, ..Layers::default() })
    }

    #[track_caller]
    fn refused(variables: &[(&str, &str)], expected: &str) {
        let error = config(variables).expect_err("not a configuration").to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn nothing_set_gives_the_defaults_of_the_data_path() {
        let config = config(&[]).expect("the defaults are a configuration");
        assert_eq!(format!("{:?}", config.data), format!("{:?}", DataConfig::default()));
        assert_eq!(config.listen, SocketAddr::from(([127, 0, 0, 1], 8080)));
        assert!(config.workers >= 1 && config.keys.is_derived() && config.tls.is_none() && config.access_log.is_none());
        assert!(!config.engine.native);
    }

    /// Sets every number and time of the data path to another value than its default; one that is
    /// mapped to the wrong field, or to none, gives the default somewhere.
    #[test]
    fn every_limit_and_timeout_reaches_its_own_field() {
        let settings = table::ALL
            .iter()
            .filter(|setting| ["limits.", "timeouts.", "drain."].iter().any(|table| setting.key.starts_with(table)));
        let mut variables = std::collections::BTreeMap::new();
        let mut expected = Vec::new();
        for (n, setting) in settings.enumerate() {
            let value = 11 + n;
            let (text, shown) = match setting.kind {
                setting::Kind::Duration => (format!("{value}s"), format!("{value}s")),
                _ => (value.to_string(), value.to_string()),
            };
            variables.insert(setting.variable(), text);
            expected.push((setting.key, shown));
        }
        let config = Config::read(&Layers { variables, ..Layers::default() }).expect("all in range");
        let debug = format!("{:?}", config.data);
        for (key, shown) in expected {
            let found = debug.matches(&format!(": {shown},")).count()
                + debug.matches(&format!(": {shown} ")).count()
                + debug.matches(&format!("Some({shown})")).count();
            assert_eq!(found, 1, "{key} = {shown} in {debug}");
        }
    }

    #[test]
    fn settings_that_belong_together_are_checked_together() {
        refused(&[("BASCULE_TLS_CERT", "c.pem")], "BASCULE_TLS_CERT: tls.cert: tls.key is missing");
        refused(&[("BASCULE_TLS_KEY", "k.pem")], "tls.cert is missing");
        refused(&[("BASCULE_TIMEOUTS_HEAD", "0s")], "timeouts.head: must be longer than nothing");
        refused(&[("BASCULE_LOG_LEVEL", "server=loud")], "log.level");
        refused(&[("BASCULE_BUCKETING_KEY", "canary")], "32 hexadecimal digits");
    }

    #[test]
    fn a_control_plane_needs_a_token_and_excludes_files() {
        let admin = ("BASCULE_ADMIN", "https://admin.example/");
        let token = ("BASCULE_ADMIN_TOKEN", "bsc_canary");
        let key = "0F".repeat(32);
        let follow = config(&[admin, token, ("BASCULE_ADMIN_PUBLIC_KEY", &key)]).expect("fine").follow;
        let follow = follow.expect("a control plane");
        assert_eq!((follow.url.to_string(), follow.public_keys), ("https://admin.example".into(), vec![[0x0f; 32]]));
        refused(&[admin], "admin_token is missing");
        refused(&[admin, token, ("BASCULE_FILE", "a.yaml")], "`file` is set too (BASCULE_FILE)");
        refused(&[admin, ("BASCULE_ADMIN_TOKEN", "bsc canary")], "one word");
        refused(&[("BASCULE_ADMIN", "admin.example")], "http://HOST");
        refused(&[admin, token, ("BASCULE_ADMIN_PUBLIC_KEY", "0f")], "64 hexadecimal digits");
        refused(&[admin, token, ("BASCULE_EDGE_ID", "-x")], "an id is 1 to 128");
    }

    #[test]
    fn the_flag_of_a_secret_names_its_file_and_the_text_is_not_shown() {
        let file = tempfile::NamedTempFile::new().expect("a file for the test");
        std::fs::write(file.path(), "bsc_canary\n").expect("writable");
        let path = file.path().display().to_string();
        let flags = [("admin", "http://127.0.0.1:1".to_owned()), ("token-file", path.clone())];
        let flags = flags.map(|(flag, value)| (flag.to_owned(), vec![value])).into_iter().collect();
        let config = Config::read(&Layers { flags, ..Layers::default() }).expect("fine");
        assert_eq!(config.follow.as_ref().expect("a control plane").token.expose(), "bsc_canary");
        let debug = format!("{config:?}");
        assert!(!debug.contains("canary") && debug.contains(&format!("--token-file ({path})")), "{debug}");
        let flags = [("token-file".to_owned(), vec!["/nowhere/at-all".to_owned()])].into_iter().collect();
        let error = Config::read(&Layers { flags, ..Layers::default() }).expect_err("no such file").to_string();
        assert!(error.contains("--token-file (/nowhere/at-all): admin_token: cannot be read"), "{error}");
    }

    #[test]
    fn a_wrong_secret_is_not_in_the_error() {
        let error = config(&[("BASCULE_BUCKETING_KEY", "canary")]).expect_err("not a key");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }

    #[test]
    fn the_secret_is_in_no_debug_output() {
        let config = config(&[("BASCULE_BUCKETING_KEY", "00112233445566778899aabbccddeeff")]).expect("a key");
        assert!(!config.keys.is_derived());
        assert!(!format!("{:?}", config.effective).contains("00112233"));
    }

    #[test]
    fn a_dash_is_standard_output() {
        let log = |value| config(&[("BASCULE_ACCESS_LOG", value)]).expect("a place").access_log;
        assert_eq!(log("-"), Some(Destination::Stdout));
        assert_eq!(log("/var/log/a"), Some(Destination::File("/var/log/a".into())));
    }
}
