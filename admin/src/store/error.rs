//! What can go wrong, told apart by what the caller may do about it.
//!
//! Invariant: no error holds a value of a row. PostgreSQL's details quote them, so only its code and its message are kept.

use std::path::PathBuf;

use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteError;

/// What is behind an error.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What a store answers when it does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or its disk fails.
    #[error("the store is not available")]
    Unavailable(#[source] Cause),
    /// The disk, the quota or the file size limit is reached. Nothing was written.
    #[error("the store has no space left to write")]
    Full(#[source] Cause),
    /// Another process has the file open.
    #[error("{} is in use by {}", path.display(), holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    Locked {
        /// The database.
        path: PathBuf,
        /// Who has it, if that could be read.
        holder: Option<u32>,
    },
    /// A row is there already, or a rule of a table says no.
    #[error("the store refuses the change")]
    Conflict(#[source] Cause),
    /// What is stored, or was to be stored, makes no sense.
    #[error("{what} is damaged: {detail}")]
    Corrupt {
        /// The file, the row, the value.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The schema cannot be brought to where it should be.
    #[error("{why}")]
    Migration {
        /// The migration that it is about.
        version: Option<i64>,
        /// What is wrong, and the way out.
        why: String,
        /// What the database said.
        source: Option<Cause>,
    },
    /// Others were in the way for too long.
    #[error("the store is busy")]
    Busy,
}

impl StoreError {
    /// Whether the same may work later without anything else being changed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full(_) | Self::Busy)
    }

    pub(super) fn unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable(cause.into())
    }

    pub(super) fn corrupt(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into(), detail: detail.into() }
    }

    pub(super) fn migration(version: Option<i64>, why: impl Into<String>) -> Self {
        Self::Migration { version, why: why.into(), source: None }
    }

    /// From the system: a full disk is told apart.
    pub(super) fn io(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full(error.into()),
            _ => Self::Unavailable(error.into()),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error::{ColumnDecode, ColumnIndexOutOfBounds, Database, Decode, Io, PoolTimedOut};
        match error {
            Database(error) => from_database(error.as_ref()),
            Io(error) => Self::io(error),
            PoolTimedOut => Self::Busy,
            error @ (ColumnDecode { .. } | ColumnIndexOutOfBounds { .. } | Decode(_)) => {
                Self::corrupt("a row", error.to_string())
            }
            error => Self::unavailable(error),
        }
    }
}

/// What a database said, without the values that it quotes.
#[derive(Debug, thiserror::Error)]
#[error("{message} (code {code})")]
struct Said {
    code: String,
    message: String,
}

fn from_database(error: &dyn DatabaseError) -> StoreError {
    let code = error.code().unwrap_or_default().into_owned();
    let said = Said { message: error.message().to_owned(), code };
    if error.try_downcast_ref::<SqliteError>().is_some() { from_sqlite(said) } else { from_postgres(said) }
}

/// The primary result codes of SQLite are the low byte of the extended ones.
fn from_sqlite(said: Said) -> StoreError {
    let primary = said.code.parse::<i32>().map_or(0, |code| code & 0xff);
    match primary {
        5 | 6 => StoreError::Busy,
        11 | 26 => StoreError::corrupt("the database", said.to_string()),
        13 => StoreError::Full(said.into()),
        19 => StoreError::Conflict(said.into()),
        _ => StoreError::unavailable(said),
    }
}

fn from_postgres(said: Said) -> StoreError {
    match said.code.as_str() {
        // Serialisation, deadlock, lock not available, cancelled by a time limit, too many connections.
        "40001" | "40P01" | "55P03" | "57014" | "53300" => StoreError::Busy,
        "53100" => StoreError::Full(said.into()),
        // What our own triggers raise.
        "P0001" => StoreError::Conflict(said.into()),
        "XX001" | "XX002" => StoreError::corrupt("the database", said.to_string()),
        code if code.starts_with("23") => StoreError::Conflict(said.into()),
        _ => StoreError::unavailable(said),
    }
}

/// Whether a commit or a statement failed because a write did, for whatever reason.
pub(super) fn is_failed_write(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.try_downcast_ref::<SqliteError>()?.code());
    code.and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| code & 0xff == 10)
}
