//! Accepting connections, and one connection from its first byte to its last. `axum::serve` sets no timeout at all, so
//! this is ours: every wait on a client has an end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

use super::timed::Timed;
use crate::http::Peer;
use crate::limits::Timeouts;

/// Largest request head.
const HEAD_BYTES: usize = 32 << 10;
/// Most header fields.
const HEAD_FIELDS: usize = 100;
/// Concurrent streams of an HTTP/2 connection.
const H2_STREAMS: u32 = 100;
/// Streams that a client may reset before they were taken.
const H2_RESETS: usize = 20;
/// Between pings of HTTP/2, and for their answer.
const H2_PING: Duration = Duration::from_secs(20);
const H2_PONG: Duration = Duration::from_secs(10);
/// After an accept that failed, e.g. because there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(super) struct Service {
    pub(super) router: Router,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) places: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
    pub(super) timeouts: Timeouts,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("timeouts", &self.timeouts).finish_non_exhaustive()
    }
}

pub(super) async fn accept(listener: TcpListener, service: Service, stop: &CancellationToken, tasks: &TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Beyond the cap a connection is closed at once: its client comes back later by itself.
        let Ok(place) = Arc::clone(&service.places).try_acquire_owned() else { continue };
        let service = service.clone();
        tasks.spawn(async move { serve(stream, Peer(peer.ip()), service, place).await });
    }
}

async fn serve(stream: TcpStream, peer: Peer, service: Service, _place: OwnedSemaphorePermit) {
    // Acknowledgements and events are small; waiting for more to send would only delay them.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let stream = Timed::new(stream, service.timeouts);
    match service.tls.clone() {
        None => http(stream, peer, service).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(service.timeouts.handshake, tls.accept(stream)).await {
                http(stream, peer, service).await;
            }
        }
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, peer: Peer, service: Service) {
    let router = service.router;
    let handle = service_fn(move |request: hyper::Request<Incoming>| {
        let mut router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        async move { router.call(request).await }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(service.timeouts.head)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING)
        .keep_alive_timeout(H2_PONG)
        .max_concurrent_streams(H2_STREAMS)
        .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(H2_RESETS);
    let connection = builder.serve_connection(TokioIo::new(stream), handle);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = service.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = error.as_ref() as &dyn std::error::Error, "a connection ended early");
    }
}
