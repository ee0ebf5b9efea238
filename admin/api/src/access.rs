//! Roles, scopes and tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a scope allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// And edits flags, segments and releases.
    Editor,
    /// And moves traffic, rolls back.
    Operator,
    /// And makes apps, environments and tokens.
    Admin,
    /// An edge: gets snapshots, sends acknowledgements and reports.
    Edge,
    /// Evaluates flags over OFREP.
    Ofrep,
    /// The same in browsers: only flags marked `clientVisible`.
    OfrepClient,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 7] =
        [Self::Viewer, Self::Editor, Self::Operator, Self::Admin, Self::Edge, Self::Ofrep, Self::OfrepClient];

    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Edge => "edge",
            Self::Ofrep => "ofrep",
            Self::OfrepClient => "ofrep-client",
        }
    }

    /// Whether this role allows what that one does.
    pub fn includes(self, other: Self) -> bool {
        let rung = |role| match role {
            Self::Viewer => Some(1),
            Self::Editor => Some(2),
            Self::Operator => Some(3),
            Self::Admin => Some(4),
            Self::Edge | Self::Ofrep | Self::OfrepClient => None,
        };
        match (rung(self), rung(other)) {
            (Some(own), Some(wanted)) => own >= wanted,
            _ => self == other,
        }
    }
}

/// A role somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scope {
    /// An app's name, or `*`.
    #[schemars(regex(pattern = r"^(\*|[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$"))]
    pub app: String,
    /// An environment's name, or `*`.
    #[schemars(regex(pattern = r"^(\*|[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$"))]
    pub environment: String,
    /// What it allows there.
    pub role: Role,
}

impl Scope {
    /// Whether it counts there.
    pub fn covers(&self, app: &str, environment: &str) -> bool {
        (self.app == "*" || self.app == app) && (self.environment == "*" || self.environment == environment)
    }
}

/// A new token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewToken {
    /// As people know it, 1 to 100 characters.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// What it allows, at least one.
    #[schemars(length(min = 1, max = 100))]
    pub scopes: Vec<Scope>,
    /// RFC 3339; after it the token no longer counts. Absent = never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A token without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Its public id.
    pub id: String,
    /// As people know it.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// RFC 3339.
    pub created_at: String,
    /// Id of the token that made it.
    pub created_by: String,
    /// RFC 3339; absent = never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// RFC 3339, exact to a minute; absent = never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    /// RFC 3339; absent = it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
}

/// A token that was just made: the only time that its text is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MintedToken {
    /// What is kept of it.
    #[serde(flatten)]
    pub token: Token,
    /// What to send as `Authorization: Bearer`.
    pub secret: String,
    /// For edges: the key that snapshots are signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

impl std::fmt::Debug for MintedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MintedToken").field("token", &self.token).finish_non_exhaustive()
    }
}
