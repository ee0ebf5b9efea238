//! What `/api/health` says: `{status, timestamp, checks: {name: {status, …}}}`.
//!
//! It owns the judgement of each check. `healthy` and `warn` leave the whole healthy; one `unhealthy`
//! check makes it unhealthy. A refused snapshot is a warning: the last good one serves. Details say what
//! an operator needs to act and nothing about clients.

use std::sync::Arc;

use admin::memory::Memory;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::gateway::board::{Board, Report as BoardReport};
use crate::gateway::breaker::Phase;
use crate::gateway::health::{Availability, HealthRegistry, ReleaseHealth};
use crate::state_dir::StateDir;
use crate::telemetry;

/// Less free space than this in the state directory's file system is a warning: a few generations of the
/// largest snapshot.
const LOW_SPACE: u64 = 256 << 20;

/// The judgement of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Healthy,
    /// Serving, but somebody should look.
    Warn,
    /// Not serving as it should.
    Unhealthy,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// The judgement.
    pub status: Status,
    /// What it is based on.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl Check {
    fn new(status: Status, details: Value) -> Self {
        let details = match details {
            Value::Object(details) => details,
            other => Map::from_iter([("detail".to_owned(), other)]),
        };
        Self { status, details }
    }
}

/// All checks at one moment.
#[derive(Debug, Clone)]
pub struct Report {
    /// When.
    pub timestamp: Timestamp,
    /// By name, in order.
    pub checks: Vec<(String, Check)>,
    /// Whether the process is on its way out.
    pub is_draining: bool,
    /// Whether any snapshot ever ran.
    pub has_snapshot: bool,
}

impl Report {
    /// Whether no check is unhealthy.
    pub fn is_healthy(&self) -> bool {
        self.checks.iter().all(|(_, check)| check.status != Status::Unhealthy)
    }

    /// Why no new requests should come here; `None` when they may. Stale or partly broken is ready:
    /// sending the requests elsewhere would not make it better.
    pub fn unready(&self) -> Option<&'static str> {
        if self.is_draining {
            return Some("draining");
        }
        (!self.has_snapshot).then_some("no snapshot yet")
    }

    /// The body.
    pub fn json(&self) -> String {
        let checks: Map<String, Value> = self.checks.iter().map(|(name, check)| (name.clone(), json!(check))).collect();
        // Written by hand, so that the order is the documented one.
        let status = if self.is_healthy() { "healthy" } else { "unhealthy" };
        let timestamp = telemetry::timestamp(self.timestamp);
        format!("{{\"status\":\"{status}\",\"timestamp\":\"{timestamp}\",\"checks\":{}}}\n", Value::Object(checks))
    }
}

/// What the checks look at.
#[derive(Debug)]
pub struct Sources {
    /// What runs and what was refused.
    pub board: Arc<Board>,
    /// What is known about upstreams.
    pub health: Arc<HealthRegistry>,
    /// Where snapshots are kept.
    pub state_dir: Option<Arc<StateDir>>,
}

impl Sources {
    /// Looks at everything.
    pub fn report(&self, is_draining: bool) -> Report {
        let board = self.board.report();
        let now = Timestamp::now();
        let mut checks = snapshots(&board, now);
        checks.extend(sources(&board));
        checks.extend(control_plane(&board));
        checks.extend(self.upstreams());
        checks.extend(self.disk(&board));
        checks.push(memory());
        if is_draining {
            checks.push(("lifecycle".to_owned(), Check::new(Status::Warn, json!({"state": "draining"}))));
        }
        Report { timestamp: now, checks, is_draining, has_snapshot: !board.environments.is_empty() }
    }

    fn upstreams(&self) -> Vec<(String, Check)> {
        let now = self.health.clock().now_ms();
        self.health.list().iter().map(|release| upstreams_of(release, now)).collect()
    }

    fn disk(&self, board: &BoardReport) -> Option<(String, Check)> {
        let dir = self.state_dir.as_ref()?;
        let name = "stateDir".to_owned();
        let mut details = match dir.space() {
            Ok(space) => json!({"freeBytes": space.free, "totalBytes": space.total}),
            Err(error) => return Some((name, Check::new(Status::Warn, json!({"error": telemetry::chain(&error)})))),
        };
        let is_low = details["freeBytes"].as_u64().is_some_and(|free| free < LOW_SPACE);
        if let Some(failure) = &board.save_failure {
            details["lastSaveFailed"] = failure.as_str().into();
        }
        let status = if is_low || board.save_failure.is_some() { Status::Warn } else { Status::Healthy };
        Some((name, Check::new(status, details)))
    }
}

fn snapshots(board: &BoardReport, now: Timestamp) -> Vec<(String, Check)> {
    if board.environments.is_empty() {
        return vec![("snapshot".to_owned(), Check::new(Status::Unhealthy, json!({"detail": "no snapshot yet"})))];
    }
    let check = |running: &crate::gateway::board::Running| {
        let age = now.duration_since(running.since).as_secs().max(0);
        // From disk means that the source was not good at the start.
        let status = if running.origin.as_str() == "state-dir" { Status::Warn } else { Status::Healthy };
        let origin = running.origin.as_str();
        let details = json!({
            "number": running.number, "createdAt": running.created_at, "ageSeconds": age, "origin": origin,
        });
        Check::new(status, details)
    };
    board.environments.iter().map(|(scope, running)| (format!("snapshot:{scope}"), check(running))).collect()
}

fn sources(board: &BoardReport) -> Vec<(String, Check)> {
    let check = |status: &crate::gateway::board::SourceStatus| match &status.refusal {
        None => Check::new(Status::Healthy, json!({"accepted": status.accepted, "refused": status.refused})),
        Some(refusal) => Check::new(
            Status::Warn,
            json!({
                "accepted": status.accepted, "refused": status.refused,
                "lastRefusal": {"at": telemetry::timestamp(refusal.at), "reason": refusal.reason},
            }),
        ),
    };
    board.sources.iter().map(|(path, status)| (format!("source:{}", path.display()), check(status))).collect()
}

/// Away, it changes nothing about what is served; so it is a warning, as is a snapshot that was not taken.
fn control_plane(board: &BoardReport) -> Option<(String, Check)> {
    let plane = board.control_plane.as_ref()?;
    let time = |at: Timestamp| telemetry::timestamp(at);
    let refusals: Map<String, Value> = plane
        .refusals
        .iter()
        .map(|(scope, it)| {
            let detail = json!({"number": it.number, "code": it.code, "detail": it.detail, "at": time(it.at)});
            (scope.to_string(), detail)
        })
        .collect();
    let is_fine = plane.is_connected && plane.reason.is_none() && refusals.is_empty();
    let mut details = json!({
        "url": plane.url, "connected": plane.is_connected, "since": time(plane.since),
        "lastContact": plane.last_contact.map(time), "reason": plane.reason, "reportsWaiting": plane.reports_waiting,
    });
    if !refusals.is_empty() {
        details["refused"] = Value::Object(refusals);
    }
    let status = if is_fine { Status::Healthy } else { Status::Warn };
    Some(("control_plane".to_owned(), Check::new(status, details)))
}

/// A release without any usable upstream is down, but the gateway is not: the active release answers for
/// a candidate, and no probe's restart brings an upstream back. So it is a warning.
fn upstreams_of(release: &ReleaseHealth, now: u64) -> (String, Check) {
    let key = release.key();
    let upstreams: Vec<_> = release.upstreams().map(|(url, record)| (url, record.availability(now))).collect();
    let phase = release.breaker().phase(now);
    let is_fine = phase == Phase::Closed && upstreams.iter().all(|(_, state)| *state == Availability::Healthy);
    let upstreams: Map<String, Value> =
        upstreams.iter().map(|(url, state)| (url.to_string(), Value::from(state.as_str()))).collect();
    let status = if is_fine { Status::Healthy } else { Status::Warn };
    let details = json!({"upstreams": upstreams, "breaker": phase.as_str()});
    (format!("upstreams:{}/{}", key.scope, key.release), Check::new(status, details))
}

fn memory() -> (String, Check) {
    let memory = Memory::now();
    let status = if memory.is_high() { Status::Warn } else { Status::Healthy };
    ("memory".to_owned(), Check::new(status, json!({"residentBytes": memory.resident, "limitBytes": memory.limit})))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::gateway::board::{ControlPlane, NotTaken, Origin};
    use crate::gateway::breaker::Policy;
    use crate::gateway::health::{FailureKind, ReleaseKey, ReleaseShape};
    use crate::gateway::scope::Scope;

    fn sources_of_health() -> Sources {
        Sources { board: Arc::default(), health: Arc::default(), state_dir: None }
    }

    fn parsed(report: &Report) -> Value {
        serde_json::from_str(&report.json()).expect("JSON")
    }

    #[test]
    fn the_shape_is_status_timestamp_and_checks_in_this_order() {
        let report = sources_of_health().report(false);
        let text = report.json();
        assert!(text.starts_with("{\"status\":\"unhealthy\",\"timestamp\":\"20"), "{text}");
        let value = parsed(&report);
        assert_eq!(value.as_object().expect("an object").len(), 3);
        let checks = value["checks"].as_object().expect("an object");
        let known = ["healthy", "warn", "unhealthy"];
        assert!(checks.values().all(|check| known.contains(&check["status"].as_str().expect("text"))), "{text}");
    }

    #[test]
    fn without_any_snapshot_it_is_unhealthy_and_not_ready() {
        let report = sources_of_health().report(false);
        assert!(!report.is_healthy());
        assert_eq!(report.unready(), Some("no snapshot yet"));
    }

    #[test]
    fn a_refused_source_is_a_warning_with_its_reason_and_the_gateway_stays_ready() {
        let sources = sources_of_health();
        sources.board.runs(&Scope::new("web", "production"), 7, "2026-01-01T00:00:00Z", Origin::Direct);
        sources.board.refused(Path::new("/etc/bascule/a.yaml"), "a.yaml:3:1: no".to_owned());
        let report = sources.report(false);
        assert!(report.is_healthy());
        assert_eq!(report.unready(), None);
        let value = parsed(&report);
        let check = &value["checks"]["source:/etc/bascule/a.yaml"];
        assert_eq!((&check["status"], &check["lastRefusal"]["reason"]), (&"warn".into(), &"a.yaml:3:1: no".into()));
        assert_eq!(value["checks"]["snapshot:web/production"]["number"], 7);
    }

    #[test]
    fn a_lost_control_plane_is_a_warning_with_its_reason() {
        let sources = sources_of_health();
        sources.board.runs(&Scope::new("web", "production"), 7, "", Origin::Direct);
        let seen = || parsed(&sources.report(false))["checks"]["control_plane"].clone();
        assert_eq!(seen(), Value::Null);
        sources.board.follows(ControlPlane::new("https://admin.example".to_owned()));
        sources.board.control_plane(ControlPlane::connected);
        assert_eq!((&seen()["status"], &seen()["connected"]), (&"healthy".into(), &true.into()));
        assert!(sources.board.control_plane(|plane| plane.lost("it answered 401")));
        assert!(!sources.board.control_plane(|plane| plane.lost("it answered 401")), "the same reason is no news");
        assert_eq!((&seen()["status"], &seen()["reason"]), (&"warn".into(), &"it answered 401".into()));
        assert!(sources.report(false).is_healthy());
        sources.board.control_plane(ControlPlane::connected);
        let refusal = NotTaken { at: Timestamp::now(), number: 8, code: "older", detail: "no".to_owned() };
        let scope = Scope::new("web", "production");
        sources.board.control_plane(|plane| drop(plane.refusals.insert(scope, refusal)));
        assert_eq!(
            (&seen()["status"], &seen()["refused"]["web/production"]["code"]),
            (&"warn".into(), &"older".into())
        );
    }

    #[test]
    fn draining_is_healthy_but_not_ready() {
        let sources = sources_of_health();
        sources.board.runs(&Scope::new("web", "production"), 1, "", Origin::Direct);
        let report = sources.report(true);
        assert_eq!((report.is_healthy(), report.unready()), (true, Some("draining")));
    }

    #[test]
    fn an_open_breaker_and_an_ejected_upstream_are_seen() {
        let sources = sources_of_health();
        let key = ReleaseKey { scope: Scope::new("web", "production"), release: "web-2".into() };
        let shape = ReleaseShape { key, urls: vec!["http://a"], breaker: Some(Policy::default()) };
        let release = sources.health.release(&shape);
        let seen = || parsed(&sources.report(false))["checks"]["upstreams:web/production/web-2"].clone();
        assert_eq!(seen(), json!({"status": "healthy", "upstreams": {"http://a": "healthy"}, "breaker": "closed"}));
        (0..5).for_each(|_| release.record_failure(0, FailureKind::Connect));
        assert_eq!(seen(), json!({"status": "warn", "upstreams": {"http://a": "ejected"}, "breaker": "open"}));
    }

    #[test]
    fn a_failed_save_is_a_warning_until_one_succeeds() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let dir = StateDir::open(folder.path()).expect("opened");
        let sources = Sources { state_dir: Some(Arc::new(dir)), ..sources_of_health() };
        let seen = || parsed(&sources.report(false))["checks"]["stateDir"].clone();
        assert_eq!(seen()["lastSaveFailed"], Value::Null);
        sources.board.saved(Some("no space left".to_owned()));
        assert_eq!((&seen()["status"], &seen()["lastSaveFailed"]), (&"warn".into(), &"no space left".into()));
        sources.board.saved(None);
        assert_eq!(seen()["lastSaveFailed"], Value::Null);
    }
}
