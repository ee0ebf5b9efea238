//! What an answer comes to. Pure. Invariant: only what was really said is a yes or a no; anything else is no answer.

use http::StatusCode;
use serde_json::Value;

use crate::integrations::gate::{Query, Says};

/// Characters of somebody else's text in a sentence.
const MOST_TEXT: usize = 200;

/// What somebody said, with a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Go on.
    Yes(String),
    /// Do not.
    No(String),
    /// It is not known.
    Nothing(String),
}

impl Said {
    /// The sentence.
    pub(crate) fn detail(&self) -> &str {
        let (Self::Yes(detail) | Self::No(detail) | Self::Nothing(detail)) = self;
        detail
    }
}

/// Somebody else's text as it may stand in a sentence: one line, without control characters, not long.
pub(crate) fn quoted(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..4 * MOST_TEXT).unwrap_or(body));
    let plain: String = text.chars().map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c }).collect();
    let words = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(MOST_TEXT) {
        Some((cut, _)) => format!("{}…", words.get(..cut).unwrap_or_default()),
        None => words,
    }
}

/// What would turn the rest of a line around, or hide in it.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fffd}')
}

/// A webhook's answer: any 2xx is a yes.
pub(crate) fn webhook(status: StatusCode, body: &[u8]) -> Said {
    let text = quoted(body);
    let detail = if text.is_empty() { format!("it answers {status}") } else { format!("it answers {status}: {text}") };
    if status.is_success() { Said::Yes(detail) } else { Said::No(detail) }
}

/// What Prometheus answers to an instant query.
pub(crate) fn prometheus(query: &Query, status: StatusCode, body: &[u8]) -> Said {
    let number = match sample(status, body) {
        Ok(number) => number,
        Err(detail) => return Said::Nothing(detail),
    };
    match (query.above, query.below) {
        (Some(above), _) if number > above => Said::No(format!("it is {number}, above {above}")),
        (_, Some(below)) if number < below => Said::No(format!("it is {number}, below {below}")),
        _ => Said::Yes(format!("it is {number}")),
    }
}

fn sample(status: StatusCode, body: &[u8]) -> Result<f64, String> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| format!("it answers {status} without JSON"))?;
    if !status.is_success() || answer["status"] != "success" {
        let error = answer["error"].as_str().unwrap_or("no reason");
        return Err(format!("it answers {status}: {}", quoted(error.as_bytes())));
    }
    let (kind, result) = (&answer["data"]["resultType"], &answer["data"]["result"]);
    let value = match (kind.as_str(), result.as_array().map(Vec::as_slice)) {
        (Some("scalar"), Some([_, value])) => value,
        (Some("vector"), Some([])) => return Err("the query finds no data".to_owned()),
        (Some("vector"), Some([one])) => &one["value"][1],
        (Some("vector"), Some(many)) => {
            return Err(format!("the query finds {} series, and one is needed: aggregate them", many.len()));
        }
        _ => {
            return Err(format!("the query gives a {}, not a number", quoted(kind.as_str().unwrap_or("?").as_bytes())));
        }
    };
    let number = value.as_str().and_then(|text| text.parse::<f64>().ok());
    number.filter(|number| !number.is_nan()).ok_or_else(|| "the query gives no number".to_owned())
}

/// What is wrong with the body of a smoke check's answer.
pub(crate) fn misses(says: &Says, body: &[u8]) -> Option<String> {
    let Ok(document) = serde_json::from_slice::<Value>(body) else { return Some("its body is no JSON".to_owned()) };
    match (says.path.find(&document), &says.equals) {
        (None, _) => Some(format!("{} is not there", says.shown)),
        (Some(found), Some(wanted)) if !is_same(found, wanted) => {
            Some(format!("{} is {}, not {wanted}", says.shown, quoted(found.to_string().as_bytes())))
        }
        _ => None,
    }
}

/// 1 and 1.0 are the same number.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other).is_eq(),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::integrations::Endpoint;
    use crate::integrations::gate::Path;

    #[test]
    fn somebody_elses_text_is_one_short_line() {
        assert_eq!(quoted(b"  no\r\n\x1b[31mred\x00 \xff end "), "no [31mred end");
        assert_eq!(quoted("a\u{202e}b".as_bytes()), "a b");
        let long = quoted("é".repeat(1000).as_bytes());
        assert_eq!((long.chars().count(), long.ends_with('…')), (201, true));
    }

    #[test]
    fn a_webhook_says_yes_by_any_2xx() {
        assert_eq!(webhook(StatusCode::ACCEPTED, b""), Said::Yes("it answers 202 Accepted".into()));
        let no = Said::No("it answers 403 Forbidden: not on a Friday".into());
        assert_eq!(webhook(StatusCode::FORBIDDEN, b"not on a\nFriday"), no);
        assert!(matches!(webhook(StatusCode::FOUND, b""), Said::No(_)));
    }

    fn query(above: Option<f64>, below: Option<f64>) -> Query {
        let url = Endpoint::Url("http://prometheus.example:9090".parse().expect("a URL"));
        Query { url, query: "up".into(), above, below, token: None }
    }

    #[track_caller]
    fn asked(above: Option<f64>, below: Option<f64>, data: &Value) -> Said {
        let body = json!({"status": "success", "data": data}).to_string();
        prometheus(&query(above, below), StatusCode::OK, body.as_bytes())
    }

    #[test]
    fn a_number_beyond_the_threshold_is_a_no() {
        let vector = |value: &str| json!({"resultType": "vector", "result": [{"metric": {}, "value": [1.5, value]}]});
        assert_eq!(asked(Some(0.01), None, &vector("0.02")), Said::No("it is 0.02, above 0.01".into()));
        assert_eq!(asked(Some(0.01), None, &vector("0.01")), Said::Yes("it is 0.01".into()));
        assert_eq!(asked(None, Some(99.0), &vector("98.5")), Said::No("it is 98.5, below 99".into()));
        assert_eq!(asked(Some(1.0), Some(0.0), &vector("+Inf")), Said::No("it is inf, above 1".into()));
        let scalar = json!({"resultType": "scalar", "result": [1.5, "0.5"]});
        assert_eq!(asked(Some(1.0), Some(0.0), &scalar), Said::Yes("it is 0.5".into()));
    }

    #[test]
    fn no_data_is_neither_yes_nor_no() {
        let one = json!({"value": [1, "1"]});
        for data in [
            json!({"resultType": "vector", "result": []}),
            json!({"resultType": "vector", "result": [one, one]}),
            json!({"resultType": "vector", "result": [{"value": [1, "NaN"]}]}),
            json!({"resultType": "matrix", "result": [{"values": [[1, "1"]]}]}),
            json!({"resultType": "string", "result": [1, "up"]}),
            json!(null),
        ] {
            assert!(matches!(asked(Some(1.0), None, &data), Said::Nothing(_)), "{data}");
        }
        let error = br#"{"status": "error", "errorType": "bad_data", "error": "parse error"}"#;
        let said = prometheus(&query(Some(1.0), None), StatusCode::BAD_REQUEST, error);
        assert_eq!(said, Said::Nothing("it answers 400 Bad Request: parse error".into()));
        assert!(matches!(prometheus(&query(None, None), StatusCode::OK, b"<html>"), Said::Nothing(_)));
    }

    #[test]
    fn a_body_says_what_it_should() {
        let says = |equals: Option<Value>| Says {
            path: Path::of_jsonpath("$.checks[0].up").expect("a path"),
            shown: "$.checks[0].up".into(),
            equals,
        };
        let body = br#"{"checks": [{"up": 1.0}]}"#;
        assert_eq!(misses(&says(None), body), None);
        assert_eq!(misses(&says(Some(json!(1))), body), None);
        assert_eq!(misses(&says(Some(json!(true))), body), Some("$.checks[0].up is 1.0, not true".into()));
        assert_eq!(misses(&says(None), b"{}"), Some("$.checks[0].up is not there".into()));
        assert_eq!(misses(&says(None), b"OK"), Some("its body is no JSON".into()));
    }
}
