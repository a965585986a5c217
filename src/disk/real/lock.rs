//! The lock file of the real disk.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::at::{At, id_of};
use super::{NEW, settle};
use crate::disk::{Access, FileId, FileLock};

/// A lock on a file. It is let go by name and not by closing: a process that another thread of ours is
/// just starting has the file open too until it runs its program, and would keep the lock so long.
struct Locked {
    file: fs::File,
    id: FileId,
    /// The process that took it. One that was forked from it has the file open too, and shares the lock:
    /// it must not let go of what is not its own.
    process: u32,
}

impl FileLock for Locked {
    fn id(&self) -> FileId {
        self.id
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            // Should it fail, closing the file does it.
            let _ = self.file.unlock();
        }
    }
}

/// Takes the lock file at a path, and says in it who has it.
pub(super) fn lock(at: &At<'_>, note: &str) -> io::Result<Box<dyn FileLock>> {
    let file = open(at).map_err(|e| match is_held(at) {
        // More to the point than that it may not be written.
        true => io::ErrorKind::WouldBlock.into(),
        false => e,
    })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
        Err(fs::TryLockError::Error(e)) => return Err(e),
    }
    sign(&file, note)?;
    let id = id_of(&rustix::fs::fstat(&file)?);
    Ok(Box::new(Locked { file, id, process: std::process::id() }))
}

/// Takes a shared lock of the lock file at a path, which is opened for reading only.
pub(super) fn lock_shared(at: &At<'_>) -> io::Result<Box<dyn FileLock>> {
    let opened = at.open(OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
    let file = fs::File::from(opened);
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
        Err(fs::TryLockError::Error(e)) => return Err(e),
    }
    let id = id_of(&rustix::fs::fstat(&file)?);
    Ok(Box::new(Locked { file, id, process: std::process::id() }))
}

/// Opens the lock file, which is created where it is missing. The note of the present owner is not
/// touched before the lock is ours.
fn open(at: &At<'_>) -> io::Result<fs::File> {
    use io::ErrorKind::{AlreadyExists, NotFound};
    // Between two looks somebody may create it, or remove it.
    for _attempt in 0..8 {
        match at.open(OFlags::RDWR | OFlags::NONBLOCK, Mode::empty()) {
            Err(e) if e.kind() == NotFound => {}
            opened => return opened.map(fs::File::from),
        }
        let access = at.access().map(|access| access.for_file());
        let bits = access.map_or(0o666, |access| access.mode);
        match at.open(NEW, Mode::from_bits_truncate(bits)) {
            Err(e) if e.kind() == AlreadyExists => {}
            created => {
                let file = created?.into();
                match access {
                    Some(access) => settle(&file, access, true)?,
                    None => settle(&file, owner_of_folder(at)?, false)?,
                }
                return Ok(file);
            }
        }
    }
    Err(AlreadyExists.into())
}

/// Whoever owns the folder must be able to take the lock, too.
fn owner_of_folder(at: &At<'_>) -> io::Result<Access> {
    let folder = crate::disk::atomic::parent(at.path);
    let found = rustix::fs::statat(at.fd(), folder, AtFlags::empty())?;
    Ok(Access { uid: found.st_uid, gid: found.st_gid, mode: 0o666 })
}

/// Whether another owner has the lock file, as far as whoever may only read it can tell.
fn is_held(at: &At<'_>) -> bool {
    let held = |file: fs::File| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock));
    at.open(OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).is_ok_and(|fd| held(fd.into()))
}

/// Says in a lock file who has it. Where there is no room for that the lock is had all the same: who
/// makes room needs it too.
fn sign(file: &fs::File, note: &str) -> io::Result<()> {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    match file.write_all_at(note.as_bytes(), 0) {
        Err(e) if matches!(e.kind(), StorageFull | QuotaExceeded) => Ok(()),
        written => written.and_then(|()| file.set_len(note.len() as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use std::path::Path;

    fn held(path: &Path) -> bool {
        is_held(&At { folder: None, path })
    }

    #[test]
    fn whoever_may_only_read_a_lock_file_sees_whether_it_is_held() {
        let scratch = tempfile::tempdir().expect("a scratch folder can be made");
        let path = scratch.path().join("lock");
        assert!(!held(&path), "there is none");
        let guard = RealDisk::new().lock(&path, "somebody").expect("it is free");
        assert!(held(&path));
        drop(guard);
        assert!(!held(&path));
        RealDisk::new().lock(&path, "another").expect("looking at it holds nothing");
    }

    /// What a killed backup left may be what fills the destination, and is cleared away under a lock.
    #[test]
    fn a_lock_is_had_also_where_there_is_no_room_to_say_who_has_it() {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let full = full.expect("Linux has a device that is always full");
        let refused = full.write_all_at(b"somebody", 0).expect_err("it is full");
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        sign(&full, "somebody").expect("it is only a note");
    }
}
