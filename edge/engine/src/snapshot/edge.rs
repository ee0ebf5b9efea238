//! Checks of what surrounds a decision: releases, upstreams, hosts, timeouts.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::Release;
use super::wire::{EdgeWire, ReleaseWire, TimeoutsWire, UpstreamWire};
use crate::limits::{MAX_HOSTS, MAX_ORIGINS, MAX_RELEASES, MAX_TEXT_BYTES, MAX_TIMEOUT_MS, MAX_UPSTREAMS};
use crate::names::ReleaseId;
use crate::problem::Problems;

/// Bytes of a host name, RFC 1035.
const MAX_HOST_BYTES: usize = 253;

pub(super) fn releases(wire: &BTreeMap<ReleaseId, ReleaseWire>, problems: &mut Problems) -> Box<[Release]> {
    problems.at("releases", |problems| {
        if problems.over("releases", wire.len(), MAX_RELEASES) {
            return Box::default();
        }
        wire.iter().map(|(id, wire)| problems.at(id, |problems| release(id, wire, problems))).collect()
    })
}

fn release(id: &ReleaseId, wire: &ReleaseWire, problems: &mut Problems) -> Release {
    for (name, text) in [
        ("version", Some(&wire.version)),
        ("commit", wire.commit.as_ref()),
        ("rollbackPlan", wire.rollback_plan.as_ref()),
    ] {
        problems.at(name, |problems| text.map(|text| problems.over("bytes of text", text.len(), MAX_TEXT_BYTES)));
    }
    problems.at("upstreams", |problems| {
        if wire.upstreams.is_empty() {
            problems.add("upstreams_empty", "a release runs somewhere; name at least one upstream");
        }
        problems.over("upstreams", wire.upstreams.len(), MAX_UPSTREAMS);
        for (i, upstream) in wire.upstreams.iter().enumerate().take(MAX_UPSTREAMS) {
            problems.at(i, |problems| problems.at("url", |problems| check_upstream(upstream, problems)));
        }
    });
    if let Some(timeouts) = &wire.timeouts {
        problems.at("timeouts", |problems| check_timeouts(timeouts, problems));
    }
    Release {
        id: id.clone(),
        version: wire.version.clone(),
        upstreams: wire.upstreams.clone(),
        timeouts: wire.timeouts.clone(),
    }
}

fn check_upstream(wire: &UpstreamWire, problems: &mut Problems) {
    let authority = wire.url.strip_prefix("http://").or_else(|| wire.url.strip_prefix("https://"));
    let authority = authority.map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    if !authority.is_some_and(is_authority) {
        problems
            .add("upstream_invalid", format!("`{:.100}` is not http://HOST[:PORT] or https://HOST[:PORT]", wire.url));
    }
}

fn is_authority(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    match text.split_once(':') {
        Some((host, port)) => is_host(host) && is_port(port),
        None => is_host(text),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Letters, digits, `-`, `_` and dots between non-empty labels; addresses of IPv4 look the same.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= MAX_HOST_BYTES && text.split('.').all(label)
}

pub(super) fn check_edge(wire: &EdgeWire, problems: &mut Problems) {
    problems.at("edge", |problems| {
        problems.at("hosts", |problems| check_hosts(&wire.hosts, problems));
        problems.at("timeouts", |problems| check_timeouts(&wire.timeouts, problems));
        if let Some(health) = &wire.health {
            problems.at("health", |problems| {
                let printable = health.path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
                if !health.path.starts_with('/') || !printable || health.path.len() > MAX_TEXT_BYTES {
                    problems.at("path", |p| {
                        p.add("path_invalid", "a health path starts with `/` and is printable ASCII without `#`");
                    });
                }
                at_least_one("intervalMs", health.interval_ms, problems);
                at_least_one("timeoutMs", health.timeout_ms, problems);
                at_least_one("unhealthyAfter", health.unhealthy_after, problems);
                at_least_one("healthyAfter", health.healthy_after, problems);
            });
        }
        problems.at("breaker", |problems| at_least_one("openMs", wire.breaker.open_ms, problems));
        problems.at("rollbackGraceMs", |problems| check_millis(wire.rollback_grace_ms, problems));
        problems.at("cors", |problems| check_origins(&wire.cors, problems));
    });
}

fn check_hosts(hosts: &[String], problems: &mut Problems) {
    problems.over("hosts", hosts.len(), MAX_HOSTS);
    for (i, host) in hosts.iter().enumerate().take(MAX_HOSTS) {
        let name = host.strip_prefix("*.").unwrap_or(host);
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let proper = address.map_or_else(|| is_host(name), |address| address.parse::<Ipv6Addr>().is_ok());
        problems.at(i, |problems| {
            if !proper || name.bytes().any(|b| b.is_ascii_uppercase()) {
                problems.add(
                    "host_invalid",
                    format!("`{host:.100}` is no host name in lower case without port, nor `*.` before one"),
                );
            }
            if hosts.iter().take(i).any(|before| before == host) {
                problems.add("host_duplicate", format!("the host `{host}` is in the list twice"));
            }
        });
    }
}

/// Origins as browsers send them: what is compared byte for byte must be written so.
fn check_origins(origins: &[String], problems: &mut Problems) {
    problems.over("origins", origins.len(), MAX_ORIGINS);
    for (i, origin) in origins.iter().enumerate().take(MAX_ORIGINS) {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let default_port = if origin.starts_with("https:") { ":443" } else { ":80" };
        let is_origin = authority.is_some_and(|text| is_authority(text) && !text.ends_with(default_port));
        if origin != "*" && (!is_origin || origin.bytes().any(|b| b.is_ascii_uppercase())) {
            problems.at(i, |problems| {
                problems.add(
                    "origin_invalid",
                    format!("`{origin:.100}` is no origin such as https://app.example, in lower case and without path, nor `*`"),
                );
            });
        }
    }
}

fn check_timeouts(wire: &TimeoutsWire, problems: &mut Problems) {
    at_least_one("connectMs", wire.connect_ms, problems);
    at_least_one("readMs", wire.read_ms, problems);
    problems.at("totalMs", |problems| check_millis(wire.total_ms, problems));
}

fn at_least_one(name: &'static str, value: Option<u32>, problems: &mut Problems) {
    problems.at(name, |problems| {
        if value == Some(0) {
            problems.add("out_of_range", "must be at least 1");
        }
        check_millis(value, problems);
    });
}

fn check_millis(value: Option<u32>, problems: &mut Problems) {
    if value.is_some_and(|value| value > MAX_TIMEOUT_MS) {
        problems.add("out_of_range", format!("must be at most {MAX_TIMEOUT_MS}"));
    }
}
