//! The client's byte stream: TCP or TLS, with the gate in front of whoever reads.
//!
//! Bytes are read straight into the parser's buffer and judged there; only an incomplete head is
//! copied. It also keeps the client's deadlines: for a head, between requests, for taking bytes.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::gate::head::{HeadLimits, Reject};
use super::gate::{Gate, Next};
use super::limits::ClientLimits;
use super::link::{Link, Phase};

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes that are read and thrown away after a refusal, so that closing does not reset the
/// connection before the client has read the answer.
const LINGER_BYTES: usize = 256 * 1024;
/// How long that may take.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// A client's transport.
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

pub(super) struct ClientIo {
    stream: Stream,
    gate: Gate,
    link: Rc<Link>,
    lingered: Option<usize>,
    /// Whose end is not for the stream to say: an HTTP/2 connection says that it goes away, and may still have to write.
    is_h2: bool,
}

impl ClientIo {
    pub(super) fn new(stream: Stream, link: Rc<Link>, limits: &ClientLimits) -> Self {
        let limits = HeadLimits { bytes: limits.head_bytes, fields: limits.head_fields, target: limits.target_bytes };
        Self { stream, gate: Gate::new(limits), link, lingered: None, is_h2: false }
    }

    /// Waits for the first bytes and tells the protocol by them. Until then the connection holds no
    /// buffer. `None` when there was nothing, or nothing in time.
    pub(super) async fn sniff(&mut self, known: Option<Protocol>) -> Option<Protocol> {
        let mut prefix = BytesMut::new();
        let protocol = match known {
            Some(protocol) => protocol,
            None => loop {
                let got = std::future::poll_fn(|cx| self.poll_sniff(cx, &mut prefix)).await;
                if !matches!(got, Ok(true)) {
                    return None;
                }
                let compared = prefix.len().min(H2_PREFACE.len());
                if prefix[..compared] != H2_PREFACE[..compared] {
                    break Protocol::Http1;
                }
                if compared == H2_PREFACE.len() {
                    break Protocol::Http2;
                }
            },
        };
        self.is_h2 = protocol == Protocol::Http2;
        if self.is_h2 {
            self.gate.pass_raw();
        }
        self.gate.preload(&prefix);
        self.tell();
        Some(protocol)
    }

    /// The transport, for a tunnel. What the gate still held goes first.
    pub(super) fn pass_raw(&mut self) {
        self.gate.pass_raw();
        self.link.disarm();
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Tcp(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        }
    }

    fn poll_sniff(&mut self, cx: &mut Context<'_>, prefix: &mut BytesMut) -> Poll<io::Result<bool>> {
        if self.link.overdue(cx).is_some() {
            return Poll::Ready(Ok(false));
        }
        let mut space = [0; 4096];
        let mut buffer = ReadBuf::new(&mut space);
        ready!(self.poll_stream(cx, &mut buffer))?;
        prefix.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(!buffer.filled().is_empty()))
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }

    fn tell(&self) {
        self.link.gate_moved(&self.gate);
    }

    /// Whether the client has been silent for too long between requests. A head that takes too
    /// long is refused on the way.
    fn is_given_up(&mut self, cx: &Context<'_>) -> bool {
        match self.link.overdue(cx) {
            Some(Phase::Idle) => !self.is_h2,
            Some(Phase::Head) => {
                self.gate.reject(Reject::HeadTimeout);
                self.tell();
                false
            }
            Some(Phase::Busy) | None => false,
        }
    }

    fn wrote(&self, cx: &Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            self.link.write_moved();
        } else if self.link.write_blocked(cx) {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        result
    }

    /// Reads and drops what the client still sends, within bounds.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            if self.link.overdue(cx).is_some() {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.poll_stream(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
            let lingered = self.lingered.get_or_insert(0);
            *lingered += buffer.filled().len();
            if *lingered > LINGER_BYTES {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match this.gate.next() {
                Next::Deliver => {
                    this.gate.take(buffer.remaining(), |bytes| buffer.put_slice(bytes));
                    return Poll::Ready(Ok(()));
                }
                // The end would have the parser drop the answer; the answer itself ends the connection.
                Next::End => return Poll::Pending,
                Next::Fail(why) => {
                    this.link.body_broken(why);
                    return Poll::Ready(Err(ErrorKind::InvalidData.into()));
                }
                Next::Wait => match this.link.take_resumption(cx) {
                    Some(is_tunnel) => {
                        this.gate.resume(is_tunnel);
                        this.tell();
                        continue;
                    }
                    None => return Poll::Pending,
                },
                Next::Read => {}
            }
            if this.is_given_up(cx) {
                return Poll::Ready(Ok(()));
            }
            if this.gate.next() != Next::Read {
                continue;
            }
            let before = buffer.filled().len();
            ready!(this.poll_stream(cx, buffer))?;
            let fresh = &buffer.filled()[before..];
            if fresh.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let passed = this.gate.admit(fresh);
            buffer.set_filled(before + passed);
            this.tell();
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = match &mut self.stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        };
        self.wrote(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        };
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = match &mut self.stream {
            Stream::Tcp(_) => return Poll::Ready(Ok(())),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        };
        self.wrote(cx, result.map_ok(|()| 0)).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingered.is_none() {
            match &mut self.stream {
                Stream::Tcp(tcp) => ready!(Pin::new(tcp).poll_shutdown(cx))?,
                Stream::Tls(tls) => ready!(Pin::new(tls).poll_shutdown(cx))?,
            }
            if self.gate.is_between_messages() {
                return Poll::Ready(Ok(()));
            }
            self.lingered = Some(0);
            self.link.linger(LINGER_TIME);
        }
        self.poll_linger(cx)
    }
}
