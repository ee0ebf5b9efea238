//! Turns counts and states into the text of `/metrics`.
//!
//! It owns no numbers: everything is read at the moment of the scrape. Invariant: every sample belongs
//! to a metric of [`super::names`] and has exactly that metric's labels; a series that never counted is
//! left out, so that a thousand flags cost what they are used.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use edge_engine::RouteReason;
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::names::{self, Definition, Kind};
use super::{BOUNDS_MICROS, Event, Metrics, Name, REASONS, ReleaseTotals, Totals};
use crate::gateway::board::{Board, Report};
use crate::gateway::breaker::Phase;
use crate::gateway::health::{Availability, HealthRegistry};
use crate::process;

/// The content type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All that a scrape reads.
pub struct Observed {
    /// What the workers count.
    pub metrics: Arc<Metrics>,
    /// What runs.
    pub board: Arc<Board>,
    /// What is known about upstreams.
    pub health: Arc<HealthRegistry>,
    /// The engine hash, or `native`.
    pub engine: Box<dyn Fn() -> String + Send + Sync>,
    /// How many lines the access log lost.
    pub access_log_dropped: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").finish_non_exhaustive()
    }
}

/// The text of a scrape.
pub fn render(observed: Arc<Observed>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition(observed)));
    let mut text = String::new();
    // Writing to a string does not fail, and no sample of ours is an error.
    let _ = text::encode(&mut text, &registry);
    text
}

/// Microseconds in the base unit.
pub fn seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}

#[derive(Debug)]
struct Exposition(Arc<Observed>);

type Written = Result<(), fmt::Error>;

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Written {
        let observed = &*self.0;
        let totals = observed.metrics.totals(Instant::now());
        releases(&mut encoder, &totals)?;
        flags(&mut encoder, &totals)?;
        ofrep(&mut encoder, &totals)?;
        events(&mut encoder, &totals)?;
        snapshots(&mut encoder, &observed.board.report())?;
        upstreams(&mut encoder, &observed.health)?;
        let dropped = (observed.access_log_dropped)();
        counters(&mut encoder, &names::ACCESS_LOG_DROPPED, [([], dropped)])?;
        let info = [env!("CARGO_PKG_VERSION"), &(observed.engine)()];
        gauges(&mut encoder, &names::BUILD_INFO, [(info, 1.0)])?;
        this_process(&mut encoder)
    }
}

/// One metric with its samples; the labels of each are as many as the definition has.
struct Samples<'a, const N: usize, V, I> {
    definition: &'a Definition,
    values: std::cell::RefCell<Option<I>>,
    write: fn(&mut MetricEncoder<'_>, V) -> Written,
    labels: std::marker::PhantomData<[V; N]>,
}

impl<'l, const N: usize, V, I> EncodeMetric for Samples<'_, N, V, I>
where
    I: Iterator<Item = ([&'l str; N], V)>,
{
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Written {
        for (values, value) in self.values.take().into_iter().flatten() {
            let labels: [(&str, &str); N] =
                std::array::from_fn(|i| (self.definition.labels.get(i).copied().unwrap_or_default(), values[i]));
            if N == 0 {
                (self.write)(&mut encoder, value)?;
            } else {
                (self.write)(&mut encoder.encode_family(&labels)?, value)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.definition.client_kind()
    }
}

fn put<'l, const N: usize, V>(
    encoder: &mut DescriptorEncoder<'_>,
    definition: &Definition,
    samples: impl IntoIterator<Item = ([&'l str; N], V)>,
    write: fn(&mut MetricEncoder<'_>, V) -> Written,
) -> Written {
    debug_assert_eq!(definition.labels.len(), N, "{}", definition.name);
    let unit = definition.client_unit();
    let kind = definition.client_kind();
    let metric = encoder.encode_descriptor(definition.name, definition.help, unit.as_ref(), kind)?;
    let values = std::cell::RefCell::new(Some(samples.into_iter()));
    Samples { definition, values, write, labels: std::marker::PhantomData }.encode(metric)
}

fn counters<'l, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    definition: &Definition,
    samples: impl IntoIterator<Item = ([&'l str; N], u64)>,
) -> Written {
    debug_assert_eq!(definition.kind, Kind::Counter, "{}", definition.name);
    put(encoder, definition, samples, |encoder, value| {
        encoder.encode_counter::<[(&str, &str); 0], _, u64>(&value, None)
    })
}

fn gauges<'l, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    definition: &Definition,
    samples: impl IntoIterator<Item = ([&'l str; N], f64)>,
) -> Written {
    debug_assert_eq!(definition.kind, Kind::Gauge, "{}", definition.name);
    put(encoder, definition, samples, |encoder, value| encoder.encode_gauge(&value))
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float by definition; beyond 2^53 it is rounded")]
fn float(value: u64) -> f64 {
    value as f64
}

const ROUTE_REASONS: [RouteReason; REASONS] = [
    RouteReason::Override,
    RouteReason::Rule,
    RouteReason::Pin,
    RouteReason::Split,
    RouteReason::Active,
    RouteReason::Fallback,
];
const FLAG_REASONS: [&str; REASONS] = ["STATIC", "DEFAULT", "TARGETING_MATCH", "SPLIT", "DISABLED", "ERROR"];
const CLASSES: [&str; super::CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

fn labels((scope, name): &Name) -> [&str; 3] {
    [scope.app(), scope.environment(), name]
}

fn with<'l>([a, b, c]: [&'l str; 3], d: &'l str) -> [&'l str; 4] {
    [a, b, c, d]
}

fn releases(encoder: &mut DescriptorEncoder<'_>, totals: &Totals) -> Written {
    let all = || totals.releases.iter();
    let classes = all().flat_map(|(name, release)| {
        CLASSES.into_iter().zip(release.classes).map(move |(class, count)| (with(labels(name), class), count))
    });
    counters(encoder, &names::REQUESTS, classes.filter(|(_, count)| *count > 0))?;
    put(encoder, &names::DURATION, all().map(|(name, release)| (labels(name), release)), histogram)?;
    let reasons = all().flat_map(|(name, release)| {
        let reasons = ROUTE_REASONS.map(RouteReason::as_str).into_iter();
        reasons.zip(release.reasons).map(move |(reason, count)| (with(labels(name), reason), count))
    });
    counters(encoder, &names::ROUTES, reasons.filter(|(_, count)| *count > 0))?;
    counters(encoder, &names::UPSTREAM_FAILURES, all().map(|(name, release)| (labels(name), release.failures)))
}

fn histogram(encoder: &mut MetricEncoder<'_>, release: &ReleaseTotals) -> Written {
    let bounds = BOUNDS_MICROS.iter().map(|micros| seconds(*micros)).chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(release.buckets).collect();
    let count = release.buckets.iter().sum();
    encoder.encode_histogram::<[(&str, &str); 0]>(seconds(release.micros), count, &buckets, None)
}

fn flags(encoder: &mut DescriptorEncoder<'_>, totals: &Totals) -> Written {
    let samples = totals.flags.iter().flat_map(|((flag, variant), counts)| {
        FLAG_REASONS.into_iter().zip(*counts).map(move |(reason, count)| {
            let [app, environment, key] = labels(flag);
            ([app, environment, key, variant, reason], count)
        })
    });
    counters(encoder, &names::FLAGS, samples.filter(|(_, count)| *count > 0))
}

fn ofrep(encoder: &mut DescriptorEncoder<'_>, totals: &Totals) -> Written {
    let codes = super::OFREP_CODES.map(|code| code.to_string());
    let codes = &codes;
    let samples = totals.ofrep.iter().flat_map(|(scope, kinds)| {
        super::OFREP_KINDS.into_iter().zip(kinds).flat_map(move |(kind, counts)| {
            let labels = move |code| [scope.app(), scope.environment(), kind, code];
            codes.iter().zip(counts).map(move |(code, count)| (labels(code.as_str()), *count))
        })
    });
    counters(encoder, &names::OFREP_REQUESTS, samples.filter(|(_, count)| *count > 0))
}

fn events(encoder: &mut DescriptorEncoder<'_>, totals: &Totals) -> Written {
    let get = |event: Event| totals.events.get(event as usize).copied().unwrap_or_default();
    let open = |from: Event, to: Event| float(get(from).saturating_sub(get(to)));
    let fallbacks = [(["trap"], get(Event::FallbackTrap)), (["deadline"], get(Event::FallbackDeadline))];
    counters(encoder, &names::FALLBACKS, fallbacks)?;
    counters(encoder, &names::SHADOW_DIFFERENCES, [([], get(Event::ShadowDiffered))])?;
    let rejected = [
        (["request"], Event::RequestRejected),
        (["unknown_host"], Event::UnknownHost),
        (["slow_head"], Event::HeadTimeout),
        (["slow_body"], Event::BodyTimeout),
        (["slow_reader"], Event::WriteTimeout),
        (["connection_limit"], Event::ConnectionRefused),
        (["tls"], Event::TlsFailed),
    ];
    counters(encoder, &names::REJECTED, rejected.map(|(reason, event)| (reason, get(event))))?;
    counters(encoder, &names::CONNECTIONS, [([], get(Event::ConnectionOpened))])?;
    let connections = open(Event::ConnectionOpened, Event::ConnectionClosed);
    gauges(encoder, &names::CONNECTIONS_OPEN, [([], connections)])?;
    gauges(encoder, &names::TUNNELS_OPEN, [([], open(Event::TunnelOpened, Event::TunnelClosed))])?;
    gauges(encoder, &names::OFREP_STREAMS_OPEN, [([], open(Event::StreamOpened, Event::StreamClosed))])?;
    let used = [(["new"], get(Event::UpstreamConnected)), (["reused"], get(Event::UpstreamReused))];
    counters(encoder, &names::UPSTREAM_CONNECTIONS, used)?;
    counters(encoder, &names::RETRIES, [([], get(Event::Retried))])?;
    counters(encoder, &names::SHIELDED, [([], get(Event::Shielded))])?;
    let diverted = [(["breaker"], get(Event::BreakerDiverted)), (["unhealthy"], get(Event::UnhealthyDiverted))];
    counters(encoder, &names::DIVERTED, diverted)?;
    counters(encoder, &names::UNAVAILABLE, [([], get(Event::NoUpstream))])?;
    counters(encoder, &names::ROLLED_BACK, [([], get(Event::RolledBack))])
}

fn snapshots(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> Written {
    let now = Timestamp::now();
    let all = || report.environments.iter().map(|(scope, running)| ([scope.app(), scope.environment()], running));
    gauges(encoder, &names::SNAPSHOT_NUMBER, all().map(|(labels, running)| (labels, float(running.number))))?;
    let age = |since: Timestamp| now.duration_since(since).as_secs_f64().max(0.0);
    gauges(encoder, &names::SNAPSHOT_AGE, all().map(|(labels, running)| (labels, age(running.since))))?;
    counters(encoder, &names::SNAPSHOT_SWAPS, all().map(|(labels, running)| (labels, running.swaps)))?;
    let sources: Vec<_> =
        report.sources.iter().map(|(path, status)| (path.display().to_string(), status.refused)).collect();
    let plane = report.control_plane.as_ref();
    let by_code = plane.into_iter().flat_map(|plane| &plane.refused);
    let by_code = by_code.map(|(code, refused)| (["control-plane", code], *refused));
    let refused = sources.iter().map(|(path, refused)| ([path.as_str(), "content"], *refused)).chain(by_code);
    counters(encoder, &names::SNAPSHOTS_REFUSED, refused)?;
    let connected = plane.map(|plane| ([], if plane.is_connected { 1.0 } else { 0.0 }));
    gauges(encoder, &names::CONTROL_PLANE_CONNECTED, connected)?;
    counters(encoder, &names::CONTROL_PLANE_RECONNECTS, plane.map(|plane| ([], plane.reconnects)))?;
    let times = [(["last"], report.swaps.last), (["slowest"], report.swaps.slowest)];
    gauges(encoder, &names::PUBLISH_LAST, times.map(|(which, time)| (which, time.as_secs_f64())))?;
    gauges(encoder, &names::SWAP_STALL, [([], report.swaps.longest_stall.as_secs_f64())])?;
    counters(encoder, &names::STATE_SAVES_FAILED, [([], report.failed_saves)])
}

fn upstreams(encoder: &mut DescriptorEncoder<'_>, health: &HealthRegistry) -> Written {
    let now = health.clock().now_ms();
    let releases = health.list();
    let names_of = |index: usize| {
        let key = releases[index].key();
        [key.scope.app(), key.scope.environment(), &*key.release]
    };
    let all = || {
        releases.iter().enumerate().flat_map(move |(index, release)| {
            release.upstreams().map(move |(url, record)| (with(names_of(index), url), record))
        })
    };
    let healthy = |availability| if availability == Availability::Healthy { 1.0 } else { 0.0 };
    let states = all().map(|(labels, record)| (labels, healthy(record.availability(now))));
    gauges(encoder, &names::UPSTREAM_HEALTHY, states)?;
    counters(encoder, &names::UPSTREAM_EJECTIONS, all().map(|(labels, record)| (labels, record.ejections())))?;
    counters(encoder, &names::UPSTREAM_FAILED_CHECKS, all().map(|(labels, record)| (labels, record.failed_checks())))?;
    let breakers = || releases.iter().enumerate().map(|(index, release)| (names_of(index), release.breaker()));
    let open = |phase| if phase == Phase::Closed { 0.0 } else { 1.0 };
    gauges(encoder, &names::BREAKER_OPEN, breakers().map(|(labels, breaker)| (labels, open(breaker.phase(now)))))?;
    counters(encoder, &names::BREAKER_OPENED, breakers().map(|(labels, breaker)| (labels, breaker.opened())))
}

fn this_process(encoder: &mut DescriptorEncoder<'_>) -> Written {
    let cpu = process::cpu_time().map(|time| ([], time.as_secs_f64()));
    put(encoder, &names::CPU, cpu, |encoder, value| encoder.encode_counter::<[(&str, &str); 0], _, u64>(&value, None))?;
    gauges(encoder, &names::MEMORY, admin::memory::resident().map(|bytes| ([], float(bytes))))?;
    gauges(encoder, &names::DESCRIPTORS, process::open_descriptors().map(|count| ([], float(count))))?;
    gauges(encoder, &names::START, [([], process::started_at().duration_since(Timestamp::UNIX_EPOCH).as_secs_f64())])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use edge_engine::{FlagIndex, FlagOutcome, FlagReason, VariantIndex};

    use super::*;
    use crate::gateway::board::{ControlPlane, Origin};
    use crate::gateway::breaker::Policy;
    use crate::gateway::health::{FailureKind, ReleaseKey, ReleaseShape};
    use crate::gateway::scope::Scope;

    /// An edge where everything has happened once.
    fn busy() -> (Arc<Observed>, Vec<Box<dyn std::any::Any>>) {
        let metrics = Arc::new(Metrics::default());
        let shard = metrics.shard();
        let release = shard.release("web", "production", "web-\"2\"");
        release.record(503, RouteReason::Split, Duration::from_millis(3));
        release.failed();
        shard.ofrep("web", "production").record("bulk", 200);
        let variants = ["on", "off"].into_iter();
        let flags = shard.flags("web", "production", std::iter::once(("checkout", variants)));
        flags.record(&[FlagOutcome {
            flag: FlagIndex(0),
            variant: VariantIndex(1),
            reason: FlagReason::Split,
            rule: None,
            bucket: None,
            error: None,
        }]);
        for event in [Event::ConnectionOpened, Event::ConnectionOpened, Event::ConnectionClosed, Event::FallbackTrap] {
            shard.count(event);
        }
        let board = Arc::new(Board::default());
        let scope = Scope::new("web", "production");
        board.runs(&scope, 42, "", Origin::Direct);
        board.refused(Path::new("/a.yaml"), "no".to_owned());
        let mut plane = ControlPlane::new("https://admin.example".to_owned());
        plane.connected();
        plane.reconnects = 2;
        plane.refused.insert("older", 3);
        board.follows(plane);
        let health = Arc::new(HealthRegistry::default());
        let key = ReleaseKey { scope, release: "web-2".into() };
        let held = health.release(&ReleaseShape { key, urls: vec!["http://u:1"], breaker: Some(Policy::default()) });
        (0..5).for_each(|_| held.record_failure(0, FailureKind::Connect));
        let observed = Observed {
            metrics,
            board,
            health,
            engine: Box::new(|| "cafe".to_owned()),
            access_log_dropped: Box::new(|| 9),
        };
        (Arc::new(observed), vec![Box::new(release), Box::new(flags), Box::new(held)])
    }

    /// Sample name with labels to value.
    fn samples(text: &str) -> BTreeMap<&str, f64> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').expect("name and value"))
            .map(|(k, v)| (k, v.parse().expect("a number")))
            .collect()
    }

    #[test]
    fn every_metric_is_exposed_with_exactly_its_labels() {
        let (observed, _held) = busy();
        let text = render(observed);
        for metric in names::ALL {
            let name = metric.full_name();
            let family = name.strip_suffix("_total").unwrap_or(&name);
            assert!(text.contains(&format!("# TYPE {family} ")), "{family} is missing");
            let suffix = if metric.kind == Kind::Histogram { "_count" } else { "" };
            let start = format!("{name}{suffix}");
            let sample =
                text.lines().find(|line| line.strip_prefix(&start).is_some_and(|rest| rest.starts_with(['{', ' '])));
            let sample = sample.unwrap_or_else(|| panic!("{start} has no sample in\n{text}"));
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("{label}=\"")).collect();
            let mut at = 0;
            for label in &labels {
                at += sample[at..].find(label.as_str()).unwrap_or_else(|| panic!("{label} in {sample}"));
            }
            assert_eq!(sample.matches("=\"").count(), labels.len(), "{sample}");
        }
        assert_eq!(text.matches("# TYPE ").count(), names::ALL.len());
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_samples_are_what_happened() {
        let (observed, _held) = busy();
        let text = render(observed);
        let samples = samples(&text);
        let scope = "app=\"web\",environment=\"production\"";
        let release = format!("{scope},release=\"web-\\\"2\\\"\"");
        for (name, expected) in [
            (format!("bascule_http_requests_total{{{release},code=\"5xx\"}}"), 1.0),
            (format!("bascule_route_decisions_total{{{release},reason=\"SPLIT\"}}"), 1.0),
            (format!("bascule_decisions_total{{{scope},flag=\"checkout\",variant=\"off\",reason=\"SPLIT\"}}"), 1.0),
            (format!("bascule_http_request_duration_seconds_bucket{{le=\"0.0025\",{release}}}"), 0.0),
            (format!("bascule_http_request_duration_seconds_bucket{{le=\"0.005\",{release}}}"), 1.0),
            (format!("bascule_http_request_duration_seconds_bucket{{le=\"+Inf\",{release}}}"), 1.0),
            (format!("bascule_http_request_duration_seconds_sum{{{release}}}"), 0.003),
            ("bascule_connections_open".to_owned(), 1.0),
            ("bascule_fallbacks_total{cause=\"trap\"}".to_owned(), 1.0),
            ("bascule_snapshots_refused_total{source=\"/a.yaml\",reason=\"content\"}".to_owned(), 1.0),
            ("bascule_snapshots_refused_total{source=\"control-plane\",reason=\"older\"}".to_owned(), 3.0),
            ("bascule_control_plane_connected".to_owned(), 1.0),
            ("bascule_control_plane_reconnects_total".to_owned(), 2.0),
            (format!("bascule_snapshot_number{{{scope}}}"), 42.0),
            (format!("bascule_upstream_healthy{{{scope},release=\"web-2\",upstream=\"http://u:1\"}}"), 0.0),
            (format!("bascule_breaker_open{{{scope},release=\"web-2\"}}"), 1.0),
            ("bascule_access_log_dropped_total".to_owned(), 9.0),
        ] {
            assert_eq!(samples.get(name.as_str()), Some(&expected), "{name} in\n{text}");
        }
    }

    #[test]
    fn series_that_never_counted_are_left_out() {
        let (observed, _held) = busy();
        let text = render(observed);
        assert!(!text.contains("code=\"2xx\"") && !text.contains("variant=\"on\""), "{text}");
    }
}
