//! The board of releases in the exposition format.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::releases::{Counts, Name, ROLLBACK_BOUNDS, Releases, Scraped, number, rate};
use crate::ids;
use admin_api::edge::LATENCY_BOUNDS_US;

/// Shows a board with each scrape.
#[derive(Debug)]
pub(super) struct Shown(pub(super) Arc<Releases>);

type Outcome = Result<(), std::fmt::Error>;

/// What a gauge shows of a release: its name, its help, and its value now.
type Gauge = (&'static str, &'static str, fn(&Counts) -> Option<f64>);
/// What a counter shows of a release.
type Counter = (&'static str, &'static str, fn(&Counts) -> u64);

const COUNTERS: [Counter; 4] = [
    ("release_requests", "Requests that a release served or failed, at all edges", |counts| counts.requests),
    ("release_client_errors", "Answers of a release from 400 to 499", |counts| counts.client_errors),
    ("release_server_errors", "Answers of a release from 500 to 599", |counts| counts.server_errors),
    ("release_transport_errors", "Requests that a release did not answer", |counts| counts.transport_errors),
];
const GAUGES: [Gauge; 4] = [
    ("release_requests_per_second", "Requests per second of a release, over the last minute", |counts| {
        Some(rate(counts.requests))
    }),
    ("release_error_ratio", "Share of a release's requests that failed, over the last minute", |counts| {
        Some(counts.error_ratio())
    }),
    (
        "release_request_duration_p95_seconds",
        "95th percentile of a release's latency, over the last minute",
        |counts| counts.quantile(0.95),
    ),
    (
        "release_request_duration_p99_seconds",
        "99th percentile of a release's latency, over the last minute",
        |counts| counts.quantile(0.99),
    ),
];

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Outcome {
        let scraped = self.0.scrape(ids::now_ms());
        releases(&mut encoder, &scraped)?;
        rollouts(&mut encoder, &scraped)
    }
}

fn labels(name: &Name, third: &'static str) -> [(&'static str, String); 3] {
    [("app", name.0.clone()), ("environment", name.1.clone()), (third, name.2.clone())]
}

fn releases(encoder: &mut DescriptorEncoder<'_>, scraped: &Scraped) -> Outcome {
    for (name, help, value) in COUNTERS {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (release, counts, ..) in &scraped.releases {
            let labels = labels(release, "release");
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value(counts), None)?;
        }
    }
    for (name, help, value) in GAUGES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (release, _, recent, _) in &scraped.releases {
            if let Some(value) = value(recent) {
                family.encode_family(&labels(release, "release"))?.encode_gauge(&value)?;
            }
        }
    }
    let help = "Time from a request's head to the head of a release's answer";
    let mut family =
        encoder.encode_descriptor("release_request_duration_seconds", help, None, MetricType::Histogram)?;
    for (release, counts, ..) in &scraped.releases {
        let labels = labels(release, "release");
        let bounds = LATENCY_BOUNDS_US.iter().map(|us| number(*us) / 1e6).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.latency).collect();
        let count = counts.latency.iter().sum();
        let seconds = number(counts.latency_us) / 1e6;
        family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
    }
    let help = "What happened in an app, by criterion";
    let mut family = encoder.encode_descriptor("release_events", help, None, MetricType::Counter)?;
    for (release, _, _, events) in &scraped.releases {
        for (criterion, count) in events {
            let [app, environment, release] = labels(release, "release");
            let labels = [app, environment, release, ("criterion", criterion.clone())];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
    }
    let help = "What the infrastructure of an environment uses, from 0 to 1";
    let mut family = encoder.encode_descriptor("infrastructure_ratio", help, None, MetricType::Gauge)?;
    for (name, value) in &scraped.infrastructure {
        family.encode_family(&labels(name, "resource"))?.encode_gauge(value)?;
    }
    Ok(())
}

fn rollouts(encoder: &mut DescriptorEncoder<'_>, scraped: &Scraped) -> Outcome {
    let help = "1 for the state of an environment's newest rollout";
    let mut family = encoder.encode_descriptor("rollout_state", help, None, MetricType::Gauge)?;
    for ((app, environment), now) in &scraped.rollouts {
        let labels = [("app", app.as_str()), ("environment", environment.as_str()), ("state", now.state.as_str())];
        family.encode_family(&labels)?.encode_gauge(&1_i64)?;
    }
    let help = "The candidate's share of the traffic, from 0 to 1";
    let mut family = encoder.encode_descriptor("rollout_candidate_weight_ratio", help, None, MetricType::Gauge)?;
    for ((app, environment), now) in &scraped.rollouts {
        let labels = [("app", app.as_str()), ("environment", environment.as_str())];
        family.encode_family(&labels)?.encode_gauge(&now.weight)?;
    }
    let help = "log10 of the e-value that the candidate is worse, by criterion";
    let mut family = encoder.encode_descriptor("rollout_harm_log10_e_value", help, None, MetricType::Gauge)?;
    for ((app, environment), now) in &scraped.rollouts {
        for (criterion, harm) in &now.harm {
            let labels =
                [("app", app.as_str()), ("environment", environment.as_str()), ("criterion", criterion.as_str())];
            family.encode_family(&labels)?.encode_gauge(harm)?;
        }
    }
    let help = "Rollouts that ended while this process ran, by how";
    let mut family = encoder.encode_descriptor("rollouts_ended", help, None, MetricType::Counter)?;
    for (name, count) in &scraped.ended {
        family.encode_family(&labels(name, "state"))?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
    }
    let help = "Time from the decision to take traffic back until every edge had acknowledged it";
    let mut rollback = encoder.encode_descriptor("rollback_duration_seconds", help, None, MetricType::Histogram)?;
    let buckets: Vec<(f64, u64)> =
        ROLLBACK_BOUNDS.into_iter().chain([f64::MAX]).zip(scraped.rollbacks.buckets).collect();
    let count = scraped.rollbacks.buckets.iter().sum();
    rollback.encode_histogram::<NoLabelSet>(scraped.rollbacks.seconds, count, &buckets, None)
}
