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

/// A step from an object or list into one of its parts.
#[derive(Debug)]
pub(crate) enum Token {
    Field(&'static str),
    Index(usize),
    Key(Box<str>),
}

impl From<&'static str> for Token {
    fn from(name: &'static str) -> Self {
        Self::Field(name)
    }
}

impl From<usize> for Token {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl From<Box<str>> for Token {
    fn from(key: Box<str>) -> Self {
        Self::Key(key)
    }
}

/// Collects problems under a path that grows and shrinks with the walk through the document.
///
/// Most documents have no problem, so the path is kept as tokens and becomes text on demand.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    path: Vec<Token>,
}

impl Problems {
    /// Runs `walk` with one more reference token on the path.
    pub(crate) fn at<R>(&mut self, token: impl Into<Token>, walk: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(token.into());
        let result = walk(self);
        self.path.pop();
        result
    }

    /// Records a problem at the present path.
    #[inline(never)]
    pub(crate) fn add(&mut self, code: &'static str, detail: impl Into<String>) {
        // A poisoned document can be wrong in every line; nobody reads past this many.
        if !self.is_full() {
            self.found.push(Problem { pointer: self.pointer(), code, detail: detail.into() });
        }
    }

    /// Records a problem when `count` exceeds `cap`; says whether it does.
    #[inline(never)]
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

    /// Whether no further problem would be recorded: looking for more is not worth it.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= crate::limits::MAX_PROBLEMS
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for token in &self.path {
            pointer.push('/');
            match token {
                Token::Field(name) => pointer.push_str(name),
                Token::Index(index) => pointer.push_str(&index.to_string()),
                Token::Key(key) => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
            }
        }
        pointer
    }
}
