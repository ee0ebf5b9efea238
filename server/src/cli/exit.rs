//! Exit codes, and errors that choose one.

use std::process::ExitCode;

/// How the process ends. The numbers are public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Something that should not happen did.
    Unexpected = 1,
    /// Wrong arguments, or problems in a file.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// Somebody else changed it first.
    Conflict = 4,
    /// A policy forbids it now.
    Refused = 5,
    /// A person has to confirm, and there is no terminal to ask.
    ConfirmationNeeded = 6,
    /// The other side does not answer.
    Unreachable = 7,
    /// The token may not do this.
    NotAuthorised = 8,
    /// The rollout ended by rolling back.
    RolledBack = 10,
    /// The rollout waits for a person.
    Paused = 11,
    /// The time was up.
    Timeout = 12,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What a verb answers.
pub(super) type Outcome = anyhow::Result<Exit>;

/// An error with its exit code and, where there is one, the way out.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    exit: Exit,
    message: String,
    notes: Vec<String>,
    help: Option<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), notes: Vec::new(), help: None }
    }

    #[must_use]
    pub(super) fn with_help(self, help: impl Into<Option<String>>) -> Self {
        Self { help: help.into(), ..self }
    }

    /// Lines below the message.
    #[must_use]
    pub(super) fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }

    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    pub(super) fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}
