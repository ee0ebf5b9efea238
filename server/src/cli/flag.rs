//! `bascule flag`: flags, and who gets which variant in an environment.

mod define;
mod show;
mod target;

use admin_api::answers::CopyRequest;

pub(super) use define::deleted;

use super::{
    changes,
    confirm::Consent,
    exit::{Exit, Outcome},
    noun::OfApp,
    output::Paint,
    plane::{Session, Write},
};

pub(super) const EXAMPLES: &str = "\
Examples:
  bascule flag list -e production
  bascule flag create new-checkout --client-visible
  bascule flag set new-checkout -e production --split on=10,off=90 --reason \"first tenth\"
  bascule flag disable new-checkout -e production
  bascule flag copy new-checkout -e production --from staging --dry-run

A change is made for the revision that was read: when somebody else was faster, nothing is changed
and the exit code is 4. --revision names the revision that a script has seen.";

/// Verbs of `flag`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List flags, or what they serve in an environment.
    List {
        /// What they serve there
        #[arg(long, short, value_name = "NAME")]
        environment: Option<String>,
        /// Archived flags instead
        #[arg(long, conflicts_with = "environment")]
        archived: bool,
    },
    /// Show a flag, or its targeting in an environment.
    Get {
        /// The flag
        key: String,
        /// Its targeting there
        #[arg(long, short, value_name = "NAME")]
        environment: Option<String>,
    },
    /// Make a flag; it is off everywhere.
    Create(define::Create),
    /// Set what a flag serves to whom no rule matches.
    Set(target::Set),
    /// Switch a flag on in an environment.
    Enable(target::Switch),
    /// Switch a flag off in an environment: the off variant for everybody.
    Disable(target::Switch),
    /// Say that nobody should use a flag any more; it is still decided where it is enabled.
    Archive(define::Archive),
    /// Delete a flag that no environment serves any more.
    Delete {
        /// The flag
        key: String,
        #[command(flatten)]
        write: Write,
        #[command(flatten)]
        consent: Consent,
    },
    /// Copy a flag's targeting from another environment.
    Copy {
        /// The flag
        key: String,
        /// Where to
        #[arg(long, short, value_name = "NAME")]
        environment: String,
        /// Where from; by default the environment that this one promotes from
        #[arg(long, value_name = "NAME")]
        from: Option<String>,
        #[command(flatten)]
        write: Write,
    },
    /// List flags that could go.
    Stale {
        /// For so many days the same for everybody, or never evaluated
        #[arg(long, value_name = "N", default_value_t = 30)]
        days: u32,
    },
}

pub(super) fn run(args: &OfApp<Verb>) -> Outcome {
    args.run(async |session, app, verb| match verb {
        Verb::List { environment: Some(environment), .. } => show::targetings(session, app, environment).await,
        Verb::List { environment: None, archived } => show::flags(session, app, *archived).await,
        Verb::Get { key, environment: None } => show::flag(session, app, key).await,
        Verb::Get { key, environment: Some(environment) } => show::targeting(session, app, environment, key).await,
        Verb::Create(create) => define::create(session, app, create).await,
        Verb::Set(set) => target::set(session, app, set).await,
        Verb::Enable(switch) => target::switch(session, app, switch, true).await,
        Verb::Disable(switch) => target::switch(session, app, switch, false).await,
        Verb::Archive(archive) => define::archive(session, app, archive).await,
        Verb::Delete { key, write, consent } => define::delete(session, app, key, write, consent).await,
        Verb::Copy { key, environment, from, write } => {
            let request = CopyRequest { from: from.clone(), reason: write.reason.clone() };
            copy(session, app, environment, key, &request, write.dry_run).await
        }
        Verb::Stale { days } => show::stale(session, app, *days).await,
    })
}

async fn copy(
    session: &Session,
    app: &str,
    environment: &str,
    key: &str,
    request: &CopyRequest,
    dry_run: bool,
) -> Outcome {
    let copied = session.client.copy_targeting(app, environment, key, request, dry_run).await?;
    session.say(&copied.json, || changes::text(&copied.value, Paint::stdout()))?;
    Ok(Exit::Ok)
}
