//! The forms of identifiers that an edge makes: request ids, trace parents, units. The random bytes are the caller's.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A `UUIDv7`: sorts by time.
pub fn request_id(mut bytes: [u8; 16], now_ms: i64) -> [u8; 36] {
    bytes[..6].copy_from_slice(&now_ms.to_be_bytes()[2..]);
    bytes[6] = bytes[6] & 0x0f | 0x70;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    text
}

/// A W3C `traceparent` that starts a trace and leaves sampling to others.
pub fn traceparent(mut bytes: [u8; 24]) -> [u8; 55] {
    // All zeros would be invalid.
    bytes[15] |= 1;
    bytes[23] |= 1;
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    hex(&bytes[..16], &mut text[3..35]);
    hex(&bytes[16..], &mut text[36..52]);
    text
}

/// 128 bits as 32 hexadecimal digits.
pub fn unit(bytes: [u8; 16]) -> [u8; 32] {
    let mut text = [0; 32];
    hex(&bytes, &mut text);
    text
}

fn hex(bytes: &[u8], out: &mut [u8]) {
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
}
