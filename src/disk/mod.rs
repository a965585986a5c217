//! The one seam to files, clock and randomness.
//!
//! Everything in this library that touches the outside goes through a [`Disk`], so that the same code
//! runs on the real one ([`RealDisk`]) and on a simulated one ([`SimDisk`]) that crashes at any
//! call, forgets what was not synced, runs full and fails on demand. Both pass one conformance suite.
//!
//! Invariants: no other module names `std::fs`, `std::time` or a source of random bytes (held by
//! `tests/tidy.rs`). Errors are plain [`std::io::Error`]s: what they mean is decided above.

mod access;
mod anchor;
pub mod atomic;
#[cfg(test)]
mod conformance;
mod derived;
mod memory;
mod own_process;
mod process;
mod real;
mod sim;
mod writeback;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use access::{Access, create_dir_like, create_like};
pub use derived::{NAME_MAX, beside};
pub(crate) use own_process::OwnProcess;
pub(crate) use process::this_process;
pub use real::RealDisk;
pub use sim::{Call, Fault, FaultPlan, HangGuard, SimDisk, Survival};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; reads only.
    Read,
    /// The same, where no part of the path may be a symbolic link: fails with `ELOOP` if one is. A
    /// system that cannot tell of the folders looks at the last name alone.
    ReadNoLink,
    /// Must exist; reads and writes.
    Write,
    /// Must not exist; is created empty, and its name is durable only after [`Disk::sync_dir`].
    CreateNew,
}

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link, itself and not what it points to.
    Symlink,
    /// Anything else: a socket, a device.
    Other,
}

/// What is known of a path without opening it. Symbolic links are not followed.
#[derive(Clone, Copy, Debug)]
pub struct Metadata {
    /// What it is.
    pub kind: EntryKind,
    /// Its length in bytes (files only).
    pub len: u64,
    /// When its content last changed, in microseconds since the Unix epoch.
    pub modified: i64,
    /// Unix permission bits.
    pub mode: u32,
    /// Number of its owner.
    pub uid: u32,
    /// Number of its group.
    pub gid: u32,
    /// Which one it is.
    pub id: FileId,
}

/// Which file or folder something is, whatever it is called: no other one has the same numbers while this
/// one is there or is held open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The file system.
    pub device: u64,
    /// The number there.
    pub inode: u64,
}

/// A lock file that is held; let go when this is dropped.
pub trait FileLock: Send + Sync {
    /// Which file is locked. Its name may have been given to another since.
    fn id(&self) -> FileId;
}

/// Files, names, clock and randomness.
pub trait Disk: Send + Sync + 'static {
    /// Opens the file at `path`.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Creates the file at `path`, which must not exist, as `access` says: with the owner and group as far
    /// as this process may give them, and with those of the bits that it gives to new files.
    fn create(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>>;
    /// Creates one directory; its parent must exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates one directory in the way of [`Disk::create`].
    fn create_dir_as(&self, path: &Path, access: Access) -> io::Result<()>;
    /// Removes a file, or a symbolic link itself.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames, replacing what is at `to`. Atomic; durable after [`Disk::sync_dir`] of both folders.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames, and fails with `AlreadyExists` where `to` exists.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in `path` durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the content and length of every file below `path` durable. For many small files this is much
    /// less than a sync of each; their names are for [`Disk::sync_dir`].
    fn sync_below(&self, path: &Path) -> io::Result<()> {
        atomic::sync_each_below(self, path)
    }
    /// The names in `path`, sorted; without `path` itself.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// What is at `path`; `NotFound` where nothing is.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;
    /// Which file or folder `path` names; links are followed.
    fn identity(&self, path: &Path) -> io::Result<FileId>;
    /// The absolute path, symbolic links resolved.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;
    /// Where the symbolic link at `path` points to.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;
    /// Creates a symbolic link at `path`.
    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()>;
    /// Gives the file or directory at `path` permission bits and the time of its last change, in
    /// microseconds since the Unix epoch; a link is followed. Durable some time later: what counts on
    /// either after a crash must look.
    fn set_attributes(&self, path: &Path, mode: u32, modified: i64) -> io::Result<()>;
    /// Gives the file or directory at `path` permission bits; a link is followed.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Gives what is at `path`, a link itself too, another owner or group.
    fn set_owner(&self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> io::Result<()>;
    /// Takes the exclusive lock file at `path`, which is created where missing and holds `note`
    /// (who has it) if there is room for that. `Err(WouldBlock)` where another owner has it; the note of
    /// that owner can then be read from the file. The lock goes with the guard and with the process.
    fn lock(&self, path: &Path, note: &str) -> io::Result<Box<dyn FileLock>>;
    /// Takes a shared lock of the lock file at `path`, which must be there, and changes nothing: others may
    /// have a shared one too, nobody the exclusive one of [`Disk::lock`]. It is had also where nothing can
    /// be written. `Err(WouldBlock)` where another owner has the exclusive one.
    fn lock_shared(&self, path: &Path) -> io::Result<Box<dyn FileLock>>;
    /// Whether the system lets this process write to the file, or make names in the folder, at `path`;
    /// links are followed. Nothing is written to find out.
    fn is_writable(&self, path: &Path) -> io::Result<bool>;
    /// Free bytes on the file system that holds `path`.
    fn free_space(&self, path: &Path) -> io::Result<u64>;
    /// Bytes of memory that this process may use; `None` where that is not known, and on a disk that
    /// must behave the same on every machine.
    fn memory(&self) -> Option<u64> {
        None
    }
    /// The same disk as a value of its own, with no anchors.
    fn handle(&self) -> Arc<dyn Disk>;
    /// Keeps the folder `dir` open: to this value of the disk, from now on, `dir` and every path below it
    /// mean the folder that was opened, whatever becomes of the name. What this value creates below gets
    /// the owner, the group and exactly the bits of `access`; where there is none, those of the anchored
    /// folder that `dir` lies in.
    ///
    /// [`Disk::canonical`] alone goes by names as they are.
    fn anchor(&self, dir: &Path, access: Option<Access>) -> io::Result<()>;
    /// An anchored folder whose path names another folder by now, or none. What the system does not tell
    /// is not known to have changed.
    fn displaced(&self) -> Option<PathBuf>;
    /// Wall clock, in microseconds since the Unix epoch. May go back.
    fn now(&self) -> i64;
    /// Monotonic time since some fixed instant.
    fn elapsed(&self) -> Duration;
    /// Fills `buffer` with random bytes.
    fn random(&self, buffer: &mut [u8]);
    /// Whether it is a simulation, where the same calls are to come in the same order each time.
    fn is_simulated(&self) -> bool {
        false
    }
}

/// An open file. All positions are absolute; concurrent use is allowed.
///
/// What is not read has defaults: those of a file that is put together from others and never changed,
/// such as an archive in segments. A disk's own files implement everything.
pub trait File: Send + Sync + 'static {
    /// Reads at most `buffer.len()` bytes at `offset`; 0 at and past the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`, extending the file where needed.
    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Err(read_only())
    }
    /// Writes the concatenation of `parts` at `offset`, without joining them in memory.
    fn write_parts_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for part in parts {
            self.write_at(part, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends (with zeros) the file to `len`.
    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(read_only())
    }
    /// Makes sure that `[offset, offset + len)` has room on the disk, extending the file with zeros.
    fn allocate(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Err(read_only())
    }
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    /// Asks the system to begin writing the range to the medium, and does not wait. What a later sync
    /// has to write is less then; nothing is durable because of this.
    fn start_writeback(&self, _offset: u64, _len: u64) {}
    /// The first range from `offset` on that may hold anything but zeros, as far as the file system
    /// knows its holes; `None` where there is none. What was read lately may count as data.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let len = self.len()?;
        Ok((offset < len).then_some(offset..len))
    }
    /// Drops the range from the page cache where possible: the next read comes from the medium.
    fn drop_cache(&self, _offset: u64, _len: u64) {}
    /// A read-only map of `reserve` bytes of address space from the file's start. Bytes past the end
    /// of the file may not be touched until the file has grown over them; growth shows by itself.
    fn map(&self, _reserve: u64) -> io::Result<memmap2::MmapRaw> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "it cannot be mapped"))
    }
    /// Reads exactly `buffer.len()` bytes at `offset`, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Whether a call failed for a want that passes, of file handles or of memory. Where that happens while a
/// file is opened, nothing has been done to it.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|errno| short.contains(&errno))
}

/// Whether `lock` failed because the file system has no locks, as some of the network have none.
pub(crate) fn has_no_locks(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let none = [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP];
    Errno::from_io_error(error).is_some_and(|errno| none.contains(&errno))
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "it is read and never changed")
}
