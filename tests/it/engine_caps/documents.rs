//! Small snapshot documents to blow up.

use edge_engine::{Evaluation, JsonContext, Snapshot};
use serde_json::{Value as Json, json};

pub(super) fn release() -> Json {
    json!({"version": "1", "upstreams": [{"url": "http://127.0.0.1:1"}]})
}

/// Two releases and nothing else.
pub(super) fn document() -> Json {
    json!({"format": "v1", "app": "web", "environment": "production", "number": 1,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k", "unit": ["header:u"],
        "traffic": {"active": "blue", "slots": {"blue": "r1", "green": "r2"}, "candidateWeight": 500_000, "salt": "s"},
        "releases": {"r1": release(), "r2": release()}, "flags": {"f": flag("f")}})
}

/// The document with a value at a pointer; the last step may be new.
pub(super) fn with(mut document: Json, pointer: &str, value: Json) -> Json {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap()[key] = value;
    document
}

/// A boolean flag that is off for everybody.
pub(super) fn flag(id: &str) -> Json {
    json!({"id": id, "type": "boolean", "variants": [{"key": "on", "value": true}, {"key": "off", "value": false}],
        "offVariant": "off", "enabled": true, "fallthrough": {"serve": "off"}})
}

/// The document whose flag has this field.
pub(super) fn flag_with(field: &str, value: Json) -> Json {
    with(document(), &format!("/flags/f/{field}"), value)
}

/// A flag that is on when a condition holds.
pub(super) fn condition(id: &str, when: &Json) -> Json {
    with(flag(id), "/rules", json!([{"id": "r", "when": when, "serve": "on"}]))
}

pub(super) fn test(op: &str, values: Json) -> Json {
    json!({"attr": "x", "op": op, "values": values})
}

pub(super) fn any(parts: Json) -> Json {
    json!({"any": parts})
}

/// Flags `f00`, `f01`, … that are on, each of which requires the one before `width` times.
pub(super) fn chain(length: usize, width: usize) -> Json {
    let link = |i: usize| {
        let mut link = with(flag(&format!("f{i:02}")), "/fallthrough", json!({"serve": "on"}));
        if let Some(before) = i.checked_sub(1) {
            let one = json!({"flag": format!("f{before:02}"), "is": ["on"]});
            link["prerequisites"] = Json::Array(vec![one; width]);
        }
        (format!("f{i:02}"), link)
    };
    Json::Object((0..length).map(link).collect())
}

/// The variant of a flag for a JSON context.
pub(super) fn variant(snapshot: &Snapshot, context: &Json, flag: &str) -> String {
    let context = JsonContext::parse(context.to_string().as_bytes()).unwrap();
    let lists = context.lists(snapshot);
    let values = context.values(snapshot, &lists);
    let request = context.request(&values, 0);
    let index = snapshot.flag_index(flag).unwrap();
    let outcome = Evaluation::new(snapshot, &request).flag(index);
    snapshot.flag(index).unwrap().variant(outcome.variant).unwrap().key.to_string()
}
