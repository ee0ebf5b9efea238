//! Colour, where somebody is looking and did not forbid it.

use std::io::IsTerminal;

/// Wraps words in colours, or does not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    colour: bool,
}

impl Paint {
    /// For text on stderr.
    pub(crate) fn stderr() -> Self {
        Self { colour: std::io::stderr().is_terminal() && wanted() }
    }

    /// For text on stdout.
    pub(crate) fn stdout() -> Self {
        Self { colour: std::io::stdout().is_terminal() && wanted() }
    }

    /// Never in colour.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { colour: false }
    }

    pub(crate) fn error(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.wrap("1;33", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.wrap("1;32", text)
    }

    pub(crate) fn help(self, text: &str) -> String {
        self.wrap("1;36", text)
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub(crate) fn wrap(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// <https://no-color.org>: any value that is not empty says no; so does a terminal that cannot.
fn wanted() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
