//! What the control plane counts, in the exposition format of Prometheus: of itself under `bascule_admin`, of releases and
//! rollouts under `bascule`.

mod expose;
pub mod releases;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use admin_api::edge::EdgeKind;
use http::StatusCode;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::edges::Hub;
use crate::edges::workers::Said;

/// Seconds, as OpenTelemetry's semantic conventions have them for HTTP.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    operation: &'static str,
    code: Code,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Code(u16);

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&u64::from(self.0), encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    app: String,
    environment: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfWorker {
    edge: String,
}

/// Counters.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    of_releases: Registry,
    requests: Family<Answered, Counter>,
    durations: Histogram,
    edges: Family<State, Gauge>,
    snapshots: Family<Place, Gauge>,
    ages: Family<Place, Gauge<f64, AtomicU64>>,
    pushes: Family<Outcome, Counter>,
    push_durations: Histogram,
    reachable: Family<OfWorker, Gauge>,
    lost: Family<OfKind, Counter>,
}

impl Metrics {
    /// Counts; what is known of releases is on the board.
    pub fn new(board: Arc<releases::Releases>) -> Self {
        let mut registry = Registry::with_prefix("bascule_admin");
        let requests = Family::default();
        let durations = Histogram::new(SECONDS);
        let (edges, snapshots, ages) = (Family::default(), Family::default(), Family::default());
        registry.register("http_requests", "Requests by operation and status", requests.clone());
        let help = "Time until the answer began";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, durations.clone());
        registry.register(
            "edges",
            "Edges that are connected, and that are not and were seen in the last day",
            edges.clone(),
        );
        registry.register("snapshot_number", "The newest snapshot of an environment", snapshots.clone());
        registry.register_with_unit("snapshot_age", "Since the newest snapshot", Unit::Seconds, ages.clone());
        let (pushes, push_durations, reachable) = (Family::default(), Histogram::new(SECONDS), Family::default());
        registry.register("worker_pushes", "Pushes to Workers by what they came to", pushes.clone());
        let help = "Time until a Worker answered a push, or did not";
        registry.register_with_unit("worker_push_duration", help, Unit::Seconds, push_durations.clone());
        registry.register("worker_reachable", "1 if a configured Worker answered the last push", reachable.clone());
        let lost = Family::default();
        let help = "Requests that edges know to be in no report, by what the edge is";
        registry.register("edge_lost_requests", help, lost.clone());
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of the program", version);
        let mut of_releases = Registry::with_prefix("bascule");
        of_releases.register_collector(Box::new(expose::Shown(board)));
        Self {
            registry,
            of_releases,
            requests,
            durations,
            edges,
            snapshots,
            ages,
            pushes,
            push_durations,
            reachable,
            lost,
        }
    }

    /// A request was answered.
    pub fn answered(&self, operation: &'static str, status: StatusCode, after: Duration) {
        self.requests.get_or_create(&Answered { operation, code: Code(status.as_u16()) }).inc();
        self.durations.observe(after.as_secs_f64());
    }

    /// A push to a Worker is over.
    pub(crate) fn pushed(&self, said: &Said, after: Duration) {
        let outcome = match said {
            Said::Runs { .. } => "acknowledged",
            Said::Refused { .. } => "refused",
            Said::Unreachable(_) => "unreachable",
        };
        self.pushes.get_or_create(&Outcome { outcome }).inc();
        self.push_durations.observe(after.as_secs_f64());
    }

    /// An edge knows of so many requests that are in no report.
    pub(crate) fn lost(&self, by: Option<EdgeKind>, requests: u64) {
        let kind = match by {
            Some(EdgeKind::Gateway) => "gateway",
            Some(EdgeKind::Worker) => "worker",
            // One whose stream is not open again yet, or isolates of a Worker that nothing is pushed to.
            None => "unknown",
        };
        self.lost.get_or_create(&OfKind { kind }).inc_by(requests);
    }

    /// The text.
    pub fn render(&self, hub: &Hub, now_ms: i64) -> String {
        let edges = hub.edges();
        let connected = edges.iter().filter(|edge| edge.is_reachable()).count();
        for (state, count) in [("connected", connected), ("disconnected", edges.len() - connected)] {
            self.edges.get_or_create(&State { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for edge in edges.iter().filter(|edge| edge.is_pushed_to()) {
            let worker = OfWorker { edge: edge.hello.edge.clone() };
            self.reachable.get_or_create(&worker).set(edge.is_reachable().into());
        }
        for (scope, latest) in hub.all_latest() {
            let place = Place { app: scope.app, environment: scope.environment };
            self.snapshots.get_or_create(&place).set(i64::try_from(latest.number).unwrap_or(i64::MAX));
            #[expect(clippy::cast_precision_loss, reason = "an age in milliseconds is far below 2^52")]
            let age = now_ms.saturating_sub(latest.created_at).max(0) as f64 / 1000.0;
            self.ages.get_or_create(&place).set(age);
        }
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = encode_registry(&mut text, &self.registry);
        let _ = encode_registry(&mut text, &self.of_releases);
        let _ = encode_eof(&mut text);
        text
    }
}
