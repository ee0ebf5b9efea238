//! What crosses between a host and the edge module: the only definition of it.
//!
//! The module is a core WebAssembly module with **no imports** and one exported memory:
//!
//! | export | meaning |
//! | --- | --- |
//! | `abi_version() -> i32` | [`ABI_VERSION`]: major in the upper 16 bits, minor in the lower |
//! | `input(len: i32) -> i32` | address of the guest's input buffer, at least `len` bytes; it stays valid until a call with a larger `len` |
//! | `configure() -> i64` | loads the snapshot in the input ([`encode_configuration`]); once per instance. Answers a region with the problems as JSON; empty = loaded |
//! | `decide() -> i64` | decides the request in the input ([`encode_request`]); answers a region to [`decode_decision`] |
//! | `evaluate() -> i64` | evaluates the JSON context in the input ([`encode_evaluation`], [`encode_outcome_evaluation`]); answers a region to [`decode_answer`] |
//! | `explain() -> i64` | the same with the trace |
//!
//! A region is `address << 32 | length`, valid until the next call. All integers are little-endian;
//! every message starts with the byte [`FORMAT`] and delimits itself, so the buffer may be longer than
//! the message. The guest has no clock, randomness or I/O: time, minted ids and geo come in the
//! request, which makes an answer repeatable anywhere. A guest that traps must be thrown away.
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod decision;
mod evaluation;
mod reader;
mod request;

pub use decision::{decode_decision, decode_outcomes, encode_decision, encode_outcomes};
pub use evaluation::{
    Answer, Evaluation, Form, decode_answer, decode_configuration, decode_evaluation, encode_answer,
    encode_configuration, encode_evaluation, encode_outcome_evaluation,
};
pub use reader::DecodeError;
pub use request::{encode_request, with_request};

/// Major version in the upper 16 bits: a host refuses another. Minor in the lower: additions only.
/// 1.1: evaluations may ask for outcomes only.
pub const ABI_VERSION: u32 = 1 << 16 | 1;

/// First byte of every message.
pub const FORMAT: u8 = 1;

/// Exported function that answers [`ABI_VERSION`].
pub const EXPORT_ABI_VERSION: &str = "abi_version";
/// Exported function that answers the input buffer.
pub const EXPORT_INPUT: &str = "input";
/// Exported function that loads a snapshot.
pub const EXPORT_CONFIGURE: &str = "configure";
/// Exported function that decides a request.
pub const EXPORT_DECIDE: &str = "decide";
/// Exported function that evaluates a JSON context.
pub const EXPORT_EVALUATE: &str = "evaluate";
/// Exported function that evaluates a JSON context with its trace.
pub const EXPORT_EXPLAIN: &str = "explain";
/// The exported memory.
pub const EXPORT_MEMORY: &str = "memory";
