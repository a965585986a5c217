//! Files and folders that a command makes under a name that the user gave.
//!
//! The kind of file decides how it is written:
//!
//! | At the path | What happens |
//! |---|---|
//! | nothing | the file is built under another name and renamed when it is whole |
//! | a regular file | the same; the new one takes its mode and owner, as far as that is permitted |
//! | a symbolic link | what it points to is written as in the other rows; the link stays |
//! | a device, a FIFO, the standard output itself | written through, never replaced |
//! | a folder | refused |
//!
//! Invariants: no path within a store's folder or its log is written ([`refuse_in_store`]), nor one
//! that is an archive, its parity, a segment of a log, a history or settings. An old regular file is
//! as it was until the new one is whole and synced, and stays so when the command fails.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{BufWriter, ErrorKind as Cause, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use stillpoint::archive::ArchiveName;
use stillpoint::regime::SETTINGS_FILE;
use stillpoint::{Archive, Error, ErrorKind, code};

use super::exit::{Failure, Outcome};
use super::stores;

/// What the files of a store, and those beside an archive, begin with.
const OWN_BEGINNINGS: [&[u8; 8]; 3] = [b"STILLPT\0", b"STILLLOG", b"SPPARITY"];
/// The longest chain of symbolic links that is followed, as in Linux.
const MAX_LINKS: usize = 40;

/// Lets `write` fill the file that the user named `path`.
///
/// # Durability
/// A regular file is durable under its name when this returns.
pub(crate) fn write<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Outcome<T>,
) -> Outcome<T> {
    // What a link to nothing points to is made; all other links lead to what is there.
    let real = match path.canonicalize() {
        Err(cause) if cause.kind() == Cause::NotFound => follow_links(path)?,
        found => found.map_err(|cause| Error::io("look at the file", path, cause))?,
    };
    refuse_in_store(&real)?;
    match std::fs::metadata(&real) {
        Ok(found) if found.is_dir() => Err(refuse(path, "this is a folder", "Name a file in it.")),
        Ok(found) if !found.is_file() || is_standard_output(&found) => {
            write_through(path, &found, write)
        }
        Ok(found) => {
            refuse_own_file(path, &real)?;
            // Who may not write the file may not replace it either.
            let opened = OpenOptions::new().write(true).open(&real);
            opened.map_err(|cause| Error::io("write the file", path, cause))?;
            replace(&real, Some(&found), write)
        }
        Err(cause) if cause.kind() == Cause::NotFound => {
            refuse_own_name(path, &real)?;
            replace(&real, None, write)
        }
        Err(cause) => Err(Error::io("look at the file", path, cause).into()),
    }
}

/// Refuses a path in the folder of a store, or in the folder of its log, where nobody but the store
/// writes. The last name of the path need not be there, nor the folders above it.
pub(crate) fn refuse_in_store(path: &Path) -> Outcome {
    let whole = std::path::absolute(path)
        .map_err(|cause| Error::io("find the folder of the file", path, cause))?;
    // Folders that are not there yet hold no store.
    let there = whole.ancestors().skip(1).find_map(|folder| folder.canonicalize().ok());
    let Some(folder) = there else { return Ok(()) };
    let taken = folder.ancestors().find(|folder| stores::is_store(folder) || is_log(folder));
    match taken {
        None => Ok(()),
        Some(store) => Err(Error::new(
            ErrorKind::Invalid,
            format!("the path lies in the folder of a store, {}", store.display()),
        )
        .at(path)
        .hint("Only the store writes there. Choose a path outside of it.")
        .into()),
    }
}

/// Whether a store has its log in `folder`, which may lie apart from it. Copies that are shipped to a
/// mirror have other names.
fn is_log(folder: &Path) -> bool {
    let is_segment = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let digits = name.strip_suffix(".log").unwrap_or_default();
        digits.len() == 16
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && begins_with(&path, b"STILLLOG")
    };
    let Ok(mut entries) = std::fs::read_dir(folder) else { return false };
    entries.any(|entry| entry.is_ok_and(|entry| is_segment(entry.path())))
}

fn begins_with(path: &Path, magic: &[u8; 8]) -> bool {
    let is_file = std::fs::metadata(path).is_ok_and(|found| found.is_file());
    let mut first = [0; 8];
    is_file
        && File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok()
        && first == *magic
}

/// The path that the symbolic links at `path` lead to, which is not there.
fn follow_links(path: &Path) -> Outcome<PathBuf> {
    let mut at = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&at) {
            Ok(target) => at = parent(&at).join(target),
            Err(_) => return Ok(at),
        }
    }
    Err(refuse(path, "there are too many symbolic links", "Name the file itself."))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

fn is_standard_output(found: &Metadata) -> bool {
    std::fs::metadata("/dev/stdout")
        .is_ok_and(|out| (out.dev(), out.ino()) == (found.dev(), found.ino()))
}

/// Refuses to overwrite what a restore or a store may need.
fn refuse_own_file(path: &Path, real: &Path) -> Outcome {
    refuse_own_name(path, real)?;
    if OWN_BEGINNINGS.iter().any(|magic| begins_with(real, magic)) {
        return Err(refuse(path, "this is a file of a store or of an archive", OTHER_NAME));
    }
    match Archive::open(real) {
        Err(error) if error.code() != code::KEY => Ok(()),
        _ => Err(refuse(path, "this is an archive", OTHER_NAME)),
    }
}

const OTHER_NAME: &str = "Choose another name: it may be needed for a restore.";

/// Refuses names of archives, of files beside them, and of records of backups.
fn refuse_own_name(path: &Path, real: &Path) -> Outcome {
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    let of_set = name.rsplit_once('[').is_some_and(|(_, rest)| {
        let ending = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        [".parity", ".log", ".partial"]
            .iter()
            .any(|own| ending.strip_prefix(']').is_some_and(|e| e.ends_with(own)))
    });
    match ArchiveName::parse(&name) {
        Some(_) => Err(refuse(path, "this is the name of an archive of a set", OTHER_NAME)),
        None if of_set => Err(refuse(path, "this is the name of a file of a set", OTHER_NAME)),
        None if name.starts_with("backupHistory.") || name == SETTINGS_FILE => {
            Err(refuse(path, "this is the name of a file of the backups", OTHER_NAME))
        }
        None => Ok(()),
    }
}

fn refuse(path: &Path, what: &str, hint: &str) -> Failure {
    Error::new(ErrorKind::Invalid, format!("cannot write there: {what}")).at(path).hint(hint).into()
}

/// Writes to what is no regular file, or is what the standard output leads to.
fn write_through<T>(
    path: &Path,
    found: &Metadata,
    write: impl FnOnce(&mut dyn Write) -> Outcome<T>,
) -> Outcome<T> {
    let failed = |cause| Failure::from(Error::io("write the file", path, cause));
    if is_standard_output(found) {
        let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
        return write(&mut out).and_then(|done| out.flush().map(|()| done).map_err(failed));
    }
    let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 16, &file);
    let done = write(&mut out)?;
    out.flush().map_err(failed)?;
    drop(out);
    if found.file_type().is_block_device() {
        file.sync_all().map_err(failed)?;
    }
    Ok(done)
}

/// Builds a file beside `real` and renames it when it is whole and synced.
fn replace<T>(
    real: &Path,
    old: Option<&Metadata>,
    write: impl FnOnce(&mut dyn Write) -> Outcome<T>,
) -> Outcome<T> {
    let (part, file) = create_part(real, old)?;
    let written = fill(&file, &part, old, write).and_then(|done| {
        std::fs::rename(&part, real).map_err(|cause| Error::io("name the file", real, cause))?;
        Ok(done)
    });
    if written.is_err() {
        let _left_over = std::fs::remove_file(&part);
        return written;
    }
    // The name is durable where the folder may be opened; no file system loses it otherwise.
    let _synced = File::open(parent(real)).and_then(|folder| folder.sync_all());
    written
}

/// A new file beside `real`. Its name is short, so that it fits wherever that of `real` does.
fn create_part(real: &Path, old: Option<&Metadata>) -> Outcome<(PathBuf, File)> {
    if real.file_name().is_none_or(|name| name == OsStr::new("")) {
        return Err(refuse(real, "the path ends with no name", "Name a file."));
    }
    for attempt in 0..100 {
        let part =
            real.with_file_name(format!(".stillpoint-{}-{attempt}.part", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        if old.is_some() {
            options.mode(0o600);
        }
        match options.open(&part) {
            Err(cause) if cause.kind() == Cause::AlreadyExists => {}
            Ok(file) => return Ok((part, file)),
            Err(cause) => return Err(Error::io("create the file", real, cause).into()),
        }
    }
    let message = "there are too many unfinished files of former commands";
    let hint = "Remove those named .stillpoint-….part.";
    Err(Error::new(ErrorKind::Exists, message).at(parent(real)).hint(hint).into())
}

fn fill<T>(
    file: &File,
    part: &Path,
    old: Option<&Metadata>,
    write: impl FnOnce(&mut dyn Write) -> Outcome<T>,
) -> Outcome<T> {
    let failed = |cause| Failure::from(Error::io("write the file", part, cause));
    if let Some(old) = old {
        take_over(file, old).map_err(failed)?;
    }
    let mut out = BufWriter::with_capacity(1 << 16, file);
    let done = write(&mut out)?;
    out.flush().map_err(failed)?;
    drop(out);
    file.sync_all().map_err(failed)?;
    Ok(done)
}

/// Gives `file` the owner, group and mode of `old`; where a group may not be given, the mode has no
/// rights for it.
fn take_over(file: &File, old: &Metadata) -> std::io::Result<()> {
    let mut mode = old.mode() & 0o7777;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (old.uid(), old.gid())
        && fchown(file, Some(old.uid()), Some(old.gid())).is_err()
        && fchown(file, None, Some(old.gid())).is_err()
    {
        mode &= 0o707;
    }
    file.set_permissions(Permissions::from_mode(mode))
}
