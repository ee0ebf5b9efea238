//! `bascule verdict calibration`: how often the verdict was wrong on an environment's own traffic.

use admin_api::calibration::{Calibration, CalibrationLevel};

use super::super::exit::{Exit, Outcome};
use super::super::plane::{AppName, Connection};
use super::super::{output::Paint, table::Table};

const EXAMPLES: &str = "\
Examples:
  bascule verdict calibration -e production
  bascule verdict calibration -e production --json | jq .requestsAreUnsafe";

/// Arguments of `verdict calibration`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The environment
    #[arg(long, short, value_name = "NAME")]
    environment: String,
    #[command(flatten)]
    app: AppName,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> Outcome {
    args.connection.run(async |session| {
        let app = session.app(&args.app).await?;
        let known = session.client.get_calibration(&app, &args.environment).await?;
        session.say(&known.json, || text(&known.value))?;
        Ok(Exit::Ok)
    })
}

fn text(known: &Calibration) -> String {
    let mut table = Table::new(&["LEVEL", "ROLLOUTS", "FALSE ALARMS", "RATE"]);
    for (name, CalibrationLevel { epochs, alarms, rate }) in [("units", known.units), ("requests", known.requests)] {
        let rate = format!("{} to {}", percent(rate.low), percent(rate.high));
        table.row([name.to_owned(), epochs.to_string(), alarms.to_string(), rate]);
    }
    let promised = percent(known.alpha);
    let sentence = if known.requests_are_unsafe {
        format!("promised are {promised}: requests depend on each other here, so rollouts are judged by units\n")
    } else {
        format!("promised are {promised}\n")
    };
    table.text(Paint::stdout()) + &sentence
}

fn percent(share: f64) -> String {
    // Rounded, and without zeros that say nothing.
    format!("{} %", (share * 10_000.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use admin_api::calibration::CalibrationRate;

    use super::*;

    #[test]
    fn a_level_that_alarms_too_often_is_named() {
        let level = |epochs, alarms, low, high| {
            let rate = CalibrationRate { low, high };
            CalibrationLevel { epochs, alarms, rate }
        };
        let mut known = Calibration {
            alpha: 0.01,
            units: level(40, 0, 0.0, 0.142_36),
            requests: level(40, 9, 0.087, 0.41),
            requests_are_unsafe: true,
        };
        let shown = text(&known);
        assert!(shown.contains("units     40        0             0 % to 14.24 %\n"), "{shown}");
        assert!(
            shown.ends_with("promised are 1 %: requests depend on each other here, so rollouts are judged by units\n")
        );
        known.requests_are_unsafe = false;
        assert!(text(&known).ends_with("promised are 1 %\n"));
    }
}
