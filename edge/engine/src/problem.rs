//! What is wrong with a snapshot, where, and under which stable code.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// JSON pointer (RFC 6901) into the snapshot document; empty for the whole.
    pub pointer: String,
    /// Stable code, part of the public API.
    pub code: &'static str,
    /// What is wrong and what to do, one sentence.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", if self.pointer.is_empty() { "/" } else { &self.pointer }, self.detail, self.code)
    }
}

/// Collects problems under a path that grows and shrinks with the walk through the document.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    path: String,
}

impl Problems {
    /// Runs `walk` with one more reference token on the path.
    pub(crate) fn at<R>(&mut self, token: impl fmt::Display, walk: impl FnOnce(&mut Self) -> R) -> R {
        let outer = self.path.len();
        self.path.push('/');
        let token = token.to_string();
        self.path.push_str(&token.replace('~', "~0").replace('/', "~1"));
        let result = walk(self);
        self.path.truncate(outer);
        result
    }

    /// Records a problem at the present path.
    pub(crate) fn add(&mut self, code: &'static str, detail: impl Into<String>) {
        // A poisoned document can be wrong in every line; nobody reads past this many.
        if self.found.len() < crate::limits::MAX_PROBLEMS {
            self.found.push(Problem { pointer: self.path.clone(), code, detail: detail.into() });
        }
    }

    /// Records a problem when `count` exceeds `cap`; says whether it does.
    pub(crate) fn over(&mut self, what: &str, count: usize, cap: usize) -> bool {
        let over = count > cap;
        if over {
            self.add("limit_exceeded", format!("{count} {what}, at most {cap} are allowed"));
        }
        over
    }

    /// The problems, or the value when there are none.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<Problem>> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(self.found),
        }
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}
