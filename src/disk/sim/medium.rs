//! Everything that lies on the simulated disk: names and what they stand for, and the walk from a
//! path to it. Errors are those of the system, so that callers see the same kinds on both disks.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use super::content::Content;
use super::names::{Ino, Names, Place, ROOT};
use crate::disk::Access;

/// Links followed before a path counts as a circle, as on Linux.
const MAX_LINKS: usize = 40;

/// Owner and permission bits of a new directory.
pub(super) const DIR_ACCESS: Access = Access { uid: 0, gid: 0, mode: 0o755 };

/// What a name stands for.
#[derive(Debug)]
pub(super) enum Node {
    File(Content),
    Dir { modified: i64, access: Access },
    Symlink(PathBuf),
}

/// Names and nodes.
#[derive(Debug)]
pub(super) struct Medium {
    pub(super) names: Names,
    pub(super) nodes: BTreeMap<Ino, Node>,
    pub(super) next_ino: Ino,
}

/// Where a path leads.
pub(super) struct Found {
    pub(super) place: Place,
    /// What is there now.
    pub(super) ino: Option<Ino>,
}

/// Whether the last name of a path is followed where it is a symbolic link.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Follow,
    Keep,
    /// Neither the last one nor any other may be a link.
    NoLinks,
}

impl Medium {
    /// A disk with nothing but its root.
    pub(super) fn new(now: i64) -> Medium {
        Medium {
            names: Names::default(),
            nodes: BTreeMap::from([(ROOT, Node::Dir { modified: now, access: DIR_ACCESS })]),
            next_ino: ROOT + 1,
        }
    }

    /// Walks `path`, which starts at the root whether it says so or not.
    pub(super) fn walk(&self, path: &Path, last: Last) -> io::Result<Found> {
        if path.as_os_str().is_empty() {
            return Err(Errno::NOENT.into());
        }
        let mut left: VecDeque<OsString> = names_in(path).collect();
        let mut links = 0;
        let mut at = ROOT;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                at = self.names.now().parent(at);
                continue;
            }
            let place = Place { dir: at, name };
            let ino = self.names.now().get(&place);
            let is_last = left.is_empty();
            match ino.and_then(|ino| self.nodes.get(&ino)) {
                None if is_last => return Ok(Found { place, ino: None }),
                None => return Err(Errno::NOENT.into()),
                Some(Node::Symlink(_)) if last == Last::NoLinks => return Err(Errno::LOOP.into()),
                Some(Node::Symlink(target)) if !is_last || last == Last::Follow => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    if target.is_absolute() {
                        at = ROOT;
                    }
                    for name in names_in(target).collect::<Vec<_>>().into_iter().rev() {
                        left.push_front(name);
                    }
                }
                Some(_) if is_last => return Ok(Found { place, ino }),
                Some(Node::Dir { .. }) => at = ino.unwrap_or(ROOT),
                Some(_) => return Err(Errno::NOTDIR.into()),
            }
        }
        let place = self.names.now().place(at).cloned();
        let place = place.unwrap_or(Place { dir: ROOT, name: OsString::new() });
        Ok(Found { place, ino: Some(at) })
    }

    /// What lies at `path`; `NotFound` where nothing does.
    pub(super) fn find(&self, path: &Path, last: Last) -> io::Result<(Ino, &Node)> {
        let ino = self.walk(path, last)?.ino.ok_or(Errno::NOENT)?;
        let node = self.nodes.get(&ino).ok_or(Errno::NOENT)?;
        Ok((ino, node))
    }

    /// The directory at `path`.
    pub(super) fn find_dir(&self, path: &Path) -> io::Result<Ino> {
        match self.find(path, Last::Follow)? {
            (ino, Node::Dir { .. }) => Ok(ino),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    /// A node that is known to be there.
    pub(super) fn node(&mut self, ino: Ino) -> io::Result<&mut Node> {
        self.nodes.get_mut(&ino).ok_or_else(|| Errno::BADF.into())
    }

    /// Owner and bits of what is at a node; a link has none of its own.
    pub(super) fn access(&mut self, ino: Ino) -> io::Result<Option<&mut Access>> {
        Ok(match self.node(ino)? {
            Node::File(content) => Some(&mut content.access),
            Node::Dir { access, .. } => Some(access),
            Node::Symlink(_) => None,
        })
    }

    /// The content of a file that is known to be one.
    pub(super) fn content(&mut self, ino: Ino) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(content)) => Ok(content),
            _ => Err(Errno::BADF.into()),
        }
    }

    /// Puts something new at a place that must be free.
    pub(super) fn create(&mut self, path: &Path, node: Node) -> io::Result<Ino> {
        let found = self.walk(path, Last::Keep)?;
        if found.ino.is_some() {
            return Err(Errno::EXIST.into());
        }
        let ino = self.next_ino;
        self.next_ino += 1;
        self.nodes.insert(ino, node);
        self.names.put(ino, found.place);
        Ok(ino)
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        match self.find(path, Last::Keep)? {
            (_, Node::Dir { .. }) => Err(Errno::ISDIR.into()),
            (ino, _) => {
                self.names.remove(ino);
                Ok(())
            }
        }
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        match self.find(path, Last::Keep)? {
            (ROOT, _) => Err(Errno::BUSY.into()),
            (ino, Node::Dir { .. }) => {
                self.check_empty(ino)?;
                self.names.remove(ino);
                Ok(())
            }
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    fn check_empty(&self, dir: Ino) -> io::Result<()> {
        match self.names.now().list(dir).next() {
            Some(_) => Err(Errno::NOTEMPTY.into()),
            None => Ok(()),
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        let (ino, node) = self.find(from, Last::Keep)?;
        let to = self.walk(to, Last::Keep)?;
        let is_dir = matches!(node, Node::Dir { .. });
        if to.ino.is_some() && !replace {
            return Err(Errno::EXIST.into());
        }
        if ino == ROOT || to.ino == Some(ROOT) {
            return Err(Errno::BUSY.into());
        }
        if to.ino == Some(ino) {
            return Ok(());
        }
        if is_dir && self.names.now().is_within(to.place.dir, ino) {
            return Err(Errno::INVAL.into());
        }
        if let Some(there) = to.ino {
            match (is_dir, matches!(self.nodes.get(&there), Some(Node::Dir { .. }))) {
                (true, true) => self.check_empty(there)?,
                (true, false) => return Err(Errno::NOTDIR.into()),
                (false, true) => return Err(Errno::ISDIR.into()),
                (false, false) => {}
            }
        }
        self.names.put(ino, to.place);
        Ok(())
    }

    /// Frees what has no name, cannot get one back by a crash, and is not open.
    pub(super) fn forget_unnamed(&mut self) {
        let names = &self.names;
        self.nodes.retain(|&ino, node| {
            let open = matches!(node, Node::File(content) if content.handles > 0);
            open || names.knows(ino)
        });
    }

    /// Chunks taken by all files that have a name or are open.
    pub(super) fn space(&self) -> u64 {
        let taken = |(ino, node): (&Ino, &Node)| match node {
            Node::File(content)
                if content.handles > 0 || self.names.now().place(*ino).is_some() =>
            {
                content.space()
            }
            _ => 0,
        };
        self.nodes.iter().map(taken).sum()
    }
}

/// The names of a path, without its root and its dots.
fn names_in(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}
