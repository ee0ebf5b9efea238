//! `siphash24-v1`: from a unit to a bucket.
//!
//! SipHash-2-4 (Aumasson and Bernstein, 2012) under the environment's secret key, over the fields
//! *version, domain, salt, source name, value*, each preceded by its length in bytes as a 32-bit
//! little-endian integer. The 64-bit hash `h` becomes the bucket `(h * 1_000_000) >> 64` in 128-bit
//! arithmetic: no modulo, so no bucket is favoured by more than 1 in 2^44.
//!
//! A keyed hash keeps clients from choosing an id that lands in a cohort of their liking. Domains
//! keep a flag and a rollout that share a salt independent of each other.

use std::fmt;

use crate::sip::{Field, Sip};

/// Name of the algorithm; stored with every flag and rollout, so that a later one moves nobody.
pub const SIPHASH24_V1: &str = "siphash24-v1";

/// Number of buckets: one is 0.0001 % of the units.
pub const BUCKETS: u32 = 1_000_000;

/// An environment's secret, 128 bits. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct BucketingKey([u8; 16]);

impl BucketingKey {
    /// A key from its bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, for handing the key to a module instance.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for BucketingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BucketingKey(secret)")
    }
}

/// What a bucket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// The split of a flag among its variants.
    Flag,
    /// The split of traffic between active slot and candidate.
    Traffic,
    /// What an edge calls a unit in its reports: not the unit, and not its place in a split.
    Report,
}

impl Domain {
    fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Traffic => "traffic",
            Self::Report => "report",
        }
    }
}

/// The hash of everything but the value, ready to take a value.
#[derive(Clone)]
pub struct Bucketer(Sip);

impl Bucketer {
    /// Absorbs key, version, domain, salt and the name of the unit's source.
    pub fn new(key: &BucketingKey, domain: Domain, salt: &str, source: &str) -> Self {
        let mut hash = Sip::new(&key.0);
        for text in [SIPHASH24_V1, domain.as_str(), salt, source] {
            hash.write(&Field::new(text.as_bytes()));
        }
        Self(hash)
    }

    /// The bucket of a value in its canonical text, `0 ≤ b < 1 000 000`.
    pub fn bucket(&self, value: &[u8]) -> u32 {
        self.bucket_of(&Field::new(value))
    }

    /// The hash of a value in its canonical text.
    pub fn hash(&self, value: &[u8]) -> u64 {
        let mut hash = self.0;
        hash.write(&Field::new(value));
        hash.finish()
    }

    /// The bucket of a prepared value.
    #[inline]
    pub(crate) fn bucket_of(&self, value: &Field<'_>) -> u32 {
        let mut hash = self.0;
        hash.write(value);
        scale(hash.finish())
    }
}

impl fmt::Debug for Bucketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bucketer(keyed)")
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the product shifted by 64 is below BUCKETS")]
fn scale(hash: u64) -> u32 {
    ((u128::from(hash) * u128::from(BUCKETS)) >> 64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucketing_vector_has_its_hash() {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/vectors/bucketing.json")).unwrap();
        let cases = file["cases"].as_array().unwrap();
        assert!(cases.len() >= 100);
        for case in cases {
            let text = |field: &str| case[field].as_str().unwrap();
            let byte = |i: usize| u8::from_str_radix(&text("key")[2 * i..2 * i + 2], 16).unwrap();
            let domain = if text("domain") == "flag" { Domain::Flag } else { Domain::Traffic };
            let key = BucketingKey::new(std::array::from_fn(byte));
            let bucketer = Bucketer::new(&key, domain, text("salt"), text("source"));
            assert_eq!(format!("{:016x}", bucketer.hash(text("value").as_bytes())), text("hash"), "{case}");
            assert_eq!(case["bucket"], bucketer.bucket(text("value").as_bytes()), "{case}");
        }
    }

    #[test]
    fn the_first_and_the_last_bucket_are_reached() {
        assert_eq!(scale(0), 0);
        assert_eq!(scale(u64::MAX), BUCKETS - 1);
        assert_eq!(scale(u64::MAX / 2 + 1), BUCKETS / 2);
    }

    #[test]
    fn neighbouring_fields_do_not_run_together() {
        let key = BucketingKey::new([1; 16]);
        let joined = Bucketer::new(&key, Domain::Flag, "ab", "c").bucket(b"u");
        let shifted = Bucketer::new(&key, Domain::Flag, "a", "bc").bucket(b"u");
        assert_ne!(joined, shifted);
    }

    #[test]
    fn the_key_does_not_show() {
        assert_eq!(format!("{:?}", BucketingKey::new([9; 16])), "BucketingKey(secret)");
    }
}
