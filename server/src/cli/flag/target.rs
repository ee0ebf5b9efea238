//! A flag in an environment: read, changed, and written for the revision that was read.

use serde_json::{Map, Number, Value, json};

use super::{Outcome, Session, Write, show};
use crate::cli::{
    exit::{Exit, Failure},
    plane::{found, without_meta},
};

/// Arguments of `flag set`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["serve", "split"]))]
pub(in crate::cli) struct Set {
    /// The flag
    key: String,
    /// The environment
    #[arg(long, short, value_name = "NAME")]
    environment: String,
    /// One variant for everybody
    #[arg(long, value_name = "VARIANT")]
    serve: Option<String>,
    /// Percentages that sum to 100; they move as few units as possible
    #[arg(long, value_name = "VARIANT=PERCENT,…", value_delimiter = ',', value_parser = share)]
    split: Option<Vec<(String, Number)>>,
    /// Set it for this rule instead of for whom no rule matches
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// Only if this is still its revision
    #[arg(long, value_name = "N")]
    revision: Option<i64>,
    #[command(flatten)]
    write: Write,
}

/// Arguments of `flag enable` and `flag disable`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Switch {
    /// The flag
    key: String,
    /// The environment
    #[arg(long, short, value_name = "NAME")]
    environment: String,
    /// Only if this is still its revision
    #[arg(long, value_name = "N")]
    revision: Option<i64>,
    #[command(flatten)]
    write: Write,
}

/// Whose targeting is changed, and how.
struct Edit<'e> {
    app: &'e str,
    environment: &'e str,
    key: &'e str,
    revision: Option<i64>,
    write: &'e Write,
}

pub(super) async fn set(session: &Session, app: &str, set: &Set) -> Outcome {
    let Set { key, environment, revision, write, .. } = set;
    let edit = Edit { app, environment, key, revision: *revision, write };
    let rule = set.rule.as_deref();
    let serve = match (&set.serve, &set.split) {
        (Some(variant), _) => ("serve", Value::from(variant.as_str())),
        (None, Some(shares)) => ("split", split(shares)?),
        (None, None) => return Err(Failure::new(Exit::Usage, "--serve or --split is needed").into()),
    };
    edit.run(session, move |targeting| {
        let place = match rule {
            None => targeting.entry("fallthrough").or_insert_with(|| json!({})),
            Some(id) => rule_of(targeting, id).ok_or_else(|| no_rule(id))?,
        };
        if let Some(place) = place.as_object_mut() {
            for name in ["serve", "split", "ranges"] {
                place.remove(name);
            }
            place.insert(serve.0.to_owned(), serve.1);
        }
        Ok(())
    })
    .await
}

pub(super) async fn switch(session: &Session, app: &str, switch: &Switch, enabled: bool) -> Outcome {
    let Switch { key, environment, revision, write } = switch;
    let edit = Edit { app, environment, key, revision: *revision, write };
    edit.run(session, move |targeting| {
        targeting.insert("enabled".to_owned(), enabled.into());
        Ok(())
    })
    .await
}

impl Edit<'_> {
    async fn run(
        &self,
        session: &Session,
        edit: impl FnOnce(&mut Map<String, Value>) -> Result<(), Failure>,
    ) -> Outcome {
        let Self { app, environment, key, write, .. } = *self;
        let read = found(session.client.get_targeting(app, environment, key).await)?;
        if read.is_none() {
            // It says which of flag and environment is missing, if one is.
            session.client.get_flag(app, key).await?;
        }
        let before = read.as_ref().map(|read| without_meta(&read.json));
        let mut after = before.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
        edit(&mut after)?;
        let after = Value::Object(after);
        let seen = self.revision.or(read.as_ref().map(|read| read.value.meta.revision));
        if let (Some(read), None, false) = (&read, self.revision, write.dry_run)
            && before.as_ref().is_some_and(|before| *before == after)
        {
            return session.say_same(&read.json);
        }
        let done = session.client.put_targeting(app, environment, key, &after, write.seen(seen)).await?;
        session.say_changed(&done.json, write, || show::line(app, environment, key, &done.json))
    }
}

fn rule_of<'t>(targeting: &'t mut Map<String, Value>, id: &str) -> Option<&'t mut Value> {
    let rules = targeting.get_mut("rules")?.as_array_mut()?;
    rules.iter_mut().find(|rule| rule.get("id").and_then(Value::as_str) == Some(id))
}

fn no_rule(id: &str) -> Failure {
    let help = "bascule flag get KEY -e ENVIRONMENT shows its rules".to_owned();
    Failure::new(Exit::NotFound, format!("there is no rule \"{id}\" here")).with_help(help)
}

fn split(shares: &[(String, Number)]) -> Result<Value, Failure> {
    let mut split = Map::new();
    for (variant, percent) in shares {
        if split.insert(variant.clone(), percent.clone().into()).is_some() {
            return Err(Failure::new(Exit::Usage, format!("\"{variant}\" is twice in --split")));
        }
    }
    Ok(Value::Object(split))
}

fn share(text: &str) -> Result<(String, Number), String> {
    let (variant, percent) = text.split_once('=').ok_or("write VARIANT=PERCENT")?;
    let is_percent = |percent: &Number| percent.as_f64().is_some_and(|percent| (0.0..=100.0).contains(&percent));
    let percent = percent.parse::<Number>().ok().filter(is_percent).ok_or("a percentage is a number from 0 to 100")?;
    Ok((variant.to_owned(), percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages() {
        assert_eq!(share("on=12.5"), Ok(("on".to_owned(), Number::from_f64(12.5).unwrap())));
        assert_eq!(share("on=10"), Ok(("on".to_owned(), 10.into())));
        for wrong in ["on", "on=", "on=x", "on=101", "on=-1", "on=NaN"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
        assert!(split(&[("on".to_owned(), 50.into()), ("on".to_owned(), 50.into())]).is_err());
    }
}
