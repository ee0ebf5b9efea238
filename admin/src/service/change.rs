//! The one way to change an app: read it, edit it, check it, write it with its audit entry and snapshots, publish.

use std::collections::BTreeMap;
use std::sync::Arc;

use edge_engine::AppName;
use serde_json::{Value, json};

use super::publish::{self, Ready};
use super::{Actor, Cached, Control, Published, ServiceError};
use crate::ids;
use crate::model::app::Keys;
use crate::model::weights::Move;
use crate::model::{App, At, Changed, Edit, Fault, ObjectChange};
use crate::principal::{Needs, Principal, Reach, Role};
use crate::store::{EnvironmentKey, WriteTx};
use crate::store::{Kind, NewAudit, Object, Publication};

/// What somebody wants to do, as the audit tells it.
#[derive(Debug, Clone, Default)]
pub struct Intent {
    /// The app.
    pub app: String,
    /// The environment concerned, empty for none or several.
    pub environment: String,
    /// The operation.
    pub operation: &'static str,
    /// What is changed.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Only say what would happen.
    pub dry_run: bool,
    /// Whether the app may be made by this.
    pub may_create_app: bool,
    /// Whether each changed object's own role was checked already, by the operation.
    pub is_authorised: bool,
    /// Who moves traffic with it.
    pub mover: Mover,
}

/// Who moves traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mover {
    /// Somebody who must not take it out of a rollout's hands.
    #[default]
    Anybody,
    /// A rollout, or a rollback, which ends it.
    Rollout,
}

/// What was done, or would be.
#[derive(Debug)]
pub struct Committed {
    /// The app as it is now, or would be.
    pub app: Arc<App>,
    /// The objects that differ.
    pub changes: Vec<ObjectChange>,
    /// Units that get something else.
    pub moves: Vec<Move>,
    /// Environments and numbers that were published.
    pub snapshots: Vec<(String, i64)>,
    /// The revision of the change; `None` when nothing was written.
    pub revision: Option<i64>,
    /// When it was committed.
    pub at: std::time::Instant,
}

/// A change that is written and not committed yet.
#[derive(Debug)]
pub(super) struct Written {
    /// What was done.
    pub(super) done: Committed,
    /// What follows the commit; `None` when nothing was written.
    pub(super) after: Option<After>,
}

/// What follows a commit.
#[derive(Debug)]
pub(super) struct After {
    cached: Arc<Cached>,
    revision: i64,
    publications: Vec<Publication>,
}

impl Control {
    /// Does what `edit` makes of the app. `edit` sees the app as it is within the transaction.
    pub async fn change(
        &self,
        actor: &Actor,
        intent: Intent,
        edit: impl FnOnce(&App) -> Result<Vec<Edit>, ServiceError> + Send,
    ) -> Result<Committed, ServiceError> {
        let mut tx = self.store.write().await?;
        let written = self.change_in(&mut tx, actor, &intent, edit).await?;
        self.finish(tx, &intent, written).await
    }

    /// The same within a transaction that does more; [`Control::finish`] ends it.
    pub(super) async fn change_in(
        &self,
        tx: &mut WriteTx,
        actor: &Actor,
        intent: &Intent,
        edit: impl FnOnce(&App) -> Result<Vec<Edit>, ServiceError> + Send,
    ) -> Result<Written, ServiceError> {
        let cached = self.app_in(tx, &intent.app).await?;
        if !cached.app.exists() && !intent.may_create_app {
            return Err(ServiceError::not_found("app", &intent.app));
        }
        let edits = edit(&cached.app)?;
        let unknown = self.gates.unknown_in(&intent.app, &edits);
        if !unknown.is_empty() {
            return Err(ServiceError::Faults(unknown));
        }
        let keys = with_new_keys(&cached, &edits)?;
        let Changed { mut app, changes, built, moves } =
            cached.app.change(edits, &keys).map_err(ServiceError::Faults)?;
        if !intent.is_authorised {
            authorise(&actor.principal, app.name(), &changes)?;
        }
        if intent.mover == Mover::Anybody {
            not_of_a_rollout(tx, app.name(), &changes).await?;
        }
        if let Some(fault) = self.taken_host(tx, &app, &changes).await? {
            return Err(ServiceError::Faults(vec![fault]));
        }
        let known = known(tx, &cached, &app).await?;
        let ready = publish::ready(&known, built);
        let is_empty = changes.is_empty() && ready.is_empty();
        if intent.dry_run || is_empty {
            let snapshots = ready.iter().map(|one| (one.environment().to_owned(), one.number())).collect();
            let (app, at) = (Arc::new(app), std::time::Instant::now());
            return Ok(Written { done: Committed { app, changes, moves, snapshots, revision: None, at }, after: None });
        }
        let now = ids::now_ms();
        let revision = tx.next_revision().await?;
        app.stamp(&changes, revision, now);
        write_objects(tx, &app, &changes, revision).await?;
        write_keys(tx, &cached, &keys, &app).await?;
        let audit = tx.append_audit(entry(actor, intent, &changes, now)).await?;
        let (publications, published) = self.publish_in(tx, &cached, &app, ready, (now, audit.sequence)).await?;
        let app = Arc::new(app);
        let snapshots = publications.iter().filter(|one| one.document.is_some());
        let snapshots = snapshots.map(|one| (one.environment.clone(), one.number)).collect();
        let cached = Arc::new(Cached { app: Arc::clone(&app), keys: Arc::new(keys), published });
        let at = std::time::Instant::now();
        let done = Committed { app, changes, moves, snapshots, revision: Some(revision), at };
        Ok(Written { done, after: Some(After { cached, revision, publications }) })
    }

    /// Commits, and publishes what was committed.
    pub(super) async fn finish(
        &self,
        tx: WriteTx,
        intent: &Intent,
        written: Written,
    ) -> Result<Committed, ServiceError> {
        let Written { mut done, after } = written;
        let Some(After { cached, revision, publications }) = after else { return Ok(done) };
        tx.commit().await?;
        done.at = std::time::Instant::now();
        self.remember(&cached);
        self.announce(intent, revision, publications).await;
        Ok(done)
    }

    async fn publish_in(
        &self,
        tx: &mut WriteTx,
        cached: &Cached,
        app: &App,
        ready: Vec<Ready>,
        (now, audit): (i64, i64),
    ) -> Result<(Vec<Publication>, Arc<BTreeMap<String, Published>>), ServiceError> {
        let mut published = (*cached.published).clone();
        published.retain(|environment, _| app.environment(environment).is_some());
        let mut publications = Vec::new();
        for one in ready {
            let (publication, state) = one.sign(app.name().as_str(), now, audit, &self.signer);
            published.insert(publication.environment.clone(), state);
            publications.push(tx.publish(publication).await?);
        }
        for environment in cached.published.keys().filter(|name| app.environment(name).is_none()) {
            let last = cached.published.get(environment).map_or(0, |last| last.number);
            let gone = publish::withdrawal(app.name().as_str(), environment, last + 1, now, audit);
            publications.push(tx.publish(gone).await?);
        }
        Ok((publications, Arc::new(published)))
    }

    /// A host that an environment of another app has.
    async fn taken_host(
        &self,
        tx: &mut WriteTx,
        app: &App,
        changes: &[ObjectChange],
    ) -> Result<Option<Fault>, ServiceError> {
        let new_hosts = |change: &ObjectChange| {
            let hosts = |document: &Option<Arc<Value>>| document.as_ref().and_then(|it| it.get("hosts").cloned());
            change.at.kind == Kind::Environment && hosts(&change.before) != hosts(&change.after)
        };
        if !changes.iter().any(new_hosts) {
            return Ok(None);
        }
        let mut after = String::new();
        loop {
            let page = tx.objects_of("", Kind::App, "", &after, 200).await?;
            let Some(last) = page.last() else { return Ok(None) };
            after.clone_from(&last.id.key);
            for row in page.iter().filter(|row| row.id.app != app.name().as_str()) {
                let other = self.app_in(tx, &row.id.app).await?;
                if let Some(fault) = shared_host(app, &other.app) {
                    return Ok(Some(fault));
                }
            }
        }
    }
}

fn shared_host(app: &App, other: &App) -> Option<Fault> {
    let hosts = other.environments().flat_map(|(name, parts)| parts.edge.hosts.iter().map(move |host| (name, host)));
    let taken: BTreeMap<String, _> = hosts.map(|(name, host)| (host.to_ascii_lowercase(), name)).collect();
    app.environments().find_map(|(environment, parts)| {
        parts.edge.hosts.iter().enumerate().find_map(|(index, host)| {
            let owner = taken.get(&host.to_ascii_lowercase())?;
            let detail = format!("the host \"{host}\" already selects {}/{owner}", other.name());
            let fault = Fault::whole(At::environment(environment.as_str()), "host_duplicate", detail);
            Some(Fault { pointer: format!("/hosts/{index}"), ..fault })
        })
    })
}

/// The keys of the environments that there are, and new ones for those that come.
fn with_new_keys(cached: &Cached, edits: &[Edit]) -> Result<Keys, ServiceError> {
    let mut keys = (*cached.keys).clone();
    for edit in edits.iter().filter(|edit| edit.at.kind == Kind::Environment && edit.document.is_some()) {
        if !keys.contains_key(&edit.at.environment) {
            let row = new_key(cached.app.name(), &edit.at.environment);
            keys.insert(edit.at.environment.clone(), (row.id.clone(), super::bucketing_key(&row)?));
        }
    }
    Ok(keys)
}

fn new_key(app: &AppName, environment: &str) -> EnvironmentKey {
    let key = ids::random::<16>();
    let (app, environment) = (app.as_str().to_owned(), environment.to_owned());
    EnvironmentKey { app, environment, id: admin_api::edge::bucketing_key_id(&key), key: ids::hex(&key) }
}

/// What every environment last published, also one that was deleted once and is made again: its numbers go on.
async fn known(tx: &mut WriteTx, cached: &Cached, app: &App) -> Result<BTreeMap<String, Published>, ServiceError> {
    let mut known = (*cached.published).clone();
    for (environment, _) in app.environments() {
        if !known.contains_key(environment.as_str())
            && let Some(last) = tx.latest_snapshot(app.name().as_str(), environment.as_str()).await?
        {
            let published = Published { number: last.number, sha256: last.sha256, content: None };
            known.insert(environment.as_str().to_owned(), published);
        }
    }
    Ok(known)
}

async fn write_keys(tx: &mut WriteTx, cached: &Cached, keys: &Keys, app: &App) -> Result<(), ServiceError> {
    for (environment, (id, key)) in keys {
        if !cached.keys.contains_key(environment) {
            let row = EnvironmentKey {
                app: app.name().as_str().to_owned(),
                environment: environment.clone(),
                id: id.clone(),
                key: ids::hex(key.as_bytes()),
            };
            tx.put_environment_key(&row).await?;
        }
    }
    for environment in keys.keys().filter(|name| app.environment(name).is_none()) {
        tx.delete_environment_key(app.name().as_str(), environment).await?;
    }
    Ok(())
}

async fn write_objects(
    tx: &mut WriteTx,
    app: &App,
    changes: &[ObjectChange],
    revision: i64,
) -> Result<(), ServiceError> {
    for change in changes {
        let id = change.at.in_app(app.name().as_str());
        match app.entry(&change.at) {
            Some(entry) => {
                let document = entry.document.to_string();
                let (created_at, updated_at) = (entry.created_at, entry.updated_at);
                tx.put_object(&Object { id, revision, document, created_at, updated_at }).await?;
            }
            None => tx.delete_object(&id, revision).await?,
        }
    }
    Ok(())
}

pub(super) fn entry(actor: &Actor, intent: &Intent, changes: &[ObjectChange], now: i64) -> NewAudit {
    let changes: Value = changes
        .iter()
        .map(|change| {
            json!({
                "object": change.at.to_string(),
                "before": change.before.as_deref(),
                "after": change.after.as_deref(),
            })
        })
        .collect();
    NewAudit {
        at: now,
        actor: actor.principal.id.clone(),
        actor_name: actor.principal.name.clone(),
        app: intent.app.clone(),
        environment: intent.environment.clone(),
        operation: intent.operation.to_owned(),
        subject: intent.subject.clone(),
        reason: intent.reason.clone(),
        request_id: actor.request_id.clone(),
        changes: changes.to_string(),
    }
}

/// While a rollout is under way, the traffic is its own: nobody else moves it, or takes the environment away.
async fn not_of_a_rollout(tx: &mut WriteTx, app: &AppName, changes: &[ObjectChange]) -> Result<(), ServiceError> {
    for change in changes.iter().filter(|change| change.at.kind == Kind::Traffic) {
        let environment = &change.at.environment;
        if let Some(row) = tx.rollout_under_way(app.as_str(), environment).await? {
            return Err(super::rollouts::under_way(&row));
        }
    }
    Ok(())
}

/// Each changed object needs its own role, whoever's operation changes it.
fn authorise(principal: &Principal, app: &AppName, changes: &[ObjectChange]) -> Result<(), ServiceError> {
    for change in changes {
        let (role, reach) = match change.at.kind {
            Kind::App | Kind::Environment => (Role::Admin, Reach::AllOfApp),
            Kind::Traffic | Kind::History => (Role::Operator, Reach::Environment),
            // What operators have to keep to is not theirs to change.
            Kind::Template => (Role::Admin, Reach::Environment),
            Kind::Targeting => (Role::Editor, Reach::Environment),
            // What nobody uses yet harms nobody.
            Kind::Release => (Role::Editor, Reach::SomeOfApp),
            Kind::Flag | Kind::Segment if change.before.is_none() => (Role::Editor, Reach::SomeOfApp),
            Kind::Flag | Kind::Segment => (Role::Editor, Reach::AllOfApp),
        };
        if !principal.may(Needs { role, reach }, app.as_str(), &change.at.environment) {
            return Err(ServiceError::Forbidden { role: role.as_str(), place: format!("for {}", change.at) });
        }
    }
    Ok(())
}
