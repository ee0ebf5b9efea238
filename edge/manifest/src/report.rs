//! Collects findings while readers go on: nobody stops at the first problem.

use std::sync::Arc;

use super::finding::{Finding, Position};

/// Beyond this many a list helps nobody, and hostile text could fill the memory with it.
const MAX_FINDINGS: usize = 1_000;

/// All problems of one file.
#[derive(Debug)]
pub(super) struct Report {
    file: Arc<str>,
    findings: Vec<Finding>,
    /// Where one too many goes, so that callers always get something to add help to.
    overflow: Option<Finding>,
}

impl Report {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.into(), findings: Vec::new(), overflow: None }
    }

    /// Adds a problem; the answer can take a suggestion.
    pub(super) fn add(&mut self, at: Position, code: &'static str, detail: String) -> &mut Finding {
        let finding =
            Finding { file: self.file.clone(), line: at.line, column: at.column, code, detail, suggestion: None };
        if self.findings.len() >= MAX_FINDINGS {
            return self.overflow.insert(finding);
        }
        self.findings.push_mut(finding)
    }

    pub(super) fn file(&self) -> &Arc<str> {
        &self.file
    }

    pub(super) fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether something was said about this place already.
    pub(super) fn mentions(&self, at: Position) -> bool {
        self.findings.iter().any(|finding| finding.position() == at)
    }

    /// In the order of the file, each once.
    pub(super) fn into_findings(mut self) -> Vec<Finding> {
        self.findings.sort_by(|a, b| (a.position(), a.code, &a.detail).cmp(&(b.position(), b.code, &b.detail)));
        self.findings.dedup();
        if let Some(overflow) = self.overflow {
            let detail = format!("more than {MAX_FINDINGS} problems; the rest is not listed");
            self.findings.push(Finding { code: "too_many_problems", detail, suggestion: None, ..overflow });
        }
        self.findings
    }
}

impl Finding {
    /// Says what to write instead.
    pub(super) fn help(&mut self, suggestion: String) -> &mut Self {
        self.suggestion = Some(suggestion);
        self
    }
}
