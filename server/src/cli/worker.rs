//! `bascule worker`: what only Cloudflare Workers need.

use clap::builder::RangedU64ValueParser;

use super::{
    exit::{Exit, Outcome},
    noun::OfApp,
};
use admin_api::answers::PanicOverrideRequest;

pub(super) const EXAMPLES: &str = "\
Examples:
  bascule worker override -e production | wrangler secret put PANIC_OVERRIDE
  bascule worker override -e production --release web-1.4.1 --before 43 --reason \"object is down\"
  wrangler secret delete PANIC_OVERRIDE

You need an override when traffic must go back and no snapshot can be pushed: `bascule rollback`
ends with 12, and `bascule edges` says that the Worker is unreachable. Roll back first; the
override then says what the rollback says, to isolates with a snapshot from before it.";

const OVERRIDE_HELP: &str = "\
You need it when traffic must go back and no snapshot can be pushed to the Worker. Stdout gets the
text alone, for the secret PANIC_OVERRIDE. An isolate whose snapshot has a number below --before
sends everything to the release; from that number on the snapshot decides, so the override rests
by itself. Take it away when convenient: wrangler secret delete PANIC_OVERRIDE

The control plane signs it and notes it in the audit; nothing else changes there.";

/// Verbs of `worker`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Sign what sends everything to one release while nothing can be pushed to a Worker.
    #[command(after_help = OVERRIDE_HELP)]
    Override {
        /// The environment
        #[arg(long, short, value_name = "NAME")]
        environment: String,
        /// The release that is to serve; by default the active one of the newest snapshot
        #[arg(long, value_name = "RELEASE")]
        release: Option<String>,
        /// It rests from this snapshot's number on; by default the newest one's if that says the same, as
        /// after a rollback, else the next one's
        #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
        before: Option<u64>,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

pub(super) fn run(args: &OfApp<Verb>) -> Outcome {
    args.run(async |session, app, verb| match verb {
        Verb::Override { environment, release, before, reason } => {
            let request = PanicOverrideRequest { release: release.clone(), before: *before, reason: reason.clone() };
            let signed = session.client.sign_panic_override(app, environment, &request).await?;
            session.say(&signed.json, || format!("{}\n", signed.value.text))?;
            Ok(Exit::Ok)
        }
    })
}
