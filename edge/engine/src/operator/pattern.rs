//! A regular expression with a known price. `regex-lite` matches in time linear in the value: each of
//! its characters visits each state of the compiled pattern at most once.

use regex_lite::{Error, Regex, RegexBuilder};

use crate::limits::{MAX_MATCH_BYTES, MAX_PATTERN_BYTES, MAX_PATTERN_COMPILED};

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    /// Compiled size, rounded up to [`Pattern::RESOLUTION`].
    bytes: usize,
    /// Characters of a value that it looks at, at most.
    reach: usize,
}

/// Why a text is no pattern.
#[derive(Debug)]
pub(super) enum Refused {
    Invalid(String),
    TooLarge(String),
}

impl Pattern {
    const RESOLUTION: usize = 32;
    /// Half steps for each compiled byte: the longest value visits a KiB of states in 110 µs at worst.
    const HALF_STEPS: usize = 11;

    pub(super) fn new(text: &str) -> Result<Self, Refused> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(Refused::TooLarge(format!("is longer than {MAX_PATTERN_BYTES} bytes")));
        }
        let regex = build(text, MAX_PATTERN_COMPILED).map_err(|error| {
            // The error tells its kind only by being equal to another of its kind.
            if build("a", 0).is_err_and(|too_large| too_large == error) {
                Refused::TooLarge(format!("takes more than {MAX_PATTERN_COMPILED} bytes when compiled"))
            } else {
                Refused::Invalid(format!("does not compile: {error}"))
            }
        })?;
        Ok(Self { regex, bytes: compiled_bytes(text), reach: reach(text).unwrap_or(MAX_MATCH_BYTES) })
    }

    /// Bytes of the compiled pattern and of the tables that matching fills: two for each capture.
    pub(super) fn memory(&self) -> usize {
        self.bytes * (2 + self.regex.captures_len())
    }

    pub(super) fn cost(&self) -> u64 {
        5 + (self.bytes * Self::HALF_STEPS * self.reach / (2 * MAX_MATCH_BYTES)) as u64
    }

    #[inline]
    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        // The length first: validating a long value would cost its length.
        text.len() <= MAX_MATCH_BYTES && std::str::from_utf8(text).is_ok_and(|text| self.regex.is_match(text))
    }
}

fn build(text: &str, limit: usize) -> Result<Regex, Error> {
    RegexBuilder::new(text).size_limit(limit).build()
}

/// How far a pattern looks into a value: `None` when that depends on the value. A pattern that begins with
/// `^` and repeats nothing cannot look further than it is long.
fn reach(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut in_class = false;
    let mut bytes = text.strip_prefix('^')?.bytes();
    // A bracket that stands first in a class is a member of it; such classes are not followed here.
    let opaque = text.contains("[]") || text.contains("[^]") || text.replace("(?:", "").contains("(?");
    while let (Some(byte), false) = (bytes.next(), opaque) {
        match byte {
            b'\\' => drop(bytes.next()),
            b']' => in_class = false,
            _ if in_class => {}
            b'[' => in_class = true,
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1)?,
            b'*' | b'+' | b'{' => return None,
            // Another branch, which `^` does not hold.
            b'|' if depth == 0 => return None,
            _ => {}
        }
    }
    (!opaque).then_some(text.len())
}

/// The library does not tell the size, but it keeps to a limit: bisect it.
fn compiled_bytes(text: &str) -> usize {
    let (mut below, mut fits) = (0, MAX_PATTERN_COMPILED);
    while fits - below > Pattern::RESOLUTION {
        let middle = below.midpoint(fits);
        if build(text, middle).is_ok() {
            fits = middle;
        } else {
            below = middle;
        }
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<usize>) {
        assert_eq!(reach(text), expected, "{text}");
    }

    #[test]
    fn anchored_patterns_without_repetition_look_no_further_than_they_are_long() {
        check("^/checkout/", Some(11));
        check("^/(de|fr)/[a-z|]?$", Some(18));
        check(r"^a\*b", Some(5));
        check("^(?:a|b)", Some(8));
        check("^[*+{(|]", Some(8));
    }

    #[test]
    fn other_patterns_may_look_at_everything() {
        for text in [
            "a", "^a*", "^a+", "^a{2}", "^a|b", "(^a)", "^(a|b*)", "^[](]|b", "^[^](]|b", "(?m)^a", "^(?m)a", "^a)|(b",
            r"^\\*", r"^[\]]*", "^[a]]*", "^[[a]|b",
        ] {
            check(text, None);
        }
    }

    /// The price is a bound: a pattern that looks cheap must be.
    #[test]
    fn a_pattern_is_priced_by_its_size_and_reach() {
        let cost = |text: &str| Pattern::new(text).unwrap().cost();
        assert!(cost("^/checkout/") < 100);
        assert!((500..3_000).contains(&cost("/checkout/")));
        assert!(cost("(?:a?){60}b") > 20_000);
        assert!(Pattern::new("(a)(b)(c)").unwrap().memory() > Pattern::new("abc").unwrap().memory() * 2);
    }

    #[test]
    fn a_pattern_is_refused_for_what_is_wrong_with_it() {
        assert!(matches!(Pattern::new("("), Err(Refused::Invalid(_))));
        assert!(matches!(Pattern::new("a{5000}"), Err(Refused::TooLarge(_))));
        assert!(matches!(Pattern::new(&"a".repeat(MAX_PATTERN_BYTES + 1)), Err(Refused::TooLarge(_))));
    }
}
