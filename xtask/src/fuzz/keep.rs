//! From the thousands of inputs that were found to the few that are committed.
//!
//! Owns the choice: what reaches most new code for its size goes first, and what is in the corpus stays, since a file may
//! be there for a reason that coverage does not show. How often code is reached does not count.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};

use super::build::Binaries;
use super::{Folders, Target};
use crate::process::{run_as_talk, say};

/// Files and bytes of a corpus. `tests/it/corpus.rs` takes 60 and 200 KiB: the rest is room for inputs that broke a
/// claim and are kept by hand.
const MAX_FILES: usize = 48;
const MAX_BYTES: u64 = 144 << 10;
/// What a file costs beside its bytes: its place. Files of this size use up places and bytes at the same pace.
const FILE_COST: u64 = MAX_BYTES / MAX_FILES as u64;

/// Adds to the committed corpus.
pub(super) fn keep(binaries: &Binaries, target: &Target, folders: &Folders) -> Result<()> {
    let inputs = measure(binaries, target, folders)?;
    let (committed, found): (Vec<Input>, Vec<Input>) =
        inputs.into_iter().partition(|input| input.path.starts_with(&folders.committed));
    let chosen = choose(&committed, found);
    for input in &chosen {
        let name = input.path.file_name().context("an input is a file")?;
        fs::copy(&input.path, folders.committed.join(name))?;
    }
    say(format_args!("fuzz: {} inputs were added to {}", chosen.len(), folders.committed.display()));
    Ok(())
}

struct Input {
    path: PathBuf,
    size: u64,
    /// Edges of the control flow, and one number for the depth of the stack.
    edges: Vec<u32>,
}

/// Has libFuzzer run all inputs and write down what each of them reaches.
fn measure(binaries: &Binaries, target: &Target, folders: &Folders) -> Result<Vec<Input>> {
    let merged = folders.log.with_extension("merged");
    let control = folders.log.with_extension("merge");
    // libFuzzer would go on with what an earlier merge left.
    for old in [&merged, &control] {
        if old.is_dir() {
            fs::remove_dir_all(old)?;
        } else if old.exists() {
            fs::remove_file(old)?;
        }
    }
    fs::create_dir(&merged)?;
    let mut binary = binaries.command(target);
    binary.args(["-set_cover_merge=1", "-use_counters=0", "-timeout=10"]).arg(format!("-max_len={}", target.max_len));
    binary.arg(format!("-merge_control_file={}", control.display()));
    binary.args([&merged, &folders.committed, &folders.found]).stderr(Stdio::null());
    run_as_talk(&mut binary)?;
    let text = fs::read_to_string(&control).with_context(|| format!("cannot read {}", control.display()))?;
    inputs(&text, |path| Ok(fs::metadata(path)?.len()))
}

/// Reads libFuzzer's control file: the number of files, that of the first folder's, a path on each line, and then
/// `FT INDEX EDGE …` for each.
fn inputs(control: &str, size: impl Fn(&Path) -> Result<u64>) -> Result<Vec<Input>> {
    let mut lines = control.lines();
    let count = lines.next().and_then(|line| line.parse::<usize>().ok()).context("a merge starts with a number")?;
    let paths: Vec<PathBuf> = lines.by_ref().skip(1).take(count).map(PathBuf::from).collect();
    let mut edges: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for line in lines {
        let Some(numbers) = line.strip_prefix("FT ") else { continue };
        let mut numbers = numbers.split_whitespace().filter_map(|number| number.parse::<u32>().ok());
        if let Some(index) = numbers.next() {
            edges.insert(usize::try_from(index)?, numbers.collect());
        }
    }
    let input = |(index, path): (usize, PathBuf)| {
        let size = size(&path)?;
        Ok(Input { path, size, edges: edges.remove(&index).unwrap_or_default() })
    };
    paths.into_iter().enumerate().map(input).collect()
}

/// The inputs to add, the most worthwhile first.
fn choose(committed: &[Input], mut found: Vec<Input>) -> Vec<Input> {
    let mut covered: HashSet<u32> = committed.iter().flat_map(|input| &input.edges).copied().collect();
    let mut bytes: u64 = committed.iter().map(|input| input.size).sum();
    let mut chosen = Vec::new();
    while committed.len() + chosen.len() < MAX_FILES {
        found.retain_mut(|input| {
            input.edges.retain(|edge| !covered.contains(edge));
            !input.edges.is_empty() && bytes + input.size <= MAX_BYTES
        });
        let worth = |input: &Input| (input.edges.len() as u64 * MAX_BYTES) / (input.size + FILE_COST);
        let Some(best) = (0..found.len()).max_by_key(|index| found.get(*index).map(worth)) else { break };
        let best = found.swap_remove(best);
        covered.extend(&best.edges);
        bytes += best.size;
        chosen.push(best);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::{Input, MAX_BYTES, MAX_FILES, choose, inputs};
    use std::path::PathBuf;

    fn input(name: &str, size: u64, edges: impl IntoIterator<Item = u32>) -> Input {
        Input { path: PathBuf::from(name), size, edges: edges.into_iter().collect() }
    }

    fn chosen(committed: &[Input], found: Vec<Input>) -> Vec<String> {
        choose(committed, found).iter().map(|input| input.path.display().to_string()).collect()
    }

    #[test]
    fn what_reaches_most_for_its_size_goes_first_and_what_reaches_nothing_new_stays_out() {
        let committed = [input("old", 10, [1, 2])];
        let found = vec![input("same", 1, [1, 2]), input("some", 10, [2, 3]), input("most", 10, [3, 4, 5])];
        assert_eq!(chosen(&committed, found), ["most"]);
        let found = vec![input("small", 10, [1, 2]), input("large", 100_000, [1, 2, 3])];
        assert_eq!(chosen(&[], found), ["small", "large"]);
    }

    #[test]
    fn a_corpus_grows_to_its_limits_and_no_further() {
        let many = (0..100).map(|edge| input(&edge.to_string(), 1, [edge])).collect();
        assert_eq!(chosen(&[], many).len(), MAX_FILES);
        assert_eq!(chosen(&[], vec![input("large", MAX_BYTES + 1, [1])]), Vec::<String>::new());
    }

    #[test]
    fn a_merge_is_read_as_libfuzzer_writes_it() {
        let control = "2\n0\na/x\nb/y\nSTARTED 0 5\nFT 0 9 8\nCOV 0 1 2 3\nSTARTED 1 7\nFT 1 3\nCOV 1\n";
        let inputs = inputs(control, |_| Ok(5)).unwrap();
        let read: Vec<_> = inputs.iter().map(|input| (input.path.to_str().unwrap(), input.edges.len())).collect();
        assert_eq!(read, [("a/x", 2), ("b/y", 1)]);
    }
}
