//! What lies in a store's folder, is not part of its history, and goes with the store that takes its
//! place: after a rollback, and after an automatic restore.
//!
//! Invariants: what is copied is durable when the call returns; nothing is held whole in memory,
//! however long a journal may have become. Links and other things stay where they are.

use std::path::Path;

use crate::disk::atomic::{copy_file, parent};
use crate::disk::{Access, Disk, EntryKind};
use crate::error::{Error, Result};
use crate::store::SETTINGS;

/// The settings, the journal, and what the regime remembers.
const CARRIED: [&str; 3] = [SETTINGS, "Logs", "regime-state.json"];

/// Copies what goes with the store in the folder `from` into the folder `to`.
///
/// # Errors
/// Those of the disk.
pub(crate) fn carry(disk: &dyn Disk, from: &Path, to: &Path) -> Result<()> {
    CARRIED.iter().try_for_each(|name| copy_tree(disk, &from.join(name), &to.join(name)))
}

/// Copies the folder at `from`, where there is one, durably; links and other things stay behind.
fn copy_tree(disk: &dyn Disk, from: &Path, to: &Path) -> Result<()> {
    let mut todo = vec![(from.to_path_buf(), to.to_path_buf())];
    while let Some((from, to)) = todo.pop() {
        match disk.metadata(&from).map(|found| found.kind) {
            Ok(EntryKind::Dir) => {
                if disk.metadata(&to).is_err() {
                    let made = disk.create_dir(&to).and_then(|()| give_access(disk, &from, &to));
                    made.map_err(|e| Error::io("create a folder", &to, e))?;
                }
                let names = disk.list(&from).map_err(|e| Error::io("list", &from, e))?;
                todo.extend(names.into_iter().map(|name| (from.join(&name), to.join(&name))));
            }
            Ok(EntryKind::File) => {
                copy_file(disk, &from, &to).map_err(|e| Error::io("copy", &from, e))?
            }
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("look at", &from, e)),
        }
        let above = parent(&to);
        disk.sync_dir(above).map_err(|e| Error::io("sync a folder", above, e))?;
    }
    Ok(())
}

/// A copy belongs to whom the original belongs to.
fn give_access(disk: &dyn Disk, from: &Path, to: &Path) -> std::io::Result<()> {
    Access::at(disk, from)?.map_or(Ok(()), |access| access.give(disk, to))
}
