//! Format v1 and its document do not part.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

const DOCUMENT: &str = include_str!("../../docs/snapshot.md");
const ENGINE: &str = include_str!("../../docs/engine.md");
const WIRE: &str = include_str!("../../edge/engine/src/snapshot/wire.rs");

/// Whoever changes the wire types reads the document, changes it where needed and writes the new hash there.
#[test]
fn the_format_cannot_change_without_its_document() {
    let mut hash = String::new();
    for byte in Sha256::digest(WIRE) {
        write!(hash, "{byte:02x}").unwrap();
    }
    let written =
        DOCUMENT.lines().find_map(|line| line.strip_prefix("SHA-256 of `edge/engine/src/snapshot/wire.rs`: `"));
    assert_eq!(written.and_then(|rest| rest.split('`').next()), Some(hash.as_str()), "docs/snapshot.md");
}

fn camel_case(name: &str) -> String {
    let mut words = name.trim_start_matches("r#").split('_');
    let first = words.next().unwrap().to_owned();
    words.fold(first, |text, word| text + &word[..1].to_uppercase() + &word[1..])
}

#[test]
fn every_field_of_the_format_is_described() {
    let fields: BTreeSet<String> = WIRE
        .lines()
        .filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "))
        .map(|(name, _)| camel_case(name))
        .collect();
    assert!(fields.len() > 60);
    let missing: Vec<&String> = fields.iter().filter(|field| !DOCUMENT.contains(&format!("`{field}`"))).collect();
    assert!(missing.is_empty(), "docs/snapshot.md does not describe {missing:?}");
}

/// The codes that an invalid-snapshot vector has are those that the document lists: nothing undocumented, nothing unproven.
#[test]
fn every_problem_code_is_documented_and_has_a_vector() {
    let table = DOCUMENT.split("## Problem codes").nth(1).unwrap().split("\n## ").next().unwrap();
    let documented: BTreeSet<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../vectors/invalid.json")).unwrap();
    let problems = vectors["cases"].as_array().unwrap().iter().flat_map(|case| case["problems"].as_array().unwrap());
    let proven: BTreeSet<&str> = problems.map(|problem| problem["code"].as_str().unwrap()).collect();
    assert_eq!(documented, proven);
    // And those that the engine's source can report.
    let sources = [
        include_str!("../../edge/engine/src/attribute.rs"),
        include_str!("../../edge/engine/src/condition.rs"),
        include_str!("../../edge/engine/src/operator/compile.rs"),
        include_str!("../../edge/engine/src/problem.rs"),
        include_str!("../../edge/engine/src/snapshot/check.rs"),
        include_str!("../../edge/engine/src/snapshot/edge.rs"),
        include_str!("../../edge/engine/src/snapshot/graph.rs"),
        include_str!("../../edge/engine/src/snapshot/parse.rs"),
        include_str!("../../edge/engine/src/snapshot/read.rs"),
        include_str!("../../edge/engine/src/split.rs"),
        include_str!("../../edge/engine/src/unit.rs"),
    ];
    let is_code = |text: &&str| {
        text.contains('_')
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            && !text.starts_with('_')
    };
    let literals = sources.iter().flat_map(|source| source.split('"').skip(1).step_by(2)).filter(is_code);
    let unknown: BTreeSet<&str> = literals.filter(|code| !documented.contains(code)).collect();
    assert!(unknown.is_empty(), "codes that docs/snapshot.md does not list: {unknown:?}");
}

#[test]
fn every_operator_and_reason_is_described() {
    let reasons = [
        "OVERRIDE",
        "RULE",
        "PIN",
        "SPLIT",
        "ACTIVE",
        "FALLBACK",
        "STATIC",
        "DEFAULT",
        "TARGETING_MATCH",
        "DISABLED",
        "ERROR",
    ];
    let errors = ["TARGETING_KEY_MISSING", "PREREQUISITE_FAILED", "GENERAL", "PARSE_ERROR", "INVALID_CONTEXT"];
    let words = edge_engine::OPERATORS.into_iter().chain(reasons).chain(errors);
    let missing: Vec<&str> = words.filter(|word| !ENGINE.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "docs/engine.md does not describe {missing:?}");
}
