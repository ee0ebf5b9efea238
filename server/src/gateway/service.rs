//! The gateway as a hyper service: one client request in, one response out, never an error.
//!
//! It refuses what the gate or HTTP/2 let through but routing cannot accept, asks for the decision,
//! has the request sent, and dresses the response: request id, cookies, identity when asked for.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::{Duration, Instant};

use admin_api::edge::Failure;
use bytes::Bytes;
use edge_engine::RouteReason;
use edge_http::cookies;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version, request};
use hyper::body::Incoming;

use super::access_log::Entry;
use super::body::{Ended, Flow, ProxyBody};
use super::clock::Lifeline;
use super::context::Subject;
use super::gate::head::{Reject, is_authority};
use super::headers;
use super::link::Link;
use super::metrics::Event;
use super::ofrep::{Admitted, Payload};
use super::problem::{self, Problem};
use super::proxy::{self, Call};
use super::route::{Choice, Serving};
use super::waits::Waits;
use super::worker::{Worker, unix_ms};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RELEASE: HeaderName = HeaderName::from_static("x-bascule-release");
const DECISION: HeaderName = HeaderName::from_static("x-bascule-decision");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What is known about a request from its start to its log line.
struct Record {
    started: Instant,
    now_ms: i64,
    request_id: HeaderValue,
    is_h2: bool,
    problem: Option<&'static str>,
}

/// Answers one request. `lifeline` is that of its connection or of its stream.
pub(super) async fn answer(
    worker: Rc<Worker>,
    link: Rc<Link>,
    lifeline: Rc<Lifeline>,
    request: Request<Incoming>,
) -> Result<Response<ProxyBody>, Infallible> {
    let started = Instant::now();
    worker.deadlines.set_now(started);
    let rejected = link.request_arrived();
    let ended = Ended(Rc::clone(&link));
    let (parts, body) = request.into_parts();
    let now_ms = unix_ms();
    let is_h2 = parts.version == Version::HTTP_2;
    let mut record = Record { started, now_ms, request_id: request_id(&worker, &parts, now_ms), is_h2, problem: None };
    let refused = rejected.map(Problem::of_reject).or_else(|| check(&parts, &worker, is_h2));
    let response = match refused {
        Some(problem) => {
            let is_slow = rejected == Some(Reject::HeadTimeout);
            worker.shard.count(if is_slow { Event::HeadTimeout } else { Event::RequestRejected });
            release_gate(&link);
            let response = record.refuse(&problem, &link, ended);
            record.log(&worker, &parts, authority(&parts), response.status(), None, None);
            response
        }
        None => match worker.admit(&parts, authority(&parts), now_ms) {
            Some(admitted) => {
                Box::pin(record.evaluate(admitted, &worker, &link, lifeline, (&parts, body), ended)).await
            }
            None => forward(&worker, &link, lifeline, (&parts, body), ended, &mut record).await,
        },
    };
    Ok(response)
}

/// What a request must be beyond well framed. Over HTTP/1 the gate has checked most of it.
fn check(parts: &request::Parts, worker: &Worker, is_h2: bool) -> Option<Problem> {
    if let Some(expected) = parts.headers.get(header::EXPECT)
        && !expected.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Some(problem::EXPECTATION);
    }
    if !is_h2 {
        return None;
    }
    let limits = &worker.config.client;
    let target = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Some(problem::METHOD);
    }
    if parts.headers.len() > limits.head_fields {
        return Some(problem::HEAD_TOO_LARGE);
    }
    if target.len() > limits.target_bytes {
        return Some(problem::TARGET_TOO_LONG);
    }
    if !(target.starts_with('/') || (target == "*" && parts.method == Method::OPTIONS)) {
        return Some(problem::TARGET);
    }
    let lengths = parts.headers.get_all(header::CONTENT_LENGTH).iter().count();
    if lengths > 1 || parts.headers.contains_key(header::TRANSFER_ENCODING) {
        return Some(problem::LENGTH_INVALID);
    }
    check_h2_host(parts)
}

fn check_h2_host(parts: &request::Parts) -> Option<Problem> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Some(problem::HOST_REPEATED);
    }
    match (parts.uri.authority(), first) {
        (None, None) => Some(problem::HOST_MISSING),
        (Some(authority), Some(host)) if !authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) => {
            Some(problem::HOST_MISMATCH)
        }
        (Some(authority), _) => (!is_authority(authority.as_str().as_bytes())).then_some(problem::HOST_INVALID),
        (None, Some(host)) => (!is_authority(host.as_bytes())).then_some(problem::HOST_INVALID),
    }
}

/// The authority as the client gave it.
fn authority(parts: &request::Parts) -> &str {
    let named = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    named.or_else(|| parts.uri.authority().map(http::uri::Authority::as_str)).unwrap_or_default()
}

fn request_id(worker: &Worker, parts: &request::Parts, now_ms: i64) -> HeaderValue {
    match parts.headers.get(REQUEST_ID) {
        Some(given) if headers::is_sane_id(given.as_bytes()) => given.clone(),
        _ => {
            let made = Bytes::copy_from_slice(&worker.ids.request_id(now_ms));
            HeaderValue::from_maybe_shared(made).unwrap_or_else(|_| HeaderValue::from_static("-"))
        }
    }
}

async fn forward(
    worker: &Rc<Worker>,
    link: &Rc<Link>,
    lifeline: Rc<Lifeline>,
    (parts, body): (&request::Parts, Incoming),
    ended: Ended,
    record: &mut Record,
) -> Response<ProxyBody> {
    let host = authority(parts);
    let subject = Subject { headers: &parts.headers, method: &parts.method, uri: &parts.uri, host, peer: &link.peer };
    let choice = match worker.decide(subject, record.now_ms) {
        Ok(choice) => choice,
        Err(problem) => {
            release_gate(link);
            let response = record.refuse(&problem, link, ended);
            record.log(worker, parts, host, response.status(), None, None);
            return response;
        }
    };
    let made = match parts.headers.get(TRACEPARENT) {
        Some(given) if headers::is_traceparent(given.as_bytes()) => None,
        _ => Some(worker.ids.traceparent()),
    };
    let is_upgrade = link.waits_for_upgrade()
        && parts.headers.get_all(header::CONNECTION).iter().any(|value| headers::list_contains(value, "upgrade"))
        && !parts.headers.get_all(header::UPGRADE).iter().any(|value| headers::list_contains(value, "h2c"));
    let mut pump = proxy::pump(body, parts, &worker.config);
    let waits = Waits::new(worker.deadlines.timer(Some(lifeline)), worker.config.upstream.continue_timeout);
    let call = Call {
        worker,
        link,
        parts,
        choice: &choice,
        host: host.as_bytes(),
        request_id: record.request_id.as_bytes(),
        new_traceparent: made.as_ref().map(|made| &made[..]),
        may_upgrade: is_upgrade,
    };
    let (outcome, serving) = call.run(&mut pump, &waits).await;
    let response = match outcome {
        Ok(reply) => {
            let stall = record.is_h2.then_some(worker.config.client.write_timeout);
            let flow = Flow { waits, shard: std::sync::Arc::clone(&worker.shard), stall };
            if reply.status != StatusCode::SWITCHING_PROTOCOLS {
                release_gate(link);
            }
            let (status, fields, body) = reply.into_body(pump, flow, link, ended);
            record.dress(status, fields, body, link)
        }
        Err(problem) => {
            release_gate(link);
            record.refuse(&problem, link, ended)
        }
    };
    record.finish(worker, parts, link, &choice, serving.as_ref(), response)
}

/// The current request did not become a tunnel.
fn release_gate(link: &Link) {
    if link.waits_for_upgrade() {
        link.answer_upgrade(None);
    }
}

impl Record {
    /// Answers a request for flags instead of forwarding it.
    async fn evaluate(
        &self,
        admitted: Admitted<'_>,
        worker: &Rc<Worker>,
        link: &Rc<Link>,
        lifeline: Rc<Lifeline>,
        (parts, body): (&request::Parts, Incoming),
        ended: Ended,
    ) -> Response<ProxyBody> {
        release_gate(link);
        let answer = admitted.answer(worker, link, lifeline, (parts, body), self.now_ms).await;
        let body = match answer.body {
            Payload::Whole(bytes) => ProxyBody::full(bytes, ended),
            Payload::Stream(stream) => ProxyBody::events(stream, ended),
        };
        let mut response = self.dress(answer.status, answer.fields, body, link);
        if answer.closes && !self.is_h2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.log(worker, parts, authority(parts), response.status(), None, None);
        response
    }

    fn refuse(&mut self, problem: &Problem, link: &Rc<Link>, ended: Ended) -> Response<ProxyBody> {
        self.problem = Some(problem.code);
        let id = self.request_id.to_str().unwrap_or("-");
        let body = ProxyBody::full(problem.body(id), ended);
        let mut response = self.dress(problem.status, problem.headers(), body, link);
        if problem.closes && !self.is_h2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn dress(&self, status: StatusCode, mut fields: HeaderMap, body: ProxyBody, link: &Link) -> Response<ProxyBody> {
        fields.insert(REQUEST_ID, self.request_id.clone());
        if link.is_draining() && !self.is_h2 && status != StatusCode::SWITCHING_PROTOCOLS {
            fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = fields;
        response
    }

    fn finish(
        &self,
        worker: &Worker,
        parts: &request::Parts,
        link: &Link,
        choice: &Choice,
        serving: Option<&Serving>,
        mut response: Response<ProxyBody>,
    ) -> Response<ProxyBody> {
        let fields = response.headers_mut();
        if let Some(serving) = serving {
            if choice.routes.debug {
                fields.insert(RELEASE, serving.release.id_value.clone());
                if let Ok(explained) = HeaderValue::try_from(choice.explain(serving)) {
                    fields.insert(DECISION, explained);
                }
            }
            if self.problem.is_none() {
                set_cookies(fields, choice, serving, link.peer.is_tls);
                vary(fields, choice);
            }
        }
        let elapsed = self.log(worker, parts, authority(parts), response.status(), Some(choice), serving);
        if let Some(serving) = serving.filter(|serving| serving.diverted.is_none())
            && matches!(choice.route.reason, RouteReason::Split | RouteReason::Active)
        {
            self.observe(parts, link, (choice, serving), response.status(), elapsed);
        }
        response
    }

    /// Tells the verdict how the unit's request ended. What no upstream answered was told already.
    fn observe(
        &self,
        parts: &request::Parts,
        link: &Link,
        (choice, serving): (&Choice, &Serving),
        status: StatusCode,
        elapsed: Duration,
    ) {
        if choice.route.reason == RouteReason::Split {
            serving.release.shard.split(choice.route.bucket.unwrap_or(0), status.is_server_error());
        }
        let failure = match status.as_u16() {
            _ if self.problem.is_some() => None,
            400..=499 => Some(Failure::ClientError),
            500..=599 => Some(Failure::Status),
            _ => None,
        };
        let subject = Subject {
            headers: &parts.headers,
            method: &parts.method,
            uri: &parts.uri,
            host: authority(parts),
            peer: &link.peer,
        };
        let minted = choice.unit.as_ref().map(|unit| &unit[..]);
        let of = (&choice.route, minted);
        choice.routes.observer.answered(of, subject, (&serving.release.id, failure), elapsed);
    }

    fn log(
        &self,
        worker: &Worker,
        parts: &request::Parts,
        host: &str,
        status: StatusCode,
        choice: Option<&Choice>,
        serving: Option<&Serving>,
    ) -> Duration {
        let elapsed = self.started.elapsed();
        if let (Some(choice), Some(serving)) = (choice, serving) {
            serving.release.shard.record(status.as_u16(), choice.route.reason, elapsed);
        }
        if let Some(log) = &worker.access_log {
            self.write_log(&**log, parts, host, status, elapsed, choice, serving);
        }
        elapsed
    }

    #[expect(clippy::too_many_arguments, reason = "one line of the log, called once")]
    fn write_log(
        &self,
        log: &dyn super::access_log::AccessLog,
        parts: &request::Parts,
        host: &str,
        status: StatusCode,
        elapsed: Duration,
        choice: Option<&Choice>,
        serving: Option<&Serving>,
    ) {
        log.write(&Entry {
            request_id: self.request_id.to_str().unwrap_or("-"),
            method: parts.method.as_str(),
            host: &edge_http::host::normal(edge_http::host::without_port(host)),
            path: parts.uri.path(),
            status: status.as_u16(),
            elapsed,
            environment: choice.map(|choice| (&*choice.routes.app, &*choice.routes.environment)),
            release: choice.zip(serving).map(|(choice, serving)| (&*serving.release.id, choice.route.reason)),
            problem: self.problem,
        });
    }
}

/// Our cookies, unless a cache would give them to everybody: what the upstream declares public
/// carries none.
fn set_cookies(fields: &mut HeaderMap, choice: &Choice, serving: &Serving, is_tls: bool) {
    let unit = choice.unit.as_ref().and_then(|unit| cookies::unit(unit, is_tls));
    let pin = choice.pin.as_ref().filter(|_| serving.diverted.is_none());
    let pin = pin.map(|(value, age)| cookies::pin(value, *age, is_tls));
    if unit.is_none() && pin.is_none() {
        return;
    }
    let is_public = fields.get_all(header::CACHE_CONTROL).iter().any(|value| cookies::is_public(value.as_bytes()));
    if is_public {
        return;
    }
    for cookie in [unit, pin].into_iter().flatten().filter_map(|cookie| HeaderValue::try_from(cookie).ok()) {
        fields.append(header::SET_COOKIE, cookie);
    }
    cookies::make_private(fields);
}

/// Tells caches what the response may depend on, once something is decided by request.
fn vary(fields: &mut HeaderMap, choice: &Choice) {
    let depends = choice.route.reason != edge_engine::RouteReason::Active || !choice.routes.forward.is_empty();
    if let Some(vary) = choice.routes.vary.as_ref().filter(|_| depends) {
        fields.append(header::VARY, vary.clone());
    }
}
