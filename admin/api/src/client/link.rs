//! One connection that is kept between requests, for whoever sends requests that may be sent twice.
//!
//! Invariant: a request is written anew only when the connection was an old one and broke before an answer's head came,
//! and then once, on a new one.

use std::fmt;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::SendRequest;

use super::{Answer, Call, Client, ClientError, Settings, Token, Unreachable, broken};

/// The largest answer; what is asked over a link is answered shortly.
const MAX_ANSWER: usize = 64 << 10;

/// Speaks to one server, one request after the other.
pub struct Link {
    client: Client,
    kept: Option<SendRequest<Full<Bytes>>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("client", &self.client).field("is_open", &self.kept.is_some()).finish()
    }
}

impl Link {
    /// Connects with the first request.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        Ok(Self { client: Client::new(settings)?, kept: None })
    }

    /// What is shown from now on.
    pub fn set_token(&mut self, token: Token) {
        self.client.token = Some(token);
    }

    /// Sends a request that may be sent twice, and gives the answer, whatever its status. The client's timeout is for all
    /// of it, the connection included.
    pub async fn exchange(&mut self, call: Call) -> Result<Answer, ClientError> {
        let timeout = call.timeout.unwrap_or(self.client.timeout);
        let answer = tokio::time::timeout(timeout, self.send(call)).await;
        answer.unwrap_or_else(|_| Err(self.client.unreachable(Unreachable::Late(timeout))))
    }

    async fn send(&mut self, call: Call) -> Result<Answer, ClientError> {
        // Taken: a request that is given up half-way takes its connection with it.
        if let Some(mut sender) = self.kept.take()
            && sender.ready().await.is_ok()
            && let Ok(head) = sender.send_request(self.client.write(call.clone())?).await
        {
            return self.receive(sender, head).await;
        }
        let mut sender = self.client.open().await?;
        let request: Request<_> = self.client.write(call)?;
        let head = sender.send_request(request).await.map_err(|error| self.client.unreachable(broken(error)))?;
        self.receive(sender, head).await
    }

    async fn receive(
        &mut self,
        sender: SendRequest<Full<Bytes>>,
        answer: http::Response<hyper::body::Incoming>,
    ) -> Result<Answer, ClientError> {
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| self.client.unreachable(Unreachable::Broken(error)))?;
        self.kept = Some(sender);
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}
