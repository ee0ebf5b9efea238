//! A request to be put together: paths and queries are encoded here and nowhere else.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::Serialize;

use super::ClientError;

/// A request.
#[derive(Debug, Clone)]
pub struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) timeout: Option<Duration>,
}

impl Call {
    /// Of an operation below `/api/v1`: the segments of its path, not encoded.
    pub fn v1(method: Method, segments: &[&str]) -> Self {
        let mut path = String::from("/api/v1");
        for segment in segments {
            path.push('/');
            encode(&mut path, segment);
        }
        Self::raw(method, path)
    }

    /// A path, and perhaps a query, that is encoded already.
    pub fn raw(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: HeaderMap::new(), body: Bytes::new(), timeout: None }
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        encode(&mut self.path, name);
        self.path.push('=');
        encode(&mut self.path, value);
        self
    }

    /// Adds a query parameter if there is a value.
    #[must_use]
    pub fn query_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds `NAME=true`, or nothing.
    #[must_use]
    pub fn query_if(self, name: &str, set: bool) -> Self {
        if set { self.query(name, "true") } else { self }
    }

    /// Adds a head field.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, ClientError> {
        let unfit = || ClientError::Request(format!("{name:?} is no head field, or its value is none"));
        let field = HeaderName::try_from(name).map_err(|_| unfit())?;
        self.headers.insert(field, HeaderValue::try_from(value).map_err(|_| unfit())?);
        Ok(self)
    }

    /// With the revision that the caller has seen.
    #[must_use]
    pub fn if_match(mut self, revision: i64) -> Self {
        if let Ok(value) = HeaderValue::try_from(format!("\"{revision}\"")) {
            self.headers.insert(header::IF_MATCH, value);
        }
        self
    }

    /// For an object that must be new.
    #[must_use]
    pub fn if_new(mut self) -> Self {
        self.headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        self
    }

    /// With a JSON body.
    pub fn json(self, body: &impl Serialize) -> Result<Self, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Request(error.to_string()))?;
        Ok(self.body("application/json", body))
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.body = body.into();
        self
    }

    /// With a body of which a head field says the type.
    #[must_use]
    pub fn bytes(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// With more, or less, time than the client's requests have.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encode(into: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.extend([byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)])));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_and_paths_are_not_made_longer_by_them() {
        let call = Call::v1(Method::GET, &["apps", "web", "flags", "a/b c:ü+%"]).query("reason", "a&b=c");
        assert_eq!(call.path, "/api/v1/apps/web/flags/a%2Fb%20c%3A%C3%BC%2B%25?reason=a%26b%3Dc");
        let call = Call::raw(Method::GET, "/x?y=1").query("z", "2").query_if("w", false);
        assert_eq!(call.path, "/x?y=1&z=2");
    }

    #[test]
    fn head_fields_cannot_be_split() {
        assert!(Call::raw(Method::GET, "/").header("a", "b\r\nc: d").is_err());
        assert!(Call::raw(Method::GET, "/").header("a b", "c").is_err());
    }
}
