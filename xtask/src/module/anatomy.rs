//! The few facts about a WebAssembly binary that the contract depends on.
//!
//! A walk over the section headers, by hand: `wasmparser` would double the time that `cargo xtask` needs to start on a
//! fresh machine, and the host validates the whole module anyway before it runs.

use anyhow::{Context as _, Result, bail};

/// What [`read`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Anatomy {
    pub(super) imports: u32,
    pub(super) memories: u32,
    /// The start of the stack pointer, which is the first global and grows down to 0; none without globals.
    pub(super) stack: Option<u32>,
}

const HEADER: &[u8] = b"\0asm\x01\0\0\0";
const IMPORT_SECTION: u8 = 2;
const MEMORY_SECTION: u8 = 5;
const GLOBAL_SECTION: u8 = 6;
/// A mutable i32 that starts as a constant: the type, the mutability and the instruction before the value.
const MUTABLE_I32_CONST: &[u8] = &[0x7f, 0x01, 0x41];

pub(super) fn read(module: &[u8]) -> Result<Anatomy> {
    let mut rest = Bytes(module.strip_prefix(HEADER).context("it does not start as WebAssembly 1")?);
    let mut anatomy = Anatomy { imports: 0, memories: 0, stack: None };
    while !rest.0.is_empty() {
        let id = rest.byte()?;
        let size = usize::try_from(rest.number()?)?;
        let mut section = Bytes(rest.take(size)?);
        match id {
            IMPORT_SECTION => anatomy.imports = section.number()?,
            MEMORY_SECTION => anatomy.memories = section.number()?,
            GLOBAL_SECTION => anatomy.stack = stack_pointer(&mut section)?,
            _ => {}
        }
    }
    Ok(anatomy)
}

fn stack_pointer(globals: &mut Bytes<'_>) -> Result<Option<u32>> {
    if globals.number()? == 0 || globals.take(MUTABLE_I32_CONST.len())? != MUTABLE_I32_CONST {
        return Ok(None);
    }
    // The value is a signed number; below 2 GiB its bits are those of the unsigned one.
    Ok(Some(globals.number()?))
}

/// A reader that cannot run past its end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("it ends in the middle of a section")?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// LEB128, at most the five bytes of a u32.
    fn number(&mut self) -> Result<u32> {
        let mut number = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(number).context("a number has more than 32 bits");
            }
        }
        bail!("a number has more than five bytes")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Anatomy, GLOBAL_SECTION, HEADER, IMPORT_SECTION, MEMORY_SECTION, MUTABLE_I32_CONST, read};

    const CUSTOM_SECTION: u8 = 0;

    fn leb128(mut number: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let low = u8::try_from(number & 0x7f).unwrap();
            number >>= 7;
            if number == 0 {
                bytes.push(low);
                return bytes;
            }
            bytes.push(low | 0x80);
        }
    }

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        [&[id], leb128(u32::try_from(content.len()).unwrap()).as_slice(), content].concat()
    }

    /// The section headers of a module, with `padding` bytes in a custom section.
    pub(in crate::module) fn module(imports: u32, memories: u32, stack: u32, padding: usize) -> Vec<u8> {
        let globals = [leb128(1).as_slice(), MUTABLE_I32_CONST, &leb128(stack), &[0x0b]].concat();
        [
            HEADER.to_vec(),
            section(CUSTOM_SECTION, &vec![0; padding]),
            section(IMPORT_SECTION, &leb128(imports)),
            section(MEMORY_SECTION, &leb128(memories)),
            section(GLOBAL_SECTION, &globals),
        ]
        .concat()
    }

    #[test]
    fn counts_and_stack_are_read_across_sections() {
        let anatomy = Anatomy { imports: 300, memories: 1, stack: Some(1 << 20) };
        assert_eq!(read(&module(300, 1, 1 << 20, 1000)).unwrap(), anatomy);
    }

    #[test]
    fn every_cut_of_a_module_is_read_or_refused() {
        let whole = module(1, 1, 1 << 20, 10);
        for end in 0..whole.len() {
            let _ = read(&whole[..end]);
        }
        read(&whole[..whole.len() - 1]).unwrap_err();
        read(&[HEADER, &[IMPORT_SECTION, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]].concat()).unwrap_err();
    }
}
