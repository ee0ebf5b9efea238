//! Whose signature counts.
//!
//! Pinned keys are those of the configuration and no others. Without a pin, the keys of the first contact are trusted from
//! then on: the state directory keeps them, so that a later control plane with other keys is somebody else. Invariant: a
//! snapshot is looked into only after its signature was found good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use admin_api::edge::{PublicKey, SnapshotHead, signed_bytes};
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use crate::hex;
use crate::state_dir::StateDir;

/// Where the keys of the first contact are kept.
const NOTE: &str = "signing-keys";
/// Nobody rotates more keys than that at once.
const MAX_KEYS: usize = 16;

/// The keys that count.
#[derive(Debug)]
pub(super) struct Keyring {
    by_id: Mutex<Keys>,
    state_dir: Option<Arc<StateDir>>,
}

#[derive(Debug, Default)]
struct Keys {
    by_id: BTreeMap<String, [u8; 32]>,
    /// The next keys that are offered are trusted.
    is_open: bool,
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untrusted {
    /// The key is none that counts here.
    #[error("it is signed by the key {0:.64}, which this edge does not trust")]
    Key(String),
    /// The signature is not that of the document.
    #[error("the signature does not match the document")]
    Signature,
}

impl Keyring {
    /// These keys, or without any those that the state directory knows, or those that are offered first.
    pub(super) fn new(pinned: &[[u8; 32]], state_dir: Option<Arc<StateDir>>) -> Self {
        let keys = if pinned.is_empty() {
            kept(state_dir.as_deref())
        } else {
            Keys { by_id: pinned.iter().map(|key| (id(key), *key)).collect(), is_open: false }
        };
        Self { by_id: Mutex::new(keys), state_dir }
    }

    /// Looks at the keys that a control plane says it signs with; whether one of them counts.
    pub(super) fn greet(&self, offered: &[PublicKey]) -> bool {
        let offered = offered.iter().take(MAX_KEYS).filter_map(|key| hex::decode(&key.key));
        let offered: BTreeMap<String, [u8; 32]> = offered.map(|key| (id(&key), key)).collect();
        let mut keys = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.is_open && !offered.is_empty() {
            tracing::warn!(
                keys = offered.keys().cloned().collect::<Vec<_>>().join(", "),
                "no public key is pinned: these keys of the first contact are trusted from now on (admin_public_key pins)"
            );
            *keys = Keys { by_id: offered.clone(), is_open: false };
            self.keep(&keys.by_id);
        }
        offered.keys().any(|id| keys.by_id.contains_key(id))
    }

    /// Whether a document is signed as its head says, by a key that counts.
    pub(super) fn verify(&self, head: &SnapshotHead, document: &[u8]) -> Result<(), Untrusted> {
        let key = self.by_id.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(&head.key_id).copied();
        let key = key.ok_or_else(|| Untrusted::Key(head.key_id.clone()))?;
        // Else a line end in it would let one signature stand for several documents.
        if !(head.previous.is_empty() || hex::decode::<32>(&head.previous).is_some()) {
            return Err(Untrusted::Signature);
        }
        let signature: [u8; 64] = hex::decode(&head.signature).ok_or(Untrusted::Signature)?;
        let signed = signed_bytes(&head.previous, document);
        UnparsedPublicKey::new(&ED25519, key).verify(&signed, &signature).map_err(|_| Untrusted::Signature)
    }

    fn keep(&self, keys: &BTreeMap<String, [u8; 32]>) {
        let Some(dir) = &self.state_dir else { return };
        let lines: Vec<_> = keys.values().map(|key| hex::encode(key)).collect();
        if let Err(error) = dir.note(NOTE, (lines.join("\n") + "\n").as_bytes()) {
            tracing::error!(error = &error as &dyn std::error::Error, "a restart will trust whatever keys come first");
        }
    }
}

fn kept(dir: Option<&StateDir>) -> Keys {
    let text = match dir.map_or(Ok(None), |dir| dir.noted(NOTE)) {
        Ok(None) => return Keys { by_id: BTreeMap::new(), is_open: true },
        Ok(Some(text)) => text,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the known signing keys cannot be read");
            Vec::new()
        }
    };
    // A file of which nothing is left trusts nobody: it was there, so this is not the first contact.
    let keys = String::from_utf8_lossy(&text).lines().filter_map(hex::decode).map(|key| (id(&key), key)).collect();
    Keys { by_id: keys, is_open: false }
}

/// The first 16 hexadecimal digits of the key's SHA-256.
fn id(key: &[u8; 32]) -> String {
    let mut id = hex::encode(&Sha256::digest(key));
    id.truncate(16);
    id
}

#[cfg(test)]
mod tests {
    use admin_api::edge::{BucketingSecret, Scope};
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn pair(seed: u8) -> (Ed25519KeyPair, [u8; 32]) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any 32 bytes are a seed");
        let public = pair.public_key().as_ref().try_into().expect("32 bytes");
        (pair, public)
    }

    fn signed(seed: u8, previous: &str, document: &[u8]) -> SnapshotHead {
        let (pair, public) = pair(seed);
        SnapshotHead {
            scope: Scope { app: "web".into(), environment: "production".into() },
            number: 1,
            previous: previous.to_owned(),
            key_id: id(&public),
            signature: hex::encode(pair.sign(&signed_bytes(previous, document)).as_ref()),
            bucketing_key: BucketingSecret { id: "k1".into(), key: "00".repeat(16) },
        }
    }

    fn offered(seed: u8) -> PublicKey {
        let (_, public) = pair(seed);
        PublicKey { id: id(&public), key: hex::encode(&public) }
    }

    #[test]
    fn a_document_counts_when_a_pinned_key_signed_it_and_not_after_any_change() {
        let keyring = Keyring::new(&[pair(1).1], None);
        let previous = "ab".repeat(32);
        let head = signed(1, &previous, b"{}");
        assert_eq!(keyring.verify(&head, b"{}"), Ok(()));
        assert_eq!(keyring.verify(&head, b"{ }"), Err(Untrusted::Signature));
        assert_eq!(
            keyring.verify(&SnapshotHead { previous: String::new(), ..head.clone() }, b"{}"),
            Err(Untrusted::Signature)
        );
        assert_eq!(keyring.verify(&SnapshotHead { signature: "zz".into(), ..head }, b"{}"), Err(Untrusted::Signature));
        assert!(matches!(keyring.verify(&signed(2, "", b"{}"), b"{}"), Err(Untrusted::Key(_))));
        assert!(!keyring.greet(&[offered(2)]), "an offered key does not count beside a pin");
        assert!(keyring.greet(&[offered(2), offered(1)]));
    }

    #[test]
    fn no_bit_of_a_signed_snapshot_can_be_another_one() {
        let keyring = Keyring::new(&[pair(1).1], None);
        let document = br#"{"app": "web", "environment": "production", "number": 7}"#;
        let head = signed(1, &"ab".repeat(32), document);
        assert_eq!(keyring.verify(&head, document), Ok(()));
        let flip = |bytes: &[u8], bit: usize| {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        };
        for bit in 0..8 * document.len() {
            assert!(keyring.verify(&head, &flip(document, bit)).is_err(), "bit {bit} of the document");
        }
        for length in 0..document.len() {
            assert!(keyring.verify(&head, &document[..length]).is_err(), "{length} bytes of the document");
        }
        let signature = hex::decode::<64>(&head.signature).expect("64 bytes");
        for bit in 0..8 * signature.len() {
            let signature = hex::encode(&flip(&signature, bit));
            assert!(keyring.verify(&SnapshotHead { signature, ..head.clone() }, document).is_err(), "bit {bit}");
        }
        for bit in 0..8 * head.previous.len() {
            let Ok(previous) = String::from_utf8(flip(head.previous.as_bytes(), bit)) else { continue };
            assert!(keyring.verify(&SnapshotHead { previous, ..head.clone() }, document).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn two_pinned_keys_count_while_one_replaces_the_other() {
        let keyring = Keyring::new(&[pair(1).1, pair(2).1], None);
        for seed in [1, 2] {
            assert!(keyring.greet(&[offered(seed)]), "{seed}");
            assert_eq!(keyring.verify(&signed(seed, "", b"{}"), b"{}"), Ok(()), "{seed}");
        }
        assert!(!keyring.greet(&[offered(3)]));
        assert!(matches!(keyring.verify(&signed(3, "", b"{}"), b"{}"), Err(Untrusted::Key(_))));
        // The key that a head names does not stand for another one that is pinned too.
        let mixed = SnapshotHead { key_id: offered(2).id, ..signed(1, "", b"{}") };
        assert_eq!(keyring.verify(&mixed, b"{}"), Err(Untrusted::Signature));
    }

    #[test]
    fn a_line_end_in_the_digest_before_does_not_make_another_document_of_the_same_signature() {
        let keyring = Keyring::new(&[pair(1).1], None);
        let head = signed(1, "", b"ab\n{}");
        assert_eq!(keyring.verify(&SnapshotHead { previous: "\nab".into(), ..head }, b"{}"), Err(Untrusted::Signature));
    }

    #[test]
    fn without_a_pin_the_first_keys_stay_the_trusted_ones_over_restarts() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let dir = Arc::new(StateDir::open(folder.path()).expect("opened"));
        let keyring = Keyring::new(&[], Some(Arc::clone(&dir)));
        assert!(!keyring.greet(&[]), "no key is no contact");
        assert!(keyring.greet(&[offered(1)]));
        for keyring in [keyring, Keyring::new(&[], Some(Arc::clone(&dir)))] {
            assert!(!keyring.greet(&[offered(2)]));
            assert!(keyring.verify(&signed(2, "", b"{}"), b"{}").is_err());
            assert!(keyring.greet(&[offered(1)]));
            assert_eq!(keyring.verify(&signed(1, "", b"{}"), b"{}"), Ok(()));
        }
        dir.note(NOTE, b"broken").expect("kept");
        assert!(!Keyring::new(&[], Some(dir)).greet(&[offered(1)]), "a broken file is no first contact");
    }
}
