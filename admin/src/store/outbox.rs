//! What is to be told and what was: the table of `0008_outbox`.

use super::WriteTx;
use super::connection::{Row, values};
use super::error::StoreError;
use super::read::View;
use super::rows::OutboxRow;

impl View {
    /// What is due to a destination at a time, oldest first; at most so many.
    pub async fn due(&mut self, destination: &str, now: i64, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        const SQL: &str = "SELECT id, destination, channel, app, environment, rollout, occasion, action, created_at, \
            next_at, attempts, state, error, document FROM outbox \
            WHERE destination = $1 AND next_at <= $2 ORDER BY id LIMIT $3";
        self.all(SQL, values![destination, now, limit], row).await
    }

    /// How many of the same environment wait for a destination before this one: those go first.
    pub async fn waits_before(&mut self, row: &OutboxRow) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM outbox WHERE destination = $1 AND app = $2 AND environment = $3 \
            AND id < $4 AND next_at IS NOT NULL";
        self.session.one(SQL, values![&row.destination, &row.app, &row.environment, row.id]).await?.integer()
    }

    /// One of them.
    pub async fn notification(&mut self, id: i64) -> Result<Option<OutboxRow>, StoreError> {
        const SQL: &str = "SELECT id, destination, channel, app, environment, rollout, occasion, action, created_at, \
            next_at, attempts, state, error, document FROM outbox WHERE id = $1";
        self.maybe(SQL, values![id], row).await
    }

    /// Those of an environment with an id below this one, newest first.
    pub async fn notifications(
        &mut self,
        app: &str,
        environment: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        const SQL: &str = "SELECT id, destination, channel, app, environment, rollout, occasion, action, created_at, \
            next_at, attempts, state, error, document FROM outbox \
            WHERE app = $1 AND environment = $2 AND id < $3 ORDER BY id DESC LIMIT $4";
        self.all(SQL, values![app, environment, before.unwrap_or(i64::MAX), limit], row).await
    }

    /// The rollouts of an environment for which a destination was paged, and not told that it is over.
    pub async fn open_pages(
        &mut self,
        destination: &str,
        app: &str,
        environment: &str,
    ) -> Result<Vec<i64>, StoreError> {
        const SQL: &str = "SELECT rollout FROM outbox WHERE destination = $1 AND app = $2 AND environment = $3 \
            GROUP BY rollout HAVING MAX(CASE WHEN action = 'trigger' THEN id ELSE 0 END) > \
            MAX(CASE WHEN action = 'resolve' THEN id ELSE 0 END) ORDER BY rollout";
        self.all(SQL, values![destination, app, environment], Row::integer).await
    }
}

impl WriteTx {
    /// Adds one; the answer is its id.
    pub async fn add_outbox(&mut self, row: &OutboxRow) -> Result<i64, StoreError> {
        const NEXT: &str = "SELECT COALESCE(MAX(id), 0) + 1 FROM outbox";
        const SQL: &str = "INSERT INTO outbox (id, destination, channel, app, environment, rollout, occasion, action, \
            created_at, next_at, attempts, state, error, document) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        let id = self.0.session.one(NEXT, &[]).await?.integer()?;
        let values = values![
            id,
            &row.destination,
            &row.channel,
            &row.app,
            &row.environment,
            row.rollout,
            &row.occasion,
            &row.action,
            row.created_at,
            row.next_at,
            row.attempts,
            &row.state,
            &row.error,
            &row.document
        ];
        self.run(SQL, values).await?;
        Ok(id)
    }

    /// Writes what became of one.
    pub async fn update_outbox(&mut self, row: &OutboxRow) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE outbox SET next_at = $2, attempts = $3, state = $4, error = $5 WHERE id = $1";
        self.run(SQL, values![row.id, row.next_at, row.attempts, &row.state, &row.error]).await.map(drop)
    }

    /// Forgets what was told before this time.
    pub async fn forget_outbox(&mut self, before: i64) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM outbox WHERE next_at IS NULL AND created_at < $1";
        self.run(SQL, values![before]).await.map(drop)
    }
}

fn row(row: &mut Row) -> Result<OutboxRow, StoreError> {
    Ok(OutboxRow {
        id: row.integer()?,
        destination: row.text()?,
        channel: row.text()?,
        app: row.text()?,
        environment: row.text()?,
        rollout: row.integer()?,
        occasion: row.text()?,
        action: row.text()?,
        created_at: row.integer()?,
        next_at: row.maybe_integer()?,
        attempts: row.integer()?,
        state: row.text()?,
        error: row.maybe_text()?,
        document: row.text()?,
    })
}
