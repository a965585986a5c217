//! Small acts on files that every room needs, with their durability done right once.
//!
//! What these make is durable when they return, names included; what they remove may come back after
//! a crash until the caller syncs the folder. Errors are those of the disk: the caller knows what the
//! file was for, and says so.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Access, Disk, EntryKind, File, OpenMode, beside, create_like};

/// The folder that holds the name `path`; `.` for a bare name.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

/// `path` with a last name where that can be found: one of dots alone has none. What is called by the
/// name of a store, and lies beside it, needs one.
pub fn with_name(disk: &dyn Disk, path: PathBuf) -> PathBuf {
    match path.file_name() {
        Some(_) => path,
        None => disk.canonical(&path).unwrap_or(path),
    }
}

/// `path` in a form that means the same to a process that works in another folder. The last name, which
/// may be a link or not there yet, stays as it is.
pub fn absolute(disk: &dyn Disk, path: &Path) -> PathBuf {
    if path.is_absolute() {
        return path.to_path_buf();
    }
    let found = match path.file_name() {
        Some(name) => disk.canonical(parent(path)).map(|folder| folder.join(name)),
        None => disk.canonical(path),
    };
    let here = || disk.canonical(Path::new(".")).map(|here| here.join(path));
    found.or_else(|_| here()).unwrap_or_else(|_| path.to_path_buf())
}

/// Whether two paths name the same folder, however they are spelled. Where one is not there yet, its
/// name in the folder that would hold it counts.
pub fn is_same_folder(disk: &dyn Disk, one: &Path, other: &Path) -> bool {
    let settled = |path: &Path| {
        let whole = disk.canonical(path).or_else(|e| {
            let name = path.file_name().ok_or(e)?;
            disk.canonical(parent(path)).map(|folder| folder.join(name))
        });
        whole.unwrap_or_else(|_| path.to_path_buf())
    };
    one == other || settled(one) == settled(other)
}

/// The name under which [`write_atomically`] builds the file.
fn partial(path: &Path) -> io::Result<PathBuf> {
    if path.file_name().is_none() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(beside(path, ".partial"))
}

/// Replaces the file at `path` by one that holds `bytes`. After a crash the old or the new one is
/// there, whole. One caller at a time for one path. The new one gets owner and bits of the old one;
/// where there was none, the owner of the folder.
///
/// # Errors
/// The old file is as it was, unless the last sync failed: then either may be there.
pub fn write_atomically(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = partial(path)?;
    // Left over by a crash of an earlier attempt.
    ignore_missing(disk.remove_file(&partial))?;
    let replaced = Access::at(disk, path)?;
    let written =
        write_new(disk, &partial, bytes, replaced).and_then(|()| disk.rename(&partial, path));
    if let Err(e) = written {
        // The first error is the one that matters; a partial file that stays is removed next time.
        let _ = disk.remove_file(&partial);
        return Err(e);
    }
    disk.sync_dir(parent(path))
}

fn write_new(
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
    replaced: Option<Access>,
) -> io::Result<()> {
    let file = match replaced {
        Some(replaced) => {
            let file = disk.create(path, replaced)?;
            replaced.give(disk, path)?;
            file
        }
        None => create_beside(disk, path)?,
    };
    file.write_at(bytes, 0)?;
    file.sync()
}

/// Creates a file that is the first of its kind in its folder: it gets the owner of the folder,
/// and nobody may read it who may not enter there.
///
/// # Errors
/// Those of the disk.
pub fn create_beside(disk: &dyn Disk, path: &Path) -> io::Result<Arc<dyn File>> {
    let file = disk.open(path, OpenMode::CreateNew)?;
    if let Some(folder) = Access::at(disk, parent(path))? {
        Access { mode: 0o666, ..folder }.within(folder).narrow(disk, path)?;
    }
    Ok(file)
}

/// Creates the directory and those above it that are missing, durably. The names of those that are there
/// are made durable too, as [`sync_names`] does it.
///
/// # Errors
/// Those of the disk; `AlreadyExists` where something else than a directory has the name.
pub fn create_dir_all(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut at = path;
    // Links are followed: a link to a directory will do.
    while let Err(e) = disk.canonical(at) {
        if e.kind() != io::ErrorKind::NotFound {
            return Err(e);
        }
        missing.push(at);
        at = parent(at);
    }
    sync_names(disk, at)?;
    for dir in missing.into_iter().rev() {
        match create_dir_beside(disk, dir) {
            // Somebody else was faster.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
        disk.sync_dir(parent(dir))?;
    }
    let found = disk.metadata(&disk.canonical(path)?)?;
    if found.kind != EntryKind::Dir {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    Ok(())
}

/// Creates a directory that is the first of its kind in its folder: it gets the owner of the
/// folder, and is open to nobody to whom that is not.
fn create_dir_beside(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    disk.create_dir(path)?;
    match Access::at(disk, parent(path))? {
        Some(folder) => Access { mode: folder.mode | 0o7000, ..folder }.narrow(disk, path),
        None => Ok(()),
    }
}

/// Makes the name of a directory durable, and those of all directories above it on its file system:
/// whoever made them may have been killed before, or not have known that it is needed. Where one of
/// those that hold the names is not ours to open, or on no file system that can be synced, we gave
/// nothing a name in there.
///
/// A file in the directory survives a power loss no longer than these names.
///
/// # Errors
/// Those of the disk but for these.
pub fn sync_names(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    // The links on the way have names too.
    let links = dir.ancestors().filter(|path| {
        let kind = disk.metadata(path).map(|found| found.kind);
        !path.as_os_str().is_empty() && kind.is_ok_and(|kind| kind == EntryKind::Symlink)
    });
    for link in links.collect::<Vec<_>>() {
        unless_foreign(disk.sync_dir(parent(link)))?;
    }
    let whole = disk.canonical(dir)?;
    let device = disk.identity(&whole)?.device;
    for above in whole.ancestors().skip(1) {
        if disk.identity(above)?.device != device {
            break;
        }
        unless_foreign(disk.sync_dir(above))?;
    }
    Ok(())
}

/// A directory that cannot be synced, since it is not ours or nothing is written there.
fn unless_foreign(synced: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied};
    match synced {
        Err(e) if matches!(e.kind(), PermissionDenied | InvalidInput) => Ok(()),
        result => result,
    }
}

/// Removes what is at `path`, with everything under it; links themselves and not their targets. A folder
/// whose bits forbid it is given those that its owner needs. Nothing there is no error. Durable after
/// [`Disk::sync_dir`] of the folder above.
///
/// # Errors
/// Those of the disk; part of the tree may be gone then.
pub fn remove_tree(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    // A stack of our own: the depth of a tree is not ours to choose.
    let mut todo = vec![(path.to_path_buf(), false)];
    while let Some((path, emptied)) = todo.pop() {
        if emptied {
            ignore_missing(disk.remove_dir(&path))?;
            continue;
        }
        match disk.metadata(&path) {
            Ok(found) if found.kind == EntryKind::Dir => {
                if found.mode & 0o700 != 0o700 {
                    // Where it is another's, what follows says so.
                    let _not_ours = disk.set_mode(&path, found.mode | 0o700);
                }
                let names = disk.list(&path)?;
                let inside = names.into_iter().map(|name| (path.join(name), false));
                let inside: Vec<_> = inside.collect();
                todo.push((path, true));
                todo.extend(inside);
            }
            Ok(_) => ignore_missing(disk.remove_file(&path))?,
            Err(e) => ignore_missing(Err(e))?,
        }
    }
    Ok(())
}

/// Syncs every file below `path`, one after the other; links are not followed.
///
/// # Errors
/// The first of the disk.
pub fn sync_each_below<D: Disk + ?Sized>(disk: &D, path: &Path) -> io::Result<()> {
    let mut todo = vec![path.to_path_buf()];
    while let Some(path) = todo.pop() {
        match disk.metadata(&path)?.kind {
            EntryKind::Dir => {
                todo.extend(disk.list(&path)?.into_iter().map(|name| path.join(name)));
            }
            EntryKind::File => disk.open(&path, OpenMode::Read)?.sync()?,
            EntryKind::Symlink | EntryKind::Other => {}
        }
    }
    Ok(())
}

/// The content of a file of at most `max_len` bytes.
///
/// # Errors
/// `FileTooLarge` where it is longer: nothing is read then, and no memory taken.
pub fn read_whole(disk: &dyn Disk, path: &Path, max_len: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let len = file.len()?;
    if len > max_len {
        let message = format!("{len} bytes, where at most {max_len} are expected");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Bytes that are copied at once.
const COPIED_AT_ONCE: usize = 256 << 10;

/// Copies the file at `from` to `to`, in the place of a file that is there. Its content is durable when
/// it returns; its name is after [`Disk::sync_dir`] of the folder above. It gets owner and bits of the
/// original.
///
/// # Errors
/// Those of the disk; part of the copy may be there then.
pub fn copy_file(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let source = disk.open(from, OpenMode::Read)?;
    ignore_missing(disk.remove_file(to))?;
    let model = Access::at(disk, from)?;
    let target = create_like(disk, to, model)?;
    if let Some(model) = model {
        model.give(disk, to)?;
    }
    let mut piece = vec![0; COPIED_AT_ONCE];
    let mut at = 0;
    loop {
        match source.read_at(&mut piece, at)? {
            0 => return target.sync(),
            read => {
                target.write_at(&piece[..read], at)?;
                at += read as u64;
            }
        }
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
