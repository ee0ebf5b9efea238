//! What a store can fail with.

use std::path::PathBuf;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, or refused.
    #[error("the database cannot be used")]
    Unavailable(#[source] sqlx::Error),
    /// There is no room to write.
    #[error("there is no space left for the database")]
    Full(#[source] sqlx::Error),
    /// Something of this name is there already.
    #[error("another entry has the same name")]
    Conflict(#[source] sqlx::Error),
    /// Another process uses the file.
    #[error("the database {path} is in use by {}: one process at a time", holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    Locked {
        /// The file.
        path: PathBuf,
        /// Who.
        holder: Option<u32>,
    },
    /// The lock cannot be taken.
    #[error("cannot lock {path}")]
    Lock {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The tables are not what this program knows.
    #[error("the database cannot be brought to this version")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The tables were made by a later version.
    #[error(
        "the database has version {found}, and this program knows versions up to {known}: use a later program, or `bascule db down` of that one"
    )]
    Newer {
        /// What it has.
        found: i64,
        /// What we know.
        known: i64,
    },
    /// A row cannot be what it should be.
    #[error("the {what} cannot be read: {detail}")]
    Corrupt {
        /// Which.
        what: &'static str,
        /// Why.
        detail: String,
    },
    /// It took too long.
    #[error("the database did not answer in time")]
    Busy,
}

/// SQLite's codes of no space: `SQLITE_FULL`, and an I/O error of a write beyond the limit of a file's size.
const SQLITE_FULL: &str = "13";

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else { return Self::Unavailable(error) };
        if database.is_unique_violation() {
            return Self::Conflict(error);
        }
        let code = database.code().unwrap_or_default();
        // 53100 is PostgreSQL's disk_full.
        if code == SQLITE_FULL || code == "53100" { Self::Full(error) } else { Self::Unavailable(error) }
    }
}
