//! Texts that must not be seen, and the bucketing key that is made of one.
//!
//! Invariant: neither `Debug` nor `Display` shows a secret; who needs the text says [`Secret::expose`].

use std::fmt;

use edge_engine::BucketingKey;
use sha2::{Digest, Sha256};

/// A text that does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where the bucketing keys of this process come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KeySource {
    /// The operator's secret, the same for all environments.
    Given(BucketingKey),
    /// Derived from app and environment: anybody can compute it, so a client can choose an id that
    /// lands in a cohort of its liking. Good enough to try things.
    #[default]
    Derived,
}

/// The bucketing key must be 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a bucketing key is 32 hexadecimal digits, as `openssl rand -hex 16` prints them")]
pub struct InvalidKey;

impl KeySource {
    /// Reads the operator's secret.
    pub fn parse(secret: &Secret) -> Result<Self, InvalidKey> {
        let text = secret.expose().trim();
        let mut key = [0; 16];
        if text.len() != 32 || !text.is_ascii() {
            return Err(InvalidKey);
        }
        for (i, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| InvalidKey)?;
        }
        // `from_str_radix` takes a sign.
        if text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            Ok(Self::Given(BucketingKey::new(key)))
        } else {
            Err(InvalidKey)
        }
    }

    /// The key of an environment.
    pub fn key(&self, app: &str, environment: &str) -> BucketingKey {
        match self {
            Self::Given(key) => key.clone(),
            Self::Derived => {
                let mut hash = Sha256::new_with_prefix(b"bascule derived bucketing key v1");
                for name in [app, environment] {
                    // Names have no NUL, so neighbouring names cannot run together.
                    hash.update([0]);
                    hash.update(name);
                }
                let digest: [u8; 32] = hash.finalize().into();
                let mut key = [0; 16];
                key.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
                BucketingKey::new(key)
            }
        }
    }

    /// Whether clients can compute the key.
    pub fn is_derived(&self) -> bool {
        matches!(self, Self::Derived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<KeySource, InvalidKey> {
        KeySource::parse(&Secret::new(text))
    }

    #[test]
    fn a_key_is_32_hex_digits_and_white_space_around_them() {
        let expected = KeySource::Given(BucketingKey::new([0x0f, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff]));
        assert_eq!(parse("0fA000000000000000000000000000fF\n"), Ok(expected));
    }

    #[test]
    fn anything_else_is_no_key() {
        for text in [
            "",
            "0f",
            "zz000000000000000000000000000000",
            "+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f",
            "ää0000000000000000000000000000",
        ] {
            assert_eq!(parse(text), Err(InvalidKey), "{text}");
        }
        assert_eq!(parse(&"0".repeat(33)), Err(InvalidKey));
    }

    #[test]
    fn derived_keys_differ_by_app_and_by_environment_and_stay_the_same() {
        let key = |app, environment| *KeySource::Derived.key(app, environment).as_bytes();
        assert_ne!(key("web", "production"), key("web", "staging"));
        assert_ne!(key("web", "production"), key("api", "production"));
        assert_ne!(key("ab", "c"), key("a", "bc"));
        // SHA-256 of "bascule derived bucketing key v1\0web\0production", first half, by another program.
        let known = [20, 106, 246, 192, 20, 198, 104, 165, 107, 166, 116, 95, 14, 234, 115, 167];
        assert_eq!(key("web", "production"), known);
    }

    #[test]
    fn a_secret_does_not_show() {
        assert_eq!(format!("{:?}", Secret::new("canary")), "Secret");
    }
}
