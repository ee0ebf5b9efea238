//! When a client that has an answer already needs no other one.
//!
//! Two validators that must not be mixed up: the `ETag` of an answer, which depends on the context, and that of the
//! flags' configuration, which a stream announced. A client that names another configuration than ours gets an answer,
//! whatever else it says.

use edge_engine::Snapshot;
use sha2::{Digest, Sha256};

use crate::credentials::push_hex;
use crate::events::{config_version, modified_seconds};
use crate::query::parameter;

/// Bytes of the hash that an `ETag` shows.
const SHOWN: usize = 16;

/// A strong `ETag` with its quotes: a hash of the answer's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    pub(crate) fn of(body: &[u8]) -> Self {
        let mut text = String::with_capacity(2 * SHOWN + 2);
        text.push('"');
        push_hex(Sha256::digest(body).get(..SHOWN).unwrap_or_default(), &mut text);
        text.push('"');
        Self(text)
    }

    /// As the header has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a request says about the answer that its client has.
#[derive(Debug, Clone, Default)]
pub struct Conditions<'r> {
    /// Values of `If-None-Match`.
    pub if_none_match: Vec<&'r [u8]>,
    /// The query, without `?`.
    pub query: Option<&'r str>,
}

impl Conditions<'_> {
    /// Whether the client has this answer.
    pub(crate) fn hold(&self, etag: &ETag, snapshot: &Snapshot) -> bool {
        !self.if_none_match.is_empty() && self.names(etag) && self.is_same_configuration(snapshot)
    }

    /// Weak comparison, as `If-None-Match` has it (RFC 9110, 13.1.2). `ETag`s of ours hold no comma.
    fn names(&self, etag: &ETag) -> bool {
        let entries = self.if_none_match.iter().flat_map(|value| value.split(|byte| *byte == b','));
        entries
            .map(<[u8]>::trim_ascii)
            .any(|entry| entry == b"*" || entry.strip_prefix(b"W/").unwrap_or(entry) == etag.as_str().as_bytes())
    }

    fn is_same_configuration(&self, snapshot: &Snapshot) -> bool {
        let Some(query) = self.query.filter(|query| !query.is_empty()) else { return true };
        let is_same_etag = parameter(query, "flagConfigEtag").is_none_or(|named| {
            let named = named.trim();
            let named = named.strip_prefix("W/").unwrap_or(named).trim_matches('"');
            named.is_empty() || named == config_version(snapshot)
        });
        let is_same_time = parameter(query, "flagConfigLastModified").is_none_or(|named| {
            let seconds = named.trim().parse().ok();
            let seconds = seconds.or_else(|| edge_engine::parse_rfc3339(named.trim()).map(|ms| ms.div_euclid(1000)));
            named.trim().is_empty() || seconds == Some(modified_seconds(snapshot))
        });
        is_same_etag && is_same_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[track_caller]
    fn check(if_none_match: &[&str], query: &str, expected: bool) {
        let etag = ETag("\"abc\"".into());
        let values = if_none_match.iter().map(|value| value.as_bytes()).collect();
        let conditions = Conditions { if_none_match: values, query: Some(query) };
        assert_eq!(conditions.hold(&etag, &samples::snapshot()), expected, "{if_none_match:?} ?{query}");
    }

    #[test]
    fn if_none_match_knows_lists_weak_tags_and_the_star() {
        for same in [&["\"abc\""][..], &["W/\"abc\""], &["*"], &["\"x\" , \"abc\""], &["\"x\"", "W/\"abc\""]] {
            check(same, "", true);
        }
        for other in [&[][..], &[""], &["\"abcd\""], &["abc"], &["\"ab\", \"c\""], &["w/\"abc\""]] {
            check(other, "", false);
        }
    }

    #[test]
    fn another_configuration_is_answered_whatever_the_client_has() {
        let snapshot = samples::snapshot();
        let (version, seconds) = (config_version(&snapshot), modified_seconds(&snapshot));
        check(&["\"abc\""], &format!("flagConfigEtag={version}"), true);
        check(&["\"abc\""], &format!("flagConfigEtag=%22{version}%22&flagConfigLastModified={seconds}"), true);
        check(&["\"abc\""], "flagConfigLastModified=2026-01-01T00:00:00Z", true);
        check(&["\"abc\""], "flagConfigEtag=&flagConfigLastModified=", true);
        check(&["\"abc\""], "flagConfigEtag=other", false);
        check(&["*"], "flagConfigLastModified=1", false);
        check(&["\"abc\""], &format!("flagConfigEtag={version}&flagConfigLastModified=soon"), false);
        check(&[], &format!("flagConfigEtag={version}"), false);
    }

    #[test]
    fn an_etag_is_strong_quoted_and_follows_the_body() {
        let etag = ETag::of(b"{}");
        assert_eq!(etag.as_str().len(), 34);
        assert!(etag.as_str().starts_with('"') && etag.as_str().ends_with('"'));
        assert_ne!(etag, ETag::of(b"{} "));
    }
}
