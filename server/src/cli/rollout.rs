//! `bascule rollout`: a release takes over step by step, by evidence, and people decide what machines may not.

mod preview;
mod show;
mod template;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use admin_api::rollouts::{PreviewRequest, PromoteRollout, RolloutAction, StartRollout};

use super::{
    confirm::Consent,
    exit::{Exit, Outcome},
    noun::OfApp,
    plane::{AppName, Connection, Session, duration, object_in},
};

pub(super) const EXAMPLES: &str = "\
Examples:
  bascule rollout plan web-1.5.0 -e production --template careful
  bascule rollout start web-1.5.0 -e production && bascule rollout status -e production --watch
  bascule rollout preview -e production --for 2h
  bascule rollout promote -e production --reason \"looked at it\"
  bascule rollout abort -e production --reason \"not today\" --yes
  bascule rollout template set careful -e production --file careful.json

Status --watch ends with 0 when the candidate is promoted, 10 when traffic was taken back, 11 when a
person has to decide, and 12 when the time is up. A refusal by a policy (an approval, a freeze) is 5.";

/// Verbs of `rollout`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Show what a rollout would do, step by step; nothing is started.
    Plan(Start),
    /// Start a rollout.
    Start(Start),
    /// Show where the newest rollout is and why, or wait for its end.
    Status {
        #[command(flatten)]
        place: Place,
        /// Say what is decided until the rollout has ended or needs a person
        #[arg(long)]
        watch: bool,
        /// With --watch: how long, at most
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
        within: Duration,
    },
    /// Show a rollout with its evidence and everything that was decided.
    Get {
        /// Its id; by default the newest
        id: Option<u64>,
        #[command(flatten)]
        place: Place,
        /// As status --watch
        #[arg(short, long, conflicts_with = "id")]
        watch: bool,
    },
    /// List rollouts, newest first.
    List {
        #[command(flatten)]
        place: Place,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Keep the weight until somebody resumes.
    Pause(Decision),
    /// Let a paused or held rollout begin its step anew.
    Resume(Decision),
    /// Approve the step that waits for it.
    Approve(Decision),
    /// Print links that show the candidate to whoever has them, whatever its weight is.
    Preview {
        #[command(flatten)]
        place: Place,
        /// How long they are good, at most 24h
        #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = duration)]
        good_for: Duration,
        /// The page
        #[arg(long, value_name = "PATH", default_value = "/")]
        path: String,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Approve, or go one place further without waiting for hold and evidence.
    Promote {
        #[command(flatten)]
        decision: Decision,
        /// To 100 % at once
        #[arg(long)]
        full: bool,
    },
    /// Take all traffic back; nothing is said of the release.
    Abort(Decision),
    /// Start the newest rollout anew after its traffic was taken back.
    Retry(Decision),
    /// The templates that an environment has of its own; rollouts there keep to them.
    #[command(subcommand)]
    Template(template::Verb),
}

/// Where.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The environment
    #[arg(long, short, value_name = "NAME")]
    environment: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct Start {
    /// The candidate, a registered release
    release: String,
    #[command(flatten)]
    place: Place,
    /// How: a template of the environment, or canary, blue-green, careful
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    template: Option<String>,
    /// How, as JSON in own words (docs/rollouts.md); or - for stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The machine rolled this release back twice, and it may be tried again all the same
    #[arg(long, requires = "reason")]
    accept_quarantine: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Decision {
    #[command(flatten)]
    place: Place,
    /// Why, for the audit and for whoever reads the rollout
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    consent: Consent,
}

const APPROVE_EXAMPLES: &str = "\
Examples:
  bascule approve -e production --reason \"looked at the numbers\"

Approves the step that waits for it, and nothing else: 4 when nothing waits, or when whoever started
the rollout would approve it.";

/// Arguments of `approve`.
#[derive(Debug, clap::Args)]
#[command(after_help = APPROVE_EXAMPLES)]
pub(super) struct Approve {
    #[command(flatten)]
    decision: Decision,
    #[command(flatten)]
    app: AppName,
    #[command(flatten)]
    connection: Connection,
}

/// `bascule approve`: what many do with a rollout, and nothing else.
pub(super) fn approve(args: &Approve) -> Outcome {
    args.connection.run(async |session| {
        let app = session.app(&args.app).await?;
        decide(session, &app, &args.decision, "approve").await
    })
}

pub(super) fn run(args: &OfApp<Verb>) -> Outcome {
    args.run(async |session, app, verb| match verb {
        Verb::Plan(start) => begin(session, app, start, true).await,
        Verb::Start(start) => begin(session, app, start, false).await,
        Verb::Status { place, watch: true, within } => watch::run(session, app, &place.environment, *within).await,
        Verb::Status { place, .. } => {
            let rollout = session.client.get_rollout(app, &place.environment, None).await?;
            session.say(&rollout.json, || show::status(&rollout.value))?;
            Ok(Exit::Ok)
        }
        Verb::Get { place, watch: true, .. } => watch::run(session, app, &place.environment, Duration::MAX).await,
        Verb::Get { place, id, .. } => {
            let rollout = session.client.get_rollout(app, &place.environment, *id).await?;
            session.say(&rollout.json, || show::whole(&rollout.value))?;
            Ok(Exit::Ok)
        }
        Verb::List { place, limit } => {
            let rollouts = session.client.list_rollouts(app, &place.environment, Some(*limit)).await?;
            session.say(&rollouts.json, || show::list(&rollouts.value.items))?;
            Ok(Exit::Ok)
        }
        Verb::Pause(decision) => decide(session, app, decision, "pause").await,
        Verb::Resume(decision) => decide(session, app, decision, "resume").await,
        Verb::Approve(decision) => decide(session, app, decision, "approve").await,
        Verb::Preview { place, good_for, path, reason } => {
            let seconds = u32::try_from(good_for.as_secs()).unwrap_or(u32::MAX);
            let request = PreviewRequest { seconds: Some(seconds), path: Some(path.clone()), reason: reason.clone() };
            preview::run(session, app, &place.environment, &request).await
        }
        Verb::Promote { decision, full } => promote(session, app, decision, *full).await,
        Verb::Abort(decision) => {
            let environment = &decision.place.environment;
            decision.consent.ask(&format!("Take the candidate's traffic back in {environment} of {app}?"))?;
            decide(session, app, decision, "abort").await
        }
        Verb::Retry(decision) => decide(session, app, decision, "retry").await,
        Verb::Template(verb) => template::run(session, app, verb).await,
    })
}

async fn begin(session: &Session, app: &str, start: &Start, dry_run: bool) -> Outcome {
    let request = StartRollout {
        release: start.release.clone(),
        template: start.template.clone(),
        plan: start.file.as_deref().map(object_in).transpose()?,
        reason: start.reason.clone(),
        accept_quarantine: start.accept_quarantine,
    };
    let started = session.client.start_rollout(app, &start.place.environment, &request, dry_run).await?;
    let show = if dry_run { show::plan } else { show::status };
    session.say(&started.json, || show(&started.value))?;
    Ok(Exit::Ok)
}

async fn decide(session: &Session, app: &str, decision: &Decision, verb: &str) -> Outcome {
    let action = RolloutAction { reason: decision.reason.clone() };
    let done = session.client.act_on_rollout(app, &decision.place.environment, verb, &action).await?;
    session.say(&done.json, || show::status(&done.value))?;
    Ok(Exit::Ok)
}

async fn promote(session: &Session, app: &str, decision: &Decision, full: bool) -> Outcome {
    let environment = &decision.place.environment;
    if full {
        decision.consent.ask(&format!("Give the candidate 100 % in {environment} of {app} now?"))?;
    }
    let action = PromoteRollout { full, reason: decision.reason.clone() };
    let done = session.client.act_on_rollout(app, environment, "promote", &action).await?;
    session.say(&done.json, || show::status(&done.value))?;
    Ok(Exit::Ok)
}
