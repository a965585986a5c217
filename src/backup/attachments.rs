//! Files and folders of the application's own that go into the archive with the store.
//!
//! A relative path counts from the folder that the store's own folder lies in, so that an application
//! may be moved with its store. A folder is taken with its tree; a symbolic link is saved as a link and
//! never followed, also where it has taken the place of a file or folder since the plan was made: so no
//! way leads in a circle, and nothing is saved that nobody asked for. What is missing or unreadable does
//! not stop the backup: it makes it partial, with an error for each. The store's own files are refused:
//! they are in the archive already, at the pinned commit. So are archives in the destination; where the
//! destination lies within an attachment it is left out, and the report says so.
//!
//! Invariants: each listed path has a name of its own in the archive; what the plan holds fits into a
//! manifest, whatever lies in the folders.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::foreign;
use crate::archive::{ArchiveName, EntryPath, MAX_JSON, MAX_PATH};
use crate::disk::{Disk, EntryKind, Metadata, beside};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::{ATTACHMENTS, AttachmentPaper, HoldUntil, Registered};

/// How many folders may lie in each other.
const MAX_DEPTH: usize = 256;
/// What an entry takes in a manifest beside its path, at most.
const ENTRY_BYTES: u64 = 256;
/// What all entries may take there: the rest is for what else a manifest says.
const MANIFEST_ROOM: u64 = MAX_JSON / 4 * 3;
/// How many problems are told one by one.
const MAX_PROBLEMS: usize = 1000;

/// A path that was asked for.
#[derive(Clone)]
pub(super) struct Listed {
    path: PathBuf,
    /// The participant that is held until it is copied.
    owner: Option<usize>,
}

/// One file, folder or link to be saved.
#[derive(Clone)]
pub(super) struct Attachment {
    /// Where it is.
    pub(super) source: PathBuf,
    /// The same without links, as it was planned: no part of it may be one when it is opened.
    pub(super) real: PathBuf,
    /// Its path within the archive.
    pub(super) name: EntryPath,
    /// What was known of it when the backup was planned.
    pub(super) found: Metadata,
    /// The participant that is held until it is copied.
    pub(super) owner: Option<usize>,
}

/// What there is to be saved, and what is missing.
#[derive(Default)]
pub(super) struct Attachments {
    pub(super) found: Vec<Attachment>,
    /// The listed paths, with their names in the archive.
    pub(super) listed: Vec<AttachmentPaper>,
    /// What was left out on purpose.
    pub(super) skipped: Vec<PathBuf>,
    pub(super) problems: Vec<Error>,
    /// Problems beyond those that are told.
    untold: usize,
}

/// The paths that a backup is to save: first the files of participants that wait for them, those of the
/// last one first, since that is the order in which they are let go.
pub(super) fn list(
    disk: &Arc<dyn Disk>,
    store: &Path,
    asked: &[PathBuf],
    crew: &[Registered],
) -> Vec<Listed> {
    let mut listed: Vec<Listed> = Vec::new();
    let waiting = crew.iter().enumerate().rev();
    let (held, others): (Vec<_>, Vec<_>) =
        waiting.partition(|(_, one)| one.terms.hold == HoldUntil::Copied);
    let held = held
        .into_iter()
        .flat_map(|(index, one)| one.terms.files.iter().map(move |path| (path, Some(index))));
    let others = others.into_iter().rev().flat_map(|(_, one)| &one.terms.files);
    let rest = others.chain(asked).map(|path| (path, None));
    for (path, owner) in held.chain(rest) {
        let path = resolve(disk, store, path);
        if listed.iter().all(|other| other.path != path) {
            listed.push(Listed { path, owner });
        }
    }
    listed
}

/// The path as it is without the working folder of the process.
fn resolve(disk: &Arc<dyn Disk>, store: &Path, path: &Path) -> PathBuf {
    if path.is_absolute() {
        return path.components().collect();
    }
    let real = disk.canonical(store).unwrap_or_else(|_| store.to_path_buf());
    let above = real.parent().unwrap_or(Path::new("")).to_path_buf();
    above.join(path).components().collect()
}

/// Sees that the listed paths can be attachments at all.
///
/// # Errors
/// `Invalid` for a path without a name, for whatever holds the store, for the destination and the
/// archives in it.
pub(super) fn check(
    disk: &Arc<dyn Disk>,
    listed: &[Listed],
    store: &Path,
    destination: &Path,
) -> Result<()> {
    for Listed { path, .. } in listed {
        if path.file_name().is_none() {
            let message = "an attachment needs a name: its path ends without one";
            return Err(Error::new(ErrorKind::Invalid, message).at(path));
        }
        let Ok(real) = disk.canonical(path) else {
            continue; // What cannot be found is reported as missing when it is copied.
        };
        if let Ok(store) = disk.canonical(store)
            && (real.starts_with(&store) || store.starts_with(&real))
        {
            return Err(Error::new(ErrorKind::Invalid, "an attachment may not hold the store")
                .at(path)
                .hint("The store itself is always part of the archive."));
        }
        if let Ok(destination) = disk.canonical(destination)
            && (real == destination
                || (real.parent() == Some(&destination) && is_archive(real.file_name())))
        {
            let message = "an attachment may not be the destination, nor an archive in it";
            return Err(Error::new(ErrorKind::Invalid, message).at(path));
        }
    }
    Ok(())
}

/// Whether it is an archive by its name, finished or not.
fn is_archive(name: Option<&OsStr>) -> bool {
    let Some(name) = name.and_then(OsStr::to_str) else { return false };
    let finished = name.split(".partial").next().unwrap_or(name);
    ArchiveName::parse(name).is_some()
        || (name.ends_with(".partial")
            && finished.rsplit_once('.').is_some_and(|(n, _)| ArchiveName::parse(n).is_some()))
}

impl Attachments {
    /// Looks at every listed path, folders with all that is in them.
    pub(super) fn plan(disk: &Arc<dyn Disk>, listed: &[Listed], destination: &Path) -> Attachments {
        let destination = disk.canonical(destination).ok();
        let mut walk = Walk {
            disk,
            destination,
            owner: None,
            room: MANIFEST_ROOM,
            left_out: 0,
            plan: Attachments::default(),
        };
        let mut names = BTreeSet::new();
        for Listed { path, owner } in listed {
            let name = free_name(&mut names, path.file_name().unwrap_or_default());
            let entry = [ATTACHMENTS.as_bytes(), b"/", &name].concat();
            let in_archive = EntryPath::new(&entry).as_path().to_path_buf();
            walk.plan.listed.push(AttachmentPaper { name: in_archive, source: path.clone() });
            walk.owner = *owner;
            let real = disk.canonical(path).unwrap_or_else(|_| path.clone());
            walk.add(path, &real, entry, 0);
        }
        if walk.left_out > 0 {
            let message = format!("{} files of the attachments are more than fit", walk.left_out);
            walk.plan.problem(Error::new(ErrorKind::Limit, message));
        }
        walk.plan
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        let files = self.found.iter().filter(|one| one.found.kind == EntryKind::File);
        files.map(|one| one.found.len).sum()
    }

    pub(super) fn missing(&mut self, path: &Path, cause: std::io::Error) {
        let foreign = match cause.kind() {
            std::io::ErrorKind::NotFound => foreign::advice(path, "IncludesFiles"),
            _ => None,
        };
        let error = Error::new(ErrorKind::NotFound, "an attachment cannot be saved");
        let error = error.at(path).because(cause);
        self.problem(match foreign {
            Some(advice) => error.hint(advice),
            None => error,
        });
    }

    /// Notes what makes the backup partial.
    pub(super) fn problem(&mut self, error: Error) {
        if self.problems.len() >= MAX_PROBLEMS {
            self.untold += 1;
            return;
        }
        let error = match error.advice() {
            Some(_) => error,
            None => error.hint("The store itself is in the archive; the backup is partial."),
        };
        self.problems.push(error.with_code(code::ATTACHMENT_MISSING));
    }

    /// All problems, once there can be no more.
    pub(super) fn into_problems(mut self) -> Vec<Error> {
        if self.untold > 0 {
            let message = format!("{} more attachments cannot be saved", self.untold);
            let error = Error::new(ErrorKind::NotFound, message);
            self.problems.push(error.with_code(code::ATTACHMENT_MISSING));
        }
        self.problems
    }
}

/// The name of a listed path in the archive: its own, or with a number where that is taken.
fn free_name(taken: &mut BTreeSet<Vec<u8>>, name: &OsStr) -> Vec<u8> {
    let mut free = name.as_bytes().to_vec();
    let mut number = 2;
    while !taken.insert(free.clone()) {
        let other = beside(Path::new(name), &format!("~{number}"));
        free = other.into_os_string().into_vec();
        number += 1;
    }
    free
}

/// The way through the listed folders.
struct Walk<'w> {
    disk: &'w Arc<dyn Disk>,
    destination: Option<PathBuf>,
    owner: Option<usize>,
    /// Bytes of the manifest that are left.
    room: u64,
    left_out: usize,
    plan: Attachments,
}

impl Walk<'_> {
    /// Adds what is at `path`, which is `real` without links, with all that is in it.
    fn add(&mut self, path: &Path, real: &Path, name: Vec<u8>, depth: usize) {
        let found = match self.disk.metadata(path) {
            Ok(found) => found,
            Err(e) => return self.plan.missing(path, e),
        };
        if found.kind == EntryKind::Other {
            let what = std::io::Error::other("it is neither a file nor a folder nor a link");
            return self.plan.missing(path, what);
        }
        if found.kind == EntryKind::Dir && self.destination.as_deref() == Some(real) {
            return self.plan.skipped.push(path.to_path_buf());
        }
        if depth > MAX_DEPTH || name.len() > MAX_PATH {
            let what = std::io::Error::other("it lies too deep, or its path is too long");
            return self.plan.missing(path, what);
        }
        // Four bytes for one is the most that JSON makes of a name that is no text, and six of one
        // that is.
        let takes = ENTRY_BYTES + 6 * name.len() as u64;
        if takes > self.room {
            self.left_out += 1;
            return;
        }
        self.room -= takes;
        let owner = self.owner;
        let (source, entry) = (path.to_path_buf(), EntryPath::new(&name));
        let at = real.to_path_buf();
        self.plan.found.push(Attachment { source, real: at, name: entry, found, owner });
        if found.kind != EntryKind::Dir {
            return;
        }
        let children = match self.disk.list(path) {
            Ok(children) => children,
            Err(e) => return self.plan.missing(path, e),
        };
        for child in children {
            let below = [&name, &b"/"[..], child.as_os_str().as_bytes()].concat();
            self.add(&path.join(&child), &real.join(&child), below, depth + 1);
        }
    }
}
