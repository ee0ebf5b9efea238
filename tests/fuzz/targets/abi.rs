//! The codec at the module's boundary: what a host sends, and what a module answers, which may be hostile.

use edge_abi::{
    Answer, decode_answer, decode_configuration, decode_decision, decode_evaluation, encode_answer,
    encode_configuration, encode_decision, encode_evaluation, encode_request, with_request,
};
use edge_engine::{RequestContext, Value};

use super::SNAPSHOT;
use super::decisions::{decided, nothing, sound};

/// A message is refused, or says what the codec itself would have written; and what is written is read as it was.
pub fn any_bytes(data: &[u8]) {
    request(data);
    decision(data);
    configuration(data);
    evaluation(data);
    answer(data);
    made_of(data);
}

fn request(data: &[u8]) {
    let _ = with_request(data, |request| {
        let written = written(request);
        assert!(written.len() <= data.len(), "a request grows");
        same_behind_the_codec(request, &written);
        decided(&SNAPSHOT, request);
    });
}

/// A message of exactly the length that the codec says; it needs no more room than that and takes no less.
fn written(request: &RequestContext<'_>) -> Vec<u8> {
    let elements = |value: &Value<'_>| match value {
        Value::List(list) => list.len(),
        _ => 0,
    };
    let text = |value: &Value<'_>| match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.iter().map(|value| if let Value::Text(text) = value { text.len() } else { 0 }).sum(),
        _ => 0,
    };
    // A head of 12 bytes; at most 9 for a value and for an element, and their texts.
    let room: usize = request.values.iter().map(|value| 9 * (1 + elements(value)) + text(value)).sum();
    let mut message = vec![0xaa; 12 + room];
    let length = encode_request(request, &mut message).expect("this is room for everything");
    message.truncate(length);
    let mut shorter = message.clone();
    assert_eq!(encode_request(request, &mut shorter[..length - 1]), None, "more was written than there is room for");
    assert_eq!(encode_request(request, &mut shorter), Some(length), "less was written than before");
    assert_eq!(shorter, message, "one request, two messages");
    message
}

/// Compared as text and as bytes: a number may be none, and then equals nothing.
fn same_behind_the_codec(request: &RequestContext<'_>, message: &[u8]) {
    let again = |decoded: &RequestContext<'_>| {
        assert_eq!(format!("{request:?}"), format!("{decoded:?}"), "the codec changes a request");
        assert_eq!(written(decoded), message, "the codec changes a request");
    };
    with_request(message, again).expect("our own request can be decoded");
    let cut = &message[..message.len() - 1];
    assert!(with_request(cut, |_| ()).is_err(), "a request that is cut short is decoded");
}

fn decision(data: &[u8]) {
    let mut decoded = nothing();
    if decode_decision(data, &SNAPSHOT, &mut decoded).is_ok() {
        sound(&SNAPSHOT, &decoded);
        let (mut message, mut again) = (Vec::new(), nothing());
        encode_decision(&decoded, &mut message);
        decode_decision(&message, &SNAPSHOT, &mut again).expect("our own decision can be decoded");
        assert_eq!(decoded, again, "the codec changes a decision");
        assert!(message.len() <= data.len(), "a decision grows");
        let cut = &message[..message.len() - 1];
        assert!(decode_decision(cut, &SNAPSHOT, &mut again).is_err(), "a decision that is cut short is decoded");
    }
}

fn configuration(data: &[u8]) {
    if let Ok((document, key)) = decode_configuration(data) {
        let mut message = Vec::new();
        encode_configuration(document, &key, &mut message);
        assert!(data.starts_with(&message), "the codec changes a configuration");
    }
}

fn evaluation(data: &[u8]) {
    if let Ok(first) = decode_evaluation(data) {
        let mut message = Vec::new();
        encode_evaluation(first.context, first.selection(), first.now_ms, first.engine, &mut message);
        assert!(message.len() <= data.len(), "an evaluation grows");
        let again = decode_evaluation(&message).expect("our own evaluation can be decoded");
        assert_eq!(first.selection(), again.selection(), "the codec changes a selection");
        assert_eq!(
            (first.now_ms, first.engine, first.context),
            (again.now_ms, again.engine, again.context),
            "the codec changes an evaluation"
        );
    }
}

fn answer(data: &[u8]) {
    if let Ok(Answer::Decision(json)) = decode_answer(data) {
        let mut message = Vec::new();
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(json);
            Ok(())
        };
        encode_answer(write, &mut message);
        assert_eq!(message, data, "the codec changes an answer");
    }
}

/// A request made of the bytes. The paths behind the length checks are reached from the first run on, and so are the
/// values that no message carries, lists in lists.
fn made_of(data: &[u8]) {
    let scalars: Vec<Value<'_>> = data.chunks(4).map(scalar).collect();
    let nested = [Value::List(&scalars), Value::Bool(true)];
    let mut values: Vec<Value<'_>> = scalars.iter().copied().take(200).collect();
    values.extend(scalars.chunks(3).take(20).map(Value::List));
    values.push(Value::List(&nested));
    let request = RequestContext { values: &values, now_ms: i64::try_from(data.len()).unwrap_or(i64::MAX) };
    let message = written(&request);
    let seen = |decoded: &RequestContext<'_>| {
        let flat = [Value::Missing, Value::Bool(true)];
        let kept = [&values[..values.len() - 1], &[Value::List(&flat)]].concat();
        let kept = RequestContext { values: &kept, now_ms: request.now_ms };
        same_behind_the_codec(&kept, &message);
        assert_eq!(format!("{kept:?}"), format!("{decoded:?}"), "the codec changes a request");
        decided(&SNAPSHOT, decoded);
    };
    with_request(&message, seen).expect("our own request can be decoded");
}

fn scalar(bytes: &[u8]) -> Value<'_> {
    match bytes {
        [] | [0, ..] => Value::Missing,
        [1, ..] => Value::Bool(false),
        [2, ..] => Value::Bool(true),
        [3, a, b, c] => Value::Number(f64::from(f32::from_le_bytes([0, *a, *b, *c]))),
        [_, text @ ..] => Value::Text(text),
    }
}
