//! Reading a message: every access is bounds-checked, nothing panics.
#![expect(clippy::inline_always, reason = "the module is built for size; there a call costs more than the read")]

use std::fmt;

/// A message that is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    what: &'static str,
}

impl DecodeError {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self { what }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message at the module boundary is malformed: {}", self.what)
    }
}

impl std::error::Error for DecodeError {}

/// A cursor over a message.
#[derive(Clone)]
pub(crate) struct Reader<'m>(&'m [u8]);

impl<'m> Reader<'m> {
    /// Starts after the format byte.
    #[inline(always)]
    pub(crate) fn new(message: &'m [u8]) -> Result<Self, DecodeError> {
        match message.split_first() {
            Some((&crate::FORMAT, rest)) => Ok(Self(rest)),
            _ => Err(DecodeError::new("unknown format")),
        }
    }

    /// Starts in the middle of a message, where its format is known already.
    pub(crate) fn of_body(bytes: &'m [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub(crate) fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    #[inline(always)]
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'m [u8], DecodeError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(DecodeError::new("cut short"))?;
        self.0 = rest;
        Ok(head)
    }

    #[inline(always)]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(DecodeError::new("cut short"))?;
        self.0 = rest;
        Ok(*head)
    }

    #[inline(always)]
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    #[inline(always)]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline(always)]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline(always)]
    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_le_bytes)
    }

    /// Bytes that a 32-bit length precedes.
    #[inline(always)]
    pub(crate) fn field(&mut self) -> Result<&'m [u8], DecodeError> {
        let len = self.u32()?;
        self.bytes(len as usize)
    }
}
