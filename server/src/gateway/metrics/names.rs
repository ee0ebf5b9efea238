//! The names of all metrics, their labels and what they mean: the one definition of both the
//! exposition and `docs/metrics.md`.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// One metric.
#[derive(Debug)]
pub struct Definition {
    /// Without unit and `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its base unit.
    pub unit: Option<&'static str>,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
    /// One sentence without full stop.
    pub help: &'static str,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution in fixed buckets.
    Histogram,
}

impl Definition {
    /// The name as a scrape shows it.
    pub fn full_name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{unit}")).unwrap_or_default();
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{unit}{total}", self.name)
    }

    /// The unit in the client's words.
    pub(super) fn client_unit(&self) -> Option<Unit> {
        self.unit.map(|unit| Unit::Other(unit.to_owned()))
    }

    /// The kind in the client's words.
    pub(super) fn client_kind(&self) -> MetricType {
        match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        }
    }
}

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal $([$unit:literal])? { $($label:literal),* } $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Definition = Definition {
                name: $name,
                kind: Kind::$kind,
                unit: metrics!(@unit $($unit)?),
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// All metrics, in the order of the exposition.
        pub const ALL: &[&Definition] = &[$(&$id),*];
    };
    (@unit $unit:literal) => { Some($unit) };
    (@unit) => { None };
}

metrics! {
    REQUESTS = Counter "bascule_http_requests" { "app", "environment", "release", "code" }
        "Requests that a release answered, by status class (1xx to 5xx)";
    DURATION = Histogram "bascule_http_request_duration" ["seconds"] { "app", "environment", "release" }
        "Time from a request's head to the head of its response";
    ROUTES = Counter "bascule_route_decisions" { "app", "environment", "release", "reason" }
        "Why a release was chosen: OVERRIDE, RULE, PIN, SPLIT, ACTIVE or FALLBACK";
    FLAGS = Counter "bascule_decisions" { "app", "environment", "flag", "variant", "reason" }
        "Decisions of forwarded flags";
    OFREP_REQUESTS = Counter "bascule_ofrep_requests" { "app", "environment", "kind", "code" }
        "Requests for flags by OFREP (bulk, single, events); app and environment are empty when a token is of none";
    OFREP_STREAMS_OPEN = Gauge "bascule_ofrep_streams_open" { }
        "Streams of flag changes that are open";
    UPSTREAM_FAILURES = Counter "bascule_upstream_failures" { "app", "environment", "release" }
        "Exchanges with a release that failed (transport, timeout or 5xx), also those that clients did not see";
    FALLBACKS = Counter "bascule_fallbacks" { "cause" }
        "Decisions that the fallback made because the module trapped or missed its deadline";
    SHADOW_DIFFERENCES = Counter "bascule_shadow_differences" { }
        "Decisions where the shadow engine differed";
    REJECTED = Counter "bascule_http_rejected" { "reason" }
        "Requests and connections that were not routed";
    CONNECTIONS = Counter "bascule_connections" { }
        "Client connections that were accepted";
    CONNECTIONS_OPEN = Gauge "bascule_connections_open" { }
        "Client connections that are open";
    TUNNELS_OPEN = Gauge "bascule_tunnels_open" { }
        "Tunnels that are open, e.g. for web sockets";
    UPSTREAM_CONNECTIONS = Counter "bascule_upstream_connections" { "state" }
        "Connections used towards upstreams, new or reused from the pool";
    RETRIES = Counter "bascule_retries" { }
        "Exchanges that were tried again on another connection";
    SHIELDED = Counter "bascule_shielded_requests" { }
        "Requests that the active release answered because the candidate failed";
    DIVERTED = Counter "bascule_diverted_requests" { "cause" }
        "Requests of the candidate's cohort that went to the active release (breaker, unhealthy)";
    UNAVAILABLE = Counter "bascule_unavailable_requests" { }
        "Requests that nobody could answer (503)";
    ROLLED_BACK = Counter "bascule_rolled_back_exchanges" { }
        "Streams and tunnels that were closed because their release was rolled back";
    SNAPSHOT_NUMBER = Gauge "bascule_snapshot_number" { "app", "environment" }
        "Number of the snapshot that all workers run";
    SNAPSHOT_AGE = Gauge "bascule_snapshot_age" ["seconds"] { "app", "environment" }
        "Time since that snapshot was taken";
    SNAPSHOT_SWAPS = Counter "bascule_snapshot_swaps" { "app", "environment" }
        "Snapshots that were taken";
    SNAPSHOTS_REFUSED = Counter "bascule_snapshots_refused" { "source", "reason" }
        "Contents of a source that were refused, while the last good one went on; the reason is `content` for a file";
    CONTROL_PLANE_CONNECTED = Gauge "bascule_control_plane_connected" { }
        "1 while the control plane's stream is open";
    CONTROL_PLANE_RECONNECTS = Counter "bascule_control_plane_reconnects" { }
        "Attempts to open the control plane's stream again";
    PUBLISH_LAST = Gauge "bascule_publish" ["seconds"] { "which" }
        "Time until every worker ran a new state: the last one and the slowest";
    SWAP_STALL = Gauge "bascule_swap_stall" ["seconds"] { }
        "The longest time that a worker did nothing but swap in a new state";
    STATE_SAVES_FAILED = Counter "bascule_state_saves_failed" { }
        "Snapshots that could not be saved to the state directory";
    UPSTREAM_HEALTHY = Gauge "bascule_upstream_healthy" { "app", "environment", "release", "upstream" }
        "1 when an upstream gets requests, 0 when it is ejected or fails its checks";
    UPSTREAM_EJECTIONS = Counter "bascule_upstream_ejections" { "app", "environment", "release", "upstream" }
        "How often failing requests had an upstream rest";
    UPSTREAM_FAILED_CHECKS = Counter "bascule_upstream_failed_checks" { "app", "environment", "release", "upstream" }
        "Active health checks that failed";
    BREAKER_OPEN = Gauge "bascule_breaker_open" { "app", "environment", "release" }
        "1 while the candidate's cohort goes to the active release";
    BREAKER_OPENED = Counter "bascule_breaker_opened" { "app", "environment", "release" }
        "How often the breaker opened";
    ACCESS_LOG_DROPPED = Counter "bascule_access_log_dropped" { }
        "Lines of the access log that were dropped because the writer was behind";
    BUILD_INFO = Gauge "bascule_build_info" { "version", "engine" }
        "Always 1; the version of the binary and the engine hash (or native)";
    CPU = Counter "process_cpu" ["seconds"] { }
        "CPU time of the process";
    MEMORY = Gauge "process_resident_memory" ["bytes"] { }
        "Resident memory of the process";
    DESCRIPTORS = Gauge "process_open_fds" { }
        "Open file descriptors of the process";
    START = Gauge "process_start_time" ["seconds"] { }
        "When the process started, in seconds since 1970";
}

/// The text of `docs/metrics.md`.
pub fn document() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "# Metrics\n\nThe ops listener serves them under `/metrics` in the OpenMetrics text format. This table is made from \
         `server/src/gateway/metrics/names.rs`; a test holds the two together.\n\nThe names of apps, environments, releases, \
         flags and variants are labels; ids of users, requests and clients never are. The series of a release or \
         flag that no snapshot names any more disappear after an hour.\n\n\
         | metric | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "| `{}` | {kind} | {labels} | {} |", metric.full_name(), metric.help);
    }
    let bounds: Vec<_> =
        super::BOUNDS_MICROS.iter().map(|micros| super::expose::seconds(*micros).to_string()).collect();
    let _ = writeln!(text, "\nBuckets of `{}`: {} and +Inf.", DURATION.full_name(), bounds.join(", "));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_metric() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        if written != document() {
            if std::env::var_os("BASCULE_UPDATE_DOCS").is_some() {
                std::fs::write(path, document()).expect("the docs folder is writable");
            }
            panic!(
                "docs/metrics.md is not what the definitions say; run this test with BASCULE_UPDATE_DOCS=1 and look at the change"
            );
        }
    }

    #[test]
    fn names_are_unique_and_well_formed() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.full_name()).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')), "{names:?}");
        assert!(names.iter().all(|name| name.starts_with("bascule_") || name.starts_with("process_")), "{names:?}");
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
