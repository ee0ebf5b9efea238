//! A snapshot as it was signed, and the way from there to one that decides.
//!
//! On the wire, in the Durable Object and in KV it is the same text: the head as one line of JSON, a line end, the
//! document. Invariant: an [`Opened`] was signed by a key that counts, is about this Worker's environment, and its
//! bucketing key is the one that the signed document names. The signature itself is the platform's affair: a [`Claim`] says
//! what is to be verified, and only with the answer it becomes a [`Verified`].

use std::collections::BTreeMap;

use admin_api::edge::{PanicOverride, PushHead, Scope, may_be_bucketing_key, signed_bytes};
use edge_engine::wire::{SlotsWire, SnapshotWire};
use edge_engine::{
    Bucketer, BucketingKey, Domain, FlagIndex, Problem, ReleaseId, Route, RouteReason, Slot, Snapshot, Value,
};
use sha2::{Digest as _, Sha256};

use crate::ofrep::Tokens;

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

    fn signature() -> Self {
        Self::new("signature_invalid", "the signature does not match the document")
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
    /// The Ed25519 keys that count.
    pub keys: Vec<[u8; 32]>,
}

impl Trust {
    /// Reads the keys: 64 hexadecimal digits each, separated by commas or spaces. `None` when one is no key, or there is
    /// none: a Worker that trusts nobody would look like one that works.
    pub fn new(scope: Scope, keys: &str) -> Option<Self> {
        let words = keys.split([',', ' ', '\n']).filter(|word| !word.is_empty());
        let keys: Option<Vec<_>> = words.map(decode).collect();
        keys.filter(|keys| !keys.is_empty()).map(|keys| Self { scope, keys })
    }
}

/// A snapshot that says who signed it.
#[derive(Debug)]
pub struct Claim<'a> {
    head: PushHead,
    line: &'a [u8],
    document: &'a [u8],
    key: [u8; 32],
    signature: [u8; 64],
}

/// A snapshot that was signed by a key that counts.
#[derive(Debug)]
pub struct Verified<'a>(Claim<'a>);

impl<'a> Claim<'a> {
    /// Reads a sealed snapshot; nothing of the document is looked into.
    pub fn read(sealed: &'a [u8], trust: &Trust) -> Result<Self, Refusal> {
        let (line, document) = split(sealed).ok_or_else(|| Refusal::document("it has no head"))?;
        let head: PushHead =
            serde_json::from_slice(line).map_err(|error| Refusal::document(format!("its head is none: {error}")))?;
        let key = trust.keys.iter().find(|key| key_id(key) == head.key_id).copied();
        let key =
            key.ok_or_else(|| Refusal::new("key_unknown", "it is signed by a key that this Worker does not trust"))?;
        // Else a line end in it would let one signature stand for several documents.
        let previous = &head.previous;
        if !(previous.is_empty() || decode::<32>(previous).is_some()) {
            return Err(Refusal::signature());
        }
        let signature = decode(&head.signature).ok_or_else(Refusal::signature)?;
        Ok(Self { head, line, document, key, signature })
    }

    /// The Ed25519 public key.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The signature.
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// What was signed.
    pub fn message(&self) -> Vec<u8> {
        signed_bytes(&self.head.previous, self.document)
    }

    /// What it is once somebody has verified the signature.
    pub fn verified(self, is_good: bool) -> Result<Verified<'a>, Refusal> {
        if is_good { Ok(Verified(self)) } else { Err(Refusal::signature()) }
    }
}

/// A snapshot that may decide.
#[derive(Debug)]
pub struct Opened {
    /// It.
    pub snapshot: Snapshot,
    /// SHA-256 of its document.
    pub digest: [u8; 32],
    /// Names head and document: another head of the same document has another version.
    pub version: String,
    /// Who may ask by OFREP.
    pub tokens: Tokens,
    /// The flags that browsers may see.
    pub visible: Vec<FlagIndex>,
    /// By what units are named in reports.
    pub salt: String,
    /// One for each unit source.
    reporters: Vec<Bucketer>,
}

impl Opened {
    /// What the unit of a request is called in reports, when that says something about a release that is being judged: its
    /// hash chose the release, or everybody is at the new one and the one of before is kept ready.
    pub fn reported_unit(&self, route: &Route, values: &[Value<'_>]) -> Option<u64> {
        let traffic = self.snapshot.traffic();
        let is_judged = match route.reason {
            RouteReason::Split => true,
            RouteReason::Active => traffic.release(traffic.active().other()).is_some(),
            _ => false,
        };
        if !is_judged {
            return None;
        }
        let index = usize::from(route.unit?.0);
        let source = self.snapshot.unit_sources().get(index)?;
        match values.get(usize::from(source.attribute))? {
            Value::Text(value) => Some(self.reporters.get(index)?.hash(value)),
            _ => None,
        }
    }
}

/// Makes a snapshot that decides. As long as it is one from before, `panic` says what serves.
pub fn open(verified: Verified<'_>, trust: &Trust, panic: Option<&PanicOverride>) -> Result<Opened, Refusal> {
    let Verified(Claim { head, line, document, .. }) = verified;
    if (&*head.app, &*head.environment) != (&*trust.scope.app, &*trust.scope.environment) {
        return Err(Refusal::document(format!(
            "this Worker serves {} of {}",
            trust.scope.environment, trust.scope.app
        )));
    }
    let mut wire = edge_engine::parse(document).map_err(|problems| Refusal::problems(&problems))?;
    let is_same =
        wire.app.as_str() == head.app && wire.environment.as_str() == head.environment && wire.number == head.number;
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
    if let Some(panic) = panic.filter(|panic| wire.number < panic.before) {
        overrule(&mut wire, panic)?;
    }
    let salt = wire.traffic.salt.clone();
    let key = BucketingKey::new(key);
    let snapshot = edge_engine::check(wire, &key).map_err(|problems| Refusal::problems(&problems))?;
    let reporter = |name: &str| Bucketer::new(&key, Domain::Report, &salt, name);
    let digest: [u8; 32] = Sha256::digest(document).into();
    Ok(Opened {
        reporters: snapshot.unit_sources().iter().map(|source| reporter(&source.name)).collect(),
        version: version(head.number, line),
        tokens: Tokens::new(&head.ofrep),
        visible: edge_ofrep::visible(&snapshot),
        salt,
        snapshot,
        digest,
    })
}

/// Names a number with its head.
fn version(number: u64, head: &[u8]) -> String {
    let digest = Sha256::digest(head);
    let short = digest.iter().take(8).fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    format!("{number}-{short:016x}")
}

/// Gives everything to one release, so that the engine itself decides by what the override says.
fn overrule(wire: &mut SnapshotWire, panic: &PanicOverride) -> Result<(), Refusal> {
    let release = ReleaseId::new(&*panic.release).ok().filter(|id| wire.releases.contains_key(id));
    let release = release.ok_or_else(|| {
        Refusal::document(format!(
            "PANIC_OVERRIDE names release {}, which snapshot {} lacks",
            panic.release, wire.number
        ))
    })?;
    let traffic = &mut wire.traffic;
    traffic.active = if traffic.slots.green.as_ref() == Some(&release) { Slot::Green } else { Slot::Blue };
    traffic.rolled_back.retain(|id| *id != release);
    let serving = Some(release);
    traffic.slots = match traffic.active {
        Slot::Blue => SlotsWire { blue: serving, green: None },
        Slot::Green => SlotsWire { blue: None, green: serving },
    };
    traffic.candidate_weight = 0;
    traffic.regions = BTreeMap::new();
    traffic.rules.clear();
    traffic.r#override = None;
    traffic.pin = None;
    Ok(())
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

/// A panic override that says who signed it: what is to be verified is [`PanicOverride::signed_bytes`] under one of the
/// Worker's keys.
pub fn panic_override(text: &str, trust: &Trust) -> Option<(PanicOverride, [u8; 64])> {
    let (given, signature) = PanicOverride::parse(text)?;
    Some((given, decode(signature)?)).filter(|(given, _)| given.scope == trust.scope)
}

fn split(sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = sealed.iter().position(|byte| *byte == b'\n')?;
    let (head, document) = sealed.split_at_checked(end)?;
    Some((head, document.get(1..)?))
}

/// The first 16 hexadecimal digits of the key's SHA-256.
fn key_id(key: &[u8; 32]) -> String {
    let digest = Sha256::digest(key);
    let short = digest.iter().take(8).fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    format!("{short:016x}")
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KEY: [u8; 32] = [1; 32];

    fn trust() -> Trust {
        let scope = Scope { app: "web".into(), environment: "production".into() };
        Trust::new(scope, &"01".repeat(32)).expect("one key")
    }

    fn head() -> Value {
        json!({
            "app": "web", "environment": "production", "number": 7, "previous": "", "keyId": key_id(&KEY),
            "signature": "ab".repeat(64), "bucketingKey": {"id": "k1", "key": "07".repeat(16)},
        })
    }

    fn document() -> Value {
        json!({
            "format": "v1", "app": "web", "environment": "production", "number": 7, "createdAt": "2026-01-01T00:00:00Z",
            "bucketingKeyId": "k1", "unit": ["header:x-user-id"],
            "traffic": {"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 50_000,
                "salt": "web-2", "rolledBack": ["web-3"], "pin": {"maxAgeSeconds": 60}},
            "releases": {
                "web-1": {"version": "1", "upstreams": [{"url": "http://127.0.0.1:1"}]},
                "web-2": {"version": "2", "upstreams": [{"url": "http://127.0.0.1:2"}]},
                "web-3": {"version": "3", "upstreams": [{"url": "http://127.0.0.1:3"}]},
            },
            "flags": {}, "edge": {},
        })
    }

    fn sealed(head: &Value, document: &Value) -> Vec<u8> {
        format!("{head}\n{document}").into_bytes()
    }

    fn opened(head: &Value, document: &Value, panic: Option<&PanicOverride>) -> Result<Opened, Refusal> {
        let bytes = sealed(head, document);
        open(Claim::read(&bytes, &trust())?.verified(true)?, &trust(), panic)
    }

    fn panic(before: u64, release: &str) -> PanicOverride {
        PanicOverride { scope: trust().scope, before, release: release.into() }
    }

    #[test]
    fn what_is_verified_is_the_document_with_the_one_before_it() {
        let bytes = sealed(&head(), &document());
        let claim = Claim::read(&bytes, &trust()).unwrap();
        assert_eq!((claim.key(), claim.signature()), (&KEY, &[0xab; 64]));
        assert_eq!(claim.message(), signed_bytes("", document().to_string().as_bytes()));
        assert_eq!(claim.verified(false).unwrap_err().code, "signature_invalid");
    }

    #[test]
    fn a_head_that_is_none_is_refused_by_its_reason() {
        let read = |change: &dyn Fn(&mut Value)| {
            let mut head = head();
            change(&mut head);
            Claim::read(&sealed(&head, &document()), &trust()).unwrap_err().code
        };
        assert_eq!(read(&|head| head["keyId"] = json!("0123456789abcdef")), "key_unknown");
        assert_eq!(read(&|head| head["previous"] = json!("a\nb")), "signature_invalid");
        assert_eq!(read(&|head| head["signature"] = json!("zz")), "signature_invalid");
        assert_eq!(read(&|head| head["number"] = json!("7")), "document_invalid");
        assert_eq!(Claim::read(b"{}", &trust()).unwrap_err().code, "document_invalid");
    }

    #[test]
    fn a_document_that_is_another_one_is_refused() {
        for (pointer, value) in [("number", json!(8)), ("app", json!("shop")), ("bucketingKeyId", json!("k2"))] {
            let mut document = document();
            document[pointer] = value;
            assert_eq!(opened(&head(), &document, None).unwrap_err().code, "document_invalid", "{pointer}");
        }
        assert_eq!(opened(&head(), &document(), None).unwrap().snapshot.number(), 7);
    }

    #[test]
    fn another_head_of_the_same_document_is_another_version() {
        let first = opened(&head(), &document(), None).unwrap();
        let mut with_token = head();
        with_token["ofrep"] = json!([{"sha256": "00".repeat(32), "isClient": true}]);
        let second = opened(&with_token, &document(), None).unwrap();
        assert_ne!(first.version, second.version);
        assert!(may_follow(&second, Some((7, first.digest))).is_ok());
        assert_eq!(may_follow(&second, Some((8, first.digest))).unwrap_err().code, "older");
        assert_eq!(may_follow(&second, Some((7, [0; 32]))).unwrap_err().code, "same_number");
    }

    #[test]
    fn a_panic_override_leaves_one_release_and_nothing_that_names_another() {
        for (release, slot) in [("web-1", Slot::Blue), ("web-2", Slot::Green), ("web-3", Slot::Blue)] {
            let opened = opened(&head(), &document(), Some(&panic(8, release))).unwrap();
            let traffic = opened.snapshot.traffic();
            let serving = traffic.release(traffic.active()).unwrap();
            assert_eq!((traffic.active(), opened.snapshot.release(serving).id.as_str()), (slot, release));
            assert_eq!((traffic.candidate_weight(), traffic.is_rolled_back(serving)), (0, false));
        }
        let rests = opened(&head(), &document(), Some(&panic(7, "web-1"))).unwrap();
        assert_eq!(rests.snapshot.traffic().candidate_weight(), 50_000);
        assert_eq!(opened(&head(), &document(), Some(&panic(8, "web-9"))).unwrap_err().code, "document_invalid");
    }

    #[test]
    fn keys_are_all_good_or_none_is() {
        let scope = || trust().scope;
        let two = format!("{}, {}", "01".repeat(32), "ff".repeat(32));
        assert_eq!(Trust::new(scope(), &two).unwrap().keys.len(), 2);
        for bad in ["", "01", &format!("{two},x"), &"+1".repeat(32)] {
            assert!(Trust::new(scope(), bad).is_none(), "{bad}");
        }
    }
}
