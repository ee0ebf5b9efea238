//! A packed request context: format, `now` (i64, milliseconds), number of values (u16), 1 when there
//! are lists (u8), then each value: a tag and its content.
#![expect(clippy::inline_always, reason = "the module is built for size; there a call costs more than a value")]

use arrayvec::ArrayVec;
use edge_engine::{RequestContext, Value};

use crate::FORMAT;
use crate::reader::{DecodeError, Reader};

const MISSING: u8 = 0;
const TEXT: u8 = 1;
const NUMBER: u8 = 2;
const FALSE: u8 = 3;
const TRUE: u8 = 4;
const LIST: u8 = 5;

/// Values up to this many are decoded on the stack.
const ON_STACK: usize = 32;

/// Writes a request into a buffer. Answers its length, or `None` when the buffer is too small.
#[inline]
pub fn encode_request(context: &RequestContext<'_>, buffer: &mut [u8]) -> Option<usize> {
    let total = buffer.len();
    let lists = context.values.iter().any(|value| matches!(value, Value::List(_)));
    let mut out = Writer(buffer);
    out.put(&[FORMAT])?;
    out.put(&context.now_ms.to_le_bytes())?;
    out.put(&u16::try_from(context.values.len()).ok()?.to_le_bytes())?;
    out.put(&[u8::from(lists)])?;
    for value in context.values {
        out.value(*value)?;
    }
    let left = out.0.len();
    Some(total - left)
}

struct Writer<'b>(&'b mut [u8]);

impl Writer<'_> {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let (head, rest) = std::mem::take(&mut self.0).split_at_mut_checked(bytes.len())?;
        head.copy_from_slice(bytes);
        self.0 = rest;
        Some(())
    }

    #[inline]
    fn value(&mut self, value: Value<'_>) -> Option<()> {
        match value {
            Value::Missing => self.put(&[MISSING]),
            Value::Text(bytes) => {
                let [a, b, c, d] = u32::try_from(bytes.len()).ok()?.to_le_bytes();
                self.put(&[TEXT, a, b, c, d])?;
                self.put(bytes)
            }
            Value::Number(number) => {
                self.put(&[NUMBER])?;
                self.put(&number.to_le_bytes())
            }
            Value::Bool(bool) => self.put(&[if bool { TRUE } else { FALSE }]),
            Value::List(elements) => {
                self.put(&[LIST])?;
                self.put(&u32::try_from(elements.len()).ok()?.to_le_bytes())?;
                // A list holds scalars; a list in a list is missing, as it is for the engine.
                elements.iter().try_for_each(|element| match element {
                    Value::List(_) => self.value(Value::Missing),
                    scalar => self.value(*scalar),
                })
            }
        }
    }
}

/// Decodes a request and hands it on; its values borrow from the message.
#[inline(always)]
pub fn with_request<R>(message: &[u8], decide: impl FnOnce(&RequestContext<'_>) -> R) -> Result<R, DecodeError> {
    let mut reader = Reader::new(message)?;
    let now_ms = reader.i64()?;
    let count = usize::from(reader.u16()?);
    let lists = if reader.u8()? == 0 { Vec::new() } else { read_lists(reader.clone(), count)? };
    let mut lists = lists.iter();
    let mut next = || match reader.u8()? {
        LIST => {
            skip_list(&mut reader)?;
            Ok(Value::List(lists.next().ok_or(DecodeError::new("unannounced list"))?))
        }
        tag => read_scalar(tag, &mut reader),
    };
    if count > ON_STACK {
        let values = (0..count).map(|_| next()).collect::<Result<Vec<_>, _>>()?;
        return Ok(decide(&RequestContext { values: &values, now_ms }));
    }
    let mut values = ArrayVec::<_, ON_STACK>::new();
    for _ in 0..count {
        values.push(next()?);
    }
    Ok(decide(&RequestContext { values: &values, now_ms }))
}

#[inline(always)]
fn read_scalar<'m>(tag: u8, reader: &mut Reader<'m>) -> Result<Value<'m>, DecodeError> {
    Ok(match tag {
        MISSING => Value::Missing,
        TEXT => Value::Text(reader.field()?),
        NUMBER => Value::Number(f64::from_le_bytes(reader.array()?)),
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        _ => return Err(DecodeError::new("unknown value tag")),
    })
}

/// Collects the elements of all lists, so that the values can borrow them.
fn read_lists(mut reader: Reader<'_>, count: usize) -> Result<Vec<Vec<Value<'_>>>, DecodeError> {
    let mut lists = Vec::new();
    for _ in 0..count {
        match reader.u8()? {
            LIST => {
                let mut elements = Vec::new();
                for _ in 0..reader.u32()? {
                    let tag = reader.u8()?;
                    elements.push(read_scalar(tag, &mut reader)?);
                }
                lists.push(elements);
            }
            tag => {
                read_scalar(tag, &mut reader)?;
            }
        }
    }
    Ok(lists)
}

fn skip_list(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    for _ in 0..reader.u32()? {
        let tag = reader.u8()?;
        read_scalar(tag, reader)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Owned {
        Missing,
        Text(Vec<u8>),
        Number(f64),
        Bool(bool),
        List(Vec<Owned>),
    }

    fn scalar() -> impl Strategy<Value = Owned> {
        prop_oneof![
            Just(Owned::Missing),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(Owned::Text),
            (-1e300..1e300f64).prop_map(Owned::Number),
            any::<bool>().prop_map(Owned::Bool),
        ]
    }

    fn borrow<'a>(value: &'a Owned, list: &'a [Value<'a>]) -> Value<'a> {
        match value {
            Owned::Missing => Value::Missing,
            Owned::Text(text) => Value::Text(text),
            Owned::Number(number) => Value::Number(*number),
            Owned::Bool(bool) => Value::Bool(*bool),
            Owned::List(_) => Value::List(list),
        }
    }

    proptest! {
        #[test]
        fn a_request_survives_the_boundary(
            owned in proptest::collection::vec(
                prop_oneof![4 => scalar(), 1 => proptest::collection::vec(scalar(), 0..5).prop_map(Owned::List)], 0..50),
            now_ms in any::<i64>(),
        ) {
            let lists: Vec<Vec<Value<'_>>> = owned.iter().map(|value| match value {
                Owned::List(elements) => elements.iter().map(|element| borrow(element, &[])).collect(),
                _ => Vec::new(),
            }).collect();
            let values: Vec<Value<'_>> = owned.iter().zip(&lists).map(|(value, list)| borrow(value, list)).collect();
            let context = RequestContext { values: &values, now_ms };
            let mut buffer = vec![0xaa; 64 << 10];
            let len = encode_request(&context, &mut buffer).unwrap();
            let same = with_request(&buffer, |decoded| decoded.values == values && decoded.now_ms == now_ms).unwrap();
            prop_assert!(same);
            prop_assert!(encode_request(&context, buffer.get_mut(..len - 1).unwrap()).is_none());
            prop_assert!(with_request(buffer.get(..len - 1).unwrap(), |_| ()).is_err());
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut message = vec![FORMAT];
            message.extend(bytes);
            let _ = with_request(&message, |_| ());
        }
    }
}
