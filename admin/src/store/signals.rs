//! What is known of releases beside the counters: the table of `0007_signals`.

use super::WriteTx;
use super::connection::{Row, values};
use super::error::StoreError;
use super::read::View;
use super::rows::SignalRow;

impl View {
    /// The last words about an environment, ordered by kind and source.
    pub async fn signals(&mut self, app: &str, environment: &str) -> Result<Vec<SignalRow>, StoreError> {
        const SQL: &str = "SELECT app, environment, kind, source, at, document FROM signals \
            WHERE app = $1 AND environment = $2 ORDER BY kind, source";
        self.all(SQL, values![app, environment], signal).await
    }

    /// The last word of one source.
    pub async fn signal(
        &mut self,
        (app, environment): (&str, &str),
        (kind, source): (&str, &str),
    ) -> Result<Option<SignalRow>, StoreError> {
        const SQL: &str = "SELECT app, environment, kind, source, at, document FROM signals \
            WHERE app = $1 AND environment = $2 AND kind = $3 AND source = $4";
        self.maybe(SQL, values![app, environment, kind, source], signal).await
    }
}

impl WriteTx {
    /// Keeps a word instead of the one that the source gave before.
    pub async fn put_signal(&mut self, row: &SignalRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO signals (app, environment, kind, source, at, document) \
            VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (app, environment, kind, source) \
            DO UPDATE SET at = excluded.at, document = excluded.document";
        let values = values![&row.app, &row.environment, &row.kind, &row.source, row.at, &row.document];
        self.run(SQL, values).await.map(drop)
    }

    /// Forgets what one source said.
    pub async fn delete_signal(
        &mut self,
        (app, environment): (&str, &str),
        (kind, source): (&str, &str),
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM signals WHERE app = $1 AND environment = $2 AND kind = $3 AND source = $4";
        self.run(SQL, values![app, environment, kind, source]).await.map(drop)
    }

    /// Forgets what all sources of a kind said about an environment.
    pub async fn clear_signals(&mut self, app: &str, environment: &str, kind: &str) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM signals WHERE app = $1 AND environment = $2 AND kind = $3";
        self.run(SQL, values![app, environment, kind]).await.map(drop)
    }

    /// Forgets what was said before this time.
    pub async fn forget_signals(&mut self, before: i64) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM signals WHERE at < $1";
        self.run(SQL, values![before]).await.map(drop)
    }
}

fn signal(row: &mut Row) -> Result<SignalRow, StoreError> {
    Ok(SignalRow {
        app: row.text()?,
        environment: row.text()?,
        kind: row.text()?,
        source: row.text()?,
        at: row.integer()?,
        document: row.text()?,
    })
}
