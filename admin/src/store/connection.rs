//! One way to speak to both databases: values to bind, rows to read, and a statement that runs on either.

use sqlx::encode::Encode;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::query::Query;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Type;
use sqlx::{Database, Decode, Postgres, Row as _, Sqlite};
use sqlx::{SqlSafeStr, SqlStr};

use super::error::StoreError;

/// A connection to either database.
pub(super) enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// Does the same with whichever connection it is.
macro_rules! on_either {
    ($connection:expr, $name:ident => $body:expr) => {
        match $connection {
            $crate::store::connection::Connection::Sqlite($name) => $body,
            $crate::store::connection::Connection::Postgres($name) => $body,
        }
    };
}
pub(super) use on_either;

/// A value to bind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Text(&'a str),
    MaybeText(Option<&'a str>),
    Integer(i64),
    MaybeInteger(Option<i64>),
}

impl Value<'_> {
    /// PostgreSQL takes no NUL in a text, so neither does the store.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Text(text) | Self::MaybeText(Some(text)) if text.as_bytes().contains(&0) => {
                Err(StoreError::corrupt("a text to be stored", "it has a NUL character"))
            }
            _ => Ok(()),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(i64::from(number))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::MaybeInteger(number)
    }
}

impl<'a> From<&'a Option<String>> for Value<'a> {
    fn from(text: &'a Option<String>) -> Self {
        Self::MaybeText(text.as_deref())
    }
}

/// Values for `$1`, `$2` and so on.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::store::connection::Value::from($value)),*] };
}
pub(super) use values;

/// A statement with its values.
pub(super) fn bound<'q, DB: Database>(sql: SqlStr, values: &[Value<'_>]) -> Query<'q, DB, DB::Arguments>
where
    for<'t> &'t str: Encode<'t, DB> + Type<DB>,
    for<'t> Option<&'t str>: Encode<'t, DB> + Type<DB>,
    for<'t> i64: Encode<'t, DB> + Type<DB>,
    for<'t> Option<i64>: Encode<'t, DB> + Type<DB>,
{
    values.iter().fold(sqlx::query(sql.into_sql_str()), |query, value| match *value {
        Value::Text(text) => query.bind(text),
        Value::MaybeText(text) => query.bind(text),
        Value::Integer(number) => query.bind(number),
        Value::MaybeInteger(number) => query.bind(number),
    })
}

/// A row, read column by column in the order in which they were selected.
pub(super) struct Row {
    row: Either,
    next: usize,
}

enum Either {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Self { row: Either::Sqlite(row), next: 0 }
    }
}

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Self { row: Either::Postgres(row), next: 0 }
    }
}

impl Row {
    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        self.column()
    }

    pub(super) fn maybe_text(&mut self) -> Result<Option<String>, StoreError> {
        self.column()
    }

    pub(super) fn integer(&mut self) -> Result<i64, StoreError> {
        self.column()
    }

    pub(super) fn maybe_integer(&mut self) -> Result<Option<i64>, StoreError> {
        self.column()
    }

    fn column<T>(&mut self) -> Result<T, StoreError>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        let index = self.next;
        self.next += 1;
        let value = match &self.row {
            Either::Sqlite(row) => row.try_get(index),
            Either::Postgres(row) => row.try_get(index),
        };
        value.map_err(StoreError::from)
    }
}
