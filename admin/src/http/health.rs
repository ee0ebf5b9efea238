//! How the control plane is: each part tried or counted now.

use http::StatusCode;
use serde_json::{Value, json};

use super::Shared;
use super::reply::Reply;
use crate::ids;
use crate::memory::Memory;
use admin_api::answers::Health;

/// Free space below which the disk is worth a warning, and below which it is not healthy.
const WARN_FREE: u64 = 1 << 30;
const MIN_FREE: u64 = 64 << 20;

/// The judgement of a check; the words are those of a gateway's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// As it should be.
    Healthy,
    /// Working, but somebody should look.
    Warn,
    /// Not working as it should.
    Unhealthy,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warn => "warn",
            Self::Unhealthy => "unhealthy",
        }
    }

    fn warn_if(is_odd: bool) -> Self {
        if is_odd { Self::Warn } else { Self::Healthy }
    }
}

struct Check {
    name: &'static str,
    status: Status,
    details: Value,
}

impl Check {
    fn new(name: &'static str, status: Status, details: Value) -> Self {
        Self { name, status, details }
    }

    fn shown(mut self) -> (String, Value) {
        self.details["status"] = self.status.as_str().into();
        (self.name.to_owned(), self.details)
    }
}

/// Everything, and whether all of it works.
pub(super) async fn reply(shared: &Shared) -> Reply {
    let checks = [store(shared).await, disk(shared), memory(), edges(shared), snapshots(shared)];
    let is_healthy = checks.iter().all(|check| check.status != Status::Unhealthy);
    let health = Health {
        status: if is_healthy { Status::Healthy } else { Status::Unhealthy }.as_str().to_owned(),
        timestamp: ids::rfc3339(ids::now_ms()),
        checks: checks.into_iter().map(Check::shown).collect(),
    };
    let status = if is_healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Reply::json(status, &health)
}

async fn store(shared: &Shared) -> Check {
    let started = std::time::Instant::now();
    let answered = shared.control.store.ping().await;
    let latency_ms = started.elapsed().as_secs_f64() * 1000.0;
    let status = if answered.is_ok() { Status::Healthy } else { Status::Unhealthy };
    Check::new("store", status, json!({"latencyMs": latency_ms}))
}

fn disk(shared: &Shared) -> Check {
    let Some(folder) = &shared.state_dir else { return Check::new("disk", Status::Healthy, json!({})) };
    match rustix::fs::statvfs(folder.as_path()) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let status = match free {
                0..MIN_FREE => Status::Unhealthy,
                MIN_FREE..WARN_FREE => Status::Warn,
                _ => Status::Healthy,
            };
            Check::new("disk", status, json!({"freeBytes": free}))
        }
        Err(error) => Check::new("disk", Status::Unhealthy, json!({"detail": error.to_string()})),
    }
}

fn memory() -> Check {
    let memory = Memory::now();
    let details = json!({"residentBytes": memory.resident, "limitBytes": memory.limit});
    Check::new("memory", Status::warn_if(memory.is_high()), details)
}

fn edges(shared: &Shared) -> Check {
    let hub = &shared.control.hub;
    let edges = hub.edges();
    let connected = edges.iter().filter(|edge| edge.is_reachable()).count();
    let refusing = edges.iter().filter(|edge| !edge.refusals.is_empty()).count();
    let is_odd = refusing > 0 || connected < edges.len() || hub.is_fenced();
    let details = json!({"connected": connected, "seen": edges.len(), "refusing": refusing, "fenced": hub.is_fenced()});
    Check::new("edges", Status::warn_if(is_odd), details)
}

fn snapshots(shared: &Shared) -> Check {
    let now = ids::now_ms();
    let latest = shared.control.hub.all_latest();
    let newest = latest.iter().map(|(_, latest)| latest.created_at).max();
    let age = newest.map(|at| now.saturating_sub(at).max(0) / 1000);
    Check::new("snapshots", Status::Healthy, json!({"environments": latest.len(), "newestAgeSeconds": age}))
}
