//! Archives get their names whole or not at all, and what a killed process left is cleared away.
//!
//! One file gets its name by one rename. Several cannot: so before the first rename a list of all of
//! them is made durable, `set[0006].naming.<store>.partial`. Each file of the list has one of its two
//! names from then on. Where any still has the name of an unfinished one, the archive was never
//! finished, and those that have their names are its beginning, not a user's archive of which a
//! segment lies elsewhere. Where none has, the archive is whole and the list says nothing more.
//!
//! Invariants: the list is durable before the first rename, and until every name is; what the list
//! proves to be left over goes durably before the proof does, and the proof is durably gone before
//! anything gets a name that it mentions.
//!
//! A file that has both names is left alone: a file system that can only link and unlink leaves that,
//! but so does another store that was faster with the same name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::claim::{self, Claim};
use super::layers::{ArchivePlace, WrittenFile};
use super::names::{list_partials, numbered, partial, unfinished};
use crate::disk::{Disk, EntryKind, atomic};
use crate::error::{Error, ErrorKind, Result};

const FORMAT: u32 = 1;
/// What the list of names is called, before it is marked as unfinished itself.
const ENDING: &str = ".naming";
/// The longest list that is read: as many files as an archive can have, with the longest names.
const MAX_LIST: u64 = 8 << 20;

/// The files that are about to get their names.
#[derive(Serialize, Deserialize)]
struct List {
    format: u32,
    files: Vec<Listed>,
}

#[derive(Serialize, Deserialize)]
struct Listed {
    name: String,
    bytes: u64,
}

/// Gives `files`, which were written for `place`, their names in order, without replacing anything,
/// and makes the names durable.
///
/// # Errors
/// What the disk reports; [`ErrorKind::Exists`] where a name is taken. Files that had got their
/// names by then have lost them again, as far as the disk allows; what it does not, and what a crash
/// brings back, [`remove_unfinished`] clears away, or it is a whole archive.
pub fn name_files(disk: &dyn Disk, place: &ArchivePlace, files: &[WrittenFile]) -> Result<()> {
    let list = (files.len() > 1).then(|| list_path(place));
    if let Some(list) = &list {
        announce(disk, &place.folder, list, files)?;
    }
    let named = rename_all(disk, files).and_then(|()| {
        disk.sync_dir(&place.folder).map_err(|cause| {
            take_back(disk, files);
            Error::io("sync the destination", &place.folder, cause)
        })
    });
    if let (Ok(()), Some(list)) = (&named, &list) {
        // Should it stay, or come back, then as a list of files of which none is unfinished.
        let _left_over = disk.remove_file(list);
    }
    named
}

fn list_path(place: &ArchivePlace) -> PathBuf {
    place.folder.join(partial(&format!("{}{ENDING}", place.name.stem()), place.store))
}

/// Makes durable what is about to be named, and that all of it is there under its present name.
fn announce(disk: &dyn Disk, folder: &Path, list: &Path, files: &[WrittenFile]) -> Result<()> {
    let failed = |cause| Error::io("write the list of names", list, cause);
    let name = |file: &WrittenFile| {
        let name = file.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Listed { name: name.to_owned(), bytes: file.bytes }
    };
    let content = List { format: FORMAT, files: files.iter().map(name).collect() };
    let content = serde_json::to_vec(&content).map_err(|cause| {
        Error::new(ErrorKind::Invalid, "the list of names cannot be written as JSON")
            .at(list)
            .because(cause)
    })?;
    let file = atomic::create_beside(disk, list).map_err(failed)?;
    file.write_at(&content, 0).and_then(|()| file.sync()).map_err(failed)?;
    disk.sync_dir(folder).map_err(|cause| Error::io("sync the destination", folder, cause))
}

fn rename_all(disk: &dyn Disk, files: &[WrittenFile]) -> Result<()> {
    for (count, file) in files.iter().enumerate() {
        if let Err(cause) = disk.rename_new(&file.partial, &file.path) {
            take_back(disk, &files[..count]);
            let exists = cause.kind() == io::ErrorKind::AlreadyExists;
            let error = Error::io("name the archive", &file.path, cause);
            return Err(if exists { error.with_kind(ErrorKind::Exists) } else { error });
        }
    }
    Ok(())
}

fn take_back(disk: &dyn Disk, files: &[WrittenFile]) {
    for named in files.iter().rev() {
        // What cannot be taken back is told by the list, or is a whole archive in one file.
        let _left_over = disk.rename_new(&named.path, &named.partial);
    }
}

/// Removes the unfinished archives that the store `store` left in `folder`, with those of their files
/// that had got their names already. Where somebody else than `own` writes there for that store,
/// nothing is removed: it may be his.
///
/// # Errors
/// When the folder cannot be read or synced, or something cannot be removed. What is left then is
/// recognised again.
pub fn remove_unfinished(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    store: u128,
    own: Option<&Claim>,
) -> Result<()> {
    // Before the claims: see there.
    let mut found = list_partials(&**disk, folder, store)?;
    found.retain(|path| !claim::is_claim(path));
    // Those of the dead are there for as long as anything is that they left.
    let Some(_claims) = claim::of_the_dead(disk, folder, store, own)? else { return Ok(()) };
    let disk = &**disk;
    let (lists, files): (Vec<PathBuf>, Vec<PathBuf>) =
        found.into_iter().partition(|path| of_list(path).is_some());
    for list in &lists {
        remove_named(disk, folder, list, store)?;
    }
    let sync = || disk.sync_dir(folder).map_err(|e| Error::io("sync the destination", folder, e));
    if !lists.is_empty() {
        sync()?;
    }
    let mut result = Ok(());
    for path in files.iter().chain(&lists) {
        result = result.and(remove(disk, path));
    }
    result?;
    if lists.is_empty() { Ok(()) } else { sync() }
}

/// Set and number of the archive whose list of names `path` is by its own name.
fn of_list(path: &Path) -> Option<(&str, u32)> {
    let name = path.file_name()?.to_str()?;
    numbered(unfinished(name)?.strip_suffix(ENDING)?)
}

/// Removes what `list` proves to be the beginning of an archive that was never finished.
fn remove_named(disk: &dyn Disk, folder: &Path, list: &Path, store: u128) -> Result<()> {
    let read = atomic::read_whole(disk, list, MAX_LIST);
    let read = read.map_err(|cause| Error::io("read the list of names", list, cause))?;
    let own = of_list(list);
    let Ok(List { format: FORMAT, files }) = serde_json::from_slice(&read) else {
        // It never got durable, so nothing has a name yet.
        return Ok(());
    };
    let is_own = |file: &Listed| !file.name.contains('/') && numbered(&file.name) == own;
    if !files.iter().all(is_own) {
        return Ok(());
    }
    let mut begun = Vec::new();
    for file in &files {
        if length(disk, &folder.join(partial(&file.name, store)))?.is_none() {
            begun.push(file);
        }
    }
    if begun.len() == files.len() {
        return Ok(());
    }
    for file in begun {
        let path = folder.join(&file.name);
        if length(disk, &path)? == Some(file.bytes) {
            remove(disk, &path)?;
        }
    }
    Ok(())
}

/// The length of the file at `path`; `None` where there is none.
fn length(disk: &dyn Disk, path: &Path) -> Result<Option<u64>> {
    match disk.metadata(path) {
        Ok(found) => Ok((found.kind == EntryKind::File).then_some(found.len)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Error::io("look at", path, cause)),
    }
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<()> {
    disk.remove_file(path).map_err(|e| Error::io("remove an unfinished archive", path, e))
}
