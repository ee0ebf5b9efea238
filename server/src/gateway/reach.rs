//! Which releases of a snapshot a request can still be routed to.
//!
//! A release that was rolled back, or that routing no longer reaches, must lose its open tunnels
//! and streams after the grace; this decides which those are.

use edge_engine::{ReleaseIndex, Slot, Snapshot};

/// The routing of a snapshot, reduced to what can be reached.
#[derive(Debug)]
pub(super) struct Reach {
    pub(super) active: Slot,
    pub(super) active_release: ReleaseIndex,
    candidate: Option<ReleaseIndex>,
}

impl Reach {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let traffic = snapshot.traffic();
        let position = |slot: Slot| {
            let id = match slot {
                Slot::Blue => traffic.slots.blue.as_ref(),
                Slot::Green => traffic.slots.green.as_ref(),
            }?;
            let at = snapshot.releases().iter().position(|release| release.id == *id)?;
            u16::try_from(at).ok().map(ReleaseIndex)
        };
        let is_reached = traffic.candidate_weight > 0
            || traffic.regions.values().any(|region| region.candidate_weight > 0)
            || traffic.rules.iter().any(|rule| rule.slot != traffic.active)
            || traffic.r#override.is_some()
            || traffic.pin.is_some();
        Self {
            active: traffic.active,
            active_release: position(traffic.active).unwrap_or(ReleaseIndex(0)),
            candidate: position(traffic.active.other()).filter(|_| is_reached).filter(|index| {
                let id = snapshot.releases().get(usize::from(index.0)).map(|release| &release.id);
                !traffic.rolled_back.iter().any(|rolled_back| Some(rolled_back) == id)
            }),
        }
    }

    pub(super) fn reaches(&self, release: ReleaseIndex) -> bool {
        release == self.active_release || self.candidate == Some(release)
    }
}
