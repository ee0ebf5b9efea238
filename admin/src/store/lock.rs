//! The lock that keeps a second process away from a database file.
//!
//! Invariant: whoever holds it is the only process that opens the file for writing. The lock is the kernel's, so it ends
//! with its process however that ends; the file that carries it stays.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::error::StoreError;

pub(super) struct ProcessLock {
    file: File,
}

impl Drop for ProcessLock {
    fn drop(&mut self) {
        // Closing would not do while a child that was just forked still has the file.
        let _ = self.file.unlock();
    }
}

impl ProcessLock {
    /// Takes the lock of this database, or says who has it.
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        let mut name = database.as_os_str().to_owned();
        name.push(".lock");
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = open.open(PathBuf::from(name)).map_err(StoreError::io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let holder = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(StoreError::Locked { path: database.to_owned(), holder });
            }
            // A file system without locks is used without one.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(StoreError::io(error)),
        }
        // The number only helps people, so a full disk is no reason to refuse.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { file })
    }
}
