//! The way to the candidate for somebody who is no visitor: a signed override, for smoke checks and for people's links.

use admin_api::rollouts::{PreviewLink, PreviewLinks, PreviewRequest};
use edge_engine::{Slot, TokenKey};
use serde_json::json;

use super::{Rollout, refused, refused_with};
use crate::ids;
use crate::model::rollback::held;
use crate::service::{Actor, Cached, Control, Intent, ServiceError, change};
use crate::store::NewAudit;

/// The operation, as the audit names it.
pub(crate) const OPERATION: &str = "previewRollout";
/// The kind of an override's token.
const KIND: &str = "o1";

/// Takes whoever shows it to the candidate, for a while.
#[derive(Clone)]
pub(crate) struct Override {
    /// Where an edge looks for it, by this name.
    pub(crate) header: Option<String>,
    /// Or as a cookie.
    pub(crate) cookie: Option<String>,
    /// Or in the query.
    pub(crate) query: Option<String>,
    /// What is shown.
    pub(crate) token: String,
    /// Whether edges say in their answers which release gave them.
    pub(crate) names_release: bool,
}

impl std::fmt::Debug for Override {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Override").field("names_release", &self.names_release).finish_non_exhaustive()
    }
}

/// Why nobody can be taken to the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoWay {
    /// The environment, or the candidate in it, is not there.
    #[error("the candidate has no slot")]
    NoSlot,
    /// Edges look for no overrides.
    #[error("the environment takes no overrides: its traffic has no override")]
    NoOverride,
}

impl Override {
    /// For this release, until then (seconds since 1970).
    pub(crate) fn sign(cached: &Cached, environment: &str, release: &str, until: i64) -> Result<Self, NoWay> {
        let parts = cached.app.environment(environment).ok_or(NoWay::NoSlot)?;
        let has = |slot: &Slot| held(&parts.traffic, *slot) == Some(release);
        let slot = [Slot::Blue, Slot::Green].into_iter().find(has).ok_or(NoWay::NoSlot)?;
        let named = parts.traffic.r#override.as_ref().ok_or(NoWay::NoOverride)?;
        let (_, secret) = cached.keys.get(environment).ok_or(NoWay::NoSlot)?;
        let key = TokenKey::new(secret, KIND, cached.app.name().as_str(), environment);
        Ok(Self {
            header: named.header.clone(),
            cookie: named.cookie.clone(),
            query: named.query.clone(),
            token: key.sign(slot.as_str(), until),
            names_release: parts.edge.debug,
        })
    }
}

impl Control {
    /// Links that show the candidate of the rollout under way, whatever its weight is.
    pub async fn preview_links(
        &self,
        actor: &Actor,
        (app, environment): (&str, &str),
        request: &PreviewRequest,
        now: i64,
    ) -> Result<PreviewLinks, ServiceError> {
        let mut tx = self.store.write().await?;
        let cached = self.app_in(&mut tx, app).await?;
        let Some(parts) = cached.app.environment(environment) else {
            return Err(ServiceError::not_found("environment", environment));
        };
        let Some(row) = tx.rollout_under_way(app, environment).await? else {
            return Err(refused("rollout_ended", format!("no rollout is under way in {environment}")));
        };
        let rollout = Rollout::read(row)?;
        let until = now / 1000 + i64::from(request.seconds());
        let way = Override::sign(&cached, environment, &rollout.plan.release, until).map_err(no_way)?;
        let query = way.query.as_ref().ok_or_else(|| no_way(NoWay::NoOverride))?;
        let hosts: Vec<&String> = parts.edge.hosts.iter().filter(|host| !host.contains('*')).collect();
        if hosts.is_empty() {
            let detail = format!("{environment} has no host that a link could name");
            return Err(refused_with("no_host", detail, "give the environment a host without a star"));
        }
        let path = request.path.as_deref().unwrap_or("/");
        let link = |host: &&String| PreviewLink { host: (*host).clone(), url: url(host, path, query, &way.token) };
        let links = PreviewLinks {
            rollout: rollout.row.id,
            release: rollout.plan.release.clone(),
            expires_at: ids::rfc3339(until * 1000),
            links: hosts.iter().map(link).collect(),
        };
        let reason = request.reason.as_deref().unwrap_or_default();
        tx.append_audit(entry(actor, &rollout, (until, reason), now)).await?;
        tx.commit().await?;
        Ok(links)
    }
}

fn no_way(why: NoWay) -> ServiceError {
    let (code, hint) = match why {
        NoWay::NoSlot => ("no_slot", "the candidate takes no requests any more"),
        NoWay::NoOverride => ("no_override", "add override: {query: bascule} to the traffic of the environment"),
    };
    let detail = match why {
        NoWay::NoSlot => why.to_string(),
        NoWay::NoOverride => "edges look for no override in the query of a request".to_owned(),
    };
    refused_with(code, detail, hint)
}

/// Visitors come by TLS, except to a machine of one's own.
fn url(host: &str, path: &str, query: &str, token: &str) -> String {
    let name = host.split(':').next().unwrap_or_default();
    let is_own = name == "localhost" || name.ends_with(".localhost") || name.starts_with("127.");
    let scheme = if is_own { "http" } else { "https" };
    let shown = form_urlencoded::Serializer::new(String::new()).append_pair(query, token).finish();
    let (path, fragment) =
        path.split_once('#').map_or((path, String::new()), |(path, rest)| (path, format!("#{rest}")));
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{scheme}://{host}{path}{separator}{shown}{fragment}")
}

/// The audit says for whom and how long, and no link.
fn entry(actor: &Actor, rollout: &Rollout, (until, reason): (i64, &str), now: i64) -> NewAudit {
    let subject = rollout.subject();
    let after = json!({"release": rollout.plan.release, "expiresAt": ids::rfc3339(until * 1000)});
    let intent = Intent {
        app: rollout.row.app.clone(),
        environment: rollout.row.environment.clone(),
        operation: OPERATION,
        subject: subject.clone(),
        reason: reason.to_owned(),
        ..Intent::default()
    };
    let entry = change::entry(actor, &intent, &[], now);
    NewAudit { changes: json!([{"object": subject, "after": after}]).to_string(), ..entry }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_the_page_that_was_asked_for() {
        assert_eq!(url("shop.example", "/", "try", "o1.green.7.ab"), "https://shop.example/?try=o1.green.7.ab");
        assert_eq!(url("shop.example", "/a?b=c#d", "try", "t"), "https://shop.example/a?b=c&try=t#d");
        assert_eq!(url("shop.localhost:7401", "/", "try", "t"), "http://shop.localhost:7401/?try=t");
    }
}
