//! Where everything is kept: SQLite in a file, or PostgreSQL for several processes.
//!
//! It owns the databases and knows nothing of what documents mean. One SQL text serves both; what must differ is in
//! [`backend`]. Invariants: there is one writer at a time in the whole installation, so revisions, publications and the
//! audit's chain have no gaps; a transaction that is not committed leaves nothing; a second process on one SQLite file is
//! refused.

pub mod audit;
pub mod backend;
pub mod error;
pub mod location;
pub mod migrate;
pub mod notice;
pub mod reads;
pub mod rows;
pub mod writes;

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Executor as _, Row as _};
use tokio::sync::{Mutex, OwnedMutexGuard, broadcast};

pub use audit::{AuditFilter, AuditVerdict, Broken};
pub use error::StoreError;
pub use location::Location;
pub use notice::Notice;
pub use reads::Reads;
pub use rows::*;

use backend::{Backend, Lock};

/// Looking whether the database answers may take so long.
const PING: Duration = Duration::from_secs(2);

/// The store; a clone shares it.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Backend,
    writer: Arc<Mutex<Writer>>,
    readers: AnyPool,
    notices: notice::Notices,
    /// Held for as long as the process uses a SQLite file.
    _lock: Option<Lock>,
}

/// The one connection that writes.
#[derive(Debug)]
struct Writer {
    connection: Option<AnyConnection>,
    backend: Backend,
}

impl Store {
    /// Connects, takes the lock of the process, and brings the tables up to date.
    pub async fn open(location: &Location) -> Result<Self, StoreError> {
        let backend = Backend::new(location);
        let lock = backend.lock()?;
        let mut connection = backend.connect().await?;
        migrate::run(&backend, &mut connection).await?;
        let writer = Writer { connection: Some(connection), backend: backend.clone() };
        let readers = backend.readers().await?;
        let notices = notice::Notices::start(&backend).await?;
        Ok(Self(Arc::new(Inner { backend, writer: Arc::new(Mutex::new(writer)), readers, notices, _lock: lock })))
    }

    /// Begins to write; waits for whoever writes now.
    pub async fn write(&self) -> Result<WriteTx, StoreError> {
        let mut writer = Arc::clone(&self.0.writer).lock_owned().await;
        if writer.connection.is_none() {
            let backend = writer.backend.clone();
            writer.connection = Some(backend.connect().await?);
        }
        let mut tx = WriteTx { writer: Some(writer), is_open: true };
        for statement in self.0.backend.begin_write() {
            if let Err(error) = tx.connection().execute(*statement).await {
                // A connection that cannot begin is not used again.
                if let Some(writer) = &mut tx.writer {
                    writer.connection = None;
                }
                tx.is_open = false;
                return Err(error.into());
            }
        }
        Ok(tx)
    }

    /// Begins to read one state of everything.
    pub async fn read(&self) -> Result<ReadTx, StoreError> {
        let mut connection = self.0.readers.acquire().await?;
        connection.execute(self.0.backend.begin_read()).await?;
        Ok(ReadTx { connection: Some(connection) })
    }

    /// What processes on this store tell each other.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.0.notices.subscribe()
    }

    /// Tells every process on this store, this one included.
    pub async fn notify(&self, notice: &Notice) -> Result<(), StoreError> {
        self.0.notices.send(notice).await
    }

    /// Whether the database answers now.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let look = async {
            let mut connection = self.0.readers.acquire().await?;
            let row = connection.fetch_one("SELECT COUNT(*) FROM counter").await?;
            row.try_get::<i64, _>(0).map(drop)
        };
        tokio::time::timeout(PING, look).await.map_err(|_| StoreError::Busy)?.map_err(StoreError::from)
    }

    /// Whether other processes may use the same database.
    pub fn is_shared(&self) -> bool {
        self.0.backend.is_shared()
    }

    /// Ends all connections.
    pub async fn close(self) {
        self.0.notices.stop();
        self.0.readers.close().await;
        let mut writer = self.0.writer.lock().await;
        writer.connection = None;
    }
}

/// A transaction that writes. Dropped without [`WriteTx::commit`], it leaves nothing.
#[derive(Debug)]
pub struct WriteTx {
    writer: Option<OwnedMutexGuard<Writer>>,
    is_open: bool,
}

impl WriteTx {
    /// Makes it so. When this returns, it survives a loss of power.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        let committed = self.connection().execute("COMMIT").await;
        match committed {
            Ok(_) => {
                self.is_open = false;
                Ok(())
            }
            Err(error) => {
                // Nobody knows in which state the connection is.
                if let Some(writer) = &mut self.writer {
                    writer.connection = None;
                }
                self.is_open = false;
                Err(error.into())
            }
        }
    }
}

impl Drop for WriteTx {
    fn drop(&mut self) {
        let Some(mut writer) = self.writer.take().filter(|_| self.is_open) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            writer.connection = None;
            return;
        };
        // The next writer waits for the lock, and so for this.
        runtime.spawn(async move {
            let rolled_back = match &mut writer.connection {
                Some(connection) => connection.execute("ROLLBACK").await.is_ok(),
                None => true,
            };
            if !rolled_back {
                writer.connection = None;
            }
        });
    }
}

/// A transaction that reads.
#[derive(Debug)]
pub struct ReadTx {
    connection: Option<PoolConnection<Any>>,
}

impl Drop for ReadTx {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if connection.execute("ROLLBACK").await.is_err() {
                    drop(connection.detach());
                }
            });
        }
    }
}

impl reads::Connected for WriteTx {
    fn connection(&mut self) -> &mut AnyConnection {
        let writer = self.writer.as_mut().expect("taken only when it is dropped");
        writer.connection.as_mut().expect("made before the transaction began")
    }
}

impl reads::Connected for ReadTx {
    fn connection(&mut self) -> &mut AnyConnection {
        self.connection.as_mut().expect("taken only when it is dropped")
    }
}

use reads::Connected as _;
