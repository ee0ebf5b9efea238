//! Typed access to texts that were checked against their kind, and what every process reads alike.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::TlsFiles;
use super::layers::{Effective, Problem};
use super::setting;
use crate::telemetry;

/// Times of nothing that mean "no limit" or "at once"; any other would refuse everybody.
const MAY_BE_ZERO: [&str; 3] = ["timeouts.total", "timeouts.continue", "timeouts.rollback_grace"];

/// The settings of one process.
pub(super) struct Values<'a>(pub(super) &'a [Effective]);

impl Values<'_> {
    pub(super) fn effective(&self, key: &str) -> &Effective {
        self.0.iter().find(|effective| effective.key == key).expect("only keys of the process are asked for")
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.effective(key).texts.first().map(String::as_str)
    }

    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    pub(super) fn paths(&self, key: &str) -> Vec<PathBuf> {
        self.effective(key).texts.iter().map(PathBuf::from).collect()
    }

    pub(super) fn parsed<T: std::str::FromStr>(&self, key: &str) -> Vec<T> {
        // The kind of the setting accepted each of them.
        self.effective(key).texts.iter().filter_map(|text| text.parse().ok()).collect()
    }

    pub(super) fn address(&self, key: &str) -> SocketAddr {
        self.parsed(key).pop().expect("the kind accepted it, and it has a default")
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.text(key) == Some("true")
    }

    pub(super) fn duration(&self, key: &str) -> Duration {
        self.text(key).and_then(setting::duration).expect("the kind accepted it, and it has a default")
    }

    pub(super) fn number<T: TryFrom<u64>>(&self, key: &str) -> T {
        let value = self.text(key).and_then(setting::size).and_then(|value| T::try_from(value).ok());
        value.expect("the kind's range fits the type, and it has a default")
    }

    pub(super) fn problem(&self, key: &str, detail: String) -> Problem {
        Problem { origin: self.effective(key).origin.clone(), key: Some(key.to_owned()), detail }
    }

    /// Certificate and key in a table of settings: both or none.
    pub(super) fn tls(&self, table: &str) -> Result<Option<TlsFiles>, Problem> {
        let [cert, key] = ["cert", "key"].map(|name| format!("{table}.{name}"));
        match (self.path(&cert), self.path(&key)) {
            (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(self.problem(&cert, format!("{key} is missing"))),
            (None, Some(_)) => Err(self.problem(&key, format!("{cert} is missing"))),
        }
    }

    /// The times in a table of settings that are nothing and may not be.
    pub(super) fn zero_timeouts(&self, table: &str) -> Vec<Problem> {
        let timeouts = self.0.iter().filter(|effective| effective.key.starts_with(table));
        let is_zero = |text: &String| setting::duration(text).is_some_and(|time| time.is_zero());
        let zero = timeouts.filter(|effective| effective.texts.iter().any(is_zero));
        let wrong = zero.filter(|effective| !MAY_BE_ZERO.contains(&effective.key));
        wrong.map(|effective| self.problem(effective.key, "must be longer than nothing".to_owned())).collect()
    }

    pub(super) fn telemetry(&self) -> telemetry::Settings {
        telemetry::Settings {
            filter: self.text("log.level").unwrap_or_default().to_owned(),
            format: match self.text("log.format") {
                Some("json") => telemetry::Format::Json,
                Some("pretty") => telemetry::Format::Pretty,
                _ => telemetry::Format::Auto,
            },
            environment: self.text("environment").unwrap_or_default().to_owned(),
        }
    }

    pub(super) fn log_problem(&self) -> Option<Problem> {
        let error = telemetry::filter(&self.telemetry()).err()?;
        Some(self.problem("log.level", error.to_string()))
    }
}
