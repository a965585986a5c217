//! The real disk: files through `std`, and through `rustix` what `std` lacks.
//!
//! Invariants: all I/O is positional, so handles have no cursor and may be shared by threads; a call
//! interrupted by a signal is taken up again; `sync` makes content *and* length durable (fdatasync
//! flushes the length, since the content cannot be read back without it).
//!
//! It does not retry a failed sync (after one, nobody knows what the medium holds) and interprets no
//! error: that is for the caller, who knows what the file is.

use std::fs;
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{Advice, CWD, FallocateFlags, Mode, OFlags, RenameFlags, ResolveFlags, SeekFrom};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

use super::{Disk, EntryKind, File, Metadata, OpenMode};

/// Most parts that one call of the system takes (`IOV_MAX` of Linux).
const PARTS_PER_CALL: usize = 1024;
/// Zeros written at a time where the file system cannot allocate.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Files, names, clock and randomness of the operating system.
#[derive(Debug)]
pub struct RealDisk {
    start: Instant,
}

impl RealDisk {
    /// The disk of this machine.
    #[allow(clippy::new_ret_no_self, reason = "every user of it wants the trait object")]
    pub fn new() -> Arc<dyn Disk> {
        Arc::new(RealDisk { start: Instant::now() })
    }
}

/// A lock on a file. It is let go by name and not by closing: a process that another thread of ours is
/// just starting has the file open too until it runs its program, and would keep the lock so long.
struct Locked(fs::File);

impl Drop for Locked {
    fn drop(&mut self) {
        // Should it fail, closing the file does it.
        let _ = self.0.unlock();
    }
}

/// Whether another owner has the lock file at `path`, as far as whoever may only read it can tell.
fn is_held(path: &Path) -> bool {
    let held = |file: fs::File| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock));
    fs::File::open(path).is_ok_and(held)
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

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        // Without O_NONBLOCK the opening of a FIFO that nobody writes to would never return; regular
        // files do not know the flag.
        options.custom_flags(OFlags::NONBLOCK.bits() as i32);
        let file = match mode {
            OpenMode::Read => options.open(path)?,
            OpenMode::ReadNoLink => open_without_links(path)?,
            OpenMode::Write => options.write(true).open(path)?,
            OpenMode::CreateNew => options.write(true).create_new(true).open(path)?,
        };
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(Errno::ISDIR.into());
        }
        if !kind.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Arc::new(RealFile { file }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // The file system (or an old kernel) does not know the flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_then_unlink(from, to),
            result => Ok(result?),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.read(true).custom_flags(OFlags::DIRECTORY.bits() as i32);
        options.open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(PathBuf::from(entry?.file_name()));
        }
        names.sort();
        Ok(names)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let found = fs::symlink_metadata(path)?;
        let kind = found.file_type();
        let kind = if kind.is_file() {
            EntryKind::File
        } else if kind.is_dir() {
            EntryKind::Dir
        } else if kind.is_symlink() {
            EntryKind::Symlink
        } else {
            EntryKind::Other
        };
        Ok(Metadata {
            kind,
            len: if kind == EntryKind::File { found.len() } else { 0 },
            modified: found.mtime().saturating_mul(1_000_000) + found.mtime_nsec() / 1_000,
            mode: found.permissions().mode() & 0o7777,
        })
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, path)
    }

    fn set_attributes(&self, path: &Path, mode: u32, modified: i64) -> io::Result<()> {
        let time = rustix::fs::Timespec {
            tv_sec: modified.div_euclid(1_000_000),
            tv_nsec: modified.rem_euclid(1_000_000) * 1_000,
        };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        // The time first: the bits may take the right to set it.
        rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::empty())?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn lock(&self, path: &Path, note: &str) -> io::Result<Box<dyn Send + Sync>> {
        let mut options = fs::OpenOptions::new();
        // The note of the present owner is not touched before the lock is ours.
        let opened = options.read(true).write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|e| match is_held(path) {
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
        Ok(Box::new(Locked(file)))
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn now(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros)
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn random(&self, buffer: &mut [u8]) {
        let mut done = 0;
        while done < buffer.len() {
            match rustix::rand::getrandom(&mut buffer[done..], GetRandomFlags::empty()) {
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                // Guessable ids and salts would be worse than no store at all.
                Err(e) => panic!("the system gives no random bytes: {e}"),
            }
        }
    }
}

/// Opens a file to read it where no part of `path` is a symbolic link.
fn open_without_links(path: &Path) -> io::Result<fs::File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        // An old kernel, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => {
            Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?.into())
        }
        opened => Ok(opened?.into()),
    }
}

/// `rename_new` for file systems that cannot rename without replacing. `link` never replaces. A crash
/// between the two calls leaves both names for the same file, never none. Directories have no links:
/// for them this is the error that `link` gives.
fn link_then_unlink(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

/// An open file of the operating system.
#[derive(Debug)]
struct RealFile {
    file: fs::File,
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn write_parts_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> =
            parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        let mut at = offset;
        while !left.is_empty() {
            let batch = &left[..left.len().min(PARTS_PER_CALL)];
            match rustix::io::pwritev(&self.file, batch, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    at += count as u64;
                    IoSlice::advance_slices(&mut left, count);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), offset, len) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return self.fill_with_zeros(offset, len),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let len = self.len()?;
        let found = rustix::fs::seek(&self.file, SeekFrom::Data(offset)).and_then(|data| {
            let hole = rustix::fs::seek(&self.file, SeekFrom::Hole(data))?;
            Ok(data..hole)
        });
        match found {
            Ok(data) => Ok(Some(data)),
            Err(Errno::NXIO) => Ok(None),
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok((offset < len).then_some(offset..len)),
            Err(e) => Err(e.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn drop_cache(&self, offset: u64, len: u64) {
        // Advice only: where the system does not take it, the next read comes from its cache.
        if let Some(len) = NonZeroU64::new(len) {
            let _ = rustix::fs::fadvise(&self.file, offset, Some(len), Advice::DontNeed);
        }
    }

    fn map(&self, reserve: u64) -> io::Result<MmapRaw> {
        let reserve = usize::try_from(reserve)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "map too large"))?;
        MmapOptions::new().len(reserve).map_raw_read_only(&self.file)
    }
}

impl RealFile {
    /// `allocate` for file systems that cannot: everything past the end is written. Holes before the
    /// end stay holes, since zeros written there could overwrite what another thread writes.
    fn fill_with_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
        let mut at = self.len()?;
        while at < end {
            let count = (end - at).min(ZEROS.len() as u64);
            self.write_at(&ZEROS[..count as usize], at)?;
            at += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_only_read_a_lock_file_sees_whether_it_is_held() {
        let scratch = tempfile::tempdir().expect("a scratch folder can be made");
        let path = scratch.path().join("lock");
        assert!(!is_held(&path), "there is none");
        let guard = RealDisk::new().lock(&path, "somebody").expect("it is free");
        assert!(is_held(&path));
        drop(guard);
        assert!(!is_held(&path));
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

    #[test]
    fn the_substitute_for_renaming_without_replacing_never_replaces() {
        let scratch = tempfile::tempdir().expect("a scratch folder can be made");
        let path = |name: &str| scratch.path().join(name);
        fs::write(path("a"), "a").expect("the folder is writable");
        fs::write(path("b"), "b").expect("the folder is writable");
        let refused = link_then_unlink(&path("a"), &path("b")).expect_err("b exists");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(path("b")).expect("b is there"), b"b");
        link_then_unlink(&path("a"), &path("c")).expect("c is free");
        assert!(!path("a").exists());
        assert_eq!(fs::read(path("c")).expect("c is there"), b"a");
    }

    #[test]
    fn the_substitute_for_allocation_writes_only_past_the_end() {
        let file = RealFile { file: tempfile::tempfile().expect("a scratch file can be made") };
        file.write_at(b"abc", 0).expect("it is writable");
        file.fill_with_zeros(1, 200_000).expect("there is room");
        let mut bytes = vec![1; 200_001];
        file.read_exact_at(&mut bytes, 0).expect("it has grown to the end of the range");
        assert_eq!(&bytes[..3], b"abc");
        assert!(bytes[3..].iter().all(|&byte| byte == 0));
        file.fill_with_zeros(0, 3).expect("there is nothing to do");
        assert_eq!(file.len().expect("it is open"), 200_001);
    }
}
