//! What an operation answers when it was done.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::edges::stream::Events;

/// An answer.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Content,
}

#[derive(Debug)]
enum Content {
    Bytes(Bytes),
    Events(Events),
}

impl Reply {
    /// JSON.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        // Answers are made of our own types; maps in them have text keys.
        let bytes = serde_json::to_vec(value).unwrap_or_default();
        Self::bytes(status, "application/json", bytes)
    }

    /// JSON with 200.
    pub fn ok(value: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, value)
    }

    /// Bytes of some media type.
    pub fn bytes(status: StatusCode, media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static(media_type))];
        Self { status, headers, body: Content::Bytes(bytes.into()) }
    }

    /// Nothing.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Content::Bytes(Bytes::new()) }
    }

    /// A stream of events. Proxies must neither keep nor hold it back.
    pub fn events(events: Events) -> Self {
        let headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        ];
        Self { status: StatusCode::OK, headers, body: Content::Events(events) }
    }

    /// Adds a header; one that no header may be is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Says the object's revision.
    #[must_use]
    pub fn etag(self, revision: i64) -> Self {
        self.header(header::ETAG, &format!("\"{revision}\""))
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The value of a header that was added.
    pub fn header_text(&self, name: &HeaderName) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).and_then(|(_, value)| value.to_str().ok())
    }

    /// The body, unless it is a stream.
    pub fn body(&self) -> Option<&Bytes> {
        match &self.body {
            Content::Bytes(bytes) => Some(bytes),
            Content::Events(_) => None,
        }
    }

    /// As hyper has it.
    pub fn into_response(self) -> Response<Body> {
        let body = match self.body {
            Content::Bytes(bytes) => Body::from(bytes),
            Content::Events(events) => Body::new(events),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        if !response.headers().contains_key(header::CACHE_CONTROL) {
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        response
    }
}
