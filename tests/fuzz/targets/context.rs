//! JSON contexts, as `bascule decide` and the module's `evaluate` and `explain` take them.

use edge_abi::{Answer, decode_answer, decode_evaluation, encode_answer, encode_evaluation};
use edge_engine::{ContextError, FlagSelection, JsonContext, parse_rfc3339};
use serde_json::Value as Json;

use super::decisions::evaluated;
use super::{NOW_MS, SNAPSHOT};

/// A context is refused with a reason that holds, or decides, the same in every way of asking.
pub fn any_bytes(data: &[u8]) {
    crosses_the_boundary(data);
    let context = match JsonContext::parse(data) {
        Ok(context) => context,
        Err(error) => return refused(data, &error),
    };
    let now = serde_json::from_slice::<Json>(data).ok().and_then(|json| json.get("now").cloned());
    let now = now.filter(|now| !now.is_null());
    let expected = now.map_or(NOW_MS, |now| now.as_str().and_then(parse_rfc3339).expect("`now` was accepted"));
    assert_eq!(context.request(&[], NOW_MS).now_ms, expected, "the context's own time does not count");
    evaluated(&SNAPSHOT, &context);
}

/// The reason is the true one, and says where.
fn refused(data: &[u8], error: &ContextError) {
    let json: Result<Json, _> = serde_json::from_slice(data);
    match (error.code, json) {
        ("PARSE_ERROR", Err(_)) => {
            assert!(error.detail.contains(" line ") && error.detail.contains(" column "), "no place: {error}");
        }
        ("INVALID_CONTEXT", Ok(Json::Object(object))) => {
            assert!(error.detail.contains("`now`"), "the attribute is not named: {error}");
            let now = object.get("now").and_then(Json::as_str);
            assert_eq!(now.and_then(parse_rfc3339), None, "a timestamp is refused");
        }
        ("INVALID_CONTEXT", Ok(_)) => assert!(error.detail.contains("object"), "{error}"),
        (_, json) => panic!("{error}: for {json:?}"),
    }
    let mut message = Vec::new();
    encode_answer(|_| Err(error.clone()), &mut message);
    assert_eq!(decode_answer(&message), Ok(Answer::Refused(error.code, &error.detail)), "the codec changes a refusal");
}

/// The bytes arrive in the module as they were sent, whatever they are.
fn crosses_the_boundary(data: &[u8]) {
    let mut message = Vec::new();
    encode_evaluation(data, FlagSelection::Forwarded, NOW_MS, "native", &mut message);
    let evaluation = decode_evaluation(&message).expect("our own evaluation can be decoded");
    assert_eq!((evaluation.context, evaluation.now_ms, evaluation.engine), (data, NOW_MS, "native"));
    assert_eq!(evaluation.selection(), FlagSelection::Forwarded);
}
