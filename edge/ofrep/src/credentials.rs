//! Tokens: where a request carries one, and how it is known without being kept.

use std::fmt;

use sha2::{Digest, Sha256};

/// Every token of ours starts so; whatever else a request carries belongs to the app behind the gateway.
pub const TOKEN_PREFIX: &str = "bsc_";

/// The token in `Authorization: Bearer …` or `X-API-Key: …`; one of ours goes before what is none.
pub fn token<'h>(authorization: Option<&'h [u8]>, api_key: Option<&'h [u8]>) -> Option<&'h str> {
    let bearer = authorization.and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
    });
    let text = |value: Option<&'h [u8]>| std::str::from_utf8(value?.trim_ascii()).ok().filter(|text| !text.is_empty());
    let (bearer, api_key) = (text(bearer), text(api_key));
    let is_ours = |token: &&str| token.starts_with(TOKEN_PREFIX);
    bearer.filter(is_ours).or(api_key.filter(is_ours)).or(bearer).or(api_key)
}

/// SHA-256 of a token's text: all that a server keeps of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if hex.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let [high, low] = pair else { return None };
            let digit = |digit: &u8| u8::try_from(char::from(*digit).to_digit(16)?).ok();
            *byte = digit(high)? << 4 | digit(low)?;
        }
        Some(Self(bytes))
    }

    /// 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(64);
        push_hex(&self.0, &mut text);
        text
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

/// Appends lower-case hexadecimal digits.
pub(crate) fn push_hex(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_as_bearer_or_as_api_key() {
        assert_eq!(token(Some(b"Bearer bsc_a"), None), Some("bsc_a"));
        assert_eq!(token(Some(b"bearer  bsc_a "), None), Some("bsc_a"));
        assert_eq!(token(None, Some(b"bsc_b")), Some("bsc_b"));
        assert_eq!(token(Some(b"Basic bsc_a"), None), None);
        assert_eq!(token(Some(b"Bearer"), Some(b"")), None);
        assert_eq!(token(Some(b"Bearer \xff"), None), None);
    }

    #[test]
    fn a_token_of_ours_goes_before_the_apps_own() {
        assert_eq!(token(Some(b"Bearer eyJ"), Some(b"bsc_b")), Some("bsc_b"));
        assert_eq!(token(Some(b"Bearer bsc_a"), Some(b"bsc_b")), Some("bsc_a"));
        assert_eq!(token(Some(b"Bearer eyJ"), Some(b"other")), Some("eyJ"));
    }

    #[test]
    fn a_fingerprint_is_read_as_it_is_written() {
        let of = Fingerprint::of("bsc_a");
        assert_eq!(Fingerprint::parse(&of.hex()), Some(of));
        assert_eq!(of.hex().len(), 64);
        assert_eq!(Fingerprint::parse(&of.hex().to_uppercase()), Some(of));
        assert_eq!(Fingerprint::parse("abc"), None);
        assert_eq!(Fingerprint::parse(&"g".repeat(64)), None);
    }
}
