//! The package of the fuzz targets as far as it can be judged without building it: building it takes a C++ compiler and
//! a minute, and clippy sees its claims as part of the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::process::{capture, run_as_talk};
use crate::workspace::Workspace;

const MANIFEST: &str = "tests/fuzz/Cargo.toml";
const LOCKS: [&str; 2] = ["tests/fuzz/Cargo.lock", "Cargo.lock"];

pub(super) fn check(workspace: &Workspace) -> Result<()> {
    run_as_talk(workspace.cargo().args(["fmt", "--check", "--manifest-path", MANIFEST]))?;
    let advice = || {
        let [fuzz, ours] = LOCKS;
        format!("to repair it: cp {ours} {fuzz} && cargo metadata --manifest-path {MANIFEST} >/dev/null")
    };
    let mut cargo = workspace.cargo();
    capture(cargo.args(["metadata", "--locked", "--format-version=1", "--manifest-path", MANIFEST]))
        .with_context(advice)?;
    let [fuzz, ours] = LOCKS.map(|lock| fs::read_to_string(workspace.root.join(lock)).map(|text| versions(&text)));
    same_versions(&fuzz?, &ours?).with_context(advice)
}

type Versions = BTreeMap<String, BTreeSet<String>>;

/// The packages of a lock file. Cargo writes a name and a version for each, in this order.
fn versions(lock: &str) -> Versions {
    let mut found = Versions::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| package.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix('"'));
        if let Some((name, version)) = field("name = \"").zip(field("version = \"")) {
            found.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    found
}

/// What is fuzzed has to be what is released.
fn same_versions(fuzz: &Versions, ours: &Versions) -> Result<()> {
    let other = fuzz.iter().filter(|(name, versions)| ours.get(*name).is_some_and(|ours| !versions.is_subset(ours)));
    let other: Vec<&str> = other.map(|(name, _)| name.as_str()).collect();
    if other.is_empty() {
        Ok(())
    } else {
        bail!("{} and {} have other versions of {}", LOCKS[0], LOCKS[1], other.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::{same_versions, versions};

    const OURS: &str = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\ndependencies = [\n \"b 1.0.0\",\n]\n\n\
        [[package]]\nname = \"b\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"b\"\nversion = \"2.0.0\"\n";

    #[test]
    fn a_package_at_another_version_is_named_and_one_that_is_only_fuzzed_is_not() {
        let ours = versions(OURS);
        assert_eq!(ours["b"].len(), 2);
        let fuzz = OURS.replace("name = \"a\"", "name = \"libfuzzer\"").replace("2.0.0", "1.0.0");
        same_versions(&versions(&fuzz), &ours).unwrap();
        let error = same_versions(&versions(&OURS.replace("2.0.0", "2.0.1")), &ours).unwrap_err();
        assert!(error.to_string().ends_with("other versions of b"), "{error}");
    }
}
