//! Which tokens count, in the form that a worker looks them up: prepared off its thread, part of its state, never locked.

use std::collections::HashMap;
use std::sync::Arc;

use admin_api::edge::Access;
use bytes::Bytes;
use edge_engine::FlagIndex;
use edge_ofrep::{Fingerprint, Tickets, events};

use super::super::hosts::EnvironmentIndex;
use super::super::metrics::{OfrepShard, Shard};
use super::super::state::EnvironmentState;
use crate::host::LoadedSnapshot;

/// What a token may do.
#[derive(Debug, Clone, Copy)]
pub(in crate::gateway) struct Grant {
    pub(in crate::gateway) environment: EnvironmentIndex,
    /// Only flags that are visible to clients.
    pub(in crate::gateway) is_client: bool,
    /// Milliseconds since 1970.
    pub(in crate::gateway) expires_at_ms: i64,
}

/// The tokens of all environments of a worker.
#[derive(Debug, Default)]
pub(in crate::gateway) struct AccessTable(HashMap<Fingerprint, Grant>);

impl AccessTable {
    /// The table for these environments, which learn from it whether they have tokens. Tokens of others do not count.
    pub(in crate::gateway) fn new(access: &Access, environments: &mut [EnvironmentState]) -> Self {
        let mut grants = HashMap::new();
        for of in &access.environments {
            let is_it = |state: &EnvironmentState| {
                *state.routes.app == *of.scope.app && *state.routes.environment == *of.scope.environment
            };
            let Some(index) = environments.iter().position(is_it) else { continue };
            for token in &of.tokens {
                let Some(fingerprint) = Fingerprint::parse(&token.sha256) else {
                    tracing::warn!(
                        app = of.scope.app,
                        environment = of.scope.environment,
                        "a token's hash is not 64 hexadecimal digits; it does not count"
                    );
                    continue;
                };
                let expires_at_ms = token.expires_at_ms.unwrap_or(i64::MAX);
                grants.insert(fingerprint, Grant { environment: index, is_client: token.is_client, expires_at_ms });
                if let Some(environment) = environments.get_mut(index) {
                    environment.ofrep.has_tokens = true;
                }
            }
        }
        Self(grants)
    }

    /// What this token may do now.
    pub(in crate::gateway) fn grant(&self, token: &Fingerprint, now_ms: i64) -> Option<Grant> {
        self.0.get(token).copied().filter(|grant| now_ms < grant.expires_at_ms)
    }
}

/// What an environment needs for OFREP beside its decider.
#[derive(Debug)]
pub(in crate::gateway) struct Prepared {
    pub(super) has_tokens: bool,
    pub(super) tickets: Tickets,
    pub(super) visible: Box<[FlagIndex]>,
    pub(super) version: Box<str>,
    /// The event that tells clients to fetch again.
    pub(super) refetch: Bytes,
    pub(super) counters: Arc<OfrepShard>,
}

impl Prepared {
    pub(in crate::gateway) fn new(loaded: &LoadedSnapshot, shard: &Shard) -> Self {
        let snapshot = loaded.snapshot();
        let (app, environment) = (snapshot.app().as_str(), snapshot.environment().as_str());
        Self {
            has_tokens: false,
            tickets: Tickets::new(loaded.key(), app, environment),
            visible: edge_ofrep::visible(snapshot).into(),
            version: events::config_version(snapshot).into(),
            refetch: events::refetch(snapshot).into(),
            counters: shard.ofrep(app, environment),
        }
    }
}
