//! The last good snapshots on disk, from which a gateway starts when its source is broken or away.
//!
//! It owns the files of the state directory: two generations per environment, each sealed by a
//! checksum. Invariant: the newest valid generation is never touched; a save writes a new file, makes
//! it durable, and renames it over the older generation. So at every moment, also after a kill or a
//! loss of power, either the old or the new snapshot is found, never a broken one. The bucketing key
//! is not part of a snapshot and never gets here. What the bytes mean is the engine's affair.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::gateway::scope::Scope;

/// First word of a file of ours.
const MAGIC: &str = "bascule-state";
/// The layout: one line `MAGIC VERSION number length sha256`, then the bytes.
const VERSION: &str = "1";
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

    /// Saves a snapshot; when this returns it survives a loss of power. Saving what is there already
    /// does nothing.
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
        let age = |(_, stored): &(PathBuf, Option<Stored>)| stored.as_ref().map_or(0, |stored| stored.number);
        let [first, second] = &generations;
        let (target, _) = if age(first) <= age(second) { first } else { second };
        let result = self.replace(target, number, bytes);
        if result.is_err() {
            // A half-written file is only litter, but on a full disk litter matters.
            let _ = fs::remove_file(temporary(target));
        }
        result
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

    fn replace(&self, target: &Path, number: u64, bytes: &[u8]) -> Result<(), StateError> {
        let path = temporary(target);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(StateError::of("create", &path))?;
        let header = format!("{MAGIC} {VERSION} {number} {} {}\n", bytes.len(), checksum(bytes));
        file.write_all(header.as_bytes())
            .and_then(|()| file.write_all(bytes))
            .map_err(StateError::of("write", &path))?;
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
}

fn read(path: &Path) -> Result<Stored, Broken> {
    let mut all = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut all)?;
    let end = all.iter().take(MAX_HEADER).position(|byte| *byte == b'\n').ok_or(Broken::Header)?;
    let bytes = all.split_off(end + 1);
    let header = std::str::from_utf8(&all).map_err(|_| Broken::Header)?;
    let mut words = header.trim_end().split(' ');
    if words.next() != Some(MAGIC) || words.next() != Some(VERSION) {
        return Err(Broken::Header);
    }
    let mut number = || words.next()?.parse::<u64>().ok();
    let (snapshot, length) = (number().ok_or(Broken::Header)?, number().ok_or(Broken::Header)?);
    if u64::try_from(bytes.len()) != Ok(length) {
        return Err(Broken::Length);
    }
    if words.next() != Some(checksum(&bytes).as_str()) {
        return Err(Broken::Checksum);
    }
    Ok(Stored { number: snapshot, bytes })
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
fn checksum(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (tempfile::TempDir, StateDir, Scope) {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let dir = StateDir::open(folder.path().join("state")).expect("creatable");
        (folder, dir, Scope::new("web", "production"))
    }

    fn number(dir: &StateDir, scope: &Scope) -> Option<u64> {
        dir.load(scope).map(|stored| stored.number)
    }

    #[test]
    fn the_last_saved_snapshot_is_found_and_its_predecessor_kept() {
        let (_folder, dir, scope) = open();
        assert_eq!(dir.load(&scope), None);
        for n in 1..=5 {
            dir.save(&scope, n, format!("snapshot {n}").as_bytes()).expect("saved");
            assert_eq!(dir.load(&scope), Some(Stored { number: n, bytes: format!("snapshot {n}").into() }));
        }
        let numbers = dir.generations(&scope).map(|(_, stored)| stored.map(|stored| stored.number));
        assert_eq!(numbers, [Some(5), Some(4)]);
    }

    #[test]
    fn any_broken_byte_of_the_newest_generation_gives_the_one_before() {
        let (_folder, dir, scope) = open();
        dir.save(&scope, 1, b"old").expect("saved");
        dir.save(&scope, 2, b"new").expect("saved");
        let [_, newest] = dir.paths(&scope);
        let good = fs::read(&newest).expect("there");
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 0x20;
            fs::write(&newest, &bad).expect("writable");
            assert_eq!(number(&dir, &scope), Some(1), "byte {i}");
            fs::write(&newest, &good[..i]).expect("writable");
            assert_eq!(number(&dir, &scope), Some(1), "cut at {i}");
        }
        fs::write(&newest, [good.as_slice(), b"x"].concat()).expect("writable");
        assert_eq!(number(&dir, &scope), Some(1));
    }

    #[test]
    fn a_save_repairs_the_broken_generation_and_not_the_good_one() {
        let (_folder, dir, scope) = open();
        dir.save(&scope, 1, b"one").expect("saved");
        dir.save(&scope, 2, b"two").expect("saved");
        let [_, newest] = dir.paths(&scope);
        fs::write(&newest, b"garbage").expect("writable");
        dir.save(&scope, 3, b"three").expect("saved");
        let numbers = dir.generations(&scope).map(|(_, stored)| stored.map(|stored| stored.number));
        assert_eq!(numbers, [Some(1), Some(3)]);
    }

    #[test]
    fn an_older_number_or_another_content_under_the_same_one_is_not_saved() {
        let (_folder, dir, scope) = open();
        dir.save(&scope, 7, b"seven").expect("saved");
        dir.save(&scope, 7, b"seven").expect("the same again is no change");
        for (n, bytes) in [(6, b"seven"), (7, b"other")] {
            let error = dir.save(&scope, n, bytes).expect_err("superseded");
            assert!(matches!(error, StateError::Superseded { stored: 7, .. }), "{error}");
        }
        assert_eq!(dir.load(&scope).expect("kept").bytes, b"seven");
    }

    #[test]
    fn environments_do_not_meet_and_a_withdrawn_one_is_gone() {
        let (_folder, dir, production) = open();
        let staging = Scope::new("web", "staging");
        dir.save(&production, 1, b"p").expect("saved");
        dir.save(&staging, 9, b"s").expect("saved");
        assert_eq!(dir.scopes().expect("listed"), [production.clone(), staging.clone()]);
        dir.remove(&production).expect("removed");
        dir.remove(&production).expect("removing nothing is fine");
        assert_eq!(dir.scopes().expect("listed"), [staging]);
    }

    #[test]
    fn opening_clears_what_a_killed_save_left() {
        let (folder, dir, scope) = open();
        dir.save(&scope, 1, b"one").expect("saved");
        let [path, _] = dir.paths(&scope);
        fs::write(temporary(&path), b"half").expect("writable");
        let dir = StateDir::open(folder.path().join("state")).expect("opened");
        assert!(!temporary(&path).exists());
        assert_eq!(number(&dir, &scope), Some(1));
    }

    #[test]
    fn a_directory_that_is_a_file_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().expect("a file for the test");
        let error = StateDir::open(file.path()).expect_err("not a directory");
        assert!(error.to_string().contains(file.path().to_str().expect("utf-8")), "{error}");
    }

    #[test]
    fn only_the_owner_reads_the_files() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, dir, scope) = open();
        dir.save(&scope, 1, b"one").expect("saved");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(dir.path()), mode(&dir.paths(&scope)[0])), (DIR_MODE, FILE_MODE));
    }

    #[test]
    fn room_is_told() {
        let (_folder, dir, _) = open();
        let space = dir.space().expect("told");
        assert!(space.total > 0 && space.free <= space.total);
    }
}
