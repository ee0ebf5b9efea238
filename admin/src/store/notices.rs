//! Notices between the processes on one store.
//!
//! Invariant: whoever listens either gets a notice or is told that one may be missing (topic `lagged`). With SQLite there is
//! one process, and a channel in it is all; with PostgreSQL every notice goes through the server, so that all processes see
//! the same ones in the same order.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool};
use tokio::sync::broadcast;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::error::StoreError;
use super::pools::Pools;

/// Of PostgreSQL; a database of its own has channels of its own.
const CHANNEL: &str = "bascule";
/// PostgreSQL takes less than 8000 bytes.
const MAX_BYTES: usize = 7900;
/// How far a receiver may fall behind.
const CAPACITY: usize = 1024;
/// After this much silence the connection is tried: a host that vanished sends nothing.
const SILENCE: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Something that other processes want to know now.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Notice {
    /// What it is about.
    pub topic: String,
    /// Anything small.
    pub body: serde_json::Value,
}

impl Notice {
    /// Some notices may have been missed: look for yourself.
    pub fn lagged() -> Self {
        Self { topic: "lagged".to_owned(), body: serde_json::Value::Null }
    }

    /// Whether it is [`Notice::lagged`].
    pub fn is_lagged(&self) -> bool {
        self.topic == "lagged"
    }
}

pub(super) struct Notices {
    sender: broadcast::Sender<Notice>,
    listener: Option<AbortHandle>,
}

impl Notices {
    pub(super) fn start(pools: &Pools) -> Self {
        let (sender, _) = broadcast::channel(CAPACITY);
        let listener = match pools {
            Pools::Sqlite { .. } => None,
            Pools::Postgres { read, .. } => {
                let server = read.connect_options().as_ref().clone();
                Some(tokio::spawn(listen(server, sender.clone())).abort_handle())
            }
        };
        Self { sender, listener }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.sender.subscribe()
    }

    pub(super) async fn notify(&self, pools: &Pools, notice: &Notice) -> Result<(), StoreError> {
        let text = serde_json::to_string(notice).map_err(StoreError::unavailable)?;
        if text.len() >= MAX_BYTES {
            let detail = format!("it has {} bytes, and {MAX_BYTES} are too many", text.len());
            return Err(StoreError::corrupt("a notice", detail));
        }
        match pools {
            Pools::Sqlite { .. } => {
                // Nobody listening is no error.
                let _ = self.sender.send(notice.clone());
            }
            Pools::Postgres { read, .. } => {
                sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(text).execute(read).await?;
            }
        }
        Ok(())
    }

    pub(super) fn stop(&self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Listens for ever, over as many connections as that takes.
async fn listen(server: PgConnectOptions, sender: broadcast::Sender<Notice>) {
    let mut pause = FIRST_PAUSE;
    loop {
        // A pool for each attempt, since a lost connection would keep its place in one that lasts.
        let options = PoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        let pool = options.acquire_timeout(ANSWER).connect_lazy_with(server.clone());
        match relay(&pool, &sender, &mut pause).await {
            Ok(()) => tracing::warn!("the connection for notices was lost"),
            Err(error) => {
                tracing::warn!(error = &StoreError::from(error) as &dyn std::error::Error, "cannot listen for notices");
            }
        }
        // Closing would wait for a connection that may be dead.
        drop(pool);
        // Whoever looks now is not too late for what comes next: the notice at the reconnect covers the time between.
        tokio::time::sleep(pause + jitter(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Hands on what arrives until the connection is lost.
async fn relay(pool: &PgPool, sender: &broadcast::Sender<Notice>, pause: &mut Duration) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    // The first time too: notices may have been sent between the opening of the store and now.
    let _ = sender.send(Notice::lagged());
    *pause = FIRST_PAUSE;
    loop {
        let Ok(received) = timeout(SILENCE, listener.try_recv()).await else {
            let asked = timeout(ANSWER, sqlx::query("SELECT 1").execute(&mut listener)).await;
            asked.map_err(|_| sqlx::Error::PoolTimedOut)??;
            continue;
        };
        let Some(notification) = received? else { return Ok(()) };
        // Another program may use the channel; what it says is not for us.
        let notice = serde_json::from_str(notification.payload()).unwrap_or_else(|_| Notice::lagged());
        let _ = sender.send(notice);
    }
}

/// Up to as much again, so that many processes do not come back at one instant. The clock's low digits are random enough.
fn jitter(pause: Duration) -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    pause.mul_f64(f64::from(now.subsec_nanos() % 1_000_000) / 1_000_000.0)
}
