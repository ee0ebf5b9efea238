//! How the control plane is spoken to: one connection for the stream, and kept ones for what is said to it.

use std::time::Duration;

use bytes::Bytes;
use edge_engine::wire::UpstreamProtocol;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use crate::config::follow::Follow;
use crate::gateway::state::Target;
use crate::gateway::upstream::connect::{ConnectError, connect};

/// For a connection, its TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the head of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// For a whole exchange on a kept connection.
const POST_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer to an acknowledgement or a report is a few words.
const MAX_ANSWER: usize = 64 << 10;

type Sender = SendRequest<Full<Bytes>>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreachable {
    /// No connection.
    #[error("it cannot be reached")]
    Connect(#[source] ConnectError),
    /// Nothing came in time.
    #[error("it did not answer within {}s", .0.as_secs())]
    Late(Duration),
    /// The connection broke, or what came is not HTTP.
    #[error("the connection broke")]
    Http(#[from] hyper::Error),
    /// The answer broke off, or is too long.
    #[error("its answer cannot be read")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Where the control plane is and what it is shown.
pub(super) struct Plane {
    target: Target,
    path: String,
    host: HeaderValue,
    authorization: HeaderValue,
}

/// The URL or the token cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the control plane's URL or token cannot be used")]
pub(super) struct Unusable;

impl Plane {
    pub(super) fn new(follow: &Follow, tls: &std::sync::Arc<rustls::ClientConfig>) -> Result<Self, Unusable> {
        let target = Target::parse(&follow.url.origin(), UpstreamProtocol::Http1, tls).ok_or(Unusable)?;
        let host = HeaderValue::try_from(follow.url.authority().as_str()).map_err(|_| Unusable)?;
        let bearer = format!("Bearer {}", follow.token.expose());
        let mut authorization = HeaderValue::try_from(bearer).map_err(|_| Unusable)?;
        authorization.set_sensitive(true);
        Ok(Self { target, path: follow.url.path().to_owned(), host, authorization })
    }

    async fn open(&self) -> Result<Sender, Unreachable> {
        let opening = async {
            let io = connect(&self.target).await.map_err(Unreachable::Connect)?;
            let (sender, connection) = http1::handshake(TokioIo::new(io)).await?;
            // Its end is seen by whoever waits for an answer.
            tokio::spawn(async { drop(connection.await) });
            Ok(sender)
        };
        tokio::time::timeout(CONNECT_TIMEOUT, opening).await.unwrap_or(Err(Unreachable::Late(CONNECT_TIMEOUT)))
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.path))
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::USER_AGENT, concat!("bascule/", env!("CARGO_PKG_VERSION")))
    }

    /// Opens a stream on a connection of its own; the head of the answer.
    pub(super) async fn stream(&self, path: &str, last_id: Option<&str>) -> Result<Response<Incoming>, Unreachable> {
        let mut sender = self.open().await?;
        let mut request = self.request(Method::GET, path).header(header::ACCEPT, "text/event-stream");
        if let Some(id) = last_id.and_then(|id| HeaderValue::try_from(id).ok()) {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Full::default()).map_err(|error| Unreachable::Answer(error.into()))?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, sender.send_request(request)).await;
        Ok(answer.map_err(|_| Unreachable::Late(ANSWER_TIMEOUT))??)
    }
}

/// A connection that is kept between requests.
pub(super) struct Line {
    plane: std::sync::Arc<Plane>,
    sender: Option<Sender>,
}

impl Line {
    pub(super) fn new(plane: std::sync::Arc<Plane>) -> Self {
        Self { plane, sender: None }
    }

    /// Connects ahead of the next request, so that it does not pay for it.
    pub(super) async fn warm(&mut self) {
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            self.sender = self.plane.open().await.ok();
        }
    }

    /// Posts JSON. What is posted may arrive twice: a kept connection that turns out to be dead is replaced.
    pub(super) async fn post(&mut self, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), Unreachable> {
        let posting = async {
            if let Some(mut sender) = self.sender.take().filter(|sender| !sender.is_closed())
                && let Ok(answer) = self.exchange(&mut sender, path, body.clone()).await
            {
                self.sender = Some(sender);
                return Ok(answer);
            }
            let mut sender = self.plane.open().await?;
            let answer = self.exchange(&mut sender, path, body).await?;
            self.sender = Some(sender);
            Ok(answer)
        };
        tokio::time::timeout(POST_TIMEOUT, posting).await.unwrap_or(Err(Unreachable::Late(POST_TIMEOUT)))
    }

    async fn exchange(&self, sender: &mut Sender, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), Unreachable> {
        let request = self.plane.request(Method::POST, path).header(header::CONTENT_TYPE, "application/json");
        let request = request.body(Full::new(body)).map_err(|error| Unreachable::Answer(error.into()))?;
        sender.ready().await?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(Unreachable::Answer)?;
        Ok((head.status, body.to_bytes()))
    }
}
