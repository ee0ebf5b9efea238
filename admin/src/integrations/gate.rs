//! What may be asked about a candidate: gates that templates name, and hooks that every rollout meets.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderValue, Method};
use serde_json::Value;

use super::Endpoint;
pub use super::path::Path;
use crate::outbound::secret::SecretAt;

/// For which rollouts something is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Of this app; `None` = of all.
    pub app: Option<String>,
    /// Of this environment; `None` = of all.
    pub environment: Option<String>,
}

/// How often and how long one asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two questions.
    pub interval: Duration,
    /// For one answer.
    pub timeout: Duration,
}

/// A gate that a template's step may name.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Its name.
    pub name: String,
    /// For which rollouts it is.
    pub reach: Reach,
    /// How often it is asked.
    pub pace: Pace,
    /// What is asked.
    pub check: Check,
}

/// What a gate asks.
#[derive(Debug, Clone)]
pub enum Check {
    /// Somebody else, who answers yes or no.
    Webhook(Webhook),
    /// The candidate itself, by an override.
    Http(Smoke),
    /// Prometheus, or whatever speaks its API.
    Prometheus(Query),
}

/// Where somebody is told or asked.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where.
    pub url: Endpoint,
    /// Signs what is sent: one secret on each line, the newest first.
    pub secret: Option<SecretAt>,
    /// Goes along as it is.
    pub metadata: BTreeMap<String, String>,
}

/// A smoke check of the candidate.
#[derive(Debug, Clone)]
pub struct Smoke {
    /// Public URLs of the environment, one for each place that has to answer.
    pub urls: Vec<Endpoint>,
    /// The host that is asked for; `None` = the URL's. With it a URL may name one region's edge.
    pub host: Option<HeaderValue>,
    /// How it is asked.
    pub method: Method,
    /// The statuses that are good.
    pub status: Vec<RangeInclusive<u16>>,
    /// What the answer says.
    pub body: Option<Says>,
    /// The longest that an answer may take.
    pub latency: Option<Duration>,
    /// How often each URL has to answer well in a row.
    pub count: u32,
}

/// What stands at a place of a JSON answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Says {
    /// Where.
    pub path: Path,
    /// As somebody wrote it.
    pub shown: String,
    /// Exactly this; `None` = anything.
    pub equals: Option<Value>,
}

/// A query with one number as its answer.
#[derive(Debug, Clone)]
pub struct Query {
    /// Of the server, without `/api/v1/query`.
    pub url: Endpoint,
    /// The query, with placeholders.
    pub query: String,
    /// A number above this is a no.
    pub above: Option<f64>,
    /// A number below this is a no.
    pub below: Option<f64>,
    /// Says who asks.
    pub token: Option<SecretAt>,
}

/// Something that every rollout of its reach meets.
#[derive(Debug, Clone)]
pub struct Hook {
    /// When it is called.
    pub kind: HookKind,
    /// Its name, different from those of the others of its kind.
    pub name: String,
    /// For which rollouts it is.
    pub reach: Reach,
    /// How often it is asked.
    pub pace: Pace,
    /// After so many failed checks traffic is taken back.
    pub threshold: u32,
    /// Who is called.
    pub webhook: Webhook,
}

/// When a hook is called. The names and their meaning are Flagger's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookKind {
    /// Before anything: waits for a yes.
    ConfirmRollout,
    /// Before the first traffic: a check that may fail.
    PreRollout,
    /// While the candidate is judged: a check that may fail.
    Rollout,
    /// Before each raise of the weight: waits for a yes.
    ConfirmTrafficIncrease,
    /// Before the candidate is the active release: waits for a yes.
    ConfirmPromotion,
    /// After the end.
    PostRollout,
    /// All the while: a yes takes traffic back.
    Rollback,
    /// Told what is decided.
    Event,
}

impl Reach {
    /// Whether a rollout there is one of them.
    pub fn covers(&self, app: &str, environment: &str) -> bool {
        self.app.as_deref().is_none_or(|own| own == app)
            && self.environment.as_deref().is_none_or(|own| own == environment)
    }
}

impl HookKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ConfirmRollout,
        Self::PreRollout,
        Self::Rollout,
        Self::ConfirmTrafficIncrease,
        Self::ConfirmPromotion,
        Self::PostRollout,
        Self::Rollback,
        Self::Event,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfirmRollout => "confirm-rollout",
            Self::PreRollout => "pre-rollout",
            Self::Rollout => "rollout",
            Self::ConfirmTrafficIncrease => "confirm-traffic-increase",
            Self::ConfirmPromotion => "confirm-promotion",
            Self::PostRollout => "post-rollout",
            Self::Rollback => "rollback",
            Self::Event => "event",
        }
    }

    /// The one with this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether a no, or no answer, is a failed check.
    pub fn is_check(self) -> bool {
        matches!(self, Self::PreRollout | Self::Rollout)
    }
}

impl Hook {
    /// What it is called among the gates of a plan.
    pub fn gate_name(&self) -> String {
        format!("{PREFIX}{}/{}", self.kind.name(), self.name)
    }
}

/// What names of hooks begin with among gates; no gate of one's own does.
pub const PREFIX: &str = "hook:";
