//! A set of texts with a bounded price: what `eq`, `in` and their negations look into.

use std::collections::HashSet;
use std::fmt;
use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

use super::steps;
use crate::bucket::BucketingKey;

/// Hashes with SipHash-1-3 under the environment's secret: whoever writes a list cannot choose values
/// that collide and make looking into it as slow as reading it.
#[derive(Clone)]
pub(crate) struct Keyed(SipHasher13);

impl Keyed {
    pub(crate) fn new(key: &BucketingKey) -> Self {
        Self(SipHasher13::new_with_key(key.as_bytes()))
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    #[inline]
    fn build_hasher(&self) -> SipHasher13 {
        self.0
    }
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed(secret)")
    }
}

/// A set of canonical texts: compared one by one while small, hashed when large.
#[derive(Debug)]
pub(crate) enum TextSet {
    Few(Box<[Box<[u8]>]>),
    Many { longest: usize, values: HashSet<Box<[u8]>, Keyed> },
}

impl TextSet {
    /// Up to this many, comparing lengths and bytes beats hashing the probe.
    const FEW: usize = 8;

    pub(super) fn new(list: Vec<Box<[u8]>>, keyed: &Keyed) -> Self {
        if list.len() <= Self::FEW {
            return Self::Few(list.into());
        }
        let longest = list.iter().map(|value| value.len()).max().unwrap_or_default();
        let mut values = HashSet::with_capacity_and_hasher(list.len(), keyed.clone());
        values.extend(list);
        Self::Many { longest, values }
    }

    #[inline]
    pub(super) fn contains(&self, text: &[u8]) -> bool {
        match self {
            Self::Few(values) => values.iter().any(|value| **value == *text),
            // The length first: hashing a long value would cost its length.
            Self::Many { longest, values } => text.len() <= *longest && values.contains(text),
        }
    }

    pub(super) fn cost(&self) -> u64 {
        match self {
            Self::Few(values) => 1 + values.iter().map(|value| value.len() as u64).sum::<u64>() / steps::BYTES,
            Self::Many { longest, .. } => 5 + *longest as u64 / steps::HASHED,
        }
    }
}
