//! Telling hooks what was decided, and that a rollout has ended. Nobody waits for them, and what they answer moves nothing.

use std::sync::Arc;
use std::time::Duration;

use rollout::Transition;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::Gates;
use super::answers::Said;
use super::ask::send;
use super::subject::Subject;
use crate::integrations::gate::{Hook, HookKind};
use crate::outbound::Outbound;
use crate::service::rollouts::Rollout;

/// How long one waits after each try; the last one is not followed by another.
const TRIES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::ZERO];

impl Gates {
    /// Tells what was just decided.
    pub(in crate::service::rollouts) fn tell(&self, rollout: &Rollout, decided: &[Transition]) {
        let Some(outbound) = self.outbound.as_ref().filter(|_| !decided.is_empty()) else { return };
        let subject = Subject::of(rollout);
        let has_ended = rollout.state.phase.is_end();
        for hook in self.hooks(&subject.app, &subject.environment) {
            let bodies = match hook.kind {
                HookKind::Event => decided.iter().map(|one| subject.to_event_hook(hook, one)).collect(),
                HookKind::PostRollout if has_ended => vec![subject.to_hook(hook)],
                _ => continue,
            };
            let telling = Telling { outbound: outbound.clone(), places: Arc::clone(&self.places), hook: hook.clone() };
            let rollout = subject.rollout;
            tokio::spawn(async move {
                // In the order in which it was decided.
                for body in bodies {
                    telling.tell(rollout, &body).await;
                }
            });
        }
    }
}

struct Telling {
    outbound: Outbound,
    places: Arc<Semaphore>,
    hook: Hook,
}

impl Telling {
    async fn tell(&self, rollout: i64, body: &Value) {
        let mut last = String::new();
        for pause in TRIES {
            let place = self.places.acquire().await;
            let said = send(&self.outbound, &self.hook.webhook, body, self.hook.pace.timeout).await;
            drop(place);
            match said {
                Said::Yes(_) => return,
                Said::No(detail) | Said::Nothing(detail) => last = detail,
            }
            tokio::time::sleep(pause).await;
        }
        tracing::warn!(rollout, hook = self.hook.gate_name(), "a hook could not be told: {last}");
    }
}
