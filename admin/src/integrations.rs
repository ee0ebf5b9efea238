//! What the control plane is told of by its operator's file and calls by itself: whom to notify, and whom to ask about a candidate.
//!
//! The file is read by `server::config::integrations`; secrets stay where it says they are, and are read when needed.

pub mod gate;
mod path;

use crate::outbound::OutUrl;
use crate::outbound::secret::SecretAt;

/// Everything that the file names.
#[derive(Debug, Clone, Default)]
pub struct Integrations {
    /// Who is told of what happens to releases.
    pub notify: Vec<Destination>,
    /// What templates may ask.
    pub gates: Vec<gate::Gate>,
    /// What every rollout meets.
    pub hooks: Vec<gate::Hook>,
}

/// Somebody who is told.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its name, for lists and logs.
    pub name: String,
    /// How it is told.
    pub channel: Channel,
    /// Only of this app.
    pub app: Option<String>,
    /// Only of environments with this name.
    pub environment: Option<String>,
    /// Only of these.
    pub events: Vec<Occasion>,
    /// Where the API can be reached by people, for links.
    pub link: Option<String>,
}

/// How somebody is told.
#[derive(Debug, Clone)]
pub enum Channel {
    /// An incoming webhook of Slack; its URL is the secret.
    Slack {
        /// The webhook's URL.
        url: SecretAt,
    },
    /// PagerDuty's Events API v2.
    PagerDuty {
        /// Where events are taken.
        url: OutUrl,
        /// The key of the service's integration.
        routing_key: SecretAt,
    },
    /// Any receiver of Standard Webhooks.
    Webhook {
        /// Where.
        url: Endpoint,
        /// One secret on each line, the newest first.
        secret: SecretAt,
    },
}

/// A URL, or where it is.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// It is no secret.
    Url(OutUrl),
    /// It is one.
    Secret(SecretAt),
}

/// What somebody may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Occasion {
    /// A rollout began.
    Started,
    /// It went a step further.
    Advanced,
    /// It stays where it is, and a person should look.
    Held,
    /// Traffic is being taken back.
    RollingBack,
    /// Traffic is back, and stable serves.
    RolledBack,
    /// Taking traffic back could not be shown to have worked.
    Failed,
    /// The candidate is the active release.
    Promoted,
}

impl Occasion {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Started, Self::Advanced, Self::Held, Self::RollingBack, Self::RolledBack, Self::Failed, Self::Promoted];

    /// The word in files, lists and payloads.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Advanced => "advanced",
            Self::Held => "held",
            Self::RollingBack => "rollingBack",
            Self::RolledBack => "rolledBack",
            Self::Failed => "failed",
            Self::Promoted => "promoted",
        }
    }
}

impl Channel {
    /// The word in files and lists.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Slack { .. } => "slack",
            Self::PagerDuty { .. } => "pagerduty",
            Self::Webhook { .. } => "webhook",
        }
    }

    /// What is told where the file does not say. PagerDuty decides by itself: it is told what pages, and that it is over.
    pub fn occasions(&self) -> Vec<Occasion> {
        match self {
            Self::Slack { .. } => Occasion::ALL.into_iter().filter(|one| *one != Occasion::Advanced).collect(),
            Self::PagerDuty { .. } | Self::Webhook { .. } => Occasion::ALL.to_vec(),
        }
    }
}

impl Destination {
    /// Whether it is told of what happens there.
    pub fn is_for(&self, app: &str, environment: &str) -> bool {
        let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
        is(&self.app, app) && is(&self.environment, environment)
    }
}
