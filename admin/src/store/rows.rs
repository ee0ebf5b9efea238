//! What the tables hold, as plain values.
//!
//! Times are milliseconds since 1970 in UTC. Documents are JSON texts that the model wrote; only its readers give them a
//! meaning.

/// What an object is. Its name in the table is [`Kind::as_str`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An app.
    App,
    /// An environment's own settings, without traffic.
    Environment,
    /// Slots, weights, routing rules of an environment.
    Traffic,
    /// Which releases have served an environment as the active one.
    History,
    /// An immutable build.
    Release,
    /// A named condition.
    Segment,
    /// A flag's definition.
    Flag,
    /// A flag in one environment.
    Targeting,
    /// A named way to roll out in one environment.
    Template,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::App,
        Self::Environment,
        Self::Traffic,
        Self::History,
        Self::Release,
        Self::Segment,
        Self::Flag,
        Self::Targeting,
        Self::Template,
    ];

    /// Its name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Environment => "environment",
            Self::Traffic => "traffic",
            Self::History => "history",
            Self::Release => "release",
            Self::Segment => "segment",
            Self::Flag => "flag",
            Self::Targeting => "targeting",
            Self::Template => "template",
        }
    }

    /// The kind with this name in the table.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// The app that it belongs to.
    pub app: String,
    /// What it is.
    pub kind: Kind,
    /// The environment, empty for what belongs to the app as a whole.
    pub environment: String,
    /// Its key among its like, empty when there is only one.
    pub key: String,
}

/// An object as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Where it is.
    pub id: ObjectId,
    /// The global revision of its last change: its `ETag`.
    pub revision: i64,
    /// JSON.
    pub document: String,
    /// When it was made.
    pub created_at: i64,
    /// When it was last changed.
    pub updated_at: i64,
}

/// A published snapshot, or the withdrawal of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Grows by one with each publication of the whole installation; given by the store.
    pub sequence: i64,
    /// Whose.
    pub app: String,
    /// Whose.
    pub environment: String,
    /// Grows by one with each publication of the environment.
    pub number: i64,
    /// When.
    pub created_at: i64,
    /// The snapshot's JSON as it was signed; `None` = the environment is served no longer.
    pub document: Option<String>,
    /// SHA-256 of the document, lower-case hexadecimal; empty for a withdrawal.
    pub sha256: String,
    /// The same of the environment's snapshot before it; empty for the first.
    pub previous: String,
    /// Id of the key that signed it.
    pub key_id: String,
    /// Signature, lower-case hexadecimal.
    pub signature: String,
    /// The audit entry that it belongs to.
    pub audit: i64,
}

/// A publication without its document, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationHead {
    /// As [`Publication::sequence`].
    pub sequence: i64,
    /// As [`Publication::number`].
    pub number: i64,
    /// As [`Publication::created_at`].
    pub created_at: i64,
    /// As [`Publication::sha256`].
    pub sha256: String,
    /// As [`Publication::key_id`].
    pub key_id: String,
    /// Bytes of the document.
    pub bytes: i64,
    /// As [`Publication::audit`].
    pub audit: i64,
}

/// What is written into the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAudit {
    /// When.
    pub at: i64,
    /// Token id, or `system`.
    pub actor: String,
    /// The token's name, as people know it.
    pub actor_name: String,
    /// The app concerned, empty for none.
    pub app: String,
    /// The environment concerned, empty for none or several.
    pub environment: String,
    /// The operation, e.g. `updateTargeting`.
    pub operation: String,
    /// What was changed, e.g. `flags/new-checkout`.
    pub subject: String,
    /// Why, in the actor's words; may be empty.
    pub reason: String,
    /// The request that did it.
    pub request_id: String,
    /// JSON: what changed, before and after.
    pub changes: String,
}

/// An entry of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// 1 for the first entry, then one more each, without gaps.
    pub sequence: i64,
    /// What was written.
    pub entry: NewAudit,
    /// The hash of the entry before, 64 zeros for the first.
    pub previous: String,
    /// SHA-256 over `previous` and all fields of the entry.
    pub hash: String,
}

/// A token; its text is never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its public id.
    pub id: String,
    /// SHA-256 of its text, lower-case hexadecimal.
    pub sha256: String,
    /// As people know it.
    pub name: String,
    /// JSON: `[{app, environment, role}]`.
    pub scopes: String,
    /// When it was made.
    pub created_at: i64,
    /// Id of the token that made it, or `system`.
    pub created_by: String,
    /// After this it no longer counts.
    pub expires_at: Option<i64>,
    /// Since this it no longer counts.
    pub revoked_at: Option<i64>,
    /// Last use, exact to a minute.
    pub last_used_at: Option<i64>,
}

/// An answer that is given again to the same request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The token that asked.
    pub token: String,
    /// The `Idempotency-Key`.
    pub key: String,
    /// SHA-256 over method, path, query and body.
    pub request: String,
    /// The status.
    pub status: i64,
    /// `ETag` and `Location` of the answer as JSON.
    pub headers: String,
    /// The body.
    pub body: String,
    /// When; it counts for 24 hours.
    pub created_at: i64,
}

/// The secret that an environment hashes and signs with.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvironmentKey {
    /// Whose.
    pub app: String,
    /// Whose.
    pub environment: String,
    /// Its public id.
    pub id: String,
    /// 16 bytes as 32 hexadecimal digits.
    pub key: String,
}

impl std::fmt::Debug for EnvironmentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvironmentKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The edges of one process on the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterRow {
    /// Which process.
    pub process: String,
    /// Raised with every write: a process whose beat stands still is gone.
    pub beat: i64,
    /// JSON: the edges and what they run.
    pub document: String,
}

/// What is added to the counters of a flag's variant or a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageDelta {
    /// Whose.
    pub app: String,
    /// Whose.
    pub environment: String,
    /// `flag` or `release`.
    pub kind: String,
    /// The flag or the release.
    pub key: String,
    /// The variant, or the name of a release's counter.
    pub variant: String,
    /// How much.
    pub count: i64,
}

/// Counters since the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// As [`UsageDelta::kind`].
    pub kind: String,
    /// As [`UsageDelta::key`].
    pub key: String,
    /// As [`UsageDelta::variant`].
    pub variant: String,
    /// How often.
    pub count: i64,
    /// When it last grew.
    pub last_at: i64,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRow {
    /// Its number among all rollouts of the installation.
    pub id: i64,
    /// Whose.
    pub app: String,
    /// Whose.
    pub environment: String,
    /// The candidate.
    pub release: String,
    /// The word for its state.
    pub state: String,
    /// When it was started.
    pub created_at: i64,
    /// When it ended; at most one rollout of an environment has not.
    pub ended_at: Option<i64>,
    /// How many groups of batches its evidence takes in. Reports are added to the group after that.
    pub counted: i64,
    /// How many transitions there were.
    pub transitions: i64,
    /// JSON: what it means to do.
    pub plan: String,
    /// JSON: its state.
    pub document: String,
}

/// What was decided about a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitionRow {
    /// Which rollout.
    pub rollout: i64,
    /// 1 for the first, then one more each.
    pub number: i64,
    /// When.
    pub at: i64,
    /// The word for the state before.
    pub before: String,
    /// The word for the state after.
    pub after: String,
    /// Token id, or `system`.
    pub actor: String,
    /// As people know it.
    pub actor_name: String,
    /// [`RolloutRow::counted`] at that time.
    pub counted: i64,
    /// Whether the evidence for promotion began anew with it.
    pub begins_step: bool,
    /// What and why, with numbers.
    pub sentence: String,
    /// JSON: the evidence then.
    pub grounds: Option<String>,
}

/// What edges reported of a rollout in some moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    /// Which rollout.
    pub rollout: i64,
    /// The group; 1 for the first, then one more each.
    pub sequence: i64,
    /// What is compared with itself only: a region, empty where all are alike.
    pub stratum: String,
    /// JSON: the batch.
    pub document: String,
}

/// The last word of a source about an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalRow {
    /// Whose.
    pub app: String,
    /// Whose.
    pub environment: String,
    /// `health`, `alert` or `infrastructure`.
    pub kind: String,
    /// Who says so: an edge's process, an alert's fingerprint, a metric.
    pub source: String,
    /// When.
    pub at: i64,
    /// JSON: what.
    pub document: String,
}

/// Something that is told, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// In the order in which it happened.
    pub id: i64,
    /// Whom, by the name in the operator's file.
    pub destination: String,
    /// How: `slack`, `pagerduty`, `webhook`.
    pub channel: String,
    /// Of which app.
    pub app: String,
    /// Of which environment.
    pub environment: String,
    /// Of which rollout; 0 = of none.
    pub rollout: i64,
    /// What happened.
    pub occasion: String,
    /// `post`, or of PagerDuty `trigger` and `resolve`.
    pub action: String,
    /// When it happened.
    pub created_at: i64,
    /// When it is tried next; `None` = not any more.
    pub next_at: Option<i64>,
    /// How often it was tried.
    pub attempts: i64,
    /// `waiting`, `delivered`, `givenUp`.
    pub state: String,
    /// What went wrong last.
    pub error: Option<String>,
    /// JSON: the announcement.
    pub document: String,
}
