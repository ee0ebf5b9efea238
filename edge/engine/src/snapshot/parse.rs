//! The readers of format `v1`: one function per object of the document.

use super::read::{Fields, Node, tree};
use super::wire::{
    BreakerWire, ConditionWire, EdgeWire, FlagRuleWire, FlagType, FlagWire, HealthWire, OverrideWire, PinWire,
    PrerequisiteWire, RangeWire, RegionWire, ReleaseWire, RouteRuleWire, SegmentWire, ServeWire, SlotsWire,
    SnapshotWire, TimeoutsWire, TrafficWire, UpstreamProtocol, UpstreamWire, VariantWire,
};
use crate::names::{
    AppName, EnvironmentName, FlagKey, KeyId, RegionName, ReleaseId, RuleId, SegmentKey, Slot, VariantKey,
};
use crate::problem::{Problem, Problems};

type P<'p> = &'p mut Problems;

/// Reads the JSON document of a snapshot.
pub fn parse(json: &[u8]) -> Result<SnapshotWire, Vec<Problem>> {
    let tree = tree(json)?;
    let mut problems = Problems::default();
    let wire = tree.object(&mut problems, snapshot);
    problems.finish(wire)
}

fn snapshot(fields: &mut Fields<'_>, p: P<'_>) -> Option<SnapshotWire> {
    let format = fields.required("format", p, Node::text);
    let app = fields.required("app", p, |node, p| node.name(AppName::new, p));
    let environment = fields.required("environment", p, |node, p| node.name(EnvironmentName::new, p));
    let number = fields.required("number", p, Node::u64);
    let created_at = fields.required("createdAt", p, Node::text);
    let bucketing_key_id = fields.required("bucketingKeyId", p, |node, p| node.name(KeyId::new, p));
    let unit = fields.or_default("unit", p, texts);
    let traffic = fields.required("traffic", p, |node, p| node.object(p, traffic));
    let releases =
        fields.or_default("releases", p, |node, p| node.map(p, ReleaseId::new, |node, p| node.object(p, release)));
    let segments = fields.or_default("segments", p, |node, p| {
        let segment = |node: Node<'_>, p: P<'_>| {
            node.object(p, |fields, p| Some(SegmentWire { when: fields.required("when", p, condition)? }))
        };
        node.map(p, SegmentKey::new, segment)
    });
    let flags = fields.or_default("flags", p, |node, p| node.map(p, FlagKey::new, |node, p| node.object(p, flag)));
    let edge = fields.or_default("edge", p, |node, p| node.object(p, edge));
    Some(SnapshotWire {
        format: format?,
        app: app?,
        environment: environment?,
        number: number?,
        created_at: created_at?,
        bucketing_key_id: bucketing_key_id?,
        unit: unit?,
        traffic: traffic?,
        releases: releases?,
        segments: segments?,
        flags: flags?,
        edge: edge?,
    })
}

fn texts(node: Node<'_>, p: P<'_>) -> Option<Vec<String>> {
    node.list(p, Node::text)
}

fn slot(node: Node<'_>, p: P<'_>) -> Option<Slot> {
    node.word(&[("blue", Slot::Blue), ("green", Slot::Green)], p)
}

fn release_id(node: Node<'_>, p: P<'_>) -> Option<ReleaseId> {
    node.name(ReleaseId::new, p)
}

fn variant_key(node: Node<'_>, p: P<'_>) -> Option<VariantKey> {
    node.name(VariantKey::new, p)
}

fn algorithm(fields: &mut Fields<'_>, p: P<'_>) -> Option<String> {
    let algorithm = fields.optional("algorithm", p, Node::text)?;
    Some(algorithm.unwrap_or_else(|| crate::bucket::SIPHASH24_V1.to_owned()))
}

fn traffic(fields: &mut Fields<'_>, p: P<'_>) -> Option<TrafficWire> {
    let active = fields.required("active", p, slot);
    let slots = fields.required("slots", p, |node, p| node.object(p, slots));
    let candidate_weight = fields.or_default("candidateWeight", p, Node::u32);
    let salt = fields.required("salt", p, Node::text);
    let algorithm = algorithm(fields, p);
    let rules = fields.or_default("rules", p, |node, p| node.list(p, |node, p| node.object(p, route_rule)));
    let r#override = fields.optional("override", p, |node, p| node.object(p, overrides));
    let pin = fields.optional("pin", p, |node, p| {
        node.object(p, |fields, p| Some(PinWire { max_age_seconds: fields.required("maxAgeSeconds", p, Node::u32)? }))
    });
    let regions = fields.or_default("regions", p, |node, p| {
        node.map(p, RegionName::new, |node, p| {
            let weight = |fields: &mut Fields<'_>, p: P<'_>| fields.required("candidateWeight", p, Node::u32);
            node.object(p, |fields, p| Some(RegionWire { candidate_weight: weight(fields, p)? }))
        })
    });
    let rolled_back = fields.or_default("rolledBack", p, |node, p| node.list(p, release_id));
    Some(TrafficWire {
        active: active?,
        slots: slots?,
        candidate_weight: candidate_weight?,
        salt: salt?,
        algorithm: algorithm?,
        rules: rules?,
        r#override: r#override?,
        pin: pin?,
        regions: regions?,
        rolled_back: rolled_back?,
    })
}

fn slots(fields: &mut Fields<'_>, p: P<'_>) -> Option<SlotsWire> {
    let blue = fields.optional("blue", p, release_id);
    let green = fields.optional("green", p, release_id);
    Some(SlotsWire { blue: blue?, green: green? })
}

fn route_rule(fields: &mut Fields<'_>, p: P<'_>) -> Option<RouteRuleWire> {
    let id = fields.required("id", p, |node, p| node.name(RuleId::new, p));
    let when = fields.required("when", p, condition);
    let slot = fields.required("slot", p, slot);
    Some(RouteRuleWire { id: id?, when: when?, slot: slot? })
}

fn overrides(fields: &mut Fields<'_>, p: P<'_>) -> Option<OverrideWire> {
    let header = fields.optional("header", p, Node::text);
    let cookie = fields.optional("cookie", p, Node::text);
    let query = fields.optional("query", p, Node::text);
    Some(OverrideWire { header: header?, cookie: cookie?, query: query? })
}

fn release(fields: &mut Fields<'_>, p: P<'_>) -> Option<ReleaseWire> {
    let version = fields.required("version", p, Node::text);
    let commit = fields.optional("commit", p, Node::text);
    let upstreams = fields.required("upstreams", p, |node, p| node.list(p, |node, p| node.object(p, upstream)));
    let rollback_plan = fields.optional("rollbackPlan", p, Node::text);
    let timeouts = fields.optional("timeouts", p, |node, p| node.object(p, timeouts));
    Some(ReleaseWire {
        version: version?,
        commit: commit?,
        upstreams: upstreams?,
        rollback_plan: rollback_plan?,
        timeouts: timeouts?,
    })
}

fn upstream(fields: &mut Fields<'_>, p: P<'_>) -> Option<UpstreamWire> {
    let url = fields.required("url", p, Node::text);
    let region = fields.optional("region", p, |node, p| node.name(RegionName::new, p));
    let protocol = fields.or_default("protocol", p, |node, p| {
        node.word(&[("http1", UpstreamProtocol::Http1), ("http2", UpstreamProtocol::Http2)], p)
    });
    Some(UpstreamWire { url: url?, region: region?, protocol: protocol? })
}

fn flag(fields: &mut Fields<'_>, p: P<'_>) -> Option<FlagWire> {
    const TYPES: [(&str, FlagType); 4] = [
        ("boolean", FlagType::Boolean),
        ("string", FlagType::String),
        ("number", FlagType::Number),
        ("object", FlagType::Object),
    ];
    let id = fields.required("id", p, Node::text);
    let kind = fields.required("type", p, |node, p| node.word(&TYPES, p));
    let variants = fields.required("variants", p, |node, p| node.list(p, |node, p| node.object(p, variant)));
    let off_variant = fields.required("offVariant", p, variant_key);
    let enabled = fields.required("enabled", p, Node::bool);
    let forward = fields.or_default("forward", p, Node::bool);
    let client_visible = fields.or_default("clientVisible", p, Node::bool);
    let salt = fields.optional("salt", p, Node::text);
    let algorithm = algorithm(fields, p);
    let unit = fields.optional("unit", p, texts);
    let prerequisites =
        fields.or_default("prerequisites", p, |node, p| node.list(p, |node, p| node.object(p, prerequisite)));
    let rules = fields.or_default("rules", p, |node, p| node.list(p, |node, p| node.object(p, flag_rule)));
    let fallthrough = fields.required("fallthrough", p, |node, p| node.object(p, serve));
    Some(FlagWire {
        id: id?,
        r#type: kind?,
        variants: variants?,
        off_variant: off_variant?,
        enabled: enabled?,
        forward: forward?,
        client_visible: client_visible?,
        salt: salt?,
        algorithm: algorithm?,
        unit: unit?,
        prerequisites: prerequisites?,
        rules: rules?,
        fallthrough: fallthrough?,
    })
}

fn variant(fields: &mut Fields<'_>, p: P<'_>) -> Option<VariantWire> {
    let key = fields.required("key", p, variant_key);
    let value = fields.required("value", p, |node, _| Some(node.json()));
    Some(VariantWire { key: key?, value: value? })
}

fn prerequisite(fields: &mut Fields<'_>, p: P<'_>) -> Option<PrerequisiteWire> {
    let flag = fields.required("flag", p, |node, p| node.name(FlagKey::new, p));
    let is = fields.required("is", p, |node, p| node.list(p, variant_key));
    Some(PrerequisiteWire { flag: flag?, is: is? })
}

fn flag_rule(fields: &mut Fields<'_>, p: P<'_>) -> Option<FlagRuleWire> {
    let id = fields.required("id", p, |node, p| node.name(RuleId::new, p));
    let when = fields.required("when", p, condition);
    let ServeWire { serve, split } = serve(fields, p)?;
    Some(FlagRuleWire { id: id?, when: when?, serve, split })
}

fn serve(fields: &mut Fields<'_>, p: P<'_>) -> Option<ServeWire> {
    let serve = fields.optional("serve", p, variant_key);
    let split = fields.optional("split", p, |node, p| node.list(p, |node, p| node.object(p, range)));
    Some(ServeWire { serve: serve?, split: split? })
}

fn range(fields: &mut Fields<'_>, p: P<'_>) -> Option<RangeWire> {
    let variant = fields.required("variant", p, variant_key);
    let from = fields.required("from", p, Node::u32);
    let to = fields.required("to", p, Node::u32);
    Some(RangeWire { variant: variant?, from: from?, to: to? })
}

/// Recursion is bounded by `serde_json`, which refuses more than 128 levels.
fn condition(node: Node<'_>, p: P<'_>) -> Option<ConditionWire> {
    node.object(p, |fields, p| {
        let all = fields.optional("all", p, |node, p| node.list(p, condition));
        let any = fields.optional("any", p, |node, p| node.list(p, condition));
        let not = fields.optional("not", p, |node, p| condition(node, p).map(Box::new));
        let attr = fields.optional("attr", p, Node::text);
        let op = fields.optional("op", p, Node::text);
        let values = fields.optional("values", p, |node, p| node.list(p, |node, _| Some(node.json())));
        let segment = fields.optional("segment", p, |node, p| node.name(SegmentKey::new, p));
        let flag = fields.optional("flag", p, |node, p| node.name(FlagKey::new, p));
        let is = fields.optional("is", p, |node, p| node.list(p, variant_key));
        Some(ConditionWire {
            all: all?,
            any: any?,
            not: not?,
            attr: attr?,
            op: op?,
            values: values?,
            segment: segment?,
            flag: flag?,
            is: is?,
        })
    })
}

fn edge(fields: &mut Fields<'_>, p: P<'_>) -> Option<EdgeWire> {
    let hosts = fields.or_default("hosts", p, texts);
    let debug = fields.or_default("debug", p, Node::bool);
    let timeouts = fields.or_default("timeouts", p, |node, p| node.object(p, timeouts));
    let shield = fields.or_default("shield", p, Node::bool);
    let health = fields.optional("health", p, |node, p| node.object(p, health));
    let breaker = fields.or_default("breaker", p, |node, p| {
        node.object(p, |fields, p| {
            let consecutive_failures = fields.optional("consecutiveFailures", p, Node::u32);
            let open_ms = fields.optional("openMs", p, Node::u32);
            Some(BreakerWire { consecutive_failures: consecutive_failures?, open_ms: open_ms? })
        })
    });
    let rollback_grace_ms = fields.optional("rollbackGraceMs", p, Node::u32);
    let cors = fields.or_default("cors", p, texts);
    Some(EdgeWire {
        hosts: hosts?,
        debug: debug?,
        timeouts: timeouts?,
        shield: shield?,
        health: health?,
        breaker: breaker?,
        rollback_grace_ms: rollback_grace_ms?,
        cors: cors?,
    })
}

fn timeouts(fields: &mut Fields<'_>, p: P<'_>) -> Option<TimeoutsWire> {
    let connect_ms = fields.optional("connectMs", p, Node::u32);
    let read_ms = fields.optional("readMs", p, Node::u32);
    let total_ms = fields.optional("totalMs", p, Node::u32);
    Some(TimeoutsWire { connect_ms: connect_ms?, read_ms: read_ms?, total_ms: total_ms? })
}

fn health(fields: &mut Fields<'_>, p: P<'_>) -> Option<HealthWire> {
    let path = fields.required("path", p, Node::text);
    let interval_ms = fields.optional("intervalMs", p, Node::u32);
    let timeout_ms = fields.optional("timeoutMs", p, Node::u32);
    let unhealthy_after = fields.optional("unhealthyAfter", p, Node::u32);
    let healthy_after = fields.optional("healthyAfter", p, Node::u32);
    Some(HealthWire {
        path: path?,
        interval_ms: interval_ms?,
        timeout_ms: timeout_ms?,
        unhealthy_after: unhealthy_after?,
        healthy_after: healthy_after?,
    })
}
