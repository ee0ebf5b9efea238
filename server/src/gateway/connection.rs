//! One client connection from accept to close: TLS, the protocol, the requests, the tunnel.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::client_io::{ClientIo, Protocol, Stream};
use super::clock::{Killed, Lifeline};
use super::context;
use super::executor::StreamExecutor;
use super::headers;
use super::limits::ClientLimits;
use super::link::{Link, Peer};
use super::metrics::Event;
use super::service;
use super::tunnel;
use super::worker::Worker;

/// Largest piece of a message that the HTTP/1 parser buffers; above the largest head.
const BUFFER_BYTES: usize = 64 * 1024;

/// Serves a connection until it ends.
pub(super) async fn serve(worker: Rc<Worker>, tcp: TcpStream, peer: SocketAddr) {
    let limits = &worker.config.client;
    let address = peer.ip().to_canonical();
    let peer = Peer {
        address,
        text: address.to_string().into(),
        is_trusted: context::is_trusted(address, &worker.config.trusted_proxies),
        is_tls: worker.tls.is_some(),
    };
    let lifeline = Rc::new(Lifeline::default());
    let timer = worker.deadlines.timer(Some(Rc::clone(&lifeline)));
    let link = Link::new(peer, lifeline, timer, limits);
    let _registered = worker.register(&link);
    let work = pin!(work(&worker, &link, tcp));
    let gave_up = || link.gave_up_writing().then_some(Killed::Stalled);
    if let Some(why) = link.lifeline.until_killed(work).await.or_else(gave_up) {
        worker.shard.count(why.event());
    }
}

async fn work(worker: &Rc<Worker>, link: &Rc<Link>, tcp: TcpStream) {
    // Small responses must not wait for acknowledgements of earlier ones.
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    let limits = &worker.config.client;
    let (stream, known) = match &worker.tls {
        None => (Stream::Tcp(tcp), None),
        Some(acceptor) => {
            let handshake = tokio::time::timeout(limits.head_timeout, acceptor.accept(tcp)).await;
            let Ok(Ok(tls)) = handshake else {
                worker.shard.count(Event::TlsFailed);
                return;
            };
            let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            (Stream::Tls(Box::new(tls)), Some(if is_h2 { Protocol::Http2 } else { Protocol::Http1 }))
        }
    };
    let mut io = ClientIo::new(stream, Rc::clone(link), limits);
    match io.sniff(known).await {
        None => {}
        Some(Protocol::Http1) => serve_h1(worker, link, io).await,
        Some(Protocol::Http2) => Box::pin(serve_h2(worker, link, io)).await,
    }
}

async fn serve_h1(worker: &Rc<Worker>, link: &Rc<Link>, io: ClientIo) {
    let service = service_fn(|request| {
        // One request at a time: whoever ends it ends the connection.
        service::answer(Rc::clone(worker), Rc::clone(link), Rc::clone(&link.lifeline), request)
    });
    let mut connection = http1::Builder::new()
        // Deadlines are the stream's own.
        .header_read_timeout(None)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(io), service);
    if let Err(error) = (&mut connection).await {
        tracing::debug!(%error, "a client connection ended");
        return;
    }
    if let Some(upstream) = link.take_tunnel() {
        let parts = connection.into_parts();
        tunnel::run(worker, link, parts.io.into_inner(), parts.read_buf, upstream).await;
    }
}

async fn serve_h2(worker: &Rc<Worker>, link: &Rc<Link>, io: ClientIo) {
    let streams = StreamExecutor::new(Arc::clone(&worker.shard));
    let service = service_fn(|request| {
        link.stream_opened();
        service::answer(Rc::clone(worker), Rc::clone(link), streams.open(), request)
    });
    let builder = h2_builder(&worker.config.client, streams.clone());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let (mut is_leaving, mut is_last) = (false, false);
    std::future::poll_fn(|cx: &mut Context<'_>| {
        // Wakes this task when the connection is to drain or is idle for too long.
        let is_overdue = link.is_idle() && link.overdue(cx).is_some();
        if !is_leaving && (link.is_draining() || is_overdue) {
            is_leaving = true;
            connection.as_mut().graceful_shutdown();
        }
        if is_overdue && is_last {
            return Poll::Ready(());
        }
        if is_overdue {
            // All is answered, but the end of an answer may wait for a client that is slow to take it.
            is_last = true;
            link.linger(worker.config.client.write_timeout);
        }
        connection.as_mut().poll(cx).map(|outcome| {
            if let Err(error) = outcome {
                tracing::debug!(%error, "a client connection ended");
            }
        })
    })
    .await;
}

fn h2_builder(limits: &ClientLimits, streams: StreamExecutor) -> http2::Builder<StreamExecutor> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(headers::MAX_LIST_BYTES))
        .max_pending_accept_reset_streams(limits.h2_pending_resets)
        .max_local_error_reset_streams(limits.h2_local_resets)
        .keep_alive_interval(limits.h2_ping_interval)
        .keep_alive_timeout(limits.h2_ping_timeout)
        // What one connection may have in our memory: a MiB, and 64 KiB for each stream.
        .initial_connection_window_size(1 << 20)
        .initial_stream_window_size(64 * 1024)
        .max_send_buf_size(64 * 1024);
    builder
}
