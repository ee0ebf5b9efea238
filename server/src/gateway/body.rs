//! Response bodies on their way to the client: streamed, one frame at a time.
//!
//! A body owns what its exchange still needs: the upstream connection, the rest of the client's own
//! body, the deadlines. When it ends cleanly the connection goes back to its pool; when it is
//! dropped early the connection is closed. A body that breaks ends the client's connection without
//! the proper end, so that the client can tell.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::clock::Expired;
use super::gate::chunked::{Chunked, Part};
use super::headers;
use super::link::Link;
use super::metrics::{Event, Shard};
use super::ofrep::stream::EventStream;
use super::upstream::fault::Cause;
use super::upstream::h1::H1;
use super::upstream::h2::Watch;
use super::upstream::pool::Pool;
use super::upstream::pump::Pump;
use super::upstream::response::BodyFraming;
use super::waits::Waits;

/// A response body.
pub(super) struct ProxyBody {
    kind: Kind,
    _ended: Ended,
}

enum Kind {
    Full(Bytes),
    H1(Box<H1Body>),
    H2(Box<H2Body>),
    Events(Box<EventStream>),
}

/// Tells the connection that a response is over, however it ended.
pub(super) struct Ended(pub(super) Rc<Link>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.response_ended();
    }
}

/// What streaming bodies have in common.
pub(super) struct Flow {
    pub(super) waits: Waits,
    pub(super) shard: std::sync::Arc<Shard>,
    /// How long a client may refuse bytes where only this body can notice (HTTP/2 streams).
    pub(super) stall: Option<Duration>,
}

impl Flow {
    /// What ended the exchange, counted, as an error.
    fn fail(&self, cause: Cause) -> io::Error {
        match cause {
            Cause::RolledBack => {
                self.shard.count(Event::RolledBack);
                io::Error::new(ErrorKind::ConnectionAborted, "the release was rolled back")
            }
            Cause::ClientTimeout => {
                self.shard.count(Event::BodyTimeout);
                io::Error::new(ErrorKind::TimedOut, "the request body is too slow")
            }
            Cause::Timeout => io::Error::new(ErrorKind::TimedOut, "the upstream is too slow"),
            _ => io::Error::new(ErrorKind::InvalidData, "the request body broke off"),
        }
    }

    /// Bytes go to the client now.
    fn handed_over(&self) {
        match self.stall {
            Some(stall) => self.waits.arm_stall(stall),
            None => self.waits.disarm(),
        }
    }
}

/// The body of an HTTP/1 upstream.
pub(super) struct H1Body {
    pub(super) connection: Option<Box<H1>>,
    pub(super) pool: Rc<Pool>,
    pub(super) left: Left,
    pub(super) keeps_alive: bool,
    pub(super) pump: Pump,
    pub(super) flow: Flow,
    pub(super) is_waiting: bool,
}

/// What is still to come.
pub(super) enum Left {
    Length(u64),
    Chunked(Chunked),
    Close,
    Nothing,
}

impl From<BodyFraming> for Left {
    fn from(framing: BodyFraming) -> Self {
        match framing {
            BodyFraming::None => Self::Nothing,
            BodyFraming::Length(length) => Self::Length(length),
            BodyFraming::Chunked => Self::Chunked(Chunked::default()),
            BodyFraming::Close => Self::Close,
        }
    }
}

/// The body of an HTTP/2 upstream.
pub(super) struct H2Body {
    pub(super) body: Incoming,
    pub(super) watch: Watch,
    pub(super) flow: Flow,
    pub(super) is_waiting: bool,
}

impl ProxyBody {
    pub(super) fn full(bytes: Bytes, ended: Ended) -> Self {
        Self { kind: Kind::Full(bytes), _ended: ended }
    }

    pub(super) fn events(stream: Box<EventStream>, ended: Ended) -> Self {
        Self { kind: Kind::Events(stream), _ended: ended }
    }

    pub(super) fn h1(body: H1Body, ended: Ended) -> Self {
        Self { kind: Kind::H1(Box::new(body)), _ended: ended }
    }

    pub(super) fn h2(body: H2Body, ended: Ended) -> Self {
        Self { kind: Kind::H2(Box::new(body)), _ended: ended }
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.kind {
            Kind::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::H1(body) => body.poll(cx),
            Kind::H2(body) => body.poll(cx),
            Kind::Events(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::H1(body) => matches!(body.left, Left::Nothing),
            Kind::H2(body) => body.body.is_end_stream(),
            Kind::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::H1(body) => match body.left {
                Left::Length(length) => SizeHint::with_exact(length),
                Left::Nothing => SizeHint::with_exact(0),
                Left::Chunked(_) | Left::Close => SizeHint::default(),
            },
            Kind::H2(body) => body.body.size_hint(),
            Kind::Events(_) => SizeHint::default(),
        }
    }
}

impl H1Body {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = ready!(self.poll_frame(cx));
        match &frame {
            Some(Ok(_)) => self.flow.handed_over(),
            Some(Err(_)) => {
                self.left = Left::Nothing;
                self.connection = None;
            }
            None => {}
        }
        Poll::Ready(frame)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            if let Err(cause) = connection.poll_send(cx, &mut self.pump, &self.flow.waits) {
                return Poll::Ready(Some(Err(self.flow.fail(cause))));
            }
            match decode(&mut self.left, connection) {
                Ok(Some(frame)) => {
                    if matches!(self.left, Left::Nothing) {
                        self.finish();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(None) if matches!(self.left, Left::Nothing) => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            match connection.poll_read(cx) {
                Poll::Ready(Ok(0)) if matches!(self.left, Left::Close) => {
                    self.left = Left::Nothing;
                    self.connection = None;
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Some(Err(ErrorKind::UnexpectedEof.into()))),
                Poll::Ready(Ok(_)) => self.is_waiting = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => {
                    if !std::mem::replace(&mut self.is_waiting, true) {
                        self.flow.waits.arm_read();
                    }
                    return match self.flow.waits.expired(cx) {
                        Some(Expired::RolledBack) => Poll::Ready(Some(Err(self.flow.fail(Cause::RolledBack)))),
                        Some(Expired::Deadline) => Poll::Ready(Some(Err(self.flow.fail(Cause::Timeout)))),
                        None => Poll::Pending,
                    };
                }
            }
        }
    }

    /// The response is complete; the connection serves again when the request is too.
    fn finish(&mut self) {
        self.is_waiting = false;
        if let Some(connection) = self.connection.take()
            && self.keeps_alive
            && self.pump.is_done()
        {
            self.pool.put(connection, self.flow.waits.now_ms());
        }
    }
}

/// Takes the next frame from what is buffered; sets `left` to `Nothing` at the end.
pub(super) fn decode(left: &mut Left, connection: &mut H1) -> io::Result<Option<Frame<Bytes>>> {
    loop {
        let buffered = connection.buffered().len();
        match left {
            Left::Length(length) => {
                let here = usize::try_from(*length).unwrap_or(usize::MAX).min(buffered);
                *length -= here as u64;
                if *length == 0 {
                    *left = Left::Nothing;
                }
                return Ok((here > 0).then(|| Frame::data(connection.take(here))));
            }
            Left::Close => return Ok((buffered > 0).then(|| Frame::data(connection.take(buffered)))),
            Left::Chunked(chunked) if buffered > 0 => {
                let part = chunked
                    .next(connection.buffered())
                    .map_err(|_| io::Error::new(ErrorKind::InvalidData, "the upstream's chunks are malformed"))?;
                match part {
                    Part::Framing(n) => drop(connection.take(n)),
                    Part::Data(n) => return Ok(Some(Frame::data(connection.take(n)))),
                    Part::End(n) => {
                        drop(connection.take(n));
                        let trailers = std::mem::take(chunked).into_trailers();
                        *left = Left::Nothing;
                        return Ok(trailer_map(&trailers).map(Frame::trailers));
                    }
                }
            }
            Left::Chunked(_) | Left::Nothing => return Ok(None),
        }
    }
}

/// The trailer section as a map, without fields that are ours; `None` when nothing is left.
fn trailer_map(section: &[u8]) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for line in section.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value)
            && headers::is_forwardable_trailer(&name)
        {
            map.append(name, value);
        }
    }
    (!map.is_empty()).then_some(map)
}

impl H2Body {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.is_waiting = false;
                self.flow.handed_over();
                Poll::Ready(frame.map(|frame| frame.map(headers::without_own_trailers).map_err(io::Error::other)))
            }
            Poll::Pending => {
                if !std::mem::replace(&mut self.is_waiting, true) {
                    self.watch.arm(&self.flow.waits);
                }
                match self.watch.expired(cx, &self.flow.waits) {
                    Some(cause) => Poll::Ready(Some(Err(self.flow.fail(cause)))),
                    None => Poll::Pending,
                }
            }
        }
    }
}
