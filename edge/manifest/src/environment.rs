//! Environments: their traffic, what the edge does around it, and their order of promotion.

use std::collections::BTreeMap;

use edge_engine::{
    EnvironmentName,
    wire::{BreakerWire, EdgeWire, HealthWire, TrafficWire},
};

use super::{
    declared::Declared,
    fields::{self, Fields},
    finding::Position,
    node::{Entry, Node, excerpt},
    release,
    report::Report,
    traffic,
};

/// One entry under `environments`.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) name: EnvironmentName,
    pub(super) description: Option<String>,
    pub(super) promotes_from: Option<EnvironmentName>,
    pub(super) unit: Vec<String>,
    pub(super) traffic: TrafficWire,
    pub(super) edge: EdgeWire,
    pub(super) node: Node,
    pub(super) place: Position,
}

impl Environment {
    pub(super) fn read(entry: &Entry, declared: &Declared, report: &mut Report) -> Option<Self> {
        let name = fields::key_name(&entry.key, entry.key_at, EnvironmentName::new, report);
        let mut fields = Fields::of(&entry.value, entry.key_at, "an environment", report)?;
        let description = fields::description(&mut fields, report);
        let promotes_from = fields.optional("promotesFrom").and_then(|entry| {
            let name = fields::text(&entry.value, "an environment's name", report)?;
            let known = declared.environment(name, entry.value.at, report);
            EnvironmentName::new(name).ok().filter(|_| known)
        });
        let unit = traffic::unit(fields.optional("unit"), report).unwrap_or_default();
        let traffic = traffic::traffic(fields.optional("traffic"), declared, report);
        let edge = edge(&mut fields, report);
        fields.done(report);
        let (node, place) = (entry.value.clone(), entry.key_at);
        Some(Self { name: name?, description, promotes_from, unit, traffic, edge, node, place })
    }
}

fn edge(fields: &mut Fields<'_>, report: &mut Report) -> EdgeWire {
    EdgeWire {
        hosts: texts(fields.optional("hosts"), "\"hosts\"", "a host", report),
        debug: fields::boolean(fields.optional("debug"), false, report),
        timeouts: fields.optional("timeouts").map(|entry| release::timeouts(entry, report)).unwrap_or_default(),
        shield: fields::boolean(fields.optional("shield"), false, report),
        health: fields.optional("health").and_then(|entry| health(entry, report)),
        breaker: fields.optional("breaker").and_then(|entry| breaker(entry, report)).unwrap_or_default(),
        rollback_grace_ms: fields::integer(fields.optional("rollbackGraceMs"), report),
        cors: texts(fields.optional("cors"), "\"cors\"", "an origin", report),
    }
}

fn texts(entry: Option<&Entry>, list: &'static str, item: &'static str, report: &mut Report) -> Vec<String> {
    let Some(entry) = entry else { return Vec::new() };
    let items = fields::list(&entry.value, list, report);
    items.iter().filter_map(|entry| fields::text(entry, item, report)).map(str::to_owned).collect()
}

fn health(entry: &Entry, report: &mut Report) -> Option<HealthWire> {
    let mut fields = Fields::of(&entry.value, entry.place(), "health", report)?;
    let path = fields.required("path", report).and_then(|entry| fields::text(&entry.value, "a path", report));
    let health = HealthWire {
        path: path.unwrap_or("/").to_owned(),
        interval_ms: fields::integer(fields.optional("intervalMs"), report),
        timeout_ms: fields::integer(fields.optional("timeoutMs"), report),
        unhealthy_after: fields::integer(fields.optional("unhealthyAfter"), report),
        healthy_after: fields::integer(fields.optional("healthyAfter"), report),
    };
    fields.done(report);
    Some(health)
}

fn breaker(entry: &Entry, report: &mut Report) -> Option<BreakerWire> {
    let mut fields = Fields::of(&entry.value, entry.place(), "breaker", report)?;
    let breaker = BreakerWire {
        consecutive_failures: fields::integer(fields.optional("consecutiveFailures"), report),
        open_ms: fields::integer(fields.optional("openMs"), report),
    };
    fields.done(report);
    Some(breaker)
}

/// Where a value of an environment is.
impl Environment {
    fn at<'s>(&self, steps: impl IntoIterator<Item = &'s str>) -> Position {
        self.node.place(self.place, steps)
    }
}

/// An order of promotion that comes back to where it started has no first environment.
pub(super) fn check_promotion(environments: &[Environment], report: &mut Report) {
    let from: BTreeMap<&str, Option<&str>> = environments
        .iter()
        .map(|environment| (environment.name.as_str(), environment.promotes_from.as_ref().map(EnvironmentName::as_str)))
        .collect();
    for environment in environments {
        let start = environment.name.as_str();
        let mut way = vec![start];
        let mut next = from.get(start).copied().flatten();
        while let Some(name) = next {
            if name == start {
                way.push(start);
                let detail = format!("the order of promotion is a circle: {}", way.join(" <- "));
                report.add(environment.at(["promotesFrom"]), "promotion_cycle", detail);
                break;
            }
            if way.contains(&name) {
                break;
            }
            way.push(name);
            next = from.get(name).copied().flatten();
        }
    }
}

/// A host selects one environment.
pub(super) fn check_hosts(environments: &[Environment], report: &mut Report) {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for environment in environments {
        for (index, host) in environment.edge.hosts.iter().enumerate() {
            let owner = owners.entry(host.to_ascii_lowercase()).or_insert(environment.name.as_str());
            if *owner != environment.name.as_str() {
                let detail = format!("the host \"{}\" already selects the environment \"{owner}\"", excerpt(host));
                report.add(environment.at(["hosts", &index.to_string()]), "host_duplicate", detail);
            }
        }
    }
}
