//! The key that snapshots are signed with: Ed25519 (RFC 8032), by ring.
//!
//! It is made on the first start and kept in a file that only its owner reads, or it is given. It is not in the
//! database: whoever copies that can forge no snapshot.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use admin_api::edge::PublicKey;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::{Digest as _, Sha256};

use crate::ids;

/// Why there is no signing key.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The given text is none.
    #[error("a signing key is 64 hexadecimal digits, the seed of an Ed25519 key")]
    Invalid,
    /// The file cannot be read or made.
    #[error("cannot {action} the signing key {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Signs snapshots. Its `Debug` shows the public part only.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signer").field(&self.public).finish()
    }
}

impl Signer {
    /// From the seed.
    pub fn from_seed(hex: &str) -> Result<Self, SigningError> {
        let seed = ids::from_hex::<32>(hex.trim()).ok_or(SigningError::Invalid)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| SigningError::Invalid)?;
        let public = public_key(pair.public_key().as_ref());
        Ok(Self { pair, public })
    }

    /// From the file, which is made with a new key if it is not there.
    pub fn from_file(path: &Path) -> Result<Self, SigningError> {
        let failed = |action| {
            let path = path.to_owned();
            move |source| SigningError::File { action, path, source }
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Self::from_seed(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let seed = ids::hex(&ids::random::<32>());
                let mut options = OpenOptions::new();
                let file = options.write(true).create_new(true).mode(0o600).open(path);
                let mut file = file.map_err(failed("make"))?;
                file.write_all(seed.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write"))?;
                Self::from_seed(&seed)
            }
            Err(error) => Err(failed("read")(error)),
        }
    }

    /// What edges check signatures with.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The signature of these bytes, in hexadecimal.
    pub fn sign(&self, bytes: &[u8]) -> String {
        ids::hex(self.pair.sign(bytes).as_ref())
    }
}

/// A public key with the id that follows from it.
pub fn public_key(bytes: &[u8]) -> PublicKey {
    let digest = ids::hex(&Sha256::digest(bytes));
    PublicKey { id: digest.chars().take(16).collect(), key: ids::hex(bytes) }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_signature_verifies_and_the_vector_of_the_rfc_holds() {
        // RFC 8032, 7.1, test 1.
        let signer =
            Signer::from_seed("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").expect("a seed");
        assert_eq!(signer.public_key().key, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert!(signer.sign(b"").starts_with("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"));
        let key = ids::from_hex::<32>(&signer.public_key().key).expect("32 bytes");
        let signature = ids::from_hex::<64>(&signer.sign(b"x")).expect("64 bytes");
        assert!(UnparsedPublicKey::new(&ED25519, key).verify(b"x", &signature).is_ok());
        assert!(UnparsedPublicKey::new(&ED25519, key).verify(b"y", &signature).is_err());
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("signing.key");
        let first = Signer::from_file(&path).expect("made");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!((mode & 0o777, Signer::from_file(&path).expect("read").public_key()), (0o600, first.public_key()));
        std::fs::write(&path, "broken").expect("writable");
        assert!(matches!(Signer::from_file(&path), Err(SigningError::Invalid)));
    }
}
