//! The corpora of the fuzz targets as ordinary tests: what once was interesting stays true on every run, without a
//! fuzzer. The claims are those of `tests/fuzz/targets`; `cargo xtask fuzz` looks for bytes that break them.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use edge_engine::{BucketingKey, FlagSelection, JsonContext, check, parse};
use server::host::{Engine, EvaluateError, LoadError, LoadedSnapshot, Module};

#[path = "../fuzz/targets.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets are other crates")]
mod targets;

/// A target's claim about any bytes.
type Claim = fn(&[u8]);

const TARGETS: &[(&str, Claim)] = &[
    ("abi", targets::abi::any_bytes),
    ("context", targets::context::any_bytes),
    ("manifest", targets::manifest::any_bytes),
    ("snapshot", targets::snapshot::any_bytes),
];

/// Files and bytes of one corpus: they are read by people in reviews, and run on each `cargo test`.
const MAX_FILES: usize = 60;
const MAX_BYTES: u64 = 200 << 10;
/// Any time.
const NOW_MS: i64 = 1_767_225_600_000;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// The files of a folder, by name. That there are some is part of what is tested.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

/// Runs a claim over its corpus, and names all files that break it.
#[track_caller]
fn holds(target: &str) {
    let (_, claim) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let breaks = |file: &PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        catch_unwind(AssertUnwindSafe(|| claim(&bytes))).is_err()
    };
    let broken: Vec<PathBuf> = files(&corpora().join(target)).into_iter().filter(breaks).collect();
    assert!(broken.is_empty(), "the panics above are about {broken:#?}");
}

#[test]
fn snapshots_are_refused_with_places_or_decide() {
    holds("snapshot");
}

#[test]
fn messages_are_refused_or_survive_the_codec() {
    holds("abi");
}

#[test]
fn contexts_are_refused_with_a_reason_or_decide() {
    holds("context");
}

#[test]
fn manifests_are_refused_with_places_or_make_good_snapshots() {
    holds("manifest");
}

#[test]
fn every_corpus_has_a_target_and_stays_small() {
    let folders: Vec<PathBuf> = files(&corpora());
    let names: BTreeSet<&str> = folders.iter().map(|folder| folder.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, TARGETS.iter().map(|(name, _)| *name).collect());
    for folder in folders {
        let files = files(&folder);
        let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
        assert!(files.len() <= MAX_FILES, "{}: {} files", folder.display(), files.len());
        assert!(bytes <= MAX_BYTES, "{}: {bytes} bytes", folder.display());
    }
}

/// A corpus that was lost would be a test that passes for ever.
#[test]
#[should_panic(expected = "is empty")]
fn an_empty_corpus_fails() {
    files(tempfile::tempdir().unwrap().path());
}

/// A corpus in which nothing is accepted, or nothing refused, would leave half of its claims unproven.
#[test]
fn every_corpus_has_inputs_that_are_accepted_and_inputs_that_are_refused() {
    let key = || BucketingKey::new([7; 16]);
    let both = |target: &str, accepts: &dyn Fn(&[u8]) -> bool| {
        let files = files(&corpora().join(target));
        let verdicts: BTreeSet<bool> = files.iter().map(|file| accepts(&std::fs::read(file).unwrap())).collect();
        assert_eq!(verdicts.len(), 2, "all of {target} is accepted, or nothing");
    };
    both("snapshot", &|bytes| parse(bytes).is_ok_and(|wire| check(wire, &key()).is_ok()));
    both("abi", &|bytes| edge_abi::with_request(bytes, |_| ()).is_ok());
    both("context", &|bytes| JsonContext::parse(bytes).is_ok());
    both("manifest", &|bytes| {
        std::str::from_utf8(bytes).is_ok_and(|text| edge_manifest::review(text, "f", |_, _| key()).is_ok())
    });
}

/// What natively holds, holds in the module, in its memory and on its stack of a mebibyte.
#[test]
fn the_module_loads_and_answers_the_corpora_as_the_native_engine_does() {
    let key = BucketingKey::new([7; 16]);
    let (native, wasm) = (Engine::native(), Engine::wasm(Module::embedded().unwrap()));
    let contexts: Vec<Vec<u8>> =
        files(&corpora().join("context")).iter().map(|file| std::fs::read(file).unwrap()).collect();
    let mut loaded = 0;
    for file in files(&corpora().join("snapshot")) {
        let document = std::fs::read(&file).unwrap();
        let mut answers = [&native, &wasm].map(|engine| match LoadedSnapshot::load(&document, &key, engine) {
            Ok(snapshot) => Some(answers(&snapshot, &contexts)),
            Err(LoadError::Problems(_)) => None,
            Err(LoadError::Module(error)) => panic!("{}: {error:?}", file.display()),
        });
        loaded += answers.iter_mut().flatten().count();
        assert_eq!(answers[0], answers[1], "{}", file.display());
    }
    assert!(loaded >= 10, "only {loaded} were loaded");
}

/// All answers as text, under one name of the engine.
fn answers(snapshot: &LoadedSnapshot, contexts: &[Vec<u8>]) -> Vec<String> {
    let named = format!(",\"engine\":\"{}\",", snapshot.engine().name());
    let mut decider = snapshot.decider().unwrap();
    let answer = |context: &Vec<u8>| {
        let mut out = Vec::new();
        match decider.evaluate(context, FlagSelection::All, NOW_MS, true, &mut out) {
            Ok(()) => String::from_utf8(out).unwrap().replace(&named, ","),
            Err(EvaluateError::Context(error)) => error.to_string(),
            Err(error) => panic!("{error:?}"),
        }
    };
    contexts.iter().map(answer).collect()
}
