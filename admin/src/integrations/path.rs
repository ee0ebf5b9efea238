//! Where in a JSON document something stands: a JSON Pointer (RFC 6901), or of `JSONPath` (RFC 9535) the part that names one place.

use serde_json::Value;

/// The most steps: nobody looks deeper by hand.
const MOST_STEPS: usize = 32;

/// One place in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// A name of an object.
    Name(String),
    /// An index of a list.
    Index(usize),
    /// What a pointer says of both.
    Either(String),
}

impl Path {
    /// `$.a.b[0]['c d']`.
    pub fn of_jsonpath(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = bracketed(rest).or_else(|| dotted(rest))?;
            steps.push(step);
            rest = after;
        }
        (steps.len() <= MOST_STEPS).then_some(Self(steps))
    }

    /// `/a/b/0/c d`.
    pub fn of_pointer(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        let steps = text.strip_prefix('/')?.split('/').map(unescaped).collect::<Option<Vec<_>>>()?;
        (steps.len() <= MOST_STEPS).then_some(Self(steps))
    }

    /// What stands there.
    pub fn find<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(document, |at, step| match (step, at) {
            (Step::Name(name) | Step::Either(name), Value::Object(object)) => object.get(name),
            (Step::Index(index), Value::Array(list)) => list.get(*index),
            (Step::Either(digits), Value::Array(list)) => list.get(index(digits)?),
            _ => None,
        })
    }
}

/// Digits without a zero in front.
fn index(digits: &str) -> Option<usize> {
    let plain = digits == "0" || !digits.starts_with('0');
    (plain && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

fn bracketed(text: &str) -> Option<(Step, &str)> {
    let inside = text.strip_prefix('[')?;
    if let Some(quote @ ('\'' | '"')) = inside.chars().next() {
        let (name, after) = inside.get(1..)?.split_once(quote)?;
        // Names with quotes or escapes are for a pointer.
        let plain = !name.contains(['\\', '\'', '"']);
        return plain.then_some((Step::Name(name.to_owned()), after.strip_prefix(']')?));
    }
    let (digits, after) = inside.split_once(']')?;
    Some((Step::Index(index(digits)?), after))
}

fn dotted(text: &str) -> Option<(Step, &str)> {
    let text = text.strip_prefix('.')?;
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    let starts = name.starts_with(|first: char| first.is_alphabetic() || first == '_');
    let plain = starts && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    plain.then(|| (Step::Name(name.to_owned()), after))
}

fn unescaped(segment: &str) -> Option<Step> {
    let sound = segment.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    sound.then(|| Step::Either(segment.replace("~1", "/").replace("~0", "~")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn finds(path: Option<Path>, expected: Option<&Value>) {
        let document = json!({"a": {"b": [{"c d": 1}, {"é_1": null}], "0": "zero"}, "x/y": 2, "~": 3});
        assert_eq!(path.expect("a path").find(&document), expected);
    }

    #[test]
    fn a_path_leads_to_one_place() {
        finds(Path::of_jsonpath("$.a.b[0]['c d']"), Some(&json!(1)));
        finds(Path::of_jsonpath("$[\"a\"].b[1].é_1"), Some(&json!(null)));
        finds(Path::of_jsonpath("$.a['0']"), Some(&json!("zero")));
        finds(Path::of_jsonpath("$.a.b[2]"), None);
        finds(Path::of_jsonpath("$.a[0]"), None);
        finds(Path::of_pointer("/a/b/0/c d"), Some(&json!(1)));
        finds(Path::of_pointer("/a/0"), Some(&json!("zero")));
        finds(Path::of_pointer("/a/b/00"), None);
        finds(Path::of_pointer("/x~1y"), Some(&json!(2)));
        finds(Path::of_pointer("/~0"), Some(&json!(3)));
    }

    #[test]
    fn what_names_several_places_or_none_is_no_path() {
        for wrong in
            ["", "a", "$a", "$.", "$..a", "$.*", "$[*]", "$[-1]", "$[0:2]", "$[?@.a]", "$['a", "$[01]", "$.a b", "$.1"]
        {
            assert_eq!(Path::of_jsonpath(wrong), None, "{wrong}");
        }
        for wrong in ["a", "a/b", "/~", "/~2", "/a~x"] {
            assert_eq!(Path::of_pointer(wrong), None, "{wrong}");
        }
        assert_eq!(Path::of_jsonpath(&format!("${}", ".a".repeat(33))), None);
    }
}
