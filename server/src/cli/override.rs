//! `bascule override`: a signed token that takes one tester to a slot for a while.

use std::io::Write;

use anyhow::Context as _;
use clap::ValueEnum;
use edge_engine::{Slot, wire::OverrideWire};
use serde_json::json;

use super::{
    exit::{Exit, Failure, Outcome},
    target::Target,
};

const EXAMPLES: &str = "\
Examples:
  bascule override --file bascule.yaml -e production --slot green --ttl 8h
  curl -H \"x-bascule-override: $(bascule override -f bascule.yaml -e production --slot green)\" https://shop.example/

The environment says under traffic.override which header, cookie or query parameter it looks at.
BASCULE_BUCKETING_KEY must be the gateway's.";

/// A month; a tester who needs longer asks again.
const MAX_SECONDS: i64 = 31 * 24 * 3600;

/// Arguments of `override`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// The slot that serves whoever shows the token
    #[arg(long)]
    slot: SlotName,
    /// How long the token is good: a number with s, m, h or d, at most 31d
    #[arg(long, default_value = "1h", value_parser = seconds)]
    ttl: i64,
    /// A JSON object with the token, its expiry and where to put it
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SlotName {
    Blue,
    Green,
}

pub(super) fn run(args: &Args) -> Outcome {
    let found = args.target.find()?;
    let snapshot = edge_engine::check(found.wire.clone(), &found.key).map_err(|problems| found.explain(&problems))?;
    let Some(sources) = &found.wire.traffic.r#override else {
        let message = format!("{} takes no overrides in {}", snapshot.app(), snapshot.environment());
        let help = "add traffic.override, for example {header: x-bascule-override}".to_owned();
        return Err(Failure::new(Exit::Usage, message).with_help(help).into());
    };
    let slot = match args.slot {
        SlotName::Blue => Slot::Blue,
        SlotName::Green => Slot::Green,
    };
    if snapshot.traffic().release(slot).is_none() {
        return Err(Failure::new(Exit::NotFound, format!("the slot {slot} holds no release")).into());
    }
    let expires = super::now_ms() / 1000 + args.ttl;
    let token = snapshot.override_token(slot, expires);
    let until = edge_engine::format_rfc3339(expires * 1000);
    let mut stdout = std::io::stdout().lock();
    if args.json {
        let answer = json!({
            "token": token, "app": snapshot.app(), "environment": snapshot.environment(), "slot": slot,
            "expiresAt": until, "header": sources.header, "cookie": sources.cookie, "query": sources.query,
        });
        writeln!(stdout, "{answer}")?;
    } else {
        eprintln!("{slot} until {until}, {}", places(sources).context("the file was checked")?);
        writeln!(stdout, "{token}")?;
    }
    Ok(Exit::Ok)
}

/// Where the token goes, in words.
fn places(sources: &OverrideWire) -> Option<String> {
    let named = [("header", &sources.header), ("cookie", &sources.cookie), ("query parameter", &sources.query)];
    let named = named.iter().filter_map(|(what, name)| Some(format!("{what} {}", name.as_ref()?)));
    named.reduce(|all, next| format!("{all} or {next}")).map(|places| format!("as {places}"))
}

fn seconds(text: &str) -> Result<i64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.get(digits.len()..) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 24 * 3600,
        _ => return Err("write a number with s, m, h or d, for example 8h".into()),
    };
    let number: i64 = digits.parse().map_err(|_| "write a whole number before the unit, for example 8h")?;
    match number.checked_mul(factor) {
        Some(seconds @ 1..=MAX_SECONDS) => Ok(seconds),
        _ => Err("between 1s and 31d".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(seconds(text).ok(), expected, "{text}");
    }

    #[test]
    fn a_time_to_live_has_a_unit_and_an_end() {
        check("90s", Some(90));
        check("8h", Some(28_800));
        check("31d", Some(MAX_SECONDS));
        for wrong in ["", "8", "h", "0s", "-1h", "32d", "1w", "1.5h", "9223372036854775807d"] {
            check(wrong, None);
        }
    }
}
