//! One HTTP/1.1 connection to an upstream, and one exchange over it at a time.
//!
//! A connection goes back to its pool only after an exchange that ended exactly where both sides
//! think it did: response complete, request complete, not a byte left over.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::clock::Expired;
use super::super::headers;
use super::super::waits::Waits;
use super::connect::Stream;
use super::fault::{Cause, Fault};
use super::pump::{Out, Pump};
use super::response::{self, ResponseHead};

/// Space for one read; enough for most whole responses.
const READ_BYTES: usize = 16 * 1024;

/// A connection.
pub(in crate::gateway) struct H1 {
    stream: Stream,
    read: BytesMut,
    pub(in crate::gateway) out: Out,
    progress: Progress,
    write_failed: bool,
    /// How many connections the pool has open.
    open: Open,
}

/// How far an exchange got; what a safe retry depends on.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    sent: bool,
    received: bool,
    reused: bool,
}

/// What an exchange needs to know about its request.
pub(in crate::gateway) struct Ask<'a> {
    pub(in crate::gateway) method: &'a Method,
    /// The protocols that the client offers to switch to.
    pub(in crate::gateway) upgrade: Option<&'a [u8]>,
    pub(in crate::gateway) max_head: usize,
}

impl H1 {
    pub(in crate::gateway) fn new(stream: Stream, open: Rc<Cell<usize>>) -> Box<Self> {
        open.set(open.get() + 1);
        Box::new(Self {
            stream,
            read: BytesMut::new(),
            out: Out::default(),
            progress: Progress::default(),
            write_failed: false,
            open: Open(open),
        })
    }

    /// Whether an idle connection is still silent and open. Costs no system call as long as the
    /// event loop has seen nothing on it.
    pub(in crate::gateway) fn is_quiet(&mut self) -> bool {
        let mut space = [0; 1];
        let mut buffer = ReadBuf::new(&mut space);
        let mut cx = Context::from_waker(Waker::noop());
        self.read.is_empty() && Pin::new(&mut self.stream).poll_read(&mut cx, &mut buffer).is_pending()
    }

    /// Makes the connection ready for its next exchange.
    pub(in crate::gateway) fn reuse(&mut self) {
        self.progress = Progress { reused: true, ..Progress::default() };
    }

    /// Whether it can take another exchange.
    pub(in crate::gateway) fn is_clean(&self) -> bool {
        self.read.is_empty() && self.out.is_empty() && !self.write_failed
    }

    pub(in crate::gateway) fn fault(&self, cause: Cause) -> Fault {
        let Progress { sent, received, reused } = self.progress;
        Fault { cause, sent, received, reused }
    }

    /// Sends the head that is in `out` and the body; returns when the response head is there, be
    /// it before the body was sent.
    pub(in crate::gateway) async fn exchange(
        &mut self,
        pump: &mut Pump,
        waits: &Waits,
        ask: &Ask<'_>,
    ) -> Result<ResponseHead, Fault> {
        Self::arm(pump, waits);
        let outcome = std::future::poll_fn(|cx| self.poll_exchange(cx, pump, waits, ask)).await;
        outcome.map_err(|cause| self.fault(cause))
    }

    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        pump: &mut Pump,
        waits: &Waits,
        ask: &Ask<'_>,
    ) -> Poll<Result<ResponseHead, Cause>> {
        loop {
            self.poll_send(cx, pump, waits)?;
            match self.poll_head(cx, pump, ask)? {
                Poll::Ready(Some(head)) => return Poll::Ready(Ok(head)),
                Poll::Ready(None) => Self::arm(pump, waits),
                Poll::Pending => match waits.expired(cx) {
                    None => return Poll::Pending,
                    Some(Expired::RolledBack) => return Poll::Ready(Err(Cause::RolledBack)),
                    Some(Expired::Deadline) if pump.is_held() && !waits.is_over() => {
                        pump.release();
                        Self::arm(pump, waits);
                    }
                    Some(Expired::Deadline) if pump.is_waiting() => return Poll::Ready(Err(Cause::ClientTimeout)),
                    Some(Expired::Deadline) => return Poll::Ready(Err(Cause::Timeout)),
                },
            }
        }
    }

    /// Sends as much as both sides allow now. An error of the connection is left to the reader:
    /// the upstream may have answered before it stopped listening.
    pub(in crate::gateway) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        pump: &mut Pump,
        waits: &Waits,
    ) -> Result<(), Cause> {
        if self.write_failed || (pump.is_done() && self.out.is_empty()) {
            return Ok(());
        }
        loop {
            match self.out.poll_write(cx, &mut self.stream, &mut self.progress.sent) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    self.write_failed = true;
                    return Ok(());
                }
                Poll::Pending => return Ok(()),
            }
            if pump.is_done() {
                break;
            }
            let was_waiting = pump.is_waiting();
            match pump.poll_fill(cx, waits.now_ms(), &mut self.out) {
                Poll::Ready(filled) => {
                    Self::arm(pump, waits);
                    if !filled? {
                        break;
                    }
                }
                Poll::Pending => {
                    if !was_waiting {
                        Self::arm(pump, waits);
                    }
                    break;
                }
            }
        }
        if matches!(Pin::new(&mut self.stream).poll_flush(cx), Poll::Ready(Err(_))) {
            self.write_failed = true;
        }
        Ok(())
    }

    fn arm(pump: &Pump, waits: &Waits) {
        if pump.is_held() {
            waits.arm_continue();
        } else if pump.is_waiting() {
            waits.arm(pump.patience());
        } else {
            waits.arm_read();
        }
    }

    /// Reads on until a head is complete; `None` for an interim response.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        pump: &mut Pump,
        ask: &Ask<'_>,
    ) -> Result<Poll<Option<ResponseHead>>, Cause> {
        loop {
            if !self.read.is_empty() {
                if let Some(head) = response::parse(&mut self.read, ask.method).map_err(|_| Cause::Malformed)? {
                    return sort(head, pump, ask).map(Poll::Ready);
                }
                if self.read.len() > ask.max_head {
                    return Err(Cause::Malformed);
                }
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(Cause::Broken),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
    }

    /// Reads more into the buffer.
    pub(in crate::gateway) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        if self.read.capacity() - self.read.len() < READ_BYTES / 4 {
            self.read.reserve(READ_BYTES);
        }
        let n = tokio_util::io::poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read);
        if let Poll::Ready(Ok(1..)) = n {
            self.progress.received = true;
        }
        n
    }

    /// What was read and not used yet.
    pub(in crate::gateway) fn buffered(&self) -> &[u8] {
        &self.read
    }

    pub(in crate::gateway) fn take(&mut self, n: usize) -> Bytes {
        self.read.split_to(n).freeze()
    }

    /// The transport and what was read beyond the 101. The connection counts as open until the
    /// tunnel ends.
    pub(in crate::gateway) fn into_tunnel(self, waits: Waits) -> Tunnel {
        let Self { stream, read, open, .. } = self;
        Tunnel { stream, early_upstream: read.freeze(), waits, _open: open }
    }
}

/// What a response head is for: `None` for an interim one, which has had its effect.
fn sort(head: ResponseHead, pump: &mut Pump, ask: &Ask<'_>) -> Result<Option<ResponseHead>, Cause> {
    match head.status {
        StatusCode::CONTINUE => {
            pump.release();
            Ok(None)
        }
        StatusCode::SWITCHING_PROTOCOLS => {
            let both = ask.upgrade.zip(head.upgrade.as_ref());
            let agreed = both.is_some_and(|(offered, taken)| headers::offers(offered, taken.as_bytes()));
            if agreed { Ok(Some(head)) } else { Err(Cause::Malformed) }
        }
        // Other interim responses are hints; the parser downstream cannot pass them on.
        status if status.is_informational() => Ok(None),
        _ => Ok(Some(head)),
    }
}

/// An upstream's side of a tunnel.
pub(in crate::gateway) struct Tunnel {
    pub(in crate::gateway) stream: Stream,
    pub(in crate::gateway) early_upstream: Bytes,
    pub(in crate::gateway) waits: Waits,
    _open: Open,
}

/// Counts an open connection.
struct Open(Rc<Cell<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
