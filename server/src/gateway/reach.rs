//! Which releases of a snapshot an open exchange may stay with.
//!
//! A release that was rolled back, or that routing no longer reaches, loses its open tunnels and
//! streams after the grace. Worked out when a snapshot is prepared, so that a swap only compares.

use edge_engine::{ReleaseIndex, RouteReason, Snapshot};

/// For one release: which exchanges may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// By reason, for exchanges from the time when the release was the candidate.
    candidate: [bool; REASONS],
    /// The same for exchanges from the time when it was active.
    active: [bool; REASONS],
}

const ALL: [RouteReason; 6] = [
    RouteReason::Override,
    RouteReason::Rule,
    RouteReason::Pin,
    RouteReason::Split,
    RouteReason::Active,
    RouteReason::Fallback,
];
const REASONS: usize = ALL.len();

impl Reach {
    pub(super) fn of(snapshot: &Snapshot, release: ReleaseIndex) -> Self {
        let traffic = snapshot.traffic();
        Self {
            candidate: ALL.map(|reason| traffic.still_routes(release, reason, false)),
            active: ALL.map(|reason| traffic.still_routes(release, reason, true)),
        }
    }

    /// Whether an exchange that began like this may stay.
    pub(super) fn keeps(&self, reason: RouteReason, while_active: bool) -> bool {
        let by_reason = if while_active { &self.active } else { &self.candidate };
        by_reason.get(reason as usize).copied().unwrap_or(false)
    }
}
