//! `bascule gateway`: the configuration, the logs, then [`crate::gateway`] until it is told to stop.

use super::exit::{Exit, Failure, Outcome};
use crate::{
    config::{Config, flags::Flags},
    gateway::start,
    lifecycle::Stopped,
    telemetry,
};

const EXAMPLES: &str = "\
Examples:
  bascule gateway --file bascule.yaml
  bascule gateway --admin https://admin.example --token-file edge.token --state-dir /var/lib/bascule
  bascule gateway --file deploy/ --listen 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem
  BASCULE_WORKERS=4 bascule gateway --config /etc/bascule.toml

`bascule doctor` takes the same flags and says what they come to. The first SIGTERM or ctrl-c drains, the
second ends at once.";

/// Arguments of `gateway`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Outcome {
    let config = Config::read(&args.flags.clone().layers())
        .map_err(|error| Failure::new(Exit::Usage, error.to_string().trim_end()).with_help(doctor()))?;
    if config.files.is_empty() && config.follow.is_none() && config.state_dir.is_none() {
        let failure = Failure::new(Exit::Usage, "there is nothing to serve");
        return Err(failure
            .with_help("name a bascule.yaml with --file, or a control plane with --admin".to_owned())
            .into());
    }
    telemetry::init(&config.telemetry)?;
    match start::run(&config)? {
        Stopped::Drained => Ok(Exit::Ok),
        Stopped::Cut => Err(Failure::new(Exit::Timeout, "the grace ended before all requests did").into()),
    }
}

fn doctor() -> String {
    "bascule doctor shows every setting and where it came from".into()
}
