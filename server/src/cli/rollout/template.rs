//! `bascule rollout template`: what an environment asks of whoever rolls out there.

use std::path::PathBuf;

use admin_api::objects::Named;

use super::super::flag::deleted;
use super::super::{
    changes::clean,
    confirm::Consent,
    exit::{Exit, Outcome},
    output::Paint,
    plane::{Session, Write, found, object_in, without_meta},
    table::Table,
};
use super::Place;

/// Verbs of `rollout template`.
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Verb {
    /// List the environment's own templates.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Show a template.
    Get {
        /// The template
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Make a template, or replace it.
    Set {
        /// The template
        name: String,
        #[command(flatten)]
        place: Place,
        /// The template as JSON (docs/rollouts.md); or - for stdin
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// Only if this is still its revision
        #[arg(long, value_name = "N")]
        revision: Option<i64>,
        #[command(flatten)]
        write: Write,
    },
    /// Delete a template.
    Delete {
        /// The template
        name: String,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        write: Write,
        #[command(flatten)]
        consent: Consent,
    },
}

pub(super) async fn run(session: &Session, app: &str, verb: &Verb) -> Outcome {
    let client = &session.client;
    match verb {
        Verb::List { place } => list(session, app, &place.environment).await,
        Verb::Get { name, place } => {
            let template = client.get_rollout_template(app, &place.environment, name).await?;
            session.say(&template.json, || {
                serde_json::to_string_pretty(&without_meta(&template.json)).unwrap_or_default() + "\n"
            })?;
            Ok(Exit::Ok)
        }
        Verb::Set { name, place, file, revision, write } => {
            let read = found(client.get_rollout_template(app, &place.environment, name).await)?;
            let seen = revision.or(read.map(|read| read.value.meta.revision));
            let body = without_meta(&object_in(file)?);
            let done = client.put_rollout_template(app, &place.environment, name, &body, write.seen(seen)).await?;
            session.say_changed(&done.json, write, || format!("{name} is set\n"))
        }
        Verb::Delete { name, place, write, consent } => {
            let known = client.get_rollout_template(app, &place.environment, name).await?;
            if !write.dry_run {
                consent.ask(&format!("Delete the template {name} of {app} in {}?", place.environment))?;
            }
            let change = write.seen(Some(known.value.meta.revision));
            let answer = client.delete_rollout_template(app, &place.environment, name, change).await?;
            deleted(session, &answer.body, name, write)
        }
    }
}

async fn list(session: &Session, app: &str, environment: &str) -> Outcome {
    let templates = session.client.list_rollout_templates(app, environment).await?;
    session.say(&templates.json, || {
        let mut table = Table::new(&["TEMPLATE", "STEPS", "APPROVERS", "REVISION"]);
        for Named { key, body, meta } in &templates.value.items {
            let steps = body.steps.iter().flatten().map(|step| {
                let approval = if step.approval == Some(true) { " (approval)" } else { "" };
                format!("{} %{approval}", step.weight)
            });
            let approvers = body.approvers.clone().unwrap_or_default().join(", ");
            table.row([
                key.clone(),
                steps.collect::<Vec<_>>().join(", "),
                clean(&approvers),
                meta.revision.to_string(),
            ]);
        }
        table.text(Paint::stdout())
    })?;
    Ok(Exit::Ok)
}
