//! `siphash24-v1`: from a unit to a bucket. The only file that hashes for a decision.
//!
//! SipHash-2-4 (Aumasson and Bernstein, 2012) under the environment's secret key, over the fields
//! *version, domain, salt, source name, value*, each preceded by its length in bytes as a 32-bit
//! little-endian integer. The 64-bit hash `h` becomes the bucket `(h * 1_000_000) >> 64` in 128-bit
//! arithmetic: no modulo, so no bucket is favoured by more than 1 in 2^44.
//!
//! A keyed hash keeps clients from choosing an id that lands in a cohort of their liking. Domains
//! keep a flag and a rollout that share a salt independent of each other.

use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

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
}

impl Domain {
    fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Traffic => "traffic",
        }
    }
}

/// The hash of everything but the value, ready to take a value.
#[derive(Clone)]
pub struct Bucketer(SipHasher24);

impl Bucketer {
    /// Absorbs key, version, domain, salt and the name of the unit's source.
    pub fn new(key: &BucketingKey, domain: Domain, salt: &str, source: &str) -> Self {
        let mut hasher = SipHasher24::new_with_key(&key.0);
        for text in [SIPHASH24_V1, domain.as_str(), salt, source] {
            write_field(&mut hasher, text.as_bytes());
        }
        Self(hasher)
    }

    /// The bucket of a value in its canonical text, `0 ≤ b < 1 000 000`.
    #[inline]
    pub fn bucket(&self, value: &[u8]) -> u32 {
        let mut hasher = self.0;
        write_field(&mut hasher, value);
        scale(hasher.finish())
    }
}

impl fmt::Debug for Bucketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bucketer(keyed)")
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "fields are far below 4 GiB: limits.rs and the host bound them")]
fn write_field(hasher: &mut SipHasher24, bytes: &[u8]) {
    hasher.write(&(bytes.len() as u32).to_le_bytes());
    hasher.write(bytes);
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the product shifted by 64 is below BUCKETS")]
fn scale(hash: u64) -> u32 {
    ((u128::from(hash) * u128::from(BUCKETS)) >> 64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 64 reference outputs of SipHash-2-4 start so in the paper's test vectors.
    #[test]
    fn the_hash_is_siphash_2_4() {
        let key: [u8; 16] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let message: Vec<u8> = (0..15).collect();
        let mut hasher = SipHasher24::new_with_key(&key);
        hasher.write(&message);
        assert_eq!(hasher.finish(), 0xa129_ca61_49be_45e5);
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
