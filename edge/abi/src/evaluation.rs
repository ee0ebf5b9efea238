//! The messages that are off the request path: configuration, and evaluation of JSON contexts.

use edge_engine::{BucketingKey, ContextError, FlagIndex, FlagSelection};

use crate::FORMAT;
use crate::reader::{DecodeError, Reader};

const ALL: u8 = 0;
const FORWARDED: u8 = 1;
const THESE: u8 = 2;
/// Added to the selection when only the outcomes are wanted.
const OUTCOMES: u8 = 0x80;

const DECIDED: u8 = 0;
const REFUSED: u8 = 1;

/// Appends a configuration: format, bucketing key (16 bytes), snapshot document (length, JSON).
pub fn encode_configuration(snapshot: &[u8], key: &BucketingKey, out: &mut Vec<u8>) {
    out.push(FORMAT);
    out.extend_from_slice(key.as_bytes());
    put_field(snapshot, out);
}

/// The snapshot document and the key of a configuration.
pub fn decode_configuration(message: &[u8]) -> Result<(&[u8], BucketingKey), DecodeError> {
    let mut reader = Reader::new(message)?;
    let key = BucketingKey::new(reader.array()?);
    Ok((reader.field()?, key))
}

/// What an evaluation is to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The whole decision as JSON.
    Decision,
    /// The outcomes of the selected flags, as [`crate::decode_outcomes`] reads them; no route.
    Outcomes,
}

/// A JSON context to evaluate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation<'m> {
    /// The host's clock, milliseconds since 1970.
    pub now_ms: i64,
    /// Name of the engine in the answer.
    pub engine: &'m str,
    /// The context, a JSON object.
    pub context: &'m [u8],
    /// What is to be answered.
    pub form: Form,
    selection: u8,
    flags: Vec<FlagIndex>,
}

impl Evaluation<'_> {
    /// Which flags to answer.
    pub fn selection(&self) -> FlagSelection<'_> {
        match self.selection {
            ALL => FlagSelection::All,
            FORWARDED => FlagSelection::Forwarded,
            _ => FlagSelection::These(&self.flags),
        }
    }
}

/// Appends an evaluation that answers a decision by the name of `engine`.
pub fn encode_evaluation(context: &[u8], flags: FlagSelection<'_>, now_ms: i64, engine: &str, out: &mut Vec<u8>) {
    encode(context, flags, now_ms, engine, 0, out);
}

/// Appends an evaluation that answers outcomes.
pub fn encode_outcome_evaluation(context: &[u8], flags: FlagSelection<'_>, now_ms: i64, out: &mut Vec<u8>) {
    encode(context, flags, now_ms, "", OUTCOMES, out);
}

fn encode(context: &[u8], flags: FlagSelection<'_>, now_ms: i64, engine: &str, form: u8, out: &mut Vec<u8>) {
    let (selection, list): (u8, &[FlagIndex]) = match flags {
        FlagSelection::All => (ALL, &[]),
        FlagSelection::Forwarded => (FORWARDED, &[]),
        FlagSelection::These(list) => (THESE, list),
    };
    out.push(FORMAT);
    out.extend_from_slice(&now_ms.to_le_bytes());
    out.push(selection | form);
    out.extend_from_slice(&u32::try_from(list.len()).unwrap_or(u32::MAX).to_le_bytes());
    for flag in list {
        out.extend_from_slice(&flag.0.to_le_bytes());
    }
    put_field(engine.as_bytes(), out);
    put_field(context, out);
}

/// Decodes an evaluation.
pub fn decode_evaluation(message: &[u8]) -> Result<Evaluation<'_>, DecodeError> {
    let mut reader = Reader::new(message)?;
    let now_ms = reader.i64()?;
    let selection = reader.u8()?;
    let form = if selection & OUTCOMES == 0 { Form::Decision } else { Form::Outcomes };
    let selection = selection & !OUTCOMES;
    if selection > THESE {
        return Err(DecodeError::new("unknown flag selection"));
    }
    let mut flags = Vec::new();
    for _ in 0..reader.u32()? {
        flags.push(FlagIndex(reader.u32()?));
    }
    let engine = std::str::from_utf8(reader.field()?).map_err(|_| DecodeError::new("engine name is not UTF-8"))?;
    let context = reader.field()?;
    Ok(Evaluation { now_ms, engine, context, form, selection, flags })
}

/// What an evaluation answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'m> {
    /// The decision as JSON, or the outcomes: whatever was asked for.
    Decision(&'m [u8]),
    /// Why there is none: code and detail.
    Refused(&'m str, &'m str),
}

/// Writes an answer over `out`; `decision` appends what was asked for.
pub fn encode_answer(decision: impl FnOnce(&mut Vec<u8>) -> Result<(), ContextError>, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[FORMAT, DECIDED]);
    if let Err(error) = decision(out) {
        out.clear();
        out.extend_from_slice(&[FORMAT, REFUSED]);
        put_field(error.code.as_bytes(), out);
        put_field(error.detail.as_bytes(), out);
    }
}

/// Decodes an answer.
pub fn decode_answer(message: &[u8]) -> Result<Answer<'_>, DecodeError> {
    let mut reader = Reader::new(message)?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| DecodeError::new("error text is not UTF-8"));
    match reader.u8()? {
        // The head is the format byte and this one.
        DECIDED => Ok(Answer::Decision(message.get(2..).unwrap_or_default())),
        REFUSED => Ok(Answer::Refused(text(reader.field()?)?, text(reader.field()?)?)),
        _ => Err(DecodeError::new("unknown answer")),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "documents are capped at 32 MiB before they come here")]
fn put_field(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_survives_the_boundary() {
        let flags = [FlagIndex(3), FlagIndex(70_000)];
        let mut message = Vec::new();
        encode_evaluation(b"{}", FlagSelection::These(&flags), -5, "native", &mut message);
        let decoded = decode_evaluation(&message).unwrap();
        assert_eq!((decoded.now_ms, decoded.engine, decoded.context), (-5, "native", b"{}".as_slice()));
        assert_eq!(decoded.selection(), FlagSelection::These(&flags));
        for cut in 0..message.len() {
            assert!(decode_evaluation(message.get(..cut).unwrap()).is_err());
        }
    }

    #[test]
    fn what_is_to_be_answered_survives_the_boundary() {
        let mut message = Vec::new();
        encode_outcome_evaluation(b"{}", FlagSelection::Forwarded, 7, &mut message);
        let decoded = decode_evaluation(&message).unwrap();
        assert_eq!((decoded.form, decoded.selection()), (Form::Outcomes, FlagSelection::Forwarded));
        message.clear();
        encode_evaluation(b"{}", FlagSelection::All, 7, "native", &mut message);
        assert_eq!(decode_evaluation(&message).unwrap().form, Form::Decision);
    }

    #[test]
    fn an_answer_is_a_decision_or_a_reason() {
        let mut out = Vec::new();
        encode_answer(
            |out| {
                out.extend_from_slice(b"{}");
                Ok(())
            },
            &mut out,
        );
        assert_eq!(decode_answer(&out), Ok(Answer::Decision(b"{}")));
        let error = ContextError { code: "PARSE_ERROR", detail: "no".into() };
        encode_answer(|_| Err(error), &mut out);
        assert_eq!(decode_answer(&out), Ok(Answer::Refused("PARSE_ERROR", "no")));
    }

    #[test]
    fn a_configuration_survives_the_boundary() {
        let (mut message, key) = (Vec::new(), BucketingKey::new([5; 16]));
        encode_configuration(b"{\"format\":\"v1\"}", &key, &mut message);
        assert_eq!(decode_configuration(&message), Ok((b"{\"format\":\"v1\"}".as_slice(), key)));
    }
}
