//! The canonical text of a scalar: what equality compares and what a bucket hashes.
//!
//! Text stands for itself, byte by byte. A number is its shortest decimal form, so `1`, `1.0` and
//! `"1"` are one value and `-0` is `0`; from 10^21 on and below 10^-6 it has an exponent, as in
//! ECMAScript. Booleans are `true` and `false`. Numbers are IEEE 754 doubles: identifiers beyond
//! 2^53 must be sent as text to stay distinct.

use std::fmt::Write as _;

use crate::context::Value;
use crate::limits::MAX_SCALAR_BYTES;

/// Room for the longest canonical number: sign, 21 digits or `0.00000` with 17 digits.
const NUMBER_BYTES: usize = 40;

/// Canonical text that borrows where it can.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text<'a> {
    Borrowed(&'a [u8]),
    Number([u8; NUMBER_BYTES], u8),
}

impl Text<'_> {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Number(buffer, len) => buffer.get(..usize::from(*len)).unwrap_or_default(),
        }
    }
}

/// The canonical text of a scalar; `None` for a missing value or a list.
pub(crate) fn canonical(value: Value<'_>) -> Option<Text<'_>> {
    match value {
        Value::Text(bytes) => Some(Text::Borrowed(bytes)),
        Value::Bool(true) => Some(Text::Borrowed(b"true")),
        Value::Bool(false) => Some(Text::Borrowed(b"false")),
        Value::Number(number) => Some(number_text(number)),
        Value::Missing | Value::List(_) => None,
    }
}

/// The number a value stands for: a number, or text that is a finite decimal number as a whole and not
/// longer than numbers are.
pub(crate) fn number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Number(number) => Some(number),
        Value::Text(bytes) if bytes.len() <= MAX_SCALAR_BYTES => parse_number(std::str::from_utf8(bytes).ok()?),
        _ => None,
    }
}

/// A finite decimal number; `inf`, `nan` and surrounding space are not.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

#[expect(clippy::cast_possible_truncation, reason = "the branch is taken for integers below 2^53 only")]
fn number_text<'a>(number: f64) -> Text<'a> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let mut out = Buffer { bytes: [0; NUMBER_BYTES], len: 0 };
    let size = number.abs();
    // The buffer holds every form below; a failed write could only cut the text.
    let _ = if size < EXACT && number.fract() == 0.0 {
        write!(out, "{}", number as i64)
    } else if (1e-6..1e21).contains(&size) {
        write!(out, "{number}")
    } else {
        write!(out, "{number:e}")
    };
    Text::Number(out.bytes, out.len)
}

struct Buffer {
    bytes: [u8; NUMBER_BYTES],
    len: u8,
}

impl std::fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let from = usize::from(self.len);
        let room = self.bytes.get_mut(from..from + text.len()).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = u8::try_from(from + text.len()).map_err(|_| std::fmt::Error)?;
        Ok(())
    }
}

/// The canonical text of a JSON scalar; `None` for null, lists and objects.
pub(crate) fn canonical_json(value: &serde_json::Value) -> Option<Box<[u8]>> {
    let value = match value {
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Bool(bool) => Value::Bool(*bool),
        serde_json::Value::Number(number) => Value::Number(number.as_f64()?),
        _ => return None,
    };
    canonical(value).map(|text| text.as_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(number: f64, expected: &str) {
        let text = canonical(Value::Number(number)).unwrap();
        assert_eq!(std::str::from_utf8(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn numbers_have_one_text() {
        check(1.0, "1");
        check(-0.0, "0");
        check(0.1, "0.1");
        check(-1.5, "-1.5");
        check(9_007_199_254_740_991.0, "9007199254740991");
        check(1e20, "100000000000000000000");
        check(1e21, "1e21");
        check(0.000_001, "0.000001");
        check(1.234_567_890_123_456_7e-6, "0.0000012345678901234567");
        check(1e-7, "1e-7");
        check(f64::MAX, "1.7976931348623157e308");
        check(-f64::MIN_POSITIVE, "-2.2250738585072014e-308");
    }

    #[test]
    fn only_finite_decimals_are_numbers() {
        for text in ["inf", "nan", "", " 1", "1 ", "0x1", "1e999", "1,5"] {
            assert_eq!(parse_number(text), None, "{text}");
        }
        assert_eq!(parse_number("-1.5e3"), Some(-1500.0));
    }
}
