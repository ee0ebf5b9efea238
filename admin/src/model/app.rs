//! An app and its objects, and changes to them as one step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use edge_engine::wire::{ReleaseWire, SegmentWire};
use edge_engine::{AppName, BucketingKey, EnvironmentName, FlagKey, ReleaseId, SegmentKey};
use edge_manifest::MAX_DESCRIPTION;
use edge_manifest::object::{self, EnvironmentParts, FlagParts, Vocabulary};
use serde_json::{Map, Value, json};

use super::compile::{self, Built};
use super::weights::{self, Move};
use super::{At, Fault};
use crate::store::{Kind, Object};

/// The most problems that an answer lists.
const MAX_FAULTS: usize = 100;

/// An object and when it was changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its document in the one form.
    pub document: Arc<Value>,
    /// The revision of its last change.
    pub revision: i64,
    /// When it was made, milliseconds since 1970.
    pub created_at: i64,
    /// When it was changed.
    pub updated_at: i64,
}

/// What is to become of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// Which.
    pub at: At,
    /// Its new document as somebody wrote it; `None` = it goes.
    pub document: Option<Value>,
}

impl Edit {
    /// A new document.
    pub fn put(at: At, document: Value) -> Self {
        Self { at, document: Some(document) }
    }

    /// An end.
    pub fn delete(at: At) -> Self {
        Self { at, document: None }
    }
}

/// What became of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectChange {
    /// Which.
    pub at: At,
    /// Its document of before.
    pub before: Option<Arc<Value>>,
    /// Its document now.
    pub after: Option<Arc<Value>>,
}

/// The next state of an app, and how it differs from the one of before.
#[derive(Debug)]
pub struct Changed {
    /// The next state.
    pub app: App,
    /// The objects that differ.
    pub changes: Vec<ObjectChange>,
    /// Environments of which the snapshot may differ, as they would be published.
    pub built: Vec<Built>,
    /// Units that get another variant by a change of weights.
    pub moves: Vec<Move>,
}

/// An app.
#[derive(Debug, Clone)]
pub struct App {
    name: AppName,
    revision: i64,
    objects: BTreeMap<At, Entry>,
    vocabulary: Arc<Vocabulary>,
    pub(super) flags: BTreeMap<FlagKey, Arc<FlagParts>>,
    pub(super) segments: BTreeMap<SegmentKey, SegmentWire>,
    pub(super) releases: BTreeMap<ReleaseId, ReleaseWire>,
    pub(super) environments: BTreeMap<EnvironmentName, EnvironmentParts>,
}

/// The secret of each environment.
pub type Keys = BTreeMap<String, (String, BucketingKey)>;

impl App {
    /// An app without anything, not even itself.
    pub fn empty(name: AppName) -> Self {
        Self {
            name,
            revision: 0,
            objects: BTreeMap::new(),
            vocabulary: Arc::default(),
            flags: BTreeMap::new(),
            segments: BTreeMap::new(),
            releases: BTreeMap::new(),
            environments: BTreeMap::new(),
        }
    }

    /// The app as it was stored. The documents were read before they were; one that cannot be read any more is a fault
    /// of the store.
    pub fn restore(name: AppName, revision: i64, rows: Vec<Object>) -> Result<Self, Vec<Fault>> {
        let mut app = Self::empty(name);
        app.revision = revision;
        let mut touched = BTreeSet::new();
        let mut faults = Vec::new();
        for row in rows {
            let at = At::from_table(&row.id);
            match serde_json::from_str(&row.document) {
                Ok(document) => drop(app.objects.insert(
                    at.clone(),
                    Entry {
                        document: Arc::new(document),
                        revision: row.revision,
                        created_at: row.created_at,
                        updated_at: row.updated_at,
                    },
                )),
                Err(error) => faults.push(Fault::whole(at.clone(), "document_invalid", error.to_string())),
            }
            touched.insert(at);
        }
        if faults.is_empty() {
            app.read(&touched, &mut faults);
        }
        if faults.is_empty() { Ok(app) } else { Err(faults) }
    }

    /// Its name.
    pub fn name(&self) -> &AppName {
        &self.name
    }

    /// The revision of its last change; 0 = it was never stored.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.objects.contains_key(&At::app())
    }

    /// An object.
    pub fn entry(&self, at: &At) -> Option<&Entry> {
        self.objects.get(at)
    }

    /// All objects in order.
    pub fn entries(&self) -> impl Iterator<Item = (&At, &Entry)> {
        self.objects.iter()
    }

    /// The objects of a kind.
    pub fn entries_of(&self, kind: Kind) -> impl Iterator<Item = (&At, &Entry)> {
        self.objects.iter().filter(move |(at, _)| at.kind == kind)
    }

    /// Its environments.
    pub fn environments(&self) -> impl Iterator<Item = (&EnvironmentName, &EnvironmentParts)> {
        self.environments.iter()
    }

    /// One of its environments.
    pub fn environment(&self, name: &str) -> Option<&EnvironmentParts> {
        self.environments.get(name)
    }

    /// One of its flags.
    pub fn flag(&self, key: &str) -> Option<&Arc<FlagParts>> {
        self.flags.get(key)
    }

    /// One of its releases.
    pub fn release(&self, id: &str) -> Option<&ReleaseWire> {
        self.releases.get(id)
    }

    /// The snapshot of one environment as it would be published.
    pub fn build(&self, environment: &str, keys: &Keys) -> Result<Option<Built>, Vec<Fault>> {
        let Some(name) = self.environments.keys().find(|name| name.as_str() == environment) else { return Ok(None) };
        compile::build(self, name, keys).map(Some)
    }

    /// The state after these edits, or everything that is wrong with it.
    pub fn change(&self, edits: Vec<Edit>, keys: &Keys) -> Result<Changed, Vec<Fault>> {
        let mut next = self.clone();
        let mut touched = BTreeSet::new();
        let mut faults = Vec::new();
        for edit in edits {
            next.put(&edit, &mut touched);
        }
        next.read(&touched, &mut faults);
        if faults.is_empty() && next.keep_ranges(self, &touched) {
            next.read(&touched, &mut faults);
        }
        next.check_environments(&mut faults);
        let releases = next.releases.keys().filter(|id| touched.contains(&At::release(id.as_str())));
        faults.extend(releases.flat_map(|id| compile::check_release(&next, id)));
        if !faults.is_empty() {
            return Err(few(faults));
        }
        let changes = next.changes_from(self, &touched);
        let mut built = Vec::new();
        for name in affected(&next, &changes) {
            match compile::build(&next, &name, keys) {
                Ok(one) => built.push(one),
                Err(more) => faults.extend(more),
            }
        }
        if !faults.is_empty() {
            return Err(few(faults));
        }
        let moves = next.moves_from(self, &changes);
        Ok(Changed { app: next, changes, built, moves })
    }

    /// Says which revision the state has, after it was given one, and marks the changed objects with it.
    pub fn stamp(&mut self, changes: &[ObjectChange], revision: i64, now: i64) {
        self.revision = revision;
        for change in changes {
            if let Some(entry) = self.objects.get_mut(&change.at) {
                entry.revision = revision;
                entry.updated_at = now;
                if change.before.is_none() {
                    entry.created_at = now;
                }
            }
        }
    }

    fn put(&mut self, edit: &Edit, touched: &mut BTreeSet<At>) {
        touched.insert(edit.at.clone());
        if let Some(document) = &edit.document {
            let times = self.objects.get(&edit.at).map(|entry| (entry.revision, entry.created_at, entry.updated_at));
            let (revision, created_at, updated_at) = times.unwrap_or_default();
            let document = Arc::new(document.clone());
            self.objects.insert(edit.at.clone(), Entry { document, revision, created_at, updated_at });
            return;
        }
        self.objects.remove(&edit.at);
        // What is in an environment, and what is about a flag, goes with it.
        let goes = |at: &At| match edit.at.kind {
            Kind::Environment => at.environment == edit.at.environment,
            Kind::Flag => at.kind == Kind::Targeting && at.key == edit.at.key,
            Kind::App => true,
            _ => false,
        };
        let gone: Vec<At> = self.objects.keys().filter(|at| goes(at)).cloned().collect();
        for at in gone {
            self.objects.remove(&at);
            touched.insert(at);
        }
    }

    /// Reads what was touched, and puts it into its one form.
    fn read(&mut self, touched: &BTreeSet<At>, faults: &mut Vec<Fault>) {
        if touched.iter().any(|at| !matches!(at.kind, Kind::Targeting | Kind::Traffic | Kind::History | Kind::Template))
        {
            self.vocabulary = Arc::new(self.names());
        }
        let names = Arc::clone(&self.vocabulary);
        let mut flags = BTreeSet::new();
        let mut environments = BTreeSet::new();
        for at in touched {
            match at.kind {
                Kind::Flag | Kind::Targeting => drop(flags.insert(at.key.clone())),
                Kind::Environment | Kind::Traffic => drop(environments.insert(at.environment.clone())),
                Kind::Segment => self.read_segment(at, &names, faults),
                Kind::Release => self.read_release(at, faults),
                Kind::App => self.read_app(faults),
                Kind::Template => self.read_template(at, faults),
                Kind::History => {}
            }
        }
        for name in &environments {
            self.read_environment(name, &names, faults);
        }
        for key in &flags {
            self.read_flag(key, &names, faults);
        }
    }

    fn names(&self) -> Vocabulary {
        let keys = |kind: Kind| self.objects.keys().filter(move |at| at.kind == kind).map(|at| at.key.as_str());
        let flags = self.objects.iter().filter(|(at, _)| at.kind == Kind::Flag);
        let flags = flags.map(|(at, entry)| (at.key.as_str(), &*entry.document));
        Vocabulary::new(keys(Kind::Environment), keys(Kind::Release), keys(Kind::Segment), flags)
    }

    fn replace(&mut self, at: &At, document: Value) {
        if let Some(entry) = self.objects.get_mut(at)
            && *entry.document != document
        {
            entry.document = Arc::new(document);
        }
    }

    fn read_template(&mut self, at: &At, faults: &mut Vec<Fault>) {
        let Some(entry) = self.objects.get(at) else { return };
        match super::rollout::template(at, &entry.document) {
            Ok(document) => self.replace(at, document),
            Err(found) => faults.extend(found),
        }
    }

    fn read_app(&mut self, faults: &mut Vec<Fault>) {
        let Some(entry) = self.objects.get(&At::app()) else { return };
        let Some(object) = entry.document.as_object() else {
            return faults.push(Fault::whole(At::app(), "type_mismatch", "an app is an object"));
        };
        for (key, value) in object {
            let pointer = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
            let fault = |code, detail: &str| Fault { pointer, ..Fault::whole(At::app(), code, detail) };
            match (key.as_str(), value) {
                ("description", Value::String(text)) if text.contains('\0') => {
                    faults.push(fault("text_invalid", "a description has no NUL characters"));
                }
                ("description", Value::String(text)) if text.chars().count() > MAX_DESCRIPTION => {
                    faults.push(fault(
                        "out_of_range",
                        &format!("a description has at most {MAX_DESCRIPTION} characters"),
                    ));
                }
                ("description", Value::String(_)) => {}
                ("description", _) => faults.push(fault("type_mismatch", "a description is a text")),
                _ => faults.push(fault("key_unknown", "an app has only a description of its own")),
            }
        }
    }

    fn read_segment(&mut self, at: &At, names: &Vocabulary, faults: &mut Vec<Fault>) {
        let Some(entry) = self.objects.get(at) else {
            self.segments.remove(at.key.as_str());
            return;
        };
        match (SegmentKey::new(at.key.as_str()), object::segment(&at.key, &entry.document, names)) {
            (Ok(key), Ok((wire, document))) => {
                self.segments.insert(key, wire);
                self.replace(at, document);
            }
            (_, read) => faults.extend(read.err().into_iter().flatten().map(|fault| Fault::read(at.clone(), fault))),
        }
    }

    fn read_release(&mut self, at: &At, faults: &mut Vec<Fault>) {
        let Some(entry) = self.objects.get(at) else {
            self.releases.remove(at.key.as_str());
            return;
        };
        match (ReleaseId::new(at.key.as_str()), object::release(&at.key, &entry.document)) {
            (Ok(id), Ok((wire, document))) => {
                self.releases.insert(id, wire);
                self.replace(at, document);
            }
            (_, read) => faults.extend(read.err().into_iter().flatten().map(|fault| Fault::read(at.clone(), fault))),
        }
    }

    fn read_environment(&mut self, name: &str, names: &Vocabulary, faults: &mut Vec<Fault>) {
        let at = At::environment(name);
        let Some(entry) = self.objects.get(&at) else {
            self.environments.remove(name);
            if self.objects.contains_key(&At::traffic(name)) {
                faults.push(Fault::whole(At::traffic(name), "environment_unknown", "there is no such environment"));
            }
            return;
        };
        let mut document = (*entry.document).clone();
        if let (Some(object), Some(traffic)) = (document.as_object_mut(), self.objects.get(&At::traffic(name))) {
            object.insert("traffic".to_owned(), (*traffic.document).clone());
        }
        match (EnvironmentName::new(name), object::environment(name, &document, names)) {
            (Ok(key), Ok(parts)) => {
                self.replace(&at, parts.document.clone());
                let traffic = At::traffic(name);
                if parts.traffic_document.is_null() {
                    self.objects.remove(&traffic);
                } else {
                    self.replace(&traffic, parts.traffic_document.clone());
                }
                self.environments.insert(key, parts);
            }
            (_, read) => {
                faults.extend(read.err().into_iter().flatten().map(|fault| Fault::read_environment(name, fault)));
            }
        }
    }

    fn read_flag(&mut self, key: &str, names: &Vocabulary, faults: &mut Vec<Fault>) {
        let targetings = self.environments.keys().map(|name| At::targeting(name.as_str(), key));
        let targetings: Vec<At> = targetings.filter(|at| self.objects.contains_key(at)).collect();
        let stray = self.objects.keys().find(|at| {
            at.kind == Kind::Targeting && at.key == key && !self.environments.contains_key(at.environment.as_str())
        });
        if let Some(at) = stray {
            faults.push(Fault::whole(at.clone(), "environment_unknown", "there is no such environment"));
        }
        let Some(entry) = self.objects.get(&At::flag(key)) else {
            self.flags.remove(key);
            if let Some(at) = targetings.first() {
                faults.push(Fault::whole(at.clone(), "flag_unknown", "there is no such flag"));
            }
            return;
        };
        let mut document = (*entry.document).clone();
        if let Some(object) = document.as_object_mut() {
            let each = targetings
                .iter()
                .filter_map(|at| Some((at.environment.clone(), (*self.objects.get(at)?.document).clone())));
            let each: Map<String, Value> = each.collect();
            if object.contains_key("environments") {
                let fault =
                    Fault::whole(At::flag(key), "key_unknown", "a flag's environments are objects of their own");
                return faults.push(Fault { pointer: "/environments".to_owned(), ..fault });
            }
            object.insert("environments".to_owned(), json!(each));
        }
        match (FlagKey::new(key), object::flag(key, &document, names)) {
            (Ok(name), Ok(parts)) => {
                self.replace(&At::flag(key), parts.definition());
                for at in &targetings {
                    let environment = EnvironmentName::new(at.environment.as_str());
                    if let Some(document) = environment.ok().and_then(|name| parts.targeting(&name)) {
                        self.replace(at, document);
                    }
                }
                self.flags.insert(name, Arc::new(parts));
            }
            (_, read) => faults.extend(read.err().into_iter().flatten().map(|fault| Fault::read_flag(key, fault))),
        }
    }

    /// Whether some document got ranges.
    fn keep_ranges(&mut self, before: &Self, touched: &BTreeSet<At>) -> bool {
        let mut any = false;
        for at in touched.iter().filter(|at| at.kind == Kind::Targeting) {
            let (Some(old), Some(new)) = (before.flags.get(at.key.as_str()), self.flags.get(at.key.as_str())) else {
                continue;
            };
            let Ok(environment) = EnvironmentName::new(at.environment.as_str()) else { continue };
            let (old, wire) = (old.wire(&environment), new.wire(&environment));
            let variants: Vec<_> = new.variants().cloned().collect();
            if let Some(entry) = self.objects.get_mut(at) {
                let mut document = (*entry.document).clone();
                weights::keep_ranges(&mut document, &old, &wire, &variants);
                any |= document != *entry.document;
                entry.document = Arc::new(document);
            }
        }
        any
    }

    fn moves_from(&self, before: &Self, changes: &[ObjectChange]) -> Vec<Move> {
        let targetings = changes.iter().filter(|change| change.at.kind == Kind::Targeting);
        let moves = targetings.filter_map(|change| {
            let (environment, key) = (change.at.environment.as_str(), change.at.key.as_str());
            let (old, new) = (before.flags.get(key)?, self.flags.get(key)?);
            let name = EnvironmentName::new(environment).ok()?;
            let (old, new) = (old.wire(&name), new.wire(&name));
            Some(weights::moves(environment, key, &old, &new).collect::<Vec<_>>())
        });
        moves.flatten().collect()
    }

    fn changes_from(&self, before: &Self, touched: &BTreeSet<At>) -> Vec<ObjectChange> {
        let document = |app: &Self, at: &At| app.objects.get(at).map(|entry| Arc::clone(&entry.document));
        let changes = touched.iter().map(|at| ObjectChange {
            at: at.clone(),
            before: document(before, at),
            after: document(self, at),
        });
        changes.filter(|change| change.before != change.after).collect()
    }

    /// What a single environment cannot see: circles of promotion, a host in two environments.
    fn check_environments(&self, faults: &mut Vec<Fault>) {
        let mut owners: BTreeMap<String, &EnvironmentName> = BTreeMap::new();
        for (name, parts) in &self.environments {
            let mut seen = BTreeSet::from([name]);
            let mut next = parts.promotes_from.as_ref();
            while let Some(from) = next {
                let fault = |code, detail| Fault {
                    pointer: "/promotesFrom".to_owned(),
                    ..Fault::whole(At::environment(name.as_str()), code, detail)
                };
                let Some(parts) = self.environments.get(from) else {
                    faults.push(fault("environment_unknown", format!("there is no environment \"{from}\"")));
                    break;
                };
                if !seen.insert(from) {
                    faults.push(fault("promotion_cycle", "the order of promotion is a circle".to_owned()));
                    break;
                }
                next = parts.promotes_from.as_ref();
            }
            for (index, host) in parts.edge.hosts.iter().enumerate() {
                let owner = *owners.entry(host.to_ascii_lowercase()).or_insert(name);
                if owner != name {
                    faults.push(Fault {
                        pointer: format!("/hosts/{index}"),
                        ..Fault::whole(
                            At::environment(name.as_str()),
                            "host_duplicate",
                            format!("the host \"{host}\" already selects the environment \"{owner}\""),
                        )
                    });
                }
            }
        }
    }
}

fn few(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.dedup();
    faults.truncate(MAX_FAULTS);
    faults
}

/// The environments whose snapshot these changes can reach.
fn affected(app: &App, changes: &[ObjectChange]) -> Vec<EnvironmentName> {
    let reaches_all = |change: &ObjectChange| matches!(change.at.kind, Kind::Flag | Kind::Segment | Kind::Release);
    let all = changes.iter().any(reaches_all);
    let named = |name: &&EnvironmentName| changes.iter().any(|change| change.at.environment == name.as_str());
    app.environments.keys().filter(|name| all || named(name)).cloned().collect()
}
