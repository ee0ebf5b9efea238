//! The connections: one that writes, some that read.
//!
//! Invariant: this process has at most one write transaction open, because the write pool has one connection; who waits,
//! waits for it, and holds nothing of the database meanwhile.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Database, Pool};

use super::connection::Connection;
use super::error::StoreError;
use super::location::Location;
use super::lock::ProcessLock;
use super::migrate;
use super::session::{Mode, explain};

/// How long a caller waits for a connection, and SQLite for another process that holds the file.
const PATIENCE: Duration = Duration::from_secs(5);
const READERS: u32 = 4;
const POSTGRES_READERS: u32 = 8;
/// What the write-ahead log is cut back to after a large document went through it.
const JOURNAL_BYTES: &str = "67108864";

pub(super) enum Pools {
    Sqlite { write: SqlitePool, read: SqlitePool, file: Arc<Path> },
    Postgres { write: PgPool, read: PgPool },
}

impl Pools {
    /// Connects and brings the schema up.
    pub(super) async fn open(location: &Location) -> Result<(Self, Option<ProcessLock>), StoreError> {
        match location {
            Location::Sqlite(path) => {
                let (file, lock) = claim(path)?;
                let write = options(1).connect_with(sqlite_writer(&file)).await;
                let write = on_file(write, &file).await?;
                migrate::open(&mut *on_file(write.acquire().await, &file).await?).await?;
                let read = options(READERS).connect_with(sqlite(&file).read_only(true)).await;
                let read = on_file(read, &file).await?;
                Ok((Self::Sqlite { write, read, file }, Some(lock)))
            }
            Location::Postgres(url) => {
                let server = postgres(url)?;
                // A server may go away and come back under a connection that lay idle.
                let write = options(1).test_before_acquire(true).connect_with(server.clone()).await?;
                migrate::open(&mut *write.acquire().await?).await?;
                let read = options(POSTGRES_READERS).test_before_acquire(true).connect_with(server).await?;
                Ok((Self::Postgres { write, read }, None))
            }
        }
    }

    pub(super) async fn acquire(&self, mode: Mode) -> Result<Connection, StoreError> {
        match self {
            Self::Sqlite { write, read, file } => {
                let pool = if mode == Mode::Write { write } else { read };
                Ok(Connection::Sqlite(on_file(pool.acquire().await, file).await?))
            }
            Self::Postgres { write, read } => {
                let pool = if mode == Mode::Write { write } else { read };
                Ok(Connection::Postgres(pool.acquire().await.map_err(|error| waited(error, pool))?))
            }
        }
    }

    /// The database file, if it is one.
    pub(super) fn file(&self) -> Option<Arc<Path>> {
        match self {
            Self::Sqlite { file, .. } => Some(file.clone()),
            Self::Postgres { .. } => None,
        }
    }

    /// Readers first: the last connection to go moves the log into the file, and only the writer may.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { write, read, .. } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres { write, read } => {
                read.close().await;
                write.close().await;
            }
        }
    }
}

/// The file, there and ours alone.
pub(super) fn claim(path: &Path) -> Result<(Arc<Path>, ProcessLock), StoreError> {
    // Absolute, so that no name looks like one of SQLite's URLs.
    let path = std::path::absolute(path).map_err(StoreError::io)?;
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(StoreError::io)?;
    }
    let lock = ProcessLock::take(&path)?;
    // It holds the keys of environments. SQLite gives its log the same mode.
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(StoreError::io)?;
    Ok((path.into(), lock))
}

/// For a connection that only reads.
pub(super) fn sqlite(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(PATIENCE)
        .disable_statement_logging()
}

/// For the connection that writes: what is acknowledged survives the loss of power.
pub(super) fn sqlite_writer(file: &Path) -> SqliteConnectOptions {
    sqlite(file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", JOURNAL_BYTES)
}

pub(super) fn postgres(url: &str) -> Result<PgConnectOptions, StoreError> {
    Ok(PgConnectOptions::from_str(url)?.application_name("bascule").disable_statement_logging())
}

fn options<DB: Database>(connections: u32) -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

async fn on_file<T>(result: sqlx::Result<T>, file: &Arc<Path>) -> Result<T, StoreError> {
    match result {
        Ok(value) => Ok(value),
        Err(error) => match explain(error, Some(file.clone())).await {
            StoreError::Corrupt { detail, .. } => Err(StoreError::corrupt(file.display().to_string(), detail)),
            error => Err(error),
        },
    }
}

/// sqlx goes on trying a server that refuses connections until the time is up; that is not the same as a queue.
fn waited<DB: Database>(error: sqlx::Error, pool: &Pool<DB>) -> StoreError {
    let is_queue = pool.size() >= pool.options().get_max_connections();
    match error {
        error @ sqlx::Error::PoolTimedOut if !is_queue => StoreError::unavailable(error),
        error => error.into(),
    }
}
