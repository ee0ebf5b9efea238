//! The last good snapshots on disk, from which a gateway starts when its source is broken or away.
//!
//! It owns the files of the state directory: two generations per environment, each sealed by a
//! checksum. Invariant: the newest valid generation is never touched; a save writes a new file, makes
//! it durable, and renames it over the older generation. So at every moment, also after a kill or a
//! loss of power, either the old or the new snapshot is found, never a broken one. What the bytes mean
//! is the engine's affair; whether a signature is good is asked of whoever loads them. A checksum finds
//! accidents, a signature finds somebody who writes checksums too.
//!
//! A snapshot from a control plane is kept with its head: without the bucketing key in it, no restart
//! could decide as before. So these files hold a secret, and only their owner may read them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use admin_api::edge::SnapshotHead;
use sha2::{Digest, Sha256};

use crate::gateway::scope::Scope;

/// First word of a file of ours.
const MAGIC: &str = "bascule-state";
/// The layout without a head: one line `MAGIC VERSION number length sha256`, then the snapshot.
const VERSION: &str = "1";
/// The layout with one: `MAGIC VERSION number length sha256 head-length`, then the head as JSON, then the
/// snapshot; length and checksum are those of both.
const VERSION_WITH_HEAD: &str = "2";
/// More than any header line; a file without a line end in its first bytes is not ours.
const MAX_HEADER: usize = 256;
/// A larger file is not ours: the engine's cap on a snapshot is far below.
const MAX_BYTES: u64 = 256 << 20;
/// Only the owner reads a snapshot: it names customers' segments and internal addresses.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// What went wrong with the state directory.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No space, no quota, or the file size limit; the generation of before is still there.
    #[error("no space left to write {path}")]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else the system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process saved a newer snapshot, or another one under this number.
    #[error("the state directory holds snapshot {stored} of {scope}, so {number} is not saved")]
    Superseded {
        /// Whose.
        scope: Scope,
        /// What is there.
        stored: u64,
        /// What was to be saved.
        number: u64,
    },
}

impl StateError {
    fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }
}

/// A snapshot as it was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its number.
    pub number: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What a control plane sent with it; `None` when it came from a file.
    pub head: Option<SnapshotHead>,
}

/// Free and total bytes of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What a process like this one may still write.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// The directory, open for this process; another process may have it open too.
#[derive(Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Opens the directory, making it if need be, and clears what a killed save left behind.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StateError> {
        let root = root.into();
        fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(&root).map_err(StateError::of("make", &root))?;
        let dir = Self { root };
        let _lock = dir.lock()?;
        for path in dir.entries()? {
            if path.extension().is_some_and(|ext| ext == "tmp") {
                fs::remove_file(&path).map_err(StateError::of("remove", &path))?;
            }
        }
        Ok(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The environments that have a snapshot here, valid or not.
    pub fn scopes(&self) -> Result<Vec<Scope>, StateError> {
        let mut scopes: Vec<_> = self.entries()?.iter().filter_map(|path| scope_of(path)).collect();
        scopes.sort();
        scopes.dedup();
        Ok(scopes)
    }

    /// The newest valid snapshot of an environment. A broken generation is reported and passed over.
    pub fn load(&self, scope: &Scope) -> Option<Stored> {
        self.generations(scope).into_iter().filter_map(|(_, stored)| stored).max_by_key(|stored| stored.number)
    }

    /// All valid snapshots of an environment that a control plane sent, the newest first.
    pub fn signed(&self, scope: &Scope) -> Vec<(SnapshotHead, Vec<u8>)> {
        let mut stored: Vec<_> = self.generations(scope).into_iter().filter_map(|(_, stored)| stored).collect();
        stored.sort_by_key(|stored| std::cmp::Reverse(stored.number));
        stored.into_iter().filter_map(|stored| Some((stored.head?, stored.bytes))).collect()
    }

    /// Saves a snapshot from a file; when this returns it survives a loss of power. Saving what is there
    /// already does nothing.
    pub fn save(&self, scope: &Scope, number: u64, bytes: &[u8]) -> Result<(), StateError> {
        let _lock = self.lock()?;
        let generations = self.generations(scope);
        let newest = generations.iter().filter_map(|(_, stored)| stored.as_ref()).max_by_key(|stored| stored.number);
        match newest {
            Some(stored) if stored.number == number && stored.bytes == bytes => return Ok(()),
            Some(stored) if stored.number >= number => {
                return Err(StateError::Superseded { scope: scope.clone(), stored: stored.number, number });
            }
            _ => {}
        }
        self.save_over(&generations, number, bytes, None)
    }

    /// The same for a snapshot from a control plane. Those from files are no predecessors of it: their numbers
    /// were given by this machine.
    pub fn save_signed(&self, scope: &Scope, head: &SnapshotHead, bytes: &[u8]) -> Result<(), StateError> {
        let _lock = self.lock()?;
        let number = head.number;
        let generations = self.generations(scope).map(|(path, stored)| (path, stored.filter(|it| it.head.is_some())));
        let newest = generations.iter().filter_map(|(_, stored)| stored.as_ref()).max_by_key(|stored| stored.number);
        match newest {
            Some(stored) if stored.number == number && stored.bytes == bytes && stored.head.as_ref() == Some(head) => {
                return Ok(());
            }
            // Signed anew by another key, it is the same snapshot; another one under this number is not.
            Some(stored) if stored.number > number || (stored.number == number && stored.bytes != bytes) => {
                return Err(StateError::Superseded { scope: scope.clone(), stored: stored.number, number });
            }
            _ => {}
        }
        self.save_over(&generations, number, bytes, Some(head))
    }

    /// Writes over the older of two generations.
    fn save_over(
        &self,
        generations: &[(PathBuf, Option<Stored>); 2],
        number: u64,
        bytes: &[u8],
        head: Option<&SnapshotHead>,
    ) -> Result<(), StateError> {
        let age = |(_, stored): &(PathBuf, Option<Stored>)| stored.as_ref().map_or(0, |stored| stored.number);
        let [first, second] = generations;
        let (target, _) = if age(first) <= age(second) { first } else { second };
        match head {
            None => {
                let header = format!("{MAGIC} {VERSION} {number} {} {}\n", bytes.len(), checksum(&[bytes]));
                self.replace(target, &[header.as_bytes(), bytes])
            }
            Some(head) => {
                // Texts and numbers only, so it serialises.
                let head = serde_json::to_vec(head).unwrap_or_default();
                let (length, sum) = (head.len() + bytes.len(), checksum(&[&head, bytes]));
                let header = format!("{MAGIC} {VERSION_WITH_HEAD} {number} {length} {sum} {}\n", head.len());
                self.replace(target, &[header.as_bytes(), &head, bytes])
            }
        }
    }

    /// Keeps a small text beside the snapshots, whole or not at all.
    pub fn note(&self, name: &str, text: &[u8]) -> Result<(), StateError> {
        let _lock = self.lock()?;
        self.replace(&self.root.join(name), &[text])
    }

    /// A text that was kept.
    pub fn noted(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.root.join(name);
        let mut text = Vec::new();
        match File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text)) {
            Ok(_) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StateError::of("read", &path)(error)),
        }
    }

    /// Forgets an environment that its source withdrew.
    pub fn remove(&self, scope: &Scope) -> Result<(), StateError> {
        let _lock = self.lock()?;
        for path in self.paths(scope) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StateError::of("remove", &path)(error));
                }
                _ => {}
            }
        }
        self.sync()
    }

    /// How much room is left.
    pub fn space(&self) -> Result<Space, StateError> {
        let stat =
            rustix::fs::statvfs(&self.root).map_err(|error| StateError::of("look at", &self.root)(error.into()))?;
        Ok(Space {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn replace(&self, target: &Path, parts: &[&[u8]]) -> Result<(), StateError> {
        let result = self.try_replace(target, parts);
        if result.is_err() {
            // A half-written file is only litter, but on a full disk litter matters.
            let _ = fs::remove_file(temporary(target));
        }
        result
    }

    fn try_replace(&self, target: &Path, parts: &[&[u8]]) -> Result<(), StateError> {
        let path = temporary(target);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(StateError::of("create", &path))?;
        for part in parts {
            file.write_all(part).map_err(StateError::of("write", &path))?;
        }
        file.sync_all().map_err(StateError::of("sync", &path))?;
        drop(file);
        fs::rename(&path, target).map_err(StateError::of("rename", &path))?;
        self.sync()
    }

    /// Makes renames and removals durable.
    fn sync(&self) -> Result<(), StateError> {
        File::open(&self.root).and_then(|dir| dir.sync_all()).map_err(StateError::of("sync", &self.root))
    }

    /// Held while files change: the process that is being replaced may still save. File systems
    /// without locks are used without one.
    fn lock(&self) -> Result<File, StateError> {
        let path = self.root.join("lock");
        let mut open = OpenOptions::new();
        let file = open.create(true).truncate(false).write(true).mode(FILE_MODE).open(&path);
        let file = file.map_err(StateError::of("open", &path))?;
        match file.lock() {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(StateError::of("lock", &path)(error)),
            _ => Ok(file),
        }
    }

    fn entries(&self) -> Result<Vec<PathBuf>, StateError> {
        let entries = fs::read_dir(&self.root).map_err(StateError::of("list", &self.root))?;
        entries.map(|entry| Ok(entry.map_err(StateError::of("list", &self.root))?.path())).collect()
    }

    fn paths(&self, scope: &Scope) -> [PathBuf; 2] {
        // A name is letters, digits and '-', so '@' and '.' cannot be part of one.
        ["a", "b"].map(|half| self.root.join(format!("{}@{}.{half}.snapshot", scope.app(), scope.environment())))
    }

    fn generations(&self, scope: &Scope) -> [(PathBuf, Option<Stored>); 2] {
        self.paths(scope).map(|path| {
            let stored = match read(&path) {
                Ok(stored) => Some(stored),
                Err(Broken::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => None,
                Err(broken) => {
                    let file = path.display().to_string();
                    tracing::warn!(file, error = &broken as &dyn std::error::Error, "a saved snapshot is passed over");
                    None
                }
            };
            (path, stored)
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("cannot be read")]
    Unreadable(#[from] io::Error),
    #[error("it has no header of ours")]
    Header,
    #[error("it is cut short or was added to")]
    Length,
    #[error("its checksum does not match")]
    Checksum,
    #[error("its head cannot be read")]
    Head,
}

fn read(path: &Path) -> Result<Stored, Broken> {
    let mut all = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut all)?;
    let end = all.iter().take(MAX_HEADER).position(|byte| *byte == b'\n').ok_or(Broken::Header)?;
    let mut bytes = all.split_off(end + 1);
    let header = std::str::from_utf8(&all).map_err(|_| Broken::Header)?;
    let mut words = header.trim_end().split(' ');
    if words.next() != Some(MAGIC) {
        return Err(Broken::Header);
    }
    let has_head = match words.next() {
        Some(VERSION) => false,
        Some(VERSION_WITH_HEAD) => true,
        _ => return Err(Broken::Header),
    };
    let mut number = || words.next()?.parse::<u64>().ok();
    let (snapshot, length) = (number().ok_or(Broken::Header)?, number().ok_or(Broken::Header)?);
    if u64::try_from(bytes.len()) != Ok(length) {
        return Err(Broken::Length);
    }
    if words.next() != Some(checksum(&[&bytes]).as_str()) {
        return Err(Broken::Checksum);
    }
    if !has_head {
        return Ok(Stored { number: snapshot, bytes, head: None });
    }
    let length = words.next().and_then(|word| word.parse().ok()).filter(|length| *length <= bytes.len());
    let document = bytes.split_off(length.ok_or(Broken::Head)?);
    let head: SnapshotHead = serde_json::from_slice(&bytes).map_err(|_| Broken::Head)?;
    if head.number != snapshot {
        return Err(Broken::Head);
    }
    Ok(Stored { number: snapshot, bytes: document, head: Some(head) })
}

fn temporary(target: &Path) -> PathBuf {
    target.with_extension("tmp")
}

fn scope_of(path: &Path) -> Option<Scope> {
    let name = path.file_name()?.to_str()?.strip_suffix(".snapshot")?;
    let name = name.strip_suffix(".a").or_else(|| name.strip_suffix(".b"))?;
    let (app, environment) = name.split_once('@')?;
    Some(Scope::new(app, environment))
}

/// The SHA-256 as lower-case hex.
fn checksum(parts: &[&[u8]]) -> String {
    let hash = parts.iter().fold(Sha256::new(), Sha256::chain_update);
    crate::hex::encode(&hash.finalize())
}

#[cfg(test)]
mod tests;
