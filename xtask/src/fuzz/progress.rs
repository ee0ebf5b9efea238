//! What libFuzzer says about itself, line by line.

use std::fmt;
use std::path::PathBuf;

/// The last known state of a run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) runs: u64,
    pub(super) rate: u64,
    /// Edges of the control flow that were taken.
    pub(super) edges: u64,
    /// Inputs that each reach something the others do not.
    pub(super) inputs: u64,
    /// Where the bytes are that broke a claim.
    pub(super) broke: Option<PathBuf>,
}

impl Progress {
    pub(super) fn read(&mut self, line: &str) {
        if let Some(status) = line.strip_prefix('#') {
            self.status(status);
        } else if let Some(runs) = line.strip_prefix("stat::number_of_executed_units:") {
            self.runs = runs.trim().parse().unwrap_or(self.runs);
        } else if let Some(rate) = line.strip_prefix("stat::average_exec_per_sec:") {
            self.rate = rate.trim().parse().unwrap_or(self.rate);
        } else if let Some((_, path)) = line.split_once("Test unit written to ") {
            let path = PathBuf::from(path.trim());
            // A slow input is reported in the same words and breaks nothing.
            let slow = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("slow-unit-"));
            self.broke = if slow { self.broke.take() } else { Some(path) };
        }
    }

    /// `8192 NEW    cov: 1021 ft: 2042 corp: 12/345b lim: 67 exec/s: 4096 rss: 55Mb …`
    fn status(&mut self, status: &str) {
        let mut words = status.split_whitespace();
        self.runs = words.next().and_then(|runs| runs.parse().ok()).unwrap_or(self.runs);
        while let Some(name) = words.next() {
            let field = match name {
                "cov:" => &mut self.edges,
                "corp:" => &mut self.inputs,
                "exec/s:" => &mut self.rate,
                _ => continue,
            };
            let number = words.next().and_then(|value| value.split('/').next()?.parse().ok());
            *field = number.unwrap_or(*field);
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, rate, edges, inputs, .. } = self;
        write!(f, "{runs} runs, {rate}/s, {edges} edges, {inputs} inputs")
    }
}

/// Whether a line belongs to what a person has to read after a failure: the broken claim or the sanitizer's verdict,
/// not the bytes in four notations and the frames of libFuzzer.
pub(super) fn is_reason(line: &str, before: Option<&str>) -> bool {
    let panicked = |line: &str| line.contains("panicked at ");
    panicked(line)
        || before.is_some_and(panicked)
        || line.contains("ERROR: libFuzzer:")
        || ["  left: ", " right: "].iter().any(|side| line.starts_with(side))
}

#[cfg(test)]
mod tests {
    use super::{Progress, is_reason};
    use std::path::Path;

    fn after(lines: &[&str]) -> Progress {
        let mut progress = Progress::default();
        for line in lines {
            progress.read(line);
        }
        progress
    }

    #[test]
    fn the_last_status_and_the_statistics_count() {
        let progress = after(&[
            "INFO: Loaded 1 modules   (38856 inline 8-bit counters)",
            "#2\tINITED cov: 10 ft: 12 corp: 1/1b exec/s: 0 rss: 28Mb",
            "#8192\tREDUCE cov: 1021 ft: 2042 corp: 12/345b lim: 67 exec/s: 4096 rss: 55Mb L: 3/9 MS: 1 CrossOver-",
        ]);
        assert_eq!(progress.to_string(), "8192 runs, 4096/s, 1021 edges, 12 inputs");
        let mut progress = progress;
        progress.read("stat::number_of_executed_units: 9000");
        progress.read("stat::average_exec_per_sec:     4500");
        assert_eq!(progress.to_string(), "9000 runs, 4500/s, 1021 edges, 12 inputs");
    }

    #[test]
    fn broken_claims_have_bytes_and_slow_inputs_do_not_count() {
        let written = |name: &str| format!("artifact_prefix='f/'; Test unit written to f/{name}");
        assert_eq!(after(&[&written("slow-unit-1")]).broke, None);
        let progress = after(&[&written("crash-2"), &written("slow-unit-1")]);
        assert_eq!(progress.broke.as_deref(), Some(Path::new("f/crash-2")));
    }

    #[test]
    fn the_reason_is_the_panic_with_its_message() {
        let panic = "thread '<unnamed>' (7) panicked at targets/abi.rs:30:5:";
        assert!(is_reason(panic, None));
        assert!(is_reason("assertion `left == right` failed: one request, two decisions", Some(panic)));
        assert!(is_reason("==7== ERROR: libFuzzer: timeout after 10 seconds", None));
        assert!(!is_reason("0x1,0x0,0x4,", Some("#2\tNEW")));
    }
}
