//! A snapshot as it was signed, and the way from there to one that decides.
//!
//! On the wire, in the Durable Object and in KV it is the same text: the head as one line of JSON, a line end, the
//! document. Invariant: an [`Opened`] was signed by a key that counts, is about this Worker's environment, and its
//! bucketing key is the one that the signed document names.

use admin_api::edge::{Scope, SnapshotHead, may_be_bucketing_key, signed_bytes};
use ed25519_dalek::{Signature, VerifyingKey};
use edge_engine::{BucketingKey, Problem, Snapshot};
use sha2::{Digest as _, Sha256};

/// Problems of a document that are told; the first ones say enough.
const MAX_TOLD: usize = 5;

/// Why a snapshot is not taken: the code that the control plane knows, and the reason for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// As in [`admin_api::edge::Nack`].
    pub code: &'static str,
    /// Why, one sentence.
    pub detail: String,
}

impl Refusal {
    fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    fn document(detail: impl Into<String>) -> Self {
        Self::new("document_invalid", detail)
    }

    fn problems(problems: &[Problem]) -> Self {
        let is_unknown = problems.iter().any(|problem| problem.code == "format_unknown");
        let lines: Vec<String> =
            problems.iter().take(MAX_TOLD).map(|p| format!("{}: {} ({})", p.pointer, p.detail, p.code)).collect();
        Self::new(if is_unknown { "format_unknown" } else { "document_invalid" }, lines.join("; "))
    }
}

/// Whose snapshots a Worker takes.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The environment that it serves.
    pub scope: Scope,
    /// The keys that count.
    pub keys: Vec<VerifyingKey>,
}

impl Trust {
    /// Reads the keys: 64 hexadecimal digits each, separated by commas or spaces. `None` when one is no key, or there is
    /// none: a Worker that trusts nobody would look like one that works.
    pub fn new(scope: Scope, keys: &str) -> Option<Self> {
        let words = keys.split([',', ' ', '\n']).filter(|word| !word.is_empty());
        let keys: Option<Vec<_>> = words.map(|word| VerifyingKey::from_bytes(&decode(word)?).ok()).collect();
        keys.filter(|keys| !keys.is_empty()).map(|keys| Self { scope, keys })
    }
}

/// A snapshot that may decide.
#[derive(Debug)]
pub struct Opened {
    /// It.
    pub snapshot: Snapshot,
    /// SHA-256 of its document.
    pub digest: [u8; 32],
}

/// Checks a sealed snapshot: signature first, and nothing is looked into before that is good.
pub fn open(sealed: &[u8], trust: &Trust) -> Result<Opened, Refusal> {
    let (head, document) = split(sealed).ok_or_else(|| Refusal::document("it has no head"))?;
    verify(&head, document, &trust.keys)?;
    if head.scope != trust.scope {
        return Err(Refusal::document(format!(
            "this Worker serves {} of {}",
            trust.scope.environment, trust.scope.app
        )));
    }
    let wire = edge_engine::parse(document).map_err(|problems| Refusal::problems(&problems))?;
    let is_same = wire.app.as_str() == head.scope.app
        && wire.environment.as_str() == head.scope.environment
        && wire.number == head.number;
    if !is_same {
        return Err(Refusal::document("the document is another one than its head says"));
    }
    if wire.bucketing_key_id.as_str() != head.bucketing_key.id {
        return Err(Refusal::document("the bucketing key that came along is another one"));
    }
    let key: [u8; 16] =
        decode(&head.bucketing_key.key).ok_or_else(|| Refusal::document("the bucketing key is none"))?;
    // The key itself is not signed, its id is.
    if !may_be_bucketing_key(&head.bucketing_key.id, &key) {
        return Err(Refusal::document("the bucketing key is not the one of its id"));
    }
    let snapshot =
        edge_engine::check(wire, &BucketingKey::new(key)).map_err(|problems| Refusal::problems(&problems))?;
    Ok(Opened { snapshot, digest: Sha256::digest(document).into() })
}

/// Whether a snapshot may follow another one: numbers only grow, and the same number is the same document.
pub fn may_follow(new: &Opened, old: Option<(u64, [u8; 32])>) -> Result<(), Refusal> {
    let Some((number, digest)) = old else { return Ok(()) };
    let offered = new.snapshot.number();
    if offered < number {
        return Err(Refusal::new("older", format!("snapshot {number} is there already")));
    }
    if offered == number && new.digest != digest {
        return Err(Refusal::new("same_number", format!("another snapshot {number} is there already")));
    }
    Ok(())
}

fn split(sealed: &[u8]) -> Option<(SnapshotHead, &[u8])> {
    let end = sealed.iter().position(|byte| *byte == b'\n')?;
    let (head, document) = sealed.split_at_checked(end)?;
    Some((serde_json::from_slice(head).ok()?, document.get(1..)?))
}

fn verify(head: &SnapshotHead, document: &[u8], keys: &[VerifyingKey]) -> Result<(), Refusal> {
    let key = keys.iter().find(|key| key_id(key) == head.key_id);
    let key =
        key.ok_or_else(|| Refusal::new("key_unknown", "it is signed by a key that this Worker does not trust"))?;
    let bad = || Refusal::new("signature_invalid", "the signature does not match the document");
    // Else a line end in it would let one signature stand for several documents.
    if !(head.previous.is_empty() || decode::<32>(&head.previous).is_some()) {
        return Err(bad());
    }
    let signature = Signature::from_bytes(&decode(&head.signature).ok_or_else(bad)?);
    key.verify_strict(&signed_bytes(&head.previous, document), &signature).map_err(|_| bad())
}

/// The first 16 hexadecimal digits of the key's SHA-256.
fn key_id(key: &VerifyingKey) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(key.as_bytes());
    digest.iter().take(8).fold(String::with_capacity(16), |mut id, byte| {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
        id
    })
}

/// Exactly so many bytes from hexadecimal digits.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    // `from_str_radix` takes a sign, so the digits are looked at first.
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}
