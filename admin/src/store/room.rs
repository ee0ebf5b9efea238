//! Why a write failed: SQLite tells only `ENOSPC` from other errors, but a quota and the file size limit are as full.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What is written where the database would have grown.
const PROBE: [u8; 4096] = [0; 4096];

/// Tries a write like the one that failed, beside the database and as far out; the system's answer, if it is that there is
/// no room.
pub(super) fn shortage(database: &Path) -> Option<io::Error> {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let path = beside(database, ".probe");
    let tried = probe(database, &path);
    // Litter matters on a full disk.
    let _ = std::fs::remove_file(&path);
    tried.err().filter(|error| matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge))
}

fn probe(database: &Path, path: &Path) -> io::Result<()> {
    let length = |path: PathBuf| std::fs::metadata(path).map_or(0, |data| data.len());
    let end = length(database.to_owned()).max(length(beside(database, "-wal")));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all_at(&PROBE, end)?;
    file.sync_all()
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
