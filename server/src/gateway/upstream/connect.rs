//! Opening a connection to an upstream.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use edge_engine::wire::UpstreamProtocol;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::state::Target;
use super::fault::Cause;

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
