//! A transaction on a connection of either database.
//!
//! Invariant: a connection goes back to its pool only when its transaction has certainly ended. After any error, or when
//! somebody stopped waiting in the middle, it is closed instead, and the database rolls back: SQLite ends a transaction by
//! itself when a disk is full, and then nobody may count on what is still open.
//!
//! The statements that begin and end are our own, since those of sqlx lose count of exactly that.

use std::path::Path;
use std::sync::Arc;

use sqlx::SqlSafeStr;

use super::connection::{Connection, Row, Value, bound, on_either};
use super::error::{StoreError, is_failed_write};
use super::pools::Pools;
use super::room;

/// The one writer of PostgreSQL holds this; any number that nobody else uses.
const WRITER: &str = "6214031920";

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    Write,
}

pub(super) struct Session {
    connection: Option<Connection>,
    /// Whether every statement so far was waited for and answered well.
    is_sound: bool,
    /// The database file, if it is one.
    file: Option<Arc<Path>>,
}

impl Session {
    pub(super) async fn begin(pools: &Pools, mode: Mode) -> Result<Self, StoreError> {
        let connection = pools.acquire(mode).await?;
        let mut session = Self { connection: Some(connection), is_sound: true, file: pools.file() };
        session.control(Control::Begin(mode)).await?;
        Ok(session)
    }

    /// Runs a statement; answers how many rows it changed.
    pub(super) async fn execute(&mut self, sql: impl SqlSafeStr, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let sql = sql.into_sql_str();
        let done = on_either!(self.enter(values)?, connection => {
            bound(sql, values).execute(&mut **connection).await.map(|done| done.rows_affected())
        });
        self.leave(done).await
    }

    /// All rows of a query.
    pub(super) async fn rows(&mut self, sql: impl SqlSafeStr, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let sql = sql.into_sql_str();
        let rows = on_either!(self.enter(values)?, connection => {
            let rows = bound(sql, values).fetch_all(&mut **connection).await;
            rows.map(|rows| rows.into_iter().map(Row::from).collect())
        });
        self.leave(rows).await
    }

    /// The only row of a query, if there is one.
    pub(super) async fn row(&mut self, sql: impl SqlSafeStr, values: &[Value<'_>]) -> Result<Option<Row>, StoreError> {
        let sql = sql.into_sql_str();
        let row = on_either!(self.enter(values)?, connection => {
            bound(sql, values).fetch_optional(&mut **connection).await.map(|row| row.map(Row::from))
        });
        self.leave(row).await
    }

    /// The only row of a query that always has one.
    pub(super) async fn one(&mut self, sql: impl SqlSafeStr, values: &[Value<'_>]) -> Result<Row, StoreError> {
        self.row(sql, values).await?.ok_or_else(|| StoreError::corrupt("the database", "a row of its own is missing"))
    }

    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        self.control(Control::Commit).await?;
        self.connection = None;
        Ok(())
    }

    async fn control(&mut self, what: Control) -> Result<(), StoreError> {
        let done = match self.enter(&[])? {
            Connection::Sqlite(connection) => sqlx::query(what.sqlite()).execute(&mut **connection).await.map(drop),
            // Without preparing it, so that several statements are one round trip.
            Connection::Postgres(connection) => {
                sqlx::raw_sql(what.postgres().into_sql_str()).execute(&mut **connection).await.map(drop)
            }
        };
        self.leave(done).await
    }

    /// The connection for one statement. Until [`Session::leave`] the session counts as broken, so that whoever stops
    /// waiting in between leaves no half a conversation behind.
    fn enter(&mut self, values: &[Value<'_>]) -> Result<&mut Connection, StoreError> {
        let is_sound = std::mem::replace(&mut self.is_sound, false);
        values.iter().try_for_each(Value::check)?;
        match &mut self.connection {
            Some(connection) if is_sound => Ok(connection),
            _ => Err(StoreError::Conflict("an earlier statement of this transaction failed".into())),
        }
    }

    async fn leave<T>(&mut self, result: sqlx::Result<T>) -> Result<T, StoreError> {
        match result {
            Ok(value) => {
                self.is_sound = true;
                Ok(value)
            }
            Err(error) => Err(explain(error, self.file.clone()).await),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            // Nobody is left who could wait for an answer; the database rolls back what loses its connection.
            on_either!(connection, connection => drop(connection.leak()));
        } else if self.is_sound {
            tokio::spawn(async move {
                let done = on_either!(&mut connection, connection => {
                    sqlx::query("ROLLBACK").execute(&mut **connection).await.map(drop)
                });
                if done.is_err() {
                    on_either!(&mut connection, connection => connection.close_on_drop());
                }
            });
        } else {
            on_either!(&mut connection, connection => connection.close_on_drop());
        }
    }
}

/// What begins and ends a transaction.
#[derive(Clone, Copy)]
enum Control {
    Begin(Mode),
    Commit,
}

impl Control {
    fn sqlite(self) -> &'static str {
        match self {
            Self::Begin(Mode::Read) => "BEGIN",
            // A transaction that begins to write later would be refused at once if another wrote meanwhile.
            Self::Begin(Mode::Write) => "BEGIN IMMEDIATE",
            Self::Commit => "COMMIT",
        }
    }

    fn postgres(self) -> sqlx::SqlStr {
        match self {
            Self::Begin(Mode::Read) => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY".into_sql_str(),
            // A process that freezes must not keep all others from writing for ever.
            Self::Begin(Mode::Write) => sqlx::AssertSqlSafe(format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; SET LOCAL lock_timeout = '5s'; \
                 SET LOCAL idle_in_transaction_session_timeout = '60s'; SELECT pg_advisory_xact_lock({WRITER})"
            ))
            .into_sql_str(),
            Self::Commit => "COMMIT".into_sql_str(),
        }
    }
}

/// What an error means; a failed write of a file is looked into.
pub(super) async fn explain(error: sqlx::Error, file: Option<Arc<Path>>) -> StoreError {
    let Some(file) = file.filter(|_| is_failed_write(&error)) else { return error.into() };
    let shortage = tokio::task::spawn_blocking(move || room::shortage(&file)).await.ok().flatten();
    match shortage {
        Some(shortage) => StoreError::Full(shortage.into()),
        None => error.into(),
    }
}
