//! Where a store is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a store is. Neither `Debug` nor `Display` shows a password.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A file.
    Sqlite(PathBuf),
    /// A server: `postgres://user:password@host/database`.
    Postgres(String),
}

/// The text is no location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a database is postgres://…, sqlite:PATH, or the path of a SQLite file")]
pub struct InvalidLocation;

impl FromStr for Location {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, InvalidLocation> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        let path = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")).unwrap_or(text);
        if path.is_empty() || path.contains("://") {
            return Err(InvalidLocation);
        }
        Ok(Self::Sqlite(path.into()))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => {
                let (_, rest) = url.split_once("://").unwrap_or_default();
                write!(f, "postgres://{}", rest.rsplit_once('@').map_or(rest, |(_, place)| place))
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

    #[test]
    fn a_password_is_never_shown() {
        let location: Location = "postgres://bascule:can@ary@db.example/bascule".parse().expect("a location");
        assert_eq!(
            format!("{location} {location:?}"),
            "postgres://db.example/bascule Location(postgres://db.example/bascule)"
        );
    }

    #[test]
    fn a_path_is_a_file() {
        for text in ["sqlite:a b.db", "sqlite://a b.db", "a b.db"] {
            assert_eq!(text.parse(), Ok(Location::Sqlite("a b.db".into())));
        }
        assert_eq!("mysql://x".parse::<Location>(), Err(InvalidLocation));
        assert_eq!("".parse::<Location>(), Err(InvalidLocation));
    }
}
