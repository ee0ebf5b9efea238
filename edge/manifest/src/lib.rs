//! `bascule.yaml`: an app, its environments, releases, segments and flags in one readable file.
//!
//! Owns the way from text to the snapshot format and back: every problem that a reader or the
//! engine finds is reported at once, each with its place in the file. A [`Manifest`] that exists
//! has no unknown key, no dangling reference and no share that is not exact; what the engine
//! alone can judge (regular expressions, caps, cycles) is judged by [`Manifest::check`].
//! Does no I/O and knows nothing of files beyond their name. `docs/bascule-yaml.md` describes the
//! format for people.

mod condition;
mod declared;
mod environment;
mod fields;
mod finding;
mod flag;
mod flagd;
mod node;
pub mod object;
mod ranges;
mod release;
mod report;
mod share;
mod show;
mod suggest;
mod traffic;
mod write;
mod yaml;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_files;
#[cfg(test)]
mod tests_of_weights;

use std::{collections::BTreeMap, sync::Arc};

use edge_engine::{
    AppName, BucketingKey, EnvironmentName, KeyId, Problem, ReleaseId, SegmentKey, Snapshot,
    wire::{FORMAT, SegmentWire, SnapshotWire},
};

pub use fields::MAX_DESCRIPTION;
pub use finding::{Finding, Position};
pub use flagd::{FlagdOptions, Imported, Note, NoteKind, import_flagd};
pub use share::display as display_share;
pub use show::{Object, Part};
pub use write::{Yaml, to_yaml};

use declared::Declared;
use environment::Environment;
use fields::Fields;
use flag::Flag;
use node::{Entry, Node};
use release::Release;
use report::Report;

/// The id of the only bucketing key that an environment from a file has.
const FILE_KEY_ID: &str = "file";
/// What a snapshot that is only checked says about its birth.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// One app as a file declares it.
#[derive(Debug)]
pub struct Manifest {
    file: Arc<str>,
    app: AppName,
    description: Option<String>,
    environments: Vec<Environment>,
    releases: BTreeMap<ReleaseId, Release>,
    segments: BTreeMap<SegmentKey, Segment>,
    flags: Vec<Flag>,
    root: Node,
}

/// Reads a text with exactly one app.
pub fn load(text: &str, file_name: &str) -> Result<Manifest, Vec<Finding>> {
    let mut manifests = load_all(text, file_name)?;
    match (manifests.pop(), manifests.is_empty()) {
        (Some(manifest), true) => Ok(manifest),
        (last, _) => {
            let mut report = Report::new(file_name);
            let at = last.map_or(Position { line: 1, column: 1 }, |manifest| manifest.root.at);
            report.add(at, "several_apps", "one app is expected here, not several documents".to_owned());
            Err(report.into_findings())
        }
    }
}

/// Reads a text with one app in each YAML document; at least one.
pub fn load_all(text: &str, file_name: &str) -> Result<Vec<Manifest>, Vec<Finding>> {
    let mut report = Report::new(file_name);
    let manifests = read(text, &mut report);
    if report.is_empty() { Ok(manifests) } else { Err(report.into_findings()) }
}

/// Reads and checks a text as far as it goes: the readers' findings and the engine's together.
///
/// `key` gives the bucketing key of an environment.
pub fn review(
    text: &str,
    file_name: &str,
    key: impl Fn(&AppName, &EnvironmentName) -> BucketingKey,
) -> Result<Vec<Manifest>, Vec<Finding>> {
    let mut report = Report::new(file_name);
    let manifests = read(text, &mut report);
    for manifest in &manifests {
        for environment in &manifest.environments {
            let wire = manifest.wire(environment, 0, NO_TIME);
            if let Err(problems) = edge_engine::check(wire, &key(&manifest.app, &environment.name)) {
                manifest.report(environment, &problems, &mut report);
            }
        }
    }
    if report.is_empty() { Ok(manifests) } else { Err(report.into_findings()) }
}

/// Reads what can be read; an empty report says that it is everything.
fn read(text: &str, report: &mut Report) -> Vec<Manifest> {
    let documents = yaml::read(text, report);
    if documents.iter().all(Node::is_null) && report.is_empty() {
        report.add(Position { line: 1, column: 1 }, "file_empty", "there is no app in this file".to_owned());
    }
    let documents = documents.into_iter().filter(|document| !document.is_null());
    let manifests: Vec<Manifest> = documents.filter_map(|root| Manifest::read(root, report)).collect();
    for (index, manifest) in manifests.iter().enumerate() {
        if manifests.iter().take(index).any(|other| other.app == manifest.app) {
            let at = manifest.root.place(manifest.root.at, ["app"]);
            report.add(at, "app_duplicate", format!("the app \"{}\" is already in this file", manifest.app));
        }
    }
    manifests
}

impl Manifest {
    fn read(root: Node, report: &mut Report) -> Option<Self> {
        let declared = Declared::of(&root);
        let mut fields = Fields::of(&root, root.at, "a bascule.yaml", report)?;
        let app = fields.required("app", report);
        let app = app.and_then(|entry| {
            if entry.value.scalar().is_some_and(|scalar| scalar.boolean().is_some()) {
                // Whoever writes `app: false` wants no app, and surely none of this name.
                let detail = format!("an app's name is a text, not {}", entry.value.describe());
                report.add(entry.value.at, "type_mismatch", detail).help("write the name in quotes".to_owned());
                return None;
            }
            fields::name(&entry.value, "an app's name", AppName::new, report)
        });
        let description = fields::description(&mut fields, report);
        let each = |entry: Option<&Entry>, what: &str, report: &mut Report| -> Vec<Entry> {
            fields::entries(entry, what, report).to_vec()
        };
        let releases = each(fields.optional("releases"), "\"releases\"", report);
        let releases = releases.iter().filter_map(|entry| release::release(entry, report));
        let releases = releases.map(|release| (release.id.clone(), release)).collect();
        let segments = each(fields.optional("segments"), "\"segments\"", report);
        let segments = segments.iter().filter_map(|entry| Segment::read(entry, &declared, report));
        let segments = segments.map(|segment| (segment.key.clone(), segment)).collect();
        let flags = each(fields.optional("flags"), "\"flags\"", report);
        let flags = flags.iter().filter_map(|entry| Flag::read(entry, &declared, report)).collect();
        let environments = each(fields.required("environments", report), "\"environments\"", report);
        let environments = environments.iter().filter_map(|entry| Environment::read(entry, &declared, report));
        let environments: Vec<Environment> = environments.collect();
        fields.done(report);
        environment::check_promotion(&environments, report);
        environment::check_hosts(&environments, report);
        Some(Self {
            file: report.file().clone(),
            app: app?,
            description,
            environments,
            releases,
            segments,
            flags,
            root,
        })
    }

    /// The file's name as it was given.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The app.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// Its environments in the order of the file.
    pub fn environments(&self) -> impl ExactSizeIterator<Item = &EnvironmentName> {
        self.environments.iter().map(|environment| &environment.name)
    }

    /// The environment that this one takes its releases from.
    pub fn promotes_from(&self, environment: &EnvironmentName) -> Option<&EnvironmentName> {
        self.environment(environment)?.promotes_from.as_ref()
    }

    /// The hosts that select an environment.
    pub fn hosts(&self, environment: &EnvironmentName) -> &[String] {
        self.environment(environment).map_or(&[], |environment| &environment.edge.hosts)
    }

    /// The snapshot of an environment; `None` when there is no such environment.
    pub fn snapshot(&self, environment: &EnvironmentName, number: u64, created_at: &str) -> Option<SnapshotWire> {
        Some(self.wire(self.environment(environment)?, number, created_at))
    }

    /// All objects of the file, each in the one form that says what it says.
    pub fn objects(&self) -> Vec<Object> {
        show::objects(self)
    }

    /// Checks an environment as an edge would and gives what it would decide by.
    pub fn check(&self, environment: &EnvironmentName, key: &BucketingKey) -> Result<Snapshot, Vec<Finding>> {
        let Some(found) = self.environment(environment) else {
            let mut report = Report::new(&self.file);
            let names: Vec<&str> = self.environments().map(EnvironmentName::as_str).collect();
            let detail = format!("there is no environment \"{environment}\"");
            let finding = report.add(self.root.at, "environment_unknown", detail);
            finding.suggestion = suggest::help(environment.as_str(), names.iter().copied());
            return Err(report.into_findings());
        };
        edge_engine::check(self.wire(found, 0, NO_TIME), key).map_err(|problems| self.locate(environment, &problems))
    }

    /// The engine's problems with a snapshot of this manifest, each with its place in the file.
    pub fn locate(&self, environment: &EnvironmentName, problems: &[Problem]) -> Vec<Finding> {
        let mut report = Report::new(&self.file);
        if let Some(environment) = self.environment(environment) {
            self.report(environment, problems, &mut report);
        }
        report.into_findings()
    }

    fn environment(&self, name: &EnvironmentName) -> Option<&Environment> {
        self.environments.iter().find(|environment| environment.name == *name)
    }

    fn wire(&self, environment: &Environment, number: u64, created_at: &str) -> SnapshotWire {
        SnapshotWire {
            format: FORMAT.to_owned(),
            app: self.app.clone(),
            environment: environment.name.clone(),
            number,
            created_at: created_at.to_owned(),
            bucketing_key_id: KeyId::new(FILE_KEY_ID).expect("the constant is a well-formed name"),
            unit: environment.unit.clone(),
            traffic: environment.traffic.clone(),
            releases: self.releases.iter().map(|(id, release)| (id.clone(), release.wire.clone())).collect(),
            segments: self.segments.iter().map(|(key, segment)| (key.clone(), segment.wire.clone())).collect(),
            flags: self.flags.iter().map(|flag| (flag.key.clone(), flag.wire(&environment.name))).collect(),
            edge: environment.edge.clone(),
        }
    }

    /// Adds the engine's problems, except at places where a reader has already said what is wrong.
    fn report(&self, environment: &Environment, problems: &[Problem], report: &mut Report) {
        let places: Vec<Position> = problems.iter().map(|problem| self.place(environment, &problem.pointer)).collect();
        let said: Vec<bool> = places.iter().map(|place| report.mentions(*place)).collect();
        for ((problem, place), said) in problems.iter().zip(places).zip(said) {
            if !said {
                report.add(place, problem.code, problem.detail.clone());
            }
        }
    }

    /// Where the text is that a pointer into the snapshot came from.
    fn place(&self, environment: &Environment, pointer: &str) -> Position {
        let steps = steps(pointer);
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        match steps.as_slice() {
            ["edge", rest @ ..] => environment.node.place(environment.place, rest.iter().copied()),
            ["traffic" | "unit", ..] => environment.node.place(environment.place, steps),
            ["environment"] => environment.place,
            ["flags", key, field, rest @ ..] => {
                let flag_place = self.root.place(self.root.at, ["flags", key]);
                match self.flags.iter().find(|flag| flag.key.as_str() == *key) {
                    Some(flag) => {
                        let way = flag_way(flag, field, rest);
                        let way = way.iter().map(String::as_str);
                        flag.holder(&environment.name, field).place(flag_place, way)
                    }
                    None => flag_place,
                }
            }
            _ => self.root.place(self.root.at, steps),
        }
    }
}

/// A list of variants in the snapshot is a mapping in the file, in the same order.
fn flag_way(flag: &Flag, field: &str, rest: &[&str]) -> Vec<String> {
    let mut way = vec![field.to_owned()];
    let mut rest = rest.iter().copied();
    if field == "variants" {
        let index = rest.next().and_then(|index| index.parse::<usize>().ok());
        way.extend(index.and_then(|index| flag.variant_key(index)).map(str::to_owned));
        return way;
    }
    way.extend(rest.map(str::to_owned));
    way
}

/// One entry under `segments`.
#[derive(Debug)]
struct Segment {
    key: SegmentKey,
    description: Option<String>,
    wire: SegmentWire,
}

impl Segment {
    fn read(entry: &Entry, declared: &Declared, report: &mut Report) -> Option<Self> {
        let key = fields::key_name(&entry.key, entry.key_at, SegmentKey::new, report);
        let mut fields = Fields::of(&entry.value, entry.key_at, "a segment", report)?;
        let description = fields::description(&mut fields, report);
        let when = condition::when(&mut fields, declared, report);
        fields.done(report);
        Some(Self { key: key?, description, wire: SegmentWire { when } })
    }
}

/// The engine's problems with a snapshot document, each with its place in the text.
pub fn locate_json(text: &str, file_name: &str, problems: &[Problem]) -> Vec<Finding> {
    // JSON is YAML but for its tabs, which no YAML is indented by. In JSON a tab is only ever white space, and a space is as
    // wide in bytes and columns. What still cannot be read has no places, and the reader's words on it do not count.
    let text = text.replace('\t', " ");
    let root = yaml::read(&text, &mut Report::new(file_name)).into_iter().next();
    let start = Position { line: 1, column: 1 };
    let mut report = Report::new(file_name);
    for problem in problems {
        let steps = steps(&problem.pointer);
        let at = root.as_ref().map_or(start, |root| root.place(root.at, steps.iter().map(String::as_str)));
        let pointer = if problem.pointer.is_empty() { "/" } else { &problem.pointer };
        report.add(at, problem.code, format!("{}, at {pointer}", problem.detail));
    }
    report.into_findings()
}

/// What sound files contradict each other in: an app declared twice, a host that selects two environments.
pub fn conflicts(manifests: &[Manifest]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut apps: BTreeMap<&AppName, &Manifest> = BTreeMap::new();
    let mut hosts: BTreeMap<String, (&Manifest, &EnvironmentName)> = BTreeMap::new();
    for manifest in manifests {
        let mut report = Report::new(&manifest.file);
        if let Some(first) = apps.insert(&manifest.app, manifest) {
            let at = manifest.root.place(manifest.root.at, ["app"]);
            report.add(at, "app_duplicate", format!("the app \"{}\" is already in {}", manifest.app, first.file));
        }
        for environment in &manifest.environments {
            for (index, host) in environment.edge.hosts.iter().enumerate() {
                let owner = hosts.entry(host.to_ascii_lowercase()).or_insert((manifest, &environment.name));
                if owner.0.app != manifest.app {
                    let at = environment.node.place(environment.place, ["hosts", &index.to_string()]);
                    let detail =
                        format!("the host \"{host}\" already selects {}/{} in {}", owner.0.app, owner.1, owner.0.file);
                    report.add(at, "host_duplicate", detail);
                }
            }
        }
        findings.extend(report.into_findings());
    }
    findings
}

/// A suggestion for an unknown name, as findings have them.
pub fn did_you_mean<'n>(word: &str, names: impl IntoIterator<Item = &'n str> + Clone) -> Option<String> {
    suggest::help(word, names)
}

/// The reference tokens of a JSON pointer.
fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}
