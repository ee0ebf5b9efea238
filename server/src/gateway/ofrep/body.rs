//! The body of an evaluation, whole, within the limits that every request body has.

use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use edge_ofrep::{Failure, MAX_BODY_BYTES};
use http::header;
use http::request;
use hyper::body::{Body as _, Incoming};

use super::super::clock::Lifeline;
use super::super::link::Link;
use super::super::metrics::Event;
use super::super::upstream::fault::Cause;
use super::super::upstream::pump::{Framing, Out, Patience, Pump};
use super::super::worker::Worker;

/// Reads it to its end.
pub(super) async fn read(
    body: Incoming,
    worker: &Worker,
    link: &Link,
    lifeline: Rc<Lifeline>,
    parts: &request::Parts,
) -> Result<Bytes, Failure> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > MAX_BODY_BYTES as u64) {
        return Err(Failure::TOO_LARGE);
    }
    let limits = &worker.config.client;
    let patience = Patience { silence: limits.body_timeout, rate: limits.body_min_rate };
    let mut pump = Pump::new(body, Framing::Length, false, patience);
    let timer = worker.deadlines.timer(Some(lifeline));
    let mut whole = Whole::default();
    std::future::poll_fn(|cx| {
        loop {
            let mut out = Out::default();
            match pump.poll_fill(cx, timer.now_ms(), &mut out) {
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(true)) => {
                    whole.push(out.take_data())?;
                    timer.disarm();
                    whole.is_waiting = false;
                }
                Poll::Ready(Err(cause)) => return Poll::Ready(Err(failure(cause, worker, link))),
                Poll::Pending => {
                    if !std::mem::replace(&mut whole.is_waiting, true) {
                        timer.arm(pump.patience());
                    }
                    return match timer.expired(cx) {
                        Some(_) => Poll::Ready(Err(failure(Cause::ClientTimeout, worker, link))),
                        None => Poll::Pending,
                    };
                }
            }
        }
    })
    .await?;
    Ok(whole.finish())
}

fn failure(cause: Cause, worker: &Worker, link: &Link) -> Failure {
    if cause == Cause::ClientTimeout {
        worker.shard.count(Event::BodyTimeout);
        return Failure::TIMEOUT;
    }
    if link.body_violation().is_some() {
        worker.shard.count(Event::RequestRejected);
    }
    Failure::BROKEN
}

/// Nearly always one piece, which is then handed on as it is.
#[derive(Default)]
struct Whole {
    first: Bytes,
    rest: BytesMut,
    is_waiting: bool,
}

impl Whole {
    fn push(&mut self, piece: Bytes) -> Result<(), Failure> {
        if self.first.len() + self.rest.len() + piece.len() > MAX_BODY_BYTES {
            return Err(Failure::TOO_LARGE);
        }
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.rest.extend_from_slice(&piece);
        }
        Ok(())
    }

    fn finish(self) -> Bytes {
        if self.rest.is_empty() {
            return self.first;
        }
        [&self.first[..], &self.rest].concat().into()
    }
}
