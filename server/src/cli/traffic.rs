//! `bascule traffic`: which release serves whom in an environment.

use std::path::PathBuf;

use admin_api::{
    answers::Outcome as Changed,
    objects::{Named, Slot, TrafficBody},
};
use clap::ValueEnum;
use serde_json::{Map, Number, Value, json};

use super::{
    changes::{self, clean},
    confirm::Consent,
    exit::{Exit, Outcome},
    noun::OfApp,
    output::Paint,
    plane::{Session, Write, found, object_in, without_meta},
};

pub(super) const EXAMPLES: &str = "\
Examples:
  bascule traffic get -e production
  bascule traffic set -e production --green web-1.5.0 --weight 5 --reason \"canary\"
  bascule traffic set -e production --active green --weight 0 --yes
  bascule traffic set -e production --no-green --weight 0 --yes

What would change is shown first, and a person is asked; --yes is needed without a terminal. To
take traffic back, bascule rollback is one step and waits for every edge.";

/// Verbs of `traffic`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Show slots, weights and rules.
    Get {
        /// The environment
        #[arg(long, short, value_name = "NAME")]
        environment: String,
    },
    /// Change slots and weights.
    Set(Set),
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true)
    .args(["active", "blue", "green", "no_blue", "no_green", "weight", "file"]))]
pub(super) struct Set {
    /// The environment
    #[arg(long, short, value_name = "NAME")]
    environment: String,
    /// The slot that serves
    #[arg(long, value_name = "SLOT", conflicts_with = "file")]
    active: Option<SlotName>,
    /// The release in the blue slot
    #[arg(long, value_name = "RELEASE", conflicts_with_all = ["file", "no_blue"])]
    blue: Option<String>,
    /// The release in the green slot
    #[arg(long, value_name = "RELEASE", conflicts_with_all = ["file", "no_green"])]
    green: Option<String>,
    /// Empty the blue slot
    #[arg(long, conflicts_with = "file")]
    no_blue: bool,
    /// Empty the green slot
    #[arg(long, conflicts_with = "file")]
    no_green: bool,
    /// Percentage of the units that the other slot takes
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "file")]
    weight: Option<Number>,
    /// The whole traffic as JSON; or - for stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only if this is still its revision
    #[arg(long, value_name = "N")]
    revision: Option<i64>,
    #[command(flatten)]
    write: Write,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SlotName {
    Blue,
    Green,
}

fn percent(text: &str) -> Result<Number, String> {
    let number = text.parse::<Number>().ok();
    let is_percent = |number: &Number| number.as_f64().is_some_and(|number| (0.0..=100.0).contains(&number));
    number.filter(is_percent).ok_or_else(|| "a percentage is a number from 0 to 100".to_owned())
}

pub(super) fn run(args: &OfApp<Verb>) -> Outcome {
    args.run(async |session, app, verb| match verb {
        Verb::Get { environment } => {
            let traffic = session.client.get_traffic(app, environment).await?;
            session.say(&traffic.json, || text(app, environment, &traffic.value))?;
            Ok(Exit::Ok)
        }
        Verb::Set(set) => change(session, app, set).await,
    })
}

async fn change(session: &Session, app: &str, set: &Set) -> Outcome {
    let read = found(session.client.get_traffic(app, &set.environment).await)?;
    let before = read.as_ref().map(|read| without_meta(&read.json));
    let after = match &set.file {
        Some(path) => without_meta(&object_in(path)?),
        None => edited(before.as_ref(), set),
    };
    let seen = set.revision.or(read.map(|read| read.value.meta.revision));
    let dry = Write { dry_run: true, reason: None };
    let planned = session.client.put_traffic(app, &set.environment, &after, dry.seen(seen)).await?;
    let outcome: Changed = serde_json::from_value(planned.json.clone())?;
    if set.write.dry_run || outcome.changes.is_empty() {
        session.say(&planned.json, || changes::text(&outcome, Paint::stdout()))?;
        return Ok(Exit::Ok);
    }
    if !session.json {
        print!("{}", changes::text(&outcome, Paint::stdout()));
    }
    set.consent.ask(&clean(&format!("Change the traffic of {app} in {}?", set.environment)))?;
    let done = session.client.put_traffic(app, &set.environment, &after, set.write.seen(seen)).await?;
    session.say_changed(&done.json, &set.write, || {
        let traffic = serde_json::from_value(done.json.clone());
        traffic.map_or_else(|_| String::new(), |traffic| text(app, &set.environment, &traffic))
    })
}

fn edited(before: Option<&Value>, set: &Set) -> Value {
    let mut traffic = before.and_then(Value::as_object).cloned().unwrap_or_default();
    let slots = traffic.entry("slots").or_insert_with(|| json!({}));
    let slot_edits = [("blue", &set.blue, set.no_blue), ("green", &set.green, set.no_green)];
    for (name, release, clear) in slot_edits {
        edit_slot(slots.as_object_mut(), name, release.as_deref(), clear);
    }
    if let Some(active) = set.active.and_then(|active| active.to_possible_value()) {
        traffic.insert("active".to_owned(), active.get_name().into());
    }
    if let Some(weight) = &set.weight {
        traffic.insert("candidateWeight".to_owned(), weight.clone().into());
    }
    Value::Object(traffic)
}

fn edit_slot(slots: Option<&mut Map<String, Value>>, name: &str, release: Option<&str>, clear: bool) {
    let Some(slots) = slots else { return };
    if clear {
        slots.remove(name);
    }
    slots.extend(release.map(|release| (name.to_owned(), release.into())));
}

fn text(app: &str, environment: &str, traffic: &Named<TrafficBody>) -> String {
    let body = &traffic.body;
    let release = |release: &Option<String>| release.clone().unwrap_or_else(|| "empty".to_owned());
    let mark = |slot: Slot, release: &Option<String>| match (body.active == Some(slot), release) {
        (true, _) => " (active)".to_owned(),
        (false, Some(_)) => format!(" (weight {} %)", body.candidate_weight),
        (false, None) => String::new(),
    };
    let (blue, green) = (&body.slots.blue, &body.slots.green);
    let mut lines = vec![
        format!("{app} in {environment}, revision {}", traffic.meta.revision),
        format!("  blue   {}{}", release(blue), mark(Slot::Blue, blue)),
        format!("  green  {}{}", release(green), mark(Slot::Green, green)),
    ];
    lines
        .extend(body.regions.iter().map(|(name, region)| format!("  in {name}: weight {} %", region.candidate_weight)));
    lines.extend(body.rules.iter().map(|rule| {
        let slot = if rule.slot == Slot::Blue { "blue" } else { "green" };
        let when = serde_json::to_string(&rule.when).unwrap_or_default();
        format!("  rule {} → {slot}: {when}", rule.id.as_deref().unwrap_or("-"))
    }));
    if !body.rolled_back.is_empty() {
        lines.push(format!("  rolled back: {}", body.rolled_back.join(", ")));
    }
    lines.iter().map(|line| clean(line) + "\n").collect()
}
