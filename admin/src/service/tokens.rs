//! Tokens: made, recognised, revoked.
//!
//! A recognised token is remembered for a moment, so that a request costs no look into the store; whoever revokes one
//! makes every process forget all. Uses are noted in memory and written together, exact to a minute.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use admin_api::access::{MintedToken, NewToken, Role, Scope};
use admin_api::edge::{EnvironmentAccess, OfrepToken, Scope as EdgeScope};
use serde_json::json;

use super::{Actor, Control, ServiceError};
use crate::ids;
use crate::model::{At, Fault};
use crate::principal::Principal;
use crate::store::Notice;
use crate::store::{NewAudit, Token};
use crate::token::TokenText;

/// How long a recognised token is believed without asking the store. Only another process on the same database could
/// have revoked it without our hearing of it.
const REMEMBER: Duration = Duration::from_secs(5);
/// Another process changed tokens.
pub(crate) const TOPIC_TOKENS: &str = "tokens";
/// Scopes of one token.
const MAX_SCOPES: usize = 100;

/// Tokens that were recognised lately, and uses that are not written yet.
#[derive(Debug, Default)]
pub struct Tokens {
    known: Mutex<Recognised>,
    /// Those that are in no store and end with the process.
    own: Mutex<HashMap<String, Arc<Principal>>>,
    used: Mutex<BTreeMap<String, i64>>,
}

#[derive(Debug, Default)]
struct Recognised {
    by_hash: HashMap<String, Known>,
    /// How often everything was forgotten: what was looked up before that is not remembered after it.
    forgotten: u64,
}

#[derive(Debug, Clone)]
struct Known {
    principal: Arc<Principal>,
    expires_at: Option<i64>,
    at: Instant,
}

impl Tokens {
    /// Forgets everything that was recognised.
    pub fn forget(&self) {
        let mut known = lock(&self.known);
        known.by_hash.clear();
        known.forgotten += 1;
    }

    /// Remembers a token that is in no store: the one by which the gateway of the same process connects.
    pub fn admit(&self, text: &TokenText, principal: Principal) {
        lock(&self.own).insert(text.sha256(), Arc::new(principal));
    }

    /// Uses since the last time.
    pub fn take_used(&self) -> Vec<(String, i64)> {
        std::mem::take(&mut *lock(&self.used)).into_iter().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Entries are inserted whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    /// Who a token's text belongs to.
    pub async fn recognise(&self, sha256: &str) -> Result<Option<Arc<Principal>>, ServiceError> {
        if let Some(own) = lock(&self.tokens.own).get(sha256) {
            return Ok(Some(Arc::clone(own)));
        }
        let now = ids::now_ms();
        let (known, forgotten) = {
            let known = lock(&self.tokens.known);
            (known.by_hash.get(sha256).cloned(), known.forgotten)
        };
        let known = known.filter(|known| Instant::now().saturating_duration_since(known.at) < REMEMBER);
        let (principal, expires_at) = if let Some(known) = known {
            (known.principal, known.expires_at)
        } else {
            let token = self.store.read().await?.token_by_sha256(sha256).await?;
            let Some(token) = token.filter(|token| token.revoked_at.is_none()) else { return Ok(None) };
            let principal = Arc::new(principal(&token)?);
            let known = Known { principal: Arc::clone(&principal), expires_at: token.expires_at, at: Instant::now() };
            let mut recognised = lock(&self.tokens.known);
            if recognised.forgotten == forgotten {
                recognised.by_hash.insert(sha256.to_owned(), known);
            }
            drop(recognised);
            (principal, token.expires_at)
        };
        if expires_at.is_some_and(|expires| expires <= now) {
            return Ok(None);
        }
        lock(&self.tokens.used).insert(principal.id.clone(), now - now.rem_euclid(60_000));
        Ok(Some(principal))
    }

    /// Makes a token.
    pub async fn mint(&self, actor: &Actor, new: &NewToken) -> Result<MintedToken, ServiceError> {
        let expires_at = check(new)?;
        if let Some(scope) = new.scopes.iter().find(|scope| !actor.principal.may_grant(scope)) {
            let place = format!("for {}/{} to give the role {}", scope.app, scope.environment, scope.role.as_str());
            return Err(ServiceError::Forbidden { role: Role::Admin.as_str(), place });
        }
        self.insert(actor, new, expires_at, &TokenText::mint()).await
    }

    /// Stores the token that the operator gave for the start, unless it is there.
    pub async fn bootstrap(&self, text: &TokenText) -> Result<(), ServiceError> {
        if self.store.read().await?.token_by_sha256(&text.sha256()).await?.is_some() {
            return Ok(());
        }
        let scopes = vec![Scope { app: "*".to_owned(), environment: "*".to_owned(), role: Role::Admin }];
        let new = NewToken { name: "bootstrap".to_owned(), scopes, expires_at: None };
        self.insert(&Actor::system("bootstrap"), &new, None, text).await.map(drop)
    }

    /// Whether anybody at all can come in.
    pub async fn has_tokens(&self) -> Result<bool, ServiceError> {
        Ok(!self.store.read().await?.tokens("", 1).await?.is_empty())
    }

    async fn insert(
        &self,
        actor: &Actor,
        new: &NewToken,
        expires_at: Option<i64>,
        text: &TokenText,
    ) -> Result<MintedToken, ServiceError> {
        let token = Token {
            id: format!("tok-{}", ids::random_id()),
            sha256: text.sha256(),
            name: new.name.clone(),
            scopes: serde_json::to_string(&new.scopes).unwrap_or_default(),
            created_at: ids::now_ms(),
            created_by: actor.principal.id.clone(),
            expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        let mut tx = self.store.write().await?;
        tx.insert_token(&token).await?;
        let shown = shown(&token)?;
        tx.append_audit(entry(actor, "createToken", &token, &json!([{"object": "token", "after": shown}]))).await?;
        tx.commit().await?;
        self.tokens_changed().await?;
        let is_edge = new.scopes.iter().any(|scope| scope.role == Role::Edge);
        let public_key = is_edge.then(|| self.signer.public_key().key.clone());
        Ok(MintedToken { token: shown, secret: text.expose().to_owned(), public_key })
    }

    /// Revokes a token, at once.
    pub async fn revoke(&self, actor: &Actor, id: &str) -> Result<(), ServiceError> {
        let mut tx = self.store.write().await?;
        let token = tx.token(id).await?.ok_or_else(|| ServiceError::not_found("token", id))?;
        if token.revoked_at.is_some() {
            return Ok(());
        }
        tx.revoke_token(id, ids::now_ms()).await?;
        let before = json!([{"object": "token", "before": shown(&token)?}]);
        tx.append_audit(entry(actor, "revokeToken", &token, &before)).await?;
        tx.commit().await?;
        self.tokens_changed().await
    }

    /// The tokens after an id, in order.
    pub async fn token_page(&self, after: &str, limit: u32) -> Result<Vec<admin_api::access::Token>, ServiceError> {
        self.store.read().await?.tokens(after, limit).await?.iter().map(shown).collect()
    }

    async fn tokens_changed(&self) -> Result<(), ServiceError> {
        self.refresh_access().await?;
        self.hub.changed_elsewhere();
        if self.store.is_shared() {
            let body = json!({"process": self.hub.process()});
            self.store.notify(&Notice { topic: TOPIC_TOKENS.to_owned(), body }).await?;
        }
        Ok(())
    }

    /// Forgets what was recognised, and tells the edges which OFREP tokens count.
    pub async fn refresh_access(&self) -> Result<(), ServiceError> {
        self.tokens.forget();
        let mut tx = self.store.read().await?;
        let mut rows = Vec::new();
        loop {
            let after = rows.last().map_or(String::new(), |token: &Token| token.id.clone());
            let page = tx.tokens(&after, 500).await?;
            if page.is_empty() {
                break;
            }
            rows.extend(page);
        }
        let environments: Vec<EdgeScope> = self.hub.all_latest().into_iter().map(|(scope, _)| scope).collect();
        let mut access: BTreeMap<EdgeScope, Vec<OfrepToken>> = BTreeMap::new();
        for token in rows.iter().filter(|token| token.revoked_at.is_none()) {
            let principal = principal(token)?;
            for scope in &environments {
                let full = principal.has(Role::Ofrep, &scope.app, &scope.environment);
                if full || principal.has(Role::OfrepClient, &scope.app, &scope.environment) {
                    access.entry(scope.clone()).or_default().push(OfrepToken {
                        sha256: token.sha256.clone(),
                        is_client: !full,
                        expires_at_ms: token.expires_at,
                    });
                }
            }
        }
        let access = access.into_iter().map(|(scope, tokens)| EnvironmentAccess { scope, tokens });
        self.hub.set_access(access.collect());
        Ok(())
    }
}

fn check(new: &NewToken) -> Result<Option<i64>, ServiceError> {
    let mut faults = Vec::new();
    let mut fault = |pointer: &str, code, detail: &str| {
        faults.push(Fault { pointer: pointer.to_owned(), ..Fault::whole(At::app(), code, detail) });
    };
    if new.name.is_empty() || new.name.chars().count() > 100 || new.name.chars().any(char::is_control) {
        fault("/name", "name_invalid", "a token's name has 1 to 100 characters");
    }
    if new.scopes.is_empty() || new.scopes.len() > MAX_SCOPES {
        fault("/scopes", "out_of_range", "a token has 1 to 100 scopes");
    }
    for (index, scope) in new.scopes.iter().enumerate() {
        let is_name = |name: &str| name == "*" || edge_engine::AppName::new(name).is_ok();
        for (field, value) in [("app", &scope.app), ("environment", &scope.environment)] {
            if !is_name(value) {
                fault(&format!("/scopes/{index}/{field}"), "name_invalid", "a name, or * for all");
            }
        }
    }
    let expires_at = new.expires_at.as_deref().map(edge_engine::parse_rfc3339);
    if expires_at == Some(None) {
        fault("/expiresAt", "timestamp_invalid", "an RFC 3339 timestamp such as 2027-01-31T12:00:00Z");
    }
    if expires_at.flatten().is_some_and(|at| at <= ids::now_ms()) {
        fault("/expiresAt", "out_of_range", "this is over already");
    }
    if faults.is_empty() { Ok(expires_at.flatten()) } else { Err(ServiceError::Faults(faults)) }
}

fn scopes(token: &Token) -> Result<Vec<Scope>, ServiceError> {
    serde_json::from_str(&token.scopes)
        .map_err(|error| ServiceError::Corrupt { detail: format!("the scopes of the token {}: {error}", token.id) })
}

fn principal(token: &Token) -> Result<Principal, ServiceError> {
    Ok(Principal { id: token.id.clone(), name: token.name.clone(), scopes: scopes(token)? })
}

fn shown(token: &Token) -> Result<admin_api::access::Token, ServiceError> {
    Ok(admin_api::access::Token {
        id: token.id.clone(),
        name: token.name.clone(),
        scopes: scopes(token)?,
        created_at: ids::rfc3339(token.created_at),
        created_by: token.created_by.clone(),
        expires_at: token.expires_at.map(ids::rfc3339),
        last_used_at: token.last_used_at.map(ids::rfc3339),
        revoked_at: token.revoked_at.map(ids::rfc3339),
    })
}

fn entry(actor: &Actor, operation: &str, token: &Token, changes: &serde_json::Value) -> NewAudit {
    NewAudit {
        at: ids::now_ms(),
        actor: actor.principal.id.clone(),
        actor_name: actor.principal.name.clone(),
        app: String::new(),
        environment: String::new(),
        operation: operation.to_owned(),
        subject: format!("tokens/{}", token.id),
        reason: String::new(),
        request_id: actor.request_id.clone(),
        changes: changes.to_string(),
    }
}
