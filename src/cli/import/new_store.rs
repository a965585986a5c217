//! A store that an import makes, and takes back when it fails.
//!
//! Invariant: nothing is removed but what was made here. What is there already makes the creation fail, and
//! then it is left alone.

use std::path::Path;

use stillpoint::{Error, ErrorKind};

/// The place of a store that this import makes: a folder that was missing, or empty.
pub(super) struct NewStore<'p> {
    folder: &'p Path,
    was_missing: bool,
}

impl NewStore<'_> {
    pub(super) fn at(folder: &Path) -> NewStore<'_> {
        let found = std::fs::symlink_metadata(folder);
        let was_missing = found.is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
        NewStore { folder, was_missing }
    }

    /// Removes what a creation that failed has left. Where somebody else was there, nothing is its own.
    pub(super) fn undo_creation(&self, error: &Error) {
        if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::Io) {
            return;
        }
        for file in ["store.data.partial", "ancestry", "lock"] {
            let _not_made = std::fs::remove_file(self.folder.join(file));
        }
        // A folder that is not empty stays.
        let _not_made = std::fs::remove_dir(self.folder.join("log"));
        if self.was_missing {
            let _not_made = std::fs::remove_dir(self.folder);
        }
    }

    /// Removes the store that was made. A folder that was there stays.
    pub(super) fn take_back(&self) -> std::io::Result<()> {
        if self.was_missing {
            return std::fs::remove_dir_all(self.folder);
        }
        for name in names_in(self.folder)? {
            if name == "lost+found" {
                // The folder is the root of a file system, and this was there before.
                continue;
            }
            let path = self.folder.join(name);
            match path.symlink_metadata()?.is_dir() {
                true => std::fs::remove_dir_all(path)?,
                false => std::fs::remove_file(path)?,
            }
        }
        Ok(())
    }
}

fn names_in(folder: &Path) -> std::io::Result<Vec<std::ffi::OsString>> {
    std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}
