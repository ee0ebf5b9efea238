//! Accepting: one listening socket per worker on one port, caps on connections, and a way in and a way
//! out that lose no client.
//!
//! A socket is bound at once, so that a port that is taken is noticed, but it listens only when its
//! worker has something to serve by: a successor takes no request from its predecessor before it can
//! answer it. The kernel spreads connections over the sockets of a port, also those of a second process. When
//! a socket closes, the kernel resets what it had queued there. So a draining listener first makes
//! the kernel ignore new handshakes on it (a socket filter drops every SYN; the client repeats it
//! after a moment and meets another socket of the port), goes on accepting for a while what had
//! begun before, and closes only then, with nothing in its queue.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::connection;
use super::context;
use super::limits::ClientLimits;
use super::metrics::Event;
use super::worker::Worker;

/// Connections that wait for `accept`; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Pause after running out of descriptors, so that the loop does not spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(20);

/// One worker's listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
}

/// Binds a socket for every worker to the same port; port 0 is chosen by the first.
pub(super) fn bind(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<Listener>)> {
    let first = bind_one(address)?;
    let bound = first.socket.local_addr()?.as_socket();
    let address = bound.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    let mut listeners = vec![first];
    for _ in 1..workers {
        listeners.push(bind_one(address)?);
    }
    Ok((address, listeners))
}

fn bind_one(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(Listener { socket })
}

/// Open connections of the whole process, and of each client address.
#[derive(Debug, Default)]
pub(super) struct Caps {
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    /// Streams of changes.
    pub(super) streams: AtomicUsize,
}

/// One counted connection.
#[derive(Debug)]
struct Counted {
    caps: Arc<Caps>,
    address: Option<IpAddr>,
}

impl Caps {
    /// Counts a connection, or refuses it. `address` is `None` where no cap per address holds.
    fn admit(self: &Arc<Self>, address: Option<IpAddr>, limits: &ClientLimits) -> Option<Counted> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= limits.connections {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        // From here on the guard undoes it.
        let mut counted = Counted { caps: Arc::clone(self), address: None };
        if let Some(address) = address {
            let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let open = by_address.entry(address).or_default();
            if *open >= limits.connections_per_ip {
                return None;
            }
            *open += 1;
            counted.address = Some(address);
        }
        Some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.caps.open.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut by_address = self.caps.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = by_address.get_mut(&address) {
            *open -= 1;
            if *open == 0 {
                by_address.remove(&address);
            }
        }
    }
}

impl Listener {
    /// Accepts until told to stop, then as the module's documentation says.
    pub(super) async fn run(self, worker: Rc<Worker>, mut stop: oneshot::Receiver<()>) {
        tokio::select! {
            () = worker.has_state() => {}
            _ = &mut stop => return,
        }
        let listening = self.socket.listen(BACKLOG).and_then(|()| TcpListener::from_std(self.socket.into()));
        let listener = match listening {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "cannot listen");
                return;
            }
        };
        loop {
            tokio::select! {
                biased;
                accepted = listener.accept() => take(&worker, accepted).await,
                _ = &mut stop => break,
            }
        }
        if let Err(error) = ignore_handshakes(&listener) {
            tracing::warn!(%error, "clients that connect while this process goes away may be reset");
        }
        let linger = tokio::time::sleep(worker.config.drain.linger);
        let mut linger = std::pin::pin!(linger);
        loop {
            tokio::select! {
                biased;
                accepted = listener.accept() => take(&worker, accepted).await,
                () = &mut linger => break,
            }
        }
    }
}

/// Drops every segment that starts a handshake: SYN without ACK, by the flags of the TCP header.
fn ignore_handshakes(listener: &TcpListener) -> io::Result<()> {
    const LOAD_FLAGS: SockFilter = SockFilter::new(0x30, 0, 0, 13); // A = byte 13 of the TCP header
    const MASK: SockFilter = SockFilter::new(0x54, 0, 0, 0x12); // A &= SYN | ACK
    const IS_SYN: SockFilter = SockFilter::new(0x15, 0, 1, 0x02); // if A == SYN
    const DROP: SockFilter = SockFilter::new(0x06, 0, 0, 0);
    const PASS: SockFilter = SockFilter::new(0x06, 0, 0, u32::MAX);
    SockRef::from(listener).attach_filter(&[LOAD_FLAGS, MASK, IS_SYN, DROP, PASS])
}

async fn take(worker: &Rc<Worker>, accepted: io::Result<(TcpStream, SocketAddr)>) {
    let (tcp, peer) = match accepted {
        Ok(accepted) => accepted,
        Err(error) if is_of_one_connection(&error) => return,
        Err(error) => {
            tracing::warn!(%error, "cannot accept");
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
            return;
        }
    };
    let address = peer.ip().to_canonical();
    let capped = (!context::is_trusted(address, &worker.config.trusted_proxies)).then_some(address);
    let Some(counted) = worker.caps.admit(capped, &worker.config.client) else {
        worker.shard.count(Event::ConnectionRefused);
        return;
    };
    worker.shard.count(Event::ConnectionOpened);
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let shard = Arc::clone(&worker.shard);
        connection::serve(worker, tcp, peer).await;
        drop(counted);
        shard.count(Event::ConnectionClosed);
    });
}

/// Errors that say something about the connection, not about us.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_hold_and_are_given_back() {
        let caps = Arc::new(Caps::default());
        let limits = ClientLimits { connections: 3, connections_per_ip: 2, ..ClientLimits::default() };
        let (a, b): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let first = caps.admit(Some(a), &limits);
        let second = caps.admit(Some(a), &limits);
        assert!(first.is_some() && second.is_some());
        assert!(caps.admit(Some(a), &limits).is_none(), "per address");
        let third = caps.admit(Some(b), &limits);
        assert!(third.is_some());
        assert!(caps.admit(None, &limits).is_none(), "global");
        drop((first, third));
        assert!(caps.admit(Some(a), &limits).is_some());
        drop(second);
        assert_eq!(caps.open.load(Ordering::Relaxed), 0);
        assert!(caps.by_address.lock().unwrap().is_empty());
    }

    #[test]
    fn workers_share_a_port() {
        let (address, listeners) = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_ne!(address.port(), 0);
        let bound = listeners.iter().map(|listener| listener.socket.local_addr().unwrap().as_socket());
        assert!(bound.into_iter().all(|bound| bound == Some(address)));
    }
}
