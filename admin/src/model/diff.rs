//! What differs between two documents.

use serde_json::Value;

/// One difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// JSON pointer into the documents.
    pub pointer: String,
    /// What was there.
    pub before: Option<Value>,
    /// What is there.
    pub after: Option<Value>,
}

/// All differences, in the order of the pointers. Lists are compared by place, lists of objects with an `id` or `key` by
/// that.
pub fn diff(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(before, after, &mut String::new(), &mut found);
    found
}

fn walk(before: &Value, after: &Value, pointer: &mut String, found: &mut Vec<Difference>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
                step(old.get(key), new.get(key), key, pointer, found);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.iter().chain(new).all(|item| name(item).is_some()) => {
            let by_name = |list: &[Value], wanted: &str| list.iter().position(|item| name(item) == Some(wanted));
            for item in old {
                let key = name(item).unwrap_or_default();
                step(Some(item), by_name(new, key).and_then(|index| new.get(index)), key, pointer, found);
            }
            for item in new {
                let key = name(item).unwrap_or_default();
                if by_name(old, key).is_none() {
                    step(None, Some(item), key, pointer, found);
                }
            }
            let order = |list: &[Value]| list.iter().filter_map(name).map(str::to_owned).collect::<Vec<_>>();
            let kept = |list: &[Value], other: &[Value]| {
                order(list).into_iter().filter(|key| by_name(other, key).is_some()).collect::<Vec<_>>()
            };
            if kept(old, new) != kept(new, old) {
                found.push(Difference {
                    pointer: pointer.clone(),
                    before: Some(order(old).into()),
                    after: Some(order(new).into()),
                });
            }
        }
        (old, new) if old != new => {
            found.push(Difference { pointer: pointer.clone(), before: Some(old.clone()), after: Some(new.clone()) });
        }
        _ => {}
    }
}

fn name(item: &Value) -> Option<&str> {
    item.get("id").or_else(|| item.get("key")).and_then(Value::as_str)
}

fn step(old: Option<&Value>, new: Option<&Value>, key: &str, pointer: &mut String, found: &mut Vec<Difference>) {
    let length = pointer.len();
    pointer.push('/');
    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
    match (old, new) {
        (Some(old), Some(new)) => walk(old, new, pointer, found),
        (old, new) => {
            found.push(Difference { pointer: pointer.clone(), before: old.cloned(), after: new.cloned() });
        }
    }
    pointer.truncate(length);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(before: &Value, after: &Value, expected: &[&str]) {
        let found = diff(before, after);
        let places: Vec<_> = found.iter().map(|difference| difference.pointer.as_str()).collect();
        assert_eq!(places, expected, "{found:?}");
    }

    #[test]
    fn members_that_come_go_and_change_are_named() {
        check(&json!({"a": 1, "b": {"c/d": 1}}), &json!({"b": {"c/d": 2}, "e": 1}), &["/a", "/b/c~1d", "/e"]);
        check(&json!({}), &json!({}), &[]);
        check(&json!([1, 2]), &json!([1, 3]), &[""]);
    }

    #[test]
    fn lists_of_named_objects_are_compared_by_name() {
        let rule = |id: &str, n: i32| json!({"id": id, "n": n});
        check(&json!([rule("a", 1), rule("b", 1)]), &json!([rule("b", 2), rule("a", 1)]), &["/b/n", ""]);
        check(&json!([rule("a", 1)]), &json!([rule("b", 1), rule("a", 1)]), &["/b"]);
    }
}
