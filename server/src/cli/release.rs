//! `bascule release`: registered once, never changed.

use std::path::PathBuf;

use admin_api::objects::Named;
use serde_json::{Map, Value, json};

use super::{
    changes::clean,
    exit::{Exit, Outcome},
    noun::OfApp,
    output::Paint,
    plane::{Session, Write, object_in, without_meta},
    table::Table,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  bascule release list
  bascule release create web-1.5.0 --version 1.5.0 --upstream http://10.0.0.2:8080
  bascule release create web-1.5.0 --file release.json

The same release again is no mistake; another content under its id is: exit code 4.";

/// Verbs of `release`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List releases.
    List,
    /// Show a release.
    Get {
        /// The release
        id: String,
    },
    /// Register a release.
    #[command(disable_version_flag = true)]
    Create(Create),
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// Its id, e.g. web-1.5.0
    id: String,
    /// Its version, as people know it
    #[arg(long, value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    version: Option<String>,
    /// Where it runs, and in which region
    #[arg(long = "upstream", value_name = "URL[,REGION]", required_unless_present = "file", conflicts_with = "file")]
    upstreams: Vec<String>,
    /// Its source revision
    #[arg(long, value_name = "HASH", conflicts_with = "file")]
    commit: Option<String>,
    /// For people
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    description: Option<String>,
    /// Where the written rollback plan is
    #[arg(long, value_name = "PLACE", conflicts_with = "file")]
    rollback_plan: Option<String>,
    /// The whole release as JSON; or - for stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    write: Write,
}

pub(super) fn run(args: &OfApp<Verb>) -> Outcome {
    args.run(async |session, app, verb| match verb {
        Verb::List => list(session, app).await,
        Verb::Get { id } => {
            let release = session.client.get_release(app, id).await?;
            session.say(&release.json, || {
                let pretty = serde_json::to_string_pretty(&without_meta(&release.json)).unwrap_or_default();
                format!("{id} since {}\n{pretty}\n", clean(&release.value.meta.created_at))
            })?;
            Ok(Exit::Ok)
        }
        Verb::Create(create) => register(session, app, create).await,
    })
}

async fn list(session: &Session, app: &str) -> Outcome {
    let releases = session.client.list_releases(app).await?;
    session.say(&releases.json, || {
        let mut table = Table::new(&["ID", "VERSION", "SINCE", "ROLLBACK PLAN", "UPSTREAMS"]);
        for Named { key, body, meta } in &releases.value.items {
            let upstreams = body.upstreams.iter().map(|upstream| upstream.url.as_str()).collect::<Vec<_>>().join(", ");
            let plan = body.rollback_plan.clone().unwrap_or_default();
            table.row([key.clone(), body.version.clone(), meta.created_at.clone(), plan, upstreams]);
        }
        table.text(Paint::stdout())
    })?;
    Ok(Exit::Ok)
}

async fn register(session: &Session, app: &str, create: &Create) -> Outcome {
    let mut release = match &create.file {
        Some(path) => without_meta(&object_in(path)?),
        None => Value::Object(body(create)),
    };
    release["id"] = create.id.as_str().into();
    let done = session.client.create_release(app, &release, create.write.seen(None)).await?;
    // A release that is there already is answered as it is, also in a dry run.
    if done.status.as_u16() == 200 && done.json.get("changes").is_none() {
        return session.say_same(&done.json);
    }
    session.say_changed(&done.json, &create.write, || format!("registered {}\n", create.id))
}

fn body(create: &Create) -> Map<String, Value> {
    let upstream = |text: &String| match text.rsplit_once(',') {
        Some((url, region)) => json!({"url": url, "region": region}),
        None => json!({"url": text}),
    };
    let mut release = Map::new();
    release.insert("upstreams".to_owned(), create.upstreams.iter().map(upstream).collect());
    let texts = [
        ("version", &create.version),
        ("commit", &create.commit),
        ("description", &create.description),
        ("rollbackPlan", &create.rollback_plan),
    ];
    for (name, text) in texts {
        release.extend(text.as_deref().map(|text| (name.to_owned(), text.into())));
    }
    release
}
