//! A request that has passed all gates.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::Failure;
use super::operation::Operation;
use super::strict::Strict;
use super::{Peer, Shared};
use crate::principal::Principal;
use crate::service::{Actor, Intent};

/// The part of a list that is answered when nobody says how much.
const DEFAULT_LIMIT: u32 = 50;
/// Characters of a reason.
const MAX_REASON: usize = 1000;

/// A request that has passed all gates.
#[derive(Debug)]
pub struct Call {
    /// What all requests share.
    pub shared: Arc<Shared>,
    /// What is asked for.
    pub operation: &'static Operation,
    /// Who asks; nobody for public operations.
    pub principal: Option<Arc<Principal>>,
    /// Whoever opened its connection.
    pub peer: Option<Peer>,
    /// Its id.
    pub request_id: String,
    /// Path parameters, decoded.
    pub params: BTreeMap<String, String>,
    /// Query parameters, checked against the operation's.
    pub query: BTreeMap<String, String>,
    /// Headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Call {
    /// A path parameter.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// A query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// Whether a query parameter is `true`.
    pub fn flag(&self, name: &str) -> bool {
        self.query(name) == Some("true")
    }

    /// How many items a list may have.
    pub fn limit(&self) -> u32 {
        self.query("limit").and_then(|limit| limit.parse().ok()).unwrap_or(DEFAULT_LIMIT)
    }

    /// Where a list goes on.
    pub fn cursor(&self) -> Result<String, Failure> {
        let Some(cursor) = self.query("cursor") else { return Ok(String::new()) };
        let digits = cursor.as_bytes().chunks(2).map(|pair| {
            let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2);
            text.and_then(|text| u8::from_str_radix(text, 16).ok())
        });
        let bytes: Option<Vec<u8>> = digits.collect();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.filter(|text| !text.chars().any(char::is_control));
        text.ok_or_else(|| {
            Failure::new(StatusCode::BAD_REQUEST, "cursor_invalid", "the cursor is not one that a list has answered")
        })
    }

    /// The cursor that goes on after this.
    pub fn cursor_after(last: &str) -> String {
        crate::ids::hex(last.as_bytes())
    }

    /// Who asks.
    pub fn actor(&self) -> Actor {
        match &self.principal {
            Some(principal) => Actor { principal: Arc::clone(principal), request_id: self.request_id.clone() },
            None => Actor::system(&self.request_id),
        }
    }

    /// Who asks, where the operation needs somebody.
    pub fn principal(&self) -> Result<&Arc<Principal>, Failure> {
        self.principal.as_ref().ok_or_else(Failure::unauthenticated)
    }

    /// What the audit will say.
    pub fn intent(&self, subject: &impl ToString) -> Intent {
        Intent {
            app: self.param("app").to_owned(),
            environment: self.param("env").to_owned(),
            operation: self.operation.id,
            subject: subject.to_string(),
            reason: self.query("reason").unwrap_or_default().to_owned(),
            dry_run: self.flag("dryRun"),
            ..Intent::default()
        }
    }

    /// The body as a JSON object. Nothing else will do: the readers of `bascule.yaml`, in which a key may stand without a
    /// value, would take a `null` for an object without fields.
    pub fn object(&self) -> Result<Map<String, Value>, Failure> {
        let body: Value = serde_json::from_slice(&self.body).map_err(|error| {
            let detail = format!("the body is not JSON: {error}");
            Failure::new(StatusCode::BAD_REQUEST, "body_invalid", detail)
        })?;
        match body {
            Value::Object(object) => Ok(object),
            _ => Err(Failure::unfit("", "type_mismatch", "the body of this operation is an object")),
        }
    }

    /// The body as a type.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let text = std::str::from_utf8(&self.body);
        let text =
            text.map_err(|_| Failure::new(StatusCode::BAD_REQUEST, "body_invalid", "the body is not UTF-8 text"))?;
        if !text.trim_start().starts_with('{') {
            self.object()?;
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let value = serde_path_to_error::deserialize(Strict(&mut reader)).map_err(|error| Failure::of_serde(&error))?;
        reader.end().map_err(|error| {
            Failure::new(StatusCode::BAD_REQUEST, "body_invalid", format!("the body is not JSON: {error}"))
        })?;
        Ok(value)
    }

    /// Why, as the body says it: a text for people, which every store can keep.
    pub fn check_reason(reason: &str) -> Result<(), Failure> {
        let is_good = |text: &str| (1..=MAX_REASON).contains(&text.chars().count()) && !text.contains('\0');
        if is_good(reason) && !reason.trim().is_empty() {
            return Ok(());
        }
        let detail = format!("a reason has 1 to {MAX_REASON} characters, not only spaces, and no NUL");
        Err(Failure::unfit("/reason", "reason_invalid", detail))
    }

    /// The revision that the caller has seen, from `If-Match`.
    pub fn seen(&self) -> Result<Seen, Failure> {
        let Some(value) = self.headers.get(http::header::IF_MATCH) else { return Ok(Seen::Nothing) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Seen::Any);
        }
        // A weak tag is a tag, and no revision of ours.
        let tag = |tag: &str| {
            let inner = tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"')?.strip_suffix('"')?;
            (!inner.contains('"')).then(|| if tag.starts_with("W/") { tag.to_owned() } else { inner.to_owned() })
        };
        let tags: Option<Vec<String>> = text.split(',').map(|part| tag(part.trim())).collect();
        tags.map(Seen::These).ok_or_else(|| {
            let detail = "If-Match is *, or the ETag of a revision with its quotes";
            Failure::new(StatusCode::BAD_REQUEST, "if_match_invalid", detail)
        })
    }

    /// Compares what the caller has seen with what there is; `None` = the object does not exist.
    pub fn check_seen(&self, current: Option<(i64, Value)>) -> Result<(), Failure> {
        let none_match = self.headers.get(http::header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == b"*");
        match (self.seen()?, current) {
            (_, Some((revision, current))) if none_match => Err(Failure::stale("\"*\"", revision, Some(current))),
            (Seen::Nothing, Some(_)) => Err(Failure::new(
                StatusCode::PRECONDITION_REQUIRED,
                "if_match_required",
                "say by If-Match which revision of the object you have seen",
            )),
            (Seen::Nothing, None) | (Seen::Any, Some(_)) => Ok(()),
            (Seen::These(tags), Some((revision, _))) if tags.contains(&revision.to_string()) => Ok(()),
            (Seen::These(tags), Some((revision, current))) => {
                Err(Failure::stale(&tags.join(", "), revision, Some(current)))
            }
            (Seen::These(tags), None) => Err(Failure::stale(&tags.join(", "), 0, None)),
            (Seen::Any, None) => Err(Failure::stale("*", 0, None)),
        }
    }
}

/// What `If-Match` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// There is none.
    Nothing,
    /// Whatever there is.
    Any,
    /// One of these.
    These(Vec<String>),
}
