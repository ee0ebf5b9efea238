//! Definitions of flags: made, archived, deleted.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::{Consent, Exit, Outcome, Session, Write};
use crate::cli::{
    exit::Failure,
    plane::{object_in, without_meta},
};

/// Arguments of `flag create`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Create {
    /// Its key
    key: String,
    /// What its values are
    #[arg(long, value_name = "TYPE", default_value = "boolean", conflicts_with = "file")]
    r#type: Type,
    /// A variant and its value in JSON, or as plain text; boolean flags have on and off by themselves
    #[arg(long = "variant", value_name = "NAME=VALUE", value_parser = variant, conflicts_with = "file")]
    variants: Vec<(String, Value)>,
    /// What is served while it is off
    #[arg(long, value_name = "VARIANT", conflicts_with = "file")]
    off_variant: Option<String>,
    /// For people
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    description: Option<String>,
    /// Browsers may see it
    #[arg(long, conflicts_with = "file")]
    client_visible: bool,
    /// Edges tell upstreams its variant with each request
    #[arg(long, conflicts_with = "file")]
    forward: bool,
    /// The whole definition as JSON; or - for stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    write: Write,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Type {
    Boolean,
    String,
    Number,
    Object,
}

/// Arguments of `flag archive`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Archive {
    /// The flag
    key: String,
    /// Take it back
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    write: Write,
}

pub(super) async fn create(session: &Session, app: &str, create: &Create) -> Outcome {
    let mut flag = match &create.file {
        Some(path) => without_meta(&object_in(path)?),
        None => Value::Object(definition(create)),
    };
    flag["key"] = create.key.as_str().into();
    let made = session.client.create_flag(app, &flag, create.write.seen(None)).await?;
    session.say_changed(&made.json, &create.write, || {
        format!("made {}; it is off until its targeting is set\n", create.key)
    })
}

fn definition(create: &Create) -> Map<String, Value> {
    let mut flag = Map::new();
    let kind = create.r#type.to_possible_value().map_or_else(String::new, |kind| kind.get_name().to_owned());
    flag.insert("type".to_owned(), kind.into());
    if !create.variants.is_empty() {
        let is_text = create.r#type == Type::String;
        let value = |value: &Value| match value {
            // What looks like a number may be meant as a text.
            Value::String(_) => value.clone(),
            other if is_text => Value::String(other.to_string()),
            other => other.clone(),
        };
        let variants = create.variants.iter().map(|(key, own)| json!({"key": key, "value": value(own)}));
        flag.insert("variants".to_owned(), variants.collect());
    }
    for (name, text) in [("offVariant", &create.off_variant), ("description", &create.description)] {
        flag.extend(text.as_deref().map(|text| (name.to_owned(), text.into())));
    }
    for (name, set) in [("clientVisible", create.client_visible), ("forward", create.forward)] {
        flag.extend(set.then(|| (name.to_owned(), true.into())));
    }
    flag
}

fn variant(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

pub(super) async fn archive(session: &Session, app: &str, archive: &Archive) -> Outcome {
    let found = session.client.get_flag(app, &archive.key).await?;
    let archived = !archive.undo;
    if found.value.body.archived == archived && !archive.write.dry_run {
        return session.say_same(&found.json);
    }
    let change = archive.write.seen(Some(found.value.meta.revision));
    let done = session.client.update_flag(app, &archive.key, &json!({"archived": archived}), change).await?;
    let word = if archived { "archived" } else { "no longer archived" };
    session.say_changed(&done.json, &archive.write, || format!("{} is {word}\n", archive.key))
}

pub(super) async fn delete(session: &Session, app: &str, key: &str, write: &Write, consent: &Consent) -> Outcome {
    let found = session.client.get_flag(app, key).await?;
    if !write.dry_run {
        consent.ask(&format!("Delete the flag {key} of {app}?"))?;
    }
    let answer = session.client.delete_flag(app, key, write.seen(Some(found.value.meta.revision))).await?;
    deleted(session, &answer.body, key, write)
}

/// A deletion answers nothing, and a dry run of it a diff.
pub(in crate::cli) fn deleted(session: &Session, body: &[u8], key: &str, write: &Write) -> Outcome {
    if !write.dry_run {
        if session.json {
            session.say(&json!({"deleted": key}), String::new)?;
        } else {
            println!("deleted {key}");
        }
        return Ok(Exit::Ok);
    }
    let outcome: Value = serde_json::from_slice(body)
        .map_err(|error| Failure::new(Exit::Unexpected, format!("the dry run answers no JSON: {error}")))?;
    session.say_changed(&outcome, write, String::new)
}
