//! `bascule rollout preview`: links that show a candidate.

use admin_api::rollouts::PreviewRequest;

use super::super::{
    changes::clean,
    exit::{Exit, Outcome},
    plane::Session,
};

/// One link on each line of stdout; what they are good for on stderr.
pub(super) async fn run(session: &Session, app: &str, environment: &str, request: &PreviewRequest) -> Outcome {
    let links = session.client.preview_rollout(app, environment, request).await?;
    let (release, until) = (clean(&links.value.release), clean(&links.value.expires_at));
    eprintln!("{release} until {until}, for whoever has the link");
    session
        .say(&links.json, || links.value.links.iter().flat_map(|link| [clean(&link.url), "\n".to_owned()]).collect())?;
    Ok(Exit::Ok)
}
