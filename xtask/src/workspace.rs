//! Where things are: the workspace's root and its target folder, and what `cargo metadata` says about its packages.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process::{capture, cargo};

/// The workspace: its root, its target folder and its members.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    metadata: Value,
}

/// A target of a member that `cargo test` runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TestTarget {
    /// As the file name of its executable starts: dashes are underscores.
    pub(crate) name: String,
    pub(crate) doctests: bool,
}

impl Workspace {
    /// Asks cargo; `CARGO_TARGET_DIR` and cargo's own configuration count.
    pub(crate) fn load() -> Result<Self> {
        // The variable of the running `cargo run` first: the one compiled in goes stale when a clone is moved.
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().context("xtask has a parent folder")?.to_path_buf();
        let text = capture(cargo().current_dir(&root).args(["metadata", "--format-version=1", "--no-deps"]))?;
        let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
        let target = metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
        Ok(Self { root, target: PathBuf::from(target), metadata })
    }

    /// `cargo` in the workspace's root.
    pub(crate) fn cargo(&self) -> std::process::Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }

    /// A path below the root, for a person to read.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    /// The oldest Rust that may build the workspace.
    pub(crate) fn rust_version(&self) -> Result<&str> {
        let versions = self.packages().filter_map(|package| package["rust_version"].as_str());
        versions.max().context("no member states rust-version")
    }

    /// Everything that `cargo test` has to run, in no particular order.
    pub(crate) fn test_targets(&self) -> Vec<TestTarget> {
        test_targets(self.packages())
    }

    fn packages(&self) -> impl Iterator<Item = &Value> {
        self.metadata["packages"].as_array().into_iter().flatten()
    }
}

fn test_targets<'a>(packages: impl Iterator<Item = &'a Value>) -> Vec<TestTarget> {
    let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    targets
        .filter(|target| target["test"] == true)
        .filter_map(|target| {
            let name = target["name"].as_str()?.replace('-', "_");
            Some(TestTarget { name, doctests: target["doctest"] == true })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{TestTarget, Workspace, test_targets};
    use serde_json::json;

    #[test]
    fn targets_that_cargo_tests_are_listed_under_the_name_of_their_executable() {
        let package = json!({"targets": [
            {"name": "edge-engine", "test": true, "doctest": true},
            {"name": "build-script-build", "test": false, "doctest": false},
            {"name": "it", "test": true, "doctest": false},
        ]});
        let expected = [
            TestTarget { name: "edge_engine".to_owned(), doctests: true },
            TestTarget { name: "it".to_owned(), doctests: false },
        ];
        assert_eq!(test_targets([&package].into_iter()), expected);
    }

    #[test]
    fn the_workspace_finds_itself() {
        let workspace = Workspace::load().unwrap();
        assert!(workspace.root.join("edge/engine/Cargo.toml").is_file());
        assert!(workspace.test_targets().iter().any(|target| target.name == "xtask"));
        assert!(workspace.rust_version().unwrap().starts_with("1."));
    }
}
