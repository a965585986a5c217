//! Folders of the simulated disk that cannot be renamed, as on a machine with mounts.
//!
//! A mount point belongs to another file system than its parent: it can be neither renamed nor removed
//! (EBUSY), and no rename crosses it (EXDEV). A folder of the lower layer of an overlay cannot be
//! renamed (EXDEV), while the files in it can. In a folder that is not ours to write, no name is made,
//! changed or removed (EACCES). On a read-only medium nothing is changed at all (EROFS).
//!
//! All of these outlive a crash, as they do on a machine whose mounts come back.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::medium::{Last, Medium, Node};
use super::names::{Ino, ROOT};

/// Which folders cannot be renamed, and why.
#[derive(Clone, Debug, Default)]
pub(super) struct Immovable {
    mounts: BTreeSet<Ino>,
    lower: BTreeSet<Ino>,
    sealed: BTreeSet<Ino>,
    /// Folders at which a read-only medium is mounted.
    read_only: BTreeSet<Ino>,
}

impl Immovable {
    pub(super) fn mount(&mut self, medium: &Medium, path: &Path) -> io::Result<()> {
        self.mounts.insert(medium.find_dir(path)?);
        Ok(())
    }

    pub(super) fn seal(&mut self, medium: &Medium, path: &Path) -> io::Result<()> {
        self.sealed.insert(medium.find_dir(path)?);
        Ok(())
    }

    pub(super) fn freeze(&mut self, medium: &Medium, path: &Path) -> io::Result<()> {
        self.read_only.insert(medium.find_dir(path)?);
        Ok(())
    }

    /// Whether what `path` leads to, or the folder that its name is in, is on a read-only medium. `links`
    /// says whether the last name is followed.
    pub(super) fn is_read_only(&self, medium: &Medium, path: &Path, links: Last) -> bool {
        if self.read_only.is_empty() {
            return false;
        }
        // Where a path leads nowhere, the call itself says so.
        let Ok(found) = medium.walk(path, links) else { return false };
        self.is_frozen(medium, found.ino.unwrap_or(found.place.dir))
    }

    /// Whether `ino` is on a read-only medium.
    pub(super) fn is_frozen(&self, medium: &Medium, ino: Ino) -> bool {
        let mut at = ino;
        loop {
            if self.read_only.contains(&at) {
                return true;
            }
            if at == ROOT {
                return false;
            }
            at = medium.names.now().parent(at);
        }
    }

    /// Whether names may be made in the folder, or the file be written, at `path`.
    pub(super) fn is_writable(&self, medium: &Medium, path: &Path) -> io::Result<bool> {
        let (ino, _) = medium.find(path, Last::Follow)?;
        Ok(!self.sealed.contains(&ino) && !self.is_frozen(medium, ino))
    }

    /// Puts every folder at or below `path` into the lower layer.
    pub(super) fn lower(&mut self, medium: &Medium, path: &Path) -> io::Result<()> {
        let mut todo = vec![medium.find_dir(path)?];
        while let Some(dir) = todo.pop() {
            self.lower.insert(dir);
            let is_dir = |ino: &Ino| matches!(medium.nodes.get(ino), Some(Node::Dir { .. }));
            todo.extend(medium.names.now().list(dir).map(|(_, ino)| ino).filter(is_dir));
        }
        Ok(())
    }

    /// Whether the name `path` may be made, changed or removed.
    pub(super) fn check_name(&self, medium: &Medium, path: &Path) -> io::Result<()> {
        if self.sealed.is_empty() && self.mounts.is_empty() {
            return Ok(());
        }
        let found = medium.walk(path, Last::Keep)?;
        if self.sealed.contains(&found.place.dir) {
            return Err(Errno::ACCESS.into());
        }
        match found.ino {
            Some(ino) if self.mounts.contains(&ino) => Err(Errno::BUSY.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn check_rename(&self, medium: &Medium, from: &Path, to: &Path) -> io::Result<()> {
        self.check_name(medium, from)?;
        self.check_name(medium, to)?;
        let (from, to) = (medium.walk(from, Last::Keep)?, medium.walk(to, Last::Keep)?);
        if self.mount_of(medium, from.place.dir) != self.mount_of(medium, to.place.dir)
            || from.ino.is_some_and(|ino| self.lower.contains(&ino))
        {
            return Err(Errno::XDEV.into());
        }
        Ok(())
    }

    /// The mount point at or above `dir`, or the root.
    fn mount_of(&self, medium: &Medium, dir: Ino) -> Ino {
        let mut at = dir;
        while at != ROOT && !self.mounts.contains(&at) {
            at = medium.names.now().parent(at);
        }
        at
    }
}
