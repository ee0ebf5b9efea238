//! Signed values that clients carry: overrides for testers and release pins.
//!
//! Both are `kind.subject.expiry.mac`: the expiry in seconds since 1970, the MAC the first 128 bits
//! of HMAC-SHA-256 in lower-case hex, over kind, app, environment, subject and expiry, each preceded
//! by its length. The keys are derived from the environment's secret, one per kind, so a token of
//! one environment or kind is worth nothing in another. Comparison takes constant time.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::bucket::BucketingKey;

/// Bytes of a truncated MAC: 2^128 tries to forge one.
const MAC_BYTES: usize = 16;
/// Longest token worth looking at; release ids are at most 128 bytes.
const MAX_TOKEN_BYTES: usize = 256;

/// Signs and verifies the tokens of one kind in one environment.
#[derive(Clone)]
pub struct TokenKey {
    kind: &'static str,
    /// Key, kind, app and environment, already absorbed.
    prefix: Hmac<Sha256>,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKey({})", self.kind)
    }
}

impl TokenKey {
    /// The key for tokens of `kind`, e.g. `o1`.
    pub fn new(secret: &BucketingKey, kind: &'static str, app: &str, environment: &str) -> Self {
        let mut derived = mac(secret.as_bytes());
        absorb(&mut derived, b"bascule token key");
        absorb(&mut derived, kind.as_bytes());
        let mut prefix = mac(&derived.finalize().into_bytes());
        for field in [kind, app, environment] {
            absorb(&mut prefix, field.as_bytes());
        }
        Self { kind, prefix }
    }

    /// A token for `subject` that is good until `expires` (seconds since 1970).
    pub fn sign(&self, subject: &str, expires: i64) -> String {
        use std::fmt::Write as _;

        let mut token = format!("{}.{subject}.{expires}.", self.kind);
        let full = self.over(subject, &expires.to_string()).finalize().into_bytes();
        for byte in full.iter().take(MAC_BYTES) {
            // Writing to a String cannot fail.
            let _ = write!(token, "{byte:02x}");
        }
        token
    }

    /// The subject and the expiry of a token that this key signed; expiry is the caller's to judge.
    pub fn verify<'t>(&self, token: &'t [u8]) -> Option<(&'t str, i64)> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let body = std::str::from_utf8(token).ok()?.strip_prefix(self.kind)?.strip_prefix('.')?;
        let (body, mac) = body.rsplit_once('.')?;
        let (subject, expiry) = body.rsplit_once('.')?;
        self.over(subject, expiry).verify_truncated_left(&unhex(mac)?).ok()?;
        Some((subject, expiry.parse().ok()?))
    }

    fn over(&self, subject: &str, expiry: &str) -> Hmac<Sha256> {
        let mut mac = self.prefix.clone();
        absorb(&mut mac, subject.as_bytes());
        absorb(&mut mac, expiry.as_bytes());
        mac
    }
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    // A key shorter than the block is padded with zeros by definition of HMAC (RFC 2104).
    Hmac::<Sha256>::new(&block.into())
}

#[expect(clippy::cast_possible_truncation, reason = "names and tokens are far below 4 GiB")]
fn absorb(mac: &mut Hmac<Sha256>, field: &[u8]) {
    mac.update(&(field.len() as u32).to_le_bytes());
    mac.update(field);
}

fn unhex(text: &str) -> Option<[u8; MAC_BYTES]> {
    let mut bytes = [0; MAC_BYTES];
    let pairs = text.as_bytes().chunks_exact(2);
    if text.len() != 2 * MAC_BYTES {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let digit = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &'static str, environment: &str) -> TokenKey {
        TokenKey::new(&BucketingKey::new([3; 16]), kind, "web", environment)
    }

    #[test]
    fn a_token_verifies_under_its_own_key_only() {
        let token = key("o1", "production").sign("green", 1_800_000_000);
        assert_eq!(key("o1", "production").verify(token.as_bytes()), Some(("green", 1_800_000_000)));
        assert_eq!(key("o1", "staging").verify(token.as_bytes()), None);
        assert_eq!(key("p1", "production").verify(token.as_bytes()), None);
    }

    #[test]
    fn subjects_may_hold_dots() {
        let token = key("p1", "production").sign("a.web-1.5.0", 17);
        assert_eq!(key("p1", "production").verify(token.as_bytes()), Some(("a.web-1.5.0", 17)));
    }

    #[test]
    fn every_flipped_bit_voids_a_token() {
        let token = key("o1", "production").sign("green", 1_800_000_000).into_bytes();
        for i in 0..token.len() * 8 {
            let mut forged = token.clone();
            forged[i / 8] ^= 1 << (i % 8);
            assert_eq!(key("o1", "production").verify(&forged), None, "bit {i}");
        }
        for cut in 0..token.len() {
            assert_eq!(key("o1", "production").verify(&token[..cut]), None);
        }
    }
}
