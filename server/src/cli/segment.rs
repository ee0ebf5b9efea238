//! `bascule segment`: named conditions, the same in every environment.

use std::path::PathBuf;

use admin_api::objects::Named;
use serde_json::{Value, json};

use super::{
    changes::clean,
    confirm::Consent,
    exit::{Exit, Outcome},
    flag::deleted,
    noun::OfApp,
    output::Paint,
    plane::{Session, Write, found, object, object_in, without_meta},
    table::Table,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  bascule segment list
  bascule segment set staff --when '{\"attr\": \"email\", \"op\": \"endsWith\", \"values\": [\"@shop.example\"]}'
  bascule segment get staff --json | bascule segment set team --file -
  bascule segment delete staff --yes

A segment that something still refers to is not deleted.";

/// Verbs of `segment`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List segments.
    List,
    /// Show a segment.
    Get {
        /// The segment
        key: String,
    },
    /// Make a segment, or replace its condition.
    Set(Set),
    /// Delete a segment.
    Delete {
        /// The segment
        key: String,
        #[command(flatten)]
        write: Write,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["when", "file"]))]
pub(super) struct Set {
    /// The segment
    key: String,
    /// The condition as JSON
    #[arg(long, value_name = "JSON")]
    when: Option<String>,
    /// For people
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    description: Option<String>,
    /// The whole segment as JSON; or - for stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only if this is still its revision
    #[arg(long, value_name = "N")]
    revision: Option<i64>,
    #[command(flatten)]
    write: Write,
}

pub(super) fn run(args: &OfApp<Verb>) -> Outcome {
    args.run(async |session, app, verb| match verb {
        Verb::List => list(session, app).await,
        Verb::Get { key } => {
            let segment = session.client.get_segment(app, key).await?;
            session.say(&segment.json, || line(key, &segment.json))?;
            Ok(Exit::Ok)
        }
        Verb::Set(set) => change(session, app, set).await,
        Verb::Delete { key, write, consent } => {
            let found = session.client.get_segment(app, key).await?;
            if !write.dry_run {
                consent.ask(&format!("Delete the segment {key} of {app}?"))?;
            }
            let change = write.seen(Some(found.value.meta.revision));
            let answer = session.client.delete_segment(app, key, change).await?;
            deleted(session, &answer.body, key, write)
        }
    })
}

async fn list(session: &Session, app: &str) -> Outcome {
    let segments = session.client.list_segments(app).await?;
    session.say(&segments.json, || {
        let mut table = Table::new(&["KEY", "DESCRIPTION", "WHEN"]);
        for Named { key, body, .. } in &segments.value.items {
            let when = serde_json::to_string(&body.when).unwrap_or_default();
            table.row([key.clone(), body.description.clone().unwrap_or_default(), when]);
        }
        table.text(Paint::stdout())
    })?;
    Ok(Exit::Ok)
}

async fn change(session: &Session, app: &str, set: &Set) -> Outcome {
    let read = found(session.client.get_segment(app, &set.key).await)?;
    let before = read.as_ref().map(|read| without_meta(&read.json));
    let after = match (&set.file, &set.when) {
        (Some(path), _) => without_meta(&object_in(path)?),
        (None, when) => {
            let mut body = before.clone().unwrap_or_else(|| json!({}));
            body["when"] = object(when.as_deref().unwrap_or_default(), "--when")?;
            if let Some(description) = &set.description {
                body["description"] = description.as_str().into();
            }
            body
        }
    };
    if let (Some(read), None, false) = (&read, set.revision, set.write.dry_run)
        && before.as_ref() == Some(&after)
    {
        return session.say_same(&read.json);
    }
    let seen = set.revision.or(read.map(|read| read.value.meta.revision));
    let done = session.client.put_segment(app, &set.key, &after, set.write.seen(seen)).await?;
    session.say_changed(&done.json, &set.write, || line(&set.key, &done.json))
}

fn line(key: &str, json: &Value) -> String {
    format!("{}\n", clean(&format!("{key}, revision {}: {}", json["revision"], json["when"])))
}
