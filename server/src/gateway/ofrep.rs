//! OFREP on the clients' listener: which requests are ours and not the proxied app's, and their answers.
//!
//! `edge-ofrep` knows the protocol; here are the sockets' side of it, the tokens and the engine. A token decides the
//! environment. Invariant: a request that has no token of ours, no ticket, and no host whose environment has tokens is
//! not touched: the app behind the gateway may have such paths itself. Contexts are taken as they are given; nothing of
//! the request is added to them, so the same context gets the same answer everywhere.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use edge_ofrep::{Audience, Conditions, Failure, Fingerprint, Reply, Request, Target, Tickets};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, request};
use hyper::body::Incoming;

use super::clock::Lifeline;
use super::limits::RETRY_AFTER_SECONDS;
use super::link::Link;
use super::metrics::OfrepShard;
use super::state::{EnvironmentState, WorkerState};
use super::worker::Worker;
use crate::host::EvaluateError;

pub(super) mod access;
mod body;
pub(super) mod stream;

use stream::{EventStream, Streams};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What a worker keeps for OFREP.
#[derive(Default)]
pub(super) struct Desk {
    reply: RefCell<Reply>,
    pub(super) streams: Streams,
}

/// A request that is ours, before its body is read.
pub(super) struct Admitted<'r> {
    target: Target<'r>,
    access: Access,
    /// `Access-Control-Allow-Origin`.
    origin: Option<HeaderValue>,
    /// Of the token's environment, else of the host's.
    counters: Option<Arc<OfrepShard>>,
}

enum Access {
    Granted(Fingerprint),
    Preflight,
    Refused,
}

/// An answer, without what every answer of the gateway has.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
    pub(super) body: Payload,
    /// The rest of the request was not read.
    pub(super) closes: bool,
}

pub(super) enum Payload {
    Whole(Bytes),
    Stream(Box<EventStream>),
}

impl WorkerState {
    /// Whether a request is ours, and what it may do. Every request of the gateway comes by here.
    #[inline]
    pub(super) fn admit<'r>(&self, parts: &'r request::Parts, host: &str, now_ms: i64) -> Option<Admitted<'r>> {
        let target = Target::parse(parts.uri.path())?;
        self.admit_target(target, parts, host, now_ms)
    }

    fn admit_target<'r>(
        &self,
        target: Target<'r>,
        parts: &'r request::Parts,
        host: &str,
        now_ms: i64,
    ) -> Option<Admitted<'r>> {
        let host = self.hosts.find(host).and_then(|index| self.environments.get(index));
        let granted = self.presented(&target, parts, now_ms);
        let named = host.filter(|environment| environment.ofrep.has_tokens);
        let (access, environment) = if parts.method == Method::OPTIONS {
            // A browser asks without the token that it will send: the host has to tell, and where it selects no
            // environment at all, whatever environment knows the page.
            let origin = || self.environments.iter().find(|other| other.ofrep.has_tokens && other.knows(parts));
            (Access::Preflight, named.or_else(|| if host.is_none() { origin() } else { None })?)
        } else {
            match granted {
                Some(Some((fingerprint, environment))) => (Access::Granted(fingerprint), environment),
                // A token or ticket that does not count; the page may know that when its host has tokens at all.
                Some(None) => match named {
                    Some(environment) => (Access::Refused, environment),
                    None => return Some(Admitted { target, access: Access::Refused, origin: None, counters: None }),
                },
                None => (Access::Refused, named?),
            }
        };
        Some(Admitted {
            target,
            access,
            origin: environment.allowed_origin(parts),
            counters: Some(Arc::clone(&environment.ofrep.counters)),
        })
    }

    /// Whose token or ticket the request carries: `None` when it carries none of ours, `Some(None)` when it does not
    /// count.
    #[expect(clippy::option_option, reason = "none, one that does not count, and one that does are three things")]
    fn presented(
        &self,
        target: &Target<'_>,
        parts: &request::Parts,
        now_ms: i64,
    ) -> Option<Option<(Fingerprint, &EnvironmentState)>> {
        let field = |name: HeaderName| parts.headers.get(name).map(HeaderValue::as_bytes);
        let token = edge_ofrep::token(field(header::AUTHORIZATION), field(API_KEY));
        if let Some(token) = token.filter(|token| token.starts_with(edge_ofrep::TOKEN_PREFIX)) {
            return Some(self.granted(&Fingerprint::of(token), now_ms));
        }
        if *target != Target::Events {
            return None;
        }
        let ticket = edge_ofrep::parameter(parts.uri.query()?, edge_ofrep::TICKET_PARAMETER)?;
        let claimed = Tickets::claimed(&ticket)?;
        let granted = self.granted(&claimed, now_ms);
        Some(granted.filter(|(_, environment)| environment.ofrep.tickets.verify(&ticket, now_ms) == Some(claimed)))
    }

    fn granted(&self, fingerprint: &Fingerprint, now_ms: i64) -> Option<(Fingerprint, &EnvironmentState)> {
        let grant = self.access.grant(fingerprint, now_ms)?;
        Some((*fingerprint, self.environments.get(grant.environment)?))
    }
}

impl EnvironmentState {
    fn origins(&self) -> &[String] {
        &self.decider.snapshot().edge().cors
    }

    fn allowed_origin(&self, parts: &request::Parts) -> Option<HeaderValue> {
        let origin = parts.headers.get(header::ORIGIN)?;
        match edge_ofrep::cors::allowed(self.origins(), origin.to_str().ok()?)? {
            "*" => Some(HeaderValue::from_static("*")),
            _ => Some(origin.clone()),
        }
    }

    fn knows(&self, parts: &request::Parts) -> bool {
        self.allowed_origin(parts).is_some()
    }

    /// Evaluates what a token may see.
    fn respond(&mut self, request: &Request<'_>, token: &Fingerprint, is_client: bool, now_ms: i64, reply: &mut Reply) {
        let Self { decider, ofrep, .. } = self;
        let snapshot = Arc::clone(decider.snapshot());
        let stream = || ofrep.tickets.stream_uri(token, Tickets::expiry(now_ms));
        let stream = matches!(request.target, Target::Bulk).then(stream);
        let visible = is_client.then_some(&*ofrep.visible);
        let audience = Audience { snapshot: &snapshot, visible, stream_uri: stream.as_deref() };
        let evaluate = |context: &[u8], flags: edge_engine::FlagSelection<'_>, outcomes: &mut _| {
            decider.outcomes(context, flags, now_ms, outcomes).map_err(|error| match error {
                EvaluateError::Context(error) => Failure::from(error),
                EvaluateError::Host(_) => Failure::INTERNAL,
                EvaluateError::Replacing => Failure::UNAVAILABLE,
            })
        };
        edge_ofrep::respond(request, &audience, evaluate, reply);
    }
}

impl Admitted<'_> {
    /// Answers it.
    pub(super) async fn answer(
        self,
        worker: &Rc<Worker>,
        link: &Link,
        lifeline: Rc<Lifeline>,
        (parts, body): (&request::Parts, Incoming),
        now_ms: i64,
    ) -> Answer {
        let answer = match &self.access {
            Access::Preflight => self.preflight(),
            Access::Refused => self.fail(&Failure::UNAUTHORIZED, &body),
            Access::Granted(token) => match (&self.target, &parts.method) {
                (Target::Events, &Method::GET) => self.stream(worker, *token, lifeline, parts, now_ms),
                (Target::Bulk | Target::Single(_), &Method::POST) => {
                    match body::read(body, worker, link, lifeline, parts).await {
                        Ok(body) => self.evaluate(worker, token, parts, &body, now_ms),
                        Err(failure) => self.refuse(&failure, true),
                    }
                }
                _ => self.fail(&Failure::METHOD, &body),
            },
        };
        match &self.counters {
            Some(counters) => counters.record(self.target.kind(), answer.status.as_u16()),
            None => worker.shard.ofrep_elsewhere().record(self.target.kind(), answer.status.as_u16()),
        }
        answer
    }

    fn evaluate(
        &self,
        worker: &Worker,
        token: &Fingerprint,
        parts: &request::Parts,
        body: &[u8],
        now_ms: i64,
    ) -> Answer {
        let request = Request {
            target: &self.target,
            content_type: parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes),
            body,
            conditions: Conditions {
                if_none_match: parts.headers.get_all(header::IF_NONE_MATCH).iter().map(HeaderValue::as_bytes).collect(),
                query: parts.uri.query(),
            },
        };
        let mut reply = worker.ofrep.reply.borrow_mut();
        let reply = &mut *reply;
        // The state may have changed while the body came.
        let evaluated = worker.with_state(|state| {
            let grant = state.access.grant(token, now_ms)?;
            let environment = state.environments.get_mut(grant.environment)?;
            environment.respond(&request, token, grant.is_client, now_ms, reply);
            Some(())
        });
        if evaluated.is_none() {
            reply.fail(&Failure::UNAUTHORIZED, self.target.key());
        }
        self.pass_on(reply)
    }

    fn pass_on(&self, reply: &Reply) -> Answer {
        let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut fields = self.fields();
        if status != StatusCode::NOT_MODIFIED {
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(etag) = reply.etag.as_ref().and_then(|etag| HeaderValue::from_str(etag.as_str()).ok()) {
            fields.insert(header::ETAG, etag);
        }
        match status {
            StatusCode::UNAUTHORIZED => {
                fields.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                fields.insert(header::ALLOW, HeaderValue::from_static(self.target.methods()));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                fields.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
        Answer { status, fields, body: Payload::Whole(Bytes::copy_from_slice(&reply.body)), closes: false }
    }

    fn refuse(&self, failure: &Failure, closes: bool) -> Answer {
        let mut reply = Reply::default();
        reply.fail(failure, self.target.key());
        Answer { closes, ..self.pass_on(&reply) }
    }

    /// Refuses a request whose body nobody reads.
    fn fail(&self, failure: &Failure, body: &Incoming) -> Answer {
        self.refuse(failure, !hyper::body::Body::is_end_stream(body))
    }

    /// What every answer has.
    fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::with_capacity(10);
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = &self.origin {
            fields.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            let exposed = HeaderValue::from_static(edge_ofrep::cors::EXPOSE_HEADERS);
            fields.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        fields
    }

    fn preflight(&self) -> Answer {
        use edge_ofrep::cors;

        let mut fields = self.fields();
        fields.insert(header::ALLOW, HeaderValue::from_static(self.target.methods()));
        if self.origin.is_some() {
            let set = HeaderValue::from_static;
            fields.insert(header::ACCESS_CONTROL_ALLOW_METHODS, set(cors::ALLOW_METHODS));
            fields.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, set(cors::ALLOW_HEADERS));
            fields.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors::MAX_AGE_SECONDS));
        }
        Answer { status: StatusCode::NO_CONTENT, fields, body: Payload::Whole(Bytes::new()), closes: false }
    }

    fn stream(
        &self,
        worker: &Rc<Worker>,
        token: Fingerprint,
        lifeline: Rc<Lifeline>,
        parts: &request::Parts,
        now_ms: i64,
    ) -> Answer {
        let seen = parts.headers.get(LAST_EVENT_ID).map(HeaderValue::as_bytes);
        let Some(stream) = EventStream::open(worker, token, lifeline, seen, now_ms) else {
            return self.refuse(&Failure::STREAMS, false);
        };
        let mut fields = self.fields();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        fields.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
        Answer { status: StatusCode::OK, fields, body: Payload::Stream(Box::new(stream)), closes: false }
    }
}
