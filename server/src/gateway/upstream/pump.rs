//! The client's request body on its way to the upstream: one frame at a time, never more in memory.
//!
//! It frames the body for HTTP/1.1 (`content-length` as given, otherwise chunked), holds it back
//! while the upstream has not answered an `Expect: 100-continue`, and judges clients that bring
//! too little. It does not touch sockets.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use hyper::body::{Body, Incoming};
use tokio::io::AsyncWrite;

use super::super::headers;
use super::fault::Cause;

/// Bytes on their way out: framing, data, framing; written together.
#[derive(Default)]
pub(in crate::gateway) struct Out {
    pub(in crate::gateway) head: BytesMut,
    data: Bytes,
    tail: &'static [u8],
}

impl Out {
    pub(in crate::gateway) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    /// The data alone, for whoever needs no framing.
    pub(in crate::gateway) fn take_data(&mut self) -> Bytes {
        std::mem::take(&mut self.data)
    }

    /// Writes all of it. `sent` becomes true with the first byte.
    pub(in crate::gateway) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
        sent: &mut bool,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let to = Pin::new(&mut *to);
            let n = if self.data.is_empty() && self.tail.is_empty() {
                ready!(to.poll_write(cx, &self.head))?
            } else {
                let slices = [IoSlice::new(&self.head), IoSlice::new(&self.data), IoSlice::new(self.tail)];
                ready!(to.poll_write_vectored(cx, &slices))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *sent = true;
            self.advance(n);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, n: usize) {
        let head = n.min(self.head.len());
        self.head.advance(head);
        let data = (n - head).min(self.data.len());
        self.data.advance(data);
        self.tail = &self.tail[n - head - data..];
    }
}

/// How the body is framed towards an HTTP/1.1 upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Framing {
    None,
    Length,
    Chunked,
}

/// What a client owes while it sends a body.
#[derive(Debug, Clone, Copy)]
pub(in crate::gateway) struct Patience {
    pub(in crate::gateway) silence: Duration,
    /// Bytes per second.
    pub(in crate::gateway) rate: u64,
}

pub(in crate::gateway) struct Pump {
    body: Option<Incoming>,
    framing: Framing,
    is_held: bool,
    is_touched: bool,
    received: u64,
    waiting_since: Option<u64>,
    waited_ms: u64,
    patience: Patience,
}

impl Pump {
    /// `is_held`: the client waits for `100 Continue`, which goes out when the body is first read.
    pub(in crate::gateway) fn new(body: Incoming, framing: Framing, is_held: bool, patience: Patience) -> Self {
        let body = (framing != Framing::None).then_some(body);
        let is_held = is_held && body.is_some();
        Self { body, framing, is_held, is_touched: false, received: 0, waiting_since: None, waited_ms: 0, patience }
    }

    pub(in crate::gateway) fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether all of the body was handed on.
    pub(in crate::gateway) fn is_done(&self) -> bool {
        self.body.is_none()
    }

    /// Whether the body waits for the upstream's `100 Continue`.
    pub(in crate::gateway) fn is_held(&self) -> bool {
        self.is_held
    }

    pub(in crate::gateway) fn release(&mut self) {
        self.is_held = false;
    }

    /// Whether nothing of the body was read, so that another attempt would send it whole.
    pub(in crate::gateway) fn is_whole(&self) -> bool {
        !self.is_touched
    }

    /// Whether it is the client that is waited for.
    pub(in crate::gateway) fn is_waiting(&self) -> bool {
        self.waiting_since.is_some()
    }

    pub(in crate::gateway) fn patience(&self) -> Duration {
        self.patience.silence
    }

    /// The body itself, for an HTTP/2 upstream.
    pub(in crate::gateway) fn take(&mut self) -> Option<Incoming> {
        self.is_touched = true;
        self.body.take()
    }

    /// Puts the next frame into `out`, which is empty. `false` when the body is over.
    pub(in crate::gateway) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        now_ms: u64,
        out: &mut Out,
    ) -> Poll<Result<bool, Cause>> {
        loop {
            if self.is_held {
                return Poll::Pending;
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(false)) };
            self.is_touched = true;
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
                self.waiting_since.get_or_insert(now_ms);
                return Poll::Pending;
            };
            self.count_wait(now_ms)?;
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        self.received += data.len() as u64;
                        self.put(data, out);
                        return Poll::Ready(Ok(true));
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.end(Some(&trailers), out);
                            return Poll::Ready(Ok(true));
                        }
                    }
                },
                Some(Err(_)) => return Poll::Ready(Err(Cause::ClientBody)),
                None => {
                    self.end(None, out);
                    return Poll::Ready(Ok(!out.is_empty()));
                }
            }
        }
    }

    /// A client that brings a byte now and then is as bad as a silent one.
    fn count_wait(&mut self, now_ms: u64) -> Result<(), Cause> {
        let Some(since) = self.waiting_since.take() else { return Ok(()) };
        self.waited_ms += now_ms.saturating_sub(since);
        let silence = u64::try_from(self.patience.silence.as_millis()).unwrap_or(u64::MAX);
        let owed = self.waited_ms.saturating_sub(silence) / 1000 * self.patience.rate;
        if self.received < owed { Err(Cause::ClientTimeout) } else { Ok(()) }
    }

    fn put(&self, data: Bytes, out: &mut Out) {
        if self.framing == Framing::Chunked {
            put_hex(&mut out.head, data.len());
            out.head.extend_from_slice(b"\r\n");
            out.tail = b"\r\n";
        }
        out.data = data;
    }

    fn end(&mut self, trailers: Option<&HeaderMap>, out: &mut Out) {
        self.body = None;
        if self.framing != Framing::Chunked {
            return;
        }
        out.head.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.into_iter().flatten() {
            if headers::is_forwardable_trailer(name) {
                headers::put(&mut out.head, name.as_str(), value.as_bytes());
            }
        }
        out.head.extend_from_slice(b"\r\n");
    }
}

fn put_hex(out: &mut BytesMut, number: usize) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        out.extend_from_slice(&[b"0123456789abcdef"[number >> (4 * at) & 15]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_in_hexadecimal() {
        for number in [0, 1, 15, 16, 255, 4096, 65_535, usize::MAX] {
            let mut out = BytesMut::new();
            put_hex(&mut out, number);
            assert_eq!(out, format!("{number:x}").as_bytes());
        }
    }

    #[test]
    fn a_write_of_any_length_leaves_the_rest() {
        let whole = b"headdatatail";
        for n in 0..=whole.len() {
            let mut out = Out { head: BytesMut::from("head"), data: Bytes::from_static(b"data"), tail: b"tail" };
            out.advance(n);
            assert_eq!([&out.head[..], &out.data, out.tail].concat(), &whole[n..]);
        }
    }
}
