//! The published vectors: what the Worker answers is what the native engine answers, byte for byte.

use edge_engine::{EvaluateOptions, FlagSelection, JsonContext, check, evaluate, format_rfc3339, parse};
use serde_json::{Value, json};
use tests::Origin;

use super::runtime::{HOST, TOKEN, Worker, json_of, sealed};
use crate::vectors::file::{Case, vector_files};

#[test]
fn the_worker_answers_every_vector_with_the_native_bytes() {
    let origin = Origin::named("origin");
    let worker = Worker::start(&origin);
    let mut client = worker.client();
    let mut compared = 0;
    for (number, file) in (1_u64..).zip(vector_files()) {
        let mut document = file.snapshot.clone();
        // One Worker takes them all, one after the other.
        document["app"] = json!("web");
        document["environment"] = json!("production");
        document["number"] = json!(number);
        let taken = worker.push(&sealed(1, &document, file.key.as_bytes()));
        assert_eq!(taken.status, 200, "{}: {}", file.name, taken.text());
        let snapshot = check(parse(document.to_string().as_bytes()).unwrap(), &file.key).unwrap();
        for case in &file.cases {
            let body = with_clock(case);
            let head = format!(
                "POST /.bascule/v1/evaluate HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let there = client.send([head.as_bytes(), &body[..]].concat()).response();
            let place = format!("{} / {}", file.name, case.name);
            match JsonContext::parse(&body) {
                Ok(context) => {
                    let flags = FlagSelection::All;
                    let options = EvaluateOptions { engine: "native", now_ms: case.now_ms, flags, explain: false };
                    let mut here = Vec::new();
                    evaluate(&snapshot, &context, &options, &mut here);
                    assert_eq!(there.text(), String::from_utf8(here).unwrap(), "{place}");
                }
                Err(error) => {
                    assert_eq!((there.status, &json_of(&there)["code"]), (400, &json!(error.code)), "{place}");
                }
            }
            compared += 1;
        }
    }
    assert!(compared >= 600, "only {compared} answers were compared");
}

/// The case's context with the case's time in it, since a Worker has a clock of its own.
fn with_clock(case: &Case) -> Vec<u8> {
    match serde_json::from_slice::<Value>(&case.context) {
        Ok(Value::Object(mut context)) if context.get("now").is_none_or(Value::is_null) => {
            context.insert("now".to_owned(), format_rfc3339(case.now_ms).into());
            Value::Object(context).to_string().into_bytes()
        }
        _ => case.context.clone(),
    }
}
