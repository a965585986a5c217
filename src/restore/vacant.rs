//! A restore into a folder that is there and empty: one that somebody made for the store with an owner and
//! bits of its own, or the root of a file system. It cannot be built beside its place and renamed.
//!
//! What is restored is built in a folder within, which marks the restore as unfinished, and moved out of
//! it one by one. The data file comes last: before that there is no store in the folder, and nothing can
//! be opened. What is moved is listed before, durably, so that the next restore knows what a killed one
//! left.
//!
//! Invariants: nothing is removed but what stands in the list; where there is a data file the folder is
//! taken, whatever else lies there.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::disk::atomic::{read_whole, remove_tree, write_atomically};
use crate::disk::{Disk, EntryKind};
use crate::engine::{DATA_FILE, LOCK_FILE, LOST_FOUND};
use crate::error::{Error, Result};

/// The folder within: nobody gives this name to a folder of his own.
pub(super) const WITHIN: &str = ".stillpoint-restoring";
/// The names that are moved out of it, each with a line end.
const LIST: &str = "moving";
/// A restore moves a handful of names.
const MAX_BYTES: u64 = 1 << 20;

/// What lies where a store is to be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing.
    Free,
    /// A folder that may be filled.
    Vacant,
    /// Something that is somebody's.
    Taken,
}

/// Looks at `dir`.
pub(super) fn look(disk: &dyn Disk, dir: &Path) -> Result<Place> {
    let failed = |e| Error::io("look at the restore's target", dir, e);
    let found = match disk.metadata(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Place::Free),
        found => found.map_err(failed)?,
    };
    let is_folder = match found.kind {
        EntryKind::Symlink => disk
            .canonical(dir)
            .and_then(|real| disk.metadata(&real))
            .is_ok_and(|found| found.kind == EntryKind::Dir),
        kind => kind == EntryKind::Dir,
    };
    if !is_folder {
        return Ok(Place::Taken);
    }
    let names = disk.list(dir).map_err(failed)?;
    let moved = match names.iter().any(|name| name == Path::new(DATA_FILE)) {
        true => return Ok(Place::Taken),
        false => listed(disk, dir)?,
    };
    let own = [Path::new(LOST_FOUND), Path::new(WITHIN)];
    let is_own = |name: &PathBuf| own.contains(&name.as_path()) || moved.contains(name);
    Ok(if names.iter().all(is_own) { Place::Vacant } else { Place::Taken })
}

/// The names that an unfinished restore into `dir` moves, or has moved.
fn listed(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>> {
    let list = dir.join(WITHIN).join(LIST);
    let bytes = match read_whole(disk, &list, MAX_BYTES) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes.map_err(|e| Error::io("read what a restore was moving", &list, e))?,
    };
    let names = bytes.split(|byte| *byte == b'\n').filter(|name| !name.is_empty());
    let names = names.map(|name| PathBuf::from(OsString::from_vec(name.to_vec())));
    // Each is one name, whoever wrote the list.
    Ok(names.filter(|name| name.file_name() == Some(name.as_os_str())).collect())
}

/// Removes what an unfinished restore left in `dir`, which is vacant.
pub(super) fn clear(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let remove = |path: &Path| {
        remove_tree(disk, path).map_err(|e| Error::io("remove an unfinished restore", path, e))
    };
    listed(disk, dir)?.iter().try_for_each(|name| remove(&dir.join(name)))?;
    // Its list goes with the folder, after what is in it.
    disk.sync_dir(dir).map_err(|e| Error::io("sync the folder", dir, e))?;
    remove(&dir.join(WITHIN))
}

/// Moves what was built within into `dir`.
///
/// # Durability
/// When it returns, all of it survives a power loss. A crash before leaves no store.
pub(super) fn move_out(disk: &dyn Disk, within: &Path, dir: &Path) -> Result<()> {
    let mut names = disk.list(within).map_err(|e| Error::io("list", within, e))?;
    names.retain(|name| name != Path::new(LOCK_FILE));
    names.sort_by_key(|name| name == Path::new(DATA_FILE));
    let list = within.join(LIST);
    let mut lines = Vec::new();
    for name in &names {
        lines.extend_from_slice(name.as_os_str().as_bytes());
        lines.push(b'\n');
    }
    write_atomically(disk, &list, &lines)
        .map_err(|e| Error::io("write what the restore is moving", &list, e))?;
    let sync = || {
        [dir, within].iter().try_for_each(|folder| {
            disk.sync_dir(folder).map_err(|e| Error::io("sync the folder", folder, e))
        })
    };
    // The list is found as long as anything that it names may be.
    sync()?;
    for name in &names {
        let (from, to) = (within.join(name), dir.join(name));
        if name == Path::new(DATA_FILE) {
            sync()?;
        }
        disk.rename_new(&from, &to).map_err(|e| Error::io("move", &from, e))?;
    }
    sync().inspect_err(|_| {
        // What is told to have failed may not lie there as what has not.
        let data = Path::new(DATA_FILE);
        let _stays = disk.rename_new(&dir.join(data), &within.join(data));
    })?;
    remove_tree(disk, within).map_err(|e| Error::io("remove", within, e))?;
    disk.sync_dir(dir).map_err(|e| Error::io("sync the folder", dir, e))
}
