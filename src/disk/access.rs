//! Who may do what with a file or folder, and how that goes over to what is made beside it, out of it or
//! in its place.
//!
//! The rule: such a thing gets the owner and the group of its model, where this process may give them,
//! and permission bits no wider than those of the model. So what root does for a store leaves nothing
//! that the store's owner cannot open, and nobody reads in a copy what he may not read in the store.
//! Where the group cannot be given, the bits of the group are cut to those of everybody: the file then
//! belongs to a group that the model does not know.
//!
//! It carries no access control lists and no extended attributes.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, EntryKind, File, Metadata};

/// Owner, group and permission bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Number of the owner.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Unix permission bits.
    pub mode: u32,
}

impl Access {
    /// Of what `found` tells of.
    pub fn of(found: &Metadata) -> Access {
        Access { uid: found.uid, gid: found.gid, mode: found.mode }
    }

    /// Of the file or folder at `path`; links are followed. `None` where nothing is there.
    ///
    /// # Errors
    /// Those of looking at it, but for that.
    pub fn at<D: Disk + ?Sized>(disk: &D, path: &Path) -> io::Result<Option<Access>> {
        let looked = disk.metadata(path).and_then(|found| match found.kind {
            EntryKind::Symlink => disk.metadata(&disk.canonical(path)?),
            _ => Ok(found),
        });
        match looked {
            Ok(found) => Ok(Some(Access::of(&found))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// For a file made of what lies in the file or folder that this is of: whoever could read that may
    /// read it, whoever could change that may change it, nobody runs it, and its owner may do both.
    pub fn for_file(self) -> Access {
        Access { mode: self.mode & 0o666 | 0o600, ..self }
    }

    /// The same for a folder: whoever may read it may enter it.
    pub fn for_folder(self) -> Access {
        let bits = self.mode & 0o666 | 0o600;
        Access { mode: bits | bits >> 2 & 0o111, ..self }
    }

    /// The same owner with the bits that both have: of something in a folder, which nobody reaches
    /// who may not enter the folder.
    pub fn within(self, folder: Access) -> Access {
        // Whoever may enter, but not list, reaches a file by its name.
        let reach = folder.mode | (folder.mode & 0o111) << 2;
        Access { mode: self.mode & (reach | 0o7000), ..self }
    }

    /// The bits for a thing of the group `gid`.
    pub(super) fn bits_for(self, gid: u32) -> u32 {
        if gid == self.gid {
            self.mode
        } else {
            self.mode & !0o070 | (self.mode & 0o007) << 3 & self.mode
        }
    }

    /// Gives it to what is at `path`, a file or folder: the owner and the group as far as this process
    /// may, then exactly the bits that go with them.
    ///
    /// # Errors
    /// Those of the disk, but for an owner or group that may not be given.
    pub fn give<D: Disk + ?Sized>(self, disk: &D, path: &Path) -> io::Result<()> {
        let found = self.give_owner(disk, path)?;
        let bits = self.bits_for(found.gid);
        if found.mode == bits { Ok(()) } else { unless_fixed(disk.set_mode(path, bits)) }
    }

    /// Gives owner and group as [`Access::give`] does, and takes the bits that go beyond these.
    ///
    /// # Errors
    /// As [`Access::give`].
    pub fn narrow<D: Disk + ?Sized>(self, disk: &D, path: &Path) -> io::Result<()> {
        let found = self.give_owner(disk, path)?;
        let bits = found.mode & self.bits_for(found.gid);
        if found.mode == bits { Ok(()) } else { unless_fixed(disk.set_mode(path, bits)) }
    }

    /// Gives owner and group as far as this process may. What is there then.
    fn give_owner<D: Disk + ?Sized>(self, disk: &D, path: &Path) -> io::Result<Metadata> {
        let found = disk.metadata(path)?;
        if (found.uid, found.gid) == (self.uid, self.gid) {
            return Ok(found);
        }
        let whole = disk.set_owner(path, Some(self.uid), Some(self.gid));
        if whole.is_err() && found.gid != self.gid {
            // A member of the group may give that, if nothing else. Whether it was is looked at.
            let _ = disk.set_owner(path, None, Some(self.gid));
        }
        disk.metadata(path)
    }
}

/// File systems without permission bits refuse to change them: what is there is as wide as it gets.
fn unless_fixed(changed: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{PermissionDenied, Unsupported};
    match changed {
        Err(e) if matches!(e.kind(), PermissionDenied | Unsupported) => Ok(()),
        changed => changed,
    }
}

/// Creates the file at `path`, which must not exist, with the access of a file made of what `model` is
/// of; where there is no model, with that of any new file.
///
/// # Errors
/// Those of the disk.
pub fn create_like<D: Disk + ?Sized>(
    disk: &D,
    path: &Path,
    model: Option<Access>,
) -> io::Result<Arc<dyn File>> {
    match model {
        Some(model) => disk.create(path, model.for_file()),
        None => disk.open(path, super::OpenMode::CreateNew),
    }
}

/// Creates the folder at `path`, which must not exist, in the same way.
///
/// # Errors
/// Those of the disk.
pub fn create_dir_like<D: Disk + ?Sized>(
    disk: &D,
    path: &Path,
    model: Option<Access>,
) -> io::Result<()> {
    match model {
        Some(model) => disk.create_dir_as(path, model.for_folder()),
        None => disk.create_dir(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(mode: u32) -> Access {
        Access { uid: 7, gid: 8, mode }
    }

    #[test]
    fn bits_go_over_without_growing() {
        assert_eq!(access(0o640).for_folder().mode, 0o750);
        assert_eq!(access(0o600).for_folder().mode, 0o700);
        assert_eq!(access(0o2755).for_file().mode, 0o644);
        assert_eq!(access(0o444).for_file().mode, 0o644, "its owner may change it");
        assert_eq!(access(0o644).within(access(0o700)).mode, 0o600);
        assert_eq!(access(0o644).within(access(0o711)).mode, 0o644, "its name can be guessed");
        assert_eq!(access(0o664).within(access(0o750)).mode, 0o640);
    }

    #[test]
    fn a_group_that_the_model_does_not_know_may_do_what_everybody_may() {
        assert_eq!(access(0o660).bits_for(8), 0o660);
        assert_eq!(access(0o660).bits_for(9), 0o600);
        assert_eq!(access(0o664).bits_for(9), 0o644);
        assert_eq!(access(0o604).bits_for(9), 0o604, "the group had less than everybody");
    }
}
