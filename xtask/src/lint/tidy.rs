//! Rules of this repository that no other tool checks.
//!
//! Each rule is a function over one file. Invariant: what is checked is what git knows, so build output and local
//! notes are never looked at.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{capture, say};
use crate::workspace::Workspace;

/// Past this a file has more than one subject.
const MAX_LINES: usize = 600;

pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let mut findings = Vec::new();
    for file in files(workspace)? {
        // Fuzzing corpora and the like are not text, and a file deleted but not yet committed is none.
        if let Ok(text) = std::fs::read_to_string(workspace.root.join(&file)) {
            findings.extend(findings_in(&file, &text));
        }
    }
    for finding in &findings {
        say(finding);
    }
    if findings.is_empty() { Ok(()) } else { bail!("{} findings", findings.len()) }
}

/// Tracked files, and new ones that are not ignored.
fn files(workspace: &Workspace) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(&workspace.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let list = capture(&mut git)?;
    Ok(list.split_terminator('\0').map(str::to_owned).collect())
}

fn findings_in(file: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let is_rust = Path::new(file).extension().is_some_and(|extension| extension == "rs");
    if is_rust {
        let lines = text.lines().count();
        if lines > MAX_LINES {
            findings.push(format!("{file}: {lines} lines; at most {MAX_LINES}, split it by subject"));
        }
        if file.ends_with("/mod.rs") {
            findings.push(format!("{file}: a module is `name.rs` beside `name/`, never mod.rs"));
        }
    }
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(why) = forbidden(line, is_rust) {
            findings.push(format!("{file}:{number}: {why}"));
        }
    }
    findings
}

/// The needles are put together here, so that this file does not contain them.
fn forbidden(line: &str, is_rust: bool) -> Option<&'static str> {
    let has = |parts: [&str; 2]| line.contains(&parts.concat());
    let marker = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].into_iter().any(|parts| has_word(line, &parts.concat()));
    if marker {
        return Some("unfinished work belongs into an issue, not into a file");
    }
    if [["/ho", "me/"], ["/ro", "ot/"], ["/Use", "rs/"]].into_iter().any(has) {
        return Some("a path into somebody's home folder");
    }
    if is_rust && has(["#[ig", "nore"]) {
        return Some("a test that does not run is no test");
    }
    if is_rust && (has(["to", "do!("]) || has(["unimple", "mented!("])) {
        return Some("a stub");
    }
    None
}

/// Whether a word stands alone: an identifier or a base64 text may contain its letters.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::{MAX_LINES, findings_in, forbidden, has_word};

    #[test]
    fn markers_stubs_skipped_tests_and_home_paths_are_found() {
        for parts in [["// TO", "DO: x"], ["// FIX", "ME"], ["#[ig", "nore]"], ["to", "do!()"], ["\"/ho", "me/ann/x\""]]
        {
            assert!(forbidden(&parts.concat(), true).is_some(), "{parts:?}");
        }
        assert_eq!(forbidden("let method = unfinished_methods(home);", true), None);
    }

    #[test]
    fn a_marker_inside_a_longer_word_is_none() {
        assert!(has_word("a MARK: b", "MARK"));
        assert!(!has_word("REMARKS and MARK_1", "MARK"));
    }

    #[test]
    fn long_files_and_mod_rs_are_found_with_their_name() {
        let long = "\n".repeat(MAX_LINES + 1);
        assert_eq!(findings_in("server/src/lib.rs", &long).len(), 1);
        assert_eq!(findings_in("docs/long.md", &long), Vec::<String>::new());
        assert!(findings_in("server/src/gateway/mod.rs", "").first().unwrap().contains("mod.rs"));
    }
}
