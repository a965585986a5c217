//! Folders of the simulated disk that cannot be renamed, as on a machine with mounts.
//!
//! A mount point belongs to another file system than its parent: it can be neither renamed nor removed
//! (EBUSY), and no rename crosses it (EXDEV). A folder of the lower layer of an overlay cannot be
//! renamed (EXDEV), while the files in it can. In a folder that is not ours to write, no name is made,
//! changed or removed (EACCES).
//!
//! All three outlive a crash, as they do on a machine whose mounts come back.

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
