//! `bascule apply`: the control plane's apps become what files say.

use std::path::PathBuf;

use admin_api::{
    answers::Outcome as Changed,
    client::{Apply, Reply},
};

use super::{
    changes, check,
    confirm::Consent,
    exit::{Exit, Outcome},
    output::Paint,
    plane::{Connection, Session, Write, explain},
    target,
};

const EXAMPLES: &str = "\
Examples:
  bascule apply bascule.yaml
  bascule apply deploy/ --prune --yes --reason \"release 1.5.0\"
  bascule apply bascule.yaml --dry-run --json | jq '.changes[].object'

What would change is shown first. Where traffic moves or something is deleted, a person is asked,
or --yes is needed: exit code 6 without either. What a file does not mention stays, unless
--prune. The same file again changes nothing and ends with 0. With several files, each is one step
of its own. A release that was rolled back does not come back because a file still has it in a
slot: exit code 5, unless --allow-rolled-back.";

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// bascule.yaml files, folders of them, or - for stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Also delete what a file does not mention
    #[arg(long)]
    prune: bool,
    /// Also bring back releases that were rolled back
    #[arg(long)]
    allow_rolled_back: bool,
    #[command(flatten)]
    write: Write,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> Outcome {
    let sources = read(&args.files)?;
    let how = Apply { prune: args.prune, allow_rolled_back: args.allow_rolled_back };
    args.connection.run(async |session| {
        let mut planned = Vec::new();
        for source in &sources {
            planned.push(plan(session, source, how).await?);
        }
        show(session, &sources, &planned, args.write.dry_run)?;
        if args.write.dry_run {
            return Ok(Exit::Ok);
        }
        if planned.iter().any(|plan| changes::is_grave(&plan.value)) {
            args.consent.ask("Traffic moves or something is deleted. Apply this?")?;
        }
        for (source, plan) in sources.iter().zip(&planned) {
            // JSON has the answer of the change itself, also when it is empty.
            if plan.value.changes.is_empty() && !session.json {
                continue;
            }
            let change = args.write.seen(None);
            let applied = session.client.apply(source.text.clone(), how, change).await;
            let applied = applied.map_err(|error| explain(error, Some(&source.name)))?;
            session.say(&applied.json, || changes::summary(&applied.value))?;
        }
        Ok(Exit::Ok)
    })
}

/// A file that was read.
pub(super) struct Source {
    pub(super) name: String,
    text: String,
}

/// Reads all files before anything is sent.
pub(super) fn read(files: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let read = |path: PathBuf| Ok(Source { name: path.display().to_string(), text: target::read(&path)? });
    check::expand(files)?.into_iter().map(read).collect()
}

/// What a file would change.
pub(super) async fn plan(session: &Session, source: &Source, how: Apply) -> anyhow::Result<Reply<Changed>> {
    let write = Write { dry_run: true, reason: None };
    let planned = session.client.apply(source.text.clone(), how, write.seen(None)).await;
    Ok(planned.map_err(|error| explain(error, Some(&source.name)))?)
}

/// Shows what files would change; in JSON only if that is all that is wanted.
pub(super) fn show(
    session: &Session,
    sources: &[Source],
    planned: &[Reply<Changed>],
    all: bool,
) -> std::io::Result<()> {
    if session.json && !all {
        return Ok(());
    }
    for (source, plan) in sources.iter().zip(planned) {
        if sources.len() > 1 && !session.json {
            println!("{}", Paint::stdout().strong(&format!("{}:", source.name)));
        }
        session.say(&plan.json, || changes::text(&plan.value, Paint::stdout()))?;
    }
    Ok(())
}
