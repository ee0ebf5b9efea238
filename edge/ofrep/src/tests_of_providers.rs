//! What the released providers need of a server, each as a claim, and what makes single and bulk one thing.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::samples::{ask, bulk, document, of, single, snapshot};
use crate::{Audience, Conditions, Reply, Request, Target, native, respond, visible};

const REASONS: [&str; 5] = ["STATIC", "DEFAULT", "TARGETING_MATCH", "SPLIT", "DISABLED"];

fn reason(key: &str, context: &Value) -> String {
    let (status, body) = single(key, context);
    assert_eq!(status, 200, "{body}");
    body["reason"].as_str().expect("a text").to_owned()
}

#[test]
fn variant_and_value_are_always_there_also_of_a_flag_that_is_off() {
    for flag in bulk(&json!({"targetingKey": "u1"}), false) {
        assert!(flag["variant"].is_string(), "{flag}");
        assert!(!flag["value"].is_null(), "{flag}");
    }
    let (_, off) = single("disabled", &json!({}));
    assert_eq!((&off["value"], &off["variant"], &off["reason"]), (&json!(false), &json!("off"), &json!("DISABLED")));
}

#[test]
fn reasons_are_openfeatures_in_upper_case() {
    assert_eq!(reason("static", &json!({})), "STATIC");
    assert_eq!(reason("rule", &json!({"email": "a@shop.example"})), "TARGETING_MATCH");
    assert_eq!(reason("rule", &json!({"email": "a@other.example"})), "DEFAULT");
    assert_eq!(reason("split", &json!({"targetingKey": "u1"})), "SPLIT");
    assert_eq!(reason("disabled", &json!({})), "DISABLED");
    for flag in bulk(&json!({"targetingKey": "u1"}), false) {
        assert!(REASONS.contains(&flag["reason"].as_str().expect("a text")), "{flag}");
    }
}

#[test]
fn every_error_has_key_code_and_details() {
    for (key, context, status, code) in [
        ("nobody", json!({}), 404, "FLAG_NOT_FOUND"),
        ("split", json!({}), 400, "TARGETING_KEY_MISSING"),
        ("static", json!([]), 400, "INVALID_CONTEXT"),
        ("static", json!({"now": "soon"}), 400, "INVALID_CONTEXT"),
    ] {
        let (is, body) = single(key, &context);
        assert_eq!((is, body["errorCode"].as_str()), (status, Some(code)), "{body}");
        assert_eq!(body["key"], key);
        assert!(body["errorDetails"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
    }
}

#[test]
fn a_float_keeps_its_point_and_an_integer_has_none() {
    let raw = |key: &str| String::from_utf8(ask(&format!("/ofrep/v1/evaluate/flags/{key}"), &json!({}), false).body);
    assert!(raw("float").expect("UTF-8").contains("\"value\":1.0,"));
    assert!(raw("integer").expect("UTF-8").contains("\"value\":100,"));
}

#[test]
fn metadata_is_flat_and_names_rule_bucket_set_and_configuration() {
    let (_, split) = single("split", &json!({"targetingKey": "u1"}));
    assert!(split["metadata"]["bucket"].is_u64(), "{split}");
    let (_, rule) = single("rule", &json!({"email": "a@shop.example"}));
    assert_eq!(rule["metadata"]["ruleId"], "staff");
    for flag in bulk(&json!({"email": "a@shop.example"}), false) {
        let metadata = flag["metadata"].as_object().expect("an object");
        assert!(metadata.values().all(|value| !value.is_object() && !value.is_array() && !value.is_null()), "{flag}");
        assert_eq!((&metadata["flagSetId"], &metadata["configVersion"]), (&json!("web/production"), &json!(7)));
        // Nothing of the context comes back.
        assert!(!flag.to_string().contains("@shop.example"), "{flag}");
    }
}

#[test]
fn a_failed_prerequisite_is_the_off_variant_with_its_cause_in_the_metadata() {
    let (status, body) = single("failed", &json!({}));
    assert_eq!((status, &body["reason"], &body["variant"]), (200, &json!("DISABLED"), &json!("off")));
    assert_eq!(body["metadata"]["errorCode"], "PREREQUISITE_FAILED");
}

#[test]
fn a_key_with_slashes_is_found_encoded_or_not() {
    for key in ["path/to:flag", "path%2Fto%3Aflag"] {
        assert_eq!(single(key, &json!({})).1["key"], "path/to:flag");
    }
}

#[test]
fn an_object_and_a_text_with_quotes_come_through() {
    assert_eq!(single("object", &json!({})).1["value"], json!({"a": {"b": [1, 2.0, null]}}));
    assert_eq!(single("rule", &json!({"email": "a@shop.example"})).1["value"], "hello \"you\"");
}

#[test]
fn one_flag_that_fails_does_not_fail_the_bulk() {
    let flags = bulk(&json!({}), false);
    let split = flags.iter().find(|flag| flag["key"] == "split").expect("in the answer");
    assert_eq!(split["errorCode"], "TARGETING_KEY_MISSING");
    assert!(split.get("value").is_none() && split["errorDetails"].is_string());
    assert_eq!(flags.len(), 11);
}

#[test]
fn flags_are_sorted_by_key() {
    let keys: Vec<String> =
        bulk(&json!({}), false).iter().map(|flag| flag["key"].as_str().expect("a text").to_owned()).collect();
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!(keys, sorted);
}

#[test]
fn a_client_token_learns_nothing_of_hidden_flags_but_they_count() {
    let seen = bulk(&json!({}), true);
    assert!(seen.iter().all(|flag| flag["key"] != "secret"));
    let dependent = seen.iter().find(|flag| flag["key"] == "dependent").expect("in the answer");
    assert_eq!(dependent["value"], true, "its prerequisite is hidden and holds");
    assert!(!seen.iter().any(|flag| flag.to_string().contains("secret")));
    let hidden = ask("/ofrep/v1/evaluate/flags/secret", &json!({}), true);
    let unknown = ask("/ofrep/v1/evaluate/flags/nobody", &json!({}), true);
    assert_eq!((hidden.status, unknown.status), (404, 404));
    let text = |reply: Reply| String::from_utf8(reply.body).expect("UTF-8");
    assert_eq!(text(hidden).replace("secret", "nobody"), text(unknown));
}

#[test]
fn a_body_that_cannot_be_read_is_told_by_status_and_code() {
    let snapshot = snapshot();
    let audience = Audience { snapshot: &snapshot, visible: None, stream_uri: None };
    let target = Target::Bulk;
    let large = vec![b' '; crate::MAX_BODY_BYTES + 1];
    for (body, content_type, status, code) in [
        (&b"{"[..], None, 400, "PARSE_ERROR"),
        (b"\xff", None, 400, "PARSE_ERROR"),
        (b"{\"context\":1}", None, 400, "INVALID_CONTEXT"),
        (b"{}", Some(&b"text/plain"[..]), 415, "GENERAL"),
        (&large, None, 413, "GENERAL"),
    ] {
        let request = Request { target: &target, content_type, body, conditions: Conditions::default() };
        let mut reply = Reply::default();
        respond(&request, &audience, native(&snapshot, 0), &mut reply);
        let json: Value = serde_json::from_slice(&reply.body).expect("JSON");
        assert_eq!((reply.status, json["errorCode"].as_str()), (status, Some(code)));
        assert!(json["errorDetails"].is_string() && json.get("key").is_none(), "{json}");
    }
}

/// A bulk reply of a snapshot with this number.
fn conditional(number: u64, context: &Value, if_none_match: Option<&str>, query: &str, uri: &str) -> Reply {
    let mut document = document();
    document["number"] = json!(number);
    let snapshot = of(&document);
    let audience = Audience { snapshot: &snapshot, visible: None, stream_uri: Some(uri) };
    let if_none_match = if_none_match.map(str::as_bytes).into_iter().collect();
    let body = json!({"context": context}).to_string();
    let conditions = Conditions { if_none_match, query: Some(query) };
    let request = Request { target: &Target::Bulk, content_type: None, body: body.as_bytes(), conditions };
    let mut reply = Reply::default();
    respond(&request, &audience, native(&snapshot, 0), &mut reply);
    reply
}

#[test]
fn an_etag_follows_context_snapshot_and_stream_and_nothing_else() {
    let tag = |number, user: &str, uri| {
        conditional(number, &json!({"targetingKey": user}), None, "", uri).etag.expect("a bulk has one")
    };
    let first = tag(7, "u1", "/a");
    assert_eq!(first, tag(7, "u1", "/a"));
    assert_ne!(first, tag(7, "u2", "/a"));
    assert_ne!(first, tag(8, "u1", "/a"));
    assert_ne!(first, tag(7, "u1", "/b"));
}

#[test]
fn who_has_the_answer_gets_304_and_who_names_another_configuration_does_not() {
    let context = json!({"targetingKey": "u1"});
    let etag = conditional(7, &context, None, "", "/a").etag.expect("a bulk has one");
    let again = conditional(7, &context, Some(etag.as_str()), "", "/a");
    assert_eq!((again.status, again.body.len(), again.etag.as_ref()), (304, 0, Some(&etag)));
    let announced = conditional(7, &context, Some(etag.as_str()), "flagConfigEtag=8-0", "/a");
    assert_eq!((announced.status, announced.etag), (200, Some(etag)));
}

#[test]
fn a_bulk_names_its_stream() {
    let reply = conditional(7, &json!({}), None, "", "/ofrep/v1/events?ticket=t");
    let json: Value = serde_json::from_slice(&reply.body).expect("JSON");
    let expected = json!([{"type": "sse", "endpoint": {"requestUri": "/ofrep/v1/events?ticket=t"},
        "inactivityDelaySec": 120}]);
    assert_eq!(json["eventStreams"], expected);
    assert_eq!(json["metadata"], json!({"flagSetId": "web/production", "configVersion": 7}));
}

fn contexts() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z@.\"\\\\]{0,20}".prop_map(Value::from),
        Just(json!("x@shop.example")),
        Just(json!(["x@shop.example", 1])),
    ];
    prop::collection::btree_map(prop_oneof![Just("targetingKey"), Just("email"), Just("other")], value, 0..4)
        .prop_map(|map| map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

proptest! {
    /// An entry of a bulk is, byte for byte, the answer to the single evaluation.
    #[test]
    fn bulk_and_single_agree(context in contexts(), is_client: bool) {
        let snapshot = snapshot();
        let list = visible(&snapshot);
        let whole = ask("/ofrep/v1/evaluate/flags", &context, is_client).body;
        let mut entries = Vec::new();
        for flag in snapshot.flags() {
            let reply = ask(&format!("/ofrep/v1/evaluate/flags/{}", flag.key()), &context, is_client);
            if reply.status != 404 {
                entries.push(String::from_utf8(reply.body).expect("UTF-8"));
            }
        }
        prop_assert_eq!(entries.len(), if is_client { list.len() } else { snapshot.flags().len() });
        let expected = format!("{{\"flags\":[{}],\"metadata\":", entries.join(","));
        prop_assert!(String::from_utf8(whole).expect("UTF-8").starts_with(&expected));
    }

    /// Whatever a client sends is answered by JSON with a known status.
    #[test]
    fn any_body_is_answered(body in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,60}") {
        let snapshot = snapshot();
        let audience = Audience { snapshot: &snapshot, visible: None, stream_uri: None };
        for body in [body.as_slice(), text.as_bytes()] {
            let request =
                Request { target: &Target::Bulk, content_type: None, body, conditions: Conditions::default() };
            let mut reply = Reply::default();
            respond(&request, &audience, native(&snapshot, 0), &mut reply);
            prop_assert!(matches!(reply.status, 200 | 400));
            prop_assert!(serde_json::from_slice::<Value>(&reply.body).is_ok());
        }
    }
}
