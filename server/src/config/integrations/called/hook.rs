//! `[[hook]]`: what every rollout of an app or environment meets.

use admin::integrations::gate::{Hook, HookKind};

use super::super::super::layers::did_you_mean;
use super::entry::Entry;

/// Failed checks that take traffic back, as Flagger's analysis has it in most of its examples.
const THRESHOLD: u64 = 5;

pub(super) fn hook(entry: &mut Entry<'_, '_, '_>) -> Option<Hook> {
    let name = entry.name();
    let (reach, pace) = (entry.reach(), entry.pace());
    let text = entry.needed("kind");
    let kind = text.as_deref().and_then(HookKind::of);
    if let Some(wrong) = text.filter(|_| kind.is_none()) {
        let names = HookKind::ALL.map(HookKind::name);
        let help = did_you_mean(&wrong, names.into_iter());
        entry.problem("kind", format!("must be one of {}{help}", names.join(", ")));
    }
    let threshold = match kind {
        Some(kind) if kind.is_check() => entry.whole("threshold", 1..=1000, THRESHOLD),
        _ => THRESHOLD,
    };
    let webhook = entry.webhook();
    let threshold = u32::try_from(threshold).unwrap_or(u32::MAX);
    entry.is_sound().then_some(Hook { kind: kind?, name: name?, reach, pace, threshold, webhook: webhook? })
}
