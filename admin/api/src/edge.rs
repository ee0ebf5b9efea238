//! The edge protocol: how a control plane gives edges their snapshots, and what they answer.
//!
//! An edge opens one stream of server-sent events, `GET /edge/v1/snapshots` with [`Hello`]'s parameters, and gets all
//! environments that its token reaches: what there is, then `current`, then whatever changes. An event `snapshot` has
//! two lines of data, a [`SnapshotHead`] and the document as it was signed; its id is the publication's sequence, and an
//! edge that comes back names the last one it has seen as `Last-Event-ID`. `withdraw` takes an environment away. `access`
//! brings all OFREP tokens that count from then on. Comment lines keep the connection alive.
//!
//! What an edge runs it says by `POST /edge/v1/acks`, what it counted by `POST /edge/v1/reports`. A Worker opens no stream: the
//! control plane pushes to it, a [`PushHead`] and the document, and its [`PushAck`] is the acknowledgement.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where snapshots are streamed.
pub const SNAPSHOTS: &str = "/edge/v1/snapshots";
/// Where edges say what they run.
pub const ACKS: &str = "/edge/v1/acks";
/// Where edges say what they counted.
pub const REPORTS: &str = "/edge/v1/reports";

/// Names of the stream's events.
pub mod event {
    /// First: [`super::Welcome`].
    pub const WELCOME: &str = "welcome";
    /// A snapshot to run: [`super::SnapshotHead`], a line end, the document.
    pub const SNAPSHOT: &str = "snapshot";
    /// An environment to serve no longer: [`super::Scope`].
    pub const WITHDRAW: &str = "withdraw";
    /// The OFREP tokens: [`super::Access`].
    pub const ACCESS: &str = "access";
    /// Everything that there was when the edge connected has been sent: [`super::Current`].
    pub const CURRENT: &str = "current";
    /// The control plane closes the stream: [`super::Goodbye`].
    pub const GOODBYE: &str = "goodbye";
}

/// Who connects; the query of `GET /edge/v1/snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The edge's id, stable over restarts: a key of 1 to 128 characters.
    pub edge: String,
    /// New with each process.
    pub boot: String,
    /// What it is.
    pub kind: EdgeKind,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The version of its program.
    pub version: String,
    /// Its engine hash, or `native`.
    pub engine: String,
}

/// What an edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EdgeKind {
    /// A `bascule gateway`.
    Gateway,
    /// A Cloudflare Worker.
    Worker,
}

/// An environment of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// The app.
    pub app: String,
    /// The environment.
    pub environment: String,
}

/// What the control plane says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// Names this connection; acknowledgements carry it.
    pub connection: String,
    /// Milliseconds between two comment lines when nothing else is sent; a stream silent for three times that is dead.
    pub heartbeat_ms: u64,
    /// Milliseconds between two reports.
    pub report_ms: u64,
    /// The keys that snapshots may be signed with.
    pub public_keys: Vec<PublicKey>,
}

/// An Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicKey {
    /// The first 16 hexadecimal digits of the key's SHA-256.
    pub id: String,
    /// The 32 bytes as 64 hexadecimal digits.
    pub key: String,
}

/// What comes before a snapshot's document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotHead {
    /// Whose snapshot it is.
    #[serde(flatten)]
    pub scope: Scope,
    /// Its number; the document says the same.
    pub number: u64,
    /// SHA-256 of the environment's document before it, 64 hexadecimal digits; empty for the first. An edge takes no other
    /// text here: a line end in it would let one signature stand for two documents.
    pub previous: String,
    /// Id of the key that signed it.
    pub key_id: String,
    /// Ed25519 signature over [`signed_bytes`], 128 hexadecimal digits.
    pub signature: String,
    /// The secret that the environment hashes and signs with.
    pub bucketing_key: BucketingSecret,
}

/// An environment's secret. Its `Debug` hides the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketingSecret {
    /// As the document's `bucketingKeyId`.
    pub id: String,
    /// 16 bytes as 32 hexadecimal digits.
    pub key: String,
}

impl std::fmt::Debug for BucketingSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BucketingSecret").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What is signed: a label, the digest of the document before, and the document, each on a line.
pub fn signed_bytes(previous: &str, document: &[u8]) -> Vec<u8> {
    let mut bytes = format!("bascule-snapshot-v1\n{previous}\n").into_bytes();
    bytes.extend_from_slice(document);
    bytes
}

/// What stands before the document when a control plane pushes a snapshot to a Worker: on one line, as JSON. The fields of a
/// [`SnapshotHead`], and who may ask this environment by OFREP. The same snapshot with other tokens is pushed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in `SnapshotHead`")]
pub struct PushHead {
    pub app: String,
    pub environment: String,
    pub number: u64,
    pub previous: String,
    pub key_id: String,
    pub signature: String,
    pub bucketing_key: BucketingSecret,
    /// The tokens that count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ofrep: Vec<OfrepToken>,
}

impl PushHead {
    /// The head of a snapshot for a Worker.
    pub fn new(head: SnapshotHead, ofrep: Vec<OfrepToken>) -> Self {
        let SnapshotHead { scope: Scope { app, environment }, number, previous, key_id, signature, bucketing_key } =
            head;
        Self { app, environment, number, previous, key_id, signature, bucketing_key, ofrep }
    }
}

/// A Worker's answer to a snapshot that it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushAck {
    /// The number that is durable.
    pub number: u64,
    /// The engine that decides by it, or `native`.
    pub engine: String,
    /// Milliseconds after which every isolate decides each request that comes by this snapshot or a newer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_ms: Option<u64>,
}

/// The panic path of a Worker whose snapshot cannot be replaced: as long as it runs a snapshot from before a number, one
/// release serves everybody. It is given as a secret, by a new deployment, and needs no storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanicOverride {
    /// Where it counts.
    pub scope: Scope,
    /// It rests from this snapshot's number on.
    pub before: u64,
    /// What serves.
    pub release: String,
}

impl PanicOverride {
    const LABEL: &str = "bascule-panic-override-v1";

    fn words(&self) -> String {
        let Self { scope: Scope { app, environment }, before, release } = self;
        format!("{} {app} {environment} {before} {release}", Self::LABEL)
    }

    /// What is signed, by Ed25519. No name has a space.
    pub fn signed_bytes(&self) -> Vec<u8> {
        self.words().into_bytes()
    }

    /// The text of the secret, with the signature's 128 hexadecimal digits.
    pub fn text(&self, signature: &str) -> String {
        format!("{} {signature}", self.words())
    }

    /// Reads a text: what it says, and the signature that is still to be checked.
    pub fn parse(text: &str) -> Option<(Self, &str)> {
        let mut words = text.split_ascii_whitespace();
        let label = words.next()?;
        let [app, environment, before, release, signature] = std::array::from_fn(|_| words.next().unwrap_or_default());
        let is_whole = label == Self::LABEL && words.next().is_none() && !signature.is_empty();
        let scope = Scope { app: app.to_owned(), environment: environment.to_owned() };
        let parsed = Self { scope, before: before.parse().ok()?, release: release.to_owned() };
        is_whole.then_some((parsed, signature))
    }
}

/// How the id of a bucketing key begins when it says which key it is.
const COMMITMENT: &str = "sha256-";
/// Of the 256: a second key with the same id takes 2^128 attempts.
const COMMITMENT_BITS: usize = 128;

/// The id of a bucketing key: `sha256-` and the first 32 hexadecimal digits of the SHA-256 of a label and the key.
///
/// The id is in the signed document, so a key that is exchanged on its way to an edge is noticed, while the id of a random
/// key tells nothing about it.
pub fn bucketing_key_id(key: &[u8; 16]) -> String {
    use sha2::{Digest as _, Sha256};
    use std::fmt::Write as _;
    let digest = Sha256::new().chain_update(b"bascule-bucketing-key-v1\n").chain_update(key).finalize();
    let mut id = COMMITMENT.to_owned();
    for byte in &digest[..COMMITMENT_BITS / 8] {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// Whether a key may be the one with this id: it is, or the id does not say which key it is.
pub fn may_be_bucketing_key(id: &str, key: &[u8; 16]) -> bool {
    !id.starts_with(COMMITMENT) || id == bucketing_key_id(key)
}

/// All OFREP tokens that count at this edge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// Those of each environment that has some.
    pub environments: Vec<EnvironmentAccess>,
}

/// The OFREP tokens of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentAccess {
    /// Which environment.
    #[serde(flatten)]
    pub scope: Scope,
    /// Its tokens.
    pub tokens: Vec<OfrepToken>,
}

/// An OFREP token as an edge knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfrepToken {
    /// SHA-256 of the token's text, 64 hexadecimal digits.
    pub sha256: String,
    /// Only flags marked `clientVisible` are answered: the role `ofrep-client`.
    pub is_client: bool,
    /// Milliseconds since 1970 after which it no longer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<i64>,
}

/// Sent after what there was at the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Current {
    /// The last publication's sequence.
    pub sequence: u64,
    /// Every environment that the edge's token reaches and that has a snapshot. An edge withdraws all others, unless the
    /// list is empty: a control plane that lost its data says that too. The last environment is taken away by `withdraw`.
    pub environments: Vec<Scope>,
}

/// Sent before the control plane closes the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Goodbye {
    /// Milliseconds to wait at most before connecting again, to be spread at random from 0. An edge that got no `current`
    /// before may wait longer.
    pub retry_ms: u64,
}

/// The body of `POST /edge/v1/acks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Acks {
    /// The edge's id.
    pub edge: String,
    /// The connection that brought the snapshots.
    pub connection: String,
    /// What it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acks: Vec<Ack>,
    /// What it refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nacks: Vec<Nack>,
    /// It ends in the ordinary way and serves nobody from now on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// Every request from now on is decided by this snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// Whose snapshot.
    #[serde(flatten)]
    pub scope: Scope,
    /// Its number.
    pub number: u64,
    /// The engine hash that decides it, or `native`.
    pub engine: String,
    /// Microseconds from its arrival until all workers ran it.
    pub applied_us: u64,
}

/// The edge refused a snapshot and goes on with the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Nack {
    /// Whose snapshot.
    #[serde(flatten)]
    pub scope: Scope,
    /// Its number.
    pub number: u64,
    /// `signature_invalid`, `key_unknown`, `format_unknown`, `older`, `same_number`, `host_taken`, `document_invalid`,
    /// `module_failed`, `prepare_failed`, `unacknowledged`. After `host_taken` the edge takes the snapshot all the same as
    /// soon as the other environment gives the host up.
    pub code: String,
    /// Why, for people; at most 4 KiB.
    pub detail: String,
}

/// The body of `POST /edge/v1/reports`: what an edge counted since the report before. Sent again until it was answered;
/// the control plane takes each `(edge, boot, sequence)` once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The edge's id.
    pub edge: String,
    /// Its process.
    pub boot: String,
    /// 1 for the first report of a process, then one more each.
    pub sequence: u64,
    /// Milliseconds that it covers.
    pub covers_ms: u64,
    /// Requests that this process knows to be in no report: their counts were lost before they could be sent.
    #[serde(default)]
    pub lost: u64,
    /// What it counted for each environment that had traffic.
    pub environments: Vec<EnvironmentReport>,
}

/// Counters of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentReport {
    /// Which environment.
    #[serde(flatten)]
    pub scope: Scope,
    /// Requests decided without the engine.
    #[serde(default)]
    pub fallbacks: u64,
    /// By release.
    #[serde(default)]
    pub releases: Vec<ReleaseReport>,
    /// By variant of each flag that is decided at this edge.
    #[serde(default)]
    pub flags: Vec<FlagReport>,
    /// First bad events of units, at most [`MOST_FIRST_BAD`]. An edge that forgot a unit may name it again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_bad: Vec<FirstBad>,
    /// Units that the hash sent to a release for the first time: of every [`EXPOSED_OF`] one, chosen by the bucket, at most
    /// [`MOST_EXPOSED`]. None while the candidate's share is below 1 %.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<Exposed>,
    /// How the releases in the slots are, as this edge sees them at the moment of the report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<ReleaseHealth>,
}

/// First bad events of an environment in one report; those beyond are told by the next one.
pub const MOST_FIRST_BAD: usize = 1000;

/// Exposures of an environment in one report; those beyond are told by the next one.
pub const MOST_EXPOSED: usize = 1000;

/// One of so many units is reported as exposed: those whose bucket is a multiple of it.
pub const EXPOSED_OF: u32 = 16;

/// Upper bounds of the latency buckets in microseconds, both of an edge's metrics and of its reports: OpenTelemetry's for
/// HTTP, two below them, because a proxy's own time disappears in the first of those (5 ms), and the deployment standard's
/// 2 s. One more bucket is above them all.
pub const LATENCY_BOUNDS_US: [u64; 17] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_000_000,
    2_500_000, 5_000_000, 7_500_000, 10_000_000,
];

/// Whether a threshold in milliseconds is one that edges see: a bound from 25 ms on.
pub fn is_latency_threshold(ms: u32) -> bool {
    ms >= LEAST_THRESHOLD_MS && LATENCY_BOUNDS_US.contains(&(u64::from(ms) * 1000))
}

/// Below this a slow request is no event of its unit.
pub const LEAST_THRESHOLD_MS: u32 = 25;

/// The first time that a unit met a failure of a release, or a slower answer than before. Requests whose route was forced
/// (override, rule, pin) are in no such list: the hash did not choose their release. Nor are those that another release
/// served than the hash chose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FirstBad {
    /// SipHash-2-4 of the unit under the environment's key, as 16 hexadecimal digits: the same unit is the same text at
    /// every edge for as long as the traffic's salt stays.
    pub unit: String,
    /// What failed.
    pub release: String,
    /// Whether that was the candidate.
    pub is_candidate: bool,
    /// The candidate's share that was configured here then, in millionths.
    pub weight: u32,
    /// How it failed.
    pub failure: Failure,
    /// With `slow`: the highest of [`LATENCY_BOUNDS_US`] that the answer took longer than, in milliseconds. A unit that
    /// exceeds a higher one later is named again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slower_than_ms: Option<u32>,
}

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Failure {
    /// An answer from 500 to 599.
    Status,
    /// No connection, or it broke.
    Transport,
    /// No answer in time.
    Timeout,
    /// An answer from 400 to 499: no failure by itself, and a criterion of its own.
    ClientError,
    /// An answer that took longer than one of the thresholds.
    Slow,
}

/// A unit that the hash sent to a release for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exposed {
    /// As in [`FirstBad`].
    pub unit: String,
    /// Whether the candidate was chosen.
    pub is_candidate: bool,
    /// The candidate's share that was configured here then, in millionths.
    pub weight: u32,
}

/// Counters of one release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseReport {
    /// The release.
    pub release: String,
    /// Requests that it served or failed.
    pub requests: u64,
    /// Answers from 400 to 499.
    pub client_errors: u64,
    /// Answers from 500 to 599.
    pub server_errors: u64,
    /// Requests without an answer: no connection, reset, timeout.
    pub transport_errors: u64,
    /// Answers by how long they took: as many as [`LATENCY_BOUNDS_US`] and one, or none at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<u64>,
    /// How long they took together, in microseconds.
    #[serde(default)]
    pub latency_us: u64,
    /// Requests that the hash sent here, first those in even buckets, then those in odd ones; or nothing. Others were forced
    /// here (override, rule, pin) or came when nothing was split.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<SplitCount>,
}

/// Requests of one half of the buckets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SplitCount {
    /// All of them.
    pub requests: u64,
    /// Those that were answered from 500 to 599 or not at all.
    pub failed: u64,
}

/// How a release is, as an edge sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseHealth {
    /// The release.
    pub release: String,
    /// Upstreams that this edge uses for it.
    pub upstreams: u32,
    /// Those of them that take requests: their checks do not fail, and they do not rest.
    pub available: u32,
    /// Those of them whose active checks fail.
    pub failing: u32,
    /// Whether the breaker sends the candidate's requests to the active release.
    pub breaker_open: bool,
}

/// How often a flag had a variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlagReport {
    /// The flag.
    pub flag: String,
    /// The variant.
    pub variant: String,
    /// Evaluations.
    pub count: u64,
}

/// The answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The highest sequence of this process that was taken.
    pub sequence: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_no_debug_output() {
        let secret = BucketingSecret { id: "k1".into(), key: "canary".into() };
        assert!(!format!("{secret:?}").contains("canary"));
    }

    #[test]
    fn the_id_of_a_bucketing_key_belongs_to_it_alone() {
        let id = bucketing_key_id(&[7; 16]);
        assert_eq!(id, "sha256-689a360da1267b075420cb2569d9312a");
        assert!(may_be_bucketing_key(&id, &[7; 16]) && !may_be_bucketing_key(&id, &[8; 16]));
        assert!(may_be_bucketing_key("k1", &[8; 16]), "an id that says nothing");
    }

    #[test]
    fn a_panic_override_is_read_as_it_is_written() {
        let scope = Scope { app: "web".into(), environment: "production".into() };
        let given = PanicOverride { scope, before: 43, release: "web-1.4.1".into() };
        let text = given.text("ab");
        assert_eq!(text, "bascule-panic-override-v1 web production 43 web-1.4.1 ab");
        assert_eq!(PanicOverride::parse(&format!("{text}\n")), Some((given, "ab")));
        for bad in ["", "web production 43 web-1 ab", "bascule-panic-override-v1 web production x web-1 ab"] {
            assert_eq!(PanicOverride::parse(bad), None, "{bad}");
        }
        for bad in [&text[..text.len() - 3], &format!("{text} more")] {
            assert_eq!(PanicOverride::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_signed_names_the_document_before() {
        assert_eq!(signed_bytes("ab", b"{}"), b"bascule-snapshot-v1\nab\n{}");
        assert_ne!(signed_bytes("", b"x"), signed_bytes("x", b""));
    }
}
