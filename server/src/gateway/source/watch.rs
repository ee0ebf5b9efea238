//! Sees that files changed, however they were changed.
//!
//! It owns what each watched file last held. Invariant: a content is handed on once, and only after
//! two looks in a row found the same bytes behind the same file, so that a write in progress is not
//! taken for a document. An atomic replace, a write in place and the symlink swap of a Kubernetes
//! `ConfigMap` all look alike here: something else is behind the path.
//!
//! It polls, because what inotify would save (a `stat` per file and look) costs a microsecond, while
//! inotify misses network and overlay file systems, and needs its watches moved at every symlink
//! swap, with a race at each. It parses nothing and decides nothing.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

/// Between two looks.
pub const INTERVAL: Duration = Duration::from_millis(50);
/// A larger file is refused unread. The engine's own cap on a snapshot is below it; this one only
/// keeps a log file that was named by mistake out of memory.
pub const MAX_FILE_BYTES: u64 = 64 << 20;
/// How long after its last change a file is read again at each look: two changes within one tick of
/// the file system's clock, to the same size, leave the same times behind.
const RACY: Duration = Duration::from_secs(2);
/// File names that a folder is searched for.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Something that was found behind a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The file as it was named, or found in a named folder.
    pub path: PathBuf,
    /// Its bytes, or why there are none.
    pub content: Result<Arc<[u8]>, Unreadable>,
}

/// Why a file gave no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not there.
    #[error("there is no such file")]
    Absent,
    /// It is there and cannot be read.
    #[error("cannot be read: {0}")]
    Io(String),
    /// Nobody writes such a document.
    #[error("is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// The folder has no file that could be a document.
    #[error("the folder has no .yaml, .yml or .json file")]
    EmptyFolder,
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Absent } else { Self::Io(error.to_string()) }
    }
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl Fingerprint {
    /// How far the last change is from now; also when the clock was set back since. The time of change is
    /// the kernel's own, which no tool sets.
    fn age(&self, now: SystemTime) -> Duration {
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(self.changed.0).unwrap_or(0));
        now.duration_since(changed).unwrap_or_else(|future| future.duration())
    }
}

type Content = Result<Arc<[u8]>, Unreadable>;
/// What is remembered of a content: its SHA-256, so that a large file is not kept in memory.
type Mark = Result<[u8; 32], Unreadable>;

#[derive(Debug, Default)]
struct File {
    fingerprint: Option<Fingerprint>,
    /// What the last look saw and the one before it did not.
    pending: Option<Mark>,
    /// What was handed on.
    told: Option<Mark>,
}

/// Watches files and the files of folders.
#[derive(Debug)]
pub struct Watch {
    roots: Vec<PathBuf>,
    files: BTreeMap<PathBuf, File>,
}

impl Watch {
    /// Watches these from the first [`Watch::look`] on.
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self { roots, files: BTreeMap::new() }
    }

    /// Looks once; answers what is new and was already so at the previous look.
    pub fn look(&mut self) -> Vec<Found> {
        for path in self.roots.iter().flat_map(|root| expand(root)) {
            self.files.entry(path).or_default();
        }
        let now = SystemTime::now();
        let mut news = Vec::new();
        self.files.retain(|path, file| {
            if let Some(content) = file.look(path, now) {
                news.push(Found { path: path.clone(), content });
            }
            // A file that vanished from a folder is told as absent once; when it returns it is new.
            file.told != Some(Err(Unreadable::Absent)) || self.roots.contains(path)
        });
        news
    }

    /// The first look at start-up, when there is no previous one to compare with: waits until two
    /// looks agree on every file.
    pub fn settle(&mut self, pause: impl Fn(Duration)) -> Vec<Found> {
        let mut news = self.look();
        for _ in 0..MAX_SETTLE_LOOKS {
            if self.files.values().all(|file| file.pending.is_none()) {
                break;
            }
            pause(SETTLE_PAUSE);
            news.extend(self.look());
        }
        news
    }
}

/// Between two looks at start-up, where somebody waits.
const SETTLE_PAUSE: Duration = Duration::from_millis(10);
/// A file that changes at each look for a second is watched on, and the start goes on without it.
const MAX_SETTLE_LOOKS: u32 = 100;

impl File {
    fn look(&mut self, path: &Path, now: SystemTime) -> Option<Content> {
        let seen = self.see(path, now)?;
        let mark = Some(seen.as_ref().map(|bytes| Sha256::digest(bytes).into()).map_err(Clone::clone));
        if self.told == mark {
            self.pending = None;
            return None;
        }
        if self.pending == mark {
            self.pending = None;
            self.told = mark;
            return Some(seen);
        }
        self.pending = mark;
        None
    }

    /// What is behind the path now; `None` when nothing can have changed since it was told.
    fn see(&mut self, path: &Path, now: SystemTime) -> Option<Content> {
        let before = match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => return Some(Err(Unreadable::EmptyFolder)),
            Ok(meta) => meta,
            Err(error) => {
                self.fingerprint = None;
                return Some(Err(error.into()));
            }
        };
        let fingerprint = Fingerprint::of(&before);
        let settled = fingerprint.age(now) > RACY;
        if settled && self.pending.is_none() && self.fingerprint.as_ref() == Some(&fingerprint) {
            return None;
        }
        if fingerprint.size > MAX_FILE_BYTES {
            self.fingerprint = Some(fingerprint);
            return Some(Err(Unreadable::TooLarge));
        }
        let content = read(path);
        let same = fs::metadata(path).is_ok_and(|after| Fingerprint::of(&after) == fingerprint);
        if !same {
            // Changed under the reading: what was read may be half of each.
            self.fingerprint = None;
            self.pending = Some(Err(Unreadable::Io("it changes all the time".to_owned())));
            return None;
        }
        self.fingerprint = Some(fingerprint);
        Some(content.map_err(Unreadable::from))
    }
}

fn read(path: &Path) -> io::Result<Arc<[u8]>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// A file is itself; a folder is its documents, without what Kubernetes keeps beside them (`..data`)
/// and what editors do (`.swp`). A folder without documents, or that cannot be listed, stands for itself.
fn expand(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return vec![root.to_owned()] };
    let mut files: Vec<_> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_document(path)).collect();
    files.sort();
    if files.is_empty() { vec![root.to_owned()] } else { files }
}

fn is_document(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let known = path.extension().is_some_and(|ext| EXTENSIONS.iter().any(|known| ext.eq_ignore_ascii_case(known)));
    known && !hidden && !path.is_dir()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Folder {
        dir: tempfile::TempDir,
    }

    impl Folder {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().expect("a folder for the test") }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.path(name);
            fs::write(&path, text).expect("the test's folder takes files");
            path
        }
    }

    fn texts(found: &[Found]) -> Vec<String> {
        let text = |found: &Found| match &found.content {
            Ok(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Err(error) => error.to_string(),
        };
        found.iter().map(text).collect()
    }

    fn settle(watch: &mut Watch) -> Vec<String> {
        texts(&watch.settle(|_| ()))
    }

    #[test]
    fn a_content_is_told_once_and_only_when_two_looks_agree() {
        let folder = Folder::new();
        let mut watch = Watch::new(vec![folder.write("a.yaml", "one")]);
        assert_eq!(texts(&watch.look()), [""; 0]);
        assert_eq!(texts(&watch.look()), ["one"]);
        assert_eq!(texts(&watch.look()), [""; 0]);
        assert_eq!(texts(&watch.look()), [""; 0]);
    }

    #[test]
    fn a_file_that_grows_between_looks_is_not_told_until_it_rests() {
        let folder = Folder::new();
        let path = folder.write("a.yaml", "one");
        let mut watch = Watch::new(vec![path.clone()]);
        settle(&mut watch);
        for text in ["", "o", "on", "one more"] {
            fs::write(&path, text).expect("writable");
            assert_eq!(texts(&watch.look()), [""; 0], "{text}");
        }
        assert_eq!(texts(&watch.look()), ["one more"]);
    }

    #[test]
    fn an_atomic_replace_a_write_in_place_and_a_symlink_swap_are_all_seen() {
        let folder = Folder::new();
        let path = folder.write("plain.yaml", "one");
        let mut watch = Watch::new(vec![path.clone()]);
        assert_eq!(settle(&mut watch), ["one"]);
        fs::rename(folder.write("next", "two"), &path).expect("same folder");
        assert_eq!(settle(&mut watch), ["two"]);
        fs::write(&path, "thr").expect("writable");
        assert_eq!(settle(&mut watch), ["thr"]);

        // As the kubelet lays a ConfigMap out: file -> ..data/file, ..data -> ..<version>, swapped by rename.
        let mount = folder.path("mount");
        for (version, text) in [("..v1", "four"), ("..v2", "five")] {
            fs::create_dir_all(mount.join(version)).expect("creatable");
            fs::write(mount.join(version).join("bascule.yaml"), text).expect("writable");
        }
        symlink("..v1", mount.join("..data")).expect("linkable");
        symlink("..data/bascule.yaml", mount.join("bascule.yaml")).expect("linkable");
        let mut watch = Watch::new(vec![mount.clone()]);
        assert_eq!(settle(&mut watch), ["four"]);
        symlink("..v2", mount.join("..data_tmp")).expect("linkable");
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("same folder");
        assert_eq!(settle(&mut watch), ["five"]);
    }

    #[test]
    fn a_change_that_leaves_size_and_time_alike_is_seen() {
        let folder = Folder::new();
        let path = folder.write("a.yaml", "one");
        let mut watch = Watch::new(vec![path.clone()]);
        settle(&mut watch);
        let before = fs::metadata(&path).expect("there").modified().expect("supported");
        let mut file = fs::OpenOptions::new().write(true).open(&path).expect("writable");
        io::Write::write_all(&mut file, b"two").expect("writable");
        file.set_modified(before).expect("settable");
        assert_eq!(settle(&mut watch), ["two"]);
    }

    #[test]
    fn an_absent_file_is_told_once_and_again_when_it_comes() {
        let folder = Folder::new();
        let mut watch = Watch::new(vec![folder.path("a.yaml")]);
        assert_eq!(settle(&mut watch), ["there is no such file"]);
        assert_eq!(settle(&mut watch), [""; 0]);
        folder.write("a.yaml", "one");
        assert_eq!(settle(&mut watch), ["one"]);
    }

    #[test]
    fn a_file_that_is_deleted_and_written_anew_with_the_same_text_is_told_absent_and_found() {
        let folder = Folder::new();
        let path = folder.write("a.yaml", "one");
        let mut watch = Watch::new(vec![path.clone()]);
        settle(&mut watch);
        fs::remove_file(&path).expect("removable");
        assert_eq!(settle(&mut watch), ["there is no such file"]);
        folder.write("a.yaml", "one");
        assert_eq!(settle(&mut watch), ["one"]);
    }

    #[test]
    fn a_folder_is_its_documents_also_those_that_come_later() {
        let folder = Folder::new();
        let mut watch = Watch::new(vec![folder.dir.path().to_owned()]);
        assert_eq!(settle(&mut watch), ["the folder has no .yaml, .yml or .json file"]);
        folder.write("b.json", "b");
        folder.write("a.YML", "a");
        folder.write("notes.txt", "no");
        folder.write(".a.yaml.swp", "no");
        folder.write(".hidden.yaml", "no");
        assert_eq!(settle(&mut watch), ["a", "b"]);
        folder.write("c.yaml", "c");
        assert_eq!(settle(&mut watch), ["c"]);
        fs::remove_file(folder.path("c.yaml")).expect("removable");
        assert_eq!(settle(&mut watch), ["there is no such file"]);
        assert_eq!(settle(&mut watch), [""; 0]);
    }

    #[test]
    fn a_file_beyond_the_cap_is_refused_unread() {
        let folder = Folder::new();
        let path = folder.write("a.yaml", "");
        fs::OpenOptions::new().write(true).open(&path).expect("writable").set_len(MAX_FILE_BYTES + 1).expect("sparse");
        assert_eq!(settle(&mut Watch::new(vec![path])), [format!("is larger than {MAX_FILE_BYTES} bytes")]);
    }
}
