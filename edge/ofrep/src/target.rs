//! Which paths are OFREP's, and the flag's key in them.
//!
//! A key may hold `/` and `:`; some clients encode it and others do not, so everything after the prefix is the key.

use std::borrow::Cow;

use crate::query::percent_decode;

const EVALUATE: &str = "/ofrep/v1/evaluate/flags";
const EVENTS: &str = "/ofrep/v1/events";

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'p> {
    /// All flags that the token may see.
    Bulk,
    /// The flag with this key, percent-decoded.
    Single(Cow<'p, str>),
    /// The stream of changes.
    Events,
}

impl<'p> Target<'p> {
    /// The target of a path without its query; `None` when it is none of OFREP's.
    pub fn parse(path: &'p str) -> Option<Self> {
        // Nearly every request that a gateway sees ends here.
        if !path.starts_with("/ofrep/v1/e") {
            return None;
        }
        if path == EVENTS {
            return Some(Self::Events);
        }
        match path.strip_prefix(EVALUATE)? {
            "" | "/" => Some(Self::Bulk),
            rest => Some(Self::Single(percent_decode(rest.strip_prefix('/')?, false))),
        }
    }

    /// The name for metrics: `bulk`, `single` or `events`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Single(_) => "single",
            Self::Events => "events",
        }
    }

    /// The key that was asked for.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Single(key) => Some(key),
            Self::Bulk | Self::Events => None,
        }
    }

    /// The methods that it answers, as `Allow` has them.
    pub fn methods(&self) -> &'static str {
        match self {
            Self::Bulk | Self::Single(_) => "POST, OPTIONS",
            Self::Events => "GET, OPTIONS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &Target<'_>) {
        assert_eq!(Target::parse(path).as_ref(), Some(expected), "{path}");
    }

    fn single(key: &str) -> Target<'_> {
        Target::Single(key.into())
    }

    #[test]
    fn a_key_may_have_slashes_encoded_or_not() {
        check("/ofrep/v1/evaluate/flags/a/b", &single("a/b"));
        check("/ofrep/v1/evaluate/flags/a%2Fb", &single("a/b"));
        check("/ofrep/v1/evaluate/flags/a%2fb%3Ac+d", &single("a/b:c+d"));
        check("/ofrep/v1/evaluate/flags//a", &single("/a"));
    }

    #[test]
    fn what_cannot_be_decoded_is_a_key_that_no_flag_has() {
        check("/ofrep/v1/evaluate/flags/%", &single("%"));
        check("/ofrep/v1/evaluate/flags/%zz%4", &single("%zz%4"));
        check("/ofrep/v1/evaluate/flags/%ff", &single("\u{fffd}"));
    }

    #[test]
    fn other_paths_are_not_ofreps() {
        check("/ofrep/v1/evaluate/flags", &Target::Bulk);
        check("/ofrep/v1/evaluate/flags/", &Target::Bulk);
        check("/ofrep/v1/events", &Target::Events);
        for path in ["/", "/ofrep/v1", "/ofrep/v1/events/x", "/ofrep/v1/evaluate/flagship", "/ofrep/v2/events"] {
            assert_eq!(Target::parse(path), None, "{path}");
        }
    }
}
