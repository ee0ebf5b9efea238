//! `bascule.yaml`: what the reader refuses has places, and what it accepts are snapshots that the engine takes.

use edge_engine::{EnvironmentName, JsonContext, check, parse};
use serde_json::Map;

use super::decisions::evaluated;
use super::key;
use super::places::Text;
use edge_manifest::{Finding, Manifest, conflicts, load_all, review};

const FILE: &str = "bascule.yaml";

/// A text is refused with places in it, or each of its environments is a snapshot that every edge takes.
pub fn any_bytes(data: &[u8]) {
    // The files are read as UTF-8 before they come here.
    let Ok(text) = std::str::from_utf8(data) else { return };
    let places = Text::of(text);
    let read = load_all(text, FILE);
    match review(text, FILE, |_, _| key()) {
        Ok(manifests) => {
            assert!(!manifests.is_empty(), "nothing was read, and nothing is wrong");
            assert!(read.is_ok(), "the reader refuses what was found sound: {:?}", read.err());
            places.holds(&conflicts(&manifests));
            manifests.iter().for_each(accepted);
        }
        Err(findings) => {
            refused(&places, &findings);
            match read {
                Ok(manifests) => assert!(judged(&manifests), "only the engine could have refused this, and takes it"),
                Err(findings) => refused(&places, &findings),
            }
        }
    }
}

fn refused(places: &Text, findings: &[Finding]) {
    assert!(!findings.is_empty(), "refused without a finding");
    places.holds(findings);
    // Where there are too many, the sentence about that comes last.
    let list = findings
        .split_last_chunk()
        .map_or(findings, |(list, [last])| if last.code == "too_many_problems" { list } else { findings });
    assert!(list.is_sorted_by_key(Finding::position), "not in the order of the file");
}

/// Whether the engine refuses an environment.
fn judged(manifests: &[Manifest]) -> bool {
    manifests.iter().any(|manifest| manifest.environments().any(|name| manifest.check(name, &key()).is_err()))
}

fn accepted(manifest: &Manifest) {
    for environment in manifest.environments() {
        environment_accepted(manifest, environment);
    }
}

fn environment_accepted(manifest: &Manifest, environment: &EnvironmentName) {
    let wire = manifest.snapshot(environment, 1, "2026-01-01T00:00:00Z").expect("an environment of its own");
    let written = serde_json::to_vec(&wire).expect("a snapshot can be written");
    assert_eq!(parse(&written).as_ref(), Ok(&wire), "the snapshot is read back as another one");
    let snapshot = check(wire, &key()).expect("what was reviewed is sound");
    assert!(manifest.check(environment, &key()).is_ok(), "reviewed as a whole it is sound, alone it is not");
    let context = JsonContext::from_object(Map::new()).expect("an empty object is a context");
    evaluated(&snapshot, &context);
}
