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

/// A set of canonical texts, in the form that answers fastest.
#[derive(Debug)]
pub(crate) enum TextSet {
    /// Few texts of at most eight bytes: countries, plans, regions.
    Short(Box<[(usize, u64)]>),
    /// Few texts.
    Few(Box<[Box<[u8]>]>),
    Many {
        longest: usize,
        values: HashSet<Box<[u8]>, Keyed>,
    },
}

impl TextSet {
    /// Up to this many, comparing one by one beats hashing the probe.
    const FEW: usize = 8;

    pub(super) fn new(list: Vec<Box<[u8]>>, keyed: &Keyed) -> Self {
        if list.len() <= Self::FEW {
            let short: Option<Box<[_]>> = list.iter().map(|value| Some((value.len(), word(value)?))).collect();
            return short.map_or_else(|| Self::Few(list.into()), Self::Short);
        }
        let longest = list.iter().map(|value| value.len()).max().unwrap_or_default();
        let mut values = HashSet::with_capacity_and_hasher(list.len(), keyed.clone());
        values.extend(list);
        Self::Many { longest, values }
    }

    #[inline]
    pub(super) fn contains(&self, text: &[u8]) -> bool {
        match self {
            Self::Short(values) => word(text).is_some_and(|word| values.contains(&(text.len(), word))),
            Self::Few(values) => values.iter().any(|value| **value == *text),
            // The length first: hashing a long value would cost its length.
            Self::Many { longest, values } => text.len() <= *longest && values.contains(text),
        }
    }

    pub(super) fn cost(&self) -> u64 {
        match self {
            Self::Short(_) => 1,
            Self::Few(values) => 1 + values.iter().map(|value| value.len() as u64).sum::<u64>() / steps::BYTES,
            Self::Many { longest, .. } => 5 + *longest as u64 / steps::HASHED,
        }
    }
}

/// Up to eight bytes as one word; `None` when there are more.
#[inline]
fn word(text: &[u8]) -> Option<u64> {
    if let Some(bytes) = text.first_chunk::<4>() {
        let low = u64::from(u32::from_le_bytes(*bytes));
        // The last four bytes overlap the first ones where there are fewer than eight.
        let high = u64::from(u32::from_le_bytes(*text.last_chunk::<4>()?));
        return (text.len() <= 8).then_some(low | high << 32);
    }
    Some(text.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}
