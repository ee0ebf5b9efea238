//! What differs between the two databases: how to connect, to begin, and to keep others out.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Once;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Executor as _};

use super::{Location, StoreError};

/// Connections that read.
const READERS: u32 = 8;
/// A reader waits for a connection no longer than this.
const ACQUIRE: Duration = Duration::from_secs(5);
/// Names the lock that all writers of an installation on PostgreSQL take: the first bytes of the SHA-256 of `bascule`.
const WRITE_LOCK: &str = "SELECT pg_advisory_xact_lock(4842519035017862)";

/// A kind of database and where it is.
#[derive(Debug, Clone)]
pub(super) struct Backend {
    location: Location,
}

/// The lock of a SQLite file. It goes with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

impl Backend {
    pub(super) fn new(location: &Location) -> Self {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        Self { location: location.clone() }
    }

    pub(super) fn is_shared(&self) -> bool {
        matches!(self.location, Location::Postgres(_))
    }

    /// The URL for those that need one of their own.
    pub(super) fn postgres_url(&self) -> Option<&str> {
        match &self.location {
            Location::Postgres(url) => Some(url),
            Location::Sqlite(_) => None,
        }
    }

    /// `sqlite` or `postgres`, as in the names of migrations.
    pub(super) fn name(&self) -> &'static str {
        if self.is_shared() { "postgres" } else { "sqlite" }
    }

    pub(super) fn lock(&self) -> Result<Option<Lock>, StoreError> {
        match &self.location {
            Location::Sqlite(path) => lock(path).map(Some),
            Location::Postgres(_) => Ok(None),
        }
    }

    fn options(&self) -> Result<AnyConnectOptions, StoreError> {
        let url = match &self.location {
            Location::Sqlite(path) => format!("sqlite:{}?mode=rwc", encoded(path)),
            Location::Postgres(url) => url.clone(),
        };
        // Statements carry documents; they are not for the log.
        Ok(AnyConnectOptions::from_str(&url)?.disable_statement_logging())
    }

    /// A connection that may write.
    pub(super) async fn connect(&self) -> Result<AnyConnection, StoreError> {
        let mut connection = self.options()?.connect().await?;
        for statement in self.prepare() {
            connection.execute(*statement).await?;
        }
        Ok(connection)
    }

    pub(super) async fn readers(&self) -> Result<AnyPool, StoreError> {
        let prepare = if self.is_shared() { &[][..] } else { READ_PRAGMAS };
        let pool = AnyPoolOptions::new().max_connections(READERS).acquire_timeout(ACQUIRE).test_before_acquire(false);
        let pool = pool.after_connect(move |connection, _| {
            Box::pin(async move {
                for statement in prepare {
                    connection.execute(*statement).await?;
                }
                Ok(())
            })
        });
        Ok(pool.connect_with(self.options()?).await?)
    }

    fn prepare(&self) -> &'static [&'static str] {
        if self.is_shared() { &[] } else { PRAGMAS }
    }

    pub(super) fn begin_write(&self) -> &'static [&'static str] {
        if self.is_shared() { &["BEGIN", WRITE_LOCK] } else { &["BEGIN IMMEDIATE"] }
    }

    pub(super) fn begin_read(&self) -> &'static str {
        if self.is_shared() { "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY" } else { "BEGIN" }
    }
}

/// `FULL`: what was committed survives a loss of power, not only the end of the process.
const PRAGMAS: &[&str] = &[
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 5000",
];
const READ_PRAGMAS: &[&str] = &["PRAGMA busy_timeout = 5000", "PRAGMA query_only = ON"];

/// What has a meaning in a URL.
fn encoded(path: &Path) -> String {
    let text = path.display().to_string();
    text.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

fn lock(path: &Path) -> Result<Lock, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let failed = |source| StoreError::Lock { path: lock_path.clone(), source };
    let mut options = OpenOptions::new();
    let mut file = options.create(true).truncate(false).read(true).write(true).open(&lock_path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Who holds it is only told.
            let _ = file.read_to_string(&mut text);
            return Err(StoreError::Locked { path: path.to_owned(), holder: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(failed)?;
    Ok(Lock(file))
}
