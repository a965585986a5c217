//! Owner and permission bits of what a replacement makes: those of what it replaces.
//!
//! Whoever may open the old store may open the new one, whatever process made it, and nobody else may.
//! A file that the old store does not have gets the owner of its data file and bits no wider.

use std::path::Path;

use super::moves::kind;
use crate::disk::{Access, Disk, EntryKind};
use crate::engine::open::DATA_FILE;
use crate::error::{Error, Result};

/// Gives all that lies in the folder `new` the owner and the bits of what has the same name in `dir`: the
/// store's folder, or that of its old files, whose data file may be in `new` itself.
pub(super) fn give_access(disk: &dyn Disk, dir: &Path, new: &Path) -> Result<()> {
    let look = |path: &Path| Access::at(disk, path).map_err(|e| Error::io("look at", path, e));
    let Some(folder) = look(dir)? else { return Ok(()) };
    let own = [dir, new].iter().find_map(|at| look(&at.join(DATA_FILE)).transpose());
    let file = own.transpose()?.unwrap_or(folder.for_file());
    let mut todo = vec![(new.to_path_buf(), dir.to_path_buf())];
    while let Some((made, replaced)) = todo.pop() {
        let what = kind(disk, &made)?;
        let model = match kind(disk, &replaced)? {
            there if there == what => look(&replaced)?,
            _ => None,
        };
        let given = match (what, model) {
            (Some(EntryKind::File | EntryKind::Dir), Some(model)) => model.give(disk, &made),
            (Some(EntryKind::File), None) => file.narrow(disk, &made),
            (Some(EntryKind::Dir), None) => folder.narrow(disk, &made),
            _ => Ok(()),
        };
        given.map_err(|e| Error::io("give owner and permissions to", &made, e))?;
        if what == Some(EntryKind::Dir) {
            let names = disk.list(&made).map_err(|e| Error::io("list", &made, e))?;
            todo.extend(names.iter().map(|name| (made.join(name), replaced.join(name))));
        }
    }
    Ok(())
}

/// Gives the folder of the old files the owner and the bits of the store's folder.
pub(super) fn give_folder_access(disk: &dyn Disk, dir: &Path, kept: &Path) -> Result<()> {
    let given = Access::at(disk, dir).and_then(|access| match access {
        Some(access) => access.give(disk, kept),
        None => Ok(()),
    });
    given.map_err(|e| Error::io("give owner and permissions to", kept, e))
}
