//! What flagd's own implementations answered, against what an import of the same definitions answers here.
//!
//! `tests/vectors/flagd` holds the definitions once, and for each generation of the bucketing the variant of every
//! flag for every context; each file says how it was made.

use std::collections::BTreeMap;

use edge_engine::{AppName, BucketingKey, EnvironmentName, FlagSelection, Flagd};
use edge_manifest::{FlagdOptions, Imported, NoteKind, import_flagd, load};
use serde::Deserialize;
use serde_json::Value as Json;

use super::engines::{Engine, Native, Wasm};

const DEFINITIONS: &str = include_str!("../../vectors/flagd/definitions.json");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    #[expect(dead_code, reason = "for readers")]
    description: String,
    algorithm: String,
    contexts: Vec<Json>,
    /// The variant for each context, in their order.
    variants: BTreeMap<String, Vec<String>>,
}

fn recorded() -> Vec<Recorded> {
    let files = [include_str!("../../vectors/flagd/v2.json"), include_str!("../../vectors/flagd/v3.json")];
    files.iter().map(|file| serde_json::from_str(file).unwrap()).collect()
}

fn imported(algorithm: &str) -> Imported {
    let options = FlagdOptions {
        app: AppName::new("web").unwrap(),
        environment: EnvironmentName::new("production").unwrap(),
        algorithm: Flagd::from_name(algorithm).unwrap(),
    };
    import_flagd(DEFINITIONS, "definitions.json", &options).unwrap()
}

/// Imports the definitions, and compares every answer of an engine with what was recorded.
fn run(engine: &mut dyn Engine) -> Vec<String> {
    let mut failures = Vec::new();
    for recorded in recorded() {
        let imported = imported(&recorded.algorithm);
        let refused: Vec<_> = imported.notes.iter().filter(|note| note.kind == NoteKind::Refused).collect();
        assert!(refused.is_empty(), "{refused:#?}");
        let manifest = load(&imported.yaml, "imported.yaml").unwrap();
        let environment = manifest.environments().next().unwrap();
        let wire = manifest.snapshot(environment, 1, "2026-01-01T00:00:00Z").unwrap();
        // No key of ours has a part in the bucketing.
        let key = BucketingKey::new([42; 16]);
        engine.load(&serde_json::to_vec(&wire).unwrap(), &key).unwrap();
        let mut compared = 0;
        for (index, context) in recorded.contexts.iter().enumerate() {
            let context = serde_json::to_vec(context).unwrap();
            let now_ms = 1_800_000_000_000;
            let explained = engine.evaluate(&context, FlagSelection::All, now_ms, true).unwrap();
            let answer = engine.evaluate(&context, FlagSelection::All, now_ms, false).unwrap();
            assert!(explained.starts_with(answer.strip_suffix(b"}").unwrap()), "the trace changes the answer");
            let answer: Json = serde_json::from_slice(&answer).unwrap();
            for (flag, variants) in &recorded.variants {
                compared += 1;
                let (expected, got) = (&variants[index], &answer["flags"][flag]);
                if got["variant"] != **expected || got["reason"] == "ERROR" {
                    let context = &recorded.contexts[index];
                    failures.push(format!("{} {flag}: {expected}, got {got} for {context}", recorded.algorithm));
                }
            }
        }
        assert!(compared >= 3_000 && recorded.variants.len() >= 30, "only {compared} answers");
    }
    failures
}

#[test]
fn an_import_keeps_every_user_in_the_variant_of_flagd() {
    let failures = run(&mut Native::default());
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_module_keeps_every_user_in_the_variant_of_flagd() {
    let failures = run(&mut Wasm::new());
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

/// Recorded in flagd's test bed, and the reason why the algorithm stands with each flag.
#[test]
fn the_generations_of_flagd_disagree() {
    let [v2, v3] = recorded().try_into().ok().unwrap();
    let moved = v2.variants["fractional-flag"].iter().zip(&v3.variants["fractional-flag"]).filter(|(a, b)| a != b);
    assert!(moved.count() > 20);
}
