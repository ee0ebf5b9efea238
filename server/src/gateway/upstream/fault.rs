//! What can go wrong in an exchange, and what it means for trying again.

use super::super::health::FailureKind;

/// Whose fault, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Cause {
    /// No connection could be made.
    Connect,
    /// One could be made, but not with TLS: the certificate or the handshake.
    Tls,
    /// The connection broke.
    Broken,
    /// What came was not an HTTP response that we may pass on.
    Malformed,
    /// The upstream took too long.
    Timeout,
    /// The client's body broke off or was not well formed.
    ClientBody,
    /// The client's body took too long.
    ClientTimeout,
    /// The release was rolled back and the grace is over.
    RolledBack,
}

/// A failed exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) struct Fault {
    pub(in crate::gateway) cause: Cause,
    /// Bytes of the request were written.
    pub(in crate::gateway) sent: bool,
    /// Bytes of a response were read.
    pub(in crate::gateway) received: bool,
    /// The connection had served before.
    pub(in crate::gateway) reused: bool,
}

impl Fault {
    pub(in crate::gateway) fn unsent(cause: Cause) -> Self {
        Self { cause, sent: false, received: false, reused: false }
    }

    /// How health counts it; `None` when the upstream is not to blame.
    pub(in crate::gateway) fn kind(self) -> Option<FailureKind> {
        match self.cause {
            Cause::Connect | Cause::Tls => Some(FailureKind::Connect),
            // An idle connection that the upstream closes as we use it again says nothing about it.
            Cause::Broken if self.reused && !self.received => None,
            Cause::Broken | Cause::Malformed => Some(FailureKind::Transport),
            Cause::Timeout => Some(FailureKind::Timeout),
            Cause::ClientBody | Cause::ClientTimeout | Cause::RolledBack => None,
        }
    }

    /// Whether another connection to the same release may be tried: the pooled connection was dead
    /// before any response, and the upstream cannot have acted on the request, or acting twice
    /// is the same as once.
    pub(in crate::gateway) fn may_retry(self, is_repeatable: bool) -> bool {
        self.cause == Cause::Broken && self.reused && !self.received && (is_repeatable || !self.sent)
    }

    /// Whether the request certainly never reached the upstream.
    pub(in crate::gateway) fn never_sent(self) -> bool {
        matches!(self.cause, Cause::Connect | Cause::Tls) || (self.cause == Cause::Broken && !self.sent)
    }
}
