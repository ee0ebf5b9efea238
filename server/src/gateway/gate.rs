//! The gate before the HTTP/1 parser: an independent, strict reading of the client's byte stream.
//!
//! The parser behind it forgives much (both lengths, bare LF, ...) and closes without a word where
//! it does not. The gate lets bytes through only as whole, well-formed heads and bodies. In place
//! of the first head that is not, the parser gets a clean substitute; [`Gate::rejection`] says
//! which request that is and why, so that the service answers it, in its turn, and closes. Not one
//! byte after a violation is ever looked at. No I/O here: bytes in, verdicts out.

pub(super) mod chunked;
pub(super) mod head;

use bytes::{Buf, BytesMut};

use chunked::{Chunked, Part};
use head::{BodyFraming, HeadLimits, HeadReader, Reject};

/// What the parser reads where a head was refused. It never reaches an upstream.
const SUBSTITUTE: &[u8] = b"GET / HTTP/1.1\r\nhost: rejected\r\nconnection: close\r\n\r\n";

/// The client's stream, cut into messages.
#[derive(Debug)]
pub(super) struct Gate {
    state: State,
    limits: HeadLimits,
    /// Bytes that came and were not delivered yet: first `ready` ones that may be, then a head
    /// that is incomplete, or bytes that wait for the answer to an upgrade.
    inbox: BytesMut,
    ready: usize,
    heads: u64,
    rejection: Option<(u64, Reject)>,
}

#[derive(Debug)]
enum State {
    Head(HeadReader),
    Length(u64),
    Chunked(Chunked),
    /// A head asked for an upgrade; what follows is HTTP only if the answer says so.
    Held,
    /// Not HTTP/1: a tunnel or HTTP/2.
    Raw,
    /// Refused: nothing more is read.
    Ended,
    /// A violation inside a body: there is no head left to replace.
    Broken(Reject),
}

/// What the reader may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Take bytes with [`Gate::take`].
    Deliver,
    /// Read from the client.
    Read,
    /// Wait for [`Gate::resume`].
    Wait,
    /// The stream is over for the parser.
    End,
    /// The body that the parser is reading is broken; fail the read.
    Fail(Reject),
}

impl Gate {
    pub(super) fn new(limits: HeadLimits) -> Self {
        let state = State::Head(HeadReader::default());
        Self { state, limits, inbox: BytesMut::new(), ready: 0, heads: 0, rejection: None }
    }

    /// What to do next.
    pub(super) fn next(&self) -> Next {
        match self.state {
            _ if self.ready > 0 => Next::Deliver,
            State::Ended => Next::End,
            State::Broken(why) => Next::Fail(why),
            State::Held => Next::Wait,
            _ => Next::Read,
        }
    }

    /// How many heads were let through, a substitute included.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// The number of the refused request, counted from 1, and why.
    pub(super) fn rejection(&self) -> Option<(u64, Reject)> {
        self.rejection
    }

    /// Whether the answer to an upgrade is waited for.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.state, State::Held)
    }

    /// Whether a head has begun and is not complete.
    pub(super) fn is_inside_head(&self) -> bool {
        matches!(self.state, State::Head(_)) && self.inbox.len() > self.ready
    }

    /// Whether all that came was delivered and ended with a whole message.
    pub(super) fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Head(_)) && self.inbox.is_empty()
    }

    /// Judges bytes that were just read into the parser's own buffer. Returns how many of them,
    /// from the start, the parser may have; the rest is kept here or dropped.
    pub(super) fn admit(&mut self, fresh: &[u8]) -> usize {
        if self.inbox.is_empty() {
            let passed = self.scan(fresh);
            if passed < fresh.len() && !self.is_over() {
                self.inbox.extend_from_slice(&fresh[passed..]);
            }
            self.substitute();
            return passed;
        }
        self.preload(fresh);
        0
    }

    /// Judges bytes that are not in the parser's buffer.
    pub(super) fn preload(&mut self, fresh: &[u8]) {
        self.inbox.extend_from_slice(fresh);
        self.review();
    }

    /// Moves bytes that may be delivered; at most `room` of them.
    pub(super) fn take(&mut self, room: usize, deliver: impl FnOnce(&[u8])) {
        let n = room.min(self.ready);
        deliver(&self.inbox[..n]);
        self.inbox.advance(n);
        self.ready -= n;
        if self.inbox.is_empty() {
            // An idle connection keeps no buffer.
            self.inbox = BytesMut::new();
        }
    }

    /// Says how the upgrade ended: with a tunnel, or with an ordinary answer.
    pub(super) fn resume(&mut self, is_tunnel: bool) {
        if matches!(self.state, State::Held) {
            self.state = if is_tunnel { State::Raw } else { State::Head(HeadReader::default()) };
            self.review();
        }
    }

    /// From here on bytes pass as they are.
    pub(super) fn pass_raw(&mut self) {
        self.state = State::Raw;
        self.ready = self.inbox.len();
    }

    /// Gives up on the head that is under way, e.g. because it takes too long.
    pub(super) fn reject(&mut self, why: Reject) {
        if matches!(self.state, State::Head(_)) {
            self.refuse(why);
            self.substitute();
        }
    }

    /// Scans what waits in the inbox behind the bytes that are ready.
    fn review(&mut self) {
        let inbox = std::mem::take(&mut self.inbox);
        let passed = self.scan(&inbox[self.ready..]);
        self.inbox = inbox;
        self.ready += passed;
        if self.is_over() {
            self.inbox.truncate(self.ready);
        }
        self.substitute();
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Ended | State::Broken(_))
    }

    /// Puts the substitute behind what may still be delivered, and drops the rest.
    fn substitute(&mut self) {
        if matches!(self.state, State::Ended) && self.rejection.is_some_and(|(head, _)| head > self.heads) {
            self.inbox.truncate(self.ready);
            self.inbox.extend_from_slice(SUBSTITUTE);
            self.ready = self.inbox.len();
            self.heads += 1;
        }
    }

    fn refuse(&mut self, why: Reject) {
        self.rejection = Some((self.heads + 1, why));
        self.state = State::Ended;
    }

    /// How many bytes from the start may pass. A head counts when it is whole.
    fn scan(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while passed < bytes.len() {
            let rest = &bytes[passed..];
            match &mut self.state {
                State::Head(reader) => match reader.read(rest, self.limits) {
                    Ok(Some(head)) => {
                        passed += head.len;
                        self.heads += 1;
                        self.state = match head.body {
                            _ if head.asks_upgrade => State::Held,
                            BodyFraming::Chunked => State::Chunked(Chunked::default()),
                            BodyFraming::Length(0) => State::Head(HeadReader::default()),
                            BodyFraming::Length(length) => State::Length(length),
                        };
                    }
                    Ok(None) => return passed,
                    Err(why) => {
                        self.refuse(why);
                        return passed;
                    }
                },
                State::Length(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    passed += here;
                    *left -= here as u64;
                    if *left == 0 {
                        self.state = State::Head(HeadReader::default());
                    }
                }
                State::Chunked(chunked) => match chunked.next(rest) {
                    Ok(Part::Framing(n) | Part::Data(n)) => passed += n,
                    Ok(Part::End(n)) => {
                        passed += n;
                        self.state = State::Head(HeadReader::default());
                    }
                    Err(why) => {
                        self.state = State::Broken(why);
                        return passed;
                    }
                },
                State::Raw => return bytes.len(),
                State::Held | State::Ended | State::Broken(_) => return passed,
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests;
