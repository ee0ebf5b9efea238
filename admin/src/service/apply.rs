//! A whole `bascule.yaml` at once: what it says becomes what is, and what it does not mention stays unless it is pruned.

use std::collections::BTreeSet;

use edge_manifest::{Object, Part};
use serde_json::Value;

use super::{Actor, Committed, Control, Intent, ServiceError};
use crate::model::{App, At, Edit, Fault, rollback};
use crate::principal::Role;
use crate::store::Kind;

/// How a file is applied.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Only say what would happen.
    pub dry_run: bool,
    /// Delete what the file does not mention.
    pub prune: bool,
    /// Bring back releases that were rolled back.
    pub allow_rolled_back: bool,
}

/// What an apply came to.
#[derive(Debug)]
pub struct Applied {
    /// The change.
    pub committed: Committed,
    /// What is there, is not in the file, and was kept.
    pub kept: Vec<String>,
}

impl Control {
    /// Applies the objects of one app; each that changes needs the actor's role for it.
    pub async fn apply(
        &self,
        actor: &Actor,
        app: &str,
        objects: Vec<Object>,
        reason: String,
        options: Options,
    ) -> Result<Applied, ServiceError> {
        let intent = Intent { reason, ..intent(app, options) };
        self.apply_by(actor, intent, objects, options).await
    }

    /// The same for the process itself, which needs no role.
    pub async fn apply_as_system(
        &self,
        actor: &Actor,
        app: &str,
        objects: Vec<Object>,
        options: Options,
    ) -> Result<Applied, ServiceError> {
        let intent = Intent { is_authorised: true, ..intent(app, options) };
        self.apply_by(actor, intent, objects, options).await
    }

    async fn apply_by(
        &self,
        actor: &Actor,
        intent: Intent,
        objects: Vec<Object>,
        options: Options,
    ) -> Result<Applied, ServiceError> {
        let mut kept = Vec::new();
        // What somebody may not read is not named to them either.
        let (authorised, name) = (intent.is_authorised, intent.app.clone());
        let name = name.as_str();
        let committed = self
            .change(actor, intent, |app| {
                let mentioned: BTreeSet<At> = objects.iter().map(at).collect();
                let missing = missing(app, &mentioned);
                let mut edits: Vec<Edit> = objects.into_iter().map(|object| edit(app, object)).collect();
                check_releases(app, &edits)?;
                if !options.allow_rolled_back {
                    check_rolled_back(app, &edits)?;
                }
                edits.extend(histories(app, &edits));
                if options.prune {
                    // What goes with its environment or flag is not deleted twice.
                    edits.extend(missing.into_iter().map(Edit::delete));
                } else {
                    let may_see = |at: &&At| authorised || actor.principal.has(Role::Viewer, name, &at.environment);
                    let shown = missing.iter().filter(|at| at.environment.is_empty() || may_see(at));
                    kept = shown.map(ToString::to_string).collect();
                }
                Ok(edits)
            })
            .await?;
        Ok(Applied { committed, kept })
    }
}

fn intent(app: &str, options: Options) -> Intent {
    Intent {
        app: app.to_owned(),
        operation: "apply",
        subject: "app".to_owned(),
        dry_run: options.dry_run,
        may_create_app: true,
        ..Intent::default()
    }
}

fn at(object: &Object) -> At {
    match object.part {
        Part::App => At::app(),
        Part::Environment => At::environment(&object.environment),
        Part::Traffic => At::traffic(&object.environment),
        Part::Release => At::release(&object.key),
        Part::Segment => At::segment(&object.key),
        Part::Flag => At::flag(&object.key),
        Part::Targeting => At::targeting(&object.environment, &object.key),
    }
}

/// A split that says the shares of before means the buckets of before, which the change sees to itself.
fn edit(app: &App, object: Object) -> Edit {
    let at = at(&object);
    let mut document = object.document;
    // A file that never heard of a rollback does not undo it: voided pins stay void.
    if at.kind == Kind::Traffic
        && document.get("rolledBack").is_none()
        && let Some(entry) = app.entry(&at)
        && let (Some(voided), Some(object)) = (entry.document.get("rolledBack"), document.as_object_mut())
    {
        let slots = object.get("slots").cloned().unwrap_or_default();
        let is_back = |id: &Value| slots.as_object().is_some_and(|slots| slots.values().any(|held| held == id));
        let still: Vec<Value> = voided.as_array().into_iter().flatten().filter(|id| !is_back(id)).cloned().collect();
        if !still.is_empty() {
            object.insert("rolledBack".to_owned(), still.into());
        }
    }
    Edit::put(at, document)
}

/// What is there and not mentioned. Histories are nobody's to mention, and templates have no place in such a file.
fn missing(app: &App, mentioned: &BTreeSet<At>) -> Vec<At> {
    let known =
        app.entries().map(|(at, _)| at).filter(|at| !matches!(at.kind, Kind::History | Kind::Template | Kind::App));
    known.filter(|at| !mentioned.contains(at)).cloned().collect()
}

/// A release never changes: another document under its id is a mistake.
fn check_releases(app: &App, edits: &[Edit]) -> Result<(), ServiceError> {
    let changed = edits.iter().filter(|edit| edit.at.kind == Kind::Release).filter(|edit| {
        let before = app.entry(&edit.at).map(|entry| &*entry.document);
        before.is_some() && before != edit.document.as_ref()
    });
    let faults: Vec<Fault> = changed
        .map(|edit| {
            let detail =
                format!("the release \"{}\" is registered with another content and never changes", edit.at.key);
            Fault {
                hint: Some("register a new id".to_owned()),
                ..Fault::whole(edit.at.clone(), "release_immutable", detail)
            }
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(ServiceError::Faults(faults)) }
}

/// What was rolled back does not come back because somebody, or a pipeline, applies the file of before once more.
fn check_rolled_back(app: &App, edits: &[Edit]) -> Result<(), ServiceError> {
    for edit in edits.iter().filter(|edit| edit.at.kind == Kind::Traffic) {
        let now = app.entry(&edit.at).map(|entry| &*entry.document);
        let (Some(now), Some(next)) = (now, &edit.document) else { continue };
        let rolled_back: Vec<&Value> = now.get("rolledBack").and_then(Value::as_array).into_iter().flatten().collect();
        let back = held(next).find(|id| rolled_back.contains(id) && held(now).all(|other| other != *id));
        let Some(release) = back.and_then(Value::as_str) else { continue };
        let environment = &edit.at.environment;
        return Err(ServiceError::Refused {
            code: "release_rolled_back",
            detail: format!("{release} was rolled back in {environment}, and the file would bring it back"),
            hint: Some("take it out of the file's slots, or say allowRolledBack (--allow-rolled-back)".to_owned()),
        });
    }
    Ok(())
}

fn held(traffic: &Value) -> impl Iterator<Item = &Value> {
    traffic.get("slots").and_then(Value::as_object).into_iter().flat_map(|slots| slots.values())
}

/// The histories that the new traffics make.
pub(crate) fn histories(app: &App, edits: &[Edit]) -> Vec<Edit> {
    let traffics = edits.iter().filter(|edit| edit.at.kind == Kind::Traffic);
    let histories = traffics.filter_map(|edit| {
        let document = edit.document.as_ref()?;
        let slots = document.get("slots")?;
        let only = || slots.as_object()?.keys().next().cloned();
        let active = document.get("active").and_then(Value::as_str).map(str::to_owned).or_else(only)?;
        let after = slots.get(&active)?.as_str()?;
        let before = rollback::active(app, &edit.at.environment).unwrap_or_else(|| after.to_owned());
        rollback::remember(app, &edit.at.environment, &before, after)
    });
    histories.collect()
}
