//! What the control plane says of itself, to anybody.

use serde_json::json;
use tests::edge::Edge;

use super::shop;
use crate::rig::eventually;

#[test]
fn health_looks_at_every_part() {
    let plane = shop();
    let health = || plane.request("GET", "/api/health").send();
    let alone = health();
    assert_eq!((alone.status, &alone.body["status"]), (200, &json!("healthy")), "{alone:?}");
    let checks = alone.body["checks"].as_object().expect("checks");
    assert_eq!(checks.keys().collect::<Vec<_>>(), ["disk", "edges", "memory", "snapshots", "store"]);
    assert!(checks["store"]["latencyMs"].as_f64().is_some_and(|latency| latency > 0.0), "{alone:?}");
    assert!(checks["disk"]["freeBytes"].as_u64().is_some_and(|free| free > 0));
    let memory = &checks["memory"];
    assert!(memory["limitBytes"].as_u64() > memory["residentBytes"].as_u64() && memory["residentBytes"].is_u64());
    assert_eq!(checks["snapshots"]["environments"], 2);
    assert_eq!((&checks["edges"]["status"], &checks["edges"]["seen"]), (&json!("healthy"), &json!(0)));
    drop(Edge::connect(&plane, "e1", None));
    let lost = |answer: &serde_json::Value| answer["connected"] == 0 && answer["status"] == "warn";
    eventually("the edge is missed", || health().body["checks"]["edges"].clone(), lost);
    assert_eq!(health().body["status"], "healthy", "a lost edge does not make the control plane ill");
}
