//! One request's way to an upstream and back: attempts, the one retry, shielding.
//!
//! A second attempt happens at most once, and only where it cannot do harm: the request certainly
//! never reached an upstream, or repeating it is the same as sending it once. Before it the
//! current state is asked again, so that nothing goes to a release that was rolled back meanwhile.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, request};
use hyper::body::Incoming;

use super::body::{Ended, Flow, H1Body, H2Body, Left, ProxyBody, decode};
use super::clock::Exchange;
use super::context::Subject;
use super::headers::{self, Facts, Sink};
use super::health::FailureKind;
use super::limits::DataConfig;
use super::link::Link;
use super::metrics::Event;
use super::problem::{NO_UPSTREAM, Problem};
use super::route::{Choice, Diverted, Serving};
use super::state::UpstreamRoute;
use super::upstream::fault::{Cause, Fault};
use super::upstream::h1::{Ask, H1};
use super::upstream::h2::{UpstreamBody, Watch};
use super::upstream::pool::Pool;
use super::upstream::pump::{Framing, Patience, Pump};
use super::upstream::response::BodyFraming;
use super::waits::Waits;
use super::worker::Worker;
use admin_api::edge::Failure;
use edge_engine::RouteReason;
use edge_engine::wire::UpstreamProtocol;
use http::request::Parts;

/// A request on its way.
pub(super) struct Call<'a> {
    pub(super) worker: &'a Worker,
    pub(super) link: &'a Rc<Link>,
    pub(super) parts: &'a request::Parts,
    pub(super) choice: &'a Choice,
    pub(super) host: &'a [u8],
    pub(super) request_id: &'a [u8],
    pub(super) new_traceparent: Option<&'a [u8]>,
    /// Whether the client may be tunnelled to an upstream that agrees.
    pub(super) may_upgrade: bool,
}

/// A response head and where its body comes from.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    source: Source,
}

enum Source {
    H1 { connection: Box<H1>, pool: Rc<Pool>, framing: BodyFraming, keeps_alive: bool },
    H2(Incoming, Watch),
    Tunnel(Box<H1>),
}

/// How an attempt ended, when not with a reply to pass on.
enum Failed {
    Fault(Fault),
    /// A 5xx that the active release may hide.
    Status(Reply),
}

impl Call<'_> {
    /// Sends the request; the reply, who served it, or the problem to answer with.
    pub(super) async fn run(&self, pump: &mut Pump, waits: &Waits) -> (Result<Reply, Problem>, Option<Serving>) {
        let Some(mut serving) = self.choice.serving(&self.worker.shard) else {
            self.worker.shard.count(Event::NoUpstream);
            return (Err(NO_UPSTREAM), None);
        };
        let mut attempt = Attempt::default();
        loop {
            let failed = match self.attempt(&serving, &attempt, pump, waits).await {
                Ok(reply) => return (Ok(reply), Some(serving)),
                Err(failed) => failed,
            };
            attempt.number += 1;
            let Some(next) = self.next(&failed, &serving, &mut attempt, pump) else {
                return (self.give_up(failed, &serving), Some(serving));
            };
            if next.release.id != serving.release.id {
                serving.release.shard.hidden(matches!(failed, Failed::Status(_)));
                self.observe(&serving, &failed, true);
            }
            serving = next;
        }
    }

    fn give_up(&self, failed: Failed, serving: &Serving) -> Result<Reply, Problem> {
        match failed {
            Failed::Status(reply) => Ok(reply),
            Failed::Fault(fault) => {
                if fault.kind().is_some() {
                    self.worker.shard.count(Event::NoUpstream);
                    serving.release.shard.unanswered();
                    self.observe(serving, &Failed::Fault(fault), false);
                } else if fault.cause == Cause::ClientTimeout {
                    self.worker.shard.count(Event::BodyTimeout);
                }
                Err(Problem::of_fault(fault, self.link.body_violation()))
            }
        }
    }

    /// Tells the verdict of a failure that the status of the answer does not tell.
    fn observe(&self, serving: &Serving, failed: &Failed, is_hidden: bool) {
        if serving.diverted.is_some() {
            return;
        }
        let failure = match failed {
            Failed::Status(_) => Failure::Status,
            Failed::Fault(fault) if fault.kind() == Some(FailureKind::Timeout) => Failure::Timeout,
            Failed::Fault(_) => Failure::Transport,
        };
        let route = &self.choice.route;
        if is_hidden && route.reason == RouteReason::Split {
            serving.release.shard.split(route.bucket.unwrap_or(0), true);
        }
        let Ok(host) = std::str::from_utf8(self.host) else { return };
        let Parts { headers, method, uri, .. } = self.parts;
        let subject = Subject { headers, method, uri, host, peer: &self.link.peer };
        let minted = self.choice.unit.as_ref().map(|unit| &unit[..]);
        self.choice.routes.observer.failed((route, minted), subject, (&serving.release.id, failure));
    }

    /// Who may answer after a failure; `None` when the failure is the answer.
    fn next(&self, failed: &Failed, serving: &Serving, attempt: &mut Attempt, pump: &Pump) -> Option<Serving> {
        let is_repeatable = self.is_idempotent() && pump.framing() == Framing::None;
        let shard = &self.worker.shard;
        let Failed::Fault(fault) = failed else {
            // Only shielded 5xx come here.
            let active = self.worker.active_now(self.choice, Diverted::Shield)?;
            shard.count(Event::Shielded);
            return Some(active);
        };
        if !pump.is_whole() || fault.kind().is_none() && !fault.may_retry(is_repeatable) {
            return None;
        }
        if attempt.number == 1 {
            let same = fault.may_retry(is_repeatable);
            let other = fault.never_sent() && serving.release.pick(attempt.last.get()).is_some();
            if (same || other) && self.worker.still_serves(self.choice, serving) {
                attempt.fresh = true;
                attempt.not = if same { None } else { attempt.last.get() };
                shard.count(Event::Retried);
                return Some(serving.clone());
            }
        }
        if serving.is_active {
            return None;
        }
        // Nothing was sent, or the environment asked for it.
        let may_shield = fault.never_sent() || (self.choice.routes.shield && is_repeatable);
        let active = may_shield.then(|| self.worker.active_now(self.choice, Diverted::Shield)).flatten()?;
        shard.count(Event::Shielded);
        attempt.fresh = false;
        attempt.not = None;
        Some(active)
    }

    async fn attempt(
        &self,
        serving: &Serving,
        attempt: &Attempt,
        pump: &mut Pump,
        waits: &Waits,
    ) -> Result<Reply, Failed> {
        let release = &serving.release;
        let unusable = || Failed::Fault(Fault::unsent(Cause::Connect));
        let upstream = release.pick(attempt.not).ok_or_else(unusable)?;
        let pool = self.worker.pool(upstream).ok_or_else(unusable)?;
        attempt.remember(upstream.index);
        waits.begin(Exchange {
            release: std::sync::Arc::clone(release),
            reason: self.choice.reason_at(serving),
            while_active: serving.is_active,
        });
        let sent = match upstream.target.protocol {
            UpstreamProtocol::Http1 => self.over_h1(serving, upstream, &pool, attempt.fresh, pump, waits).await,
            UpstreamProtocol::Http2 => self.over_h2(serving, upstream, &pool, attempt.fresh, pump, waits).await,
        };
        match sent {
            Ok(reply) if reply.status.is_server_error() => {
                release.health.record_failure(upstream.index, FailureKind::Status);
                release.shard.failed();
                let is_repeatable = self.is_idempotent() && pump.framing() == Framing::None;
                let shields = !serving.is_active && self.choice.routes.shield && is_repeatable;
                if shields { Err(Failed::Status(reply)) } else { Ok(reply) }
            }
            Ok(reply) => {
                release.health.record_success(upstream.index);
                Ok(reply)
            }
            Err(fault) => {
                if let Some(kind) = fault.kind() {
                    release.health.record_failure(upstream.index, kind);
                    release.shard.failed();
                }
                Err(Failed::Fault(fault))
            }
        }
    }

    async fn over_h1(
        &self,
        serving: &Serving,
        upstream: &UpstreamRoute,
        pool: &Rc<Pool>,
        fresh: bool,
        pump: &mut Pump,
        waits: &Waits,
    ) -> Result<Reply, Fault> {
        let mut connection = pool.h1(fresh, waits).await?;
        self.write_head(serving, upstream, pump, &mut connection);
        let upgrade = self.parts.headers.get(http::header::UPGRADE).filter(|_| self.may_upgrade);
        let ask = Ask {
            method: &self.parts.method,
            upgrade: upgrade.map(http::HeaderValue::as_bytes),
            max_head: self.worker.config.upstream.response_head_bytes,
        };
        let mut head = connection.exchange(pump, waits, &ask).await?;
        let source = if head.status == StatusCode::SWITCHING_PROTOCOLS {
            if let Some(protocol) = head.upgrade {
                head.headers.insert(http::header::UPGRADE, protocol);
            }
            head.headers.insert(http::header::CONNECTION, http::HeaderValue::from_static("upgrade"));
            Source::Tunnel(connection)
        } else {
            Source::H1 { connection, pool: Rc::clone(pool), framing: head.framing, keeps_alive: head.keeps_alive }
        };
        Ok(Reply { status: head.status, headers: head.headers, source })
    }

    /// Writes the head straight into the connection's buffer.
    fn write_head(&self, serving: &Serving, upstream: &UpstreamRoute, pump: &Pump, connection: &mut H1) {
        let out = &mut connection.out.head;
        out.reserve(1024);
        out.extend_from_slice(self.parts.method.as_str().as_bytes());
        out.extend_from_slice(b" ");
        out.extend_from_slice(self.target().as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        let host = if self.host.is_empty() { upstream.target.authority.as_str().as_bytes() } else { self.host };
        out.extend_from_slice(host);
        out.extend_from_slice(b"\r\n");
        headers::forward(&self.parts.headers, &self.facts(), out);
        self.identify(serving, out);
        if pump.framing() == Framing::Chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        if self.may_upgrade
            && let Some(protocol) = self.parts.headers.get(http::header::UPGRADE)
        {
            out.extend_from_slice(b"connection: upgrade\r\n");
            headers::put(out, "upgrade", protocol.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    async fn over_h2(
        &self,
        serving: &Serving,
        upstream: &UpstreamRoute,
        pool: &Rc<Pool>,
        fresh: bool,
        pump: &mut Pump,
        waits: &Waits,
    ) -> Result<Reply, Fault> {
        let malformed = |_| Fault::unsent(Cause::Malformed);
        let mut fields = HeaderMap::with_capacity(self.parts.headers.len() + 12);
        headers::forward(&self.parts.headers, &self.facts(), &mut fields);
        self.identify(serving, &mut fields);
        let scheme = if upstream.target.tls.is_some() { "https" } else { "http" };
        let authority = std::str::from_utf8(self.host).ok().filter(|host| !host.is_empty());
        let uri = http::Uri::builder()
            .scheme(scheme)
            .authority(authority.unwrap_or(upstream.target.authority.as_str()))
            .path_and_query(self.target())
            .build()
            .map_err(malformed)?;
        let mut request = http::Request::new(UpstreamBody::new(pump.take(), pump.patience()));
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = fields;
        *request.version_mut() = http::Version::HTTP_2;
        let watch = Watch::new(request.body().progress());
        let response = pool.h2(request, fresh, waits).await?;
        let (head, body) = response.into_parts();
        let mut fields = head.headers;
        headers::clean_response(&mut fields);
        Ok(Reply { status: head.status, headers: fields, source: Source::H2(body, watch) })
    }

    /// Tells the upstream what was decided, by both versions.
    fn identify(&self, serving: &Serving, to: &mut impl Sink) {
        to.identify(&serving.release.identity);
        to.set("x-bascule-slot", serving.slot.as_str().as_bytes());
        if !self.choice.flags.is_empty() {
            to.set("x-bascule-flags", &self.choice.flags);
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            peer: &self.link.peer,
            host: self.host,
            request_id: self.request_id,
            new_traceparent: self.new_traceparent,
            country: self.worker.config.country_header.as_ref(),
        }
    }

    fn target(&self) -> &str {
        self.parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
    }

    fn is_idempotent(&self) -> bool {
        matches!(self.parts.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
    }
}

/// Where a request stands.
#[derive(Default)]
struct Attempt {
    number: u32,
    /// Do not take a pooled connection.
    fresh: bool,
    /// An upstream to avoid.
    not: Option<usize>,
    last: std::cell::Cell<Option<usize>>,
}

impl Attempt {
    fn remember(&self, upstream: usize) {
        self.last.set(Some(upstream));
    }
}

impl Reply {
    /// The body for the client. What the exchange still needs goes with it; a tunnel is handed over.
    pub(super) fn into_body(
        self,
        pump: Pump,
        flow: Flow,
        link: &Link,
        ended: Ended,
    ) -> (StatusCode, HeaderMap, ProxyBody) {
        let body = match self.source {
            Source::Tunnel(connection) => {
                link.answer_upgrade(Some(connection.into_tunnel(flow.waits)));
                ProxyBody::full(Bytes::new(), ended)
            }
            Source::H2(body, watch) => ProxyBody::h2(H2Body { body, watch, flow, is_waiting: false }, ended),
            Source::H1 { connection, pool, framing, keeps_alive } => {
                h1_body(connection, pool, framing, keeps_alive, pump, flow, ended)
            }
        };
        (self.status, self.headers, body)
    }
}

/// Most bodies are in the buffer already: then the connection is free before the client has them.
fn h1_body(
    mut connection: Box<H1>,
    pool: Rc<Pool>,
    framing: BodyFraming,
    keeps_alive: bool,
    pump: Pump,
    flow: Flow,
    ended: Ended,
) -> ProxyBody {
    let mut left = Left::from(framing);
    let is_here = match framing {
        BodyFraming::None => true,
        BodyFraming::Length(length) => connection.buffered().len() as u64 >= length,
        BodyFraming::Chunked | BodyFraming::Close => false,
    };
    if is_here && pump.is_done() {
        let data = decode(&mut left, &mut connection).ok().flatten().and_then(|frame| frame.into_data().ok());
        if keeps_alive {
            pool.put(connection, flow.waits.now_ms());
        }
        return ProxyBody::full(data.unwrap_or_default(), ended);
    }
    let body = H1Body { connection: Some(connection), pool, left, keeps_alive, pump, flow, is_waiting: false };
    ProxyBody::h1(body, ended)
}

/// How the client's body is framed, by its head.
pub(super) fn pump(body: Incoming, parts: &request::Parts, config: &DataConfig) -> Pump {
    use hyper::body::Body as _;
    let framing = if body.is_end_stream() {
        Framing::None
    } else if parts.headers.contains_key(http::header::CONTENT_LENGTH) {
        Framing::Length
    } else {
        Framing::Chunked
    };
    let patience = Patience { silence: config.client.body_timeout, rate: config.client.body_min_rate };
    Pump::new(body, framing, parts.headers.contains_key(http::header::EXPECT), patience)
}
