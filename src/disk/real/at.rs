//! Where a path of the real disk leads: from the folder that the process works in, or from one that is
//! kept open.
//!
//! Every call on a name goes through the calls of the system that take a folder and a path from there,
//! so there is one way for both.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::disk::anchor::{About, Anchors};
use crate::disk::{Access, FileId};

/// A folder that is kept open. While it is, nothing else gets its number.
pub(super) struct Folder {
    fd: OwnedFd,
    id: FileId,
    /// The path that must lead to it, from the root of the system or from a folder that is open too.
    path: PathBuf,
    above: Option<Arc<Folder>>,
    /// What is created below it gets this.
    pub(super) access: Option<Access>,
}

/// A path for a call of the system.
pub(super) struct At<'p> {
    pub(super) folder: Option<Arc<Folder>>,
    pub(super) path: &'p Path,
}

impl At<'_> {
    /// The folder that the path goes from.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.folder.as_ref().map_or(CWD, |folder| folder.fd.as_fd())
    }

    /// What a new thing at the path gets.
    pub(super) fn access(&self) -> Option<Access> {
        self.folder.as_ref().and_then(|folder| folder.access)
    }

    /// Opens it.
    pub(super) fn open(&self, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let open = || rustix::fs::openat(self.fd(), self.path, flags | OFlags::CLOEXEC, mode);
        Ok(rustix::io::retry_on_intr(open)?)
    }

    /// Opens it as a folder.
    pub(super) fn open_dir(&self) -> io::Result<OwnedFd> {
        self.open(OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// What it leads to, links followed.
    pub(super) fn stat(&self) -> rustix::io::Result<Stat> {
        rustix::fs::statat(self.fd(), self.path, AtFlags::empty())
    }
}

/// Where `path` leads.
pub(super) fn at<'p>(folders: &Anchors<Folder>, path: &'p Path, about: About) -> At<'p> {
    match folders.find(path, about) {
        None => At { folder: None, path },
        Some((folder, rest)) if rest.as_os_str().is_empty() => {
            At { folder: Some(folder), path: Path::new(".") }
        }
        Some((folder, rest)) => At { folder: Some(folder), path: rest },
    }
}

/// Opens the folder at `path` to keep it.
pub(super) fn keep(
    folders: &Anchors<Folder>,
    path: &Path,
    access: Option<Access>,
) -> io::Result<Folder> {
    let from = at(folders, path, About::Name);
    let fd = from.open_dir()?;
    let id = id_of(&rustix::fs::fstat(&fd)?);
    let path = match &from.folder {
        Some(_) => from.path.to_path_buf(),
        None => std::path::absolute(path)?,
    };
    let access = access.or_else(|| from.access());
    Ok(Folder { fd, id, path, above: from.folder, access })
}

/// Whether the path of `folder` leads to another one by now, or to none. Where the system does not say,
/// it is not known to.
pub(super) fn is_displaced(folder: &Folder) -> bool {
    let at = At { folder: folder.above.clone(), path: &folder.path };
    match at.stat() {
        Ok(found) => id_of(&found) != folder.id,
        Err(e) => matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::LOOP),
    }
}

/// Which file or folder it is.
pub(super) fn id_of(stat: &Stat) -> FileId {
    FileId { device: stat.st_dev, inode: stat.st_ino }
}
