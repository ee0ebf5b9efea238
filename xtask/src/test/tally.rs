//! Counting what `cargo test` reports.

use crate::workspace::TestTarget;

/// What was counted so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    /// Ignored, filtered out, or benchmarks that were only measured: what ought to be a test and was not run as one.
    skipped: u64,
    results: usize,
    /// The executables cargo started, without the hash at the end of their names.
    binaries: Vec<String>,
    /// The libraries whose documentation was tested.
    doctests: Vec<String>,
}

const RESULT: &str = "test result: ";
const RUNNING: &str = "     Running ";
const DOCTESTS: &str = "   Doc-tests ";

impl Tally {
    /// Whether a line could count. A test's own output can look the same; then the results do not match the binaries,
    /// or more tests are counted than there are, and neither turns a failure into a success.
    pub(super) fn reads(line: &str) -> bool {
        [RESULT, RUNNING, DOCTESTS].iter().any(|start| line.starts_with(start))
    }

    pub(super) fn read(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix(RESULT) {
            self.results += 1;
            self.passed += count(result, "passed");
            self.failed += count(result, "failed");
            self.skipped += count(result, "ignored") + count(result, "measured") + count(result, "filtered out");
        } else if let Some(run) = line.strip_prefix(RUNNING) {
            self.binaries.push(binary(run).to_owned());
        } else if let Some(library) = line.strip_prefix(DOCTESTS) {
            self.doctests.push(library.to_owned());
        }
    }

    /// Everything that is wrong besides failed tests, one sentence each.
    pub(super) fn complaints(&self, expected: &[TestTarget]) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.skipped > 0 {
            complaints.push(format!("{} tests were ignored or filtered out; every test has to run", self.skipped));
        }
        for target in expected {
            if !self.binaries.contains(&target.name) {
                complaints.push(format!("the tests of target `{}` did not run", target.name));
            }
            if target.doctests && !self.doctests.contains(&target.name) {
                complaints.push(format!("the documentation tests of `{}` did not run", target.name));
            }
        }
        let runs = self.binaries.len() + self.doctests.len();
        if self.results != runs {
            complaints.push(format!("{runs} test binaries were started and {} gave a result", self.results));
        }
        complaints
    }
}

/// The number before a word in `ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s`.
fn count(result: &str, word: &str) -> u64 {
    let part = result.split(['.', ';']).map(str::trim).find_map(|part| part.strip_suffix(word));
    part.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// `it` in `it/main.rs (target/debug/deps/it-0123456789abcdef)`.
fn binary(run: &str) -> &str {
    let path = run.rsplit_once('(').map_or(run, |(_, path)| path).trim_end_matches(')');
    let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
    file.rsplit_once('-').map_or(file, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::Tally;
    use crate::workspace::TestTarget;

    const IT: &str = "     Running it/main.rs (target/debug/deps/it-0123456789abcdef)";
    const GOOD: &str = "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s";

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines.iter().filter(|line| Tally::reads(line)) {
            tally.read(line);
        }
        tally
    }

    fn target(name: &str, doctests: bool) -> TestTarget {
        TestTarget { name: name.to_owned(), doctests }
    }

    #[track_caller]
    fn complains(lines: &[&str], expected: &[TestTarget], about: &str) {
        let complaints = tally(lines).complaints(expected);
        assert!(complaints.iter().any(|complaint| complaint.contains(about)), "{complaints:?}");
    }

    #[test]
    fn a_whole_run_adds_up_and_raises_no_complaint() {
        let unit = "     Running unittests src/lib.rs (target/debug/deps/edge_engine-0123456789abcdef)";
        let bad = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let tally = tally(&[unit, "running 12 tests", GOOD, IT, bad, "   Doc-tests edge_engine", GOOD]);
        assert_eq!((tally.passed, tally.failed), (27, 2));
        assert_eq!(tally.complaints(&[target("edge_engine", true), target("it", false)]), Vec::<String>::new());
    }

    #[test]
    fn ignored_and_filtered_tests_are_complaints() {
        let ignored = "test result: ok. 1 passed; 0 failed; 3 ignored; 0 measured; 1 filtered out; finished in 0.00s";
        complains(&[IT, ignored], &[target("it", false)], "4 tests were ignored");
    }

    #[test]
    fn a_target_that_did_not_run_is_a_complaint() {
        complains(&[IT, GOOD], &[target("it", false), target("server", false)], "`server` did not run");
        complains(&[IT, GOOD], &[target("it", true)], "documentation tests of `it`");
    }

    #[test]
    fn a_binary_that_died_without_a_result_is_a_complaint() {
        complains(&[IT, "running 3 tests"], &[target("it", false)], "1 test binaries were started and 0 gave a result");
    }
}
