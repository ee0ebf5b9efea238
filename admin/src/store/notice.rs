//! What processes on one store tell each other: in the process itself, or through PostgreSQL's LISTEN and NOTIFY.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgListener;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::sync::{Mutex, broadcast};
use tokio_util::sync::CancellationToken;

use super::StoreError;
use super::backend::Backend;

/// The channel of an installation.
const CHANNEL: &str = "bascule";
/// PostgreSQL's limit of a payload is 8000 bytes.
const MAX_BYTES: usize = 7_900;
/// Notices that a slow reader may be behind.
const BACKLOG: usize = 1_024;
/// Between two attempts to listen again, at most.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Something may have been missed.
pub const LAGGED: &str = "lagged";

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// What kind of thing.
    pub topic: String,
    /// What exactly; never a secret.
    pub body: serde_json::Value,
}

#[derive(Debug)]
pub(super) struct Notices {
    sender: broadcast::Sender<Notice>,
    stop: CancellationToken,
    remote: Option<Remote>,
}

struct Remote {
    url: String,
    connection: Mutex<Option<PgConnection>>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Remote")
    }
}

impl Notices {
    pub(super) async fn start(backend: &Backend) -> Result<Self, StoreError> {
        let (sender, _) = broadcast::channel(BACKLOG);
        let stop = CancellationToken::new();
        let Some(url) = backend.postgres_url() else { return Ok(Self { sender, stop, remote: None }) };
        let mut listener = PgListener::connect(url).await?;
        listener.listen(CHANNEL).await?;
        let (to, stopped, own) = (sender.clone(), stop.clone(), url.to_owned());
        tokio::spawn(async move { stopped.run_until_cancelled(listen(listener, own, to)).await });
        let remote = Remote { url: url.to_owned(), connection: Mutex::default() };
        Ok(Self { sender, stop, remote: Some(remote) })
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.sender.subscribe()
    }

    pub(super) async fn send(&self, notice: &Notice) -> Result<(), StoreError> {
        let Some(remote) = &self.remote else {
            // Nobody may be listening.
            let _ = self.sender.send(notice.clone());
            return Ok(());
        };
        let payload = serde_json::to_string(notice).unwrap_or_default();
        if payload.len() > MAX_BYTES {
            let detail = format!("it has {} bytes, and at most {MAX_BYTES} can be told", payload.len());
            return Err(StoreError::Corrupt { what: "notice", detail });
        }
        let mut held = remote.connection.lock().await;
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => PgConnection::connect(&remote.url).await?,
        };
        let query = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(payload);
        connection.execute(query).await?;
        *held = Some(connection);
        Ok(())
    }

    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listen(mut listener: PgListener, url: String, to: broadcast::Sender<Notice>) {
    loop {
        while let Ok(Some(notification)) = listener.try_recv().await {
            // What another version says and we do not understand is not for us.
            if let Ok(notice) = serde_json::from_str(notification.payload()) {
                let _ = to.send(notice);
            }
        }
        let mut pause = Duration::from_millis(50);
        listener = loop {
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(MAX_PAUSE);
            if let Ok(mut listener) = PgListener::connect(&url).await
                && listener.listen(CHANNEL).await.is_ok()
            {
                break listener;
            }
        };
        let _ = to.send(Notice { topic: LAGGED.to_owned(), body: serde_json::Value::Null });
    }
}
