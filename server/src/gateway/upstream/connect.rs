//! Opening a connection to an upstream.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::task::{Context, Poll};

use edge_engine::wire::UpstreamProtocol;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::state::Target;
use super::fault::Cause;

/// Where clouds that use no link-local address tell a machine its secrets.
const METADATA: [IpAddr; 2] =
    [IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200))];

/// An upstream's transport.
pub(in crate::gateway) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(in crate::gateway) enum ConnectError {
    #[error(transparent)]
    Tcp(#[from] io::Error),
    /// The certificate is not to be trusted, or the handshake failed.
    #[error("TLS: {0}")]
    Handshake(#[source] io::Error),
    #[error("TLS: the upstream did not agree to HTTP/2 by ALPN")]
    NoHttp2,
}

impl ConnectError {
    pub(in crate::gateway) fn cause(&self) -> Cause {
        match self {
            Self::Tcp(_) => Cause::Connect,
            Self::Handshake(_) | Self::NoHttp2 => Cause::Tls,
        }
    }
}

/// Connects, and shakes hands when the target is `https`. The caller bounds the time.
pub(in crate::gateway) async fn connect(target: &Target) -> Result<Stream, ConnectError> {
    let tcp = match target.address {
        Some(address) => TcpStream::connect(address).await?,
        None => TcpStream::connect((&*target.host, target.port)).await?,
    };
    tcp.set_nodelay(true)?;
    check_reach(&tcp)?;
    if tcp.local_addr()? == tcp.peer_addr()? {
        // The kernel can connect a port to itself when nobody listens there.
        return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
    }
    let Some(tls) = &target.tls else { return Ok(Stream::Tcp(tcp)) };
    let connector = TlsConnector::from(std::sync::Arc::clone(&tls.config));
    let stream = connector.connect(tls.name.clone(), tcp).await.map_err(ConnectError::Handshake)?;
    if target.protocol == UpstreamProtocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(ConnectError::NoHttp2);
    }
    Ok(Stream::Tls(Box::new(stream)))
}

/// Refuses a connection to where no upstream is, before a byte is sent on it. What is looked at is the connection that there
/// is, not the name: what a name stands for may change between two looks.
pub(in crate::gateway) fn check_reach(tcp: &TcpStream) -> io::Result<()> {
    if is_off_limits(tcp.peer_addr()?.ip()) {
        let why = "link-local addresses and metadata services are no upstreams";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

/// Whether nobody's app is at this address, but something that trusts whoever can reach it.
fn is_off_limits(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    is_link_local || METADATA.contains(&address)
}

impl Stream {
    pub(in crate::gateway) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::ToSocketAddrs as _;

    use super::*;

    #[test]
    fn no_spelling_of_a_metadata_service_is_an_upstream() {
        for host in [
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0xa9.0xfe.0xa9.0xfe",
            "0251.0376.0251.0376",
            "169.254.43518",
            "169.16689662",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[0:0:0:0:0:ffff:a9fe:a9fe]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "169.254.170.2",
            "100.100.100.200",
        ] {
            // As the system reads a host when it connects.
            let addresses: Vec<_> = format!("{host}:80").to_socket_addrs().expect("it is one address").collect();
            assert!(!addresses.is_empty() && addresses.iter().all(|address| is_off_limits(address.ip())), "{host}");
        }
        for host in
            ["127.0.0.1", "10.0.0.1", "192.168.0.1", "172.16.0.1", "[::1]", "[fd00::1]", "100.64.0.1", "1.1.1.1"]
        {
            let mut addresses = format!("{host}:80").to_socket_addrs().expect("it is one address");
            assert!(addresses.all(|address| !is_off_limits(address.ip())), "{host}");
        }
    }
}
