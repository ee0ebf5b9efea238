//! SipHash-2-4 (Aumasson and Bernstein, 2012) in the form that decisions need: a prefix is absorbed
//! once on load, and each request only adds its ending.
//!
//! The crate `siphasher`, against which the tests hold this, keeps a general buffer: with it each of a
//! request's buckets costs half as much again.

/// A hash in the middle of its message.
#[derive(Clone, Copy)]
pub(crate) struct Sip {
    state: [u64; 4],
    /// Bytes that do not fill a word yet, little-endian; zero above them.
    pending: u64,
    /// Bits in `pending`: a multiple of 8 below 64.
    bits: u32,
    /// Bytes absorbed, modulo 256: all that the hash takes of the length.
    length: u8,
}

impl Sip {
    /// The beginning of a message under a key.
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        let [k0, k1] = [0, 8].map(|at| (0..8).fold(0, |word, i| word | byte(key, at + i) << (8 * i)));
        let state = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        Self { state, pending: 0, bits: 0, length: 0 }
    }

    /// Adds bytes, preceded by their number as a 32-bit little-endian integer.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "in a call the state goes through memory, which costs as much as a round")]
    pub(crate) fn write(&mut self, field: &Field<'_>) {
        self.add(u64::from(field.length), 32);
        for word in field.words {
            let word = u64::from_le_bytes(*word);
            absorb(&mut self.state, self.pending | word << self.bits);
            self.pending = above(word, self.bits);
        }
        self.add(field.rest, field.rest_bits);
        self.length = self.length.wrapping_add(field.length_of_words);
    }

    /// Adds the low `bits` of a word, less than a whole one.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "less than eight bytes")]
    fn add(&mut self, word: u64, bits: u32) {
        self.length = self.length.wrapping_add((bits / 8) as u8);
        let before = self.bits;
        self.pending |= word << before;
        self.bits += bits;
        if self.bits >= 64 {
            absorb(&mut self.state, self.pending);
            self.pending = above(word, before);
            self.bits -= 64;
        }
    }

    /// The hash of the message.
    #[inline]
    pub(crate) fn finish(mut self) -> u64 {
        absorb(&mut self.state, self.pending | u64::from(self.length) << 56);
        let [v0, v1, v2, v3] = &mut self.state;
        *v2 ^= 0xff;
        for _ in 0..4 {
            round(v0, v1, v2, v3);
        }
        *v0 ^ *v1 ^ *v2 ^ *v3
    }
}

/// What is left of a word of which the low `64 - bits` are taken.
#[inline]
fn above(word: u64, bits: u32) -> u64 {
    // In two steps, because nothing is left where `bits` is 0 and a shift by 64 would overflow.
    (word >> 1) >> (63 - bits)
}

/// Bytes prepared for being added to many messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'b> {
    length: u32,
    length_of_words: u8,
    words: &'b [[u8; 8]],
    /// The bytes after the last word, little-endian.
    rest: u64,
    rest_bits: u32,
}

impl<'b> Field<'b> {
    /// Prepares fewer than 4 GiB.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "callers bound the length; the hash counts modulo 256")]
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        Self {
            length: bytes.len() as u32,
            length_of_words: (8 * words.len()) as u8,
            words,
            rest: short(rest),
            rest_bits: 8 * rest.len() as u32,
        }
    }
}

/// Up to seven bytes as a little-endian word.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            // With fewer than eight bytes the halves overlap, and agree where they do.
            let high = u64::from(u32::from_le_bytes(*last));
            u64::from(u32::from_le_bytes(*first)) | high << (8 * (bytes.len() & 7) - 32)
        }
        _ => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

fn byte(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at).copied().unwrap_or_default().into()
}

#[inline]
fn absorb(state: &mut [u64; 4], word: u64) {
    let [v0, v1, v2, v3] = state;
    *v3 ^= word;
    round(v0, v1, v2, v3);
    round(v0, v1, v2, v3);
    *v0 ^= word;
}

#[inline]
fn round(v0: &mut u64, v1: &mut u64, v2: &mut u64, v3: &mut u64) {
    *v0 = v0.wrapping_add(*v1);
    *v2 = v2.wrapping_add(*v3);
    *v1 = v1.rotate_left(13) ^ *v0;
    *v3 = v3.rotate_left(16) ^ *v2;
    *v0 = v0.rotate_left(32);
    *v2 = v2.wrapping_add(*v1);
    *v0 = v0.wrapping_add(*v3);
    *v1 = v1.rotate_left(17) ^ *v2;
    *v3 = v3.rotate_left(21) ^ *v0;
    *v2 = v2.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher as _;

    use proptest::prelude::*;
    use siphasher::sip::SipHasher24;

    use super::{Field, Sip};

    /// The hash of a message that is no field: the beginning of one, without the number of its bytes.
    fn hash(key: &[u8; 16], message: &[u8]) -> u64 {
        let mut hash = Sip::new(key);
        for byte in message {
            hash.add(u64::from(*byte), 8);
        }
        hash.finish()
    }

    #[test]
    fn the_hash_has_the_reference_outputs_of_siphash_2_4() {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/vectors/siphash.json")).unwrap();
        let outputs = file["outputs"].as_array().unwrap();
        assert_eq!(outputs.len(), 64);
        let key: [u8; 16] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        for (len, output) in (0_u8..).zip(outputs) {
            // The paper writes bytes in order.
            let hash = hash(&key, &(0..len).collect::<Vec<u8>>()).swap_bytes();
            assert_eq!(*output, format!("{hash:016x}"), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_fields_hash_as_the_crate_does(
            key in any::<[u8; 16]>(),
            fields in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6),
        ) {
            let (mut ours, mut theirs) = (Sip::new(&key), SipHasher24::new_with_key(&key));
            let mut message = Vec::new();
            for bytes in fields {
                ours.write(&Field::new(&bytes));
                message.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
                message.extend_from_slice(&bytes);
            }
            theirs.write(&message);
            prop_assert_eq!(ours.finish(), theirs.finish());
            prop_assert_eq!(hash(&key, &message), theirs.finish());
        }
    }
}
