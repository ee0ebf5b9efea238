//! Whether what an edge says of units and times is what the protocol allows. Invariant: nothing beyond it reaches the evidence.

use admin_api::edge::{EnvironmentReport, LATENCY_BOUNDS_US, MOST_EXPOSED, MOST_FIRST_BAD, Report};
use http::StatusCode;

use super::error::Failure;

/// Hexadecimal digits of a unit's name.
const UNIT_DIGITS: usize = 16;
/// Releases of one environment whose health an edge tells: those in slots.
const MOST_HEALTH: usize = 8;

/// Refuses a report that is beyond the protocol, and says where.
pub(super) fn check(report: &Report) -> Result<(), Failure> {
    for (place, environment) in report.environments.iter().enumerate() {
        if let Some((pointer, code, detail)) = wrong(environment) {
            let pointer = format!("/environments/{place}{pointer}");
            return Err(Failure::at(StatusCode::BAD_REQUEST, &pointer, code, detail));
        }
    }
    Ok(())
}

type Wrong = (String, &'static str, String);

fn wrong(environment: &EnvironmentReport) -> Option<Wrong> {
    let EnvironmentReport { first_bad, exposed, releases, health, .. } = environment;
    let bad = first_bad.iter().map(|event| (event.unit.as_str(), event.weight));
    let seen = exposed.iter().map(|unit| (unit.unit.as_str(), unit.weight));
    units("/firstBad", MOST_FIRST_BAD, bad)
        .or_else(|| units("/exposed", MOST_EXPOSED, seen))
        .or_else(|| {
            let buckets = LATENCY_BOUNDS_US.len() + 1;
            let wrong = releases.iter().position(|one| !one.latency.is_empty() && one.latency.len() != buckets)?;
            let detail = format!("a latency has {buckets} buckets, or none");
            Some((format!("/releases/{wrong}/latency"), "length_invalid", detail))
        })
        .or_else(|| {
            let detail = format!("at most {MOST_HEALTH} releases are in slots");
            (health.len() > MOST_HEALTH).then(|| ("/health".to_owned(), "limit_exceeded", detail))
        })
}

fn units<'a>(pointer: &str, most: usize, units: impl ExactSizeIterator<Item = (&'a str, u32)>) -> Option<Wrong> {
    if units.len() > most {
        let detail = format!("a report has at most {most} of them for an environment");
        return Some((pointer.to_owned(), "limit_exceeded", detail));
    }
    let is_unit = |unit: &str| unit.len() == UNIT_DIGITS && unit.bytes().all(|digit| digit.is_ascii_hexdigit());
    for (at, (unit, weight)) in units.enumerate() {
        if !is_unit(unit) {
            let detail = format!("a unit is named by {UNIT_DIGITS} hexadecimal digits");
            return Some((format!("{pointer}/{at}/unit"), "unit_invalid", detail));
        }
        if weight > verdict::FULL_WEIGHT {
            let detail = format!("a weight is at most {}", verdict::FULL_WEIGHT);
            return Some((format!("{pointer}/{at}/weight"), "weight_invalid", detail));
        }
    }
    None
}
