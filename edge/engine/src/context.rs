//! The request as the engine sees it: all that a decision may depend on, and nothing else.
//!
//! A context is packed by index: value *i* belongs to attribute *i* of [`crate::Snapshot::needs`].
//! Values borrow from the host's buffers; building one allocates nothing.

/// One attribute's value. Text is bytes, because header values need not be UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Value<'a> {
    /// The request does not have the attribute.
    #[default]
    Missing,
    /// A text, normally UTF-8.
    Text(&'a [u8]),
    /// A finite number.
    Number(f64),
    /// A boolean.
    Bool(bool),
    /// A list: an operator holds when it holds for one element.
    List(&'a [Value<'a>]),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.as_bytes())
    }
}

/// A borrowed, packed context.
#[derive(Debug, Clone, Copy)]
pub struct RequestContext<'a> {
    /// Values in the order of [`crate::Snapshot::needs`]; what is beyond the end is missing.
    pub values: &'a [Value<'a>],
    /// The host's clock, milliseconds since 1970-01-01T00:00:00Z.
    pub now_ms: i64,
}

impl<'a> RequestContext<'a> {
    /// The value of the attribute with this index.
    pub fn value(&self, index: usize) -> Value<'a> {
        self.values.get(index).copied().unwrap_or_default()
    }
}
