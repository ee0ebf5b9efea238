//! Random identifiers: request ids, trace parents, units.
//!
//! Random bytes come from the operating system, 4 KiB at a time and per worker: a system call per
//! few hundred requests. Units are unguessable; nothing else depends on that.

use std::cell::RefCell;

const POOL: usize = 4096;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// A worker's source of identifiers.
pub(super) struct Ids {
    pool: RefCell<(Box<[u8; POOL]>, usize)>,
}

impl Ids {
    pub(super) fn new() -> Self {
        Self { pool: RefCell::new((Box::new([0; POOL]), POOL)) }
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut pool = self.pool.borrow_mut();
        let (bytes, at) = &mut *pool;
        if *at + N > POOL {
            getrandom::fill(&mut bytes[..]).expect("the kernel's random source works once the system is up");
            *at = 0;
        }
        let mut out = [0; N];
        out.copy_from_slice(&bytes[*at..*at + N]);
        // Used bytes do not stay in memory.
        bytes[*at..*at + N].fill(0);
        *at += N;
        out
    }

    /// A `UUIDv7`: sorts by time.
    pub(super) fn request_id(&self, now_ms: i64) -> [u8; 36] {
        let mut bytes: [u8; 16] = self.random();
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
    pub(super) fn traceparent(&self) -> [u8; 55] {
        let mut bytes: [u8; 24] = self.random();
        // All zeros would be invalid.
        bytes[15] |= 1;
        bytes[23] |= 1;
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(&bytes[..16], &mut text[3..35]);
        hex(&bytes[16..], &mut text[36..52]);
        text
    }

    /// 128 random bits as 32 hexadecimal digits.
    pub(super) fn unit(&self) -> [u8; 32] {
        let bytes: [u8; 16] = self.random();
        let mut text = [0; 32];
        hex(&bytes, &mut text);
        text
    }
}

fn hex(bytes: &[u8], out: &mut [u8]) {
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn identifiers_have_their_form_and_never_repeat() {
        let ids = Ids::new();
        let mut seen = HashSet::new();
        for _ in 0..2000 {
            let id = String::from_utf8(ids.request_id(0x0001_0203_0405).to_vec()).unwrap();
            assert!(id.starts_with("00010203-0405-7"), "{id}");
            assert!(seen.insert(id));
            assert!(super::super::headers::is_traceparent(&ids.traceparent()));
            assert!(seen.insert(String::from_utf8(ids.unit().to_vec()).unwrap()));
        }
    }
}
