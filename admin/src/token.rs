//! The texts of tokens: how they are made, recognised and kept.
//!
//! `bsc_`, 43 digits of base 62 that hold 256 random bits, and 6 that hold their CRC-32, so that a scanner of secrets
//! can tell a token from a word without asking anybody. Only the SHA-256 of a token is ever stored.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::ids;

/// How every token begins.
pub const PREFIX: &str = "bsc_";
const RANDOM_DIGITS: usize = 43;
const CHECK_DIGITS: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A token's text. Its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

impl TokenText {
    /// A new one.
    pub fn mint() -> Self {
        let body = base62(&ids::random::<32>(), RANDOM_DIGITS);
        let check = base62(&crc32(body.as_bytes()).to_be_bytes(), CHECK_DIGITS);
        Self(format!("{PREFIX}{body}{check}"))
    }

    /// Takes a text that has the form of a token, its check digits included.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        if digits.len() != RANDOM_DIGITS + CHECK_DIGITS || !digits.bytes().all(|digit| DIGITS.contains(&digit)) {
            return None;
        }
        let (body, check) = digits.split_at(RANDOM_DIGITS);
        let expected = base62(&crc32(body.as_bytes()).to_be_bytes(), CHECK_DIGITS);
        (expected == check).then(|| Self(text.to_owned()))
    }

    /// For the one moment in which it is shown.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it, in hexadecimal.
    pub fn sha256(&self) -> String {
        ids::hex(&Sha256::digest(self.0.as_bytes()))
    }
}

/// The number that the bytes are, to so many digits.
fn base62(bytes: &[u8], digits: usize) -> String {
    let mut number = bytes.to_vec();
    let mut text = vec![b'0'; digits];
    for place in text.iter_mut().rev() {
        let mut rest = 0_u16;
        for byte in &mut number {
            let value = (rest << 8) | u16::from(*byte);
            // A quotient of less than 62 · 256 by 62 fits.
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            rest = value % 62;
        }
        *place = DIGITS[usize::from(rest)];
    }
    String::from_utf8(text).unwrap_or_default()
}

/// CRC-32 of ISO 3309, as in zip files.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_well_known_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(base62(&[1, 0], 3), "048");
    }

    #[test]
    fn a_minted_token_is_recognised_and_a_changed_one_is_not() {
        let token = TokenText::mint();
        assert_eq!(token.expose().len(), 4 + 43 + 6);
        assert_eq!(TokenText::parse(token.expose()), Some(token.clone()));
        for place in [4, 20, 46, 47, 52] {
            let mut text = token.expose().as_bytes().to_vec();
            text[place] = if text[place] == b'a' { b'b' } else { b'a' };
            assert_eq!(TokenText::parse(std::str::from_utf8(&text).expect("ASCII")), None);
        }
        assert_ne!(TokenText::mint(), token);
    }

    #[test]
    fn a_token_is_in_no_debug_output() {
        let token = TokenText::mint();
        assert!(!format!("{token:?}").contains(token.expose()));
    }
}
