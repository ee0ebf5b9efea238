//! `bascule diff`: what `apply` would change.

use std::path::PathBuf;

use admin_api::client::Apply;

use super::{
    apply,
    exit::{Exit, Outcome},
    plane::Connection,
};

const EXAMPLES: &str = "\
Examples:
  bascule diff bascule.yaml
  bascule diff bascule.yaml --prune --exit-code || echo \"somebody changed something\"

Exit code 0, also when something differs, as with git diff. With --exit-code it is then 1, as with
kubectl diff; whatever goes wrong has another code.";

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// bascule.yaml files, folders of them, or - for stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Also what --prune would delete
    #[arg(long)]
    prune: bool,
    /// End with 1 when something differs
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> Outcome {
    let sources = apply::read(&args.files)?;
    // Looking brings nothing back.
    let how = Apply { prune: args.prune, allow_rolled_back: true };
    args.connection.run(async |session| {
        let mut planned = Vec::new();
        for source in &sources {
            planned.push(apply::plan(session, source, how).await?);
        }
        apply::show(session, &sources, &planned, true)?;
        let differs = planned.iter().any(|plan| !plan.value.changes.is_empty());
        // The number that users of git and kubectl know.
        Ok(if differs && args.exit_code { Exit::Unexpected } else { Exit::Ok })
    })
}
