//! The task that drives rollouts, in one process of all on the store.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::ids;
use crate::service::rollouts::drive::{Driver, Looked};
use crate::service::{Control, ServiceError};
use crate::store::Leadership;

/// Between two looks when nobody says that there is something to see: what other processes wrote, and deadlines.
const LOOK: Duration = Duration::from_secs(1);
/// While traffic is being taken back, edges are asked more often.
const HURRY: Duration = Duration::from_millis(100);
/// Between two looks at least: the reports of many edges are counted together.
const PAUSE: Duration = Duration::from_millis(500);

/// Drives until `stop`.
pub(super) async fn drive(control: &Control, stop: &CancellationToken) {
    let mut lead = None;
    let mut driver = Driver::default();
    loop {
        let looked = look(control, &mut lead, &mut driver).await;
        let pace = match looked {
            Ok(Looked { taking_back: 1.., .. }) => HURRY,
            Ok(_) => LOOK,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "rollouts cannot be driven now");
                LOOK
            }
        };
        let woken = async {
            sleep(PAUSE.min(pace)).await;
            let _ = timeout(pace.saturating_sub(PAUSE), control.wake.notified()).await;
        };
        if stop.run_until_cancelled(woken).await.is_none() {
            break;
        }
    }
    if let Some(lead) = lead {
        lead.end().await;
    }
}

async fn look(control: &Control, lead: &mut Option<Leadership>, driver: &mut Driver) -> Result<Looked, ServiceError> {
    if let Some(held) = lead
        && !held.is_held().await
    {
        *lead = None;
    }
    if lead.is_none() {
        *lead = control.store.lead().await?;
        if lead.is_some() {
            *driver = Driver::default();
            control.gates.forget();
        }
    }
    if lead.is_none() {
        return Ok(Looked::default());
    }
    control.drive_rollouts(driver, ids::now_ms()).await
}
