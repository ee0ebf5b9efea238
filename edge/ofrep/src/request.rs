//! The body of an evaluation: `{"context": {…}}`, where everything may be missing.
//!
//! Some clients send no body, some an empty object, some an empty context: all of these are an empty context. The
//! context itself is not looked into here; the engine reads it.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::failure::Failure;

/// Bytes of a request body: far more than any context, far less than would hurt.
pub const MAX_BODY_BYTES: usize = 256 << 10;

#[derive(Deserialize)]
struct Body<'b> {
    #[serde(borrow, default)]
    context: Option<&'b RawValue>,
}

/// The context of a body, a JSON object as text.
pub fn context(body: &[u8]) -> Result<&[u8], Failure> {
    let text = std::str::from_utf8(body).map_err(|_| Failure::parse("the request body is not UTF-8"))?;
    let start = text.trim_ascii_start();
    if start.is_empty() {
        return Ok(b"{}");
    }
    let body: Body<'_> = if start.starts_with('{') {
        serde_json::from_str(start).map_err(|error| Failure::parse(format!("this is not JSON: {error}")))?
    } else {
        // Told apart from broken JSON, and never taken for a list of fields.
        serde_json::from_str::<serde::de::IgnoredAny>(start)
            .map_err(|error| Failure::parse(format!("this is not JSON: {error}")))?;
        return Err(Failure::parse("the request body must be an object with a `context`"));
    };
    match body.context.map(RawValue::get) {
        None | Some("null") => Ok(b"{}"),
        Some(context) if context.starts_with('{') => Ok(context.as_bytes()),
        Some(_) => Err(Failure::invalid_context("`context` must be an object")),
    }
}

/// Whether a body of this type may be read: JSON, or nothing said.
pub(crate) fn is_json(content_type: Option<&[u8]>) -> bool {
    let Some(value) = content_type else { return true };
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is_suffixed = |suffix: &[u8]| {
        essence
            .len()
            .checked_sub(suffix.len())
            .and_then(|at| essence.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    essence.is_empty() || essence.eq_ignore_ascii_case(b"application/json") || is_suffixed(b"+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn taken(body: &str, expected: &str) {
        assert_eq!(context(body.as_bytes()).map(|text| std::str::from_utf8(text).unwrap()), Ok(expected), "{body}");
    }

    #[track_caller]
    fn refused(body: &[u8], code: &str) {
        let failure = context(body).expect_err("refused");
        assert_eq!((failure.status, failure.code), (400, code), "{failure:?}");
    }

    #[test]
    fn a_missing_body_or_context_is_an_empty_context() {
        for body in ["", "  \r\n", "{}", "{\"context\":null}", "{\"context\":{}}", "{\"other\":[1]}"] {
            taken(body, "{}");
        }
        taken(" {\"x\": 1, \"context\": {\"a\": [1.0]} } ", "{\"a\": [1.0]}");
    }

    #[test]
    fn a_context_that_is_no_object_is_invalid() {
        for context in ["[]", "1", "\"u\"", "true"] {
            refused(format!("{{\"context\":{context}}}").as_bytes(), "INVALID_CONTEXT");
        }
    }

    #[test]
    fn what_is_no_json_object_is_a_parse_error() {
        for body in [&b"{"[..], b"[{}]", b"null", b"{}x", b"{\"context\":{}", b"\xff", b"{\"a\":\"\xff\"}", b"nul"] {
            refused(body, "PARSE_ERROR");
        }
        refused(b"{\"context\":{},\"context\":{}}", "PARSE_ERROR");
    }

    #[test]
    fn deep_nesting_ends_in_an_answer() {
        let deep = format!("{{\"context\":{{\"a\":{}1{}}}}}", "[".repeat(100_000), "]".repeat(100_000));
        // Found to be JSON or refused: either way, no stack is exhausted.
        let _ = context(deep.as_bytes());
    }

    #[test]
    fn json_has_several_names() {
        for good in [&b"application/json"[..], b"application/json; charset=utf-8", b"Application/JSON", b"a/b+json"] {
            assert!(is_json(Some(good)), "{good:?}");
        }
        assert!(is_json(None));
        for bad in [&b"text/plain"[..], b"application/x-www-form-urlencoded", b"json"] {
            assert!(!is_json(Some(bad)), "{bad:?}");
        }
    }
}
