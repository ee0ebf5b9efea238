//! The store: what the control plane remembers, in SQLite for one process or in PostgreSQL for several.
//!
//! Owns the tables, their migrations and every SQL text. Invariants: in the whole installation at most one write
//! transaction is open at a time; a commit that was acknowledged survives the loss of power; a transaction that is dropped,
//! or in which anything failed, leaves no trace; a reader sees one consistent state. The same text runs on both databases
//! wherever their languages agree.

mod audit;
mod connection;
mod error;
mod lead;
mod location;
mod lock;
pub mod migrate;
mod notices;
mod outbox;
mod pools;
mod read;
mod rollouts;
mod room;
mod rows;
mod session;
mod signals;
mod usage;
mod verify;
mod write;

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

pub use audit::AuditFilter;
pub use error::{Cause, StoreError};
pub use lead::Leadership;
pub use location::{Location, LocationError};
pub use notices::Notice;
pub use read::View;
pub use rows::*;
pub use verify::{AuditVerdict, Broken};

use lock::ProcessLock;
use notices::Notices;
use pools::Pools;
use session::{Mode, Session};

/// How long health waits for a real read.
const PING: Duration = Duration::from_secs(2);

/// An open store; a clone shares it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("is_shared", &self.is_shared()).finish_non_exhaustive()
    }
}

struct Inner {
    pools: Pools,
    notices: Notices,
    /// Held as long as this process may write; gone after [`Store::close`].
    lock: Mutex<Option<ProcessLock>>,
}

impl Store {
    /// Connects, takes the process lock of a file, and brings the schema up.
    ///
    /// A store whose schema is newer than this binary is refused.
    pub async fn open(location: &Location) -> Result<Self, StoreError> {
        let (pools, lock) = Pools::open(location).await?;
        let notices = Notices::start(&pools);
        Ok(Self(Arc::new(Inner { pools, notices, lock: Mutex::new(lock) })))
    }

    /// Begins the one write transaction of the installation, after whoever writes now.
    pub async fn write(&self) -> Result<WriteTx, StoreError> {
        Ok(WriteTx(View::new(Session::begin(&self.0.pools, Mode::Write).await?)))
    }

    /// Begins a view that waits for nobody who writes: what is committed when it is first read, and nothing later.
    pub async fn read(&self) -> Result<ReadTx, StoreError> {
        Ok(ReadTx(View::new(Session::begin(&self.0.pools, Mode::Read).await?)))
    }

    /// What is notified from now on. A receiver that falls behind misses notices and is told so by the channel.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.0.notices.subscribe()
    }

    /// Tells every process on this store, this one included.
    pub async fn notify(&self, notice: &Notice) -> Result<(), StoreError> {
        self.0.notices.notify(&self.0.pools, notice).await
    }

    /// A real read, for health.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let read = async { self.read().await?.last_sequence().await };
        tokio::time::timeout(PING, read).await.map_err(|_| StoreError::Busy)?.map(drop)
    }

    /// Whether several processes may share it.
    pub fn is_shared(&self) -> bool {
        matches!(self.0.pools, Pools::Postgres { .. })
    }

    /// Closes every connection, for all clones, and gives the process lock back.
    ///
    /// Transactions that are still open are waited for.
    pub async fn close(self) {
        self.0.notices.stop();
        self.0.pools.close().await;
        drop(self.0.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// A consistent view. It holds a connection: drop it soon.
pub struct ReadTx(View);

impl Deref for ReadTx {
    type Target = View;
    fn deref(&self) -> &View {
        &self.0
    }
}

impl DerefMut for ReadTx {
    fn deref_mut(&mut self) -> &mut View {
        &mut self.0
    }
}

/// The write transaction. It reads what it wrote; dropping it without [`WriteTx::commit`] rolls back.
///
/// After any method has failed it can only be dropped: everything else, `commit` included, answers
/// [`StoreError::Conflict`].
pub struct WriteTx(View);

impl Deref for WriteTx {
    type Target = View;
    fn deref(&self) -> &View {
        &self.0
    }
}

impl DerefMut for WriteTx {
    fn deref_mut(&mut self) -> &mut View {
        &mut self.0
    }
}
