//! `flagd-v2` and `flagd-v3`: the bucketing of flagd's `fractional`, for flags that come from there.
//!
//! Murmur 3 (Austin Appleby; x86, 32 bits, seed 0) of the unit, and `bucket = (hash * total) >> 32`, where
//! `total` is the sum of the split's integer weights. There is no key: whoever knows the flag can compute its
//! buckets. `flagd-v2` hashes bytes of UTF-8, `flagd-v3` their CBOR encoding (RFC 8949, 4.2.1).
//!
//! Which bytes are hashed depends on the flag's salt and on where its unit comes from, so that every form of
//! `fractional` has its own: [`Form`] says which. A split without a usable unit serves the off variant with the
//! reason `DEFAULT`, as flagd serves its default variant.

use serde_json::json;

use crate::context::Value;
use crate::decide::Evaluation;
use crate::decision::{FlagOutcome, FlagReason, RuleIndex};
use crate::flag::Flag;
use crate::limits::MAX_UNIT_BYTES;
use crate::split::Split;
use crate::text::canonical;
use crate::trace::Trace;

/// Name of the bucketing of flagd 0.12 to date, in Go, and of its JavaScript core up to 4.
pub const FLAGD_V2: &str = "flagd-v2";
/// Name of the bucketing of flagd's Python core from 2.0 and of its Rust engine.
pub const FLAGD_V3: &str = "flagd-v3";

/// A generation of flagd's bucketing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flagd {
    /// Bytes of UTF-8.
    V2,
    /// CBOR.
    V3,
}

/// What a value is to `fractional`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The targeting key, which flagd joins with the flag's key by itself. A text that is not empty; the salt
    /// is the flag's key.
    Key,
    /// A bucketing value that the definition names. Without salt it is hashed as it is, with one as the text
    /// of `cat`: salt, then value.
    Named,
}

impl Form {
    /// The form of a value from this unit source.
    pub fn of(source: &str) -> Self {
        if source.starts_with("attribute:") { Self::Named } else { Self::Key }
    }
}

impl Flagd {
    /// The generation with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            FLAGD_V2 => Some(Self::V2),
            FLAGD_V3 => Some(Self::V3),
            _ => None,
        }
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::V2 => FLAGD_V2,
            Self::V3 => FLAGD_V3,
        }
    }

    /// The bucket of a value, `0 ≤ b < total`; `None` where flagd has none.
    pub fn bucket(self, form: Form, salt: &str, value: Value<'_>, total: u32) -> Option<u32> {
        let hash = self.hash(form, salt.as_bytes(), value)?;
        u32::try_from((u64::from(hash) * u64::from(total)) >> 32).ok()
    }

    fn hash(self, form: Form, salt: &[u8], value: Value<'_>) -> Option<u32> {
        let mut hash = Murmur::default();
        match (form, value) {
            (Form::Key, Value::Text(text)) if !text.is_empty() => match self {
                Self::V2 => hash.write_all(&[salt, text]),
                Self::V3 if salt.is_empty() => hash.write_text(&[text]),
                Self::V3 => {
                    hash.write_head(ARRAY, 2);
                    hash.write_text(&[salt]);
                    hash.write_text(&[text]);
                }
            },
            (Form::Named, value) if !salt.is_empty() => {
                let text = canonical(value)?;
                match self {
                    Self::V2 => hash.write_all(&[salt, text.as_bytes()]),
                    Self::V3 => hash.write_text(&[salt, text.as_bytes()]),
                }
            }
            (Form::Named, Value::Text(text)) => match self {
                Self::V2 => hash.write_all(&[text]),
                Self::V3 => hash.write_text(&[text]),
            },
            // To v2 anything but a text is a mistake in the definition.
            (Form::Named, Value::Bool(bool)) if self == Self::V3 => hash.write_head(SIMPLE, 20 + u64::from(bool)),
            (Form::Named, Value::Number(number)) if self == Self::V3 => hash.write_number(number),
            _ => return None,
        }
        Some(hash.finish())
    }
}

/// What a split in weights of flagd is hashed by.
#[derive(Debug)]
pub(crate) struct Hashed {
    pub(crate) algorithm: Flagd,
    pub(crate) salt: Box<str>,
}

impl Flag {
    /// Serves a split in weights of flagd.
    pub(crate) fn serve_flagd<T: Trace>(
        &self,
        split: &Split,
        hashed: &Hashed,
        rule: Option<RuleIndex>,
        evaluation: &mut Evaluation<'_, T>,
    ) -> FlagOutcome {
        let snapshot = evaluation.snapshot;
        let unit = self.unit.as_ref().unwrap_or_else(|| snapshot.unit());
        let total = split.total();
        let found = unit.values(evaluation.context).find_map(|(source, value)| {
            let fits = !matches!(value, Value::Text(text) if text.len() > MAX_UNIT_BYTES);
            let form = Form::of(snapshot.unit_name(source));
            let bucket = fits.then(|| hashed.algorithm.bucket(form, &hashed.salt, value, total))??;
            Some((source, bucket))
        });
        let Some((source, bucket)) = found else {
            evaluation.trace.leaf(|| json!({"step": "split", "unit": null, "variant": self.key_of(self.off)}));
            return FlagOutcome { rule, ..self.off(FlagReason::Default, None) };
        };
        let variant = split.owner(bucket);
        evaluation.trace.leaf(|| {
            let range = split.range(bucket);
            json!({"step": "split", "unit": snapshot.unit_name(source), "bucket": bucket, "of": total,
                "range": {"from": range.start, "to": range.end}, "variant": self.key_of(variant)})
        });
        FlagOutcome { rule, bucket: Some(bucket), variant, ..self.off(FlagReason::Split, None) }
    }
}

/// Major types of CBOR.
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const SIMPLE: u8 = 7;
/// Heads of floats.
const HALF: u8 = 0xf9;
const SINGLE: u8 = 0xfa;
const DOUBLE: u8 = 0xfb;

/// Murmur 3 in the middle of its message.
#[derive(Default)]
struct Murmur {
    hash: u32,
    /// Bytes that do not fill a block yet, little-endian.
    block: u32,
    length: u32,
}

impl Murmur {
    fn write(&mut self, byte: u8) {
        let at = self.length & 3;
        self.block |= u32::from(byte) << (8 * at);
        self.length = self.length.wrapping_add(1);
        if at == 3 {
            self.hash = (self.hash ^ scramble(self.block)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
            self.block = 0;
        }
    }

    fn write_all(&mut self, parts: &[&[u8]]) {
        for byte in parts.iter().copied().flatten() {
            self.write(*byte);
        }
    }

    fn finish(self) -> u32 {
        // Scrambling no bytes gives 0, which changes nothing.
        let mut hash = self.hash ^ scramble(self.block) ^ self.length;
        hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
        hash ^ hash >> 16
    }

    /// The head of a CBOR item in its shortest form.
    fn write_head(&mut self, major: u8, argument: u64) {
        let bytes = argument.to_be_bytes();
        let (short, skipped) = match argument {
            0..=23 => (bytes.last().copied().unwrap_or_default(), 8),
            24..=0xff => (24, 7),
            0x100..=0xffff => (25, 6),
            0x1_0000..=0xffff_ffff => (26, 4),
            _ => (27, 0),
        };
        self.write(major << 5 | short);
        self.write_all(&[bytes.get(skipped..).unwrap_or_default()]);
    }

    /// A CBOR text out of parts.
    fn write_text(&mut self, parts: &[&[u8]]) {
        self.write_head(TEXT, parts.iter().map(|part| part.len() as u64).sum());
        self.write_all(parts);
    }

    /// A number: whole ones that fit 64 bits as integers, others as the shortest float that has their value.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::float_cmp,
        reason = "each cast stands behind the range in which it is exact, and exactness is the question"
    )]
    fn write_number(&mut self, number: f64) {
        const BELOW: f64 = 18_446_744_073_709_551_616.0;
        let whole = number.fract() == 0.0;
        if whole && (0.0..BELOW).contains(&number) {
            self.write_head(UNSIGNED, number as u64);
        } else if whole && (-BELOW / 2.0..0.0).contains(&number) {
            self.write_head(NEGATIVE, !(number as i64) as u64);
        } else if f64::from(number as f32) != number {
            self.write(DOUBLE);
            self.write_all(&[&number.to_bits().to_be_bytes()]);
        } else if let Some(half) = half(number as f32) {
            self.write(HALF);
            self.write_all(&[&half.to_be_bytes()]);
        } else {
            self.write(SINGLE);
            self.write_all(&[&(number as f32).to_bits().to_be_bytes()]);
        }
    }
}

fn scramble(block: u32) -> u32 {
    block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

/// The bits of the half-precision float that has exactly this value, which is not 0.
fn half(number: f32) -> Option<u16> {
    let bits = number.to_bits();
    let exponent = (bits >> 23 & 0xff).checked_sub(127 - 24)?;
    let mantissa = bits & 0x007f_ffff;
    let magnitude = match exponent {
        // Subnormal: 2^-24 is one.
        0..=9 => {
            let (whole, shift) = (mantissa | 0x0080_0000, 23 - exponent);
            (whole.trailing_zeros() >= shift).then_some(whole >> shift)?
        }
        10..=39 => (mantissa.trailing_zeros() >= 13).then_some((exponent - 9) << 10 | mantissa >> 13)?,
        _ => return None,
    };
    u16::try_from(bits >> 31 << 15 | magnitude).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn murmur(text: &str) -> u32 {
        let mut hash = Murmur::default();
        hash.write_all(&[text.as_bytes()]);
        hash.finish()
    }

    #[test]
    fn the_hash_has_the_published_outputs_of_murmur3() {
        // https://en.wikipedia.org/wiki/MurmurHash#MurmurHash3, and flagd's own test of `fractional`.
        for (text, hash) in [
            ("", 0),
            ("test", 0xba6b_d213),
            ("Hello, world!", 0xc036_3e43),
            ("The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
        ] {
            assert_eq!(murmur(text), hash, "{text}");
        }
    }

    /// Each name of flagd's test bed, behind the flag's key: the suit of four equal buckets for v2 and v3.
    #[test]
    fn the_test_beds_keys_keep_their_suits() {
        let suits = ["clubs", "diamonds", "hearts", "spades"];
        for (key, v2, v3) in [
            ("jack", "hearts", "diamonds"),
            ("queen", "spades", "diamonds"),
            ("ten", "clubs", "clubs"),
            ("nine", "diamonds", "clubs"),
            ("3", "clubs", "spades"),
        ] {
            for (flagd, expected) in [(Flagd::V2, v2), (Flagd::V3, v3)] {
                let bucket = flagd.bucket(Form::Named, "fractional-flag", key.into(), 100).unwrap();
                assert_eq!(suits[bucket as usize / 25], expected, "{flagd:?} {key}");
            }
        }
    }

    #[test]
    fn values_of_every_type_have_their_buckets() {
        let check = |value: Value<'_>, expected| {
            assert_eq!(Flagd::V3.bucket(Form::Named, "", value, 25), expected, "{value:?}");
        };
        check(Value::Bool(true), Some(4));
        check(Value::Bool(false), Some(0));
        check("user1".into(), Some(21));
        check("123".into(), Some(21));
        check(Value::Number(123.0), Some(19));
        check(Value::Number(1.23), Some(13));
        check(Value::Number(0.0), Some(7));
        check(Value::Number(-0.0), Some(7));
        check(Value::Missing, None);
        check(Value::List(&[Value::Bool(true)]), None);
    }

    /// What the CBOR of a number would be: the hash does not tell which part of it is wrong.
    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let encoded = |bytes: &[u8]| {
            let mut hash = Murmur::default();
            hash.write_all(&[bytes]);
            hash.finish()
        };
        // RFC 8949, appendix A.
        let examples: [(f64, &[u8]); 22] = [
            (0.0, &[0x00]),
            (23.0, &[0x17]),
            (24.0, &[0x18, 0x18]),
            (255.0, &[0x18, 0xff]),
            (256.0, &[0x19, 1, 0]),
            (1000.0, &[0x19, 0x03, 0xe8]),
            (1_000_000.0, &[0x1a, 0x00, 0x0f, 0x42, 0x40]),
            (1_000_000_000_000.0, &[0x1b, 0x00, 0x00, 0x00, 0xe8, 0xd4, 0xa5, 0x10, 0x00]),
            (-1.0, &[0x20]),
            (-100.0, &[0x38, 0x63]),
            (-1000.0, &[0x39, 0x03, 0xe7]),
            (-9_223_372_036_854_775_808.0, &[0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            (1.1, &[0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a]),
            (1.5, &[0xf9, 0x3e, 0x00]),
            (-4.1, &[0xfb, 0xc0, 0x10, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66]),
            (5.960_464_477_539_063e-8, &[0xf9, 0x00, 0x01]),
            (0.000_061_035_156_25, &[0xf9, 0x04, 0x00]),
            (3.402_823_466_385_288_6e38, &[0xfa, 0x7f, 0x7f, 0xff, 0xff]),
            (1.0e300, &[0xfb, 0x7e, 0x37, 0xe4, 0x3c, 0x88, 0x00, 0x75, 0x9c]),
            (-0.5, &[0xf9, 0xb8, 0x00]),
            (-5.960_464_477_539_063e-8, &[0xf9, 0x80, 0x01]),
            (18_446_744_073_709_551_616.0, &[0xfa, 0x5f, 0x80, 0x00, 0x00]),
        ];
        for (number, bytes) in examples {
            let mut hash = Murmur::default();
            hash.write_number(number);
            assert_eq!(hash.finish(), encoded(bytes), "{number}");
        }
    }

    #[test]
    fn v2_joins_what_v3_keeps_apart() {
        let bucket = |flagd: Flagd, form, salt, value: &str| flagd.bucket(form, salt, value.into(), 1 << 30).unwrap();
        assert_eq!(bucket(Flagd::V2, Form::Key, "ab", "c"), bucket(Flagd::V2, Form::Named, "a", "bc"));
        assert_ne!(bucket(Flagd::V3, Form::Key, "ab", "c"), bucket(Flagd::V3, Form::Key, "a", "bc"));
        assert_eq!(bucket(Flagd::V3, Form::Named, "ab", "c"), bucket(Flagd::V3, Form::Named, "", "abc"));
        assert_ne!(bucket(Flagd::V3, Form::Key, "ab", "c"), bucket(Flagd::V3, Form::Named, "ab", "c"));
    }

    #[test]
    fn only_what_flagd_hashes_has_a_bucket() {
        for (form, salt, value, v2, v3) in [
            (Form::Key, "f", Value::from(""), false, false),
            (Form::Key, "f", Value::Number(1.0), false, false),
            (Form::Named, "", Value::from(""), true, true),
            (Form::Named, "", Value::Number(1.0), false, true),
            (Form::Named, "f", Value::Number(1.0), true, true),
            (Form::Named, "f", Value::Missing, false, false),
        ] {
            assert_eq!(Flagd::V2.bucket(form, salt, value, 100).is_some(), v2, "v2 {form:?} {salt:?} {value:?}");
            assert_eq!(Flagd::V3.bucket(form, salt, value, 100).is_some(), v3, "v3 {form:?} {salt:?} {value:?}");
        }
    }
}
