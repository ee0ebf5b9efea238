//! What only shows when it is tried: files, modules, certificates, listeners, the database.

use std::net::{SocketAddr, TcpListener};

use admin::store::{Location, migrate};

use super::{Remark, Report};
use crate::config::control::ControlConfig;
use crate::config::layers::Layers;
use crate::config::{Config, ConfigError, TlsFiles};
use crate::gateway::tls;
use crate::host::Module;

impl Report {
    /// A gateway alone.
    pub(super) fn try_gateway(&mut self, layers: &Layers) -> Result<(), ConfigError> {
        let config = Config::read(layers)?;
        if config.files.is_empty() && config.follow.is_none() && config.state_dir.is_none() {
            let detail = "there is nothing to serve: name a bascule.yaml with --file, or a control plane with --admin";
            self.problem("file", detail.to_owned());
        }
        self.try_files(&config);
        self.try_data_path(&config);
        if config.follow.is_none() && config.keys.is_derived() {
            let detail = "the bucketing key is derived from app and environment: clients can compute who lands in which \
                          cohort; set it before real traffic (openssl rand -hex 16)";
            self.warn("BASCULE_BUCKETING_KEY", detail.to_owned());
        }
        Ok(())
    }

    /// A control plane alone.
    pub(super) fn try_admin(&mut self, layers: &Layers) -> Result<(), ConfigError> {
        let config = ControlConfig::read(layers)?;
        self.try_listener(config.listen);
        self.try_server_tls("admin_tls.cert", config.tls.as_ref());
        self.try_database(&config);
        if !config.listen.ip().is_loopback() && config.tls.is_none() {
            let detail = "the API is reached without TLS: tokens and bucketing keys cross the network in clear text, \
                          unless a proxy in front speaks TLS";
            self.warn("admin_listen", detail.to_owned());
        }
        Ok(())
    }

    /// Both in one process.
    pub(super) fn try_serve(&mut self, layers: &Layers) -> Result<(), ConfigError> {
        self.try_admin(layers)?;
        let config = Config::read(layers)?;
        if !config.files.is_empty() || config.follow.is_some() {
            let detail = "the gateway of serve follows the control plane beside it: leave --file and --admin out";
            self.problem("file", detail.to_owned());
        }
        self.try_data_path(&config);
        Ok(())
    }

    fn problem(&mut self, origin: &str, detail: String) {
        self.problems.push(Remark { origin: origin.to_owned(), detail });
    }

    fn warn(&mut self, origin: &str, detail: String) {
        self.warnings.push(Remark { origin: origin.to_owned(), detail });
    }

    fn try_data_path(&mut self, config: &Config) {
        self.try_module(config);
        for address in [config.listen, config.ops] {
            self.try_listener(address);
        }
        self.try_server_tls("tls.cert", config.tls.as_ref());
        self.try_authorities("tls.upstream_ca", config.upstream_ca.as_deref());
        if let Some(authorities) = config.follow.as_ref().and_then(|follow| follow.ca.as_deref()) {
            self.try_authorities("admin_ca", Some(authorities));
        }
    }

    fn try_files(&mut self, config: &Config) {
        match super::super::check::problems(&config.files, &config.keys) {
            Ok(findings) => {
                let remark = |finding: edge_manifest::Finding| {
                    let origin = format!("{}:{}:{}", finding.file, finding.line, finding.column);
                    Remark { origin, detail: format!("[{}] {}", finding.code, finding.detail) }
                };
                self.problems.extend(findings.into_iter().map(remark));
            }
            Err(error) => self.problem("file", format!("{error:#}")),
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
                self.problem("engine.module", format!("{:#}", anyhow::Error::new(error)));
            }
        }
    }

    fn try_server_tls(&mut self, origin: &str, files: Option<&TlsFiles>) {
        let Some(files) = files else { return };
        if let Err(error) = tls::server(&files.cert, &files.key) {
            self.problem(origin, format!("{:#}", anyhow::Error::new(error)));
        }
    }

    /// Those of a file, or of the system.
    fn try_authorities(&mut self, origin: &str, file: Option<&std::path::Path>) {
        if let Err(error) = tls::client(file) {
            self.problem(origin, format!("{:#}", anyhow::Error::new(error)));
        }
    }

    fn try_listener(&mut self, address: SocketAddr) {
        if let Err(error) = TcpListener::bind(address) {
            // A process beside its successor is how one restarts, so this stops nobody.
            self.warn(&address.to_string(), format!("cannot listen now: {error}"));
        }
    }

    /// Whether the database answers, and what the first start would do to it.
    fn try_database(&mut self, config: &ControlConfig) {
        if let Location::Sqlite(path) = &config.database
            && !path.exists()
        {
            let is_default = *path == config.places.database;
            match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                Some(folder) if !folder.is_dir() && !is_default => {
                    self.problem("database", format!("there is no folder {}", folder.display()));
                }
                _ => self.warn("database", format!("{} is not there yet; the start makes it", path.display())),
            }
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let states = runtime.map(|runtime| runtime.block_on(migrate::status(&config.database)));
        match states {
            Ok(Ok(states)) => {
                let is = |wanted| states.iter().filter(|migration| migration.state == wanted).count();
                match (is(migrate::State::Pending), is(migrate::State::Unknown) + is(migrate::State::Changed)) {
                    (0, 0) => {}
                    (pending, 0) => self.warn("database", format!("the start applies {pending} migrations")),
                    _ => self.problem(
                        "database",
                        "another version of bascule made it; `bascule db status` shows what".into(),
                    ),
                }
            }
            // The control plane that runs holds the file.
            Ok(Err(error @ admin::store::StoreError::Locked { .. })) => self.warn("database", error.to_string()),
            Ok(Err(error)) => self.problem("database", format!("{:#}", anyhow::Error::new(error))),
            Err(error) => self.problem("database", error.to_string()),
        }
    }
}
