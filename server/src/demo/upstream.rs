//! The two releases that the demo serves: real HTTP servers that say who they are.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use edge_engine::Slot;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{Fault, board::Board, ports, site, visitors};

/// Of a faulty release, every so many answers is an error.
const ONE_IN: u64 = 5;
/// How long a slow release takes.
const SLOW: Duration = Duration::from_millis(300);

/// A running upstream; it ends with the process.
pub(super) struct Upstreams {
    pub(super) blue: SocketAddr,
    pub(super) green: SocketAddr,
}

impl Upstreams {
    /// Starts both on a thread of their own.
    pub(super) fn start(board: &Arc<Board>, fault: Fault) -> anyhow::Result<Self> {
        let blue = ports::listen(7001)?;
        let green = ports::listen(7002)?;
        let addresses = Self { blue: blue.local_addr()?, green: green.local_addr()? };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (blue, green) = {
            let _in_runtime = runtime.enter();
            (TcpListener::from_std(blue)?, TcpListener::from_std(green)?)
        };
        let board = Arc::clone(board);
        let work = move || {
            runtime.block_on(async {
                tokio::join!(
                    serve(blue, Release { slot: Slot::Blue, fault: Fault::None, board: Arc::clone(&board) }),
                    serve(green, Release { slot: Slot::Green, fault, board: Arc::clone(&board) })
                );
            });
        };
        std::thread::Builder::new().name("upstreams".into()).spawn(work).context("cannot start the upstreams")?;
        Ok(addresses)
    }
}

/// What one of them is.
#[derive(Clone)]
struct Release {
    slot: Slot,
    fault: Fault,
    board: Arc<Board>,
}

impl Release {
    /// The fault that it shows now.
    fn shows(&self) -> Fault {
        if self.board.is_faulty() { self.fault } else { Fault::None }
    }
}

async fn serve(listener: TcpListener, release: Release) {
    let served = Arc::new(AtomicU64::new(0));
    // An accept fails when the process is out of descriptors; the next one may not.
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if release.shows() == Fault::Crash {
            release.board.showed_fault();
            continue;
        }
        let (release, served) = (release.clone(), Arc::clone(&served));
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let answer = service_fn(move |request| {
                let (release, number) = (release.clone(), served.fetch_add(1, Relaxed));
                async move { faulty(&request, &release, number).await }
            });
            // A connection that breaks is counted by the visitor who wanted an answer over it.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// An answer, spoilt by the fault that the release shows.
async fn faulty(request: &Request<Incoming>, release: &Release, number: u64) -> io::Result<Response<Full<Bytes>>> {
    let mut response = answer(request, release.slot, &release.board);
    match release.shows() {
        Fault::Errors if number.is_multiple_of(ONE_IN) => {
            release.board.showed_fault();
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        }
        Fault::Errors | Fault::None => {}
        Fault::Latency => {
            release.board.showed_fault();
            tokio::time::sleep(SLOW).await;
        }
        Fault::Crash => {
            release.board.showed_fault();
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    }
    Ok(response)
}

fn answer(request: &Request<Incoming>, slot: Slot, board: &Board) -> Response<Full<Bytes>> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let flag_on = header("x-bascule-flags")
        .is_some_and(|flags| flags.split(',').any(|flag| flag.trim().split_once('=') == Some((site::FLAG, "on"))));
    if let Some(visitor) = header(visitors::UNIT_HEADER).and_then(visitors::index) {
        board.arrived(visitor, slot, flag_on);
    }
    let release = match slot {
        Slot::Blue => site::BLUE_RELEASE,
        Slot::Green => site::GREEN_RELEASE,
    };
    let checkout = if flag_on { "new checkout" } else { "old checkout" };
    let mut response = Response::new(Full::from(format!("{slot} {release}, {checkout}\n")));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
