//! Errors as answers: always JSON with `errorCode` and `errorDetails`, and with the key where one was asked for.
//!
//! Providers lose the error code, or worse, where one of them is missing.

use std::borrow::Cow;

use edge_engine::ContextError;

use crate::write::put_text;

/// Why a request is not answered by values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status.
    pub status: u16,
    /// `PARSE_ERROR`, `TARGETING_KEY_MISSING`, `INVALID_CONTEXT`, `FLAG_NOT_FOUND` or `GENERAL`.
    pub code: &'static str,
    /// One sentence for people.
    pub detail: Cow<'static, str>,
}

impl Failure {
    /// No token, or one that does not count.
    pub const UNAUTHORIZED: Self =
        Self::general(401, "a token is needed: Authorization: Bearer …, or X-API-Key; this one is missing or unknown");
    /// A token that counts for something else.
    pub const FORBIDDEN: Self = Self::general(403, "this token may not evaluate flags");
    /// Another method than the path has.
    pub const METHOD: Self =
        Self::general(405, "flags are evaluated by POST, and the stream of changes is read by GET");
    /// The body broke off.
    pub const BROKEN: Self =
        Self { status: 400, code: "PARSE_ERROR", detail: Cow::Borrowed("the request body broke off") };
    /// The body did not come in time.
    pub const TIMEOUT: Self = Self::general(408, "the request body did not come in time");
    /// More than [`crate::MAX_BODY_BYTES`].
    pub const TOO_LARGE: Self = Self::general(413, "the request body has more than 256 KiB");
    /// A body that is something else than JSON.
    pub const MEDIA_TYPE: Self = Self::general(415, "the request body must be application/json");
    /// Too many requests.
    pub const TOO_MANY: Self = Self::general(429, "too many requests; try again later");
    /// The engine failed.
    pub const INTERNAL: Self = Self::general(500, "the evaluation failed; try again");
    /// The engine is being replaced, or nothing more can be taken.
    pub const UNAVAILABLE: Self = Self::general(503, "flags cannot be evaluated right now; try again");
    /// As many streams as there may be.
    pub const STREAMS: Self = Self::general(503, "too many streams are open; poll, or try again later");

    const fn general(status: u16, detail: &'static str) -> Self {
        Self { status, code: "GENERAL", detail: Cow::Borrowed(detail) }
    }

    pub(crate) fn parse(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 400, code: "PARSE_ERROR", detail: detail.into() }
    }

    pub(crate) fn invalid_context(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 400, code: "INVALID_CONTEXT", detail: detail.into() }
    }

    /// No flag of this key, or none that the token may see: nobody can tell the two apart.
    pub(crate) fn not_found(key: &str) -> Self {
        Self { status: 404, code: "FLAG_NOT_FOUND", detail: format!("there is no flag `{key:.128}`").into() }
    }

    /// Whether the same request may do better in a moment: the answer has `Retry-After`.
    pub fn may_be_retried(&self) -> bool {
        matches!(self.status, 429 | 503)
    }

    /// Appends the body.
    pub fn write(&self, key: Option<&str>, out: &mut Vec<u8>) {
        out.push(b'{');
        if let Some(key) = key {
            put_text("\"key\":", key, out);
            out.push(b',');
        }
        put_text("\"errorCode\":", self.code, out);
        put_text(",\"errorDetails\":", &self.detail, out);
        out.push(b'}');
    }
}

impl From<ContextError> for Failure {
    fn from(error: ContextError) -> Self {
        match error.code {
            "PARSE_ERROR" => Self::parse(error.detail),
            "INVALID_CONTEXT" => Self::invalid_context(error.detail),
            _ => Self::INTERNAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_code_and_details_and_escapes_what_the_client_sent() {
        let mut out = Vec::new();
        Failure::not_found("a\"\n").write(Some("a\"\n"), &mut out);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["key"], "a\"\n");
        assert_eq!(json["errorCode"], "FLAG_NOT_FOUND");
        assert_eq!(json["errorDetails"], "there is no flag `a\"\n`");
        out.clear();
        Failure::UNAUTHORIZED.write(None, &mut out);
        assert!(serde_json::from_slice::<serde_json::Value>(&out).unwrap().get("key").is_none());
    }
}
