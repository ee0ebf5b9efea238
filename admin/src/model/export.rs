//! An app as a `bascule.yaml`: what apply takes in, so that applying an export changes nothing.

use edge_manifest::{Yaml, to_yaml};
use serde_json::Value;

use super::{App, At};
use crate::store::Kind;

/// The order in which people expect the fields of an object; others follow by name.
const ORDER: &[&str] = &[
    "description",
    "promotesFrom",
    "hosts",
    "debug",
    "unit",
    "version",
    "commit",
    "upstreams",
    "type",
    "archived",
    "id",
    "variants",
    "offVariant",
    "forward",
    "clientVisible",
    "enabled",
    "when",
    "active",
    "slots",
    "candidateWeight",
    "rules",
    "fallthrough",
    "serve",
    "split",
    "ranges",
    "slot",
    "traffic",
    "environments",
];

/// The file.
pub fn yaml(app: &App) -> String {
    let mut root = vec![("app".to_owned(), Yaml::from(app.name().as_str()))];
    if let Some(entry) = app.entry(&At::app()) {
        root.extend(fields(&entry.document));
    }
    let environments = app.entries_of(Kind::Environment).map(|(at, entry)| {
        let mut map = fields(&entry.document);
        if let Some(traffic) = app.entry(&At::traffic(&at.environment)) {
            map.push(("traffic".to_owned(), ordered(&traffic.document)));
        }
        (at.environment.clone(), Yaml::Map(map))
    });
    root.push(("environments".to_owned(), Yaml::Map(environments.collect())));
    for (name, kind) in [("releases", Kind::Release), ("segments", Kind::Segment)] {
        let objects: Vec<_> =
            app.entries_of(kind).map(|(at, entry)| (at.key.clone(), ordered(&entry.document))).collect();
        if !objects.is_empty() {
            root.push((name.to_owned(), Yaml::Map(objects)));
        }
    }
    let flags: Vec<_> =
        app.entries_of(Kind::Flag).map(|(at, entry)| (at.key.clone(), flag(app, at, &entry.document))).collect();
    if !flags.is_empty() {
        root.push(("flags".to_owned(), Yaml::Map(flags)));
    }
    to_yaml(&Yaml::Map(root))
}

fn flag(app: &App, at: &At, definition: &Value) -> Yaml {
    let mut map = fields(definition);
    for (name, value) in &mut map {
        if name == "variants" {
            *value = variants(definition);
        }
    }
    let targetings = app.entries_of(Kind::Targeting).filter(|(its, _)| its.key == at.key);
    let targetings: Vec<_> =
        targetings.map(|(its, entry)| (its.environment.clone(), ordered(&entry.document))).collect();
    if !targetings.is_empty() {
        map.push(("environments".to_owned(), Yaml::Map(targetings)));
    }
    Yaml::Map(map)
}

/// A mapping, which in YAML has an order.
fn variants(definition: &Value) -> Yaml {
    let listed = definition.get("variants").and_then(Value::as_array).into_iter().flatten();
    let pair = |item: &Value| Some((item.get("key")?.as_str()?.to_owned(), Yaml::from(item.get("value")?.clone())));
    Yaml::Map(listed.filter_map(pair).collect())
}

fn ordered(value: &Value) -> Yaml {
    match value {
        Value::Object(_) => Yaml::Map(fields(value)),
        Value::Array(items) => Yaml::List(items.iter().map(ordered).collect()),
        other => Yaml::from(other.clone()),
    }
}

fn fields(object: &Value) -> Vec<(String, Yaml)> {
    let place = |key: &str| ORDER.iter().position(|known| *known == key).unwrap_or(ORDER.len());
    let mut fields: Vec<_> =
        object.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), ordered(value))).collect();
    fields.sort_by_key(|(key, _)| place(key));
    fields
}
