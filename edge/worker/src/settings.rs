//! The Worker's variables, secrets and bindings, by name.

use admin_api::edge::Scope;
use worker::{Env, KvStore, Stub};

use crate::sealed::Trust;

/// The Durable Object that holds the snapshot.
const OBJECT: &str = "SNAPSHOT";
/// The copy for a cold start.
const COPIES: &str = "COPIES";

fn var(env: &Env, name: &str) -> Option<String> {
    env.var(name).ok().map(|value| value.to_string()).filter(|value| !value.is_empty())
}

/// The environment that is served: variables `APP` and `ENVIRONMENT`.
pub(crate) fn scope(env: &Env) -> Option<Scope> {
    Some(Scope { app: var(env, "APP")?, environment: var(env, "ENVIRONMENT")? })
}

/// Whose snapshots count: that environment, signed by a key of the variable `PUBLIC_KEYS`.
pub(crate) fn trust(env: &Env) -> Option<Trust> {
    Trust::new(scope(env)?, &var(env, "PUBLIC_KEYS")?)
}

/// What serves while no snapshot was ever seen: the variable `ORIGIN`.
pub(crate) fn origin(env: &Env) -> Option<String> {
    var(env, "ORIGIN").map(|url| url.trim_end_matches('/').to_owned())
}

/// Where this edge is said to be: the variable `REGION`.
pub(crate) fn region(env: &Env) -> Option<String> {
    var(env, "REGION")
}

/// The token of who may push: the secret `EDGE_TOKEN`.
pub(crate) fn token(env: &Env) -> Option<String> {
    let token = env.secret("EDGE_TOKEN").ok()?.to_string();
    Some(token).filter(|token| !token.is_empty())
}

/// The Durable Object of this environment.
pub(crate) fn object(env: &Env) -> Option<Stub> {
    let scope = scope(env)?;
    let name = format!("{}/{}", scope.app, scope.environment);
    env.durable_object(OBJECT).ok()?.get_by_name(&name).ok()
}

/// The copies.
pub(crate) fn copies(env: &Env) -> Option<KvStore> {
    env.kv(COPIES).ok()
}
