//! The gateway's own answers: `application/problem+json`, one stable code each.
//!
//! An upstream's error passes as it is; a problem says that the gateway itself refused or failed.
//! The inside story goes to the log, never to the client.

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use super::gate::head::Reject;
use super::limits::RETRY_AFTER_SECONDS;
use super::upstream::fault::{Cause, Fault};

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) detail: &'static str,
    /// The connection cannot go on: what follows on it cannot be trusted, or never comes.
    pub(super) closes: bool,
}

const fn problem(status: StatusCode, code: &'static str, detail: &'static str) -> Problem {
    Problem { status, code, detail, closes: false }
}

const fn refusal(status: StatusCode, code: &'static str, detail: &'static str) -> Problem {
    Problem { status, code, detail, closes: true }
}

pub(super) const NO_SNAPSHOT: Problem =
    problem(StatusCode::SERVICE_UNAVAILABLE, "no_snapshot", "this gateway has no configuration yet");
pub(super) const UNKNOWN_HOST: Problem =
    problem(StatusCode::NOT_FOUND, "host_unknown", "no environment serves this host");
pub(super) const NO_UPSTREAM: Problem =
    problem(StatusCode::SERVICE_UNAVAILABLE, "upstream_unavailable", "no upstream can answer now; try again");
pub(super) const EXPECTATION: Problem =
    refusal(StatusCode::EXPECTATION_FAILED, "expectation_unknown", "only 100-continue can be expected");
pub(super) const METHOD: Problem =
    refusal(StatusCode::NOT_IMPLEMENTED, "method_not_supported", "CONNECT and TRACE are not forwarded");
pub(super) const HEAD_TOO_LARGE: Problem = refusal(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "head_too_large",
    "the request has too many or too large headers",
);
pub(super) const TARGET_TOO_LONG: Problem =
    refusal(StatusCode::URI_TOO_LONG, "target_too_long", "the request target is too long");
pub(super) const TARGET: Problem = refusal(
    StatusCode::BAD_REQUEST,
    "target_invalid",
    "the request target has a form or characters that are not allowed",
);
pub(super) const HOST_MISSING: Problem = refusal(StatusCode::BAD_REQUEST, "host_missing", "the request names no host");
pub(super) const HOST_REPEATED: Problem =
    refusal(StatusCode::BAD_REQUEST, "host_repeated", "the request names its host more than once");
pub(super) const HOST_INVALID: Problem =
    refusal(StatusCode::BAD_REQUEST, "host_invalid", "the host is not a name or address with an optional port");
pub(super) const HOST_MISMATCH: Problem =
    refusal(StatusCode::BAD_REQUEST, "host_mismatch", "the target names another authority than the host header");
pub(super) const LENGTH_INVALID: Problem =
    refusal(StatusCode::BAD_REQUEST, "content_length_invalid", "content-length is not one decimal number");

impl Problem {
    /// The problem of a head or body that the gate refused.
    pub(super) fn of_reject(reject: Reject) -> Self {
        let bad = |code, detail| refusal(StatusCode::BAD_REQUEST, code, detail);
        match reject {
            Reject::LineEnd => bad("line_end_invalid", "lines of a head end in CR LF, and neither stands alone"),
            Reject::Control => bad("control_character", "the head has a control character"),
            Reject::RequestLine => bad("request_line_invalid", "the request line is not method, target and version"),
            Reject::Target => TARGET,
            Reject::TargetTooLong => TARGET_TOO_LONG,
            Reject::Method => METHOD,
            Reject::Version => refusal(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "version_not_supported",
                "this gateway speaks HTTP/1.0, HTTP/1.1 and HTTP/2",
            ),
            Reject::FieldLine => bad("field_invalid", "a header is not a name, a colon and a value"),
            Reject::Folding => bad("folding", "a header is continued on a second line"),
            Reject::ContentLength => LENGTH_INVALID,
            Reject::TransferEncoding => {
                bad("transfer_encoding_invalid", "transfer-encoding must be chunked alone, in HTTP/1.1")
            }
            Reject::BothLengths => bad("framing_ambiguous", "content-length and transfer-encoding exclude each other"),
            Reject::HostMissing => HOST_MISSING,
            Reject::HostRepeated => HOST_REPEATED,
            Reject::HostInvalid => HOST_INVALID,
            Reject::HostMismatch => HOST_MISMATCH,
            Reject::HeadTooLarge => HEAD_TOO_LARGE,
            Reject::HeadTimeout => {
                refusal(StatusCode::REQUEST_TIMEOUT, "head_timeout", "the request head did not come in time")
            }
            Reject::ChunkSize => bad("chunk_size_invalid", "a chunk size is not a plain hexadecimal number"),
            Reject::ChunkExtension => bad("chunk_extension_invalid", "chunk extensions are too long or not text"),
            Reject::ChunkFraming => bad("chunk_framing_invalid", "a chunk does not end where its size says"),
            Reject::Trailer => bad("trailer_invalid", "a trailer is malformed, not allowed, or too much"),
        }
    }

    /// The problem of an exchange that failed, when nobody else answered for it. `violation` says
    /// what the gate found in the body.
    pub(super) fn of_fault(fault: Fault, violation: Option<Reject>) -> Self {
        match fault.cause {
            Cause::Connect => NO_UPSTREAM,
            Cause::Tls => problem(
                StatusCode::BAD_GATEWAY,
                "upstream_tls",
                "no secure connection with the upstream: its certificate is not trusted, or TLS failed",
            ),
            Cause::Broken => problem(StatusCode::BAD_GATEWAY, "upstream_failed", "the upstream closed the connection"),
            Cause::Malformed => {
                problem(StatusCode::BAD_GATEWAY, "upstream_malformed", "the upstream's answer is not valid HTTP")
            }
            Cause::Timeout => {
                problem(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "the upstream did not answer in time")
            }
            Cause::ClientBody => violation.map_or(
                refusal(StatusCode::BAD_REQUEST, "body_incomplete", "the request body broke off"),
                Self::of_reject,
            ),
            Cause::ClientTimeout => {
                refusal(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the request body did not come in time")
            }
            Cause::RolledBack => problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "release_rolled_back",
                "the release was rolled back; try again",
            ),
        }
    }

    /// The body. Ids are checked before they get here, so nothing needs to be escaped.
    pub(super) fn body(&self, request_id: &str) -> Bytes {
        let Self { status, code, detail, .. } = self;
        let title = status.canonical_reason().unwrap_or_default();
        let status = status.as_u16();
        Bytes::from(format!(
            r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}","code":"{code}","requestId":"{request_id}"}}"#
        ))
    }

    /// The headers.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_json_with_a_code_and_the_request_id() {
        let body = NO_UPSTREAM.body("r-1");
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["code"], "upstream_unavailable");
        assert_eq!(json["status"], 503);
        assert_eq!(json["title"], "Service Unavailable");
        assert_eq!(json["requestId"], "r-1");
        assert_eq!(NO_UPSTREAM.headers()[header::RETRY_AFTER], "1");
        assert!(!UNKNOWN_HOST.headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn every_framing_violation_ends_the_connection() {
        for reject in [Reject::LineEnd, Reject::BothLengths, Reject::Target, Reject::Version, Reject::Trailer] {
            assert!(Problem::of_reject(reject).closes, "{reject:?}");
        }
    }
}
