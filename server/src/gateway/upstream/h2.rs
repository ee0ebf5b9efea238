//! HTTP/2 to an upstream: one connection per worker and upstream, by prior knowledge or ALPN.
//!
//! Pings find a dead connection, which would otherwise stay and swallow requests.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;

use super::super::clock::Expired;
use super::super::executor::LocalExecutor;
use super::super::headers;
use super::super::waits::Waits;
use super::fault::{Cause, Fault};
use super::pool::Pool;

/// Interval of keep-alive pings.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Time to answer one.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// The connection of a pool, if there is one.
#[derive(Default)]
pub(in crate::gateway) struct H2 {
    sender: Option<SendRequest<UpstreamBody>>,
    connecting: Option<Rc<Notify>>,
}

impl H2 {
    pub(super) fn clear(&mut self) {
        self.sender = None;
    }
}

/// The client's body on its way to an HTTP/2 upstream.
pub(in crate::gateway) struct UpstreamBody {
    body: Option<Incoming>,
    progress: Rc<Progress>,
}

/// How far a client's body has come, for whoever waits for the upstream's answer meanwhile.
pub(in crate::gateway) struct Progress {
    frames: Cell<u64>,
    /// The upstream would take more, and the client has not sent it.
    is_waiting: Cell<bool>,
    patience: Duration,
}

impl UpstreamBody {
    /// `patience`: how long the client may be silent.
    pub(in crate::gateway) fn new(body: Option<Incoming>, patience: Duration) -> Self {
        // A body that nobody has asked for yet is most likely to be waited for.
        let is_waiting = Cell::new(body.is_some());
        Self { body, progress: Rc::new(Progress { frames: Cell::new(0), is_waiting, patience }) }
    }

    pub(in crate::gateway) fn progress(&self) -> &Rc<Progress> {
        &self.progress
    }
}

/// Waits for an upstream, but not while a client's body is under way to it.
pub(in crate::gateway) struct Watch {
    progress: Rc<Progress>,
    seen: u64,
    is_for_client: bool,
}

impl Watch {
    pub(in crate::gateway) fn new(progress: &Rc<Progress>) -> Self {
        Self { progress: Rc::clone(progress), seen: progress.frames.get(), is_for_client: false }
    }

    pub(in crate::gateway) fn arm(&mut self, waits: &Waits) {
        self.seen = self.progress.frames.get();
        self.is_for_client = self.progress.is_waiting.get();
        if self.is_for_client { waits.arm(self.progress.patience) } else { waits.arm_read() }
    }

    fn has_moved(&self) -> bool {
        self.progress.frames.get() != self.seen || self.progress.is_waiting.get() != self.is_for_client
    }

    /// What has passed, and whose fault it is. There is more time when the body has moved, or when the
    /// other side is waited for now.
    pub(in crate::gateway) fn expired(&mut self, cx: &Context<'_>, waits: &Waits) -> Option<Cause> {
        loop {
            match waits.expired(cx)? {
                Expired::RolledBack => return Some(Cause::RolledBack),
                Expired::Deadline if waits.is_over() => return Some(Cause::Timeout),
                Expired::Deadline if self.has_moved() => self.arm(waits),
                Expired::Deadline if self.is_for_client => return Some(Cause::ClientTimeout),
                Expired::Deadline => return Some(Cause::Timeout),
            }
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        self.progress.is_waiting.set(frame.is_pending());
        if frame.is_ready() {
            self.progress.frames.set(self.progress.frames.get() + 1);
        }
        frame.map(|frame| frame.map(|frame| frame.map(headers::without_own_trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Pool {
    /// One exchange; returns with the response head.
    pub(in crate::gateway) async fn h2(
        &self,
        request: Request<UpstreamBody>,
        fresh: bool,
        waits: &Waits,
    ) -> Result<Response<Incoming>, Fault> {
        let (mut sender, reused) = self.sender(fresh, waits).await?;
        let mut watch = Watch::new(request.body().progress());
        watch.arm(waits);
        let fault = |cause, sent| Fault { cause, sent, received: false, reused };
        let mut answering = std::pin::pin!(sender.send_request(request));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = answering.as_mut().poll(cx) {
                // A cancelled request never left our queue.
                return Poll::Ready(done.map_err(|error| fault(Cause::Broken, !error.is_canceled())));
            }
            match watch.expired(cx, waits) {
                None => Poll::Pending,
                Some(cause) => Poll::Ready(Err(fault(cause, true))),
            }
        })
        .await
    }

    async fn sender(&self, mut fresh: bool, waits: &Waits) -> Result<(SendRequest<UpstreamBody>, bool), Fault> {
        loop {
            let waiting = {
                let mut h2 = self.h2.borrow_mut();
                if let Some(sender) = h2.sender.as_ref().filter(|sender| sender.is_ready() && !fresh) {
                    return Ok((sender.clone(), true));
                }
                let waiting = h2.connecting.clone();
                h2.connecting.get_or_insert_default();
                waiting
            };
            let Some(connecting) = waiting else {
                // Cleared also when this future is dropped, or nobody would connect again.
                let _turn = Turn(self);
                return self.open_h2(waits).await.map(|sender| (sender, false));
            };
            connecting.notified().await;
            fresh = false;
        }
    }

    async fn open_h2(&self, waits: &Waits) -> Result<SendRequest<UpstreamBody>, Fault> {
        let stream = self.connect(waits).await?;
        let mut builder = Builder::new(LocalExecutor);
        builder.timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_TIMEOUT);
        builder.adaptive_window(true).max_header_list_size(headers::MAX_LIST_BYTES);
        let handshake = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|_| Fault::unsent(Cause::Connect))?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 upstream connection ended");
            }
        });
        self.h2.borrow_mut().sender = Some(sender.clone());
        Ok(sender)
    }
}

struct Turn<'a>(&'a Pool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(connecting) = self.0.h2.borrow_mut().connecting.take() {
            connecting.notify_waiters();
        }
    }
}
