//! Objects as JSON, each in one form: what two texts say alike becomes the same document.
//!
//! What equals its default is left out, except what a reader would look for. Reading a document again gives what it was
//! made from. Variants are a list, because the members of a JSON object have no order.

use edge_engine::{
    SIPHASH24_V1,
    wire::{FlagType, PrerequisiteWire, RangeWire, ReleaseWire, ServeWire, TimeoutsWire, TrafficWire},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Manifest, Segment,
    environment::Environment,
    flag::{Flag, Targeting},
    release::Release,
    share, traffic as reader,
};

/// Which part of an app an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The app itself.
    App,
    /// An environment without its traffic.
    Environment,
    /// The traffic of an environment.
    Traffic,
    /// A release.
    Release,
    /// A segment.
    Segment,
    /// A flag without its targeting.
    Flag,
    /// A flag in one environment.
    Targeting,
}

/// One object of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// What it is.
    pub part: Part,
    /// The environment it belongs to; empty for none.
    pub environment: String,
    /// Its key; empty for the app and for a traffic.
    pub key: String,
    /// Its document.
    pub document: Value,
}

pub(super) fn objects(manifest: &Manifest) -> Vec<Object> {
    let object = |part, environment: &str, key: &str, document| Object {
        part,
        environment: environment.to_owned(),
        key: key.to_owned(),
        document,
    };
    let mut app = Map::new();
    put(&mut app, "description", manifest.description.as_ref());
    let mut objects = vec![object(Part::App, "", "", Value::Object(app))];
    for environment_of in &manifest.environments {
        let name = environment_of.name.as_str();
        objects.push(object(Part::Environment, name, name, environment(environment_of)));
        let traffic = traffic(&environment_of.traffic);
        if !traffic.is_null() {
            objects.push(object(Part::Traffic, name, "", traffic));
        }
    }
    objects.extend(manifest.releases.values().map(|one| object(Part::Release, "", one.id.as_str(), release(one))));
    objects.extend(manifest.segments.values().map(|one| object(Part::Segment, "", one.key.as_str(), segment(one))));
    for one in &manifest.flags {
        objects.push(object(Part::Flag, "", one.key.as_str(), flag(one)));
        let each = one.targeting.iter();
        objects.extend(each.map(|(environment, its)| {
            object(Part::Targeting, environment.as_str(), one.key.as_str(), targeting(one, its))
        }));
    }
    objects
}

fn put(map: &mut Map<String, Value>, key: &str, value: Option<impl Serialize>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), to_value(value));
    }
}

fn put_if(map: &mut Map<String, Value>, key: &str, condition: bool, value: impl Serialize) {
    put(map, key, condition.then_some(value));
}

/// Maps here have text keys, and nothing else can fail.
fn to_value(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

pub(super) fn flag(flag: &Flag) -> Value {
    let word = match flag.r#type {
        FlagType::Boolean => "boolean",
        FlagType::String => "string",
        FlagType::Number => "number",
        FlagType::Object => "object",
    };
    let mut map = Map::new();
    put(&mut map, "description", flag.description.as_ref());
    put_if(&mut map, "archived", flag.archived, true);
    put_if(&mut map, "id", flag.id != flag.key.as_str(), &flag.id);
    put(&mut map, "type", Some(word));
    put(&mut map, "variants", Some(&flag.variants));
    put(&mut map, "offVariant", Some(&flag.off_variant));
    put_if(&mut map, "forward", flag.forward, true);
    put_if(&mut map, "clientVisible", flag.client_visible, true);
    put(&mut map, "salt", flag.salt.as_ref());
    put_if(&mut map, "algorithm", flag.algorithm != SIPHASH24_V1, flag.algorithm);
    put(&mut map, "unit", flag.unit.as_ref());
    put_if(&mut map, "prerequisites", !flag.prerequisites.is_empty(), prerequisites(&flag.prerequisites));
    Value::Object(map)
}

fn prerequisites(list: &[PrerequisiteWire]) -> Value {
    list.iter().map(|one| json!({"flag": one.flag, "is": one.is})).collect()
}

pub(super) fn targeting(flag: &Flag, targeting: &Targeting) -> Value {
    let mut map = Map::new();
    put(&mut map, "enabled", Some(targeting.enabled));
    let rules = targeting.rules.iter().map(|rule| {
        let served = ServeWire { serve: rule.serve.clone(), split: rule.split.clone() };
        let mut map = serve(flag, &served);
        put(&mut map, "id", Some(&rule.id));
        put(&mut map, "when", Some(&rule.when));
        Value::Object(map)
    });
    put_if(&mut map, "rules", !targeting.rules.is_empty(), rules.collect::<Value>());
    put(&mut map, "fallthrough", Some(serve(flag, &targeting.fallthrough)));
    put(&mut map, "prerequisites", targeting.prerequisites.as_deref().map(prerequisites));
    Value::Object(map)
}

fn serve(flag: &Flag, served: &ServeWire) -> Map<String, Value> {
    let mut map = Map::new();
    put(&mut map, "serve", served.serve.as_ref());
    if let Some(ranges) = served.split.as_ref().filter(|_| flag.algorithm != SIPHASH24_V1) {
        let weight = |range: &RangeWire| json!({"variant": range.variant, "weight": range.to - range.from});
        map.insert("split".to_owned(), ranges.iter().map(weight).collect());
    } else if let Some(ranges) = &served.split {
        let share = |key: &str| -> u32 {
            let own = ranges.iter().filter(|range| range.variant.as_str() == key);
            own.map(|range| range.to - range.from).sum()
        };
        let shares = flag.variants.iter().map(|variant| (variant.key.clone(), share(variant.key.as_str())));
        let shares: Vec<_> = shares.filter(|(_, share)| *share > 0).collect();
        let split = shares.iter().map(|(key, share)| (key.as_str().to_owned(), percentage(*share)));
        map.insert("split".to_owned(), Value::Object(split.collect()));
        put_if(&mut map, "ranges", share::tile(shares) != *ranges, as_ranges(ranges));
    }
    map
}

fn as_ranges(ranges: &[RangeWire]) -> Value {
    ranges.iter().map(to_value).collect()
}

/// A share as the shortest number that reads as the same share.
fn percentage(share: u32) -> Value {
    serde_json::from_str(&share::display(share)).unwrap_or_default()
}

pub(super) fn segment(segment: &Segment) -> Value {
    let mut map = Map::new();
    put(&mut map, "description", segment.description.as_ref());
    put(&mut map, "when", Some(&segment.wire.when));
    Value::Object(map)
}

pub(super) fn release(release: &Release) -> Value {
    let ReleaseWire { version, commit, upstreams, rollback_plan, timeouts } = &release.wire;
    let mut map = Map::new();
    put(&mut map, "description", release.description.as_ref());
    put(&mut map, "version", Some(version));
    put(&mut map, "commit", commit.as_ref());
    put(&mut map, "upstreams", Some(upstreams));
    put(&mut map, "rollbackPlan", rollback_plan.as_ref());
    put(&mut map, "timeouts", timeouts.as_ref().filter(|timeouts| **timeouts != TimeoutsWire::default()));
    Value::Object(map)
}

pub(super) fn environment(environment: &Environment) -> Value {
    let edge = &environment.edge;
    let mut map = Map::new();
    put(&mut map, "description", environment.description.as_ref());
    put(&mut map, "promotesFrom", environment.promotes_from.as_ref());
    put_if(&mut map, "hosts", !edge.hosts.is_empty(), &edge.hosts);
    put_if(&mut map, "debug", edge.debug, true);
    put_if(&mut map, "unit", !environment.unit.is_empty(), &environment.unit);
    put_if(&mut map, "timeouts", edge.timeouts != TimeoutsWire::default(), &edge.timeouts);
    put_if(&mut map, "shield", edge.shield, true);
    put(&mut map, "health", edge.health.as_ref());
    put_if(&mut map, "breaker", edge.breaker != edge_engine::wire::BreakerWire::default(), &edge.breaker);
    put(&mut map, "rollbackGraceMs", edge.rollback_grace_ms);
    put_if(&mut map, "cors", !edge.cors.is_empty(), &edge.cors);
    Value::Object(map)
}

/// Null when no slot holds a release.
pub(super) fn traffic(wire: &TrafficWire) -> Value {
    if wire.slots.blue.is_none() && wire.slots.green.is_none() {
        return Value::Null;
    }
    let mut map = Map::new();
    put(&mut map, "active", Some(wire.active));
    put(&mut map, "slots", Some(&wire.slots));
    put(&mut map, "candidateWeight", Some(percentage(wire.candidate_weight)));
    put_if(&mut map, "salt", wire.salt != reader::default_salt(wire), &wire.salt);
    put_if(&mut map, "algorithm", wire.algorithm != SIPHASH24_V1, &wire.algorithm);
    put_if(&mut map, "rules", !wire.rules.is_empty(), &wire.rules);
    put(&mut map, "override", wire.r#override.as_ref());
    put(&mut map, "pin", wire.pin.as_ref());
    let regions = wire.regions.iter();
    let regions: Map<String, Value> = regions
        .map(|(name, region)| {
            (name.as_str().to_owned(), json!({"candidateWeight": percentage(region.candidate_weight)}))
        })
        .collect();
    put_if(&mut map, "regions", !regions.is_empty(), &regions);
    put_if(&mut map, "rolledBack", !wire.rolled_back.is_empty(), &wire.rolled_back);
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load;

    const EVERYTHING: &str = r#"
app: web
description: the shop
environments:
  staging: {}
  production:
    description: for customers
    promotesFrom: staging
    hosts: [shop.example]
    debug: true
    unit: [header:x-user-id]
    timeouts: {connectMs: 100}
    shield: true
    health: {path: /up}
    breaker: {openMs: 5}
    rollbackGraceMs: 0
    cors: ["https://app.example"]
    traffic:
      active: green
      slots: {blue: web-1, green: web-2}
      candidateWeight: 0.0001
      rules: [{when: {segment: staff}, slot: green}]
      override: {header: x-try}
      pin: {maxAgeSeconds: 60}
      regions: {eu: {candidateWeight: 33.3333}}
      rolledBack: [web-1]
releases:
  web-1: {version: 1.10, commit: 007, upstreams: [{url: "http://h:1", region: eu, protocol: http2}]}
  web-2: {version: 2, description: new, upstreams: [{url: "http://h:2"}], rollbackPlan: plan, timeouts: {totalMs: 9}}
segments:
  staff: {description: us, when: {any: [{attr: email, op: endsWith, values: ["@x"]}, {not: {flag: b, is: on}}]}}
flags:
  b: {}
  size:
    id: older
    type: number
    archived: true
    variants: {small: 1, large: 1.50, odd: 2}
    offVariant: small
    forward: true
    clientVisible: true
    salt: s
    unit: [cookie:c]
    prerequisites: [{flag: b, is: [on]}]
    environments:
      production:
        enabled: false
        prerequisites: []
        rules: [{when: {all: []}, split: {large: 0.5, small: 99.5}}]
        fallthrough:
          split: {small: 40, large: 60}
          ranges: [{variant: large, from: 0, to: 600000}, {variant: small, from: 600000, to: 1000000}]
      staging: {fallthrough: odd}
  imported:
    algorithm: flagd-v2
    environments:
      staging: {fallthrough: {split: [{variant: on, weight: 3}, {variant: off, weight: 4}, {variant: on, weight: 1}]}}
"#;

    /// The objects put together as a document of JSON, which is YAML.
    fn whole(objects: &[Object]) -> String {
        let mut root = json!({"app": "web", "environments": {}, "releases": {}, "segments": {}, "flags": {}});
        for Object { part, environment, key, document } in objects {
            match part {
                Part::App => root["description"] = document["description"].clone(),
                Part::Environment => root["environments"][key] = document.clone(),
                Part::Traffic => root["environments"][environment]["traffic"] = document.clone(),
                Part::Release => root["releases"][key] = document.clone(),
                Part::Segment => root["segments"][key] = document.clone(),
                Part::Flag => root["flags"][key] = document.clone(),
                Part::Targeting => root["flags"][key]["environments"][environment] = document.clone(),
            }
        }
        root.to_string()
    }

    #[test]
    fn what_is_shown_reads_as_what_it_was_made_from() {
        let manifest = load(EVERYTHING, "a.yaml").expect("sound");
        let objects = manifest.objects();
        let again = load(&whole(&objects), "b.yaml").expect("sound");
        let sorted = |mut objects: Vec<Object>| {
            objects.sort_by(|a, b| (a.part, &a.environment, &a.key).cmp(&(b.part, &b.environment, &b.key)));
            objects
        };
        assert_eq!(sorted(again.objects()), sorted(objects));
        for environment in manifest.environments() {
            assert_eq!(again.snapshot(environment, 1, "t"), manifest.snapshot(environment, 1, "t"));
        }
    }

    #[test]
    fn texts_stay_texts_and_shares_stay_exact() {
        let objects = load(EVERYTHING, "a.yaml").expect("sound").objects();
        let document = |part, key: &str| {
            let found = objects.iter().find(|object| object.part == part && object.key == key);
            &found.expect("there").document
        };
        assert_eq!(document(Part::Release, "web-1")["version"], "1.10");
        assert_eq!(document(Part::Release, "web-1")["commit"], "007");
        assert_eq!(document(Part::Traffic, "")["candidateWeight"].to_string(), "0.0001");
        assert_eq!(document(Part::Flag, "size")["variants"][1]["value"].to_string(), "1.5");
        assert_eq!(document(Part::Flag, "size")["variants"][2]["key"], "odd");
    }

    #[test]
    fn two_ways_to_say_it_are_one_document() {
        let with = |flag: &str| {
            let text = format!("app: a\nenvironments: {{p: {{}}}}\nflags: {{f: {{environments: {{p: {flag}}}}}}}\n");
            load(&text, "a.yaml").expect("sound").objects()
        };
        assert_eq!(with("{}"), with("{enabled: true, fallthrough: {serve: on}}"));
        assert_eq!(with("{fallthrough: on}"), with("{rules: [], fallthrough: on}"));
    }
}
