//! Random identifiers: request ids, trace parents, units.
//!
//! Random bytes come from the operating system, 4 KiB at a time and per worker: a system call per
//! few hundred requests. Units are unguessable; nothing else depends on that.

use std::cell::RefCell;

const POOL: usize = 4096;

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
        edge_http::ids::request_id(self.random(), now_ms)
    }

    /// A W3C `traceparent` that starts a trace and leaves sampling to others.
    pub(super) fn traceparent(&self) -> [u8; 55] {
        edge_http::ids::traceparent(self.random())
    }

    /// 128 random bits as 32 hexadecimal digits.
    pub(super) fn unit(&self) -> [u8; 32] {
        edge_http::ids::unit(self.random())
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
