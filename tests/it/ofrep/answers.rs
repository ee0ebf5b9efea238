//! What is answered, and when not again.

use super::*;

#[test]
fn ten_flags_come_in_one_answer_sorted_and_whole() {
    let world = world();
    let response = evaluate(&world, SERVER, BULK, &json!({"targetingKey": "u1", "email": "a@shop.example"}));
    assert_eq!(response.status, 200);
    let json = json_of(&response);
    let flags = json["flags"].as_array().unwrap();
    let keys: Vec<_> = flags.iter().map(|flag| flag["key"].as_str().unwrap()).collect();
    let mut sorted: Vec<_> = world.snapshot()["flags"].as_object().unwrap().keys().cloned().collect();
    sorted.sort();
    assert_eq!(keys, sorted);
    for flag in flags {
        assert!(flag["variant"].is_string() && !flag["value"].is_null() && flag["reason"].is_string(), "{flag}");
    }
    assert_eq!(json["metadata"], json!({"flagSetId": "web/production", "configVersion": 1}));
    assert!(response.text().contains("\"value\":1.0,"), "a float keeps its point");
    assert_eq!(response.field("cache-control"), Some("no-store"));
}

#[test]
fn one_flag_is_answered_as_in_the_bulk() {
    let world = world();
    let context = json!({"targetingKey": "u1", "email": "a@shop.example"});
    let bulk = evaluate(&world, SERVER, BULK, &context).text();
    for key in world.snapshot()["flags"].as_object().unwrap().keys() {
        let single = evaluate(&world, SERVER, &format!("{BULK}/{key}"), &context);
        assert_eq!(single.status, 200, "{key}");
        assert!(bulk.contains(&single.text()), "{key}: {}", single.text());
        assert_eq!(single.field("etag"), None);
    }
}

#[test]
fn keys_with_slashes_arrive_encoded_or_not() {
    let world = world();
    for path in ["path/to:flag", "path%2Fto%3Aflag", "path%2fto:flag"] {
        let response = evaluate(&world, SERVER, &format!("{BULK}/{path}"), &json!({}));
        assert_eq!((response.status, json_of(&response)["key"].as_str()), (200, Some("path/to:flag")), "{path}");
    }
    let unknown = evaluate(&world, SERVER, &format!("{BULK}/a%22/b"), &json!({}));
    assert_eq!(failure(&unknown), (404, "FLAG_NOT_FOUND".to_owned()));
    assert_eq!(json_of(&unknown)["key"], "a\"/b");
}

fn conditional(world: &World, query: &str, context: &Value, if_none_match: &str) -> Response {
    let fields = format!("{}if-none-match: {if_none_match}\r\n", bearer(SERVER));
    let body = json!({"context": context}).to_string();
    request(&mut world.client(), &format!("POST {BULK}{query}"), &fields, body.as_bytes())
}

#[test]
fn who_has_the_answer_already_is_told_so() {
    let world = world();
    let context = json!({"targetingKey": "u1"});
    let etag = evaluate(&world, SERVER, BULK, &context).field("etag").unwrap().to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'));
    for same in [&etag, &format!("W/{etag}"), "*", &format!("\"other\", {etag}")] {
        let response = conditional(&world, "", &context, same);
        assert_eq!((response.status, response.field("etag")), (304, Some(etag.as_str())), "{same}");
        assert_eq!(response.field("content-type"), None);
    }
    assert_eq!(conditional(&world, "", &context, "\"other\"").status, 200);
    // The same connection goes on after a 304.
    let mut client = world.client();
    for status in [304, 304, 200] {
        let none_match = if status == 304 { &etag } else { "\"x\"" };
        let fields = format!("{}if-none-match: {none_match}\r\n", bearer(SERVER));
        let body = json!({"context": context}).to_string();
        assert_eq!(request(&mut client, &format!("POST {BULK}"), &fields, body.as_bytes()).status, status);
    }
}

#[test]
fn an_etag_changes_with_the_context_and_with_the_snapshot() {
    let world = world();
    let tag = |context: Value| evaluate(&world, SERVER, BULK, &context).field("etag").unwrap().to_owned();
    let first = tag(json!({"email": "a@shop.example"}));
    assert_eq!(first, tag(json!({"email": "a@shop.example"})));
    assert_eq!(first, tag(json!({"email": "b@shop.example"})), "what decides nothing changes nothing");
    assert_ne!(first, tag(json!({"email": "a@other.example"})));
    world.publish(|snapshot| snapshot["flags"]["static"]["enabled"] = json!(false));
    assert_ne!(first, tag(json!({"email": "a@shop.example"})));
}

#[test]
fn who_heard_of_another_configuration_is_answered_anew() {
    let world = world();
    let context = json!({"targetingKey": "u1"});
    let etag = evaluate(&world, SERVER, BULK, &context).field("etag").unwrap().to_owned();
    assert_eq!(conditional(&world, "?flagConfigEtag=none", &context, &etag).status, 200);
    assert_eq!(conditional(&world, "?flagConfigLastModified=1", &context, &etag).status, 200);
    assert_eq!(conditional(&world, "?flagConfigLastModified=1767225600", &context, &etag).status, 304);
}

#[test]
fn requests_are_counted_by_environment_kind_and_code() {
    let world = world();
    evaluate(&world, SERVER, BULK, &json!({}));
    evaluate(&world, SERVER, &format!("{BULK}/nobody"), &json!({}));
    evaluate(&world, "bsc_unknown", BULK, &json!({}));
    let text = crate::rig::get(world.gateway().ops_address(), "/metrics").body;
    let scope = "app=\"web\",environment=\"production\"";
    for line in [
        format!("bascule_ofrep_requests_total{{{scope},kind=\"bulk\",code=\"200\"}} 1"),
        format!("bascule_ofrep_requests_total{{{scope},kind=\"single\",code=\"404\"}} 1"),
        format!("bascule_ofrep_requests_total{{{scope},kind=\"bulk\",code=\"401\"}} 1"),
    ] {
        assert!(text.contains(&line), "{line} in\n{text}");
    }
}
