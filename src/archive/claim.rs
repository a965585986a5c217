//! Who writes into a folder: so that nobody clears away the unfinished files of somebody who is alive.
//!
//! Unfinished files are known by the identity of their store, and two stores may have one: a mirror and
//! its source, a store and its copy. So whoever writes archives has a claim there from before its first
//! file to after its last: a file of its own, `writing-X[0000].<store>.partial`, which it keeps locked. The
//! lock goes with the process. What lies there unfinished is cleared away only where no claim of the
//! store is held by anybody else; otherwise a later run does it.
//!
//! Invariants: a claim has a name that was never given before, so the one that is locked is the one that
//! lies there. Files are listed before claims, and claims are made before files: a file that is listed
//! while its writer lives has its claim in the list. Whoever clears away has a claim, so there is only
//! one who does, and each file is removed once: what another makes under its name meanwhile stays.
//!
//! Where the file system has no locks, nobody can be told from the dead, and all are taken for dead:
//! backups go on there, and two stores of one identity must not be backed up at one time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::{list_partials, partial, unfinished};
use crate::disk::{Disk, FileLock, OpenMode, has_no_locks};
use crate::error::{Error, ErrorKind, Result};

const BEGINNING: &str = "writing-";
const ENDING: &str = "[0000]";
/// How often a new claim is tried, where others clear the unlocked one away each time.
const TRIES: u32 = 100;

/// That somebody writes here. It ends with the value.
pub struct Claim {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    lock: Option<Box<dyn FileLock>>,
}

impl Claim {
    /// A new claim of the store `store` in `folder`.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn new(disk: &Arc<dyn Disk>, folder: &Path, store: u128) -> Result<Claim> {
        for _ in 0..TRIES {
            let mut unique = [0; 16];
            disk.random(&mut unique);
            let unique = u128::from_le_bytes(unique);
            let name = partial(&format!("{BEGINNING}{unique:032x}{ENDING}"), store);
            let failed = |e| Error::io("claim the destination", folder, e);
            let path = folder.join(name);
            let lock = match disk.lock(&path, &note()) {
                Ok(lock) => Some(lock),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Err(e) if has_no_locks(&e) => None,
                Err(e) => {
                    // It may have been made all the same, and its name is nobody else's.
                    let _left_over = disk.remove_file(&path);
                    return Err(failed(e));
                }
            };
            let claim = Claim { disk: disk.clone(), path, lock };
            let Some(lock) = &claim.lock else { return Ok(claim) };
            match disk.identity(&claim.path) {
                Ok(found) if found == lock.id() => return Ok(claim),
                // It was cleared away before it was locked.
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Err(Error::new(ErrorKind::Busy, "the destination cannot be claimed").at(folder))
    }
}

impl Claim {
    /// Whether it lies where it was made, as far as the system tells: the path of the folder still leads
    /// to the folder that was claimed.
    pub fn is_in_place(&self) -> bool {
        let Some(lock) = &self.lock else { return true };
        match self.disk.identity(&self.path) {
            Ok(found) => found == lock.id(),
            Err(e) => e.kind() != io::ErrorKind::NotFound,
        }
    }
}

fn note() -> String {
    format!("process {}", std::process::id())
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What cannot be removed is found unlocked, and cleared away with the rest.
        let _left_over = self.disk.remove_file(&self.path);
        self.lock = None;
    }
}

/// Whether `path` is that of a claim.
pub(super) fn is_claim(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(unfinished);
    name.is_some_and(|name| name.starts_with(BEGINNING) && name.ends_with(ENDING))
}

/// The claims that the dead left, taken over; `None` where anybody but `own` is alive.
pub(super) fn of_the_dead(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    store: u128,
    own: Option<&Claim>,
) -> Result<Option<Vec<Claim>>> {
    let mut dead = Vec::new();
    let has_locks = own.is_some_and(|own| own.lock.is_some());
    let is_own = |path: &PathBuf| own.is_some_and(|own| own.path == *path);
    for path in list_partials(&**disk, folder, store)? {
        if !is_claim(&path) || is_own(&path) {
            continue;
        }
        let lock = match disk.lock(&path, &note()) {
            Ok(lock) => Some(lock),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            // There are locks, since one's own claim has one, and just now they are all in use.
            Err(e) if has_no_locks(&e) && has_locks => return Ok(None),
            Err(e) if has_no_locks(&e) => None,
            // Another user's; whoever may read it would have seen that it is held.
            Err(e) if is_denied(&e) && disk.open(&path, OpenMode::Read).is_ok() => None,
            // It stays: somebody may be alive, whom nobody else must take for dead either.
            Err(e) => return Err(Error::io("see who writes into the destination", &path, e)),
        };
        dead.push(Claim { disk: disk.clone(), path, lock });
    }
    Ok(Some(dead))
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
