//! Reading the vector files.

use std::path::{Path, PathBuf};

use edge_engine::{BucketingKey, parse_rfc3339};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// One snapshot and what it decides.
pub(crate) struct VectorFile {
    pub(crate) name: String,
    pub(crate) key: BucketingKey,
    pub(crate) snapshot: Json,
    pub(crate) cases: Vec<Case>,
}

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) context: Vec<u8>,
    pub(crate) now_ms: i64,
    pub(crate) flags: Vec<String>,
    pub(crate) explain: bool,
    /// The host has no engine to ask.
    pub(crate) fallback: bool,
    pub(crate) expected: Expected,
}

pub(crate) enum Expected {
    /// The decision, without `engine`.
    Decision(Json),
    /// The code of the error.
    Error(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileWire {
    #[expect(dead_code, reason = "for readers")]
    description: String,
    key: String,
    snapshot: Json,
    cases: Vec<CaseWire>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CaseWire {
    name: String,
    #[serde(default)]
    context: Option<Json>,
    /// Instead of `context`: bytes that a JSON tool would not keep.
    #[serde(default)]
    context_text: Option<String>,
    now: String,
    flags: Vec<String>,
    #[serde(default)]
    explain: bool,
    #[serde(default)]
    fallback: bool,
    #[serde(default)]
    expect: Option<Json>,
    #[serde(default)]
    expect_error: Option<String>,
}

/// A document that is no snapshot.
pub(crate) struct Invalid {
    pub(crate) name: String,
    pub(crate) text: Vec<u8>,
    /// Pointer and code, sorted.
    pub(crate) problems: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InvalidWire {
    name: String,
    #[serde(default)]
    document: Option<Json>,
    #[serde(default)]
    text: Option<String>,
    problems: Vec<ProblemWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProblemWire {
    pointer: String,
    code: String,
}

/// Files that hold no decisions.
const OTHERS: [&str; 3] = ["bucketing.json", "siphash.json", "invalid.json"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// All files with decisions, by name.
pub(crate) fn vector_files() -> Vec<VectorFile> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension() == Some("json".as_ref()) && !OTHERS.contains(&name.as_str()))
        .collect();
    names.sort();
    names.into_iter().map(vector_file).collect()
}

fn vector_file(name: String) -> VectorFile {
    let bytes = std::fs::read(folder().join(&name)).unwrap();
    let wire: FileWire = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    let cases = wire.cases.into_iter().map(case).collect();
    VectorFile { name, key: key(&wire.key), snapshot: wire.snapshot, cases }
}

fn case(wire: CaseWire) -> Case {
    let context = match (wire.context, wire.context_text) {
        (Some(json), None) => serde_json::to_vec(&json).unwrap(),
        (None, Some(text)) => text.into_bytes(),
        _ => panic!("{}: either a context or its text", wire.name),
    };
    let expected = match (wire.expect, wire.expect_error) {
        (Some(decision), None) => Expected::Decision(decision),
        (None, Some(code)) => Expected::Error(code),
        _ => panic!("{}: either a decision or an error is expected", wire.name),
    };
    let now_ms = parse_rfc3339(&wire.now).unwrap();
    Case {
        name: wire.name,
        context,
        now_ms,
        flags: wire.flags,
        explain: wire.explain,
        fallback: wire.fallback,
        expected,
    }
}

/// The key in hex.
pub(crate) fn key(hex: &str) -> BucketingKey {
    let byte = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
    assert_eq!(hex.len(), 32);
    BucketingKey::new(std::array::from_fn(byte))
}

/// The cases of another file.
pub(crate) fn cases<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let mut file: Json = serde_json::from_slice(&std::fs::read(folder().join(name)).unwrap()).unwrap();
    serde_json::from_value(file["cases"].take()).unwrap()
}

pub(crate) fn invalid_documents() -> Vec<Invalid> {
    let wires: Vec<InvalidWire> = cases("invalid.json");
    let invalid = |wire: InvalidWire| {
        let text = match (wire.document, wire.text) {
            (Some(document), None) => serde_json::to_vec(&document).unwrap(),
            (None, Some(text)) => text.into_bytes(),
            _ => panic!("{}: either a document or a text", wire.name),
        };
        let mut problems: Vec<_> = wire.problems.into_iter().map(|problem| (problem.pointer, problem.code)).collect();
        problems.sort();
        Invalid { name: wire.name, text, problems }
    };
    wires.into_iter().map(invalid).collect()
}
