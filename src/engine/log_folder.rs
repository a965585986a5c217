//! Where the log lies: in a folder of the store, or in one on another disk that a link leads to.
//!
//! The link has the name of the folder, so everything else goes through it and knows nothing of it;
//! an archive holds an empty folder in its place, so what is restored has its log within the store.
//!
//! Invariants: a folder is made durable before the link to it; a folder with segments in it is
//! somebody's log, and is never made that of a new store.

use std::path::Path;
use std::sync::Arc;

use super::log::has_segments;
use super::open::LOG_DIR;
use super::options::EngineOptions;
use crate::disk::atomic::create_dir_all;
use crate::disk::{Disk, EntryKind};
use crate::error::{Error, ErrorKind, Result};

/// Makes the place of the log of the store that is being made in `dir`.
pub(super) fn make(disk: &Arc<dyn Disk>, dir: &Path, elsewhere: Option<&Path>) -> Result<()> {
    let path = dir.join(LOG_DIR);
    let left_over = disk.metadata(&path).ok().map(|found| found.kind);
    match (elsewhere, left_over) {
        (None, Some(EntryKind::Dir)) => Ok(()),
        (Some(_), Some(EntryKind::Dir)) => {
            // A killed creation left it, and it is empty.
            disk.remove_dir(&path).map_err(|e| Error::io("remove an unused folder", &path, e))?;
            place(disk, &path, elsewhere)
        }
        (_, Some(_)) => {
            disk.remove_file(&path).map_err(|e| Error::io("remove an unused link", &path, e))?;
            place(disk, &path, elsewhere)
        }
        (_, None) => place(disk, &path, elsewhere),
    }
}

/// Makes a new place for a log that is given up. A folder within the store stays as it is.
pub(super) fn replace_lost(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &EngineOptions,
) -> Result<()> {
    let path = dir.join(LOG_DIR);
    let is_link = disk.metadata(&path).is_ok_and(|found| found.kind == EntryKind::Symlink);
    if is_link {
        disk.remove_file(&path)
            .map_err(|e| Error::io("remove the link to the lost log", &path, e))?;
    }
    if is_link || options.log_folder.is_some() {
        make(disk, dir, options.log_folder.as_deref())?;
        disk.sync_dir(dir).map_err(|e| Error::io("sync the store's folder", dir, e))?;
    }
    Ok(())
}

fn place(disk: &Arc<dyn Disk>, path: &Path, elsewhere: Option<&Path>) -> Result<()> {
    let Some(elsewhere) = elsewhere else {
        return disk.create_dir(path).map_err(|e| Error::io("create the log folder", path, e));
    };
    let failed = |e| Error::io("use the folder of the log", elsewhere, e);
    create_dir_all(&**disk, elsewhere).map_err(failed)?;
    if has_segments(&**disk, elsewhere)? {
        return Err(Error::new(ErrorKind::Exists, "there is a log already")
            .at(elsewhere)
            .hint("Choose an empty folder for the log of a store."));
    }
    let target = disk.canonical(elsewhere).map_err(failed)?;
    disk.symlink(&target, path).map_err(|e| Error::io("make the link to the log", path, e))
}
