//! The folder of a store, as the process that locked it holds it.
//!
//! A path is trusted once, when the folder is locked. From then on the folder stays open, and so does the
//! folder of the log: every file of the store is made, renamed and removed relative to them, wherever they
//! have been moved to since. So nothing is ever done in a folder that another process has put in their
//! place.
//!
//! A folder that is only read is held by a shared lock, which keeps writers out and other readers not.
//!
//! Invariant: nothing is acknowledged on the strength of a folder that its path no longer leads to.
//! [`StoreFolder::check`] proves that the path of the store, its log and its lock file are those that were
//! locked: after each sync, before anything is acknowledged. A store that fails it is latched: whoever
//! opens the path finds another store, or makes a lock file of his own beside the one that is held.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ANCESTRY_FILE;
use super::open::{DATA_FILE, DATA_PARTIAL, LOCK_FILE, LOG_DIR};
use super::replacement::TAKEN_DATA;
use crate::disk::{Access, Disk, EntryKind, FileId, FileLock, OpenMode, OwnProcess, has_no_locks};
use crate::error::{Error, ErrorKind, Result, code};

const NOT_WRITABLE: &str = "The store's folder cannot be written. Open it to be read only \
    (Store::open_read_only), or copy it to where it can be written.";

/// How often the lock is tried, where the lock file goes just as it is taken.
const TRIES: u32 = 8;

/// The folder, open.
pub(crate) struct StoreFolder {
    /// The store's own value of the disk, which knows the open folders.
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    lock_path: PathBuf,
    /// The lock file that this process holds; `None` where nobody can be kept out.
    lock: Option<FileId>,
    /// Who may do what with a file of the store, as it was when the folder was opened.
    access: Option<Access>,
    /// The process that locked it.
    process: OwnProcess,
    /// Nothing is written there.
    read_only: bool,
}

/// A folder and the lock on it, which goes with the value and with the process.
pub(crate) struct Held {
    folder: Arc<StoreFolder>,
    lock: Option<Box<dyn FileLock>>,
}

/// The lock on a store's folder.
///
/// Whoever reads pages of the store holds it: a process that opened the store while an old snapshot
/// still reads would know nothing of that pin, and use its pages again.
pub(crate) type DirLock = Arc<Held>;

impl Held {
    /// The folder.
    pub(crate) fn folder(&self) -> &Arc<StoreFolder> {
        &self.folder
    }

    /// Whether it keeps anybody out.
    pub(super) fn is_locked(&self) -> bool {
        self.lock.is_some()
    }
}

/// Takes the store's folder for this process.
pub(crate) fn lock_dir(disk: &Arc<dyn Disk>, dir: &Path) -> Result<DirLock> {
    let mut folder = StoreFolder::open(disk, dir)?;
    for _attempt in 0..TRIES {
        let lock = folder.take()?;
        folder.lock = Some(lock.id());
        match folder.check() {
            // Whoever had it before removed the file, or put another folder there.
            Err(error) if error.code() == code::STORE_MOVED => {
                folder = StoreFolder::open(disk, dir)?
            }
            checked => {
                checked?;
                return Ok(Arc::new(Held { folder: Arc::new(folder), lock: Some(lock) }));
            }
        }
    }
    Err(folder.moved(&folder.lock_path))
}

/// Holds the folder for reading alone, with a shared lock, and writes nothing there. Where the folder has
/// no lock file and cannot be written, or has no locks at all, nobody can be kept out, nor can anybody
/// open the store for writing there: it is held without a lock then.
///
/// # Errors
/// `InUse` where somebody has the store open for writing; `ReadOnly` where the folder has no lock file and
/// can be written: somebody could open the store, and use pages again that are being read.
pub(super) fn hold_to_read(disk: &Arc<dyn Disk>, dir: &Path) -> Result<DirLock> {
    let mut folder = StoreFolder::open(disk, dir)?;
    for _attempt in 0..TRIES {
        folder.read_only = true;
        let lock = folder.share()?;
        folder.lock = lock.as_ref().map(|lock| lock.id());
        match folder.check() {
            Err(error) if error.code() == code::STORE_MOVED => {
                folder = StoreFolder::open(disk, dir)?;
            }
            checked => {
                checked?;
                return Ok(Arc::new(Held { folder: Arc::new(folder), lock }));
            }
        }
    }
    Err(folder.moved(&folder.lock_path))
}

/// Who may do what with a file of the store: as with its data file, but for those who may not enter the
/// folder. `None` where there is no data file yet.
///
/// # Errors
/// Those of looking at them.
fn access_of_store(disk: &dyn Disk, dir: &Path) -> std::io::Result<Option<Access>> {
    let mut data = Access::at(disk, &dir.join(DATA_FILE))?;
    if data.is_none() {
        data = Access::at(disk, &dir.join(TAKEN_DATA))?;
    }
    let (Some(data), Some(folder)) = (data, Access::at(disk, dir)?) else { return Ok(None) };
    let access = data.within(folder);
    Ok(Some(match data.uid == folder.uid {
        true => access,
        // Somebody else, as root, made the file in the folder of its owner.
        false => Access { mode: access.mode, ..folder },
    }))
}

/// Gives a store that is just made in the folder `dir` to the owner of the folder.
pub(super) fn give_to_owner(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let failed = |e| Error::io("give the store to the owner of its folder", dir, e);
    let Some(owner) = Access::at(disk, dir).map_err(failed)? else { return Ok(()) };
    for name in [DATA_PARTIAL, LOG_DIR, LOCK_FILE, ANCESTRY_FILE] {
        let path = dir.join(name);
        if disk.metadata(&path).map_err(failed)?.kind != EntryKind::Symlink {
            Access { mode: 0o7777, ..owner }.narrow(disk, &path).map_err(failed)?;
        }
    }
    Ok(())
}

impl StoreFolder {
    fn open(disk: &Arc<dyn Disk>, dir: &Path) -> Result<StoreFolder> {
        let failed = |e| Error::io("open the store's folder", dir, e);
        let own = disk.handle();
        let access = access_of_store(&**disk, dir).map_err(failed)?;
        own.anchor(dir, access).map_err(failed)?;
        let (dir, lock_path) = (dir.to_path_buf(), dir.join(LOCK_FILE));
        let process = OwnProcess::new();
        let (lock, read_only) = (None, false);
        Ok(StoreFolder { disk: own, dir, lock_path, lock, access, process, read_only })
    }

    /// Takes a shared lock; `None` where there can be none.
    fn share(&self) -> Result<Option<Box<dyn FileLock>>> {
        let path = &self.lock_path;
        match self.disk.lock_shared(path) {
            Ok(lock) => Ok(Some(lock)),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Err(self.in_use()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound || has_no_locks(&e) => {
                let writable = self.disk.is_writable(&self.dir);
                match writable.map_err(|e| Error::io("look at the store's folder", &self.dir, e))? {
                    false => Ok(None),
                    true => Err(self.cannot_be_shared(e)),
                }
            }
            Err(e) => Err(Error::io("lock the store's folder for reading", path, e)),
        }
    }

    fn cannot_be_shared(&self, cause: std::io::Error) -> Error {
        let message =
            "nobody can be kept from writing to the store while it is read: it has no lock";
        Error::new(ErrorKind::ReadOnly, message)
            .with_code(code::READ_ONLY)
            .at(&self.lock_path)
            .because(cause)
            .hint("Open the store for writing once, or take the permission to write its folder.")
    }

    /// Whether nothing is written there.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Sees that the store takes writes at all.
    ///
    /// # Errors
    /// [`code::READ_ONLY`] where it was opened to be read only.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if !self.read_only {
            return Ok(());
        }
        Err(Error::new(ErrorKind::ReadOnly, "the store was opened to be read only")
            .with_code(code::READ_ONLY)
            .at(&self.dir)
            .hint("Copy the store's folder to where it can be written, and open the copy."))
    }

    fn in_use(&self) -> Error {
        let mut holder = [0; 256];
        let read = self
            .disk
            .open(&self.lock_path, OpenMode::Read)
            .and_then(|file| file.read_at(&mut holder, 0))
            .unwrap_or(0);
        let holder = String::from_utf8_lossy(&holder[..read]).trim().to_owned();
        let holder = if holder.is_empty() { "another process".to_owned() } else { holder };
        Error::new(ErrorKind::InUse, format!("the store is in use by {holder}"))
            .at(&self.dir)
            .hint("A store is open in one place at a time: close it there first.")
    }

    fn take(&self) -> Result<Box<dyn FileLock>> {
        let path = &self.lock_path;
        self.disk.lock(path, &format!("process {}", self.process.id())).map_err(|e| {
            use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, WouldBlock};
            let kind = e.kind();
            let error = Error::io("lock the store's folder", path, e);
            match kind {
                WouldBlock => self.in_use(),
                ReadOnlyFilesystem | PermissionDenied => error
                    .with_kind(ErrorKind::ReadOnly)
                    .with_code(code::READ_ONLY)
                    .hint(NOT_WRITABLE),
                _ => error,
            }
        })
    }

    /// Who may do what, at most, with what is made of the store. `None` for a store that is just made.
    ///
    /// # Errors
    /// Those of looking at the folder. The data file is not looked at: it may be what hangs.
    pub(crate) fn access(&self) -> Result<Option<Access>> {
        let folder = Access::at(&*self.disk, &self.dir);
        let folder = folder.map_err(|e| Error::io("look at the store's folder", &self.dir, e))?;
        Ok(self.access.map(|access| folder.map_or(access, |folder| access.within(folder))))
    }

    /// The disk, for everything that is done with the store's files.
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Sees that this is the process that locked the folder. One that was forked from it has copies of
    /// everything but its threads, and would wait for them for ever.
    pub(crate) fn check_process(&self) -> Result<()> {
        if self.process.is_this() {
            return Ok(());
        }
        let message = format!("the store was opened by process {}", self.process.id());
        Err(Error::new(ErrorKind::Invalid, message).at(&self.dir).hint(
            "This process was forked from that one. Open the store after a fork, not before.",
        ))
    }

    /// Keeps the folder of the log open too, where there is one.
    pub(super) fn keep_log(&self) -> Result<()> {
        let log = self.dir.join(LOG_DIR);
        match self.disk.anchor(&log, None) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("open the folder of the log", &log, e))
            }
            _ => Ok(()),
        }
    }

    /// Sees that the path leads to the folder that was opened, whatever is in it.
    ///
    /// # Errors
    /// As [`StoreFolder::check`].
    pub(crate) fn check_path(&self) -> Result<()> {
        self.disk.displaced().map_or(Ok(()), |path| Err(self.moved(&path)))
    }

    /// Sees that the path of the store leads to what this process locked.
    ///
    /// # Errors
    /// [`code::STORE_MOVED`]. What the system does not tell is no error.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_path()?;
        let Some(lock) = self.lock else { return Ok(()) };
        match self.disk.identity(&self.lock_path) {
            Ok(found) if found != lock => Err(self.moved(&self.lock_path)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(self.moved(&self.lock_path)),
            _ => Ok(()),
        }
    }

    fn moved(&self, what: &Path) -> Error {
        let message = "it was moved, removed or replaced while the store was open";
        Error::new(ErrorKind::ReadOnly, message).with_code(code::STORE_MOVED).at(what).hint(
            "Close the store. What it acknowledged lies in the folder that was opened, wherever \
                 that is now: find it before anything else is used in its place.",
        )
    }
}
