//! Waiting for the end of a rollout, and telling what is decided on the way.

use std::time::{Duration, Instant};

use admin_api::rollouts::Rollout;

use super::super::{
    changes::clean,
    exit::{Exit, Failure, Outcome},
    plane::Session,
};
use super::show;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Tells the decisions on stderr as they come, and at the end the status on stdout.
pub(super) async fn run(session: &Session, app: &str, environment: &str, within: Duration) -> Outcome {
    let began = Instant::now();
    let mut told = None;
    loop {
        let reply = session.client.get_rollout(app, environment, None).await?;
        let rollout = &reply.value;
        let first = rollout.transitions.last().map_or(0, |last| last.number);
        let known = *told.get_or_insert(first - 1);
        for transition in rollout.transitions.iter().filter(|transition| transition.number > known) {
            eprintln!("{}  {}", clean(&transition.at), show::sentence(transition));
        }
        told = Some(first);
        if let Some(exit) = end(rollout) {
            session.say(&reply.json, || show::status(rollout))?;
            return Ok(exit);
        }
        if began.elapsed() >= within {
            session.say(&reply.json, || show::status(rollout))?;
            let message = format!("rollout {} is still {}", rollout.head.id, clean(&rollout.head.state));
            return Err(Failure::new(Exit::Timeout, message).into());
        }
        tokio::time::sleep(LOOK.min(within.saturating_sub(began.elapsed()))).await;
    }
}

/// What a state is to whoever waits; `None` = wait on.
fn end(rollout: &Rollout) -> Option<Exit> {
    match rollout.head.state.as_str() {
        "keepingWarm" | "promoted" => Some(Exit::Ok),
        "rolledBack" | "aborted" | "superseded" | "failed" => Some(Exit::RolledBack),
        "previewing" | "waitingForApproval" | "paused" | "held" => Some(Exit::Paused),
        _ => None,
    }
}
