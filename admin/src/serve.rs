//! A running control plane: store, signing key, background work and listener, from start to end.
//!
//! It owns the order. Starting: what can be refused is refused before anything is bound; a request is taken only when
//! the edges' snapshots are loaded. Stopping: no new connections, streams say goodbye, what is under way is finished
//! within the grace, then the store is closed.

mod background;
mod connection;
mod push;
mod rollouts;
mod rosters;
mod timed;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::edges::Hub;
use crate::edges::workers::Worker;
use crate::http::{Shared, router};
use crate::integrations::Integrations;
use crate::limits::{Admission, Buckets, Limits, Timeouts};
use crate::principal::{Principal, Role, Scope};
use crate::service::{Control, ServiceError};
use crate::signing::{Signer, SigningError};
use crate::store::{Location, Store, StoreError};
use crate::token::TokenText;
use push::Pusher;

/// Connections of the whole process.
const CONNECTIONS: usize = 25_000;
/// What is under way may take so long to end.
const GRACE: Duration = Duration::from_secs(10);
/// The signing key in the state directory.
const KEY_FILE: &str = "signing.key";

/// What a control plane is started with.
#[derive(Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the store is.
    pub database: Location,
    /// Where the signing key is kept; it is made on the first start.
    pub state_dir: PathBuf,
    /// The seed of the signing key, instead of the file.
    pub signing_key: Option<String>,
    /// A token that is to exist, with all roles of people.
    pub bootstrap_token: Option<TokenText>,
    /// TLS of the listener.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// How often one may ask.
    pub limits: Limits,
    /// How long a client may let us wait.
    pub timeouts: Timeouts,
    /// Which Workers snapshots are pushed to.
    pub workers: Vec<Worker>,
    /// Whom the control plane calls.
    pub integrations: Integrations,
}

/// Why a control plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The signing key.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The state directory.
    #[error("cannot make the state directory {path}")]
    StateDir {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A Worker that nothing can be pushed to.
    #[error("nothing can be pushed to the Worker {id}")]
    Worker {
        /// Which.
        id: String,
        /// Why.
        source: admin_api::ClientError,
    },
    /// The listener.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running control plane.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    control: Arc<Control>,
    shared: Arc<Shared>,
    service: connection::Service,
    accept: CancellationToken,
    tasks: TaskTracker,
    /// The first token, when nobody could come in otherwise: to be shown once.
    pub first_token: Option<TokenText>,
}

impl Admin {
    /// Starts everything.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        make(&settings.state_dir)?;
        let signer = match &settings.signing_key {
            Some(seed) => Signer::from_seed(seed)?,
            None => Signer::from_file(&settings.state_dir.join(KEY_FILE))?,
        };
        let pushers = pushers(settings.workers)?;
        let listener =
            listen(settings.listen).map_err(|source| StartError::Listen { address: settings.listen, source })?;
        let address =
            listener.local_addr().map_err(|source| StartError::Listen { address: settings.listen, source })?;
        let store = Store::open(&settings.database).await?;
        let hub = Arc::new(Hub::new(signer.public_key().clone()));
        let control = Arc::new(Control::new(store, signer, hub).with_integrations(settings.integrations));
        let first_token = first_token(&control, settings.bootstrap_token.as_ref()).await?;
        control.catch_up().await?;
        control.refresh_access().await?;
        rosters::inherit(&control).await?;
        let (accept, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared {
            control: Arc::clone(&control),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            admission: Admission::new(&settings.limits),
            buckets: Buckets::new(settings.limits),
            body_timeout: settings.timeouts.body,
            metrics: crate::metrics::Metrics::default(),
            idempotency: crate::http::idempotency::UnderWay::default(),
            state_dir: Some(settings.state_dir),
        });
        background::start(&control, &accept, &tasks);
        push(pushers, &shared, &accept, &tasks);
        let service = connection::Service {
            router: router(&shared),
            tls: settings.tls.map(TlsAcceptor::from),
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            stop: shared.stop.clone(),
            timeouts: settings.timeouts,
        };
        let admin = Self { address, control, shared, service, accept, tasks, first_token };
        admin.take(listener, admin.service.clone());
        tracing::info!(listen = %address, key = admin.control.signer.public_key().id, "the control plane is up");
        Ok(admin)
    }

    fn take(&self, listener: TcpListener, service: connection::Service) {
        let (accepting, connections) = (self.accept.clone(), self.tasks.clone());
        self.tasks.spawn(async move { connection::accept(listener, service, &accepting, &connections).await });
    }

    /// Listens on loopback too, without TLS: for a gateway in the same process, which needs no authority to know it.
    pub async fn listen_inside(&self) -> std::io::Result<SocketAddr> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        self.take(listener, connection::Service { tls: None, ..self.service.clone() });
        Ok(address)
    }

    /// Whether the API speaks TLS.
    pub fn has_tls(&self) -> bool {
        self.service.tls.is_some()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The use-cases, for whoever is in the same process.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// A token for an edge in the same process. It is in no store and ends with the process.
    pub fn edge_token(&self) -> TokenText {
        let text = TokenText::mint();
        let scope = Scope { app: "*".to_owned(), environment: "*".to_owned(), role: Role::Edge };
        let principal =
            Principal { id: "this-process".to_owned(), name: "this process".to_owned(), scopes: vec![scope] };
        self.control.tokens.admit(&text, principal);
        text
    }

    /// Ends in the ordinary way.
    pub async fn stop(self) {
        self.accept.cancel();
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.tasks.close();
        let ended = async {
            self.shared.tasks.wait().await;
            self.tasks.wait().await;
        };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!("the control plane ends with requests under way");
        }
        self.control.store.clone().close().await;
    }
}

fn pushers(workers: Vec<Worker>) -> Result<Vec<Pusher>, StartError> {
    let made = workers.into_iter().map(|worker| {
        let id = worker.id.clone();
        Pusher::new(worker).map_err(|source| StartError::Worker { id, source })
    });
    made.collect()
}

/// Expects every Worker before the first request is taken, and begins to push.
fn push(pushers: Vec<Pusher>, shared: &Arc<Shared>, stop: &CancellationToken, tasks: &TaskTracker) {
    for pusher in pushers {
        shared.control.hub.expect_worker(pusher.worker());
        let (shared, stop) = (Arc::clone(shared), stop.clone());
        tasks.spawn(async move { stop.run_until_cancelled(pusher.run(shared)).await });
    }
}

fn make(folder: &std::path::Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| StartError::StateDir { path: folder.to_owned(), source })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}

/// The operator's token, or a new one when there is none at all.
async fn first_token(control: &Control, given: Option<&TokenText>) -> Result<Option<TokenText>, StartError> {
    if let Some(text) = given {
        control.bootstrap(text).await?;
        return Ok(None);
    }
    if control.has_tokens().await? {
        return Ok(None);
    }
    let text = TokenText::mint();
    control.bootstrap(&text).await?;
    Ok(Some(text))
}
