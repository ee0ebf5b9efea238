//! The client of API v1: one method for each operation, and [`Client::exchange`] for whatever there is beside them.
//!
//! Every exchange of a [`Client`] has a connection of its own, so that a request never meets a connection that the other
//! side has just given up, and nothing is sent twice. A [`Link`] keeps one for requests that may be sent twice. The token
//! is shown nowhere but in its header.

mod call;
mod connect;
mod events;
mod link;
mod operations;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use call::Call;
pub use events::{ChangeEvent, Events};
pub use link::Link;
pub use operations::{Apply, AuditQuery, Change};

use crate::Problem;
use connect::Target;
pub use connect::connector as trust;

/// For a connection, its TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For an exchange of which nobody said how long it may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer is an app as a file, which may have 32 MiB.
const MAX_ANSWER: usize = 64 << 20;

/// Where the control plane is and who asks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http://HOST[:PORT][/PATH]` or `https://…`.
    pub url: String,
    /// Shown with every request.
    pub token: Option<Token>,
    /// Certificates of authorities that are trusted beside the system's, PEM; may be empty.
    pub authorities: Vec<u8>,
    /// For one exchange after the connection.
    pub timeout: Duration,
    /// Who asks, for logs.
    pub user_agent: String,
}

impl Settings {
    /// Everything but the URL as it usually is.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            authorities: Vec::new(),
            timeout: REQUEST_TIMEOUT,
            user_agent: concat!("bascule/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// A bearer token. Its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(HeaderValue);

impl Token {
    /// Takes the text of a token.
    pub fn new(text: &str) -> Result<Self, ClientError> {
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::from_str(&format!("Bearer {text}"));
        let mut value = value.ok().filter(|_| is_plain).ok_or(ClientError::Token)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// No connection.
    #[error("no connection")]
    Connect(#[source] std::io::Error),
    /// No connection in time.
    #[error("no connection within {}s", .0.as_secs())]
    ConnectLate(Duration),
    /// No answer in time; what was asked for may have been done.
    #[error("no answer within {}s; it may have been done all the same", .0.as_secs())]
    Late(Duration),
    /// The connection broke, or what came is not HTTP; what was asked for may have been done.
    #[error("the connection broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be used.
    #[error("\"{0}\" is not http://HOST[:PORT] or https://HOST[:PORT]")]
    Url(String),
    /// The path or a head field of a request cannot be used.
    #[error("the request cannot be written: {0}")]
    Request(String),
    /// The text is no token.
    #[error("the token has characters that no token has")]
    Token,
    /// The authorities cannot be used.
    #[error("the certificates of authorities cannot be used: {0}")]
    Authorities(String),
    /// There is no answer.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// Which control plane.
        url: String,
        /// Why.
        #[source]
        source: Unreachable,
    },
    /// It was refused.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// What answers does not speak API v1.
    #[error("{url} answered {status} in a way that no control plane does: {detail}")]
    Unexpected {
        /// Who answered.
        url: String,
        /// The status.
        status: u16,
        /// What is strange.
        detail: String,
        /// The request id, if there was one.
        request_id: Option<String>,
    },
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Its head fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The request id that logs and audit have.
    pub fn request_id(&self) -> Option<&str> {
        text(&self.headers, "x-request-id")
    }

    /// The media type without parameters.
    pub fn media_type(&self) -> &str {
        text(&self.headers, "content-type").and_then(|value| value.split(';').next()).unwrap_or_default().trim()
    }

    /// The refusal that it is, if it is one.
    pub fn problem(&self) -> Option<Problem> {
        let may = self.status.as_u16() >= 400 && self.media_type() == crate::problem::MEDIA_TYPE;
        may.then(|| serde_json::from_slice(&self.body).ok()).flatten()
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A JSON answer, typed and as it came. Its `Debug` hides both: a new token is in such an answer.
#[derive(Clone)]
pub struct Reply<T> {
    /// The status, for operations that have several good ones.
    pub status: StatusCode,
    /// What it says.
    pub value: T,
    /// The same with whatever this program does not know yet.
    pub json: Value,
    /// The request id.
    pub request_id: Option<String>,
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, request_id, .. } = self;
        f.debug_struct("Reply").field("status", status).field("request_id", request_id).finish_non_exhaustive()
    }
}

/// Speaks to one control plane.
#[derive(Debug)]
pub struct Client {
    target: Target,
    token: Option<Token>,
    timeout: Duration,
    user_agent: HeaderValue,
}

impl Client {
    /// Sends nothing yet.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        let user_agent = HeaderValue::try_from(settings.user_agent)
            .map_err(|_| ClientError::Request("the user agent is not ASCII".to_owned()))?;
        let target = Target::parse(&settings.url, &settings.authorities)?;
        Ok(Self { target, token: settings.token, timeout: settings.timeout, user_agent })
    }

    /// Where the control plane is.
    pub fn url(&self) -> &str {
        self.target.url()
    }

    /// Sends a request and gives the answer, whatever its status.
    pub async fn exchange(&self, call: Call) -> Result<Answer, ClientError> {
        let timeout = call.timeout.unwrap_or(self.timeout);
        let request = self.write(call)?;
        let mut sender = self.open().await?;
        let exchange = async {
            let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(Unreachable::Broken)?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        let answer = tokio::time::timeout(timeout, exchange).await;
        answer.unwrap_or(Err(Unreachable::Late(timeout))).map_err(|source| self.unreachable(source))
    }

    /// Sends a request and gives the answer if it is a good one.
    pub async fn send(&self, call: Call) -> Result<Answer, ClientError> {
        let answer = self.exchange(call).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(self.refused(&answer)) }
    }

    /// Sends a request of which the answer is JSON.
    pub async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<Reply<T>, ClientError> {
        let answer = self.send(call).await?;
        let strange = |error: serde_json::Error| self.unexpected(&answer, error.to_string());
        let json: Value = serde_json::from_slice(&answer.body).map_err(strange)?;
        let value = T::deserialize(&json).map_err(strange)?;
        let request_id = answer.request_id().map(str::to_owned);
        Ok(Reply { status: answer.status, value, json, request_id })
    }

    /// Opens a stream of server-sent events; waits for its head only.
    async fn stream(&self, call: Call) -> Result<Incoming, ClientError> {
        let request = self.write(call)?;
        let mut sender = self.open().await?;
        let head = tokio::time::timeout(self.timeout, sender.send_request(request)).await;
        let head = head.map_err(|_| Unreachable::Late(self.timeout)).and_then(|head| head.map_err(broken));
        let (head, body) = head.map_err(|source| self.unreachable(source))?.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        let body = tokio::time::timeout(self.timeout, Limited::new(body, MAX_ANSWER).collect()).await;
        let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Err(self.refused(&Answer { status: head.status, headers: head.headers, body }))
    }

    async fn open(&self) -> Result<http1::SendRequest<Full<Bytes>>, ClientError> {
        let opening = async {
            let io = self.target.connect().await.map_err(Unreachable::Connect)?;
            let (sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
            // Its end is seen by whoever waits for the answer.
            tokio::spawn(async { drop(connection.await) });
            Ok(sender)
        };
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, opening).await;
        opened.unwrap_or(Err(Unreachable::ConnectLate(CONNECT_TIMEOUT))).map_err(|source| self.unreachable(source))
    }

    fn write(&self, call: Call) -> Result<Request<Full<Bytes>>, ClientError> {
        let unfit = |error: &dyn fmt::Display| ClientError::Request(error.to_string());
        let uri = format!("{}{}", self.target.prefix(), call.path);
        let mut request = Request::builder().method(call.method).uri(uri);
        if let Some(headers) = request.headers_mut() {
            headers.insert(header::HOST, self.target.host().clone());
            headers.insert(header::USER_AGENT, self.user_agent.clone());
            if let Some(Token(value)) = &self.token {
                headers.insert(header::AUTHORIZATION, value.clone());
            }
            headers.extend(call.headers);
        }
        request.body(Full::new(call.body)).map_err(|error| unfit(&error))
    }

    fn unreachable(&self, source: Unreachable) -> ClientError {
        ClientError::Unreachable { url: self.url().to_owned(), source }
    }

    fn unexpected(&self, answer: &Answer, detail: String) -> ClientError {
        let request_id = answer.request_id().map(str::to_owned);
        ClientError::Unexpected { url: self.url().to_owned(), status: answer.status.as_u16(), detail, request_id }
    }

    fn refused(&self, answer: &Answer) -> ClientError {
        match answer.problem() {
            Some(problem) => ClientError::Problem(Box::new(problem)),
            None => self.unexpected(answer, format!("the body is {:?}, no problem document", answer.media_type())),
        }
    }
}

fn broken(error: hyper::Error) -> Unreachable {
    Unreachable::Broken(Box::new(error))
}
