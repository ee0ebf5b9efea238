//! Who drives rollouts: one process of all on the same store.
//!
//! With SQLite there is one process anyway. On PostgreSQL it is whoever holds an advisory lock on a connection of its own;
//! the server gives it to another when that connection ends, however it ends. The lock spares work and is no fence: what a
//! driver does, it decides anew within the one write transaction, so that two for a moment do no harm.

use sqlx::{Connection as _, PgConnection};

use super::Store;
use super::error::StoreError;
use super::pools::Pools;

/// The one driver of PostgreSQL holds this; any number that nobody else uses.
const DRIVER: &str = "6214031921";

/// Being the driver, until it is dropped or lost.
pub struct Leadership(Option<PgConnection>);

impl std::fmt::Debug for Leadership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leadership").field("is_shared", &self.0.is_some()).finish()
    }
}

impl Store {
    /// Becomes the driver, if nobody else is.
    pub async fn lead(&self) -> Result<Option<Leadership>, StoreError> {
        let Pools::Postgres { read, .. } = &self.0.pools else { return Ok(Some(Leadership(None))) };
        // Taken out of the pool: the lock is the connection's and must not go from hand to hand.
        let mut connection = read.acquire().await?.detach();
        let sql = sqlx::AssertSqlSafe(format!("SELECT pg_try_advisory_lock({DRIVER})"));
        let is_first: bool = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
        if is_first {
            return Ok(Some(Leadership(Some(connection))));
        }
        connection.close().await?;
        Ok(None)
    }
}

impl Leadership {
    /// Whether the lock is still held.
    pub async fn is_held(&mut self) -> bool {
        match &mut self.0 {
            None => true,
            Some(connection) => connection.ping().await.is_ok(),
        }
    }

    /// Gives it up at once.
    pub async fn end(self) {
        if let Some(connection) = self.0 {
            // The server notices a lost connection too, only later.
            let _ = connection.close().await;
        }
    }
}
