//! OFREP on a Worker: which requests are ours and not the proxied app's, and their answers.
//!
//! `edge-ofrep` knows the protocol and gives gateway and Worker the same bytes. A request without a token of ours, to an
//! environment without tokens, is not touched: the app behind the Worker may have such paths itself. There is no stream of
//! changes here, so answers name none and providers poll.

use admin_api::edge::OfrepToken;
use edge_ofrep::{Audience, Conditions, Failure, Fingerprint, MAX_BODY_BYTES, Reply, Request, Target, cors};

use crate::context::Subject;
use crate::sealed::Opened;

/// The tokens that count.
#[derive(Debug, Default)]
pub struct Tokens(Vec<(Fingerprint, Grant)>);

#[derive(Debug, Clone, Copy)]
struct Grant {
    is_client: bool,
    expires_at_ms: i64,
}

impl Tokens {
    /// Those of a pushed head; one whose hash is none does not count.
    pub fn new(tokens: &[OfrepToken]) -> Self {
        let grant = |token: &OfrepToken| {
            let expires_at_ms = token.expires_at_ms.unwrap_or(i64::MAX);
            Some((Fingerprint::parse(&token.sha256)?, Grant { is_client: token.is_client, expires_at_ms }))
        };
        Self(tokens.iter().filter_map(grant).collect())
    }

    /// An environment has few tokens.
    fn get(&self, token: &Fingerprint) -> Option<&Grant> {
        self.0.iter().find(|(known, _)| known == token).map(|(_, grant)| grant)
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Its fields.
    pub fields: Vec<(&'static str, String)>,
    /// The body, JSON or nothing.
    pub body: Vec<u8>,
}

/// A request that is ours, before its body is read.
#[derive(Debug)]
pub struct Admitted<'r> {
    target: Target<'r>,
    access: Access,
    origin: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Access {
    Granted { is_client: bool },
    Preflight,
    Refused,
}

/// Whether a request is ours, and what it may do.
pub fn admit<'r>(opened: &Opened, subject: &'r Subject, now_ms: i64) -> Option<Admitted<'r>> {
    let target = Target::parse(&subject.path).filter(|target| *target != Target::Events)?;
    let field = |name: &str| subject.field(name).map(str::as_bytes);
    let token = edge_ofrep::token(field("authorization"), field("x-api-key"));
    let token = token.filter(|token| token.starts_with(edge_ofrep::TOKEN_PREFIX));
    let tokens = &opened.tokens;
    if token.is_none() && tokens.0.is_empty() {
        return None;
    }
    let granted = token.and_then(|token| tokens.get(&Fingerprint::of(token)));
    let access = match granted.filter(|grant| now_ms < grant.expires_at_ms) {
        // A browser asks without the token that it will send.
        _ if subject.method == "OPTIONS" => Access::Preflight,
        Some(grant) => Access::Granted { is_client: grant.is_client },
        None => Access::Refused,
    };
    let origin = subject.field("origin").and_then(|origin| cors::allowed(&opened.snapshot.edge().cors, origin));
    Some(Admitted { target, access, origin: origin.map(str::to_owned) })
}

impl Admitted<'_> {
    /// How much of the body is to be read: nothing when the answer does not depend on it.
    pub fn body_limit(&self, subject: &Subject) -> Option<usize> {
        let reads = matches!(self.access, Access::Granted { .. }) && subject.method == "POST" && subject.has_body;
        reads.then_some(MAX_BODY_BYTES)
    }

    /// The answer to the body, `None` when it was longer than the limit.
    pub fn answer(&self, opened: &Opened, subject: &Subject, body: Option<&[u8]>, now_ms: i64) -> Answer {
        let is_client = match self.access {
            Access::Preflight => return self.preflight(),
            Access::Refused => return self.fail(&Failure::UNAUTHORIZED),
            Access::Granted { .. } if subject.method != "POST" => return self.fail(&Failure::METHOD),
            Access::Granted { is_client } => is_client,
        };
        let Some(body) = body else { return self.fail(&Failure::TOO_LARGE) };
        let request = Request {
            target: &self.target,
            content_type: subject.field("content-type").map(str::as_bytes),
            body,
            conditions: Conditions {
                if_none_match: subject.field("if-none-match").map(str::as_bytes).into_iter().collect(),
                query: Some(&*subject.query).filter(|query| !query.is_empty()),
            },
        };
        let visible = is_client.then_some(&*opened.visible);
        let audience = Audience { snapshot: &opened.snapshot, visible, stream_uri: None };
        let mut reply = Reply::default();
        edge_ofrep::respond(&request, &audience, edge_ofrep::native(&opened.snapshot, now_ms), &mut reply);
        self.pass_on(reply)
    }

    fn fail(&self, failure: &Failure) -> Answer {
        let mut reply = Reply::default();
        reply.fail(failure, self.target.key());
        self.pass_on(reply)
    }

    fn pass_on(&self, reply: Reply) -> Answer {
        let mut fields = self.fields();
        if reply.status != 304 {
            fields.push(("content-type", "application/json".to_owned()));
        }
        if let Some(etag) = &reply.etag {
            fields.push(("etag", etag.as_str().to_owned()));
        }
        match reply.status {
            401 => fields.push(("www-authenticate", "Bearer".to_owned())),
            405 => fields.push(("allow", self.target.methods().to_owned())),
            _ => {}
        }
        Answer { status: reply.status, fields, body: reply.body }
    }

    fn preflight(&self) -> Answer {
        let mut fields = self.fields();
        fields.push(("allow", self.target.methods().to_owned()));
        if self.origin.is_some() {
            fields.push(("access-control-allow-methods", cors::ALLOW_METHODS.to_owned()));
            fields.push(("access-control-allow-headers", cors::ALLOW_HEADERS.to_owned()));
            fields.push(("access-control-max-age", cors::MAX_AGE_SECONDS.to_string()));
        }
        Answer { status: 204, fields, body: Vec::new() }
    }

    /// What every answer has.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("cache-control", "no-store".to_owned()), ("vary", "Origin".to_owned())];
        if let Some(origin) = &self.origin {
            fields.push(("access-control-allow-origin", origin.clone()));
            fields.push(("access-control-expose-headers", cors::EXPOSE_HEADERS.to_owned()));
        }
        fields
    }
}
