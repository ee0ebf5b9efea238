//! Bytes as lower-case hexadecimal digits and back.

use std::fmt::Write as _;

/// Two digits for each byte.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Exactly so many bytes; `None` for any other text. Upper-case digits are taken too.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    // `from_str_radix` takes a sign, so the digits are looked at first.
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        assert_eq!(encode(&[0, 0x0f, 0xff]), "000fff");
        assert_eq!(decode("000fFf"), Some([0, 0x0f, 0xff]));
        for text in ["", "000ff", "000fff0", "+f0fff", "zz0fff", "ää0f"] {
            assert_eq!(decode::<3>(text), None, "{text}");
        }
    }
}
