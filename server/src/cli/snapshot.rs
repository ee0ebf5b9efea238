//! `bascule snapshot`: what was published for an environment.

use clap::builder::RangedU64ValueParser;

use super::{
    changes::{self, clean},
    confirm::Consent,
    exit::{Exit, Outcome},
    noun::OfApp,
    output::Paint,
    plane::Session,
    table::Table,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  bascule snapshot list -e production
  bascule snapshot diff 41 42 -e production
  bascule snapshot get 42 -e production > snapshot.json
  bascule snapshot publish 41 -e production --reason \"as it was yesterday\"

Publishing an old snapshot makes a new number with its content, for edges only: the objects of the
app stay as they are, and the next change of them publishes what they say.";

#[derive(Debug, clap::Args)]
pub(super) struct Of {
    /// The environment
    #[arg(long, short, value_name = "NAME")]
    environment: String,
}

/// Verbs of `snapshot`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List snapshots, the newest first.
    List {
        #[command(flatten)]
        of: Of,
        /// At most so many
        #[arg(long, value_name = "N", default_value = "50", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
        limit: usize,
    },
    /// Write a snapshot's document; with --json all that is known of it.
    Get {
        /// Its number
        number: u64,
        #[command(flatten)]
        of: Of,
    },
    /// Show what differs between two snapshots.
    Diff {
        /// One number
        from: u64,
        /// The other
        to: u64,
        #[command(flatten)]
        of: Of,
    },
    /// Publish an old snapshot again, as a new number.
    Publish {
        /// Its number
        number: u64,
        #[command(flatten)]
        of: Of,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        consent: Consent,
    },
}

pub(super) fn run(args: &OfApp<Verb>) -> Outcome {
    args.run(async |session, app, verb| match verb {
        Verb::List { of, limit } => list(session, app, &of.environment, *limit).await,
        Verb::Get { number, of } => {
            let snapshot = session.client.get_snapshot(app, &of.environment, *number).await?;
            let document = serde_json::to_string_pretty(&snapshot.value.document)?;
            session.say(&snapshot.json, || document + "\n")?;
            Ok(Exit::Ok)
        }
        Verb::Diff { from, to, of } => {
            let diff = session.client.diff_snapshots(app, &of.environment, *from, *to).await?;
            session.say(&diff.json, || diff.value.differences.iter().map(changes::difference).collect())?;
            Ok(Exit::Ok)
        }
        Verb::Publish { number, of, reason, consent } => {
            let place = clean(&format!("{app} in {}", of.environment));
            consent.ask(&format!("Publish snapshot {number} of {place} again?"))?;
            let done = session.client.publish_snapshot(app, &of.environment, *number, reason).await?;
            session.say(&done.json, || format!("{place} runs snapshot {number} as {}\n", done.value.number))?;
            Ok(Exit::Ok)
        }
    })
}

async fn list(session: &Session, app: &str, environment: &str, limit: usize) -> Outcome {
    let snapshots = session.client.list_snapshots(app, environment, Some(limit)).await?;
    session.say(&snapshots.json, || {
        let mut table = Table::new(&["NUMBER", "CREATED", "AUDIT", "BYTES", "SHA-256"]);
        for head in &snapshots.value.items {
            let sha256 = head.sha256.chars().take(12).collect();
            let (number, audit, bytes) = (head.number.to_string(), head.audit.to_string(), head.bytes.to_string());
            table.row([number, head.created_at.clone(), audit, bytes, sha256]);
        }
        table.text(Paint::stdout())
    })?;
    Ok(Exit::Ok)
}
