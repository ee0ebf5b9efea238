//! From the bytes of a file to the snapshots it asks for.
//!
//! A `.json` file is one snapshot document with its own number; anything else is a `bascule.yaml`, whose
//! environments have no numbers yet. All problems of a file are told at once. It keeps nothing and
//! checks only what the format can say; whether a number may run is the publisher's affair.

use std::fmt::Write as _;
use std::mem;
use std::path::Path;

use edge_engine::wire::SnapshotWire;
use sha2::{Digest, Sha256};

use crate::config::secret::KeySource;
use crate::gateway::scope::Scope;

/// Longest reason that is kept and shown; a file with a thousand problems is not read to its end.
const MAX_REASON: usize = 4096;

/// Stands for a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content([u8; 32]);

/// What a file wants an environment to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Which environment.
    pub scope: Scope,
    /// The snapshot; its number and birth are only true when it is numbered.
    pub wire: SnapshotWire,
    /// Whether the file gave the number.
    pub is_numbered: bool,
}

impl Wanted {
    /// What a document wants.
    pub fn new(wire: SnapshotWire, is_numbered: bool) -> Self {
        Self { scope: Scope::new(wire.app.as_str(), wire.environment.as_str()), wire, is_numbered }
    }

    /// What it asks for, number and birth aside.
    pub fn content(&mut self) -> Content {
        // Put aside and back: a copy of a large snapshot would cost as much as its digest.
        let (number, created_at) = (mem::take(&mut self.wire.number), mem::take(&mut self.wire.created_at));
        // Maps are sorted and there are no floats with two spellings, so equal contents give equal bytes.
        let digest = Sha256::digest(serde_json::to_vec(&self.wire).unwrap_or_default());
        (self.wire.number, self.wire.created_at) = (number, created_at);
        Content(digest.into())
    }
}

/// Reads a file's bytes, or says everything that is wrong with them.
pub fn read(path: &Path, bytes: &[u8], keys: &KeySource) -> Result<Vec<Wanted>, String> {
    if path.extension().is_some_and(|ext| ext.eq_ignore_ascii_case("json")) {
        let wire = edge_engine::parse(bytes).map_err(|problems| lines(&problems))?;
        return Ok(vec![Wanted::new(wire, true)]);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text".to_owned())?;
    let name = path.display().to_string();
    let key = |app: &edge_engine::AppName, environment: &edge_engine::EnvironmentName| {
        keys.key(app.as_str(), environment.as_str())
    };
    let manifests = edge_manifest::review(text, &name, key).map_err(|findings| lines(&findings))?;
    let wanted = manifests.iter().flat_map(|manifest| {
        // The number and the birth are given when it is published.
        manifest.environments().filter_map(|environment| manifest.snapshot(environment, 0, NO_TIME))
    });
    Ok(wanted.map(|wire| Wanted::new(wire, false)).collect())
}

/// A placeholder that parses as a time.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// One line per problem, cut where nobody reads on.
pub fn lines(problems: &[impl std::fmt::Display]) -> String {
    let mut text = String::new();
    for (index, problem) in problems.iter().enumerate() {
        if text.len() > MAX_REASON {
            let _ = write!(text, "\nand {} more", problems.len() - index);
            break;
        }
        let _ = write!(text, "{}{problem}", if index == 0 { "" } else { "\n" });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "app: web
environments:
  staging:
    hosts: [staging.example]
    traffic: {active: blue, slots: {blue: r1}}
  production:
    hosts: [shop.example]
    traffic: {active: blue, slots: {blue: r1}}
releases:
  r1: {version: 1.0.0, upstreams: [{url: \"http://127.0.0.1:7001\"}]}
";

    fn read_as(name: &str, text: &str) -> Result<Vec<Wanted>, String> {
        read(Path::new(name), text.as_bytes(), &KeySource::Derived)
    }

    #[test]
    fn a_manifest_gives_an_unnumbered_snapshot_per_environment() {
        let wanted = read_as("a.yaml", YAML).expect("fine");
        let scopes: Vec<_> = wanted.iter().map(|wanted| (wanted.scope.to_string(), wanted.is_numbered)).collect();
        assert_eq!(scopes, [("web/staging".to_owned(), false), ("web/production".to_owned(), false)]);
    }

    #[test]
    fn a_document_gives_one_numbered_snapshot() {
        let [mut wanted, _] = read_as("a.yaml", YAML).expect("fine").try_into().expect("two");
        let document = SnapshotWire { number: 41, ..wanted.wire.clone() };
        let text = serde_json::to_string(&document).expect("serialises");
        let mut read = read_as("a.JSON", &text).expect("fine");
        assert_eq!((read.len(), read[0].is_numbered, read[0].wire.number), (1, true, 41));
        assert_eq!(read[0].content(), wanted.content());
        let other = SnapshotWire { unit: vec!["cookie:uid".to_owned()], ..wanted.wire };
        assert_ne!(read[0].content(), Wanted::new(other, true).content());
    }

    #[test]
    fn problems_are_told_with_their_place() {
        let reason = read_as("conf/a.yaml", &YAML.replace("active: blue", "active: red")).expect_err("red is no slot");
        assert!(reason.contains("conf/a.yaml:5:"), "{reason}");
        assert!(reason.contains("conf/a.yaml:8:"), "both environments are wrong: {reason}");
        let reason = read_as("a.json", "{\"format\": \"v9\"}").expect_err("no such format");
        assert!(!reason.is_empty());
        assert_eq!(
            read(Path::new("a.yaml"), &[0xff], &KeySource::Derived),
            Err("the file is not UTF-8 text".to_owned())
        );
    }

    #[test]
    fn what_is_wrong_is_cut_where_nobody_reads_on() {
        let many: Vec<_> = (0..10_000).map(|n| format!("problem number {n}")).collect();
        let text = lines(&many);
        assert!(text.len() < MAX_REASON + 100 && text.ends_with("more"), "{}", text.len());
    }
}
