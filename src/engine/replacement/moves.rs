//! Moving files and folders between two places of one store's folder, also where a folder cannot be
//! renamed.
//!
//! A mount point, a folder of an overlay's lower layer, and a folder that is not ours to write cannot
//! be renamed. Then a folder of the same name is made at the other place, and what the first one holds
//! is moved there one by one. A file that would cross a file system is copied, and gets its name when
//! the copy is durable and whole.
//!
//! Invariants: a move that was done in part can be done again, in either direction; nothing is
//! replaced. The moves are durable after [`Moves::sync`].

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::atomic::{copy_file, parent};
use crate::disk::{Access, Disk, EntryKind};
use crate::error::{Error, Result};

/// What the copy of a file is called until it is whole.
const PARTIAL: &str = ".moving";

/// Moves, and the folders in which names changed by them.
pub(super) struct Moves<'d> {
    disk: &'d dyn Disk,
    touched: BTreeSet<PathBuf>,
}

impl<'d> Moves<'d> {
    pub(super) fn on(disk: &'d dyn Disk) -> Moves<'d> {
        Moves { disk, touched: BTreeSet::new() }
    }

    /// Names in the folder changed.
    pub(super) fn touch(&mut self, folder: &Path) {
        self.touched.insert(folder.to_path_buf());
    }

    /// Moves what is at `from` to `to`. Nothing at `from` is no error: it was moved before.
    ///
    /// # Errors
    /// Those of the disk; part may have been moved.
    pub(super) fn relocate(&mut self, from: &Path, to: &Path) -> Result<()> {
        // A stack of our own: the depth of a tree is not ours to choose.
        let mut todo = vec![(from.to_path_buf(), to.to_path_buf(), false)];
        while let Some((from, to, emptied)) = todo.pop() {
            if emptied {
                self.remove_emptied(&from, &to)?;
                continue;
            }
            let failed = |e| Error::io("move", &from, e);
            let Err(error) = self.rename(&from, &to) else { continue };
            match kind(self.disk, &from)? {
                None => {}
                Some(EntryKind::Dir) if is_taken(&error) || is_immovable(&error) => {
                    self.make_folder_like(&from, &to)?;
                    let names = self.disk.list(&from).map_err(failed)?;
                    todo.push((from.clone(), to.clone(), true));
                    todo.extend(names.iter().map(|name| (from.join(name), to.join(name), false)));
                }
                Some(EntryKind::File) if is_taken(&error) => self.drop_copied(&from, &to)?,
                Some(EntryKind::File) if error.kind() == io::ErrorKind::CrossesDevices => {
                    match kind(self.disk, &to)? {
                        Some(_) => self.drop_copied(&from, &to)?,
                        None => self.copy(&from, &to)?,
                    }
                }
                Some(_) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// Moves by one rename.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename_new(from, to)?;
        self.touch(parent(from));
        self.touch(parent(to));
        Ok(())
    }

    /// Makes a folder. Its name is durable before anything is moved into it: a power cut that took the
    /// name would take what is in it.
    pub(super) fn make_folder(&mut self, path: &Path) -> Result<()> {
        match self.disk.create_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => made
                .and_then(|()| self.disk.sync_dir(parent(path)))
                .map_err(|e| Error::io("create the folder", path, e))?,
        }
        self.touch(path);
        Ok(())
    }

    /// Makes a folder with owner and bits of the one at `from`, where there is none.
    fn make_folder_like(&mut self, from: &Path, to: &Path) -> Result<()> {
        if kind(self.disk, to)?.is_none() {
            self.make_folder(to)?;
            let failed = |e| Error::io("give owner and permissions to", to, e);
            if let Some(access) = Access::at(self.disk, from).map_err(failed)? {
                access.give(self.disk, to).map_err(failed)?;
            }
        }
        self.touch(to);
        Ok(())
    }

    /// Makes all moves durable.
    pub(super) fn sync(self) -> Result<()> {
        // Folders within others come first. One that was removed has no names left to sync.
        for folder in self.touched.iter().rev() {
            match self.disk.sync_dir(folder) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                synced => synced.map_err(|e| Error::io("sync the folder", folder, e))?,
            }
        }
        Ok(())
    }

    /// Removes a folder whose content was moved to `to`. What was moved is durable there first: a power
    /// cut could otherwise take the folder and leave the files in it.
    fn remove_emptied(&mut self, from: &Path, to: &Path) -> Result<()> {
        for folder in [to, from] {
            let synced = self.disk.sync_dir(folder);
            synced.map_err(|e| Error::io("sync the folder", folder, e))?;
        }
        // A mount point stays, and so does a folder with something in it that was not ours to move.
        let _stays = self.disk.remove_dir(from);
        self.touch(parent(from));
        Ok(())
    }

    fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let failed = |e| Error::io("move to another file system", from, e);
        let mut name = to.file_name().unwrap_or_default().to_os_string();
        name.push(PARTIAL);
        let partial = to.with_file_name(name);
        let copied = copy_file(self.disk, from, &partial)
            .and_then(|()| self.disk.rename_new(&partial, to))
            .and_then(|()| self.disk.sync_dir(parent(to)));
        if let Err(error) = copied {
            let _left_over = self.disk.remove_file(&partial);
            return Err(failed(error));
        }
        self.disk.remove_file(from).map_err(failed)?;
        self.touch(parent(from));
        Ok(())
    }

    /// A file that is at both places was copied, and the crash came before it was removed here. A copy has
    /// its name only when it is whole and durable, so it is the one that counts: the original may have
    /// lost what was not synced.
    fn drop_copied(&mut self, from: &Path, to: &Path) -> Result<()> {
        let failed = |e| Error::io("move", from, e);
        if kind(self.disk, to)? != Some(EntryKind::File) {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        self.disk.remove_file(from).map_err(failed)?;
        self.touch(parent(from));
        Ok(())
    }
}

/// What is at `path`, a link itself and not its target; `None` where nothing is.
pub(super) fn kind(disk: &dyn Disk, path: &Path) -> Result<Option<EntryKind>> {
    match disk.metadata(path) {
        Ok(found) => Ok(Some(found.kind)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("look at", path, e)),
    }
}

fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty};
    matches!(error.kind(), AlreadyExists | DirectoryNotEmpty)
}

/// Whether a folder cannot be renamed as a whole, while what is in it perhaps can.
pub(super) fn is_immovable(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ResourceBusy, Unsupported};
    matches!(error.kind(), ResourceBusy | CrossesDevices | PermissionDenied | Unsupported)
}
