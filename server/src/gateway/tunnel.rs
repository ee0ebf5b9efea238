//! A tunnel after both sides have agreed to switch protocols: bytes, both ways, unread.
//!
//! It ends when either side closes, or when its release was rolled back and the grace is over.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt as _;

use super::client_io::ClientIo;
use super::clock::Expired;
use super::link::Link;
use super::metrics::Event;
use super::upstream::h1::Tunnel;
use super::worker::Worker;

/// A peer that vanished is noticed after this much silence and a few probes.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// Copies until the end.
pub(super) async fn run(worker: &Worker, link: &Rc<Link>, mut client: ClientIo, early: Bytes, tunnel: Tunnel) {
    let Tunnel { mut stream, early_upstream, waits, .. } = tunnel;
    worker.shard.count(Event::TunnelOpened);
    client.pass_raw();
    link.disarm();
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    for tcp in [client.tcp(), stream.tcp()] {
        if let Err(error) = SockRef::from(tcp).set_tcp_keepalive(&keepalive) {
            tracing::debug!(%error, "no keep-alive for a tunnel");
        }
    }
    waits.disarm();
    let mut copying = std::pin::pin!(async {
        client.write_all(&early_upstream).await?;
        client.flush().await?;
        stream.write_all(&early).await?;
        tokio::io::copy_bidirectional(&mut client, &mut stream).await
    });
    let was_rolled_back = std::future::poll_fn(|cx| {
        if let Poll::Ready(outcome) = copying.as_mut().poll(cx) {
            tracing::trace!(?outcome, "a tunnel ended");
            return Poll::Ready(false);
        }
        match waits.expired(cx) {
            Some(Expired::RolledBack) => Poll::Ready(true),
            _ => Poll::Pending,
        }
    })
    .await;
    if was_rolled_back {
        worker.shard.count(Event::RolledBack);
    }
    worker.shard.count(Event::TunnelClosed);
}
