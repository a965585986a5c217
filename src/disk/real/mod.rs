//! The real disk: files through `std`, and through `rustix` what `std` lacks.
//!
//! Invariants: all I/O is positional, so handles have no cursor and may be shared by threads; a call
//! interrupted by a signal is taken up again; `sync` makes content *and* length durable (fdatasync
//! flushes the length, since the content cannot be read back without it).
//!
//! It does not retry a failed sync (after one, nobody knows what the medium holds) and interprets no
//! error: that is for the caller, who knows what the file is.

mod at;
mod file;
mod lock;

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::rand::GetRandomFlags;

use self::at::{At, Folder, id_of};
use self::file::RealFile;
use super::anchor::{About, Anchors};
use super::{Access, Disk, EntryKind, File, FileId, FileLock, Metadata, OpenMode};

/// Files, names, clock and randomness of the operating system.
pub struct RealDisk {
    start: Instant,
    folders: Anchors<Folder>,
}

impl RealDisk {
    /// The disk of this machine.
    #[allow(clippy::new_ret_no_self, reason = "every user of it wants the trait object")]
    pub fn new() -> Arc<dyn Disk> {
        Arc::new(RealDisk { start: Instant::now(), folders: Anchors::default() })
    }

    /// Where `path` leads, for a call on what is there.
    fn at<'p>(&self, path: &'p Path) -> At<'p> {
        at::at(&self.folders, path, About::Thing)
    }

    /// Where `path` leads, for a call on the name.
    fn name<'p>(&self, path: &'p Path) -> At<'p> {
        at::at(&self.folders, path, About::Name)
    }
}

impl std::fmt::Debug for RealDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RealDisk").field("start", &self.start).finish_non_exhaustive()
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let at = self.at(path);
        // Without O_NONBLOCK the opening of a FIFO that nobody writes to would never return; regular
        // files do not know the flag.
        let flags = OFlags::NONBLOCK;
        let file = match mode {
            OpenMode::Read => at.open(flags | OFlags::RDONLY, Mode::empty())?.into(),
            OpenMode::ReadNoLink => open_without_links(&at)?,
            OpenMode::Write => at.open(flags | OFlags::RDWR, Mode::empty())?.into(),
            OpenMode::CreateNew => create_new(&at, flags)?,
        };
        regular(file)
    }

    fn create(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let at = self.name(path);
        let bits = Mode::from_bits_truncate(access.mode & 0o777);
        let file: fs::File = at.open(NEW | OFlags::NONBLOCK, bits)?.into();
        settle(&file, access, false)?;
        regular(file)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let at = self.name(path);
        match at.access() {
            Some(access) => make_dir(&at, access.for_folder(), true),
            None => Ok(rustix::fs::mkdirat(at.fd(), at.path, Mode::from_bits_truncate(0o777))?),
        }
    }

    fn create_dir_as(&self, path: &Path, access: Access) -> io::Result<()> {
        make_dir(&self.name(path), access, false)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let at = self.name(path);
        Ok(rustix::fs::unlinkat(at.fd(), at.path, AtFlags::empty())?)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let at = self.name(path);
        Ok(rustix::fs::unlinkat(at.fd(), at.path, AtFlags::REMOVEDIR)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.name(from), self.name(to));
        Ok(rustix::fs::renameat(from.fd(), from.path, to.fd(), to.path)?)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.name(from), self.name(to));
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(from.fd(), from.path, to.fd(), to.path, flags) {
            // The file system (or an old kernel) does not know the flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => rename_unless_there(&from, &to),
            result => Ok(result?),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.at(path).open_dir()?)?)
    }

    fn sync_below(&self, path: &Path) -> io::Result<()> {
        // All of the file system at once: one commit of its journal.
        Ok(rustix::fs::syncfs(self.at(path).open_dir()?)?)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(self.at(path).open_dir()?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(PathBuf::from(std::ffi::OsStr::from_bytes(name)));
            }
        }
        names.sort();
        Ok(names)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let at = self.name(path);
        let found = rustix::fs::statat(at.fd(), at.path, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Dir,
            FileType::Symlink => EntryKind::Symlink,
            _ => EntryKind::Other,
        };
        let len = u64::try_from(found.st_size).unwrap_or(0);
        #[allow(clippy::useless_conversion, reason = "the types differ between systems")]
        Ok(Metadata {
            kind,
            len: if kind == EntryKind::File { len } else { 0 },
            modified: i64::from(found.st_mtime)
                .saturating_mul(1_000_000)
                .saturating_add(found.st_mtime_nsec as i64 / 1_000),
            mode: u32::from(found.st_mode) & 0o7777,
            uid: found.st_uid,
            gid: found.st_gid,
            id: id_of(&found),
        })
    }

    fn identity(&self, path: &Path) -> io::Result<FileId> {
        Ok(id_of(&self.at(path).stat()?))
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let at = self.name(path);
        let target = rustix::fs::readlinkat(at.fd(), at.path, Vec::new())?;
        Ok(PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes())))
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        let at = self.name(path);
        Ok(rustix::fs::symlinkat(target, at.fd(), at.path)?)
    }

    fn set_attributes(&self, path: &Path, mode: u32, modified: i64) -> io::Result<()> {
        let time = rustix::fs::Timespec {
            tv_sec: modified.div_euclid(1_000_000),
            tv_nsec: modified.rem_euclid(1_000_000) * 1_000,
        };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        // The time first: the bits may take the right to set it.
        let at = self.at(path);
        rustix::fs::utimensat(at.fd(), at.path, &times, AtFlags::empty())?;
        self.set_mode(path, mode)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let at = self.at(path);
        let mode = Mode::from_bits_truncate(mode);
        Ok(rustix::fs::chmodat(at.fd(), at.path, mode, AtFlags::empty())?)
    }

    fn set_owner(&self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let at = self.name(path);
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        Ok(rustix::fs::chownat(at.fd(), at.path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn lock(&self, path: &Path, note: &str) -> io::Result<Box<dyn FileLock>> {
        lock::lock(&self.name(path), note)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        lock::lock_shared(&self.name(path))
    }

    fn is_writable(&self, path: &Path) -> io::Result<bool> {
        use rustix::fs::Access as Wanted;
        let at = self.at(path);
        match rustix::fs::accessat(at.fd(), at.path, Wanted::WRITE_OK, AtFlags::EACCESS) {
            Ok(()) => Ok(true),
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let at = self.at(path);
        let stat = match &at.folder {
            Some(_) => rustix::fs::fstatvfs(at.open(OFlags::RDONLY, Mode::empty())?)?,
            None => rustix::fs::statvfs(path)?,
        };
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn memory(&self) -> Option<u64> {
        crate::disk::memory::limit()
    }

    fn handle(&self) -> Arc<dyn Disk> {
        Arc::new(RealDisk { start: self.start, folders: Anchors::default() })
    }

    fn anchor(&self, dir: &Path, access: Option<Access>) -> io::Result<()> {
        self.folders.add(dir, at::keep(&self.folders, dir, access)?);
        Ok(())
    }

    fn displaced(&self) -> Option<PathBuf> {
        let all = self.folders.all();
        let displaced = all.into_iter().rev().find(|(_, folder)| at::is_displaced(folder));
        displaced.map(|(path, _)| path)
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

/// How a new file is opened.
const NEW: OFlags = OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL);

/// An open file, where it is a regular one.
fn regular(file: fs::File) -> io::Result<Arc<dyn File>> {
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(Arc::new(RealFile { file }))
}

/// Creates a file with what the folder gives to all that is new in it.
fn create_new(at: &At<'_>, flags: OFlags) -> io::Result<fs::File> {
    let Some(access) = at.access() else {
        return Ok(at.open(flags | NEW, Mode::from_bits_truncate(0o666))?.into());
    };
    let bits = Mode::from_bits_truncate(access.for_file().mode);
    let file = at.open(flags | NEW, bits)?.into();
    settle(&file, access.for_file(), true)?;
    Ok(file)
}

/// Gives a new file or folder owner and group as far as this process may, and the bits that go with them:
/// exactly these, or those of them that it was created with.
fn settle(file: &fs::File, access: Access, exactly: bool) -> io::Result<()> {
    let created = rustix::fs::fstat(file)?;
    let mut found = created;
    if (found.st_uid, found.st_gid) != (access.uid, access.gid) {
        let (uid, gid) = (Some(Uid::from_raw(access.uid)), Some(Gid::from_raw(access.gid)));
        if rustix::fs::fchown(file, uid, gid).is_err() && found.st_gid != access.gid {
            // A member of the group may give that, if nothing else. Whether it was is looked at.
            let _ = rustix::fs::fchown(file, None, gid);
        }
        found = rustix::fs::fstat(file)?;
    }
    let most = access.bits_for(found.st_gid);
    let bits = if exactly { most } else { most & created.st_mode };
    if bits == found.st_mode & 0o7777 {
        return Ok(());
    }
    match rustix::fs::fchmod(file, Mode::from_bits_truncate(bits)) {
        // A file system without permission bits: what is there is as wide as it gets.
        Err(Errno::PERM | Errno::OPNOTSUPP) => Ok(()),
        result => Ok(result?),
    }
}

/// Creates a folder with `access`, or with what of its bits the process gives to what it creates.
fn make_dir(at: &At<'_>, access: Access, exactly: bool) -> io::Result<()> {
    // Until it has its owner nobody else may enter.
    rustix::fs::mkdirat(at.fd(), at.path, Mode::from_bits_truncate(access.mode & 0o777))?;
    settle(&at.open_dir()?.into(), access, exactly)
}

/// Opens a file to read it where no part of the path is a symbolic link.
fn open_without_links(at: &At<'_>) -> io::Result<fs::File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    match rustix::fs::openat2(at.fd(), at.path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        // An old kernel, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => Ok(at.open(flags, Mode::empty())?.into()),
        opened => Ok(opened?.into()),
    }
}

/// `rename_new` for file systems that cannot rename without replacing. Nothing is replaced but, where
/// there are no hard links either, a file that another process makes between the look and the renaming:
/// archives are named under a claim, and a store's files under its lock.
fn rename_unless_there(from: &At<'_>, to: &At<'_>) -> io::Result<()> {
    let found = rustix::fs::statat(from.fd(), from.path, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        return claim_then_rename(from, to);
    }
    match link_then_unlink(from, to) {
        Err(e) if has_no_links(&e) => look_then_rename(from, to),
        result => result,
    }
}

fn has_no_links(error: &io::Error) -> bool {
    let none = [Errno::PERM, Errno::NOSYS, Errno::OPNOTSUPP, Errno::INVAL, Errno::MLINK];
    Errno::from_io_error(error).is_some_and(|errno| none.contains(&errno))
}

/// `link` never replaces. A crash between the two calls leaves both names for the same file, never none.
fn link_then_unlink(from: &At<'_>, to: &At<'_>) -> io::Result<()> {
    rustix::fs::linkat(from.fd(), from.path, to.fd(), to.path, AtFlags::empty())?;
    Ok(rustix::fs::unlinkat(from.fd(), from.path, AtFlags::empty())?)
}

/// Making a directory never replaces, and an empty one is what a directory may be renamed over.
fn claim_then_rename(from: &At<'_>, to: &At<'_>) -> io::Result<()> {
    rustix::fs::mkdirat(to.fd(), to.path, Mode::from_bits_truncate(0o700))?;
    rustix::fs::renameat(from.fd(), from.path, to.fd(), to.path).map_err(|e| {
        // One that somebody has put something into stays.
        let _ours = rustix::fs::unlinkat(to.fd(), to.path, AtFlags::REMOVEDIR);
        e.into()
    })
}

fn look_then_rename(from: &At<'_>, to: &At<'_>) -> io::Result<()> {
    match rustix::fs::statat(to.fd(), to.path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(rustix::fs::renameat(from.fd(), from.path, to.fd(), to.path)?),
        Ok(_) => Err(Errno::EXIST.into()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rename = fn(&At<'_>, &At<'_>) -> io::Result<()>;

    #[test]
    fn the_substitutes_for_renaming_without_replacing_never_replace() {
        for rename in [link_then_unlink as Rename, look_then_rename, rename_unless_there] {
            let scratch = tempfile::tempdir().expect("a scratch folder can be made");
            let path = |name: &str| scratch.path().join(name);
            fs::write(path("a"), "a").expect("the folder is writable");
            fs::write(path("b"), "b").expect("the folder is writable");
            let rename = |from: &str, to: &str| call(rename, &path(from), &path(to));
            let refused = rename("a", "b").expect_err("b exists");
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(path("b")).expect("b is there"), b"b");
            rename("a", "c").expect("c is free");
            assert!(!path("a").exists());
            assert_eq!(fs::read(path("c")).expect("c is there"), b"a");
        }
    }

    #[test]
    fn the_substitutes_rename_directories_too_and_replace_none() {
        for rename in [claim_then_rename as Rename, rename_unless_there] {
            let scratch = tempfile::tempdir().expect("a scratch folder can be made");
            let path = |name: &str| scratch.path().join(name);
            for dir in ["a", "full", "empty"] {
                fs::create_dir(path(dir)).expect("the folder is writable");
            }
            fs::write(path("a/file"), "a").expect("the folder is writable");
            fs::write(path("full/file"), "b").expect("the folder is writable");
            for taken in ["full", "empty"] {
                let refused = call(rename, &path("a"), &path(taken)).expect_err("it is there");
                assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
                assert!(path(taken).exists());
            }
            assert_eq!(fs::read(path("full/file")).expect("it is there"), b"b");
            call(rename, &path("a"), &path("c")).expect("c is free");
            assert_eq!(fs::read(path("c/file")).expect("it went along"), b"a");
            call(rename, &path("a"), &path("d")).expect_err("there is no a any more");
            assert!(!path("d").exists());
        }
    }

    fn call(rename: Rename, from: &Path, to: &Path) -> io::Result<()> {
        let folders = Anchors::default();
        let [from, to] = [from, to].map(|path| at::at(&folders, path, About::Name));
        rename(&from, &to)
    }
}
