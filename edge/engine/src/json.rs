//! JSON in and out: contexts as applications write them, decisions as everybody reads them.
//!
//! Decisions are written by hand because the command line writes hundreds of thousands a second; the
//! shape is `{app, environment, snapshot, engine, unit, slot, release, reason, rule?, bucket?, flags,
//! trace?}`.

use serde_json::{Map, Value as Json, json};

use crate::context::{RequestContext, Value};
use crate::decide::Evaluation;
use crate::decision::{FlagIndex, FlagOutcome, Route};
use crate::flag::Flag;
use crate::snapshot::Snapshot;
use crate::text::canonical;
use crate::time::parse_rfc3339;
use crate::trace::Recorder;

/// Why a context cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextError {
    /// `PARSE_ERROR` or `INVALID_CONTEXT`.
    pub code: &'static str,
    /// What is wrong, one sentence.
    pub detail: String,
}

impl std::fmt::Display for ContextError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for ContextError {}

/// A context as a JSON object with flat or nested attributes.
///
/// An attribute such as `http.host` is looked up as the key `http.host`, else as the key `host` of the
/// object `http`, and so on for every dot from the left. Null counts as missing.
#[derive(Debug, Clone)]
pub struct JsonContext {
    attributes: Map<String, Json>,
    now_ms: Option<i64>,
}

impl JsonContext {
    /// Parses a JSON object.
    pub fn parse(json: &[u8]) -> Result<Self, ContextError> {
        let value: Json = serde_json::from_slice(json)
            .map_err(|error| ContextError { code: "PARSE_ERROR", detail: format!("this is not JSON: {error}") })?;
        let Json::Object(attributes) = value else {
            return Err(ContextError { code: "INVALID_CONTEXT", detail: "a context is a JSON object".into() });
        };
        Self::from_object(attributes)
    }

    /// Takes an object that is parsed already.
    pub fn from_object(attributes: Map<String, Json>) -> Result<Self, ContextError> {
        let now_ms = match attributes.get("now") {
            None | Some(Json::Null) => None,
            Some(now) => Some(now.as_str().and_then(parse_rfc3339).ok_or_else(|| ContextError {
                code: "INVALID_CONTEXT",
                detail: "`now` is an RFC 3339 timestamp such as 2026-01-31T12:00:00Z".into(),
            })?),
        };
        Ok(Self { attributes, now_ms })
    }

    /// The elements of those attributes that are lists; [`Self::values`] borrows them.
    pub fn lists(&self, snapshot: &Snapshot) -> Vec<Vec<Value<'_>>> {
        let lists = snapshot.needs().iter().filter_map(|attribute| self.find(attribute.name())?.as_array());
        lists.map(|elements| elements.iter().map(scalar).collect()).collect()
    }

    /// The packed values that the snapshot needs.
    pub fn values<'a>(&'a self, snapshot: &Snapshot, lists: &'a [Vec<Value<'a>>]) -> Vec<Value<'a>> {
        let mut lists = lists.iter();
        let value = |found: &'a Json| match found {
            Json::Array(_) => lists.next().map_or(Value::Missing, |list| Value::List(list)),
            other => scalar(other),
        };
        let mut value = value;
        snapshot
            .needs()
            .iter()
            .map(|attribute| self.find(attribute.name()).map_or(Value::Missing, &mut value))
            .collect()
    }

    /// The request; `now_ms` counts when the context has no `now` of its own.
    pub fn request<'a>(&self, values: &'a [Value<'a>], now_ms: i64) -> RequestContext<'a> {
        RequestContext { values, now_ms: self.now_ms.unwrap_or(now_ms) }
    }

    fn find(&self, name: &str) -> Option<&Json> {
        find(&self.attributes, name)
    }
}

/// Names have at most 128 bytes, so this recurses at most 64 times.
fn find<'j>(object: &'j Map<String, Json>, name: &str) -> Option<&'j Json> {
    if let Some(value) = object.get(name) {
        return Some(value);
    }
    name.match_indices('.').find_map(|(dot, _)| {
        let inner = object.get(name.get(..dot)?)?.as_object()?;
        find(inner, name.get(dot + 1..)?)
    })
}

fn scalar(json: &Json) -> Value<'_> {
    match json {
        Json::String(text) => Value::from(text.as_str()),
        Json::Bool(bool) => Value::Bool(*bool),
        Json::Number(number) => number.as_f64().map_or(Value::Missing, Value::Number),
        Json::Null | Json::Array(_) | Json::Object(_) => Value::Missing,
    }
}

/// Which flags an evaluation answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagSelection<'a> {
    /// Every flag of the snapshot.
    All,
    /// The flags that the edge forwards.
    Forwarded,
    /// These.
    These(&'a [FlagIndex]),
}

impl<'a> FlagSelection<'a> {
    /// The flags that are meant, in the order of their answers. An index of another snapshot stays in.
    pub fn indices(self, snapshot: &'a Snapshot) -> impl Iterator<Item = FlagIndex> + 'a {
        let (all, listed): (u32, &[FlagIndex]) = match self {
            Self::All => (u32::try_from(snapshot.flags().len()).unwrap_or(u32::MAX), &[]),
            Self::Forwarded => (0, snapshot.forwarded()),
            Self::These(list) => (0, list),
        };
        (0..all).map(FlagIndex).chain(listed.iter().copied())
    }
}

/// How to evaluate a JSON context.
#[derive(Debug, Clone, Copy)]
pub struct EvaluateOptions<'a> {
    /// Named in the answer: the engine hash, or `native`.
    pub engine: &'a str,
    /// The host's clock, milliseconds since 1970; a context's `now` goes first.
    pub now_ms: i64,
    /// Which flags to answer.
    pub flags: FlagSelection<'a>,
    /// Whether to add the trace.
    pub explain: bool,
}

/// Decides for a JSON context and appends the decision as JSON.
pub fn evaluate(snapshot: &Snapshot, context: &JsonContext, options: &EvaluateOptions<'_>, out: &mut Vec<u8>) {
    let lists = context.lists(snapshot);
    let values = context.values(snapshot, &lists);
    let request = context.request(&values, options.now_ms);
    if options.explain {
        let mut evaluation = Evaluation::with_trace(snapshot, &request, Recorder::default());
        let route = evaluation.route();
        let route_trace = evaluation.trace.take();
        let mut flag_traces = Map::new();
        let outcomes: Vec<FlagOutcome> = options
            .flags
            .indices(snapshot)
            .map(|index| {
                let outcome = evaluation.flag(index);
                let trace = evaluation.trace.take();
                if let Some(flag) = snapshot.flag(index) {
                    flag_traces.insert(flag.key().as_str().to_owned(), trace.into());
                }
                outcome
            })
            .collect();
        let trace = json!({"route": route_trace, "flags": flag_traces});
        write(snapshot, &request, &route, outcomes.into_iter(), options.engine, Some(&trace), out);
    } else {
        answer(snapshot, &request, options, out);
    }
}

/// As [`evaluate`], and never with a trace: an edge that answers none need not carry the code.
pub fn evaluate_plainly(snapshot: &Snapshot, context: &JsonContext, options: &EvaluateOptions<'_>, out: &mut Vec<u8>) {
    let lists = context.lists(snapshot);
    let values = context.values(snapshot, &lists);
    answer(snapshot, &context.request(&values, options.now_ms), options, out);
}

fn answer(snapshot: &Snapshot, request: &RequestContext<'_>, options: &EvaluateOptions<'_>, out: &mut Vec<u8>) {
    let mut evaluation = Evaluation::new(snapshot, request);
    let route = evaluation.route();
    let outcomes = options.flags.indices(snapshot).map(|index| evaluation.flag(index));
    write(snapshot, request, &route, outcomes, options.engine, None, out);
}

/// Evaluates flags for a JSON context, without the route and without writing anything: each outcome in the order of
/// [`FlagSelection::indices`], over what `out` held. A context's `now` goes before `now_ms`.
pub fn outcomes(
    snapshot: &Snapshot,
    context: &JsonContext,
    flags: FlagSelection<'_>,
    now_ms: i64,
    out: &mut Vec<FlagOutcome>,
) {
    let lists = context.lists(snapshot);
    let values = context.values(snapshot, &lists);
    let request = context.request(&values, now_ms);
    let mut evaluation = Evaluation::new(snapshot, &request);
    out.clear();
    out.extend(flags.indices(snapshot).map(|index| evaluation.flag(index)));
}

/// Appends a decision that was taken already as JSON, without trace.
pub fn write_decision(
    snapshot: &Snapshot,
    context: &RequestContext<'_>,
    decision: &crate::Decision,
    engine: &str,
    out: &mut Vec<u8>,
) {
    write(snapshot, context, &decision.route, decision.flags.iter().copied(), engine, None, out);
}

fn write(
    snapshot: &Snapshot,
    context: &RequestContext<'_>,
    route: &Route,
    flags: impl Iterator<Item = FlagOutcome>,
    engine: &str,
    trace: Option<&Json>,
    out: &mut Vec<u8>,
) {
    field(out, "{\"app\":", snapshot.app().as_str());
    field(out, ",\"environment\":", snapshot.environment().as_str());
    out.extend_from_slice(b",\"snapshot\":");
    integer(out, snapshot.number());
    field(out, ",\"engine\":", engine);
    write_unit(snapshot, context, route, out);
    field(out, ",\"slot\":", route.slot.as_str());
    field(out, ",\"release\":", snapshot.release(route.release).id.as_str());
    field(out, ",\"reason\":", route.reason.as_str());
    if let Some(id) = route.rule.and_then(|rule| snapshot.traffic().rule(rule)) {
        field(out, ",\"rule\":", id.as_str());
    }
    write_bucket(route.bucket, out);
    out.extend_from_slice(b",\"flags\":{");
    // An index of another snapshot names no flag here and is left out.
    let known = flags.filter_map(|outcome| Some((snapshot.flag(outcome.flag)?, outcome)));
    for (i, (flag, outcome)) in known.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_flag(flag, &outcome, out);
    }
    out.push(b'}');
    if let Some(trace) = trace {
        out.extend_from_slice(b",\"trace\":");
        // Writing to a Vec cannot fail, and the tree has string keys only.
        let _ = serde_json::to_writer(&mut *out, trace);
    }
    out.push(b'}');
}

fn write_unit(snapshot: &Snapshot, context: &RequestContext<'_>, route: &Route, out: &mut Vec<u8>) {
    let source = route.unit.and_then(|unit| snapshot.unit_sources().get(usize::from(unit.0)));
    let value = source.and_then(|source| canonical(context.value(usize::from(source.attribute))));
    let (Some(source), Some(value)) = (source, value) else {
        out.extend_from_slice(b",\"unit\":null");
        return;
    };
    field(out, ",\"unit\":{\"source\":", &source.name);
    field(out, ",\"value\":", &String::from_utf8_lossy(value.as_bytes()));
    out.push(b'}');
}

fn write_flag(flag: &Flag, outcome: &FlagOutcome, out: &mut Vec<u8>) {
    field(out, "", flag.key().as_str());
    let Some(variant) = flag.variant(outcome.variant) else {
        out.extend_from_slice(b":null");
        return;
    };
    out.extend_from_slice(b":{\"value\":");
    out.extend_from_slice(variant.json.as_bytes());
    field(out, ",\"variant\":", variant.key.as_str());
    field(out, ",\"reason\":", outcome.reason.as_str());
    if let Some(id) = outcome.rule.and_then(|rule| flag.rule(rule)) {
        field(out, ",\"rule\":", id.as_str());
    }
    write_bucket(outcome.bucket, out);
    if let Some(error) = outcome.error {
        field(out, ",\"errorCode\":", error.as_str());
    }
    out.push(b'}');
}

fn write_bucket(bucket: Option<u32>, out: &mut Vec<u8>) {
    if let Some(bucket) = bucket {
        out.extend_from_slice(b",\"bucket\":");
        integer(out, u64::from(bucket));
    }
}

fn integer(out: &mut Vec<u8>, value: u64) {
    // Writing to a Vec cannot fail.
    let _ = serde_json::to_writer(out, &value);
}

/// Appends `lead` and the text as a JSON string. Names need no escapes, units may.
fn field(out: &mut Vec<u8>, lead: &str, text: &str) {
    out.extend_from_slice(lead.as_bytes());
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing to a Vec cannot fail.
        let _ = serde_json::to_writer(out, text);
    }
}
