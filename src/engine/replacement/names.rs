//! What the old store is called after a replacement.
//!
//! Invariant: a number is never given again while a later one is taken. Old copies may have been
//! removed, so the names that are there are looked at.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::KEPT_DIR;
use super::intent::{Intent, State};
use crate::disk::atomic::parent;
use crate::disk::{Disk, beside};
use crate::engine::{LOG_DIR, StoreId};
use crate::error::{Error, Result};

/// How the old store is kept.
pub(crate) struct KeepAs {
    /// The folder of the old files, within the store's folder.
    pub(crate) within: String,
    /// What is added to the store's name for a name beside it, which the old store gets where it can be
    /// renamed. `None` keeps it within.
    pub(crate) beside: Option<String>,
}

impl KeepAs {
    /// The intent of a replacement that has not begun.
    pub(super) fn intent(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        new: Vec<String>,
        store: Option<StoreId>,
    ) -> Result<Intent> {
        let number = self.free_number(disk, dir)?;
        let numbered = |name: &String| match number {
            1 => name.clone(),
            _ => format!("{name}-{number}"),
        };
        Ok(Intent {
            state: State::MovingOut,
            kept: numbered(&self.within),
            beside: self.beside.as_ref().map(numbered),
            new,
            log_stays: false,
            store: store.map(|id| format!("{id:032x}")),
        })
    }

    /// A number above all that are taken: within the folder, in the log's folder, or beside the store.
    fn free_number(&self, disk: &dyn Disk, dir: &Path) -> Result<u64> {
        let mut taken = numbers(disk, &dir.join(KEPT_DIR), OsStr::new(&self.within))?;
        taken.extend(numbers(disk, &dir.join(LOG_DIR), OsStr::new(&self.within))?);
        if let Some(ending) = &self.beside {
            let first = name_beside(dir, ending);
            taken.extend(numbers(disk, parent(dir), first.file_name().unwrap_or_default())?);
        }
        Ok(taken.into_iter().max().unwrap_or(0) + 1)
    }
}

/// The path beside the store's folder whose name is the folder's with `ending`.
pub(super) fn name_beside(dir: &Path, ending: &str) -> PathBuf {
    beside(dir, ending)
}

/// The numbers that `first` has in the folder; none where it may not be listed.
fn numbers(disk: &dyn Disk, folder: &Path, first: &OsStr) -> Result<Vec<u64>> {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let number =
        |name: &PathBuf| match name.file_name()?.as_bytes().strip_prefix(first.as_bytes())? {
            [] => Some(1),
            rest => {
                let digits = std::str::from_utf8(rest.strip_prefix(b"-")?).ok()?;
                let number: u32 = digits.parse().ok()?;
                (number.to_string() == digits).then_some(u64::from(number))
            }
        };
    match disk.list(folder) {
        Ok(names) => Ok(names.iter().filter_map(number).collect()),
        Err(e) if matches!(e.kind(), NotFound | NotADirectory | PermissionDenied) => Ok(Vec::new()),
        Err(e) => Err(Error::io("list", folder, e)),
    }
}
