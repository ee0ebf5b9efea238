//! Flags and targetings as people read them.

use admin_api::objects::{FlagBody, FlagType, Named, Serve, TargetingBody};
use serde_json::Value;

use super::{Exit, Outcome, Paint, Session};
use crate::cli::{changes::clean, plane::found, table::Table};

pub(super) async fn flags(session: &Session, app: &str, archived: bool) -> Outcome {
    let flags = session.client.list_flags(app, archived).await?;
    session.say(&flags.json, || {
        let mut table = Table::new(&["KEY", "TYPE", "VARIANTS", "CLIENTS", "FORWARD", "DESCRIPTION"]);
        for Named { key, body, .. } in &flags.value.items {
            let yes = |set: bool| if set { "yes".to_owned() } else { String::new() };
            let description = body.description.clone().unwrap_or_default();
            let (clients, forward) = (yes(body.client_visible), yes(body.forward));
            table.row([key.clone(), kind(body).to_owned(), variants(body), clients, forward, description]);
        }
        table.text(Paint::stdout())
    })?;
    Ok(Exit::Ok)
}

pub(super) async fn targetings(session: &Session, app: &str, environment: &str) -> Outcome {
    let targetings = session.client.list_targetings(app, environment).await?;
    session.say(&targetings.json, || {
        let mut table = Table::new(&["KEY", "STATE", "RULES", "OTHERWISE", "REVISION"]);
        for Named { key, body, meta } in &targetings.value.items {
            let rules = body.rules.len().to_string();
            table.row([key.clone(), state(body).to_owned(), rules, otherwise(body), meta.revision.to_string()]);
        }
        table.text(Paint::stdout())
    })?;
    Ok(Exit::Ok)
}

pub(super) async fn flag(session: &Session, app: &str, key: &str) -> Outcome {
    let flag = session.client.get_flag(app, key).await?;
    if session.json {
        session.say(&flag.json, String::new)?;
        return Ok(Exit::Ok);
    }
    let Named { body, meta, .. } = &flag.value;
    let archived = if body.archived { ", archived" } else { "" };
    let head = format!("{key}: {}, {}{archived}, revision {}", kind(body), variants(body), meta.revision);
    println!("{}", Paint::stdout().strong(&clean(&head)));
    if let Some(description) = &body.description {
        println!("{}", clean(description));
    }
    let mut table = Table::new(&["ENVIRONMENT", "STATE", "RULES", "OTHERWISE", "REVISION"]);
    for environment in session.client.list_environments(app).await?.value.items {
        let name = environment.key;
        let Some(targeting) = found(session.client.get_targeting(app, &name, key).await)? else {
            table.row([name, "off".to_owned(), String::new(), String::new(), String::new()]);
            continue;
        };
        let Named { body, meta, .. } = &targeting.value;
        let rules = body.rules.len().to_string();
        table.row([name, state(body).to_owned(), rules, otherwise(body), meta.revision.to_string()]);
    }
    print!("{}", table.text(Paint::stdout()));
    Ok(Exit::Ok)
}

pub(super) async fn targeting(session: &Session, app: &str, environment: &str, key: &str) -> Outcome {
    let targeting = session.client.get_targeting(app, environment, key).await?;
    session.say(&targeting.json, || {
        let mut text = line(app, environment, key, &targeting.json);
        let mut table = Table::new(&["RULE", "SERVES", "WHEN"]);
        for rule in &targeting.value.body.rules {
            let serve = Serve { serve: rule.serve.clone(), split: rule.split.clone(), ranges: None };
            let when = serde_json::to_string(&rule.when).unwrap_or_default();
            table.row([rule.id.clone().unwrap_or_default(), words(&serve), when]);
        }
        if !targeting.value.body.rules.is_empty() {
            text.push_str(&table.text(Paint::stdout()));
        }
        text
    })?;
    Ok(Exit::Ok)
}

pub(super) async fn stale(session: &Session, app: &str, days: u32) -> Outcome {
    let stale = session.client.list_stale_flags(app, days).await?;
    session.say(&stale.json, || {
        let mut table = Table::new(&["KEY", "ENVIRONMENT", "WHY", "SINCE", "LAST EVALUATED"]);
        for flag in &stale.value.items {
            let last = flag.last_evaluated.clone().unwrap_or_default();
            table.row([flag.flag.clone(), flag.environment.clone(), flag.why.clone(), flag.since.clone(), last]);
        }
        table.text(Paint::stdout())
    })?;
    Ok(Exit::Ok)
}

/// A targeting in one line.
pub(super) fn line(app: &str, environment: &str, key: &str, json: &Value) -> String {
    let Ok(targeting) = serde_json::from_value::<Named<TargetingBody>>(json.clone()) else { return String::new() };
    let (body, revision) = (&targeting.body, targeting.meta.revision);
    let line = format!("{key} in {app}/{environment} is {}", state(body));
    let rules = match body.rules.len() {
        0 => String::new(),
        1 => ", 1 rule".to_owned(),
        many => format!(", {many} rules"),
    };
    let otherwise = otherwise(body);
    let otherwise = if otherwise.is_empty() { otherwise } else { format!(", otherwise {otherwise}") };
    format!("{}\n", clean(&format!("{line}{rules}{otherwise}, revision {revision}")))
}

fn state(targeting: &TargetingBody) -> &'static str {
    if targeting.enabled { "on" } else { "off" }
}

fn otherwise(targeting: &TargetingBody) -> String {
    targeting.fallthrough.as_ref().map_or_else(String::new, words)
}

fn words(serve: &Serve) -> String {
    match (&serve.serve, &serve.split) {
        (Some(variant), _) => variant.clone(),
        (None, Some(split)) => {
            split.iter().map(|(variant, percent)| format!("{variant} {percent} %")).collect::<Vec<_>>().join(", ")
        }
        (None, None) => String::new(),
    }
}

fn kind(flag: &FlagBody) -> &'static str {
    match flag.r#type {
        None | Some(FlagType::Boolean) => "boolean",
        Some(FlagType::String) => "string",
        Some(FlagType::Number) => "number",
        Some(FlagType::Object) => "object",
    }
}

fn variants(flag: &FlagBody) -> String {
    flag.variants.iter().map(|variant| variant.key.as_str()).collect::<Vec<_>>().join(", ")
}
