//! The ops listener: `/livez`, `/readyz`, `/api/health` and `/metrics`, apart from clients.
//!
//! It owns its server loop with a timer, so that a slow or silent peer is closed, and a cap on
//! connections. Invariant: it never waits for the data path; a gateway whose workers are stuck still
//! answers here. It reads reports and changes nothing. What is healthy is decided in [`report`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::metrics::expose;
use report::Report;

pub mod report;

/// For a request's head. Whoever asks is a probe or a scraper in the same network.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole connection: scrapers keep theirs, but nothing needs it for ever, and it bounds what a
/// reader that takes no bytes can hold.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(5);
/// Probes, scrapers and a few people.
const MAX_CONNECTIONS: usize = 128;
/// After an accept failed, e.g. for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the ops listener reads.
pub trait Observe: Send + Sync + 'static {
    /// What `/api/health` and `/readyz` answer.
    fn health(&self) -> Report;
    /// What `/metrics` answers.
    fn metrics(&self) -> String;
}

/// A bound ops listener.
#[derive(Debug)]
pub struct Ops {
    listener: TcpListener,
}

impl Ops {
    /// Binds the address.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await? })
    }

    /// Takes a listener that is bound already, in non-blocking mode.
    pub fn from_std(listener: std::net::TcpListener) -> std::io::Result<Self> {
        Ok(Self { listener: TcpListener::from_std(listener)? })
    }

    /// Where it listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` is set. It goes on during a drain, so that probes see it.
    pub async fn run(self, observe: Arc<dyn Observe>, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, _) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the ops listener cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Beyond the cap a connection is closed at once.
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let work = serve(stream, Arc::clone(&observe), stop.clone());
            connections.spawn(async move {
                work.await;
                drop(place);
            });
        }
        connections.close();
        connections.wait().await;
    }
}

async fn serve(stream: TcpStream, observe: Arc<dyn Observe>, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let observe = Arc::clone(&observe);
        async move { Ok::<_, Infallible>(answer(&request, observe).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // A broken connection is the peer's affair; there is nobody to tell.
    let _ = stop.run_until_cancelled(tokio::time::timeout(CONNECTION_TIMEOUT, connection)).await;
}

async fn answer(request: &Request<Incoming>, observe: Arc<dyn Observe>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match read(&observe, <dyn Observe>::health).await.unready() {
            None => text(StatusCode::OK, "ok\n"),
            Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{reason}\n")),
        },
        "/api/health" => {
            let report = read(&observe, <dyn Observe>::health).await;
            let status = if report.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            body(status, "application/json", report.json())
        }
        "/metrics" => {
            let metrics = read(&observe, <dyn Observe>::metrics).await;
            body(StatusCode::OK, expose::CONTENT_TYPE, metrics)
        }
        _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz, /api/health and /metrics\n"),
    }
}

/// Reports look at the disk and at `/proc`, which may take a while; liveness must not wait for that.
async fn read<T: Send + 'static>(observe: &Arc<dyn Observe>, look: fn(&dyn Observe) -> T) -> T {
    let observe = Arc::clone(observe);
    match tokio::task::spawn_blocking(move || look(&*observe)).await {
        Ok(report) => report,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    body(status, "text/plain; charset=utf-8", text.to_owned())
}

fn body(status: StatusCode, kind: &'static str, content: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(content)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
