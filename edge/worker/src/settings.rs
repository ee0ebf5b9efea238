//! The Worker's variables, secrets and bindings, by name. They cannot change while an isolate lives: other values are another
//! deployment.

use std::cell::OnceCell;
use std::rc::Rc;

use admin_api::edge::Scope;
use sha2::{Digest as _, Sha256};
use worker::Env;

use crate::platform::{self, Binding};
use crate::sealed::Trust;

/// The Durable Object that holds the snapshot.
const OBJECT: &str = "SNAPSHOT";
/// The copy for a cold start.
const COPIES: &str = "COPIES";

/// What the variables and secrets say.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Whose snapshots count: those of the environment of `APP` and `ENVIRONMENT`, signed by a key of `PUBLIC_KEYS`.
    pub(crate) trust: Option<Trust>,
    /// `ORIGIN`: what serves while no snapshot was ever seen.
    pub(crate) origin: Option<String>,
    /// `REGION`: where this edge is said to be.
    pub(crate) region: Option<String>,
    /// `CONTROL_PLANE`: where reports go.
    pub(crate) control_plane: Option<String>,
    /// `EDGE`: the id among the control plane's edges.
    pub(crate) edge: String,
    /// `PANIC_OVERRIDE`, not verified.
    pub(crate) panic: Option<String>,
    token: Option<Token>,
}

/// The secret `EDGE_TOKEN`. Its `Debug` hides it.
struct Token {
    text: String,
    digest: [u8; 32],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(secret)")
    }
}

thread_local! {
    static SETTINGS: OnceCell<Rc<Settings>> = const { OnceCell::new() };
}

/// The settings of this deployment.
pub(crate) fn settings(env: &Env) -> Rc<Settings> {
    SETTINGS.with(|settings| Rc::clone(settings.get_or_init(|| Rc::new(Settings::read(env)))))
}

impl Settings {
    fn read(env: &Env) -> Self {
        let text = |name| platform::text(env, name);
        let url = |name| text(name).map(|url: String| url.trim_end_matches('/').to_owned());
        let scope = text("APP").zip(text("ENVIRONMENT")).map(|(app, environment)| Scope { app, environment });
        let named = scope.as_ref().map(|scope| format!("worker-{}-{}", scope.app, scope.environment));
        Self {
            trust: scope.zip(text("PUBLIC_KEYS")).and_then(|(scope, keys)| Trust::new(scope, &keys)),
            origin: url("ORIGIN"),
            region: text("REGION"),
            control_plane: url("CONTROL_PLANE"),
            edge: text("EDGE").or(named).unwrap_or_default(),
            panic: text("PANIC_OVERRIDE"),
            token: text("EDGE_TOKEN").map(|text| Token { digest: Sha256::digest(&text).into(), text }),
        }
    }

    /// Whether a request has the edge token. Digests are compared, and all of them, so that time tells nothing.
    pub(crate) fn is_allowed(&self, authorization: Option<&str>) -> bool {
        let given = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let Some((given, token)) = given.zip(self.token.as_ref()) else { return false };
        let given = Sha256::digest(given);
        given.iter().zip(&token.digest).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }

    /// How this Worker says who it is to the control plane.
    pub(crate) fn authorization(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {}", token.text))
    }
}

/// The Durable Object of this environment.
pub(crate) fn object(env: &Env) -> Option<Binding> {
    let settings = settings(env);
    let scope = &settings.trust.as_ref()?.scope;
    platform::binding(env, OBJECT)?.named(&format!("{}/{}", scope.app, scope.environment))
}

/// The copies.
pub(crate) fn copies(env: &Env) -> Option<Binding> {
    platform::binding(env, COPIES)
}
