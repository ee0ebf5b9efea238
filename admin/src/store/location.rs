//! Where a store is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

/// Where a store is. The password of a URL is in no text that this type writes.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A file, for one process.
    Sqlite(PathBuf),
    /// A database by its URL, for any number of processes.
    Postgres(String),
}

/// Why a text is no location.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// A URL that PostgreSQL does not take.
    #[error("the URL of the database is wrong: {0}")]
    Url(String),
    /// A kind of database that is not known, or a place that does not keep anything.
    #[error("{0:?} is no database: use a path, sqlite:PATH or postgres://USER@HOST/NAME")]
    Unknown(String),
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let checked = PgConnectOptions::from_str(text).map_err(|error| LocationError::Url(error.to_string()))?;
            drop(checked);
            return Ok(Self::Postgres(text.to_owned()));
        }
        let path = text.strip_prefix("sqlite:").unwrap_or(text);
        let path = if path.len() == text.len() { path } else { path.strip_prefix("//").unwrap_or(path) };
        match path.split_once("://") {
            // What follows may hold a password.
            Some((scheme, _)) => Err(LocationError::Unknown(format!("{scheme}://"))),
            None if path.is_empty() || path == ":memory:" => Err(LocationError::Unknown(text.to_owned())),
            None => Ok(Self::Sqlite(PathBuf::from(path))),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => {
                let Ok(options) = PgConnectOptions::from_str(url) else { return f.write_str("postgres://") };
                let place = options.get_socket().map(|path| path.display().to_string());
                let place = place.unwrap_or_else(|| format!("{}:{}", options.get_host(), options.get_port()));
                write!(f, "postgres://{place}/{}", options.get_database().unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Location {
        text.parse().expect("a location")
    }

    #[test]
    fn paths_are_files_and_urls_are_servers() {
        for text in ["data/bascule.db", "sqlite:data/bascule.db", "sqlite://data/bascule.db"] {
            assert_eq!(parsed(text), Location::Sqlite("data/bascule.db".into()), "{text}");
        }
        assert_eq!(parsed("sqlite:///data/b.db"), Location::Sqlite("/data/b.db".into()));
        for text in ["postgres://bascule@db/flags", "postgresql://bascule@db/flags"] {
            assert_eq!(parsed(text), Location::Postgres(text.to_owned()));
        }
    }

    #[test]
    fn what_keeps_nothing_is_no_location() {
        for text in
            ["", "sqlite:", ":memory:", "sqlite::memory:", "mysql://root:secret@db/flags", "postgres://db:port/x"]
        {
            let error = text.parse::<Location>().expect_err(text).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let location = parsed("postgres://bascule:canary@db.example:5433/flags?sslmode=require");
        assert_eq!(location.to_string(), "postgres://db.example:5433/flags");
        assert!(!format!("{location:?}").contains("canary"));
    }
}
