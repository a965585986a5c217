//! The durable record of a replacement that is under way.
//!
//! Invariant: every state is written atomically, and only after the moves of the state before it are
//! durable. So the state alone says which files lie where, whatever a crash took.

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{KEPT_DIR, WORK_DIR};
use crate::disk::Disk;
use crate::disk::atomic::{read_whole, write_atomically};
use crate::engine::StoreId;
use crate::error::{Error, ErrorKind, Result};

const INTENT_FILE: &str = "intent.json";
/// A longer record is damaged: it holds a few names.
const MAX_INTENT: u64 = 1 << 20;

/// How far a replacement has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// The old files are being moved out. Undone by moving them back.
    MovingOut,
    /// No old file is left, and pages of the old data file are being overwritten in the folder of the
    /// new store. It cannot be undone; the same restore, run again, finishes it.
    Rewriting,
    /// The new files are being moved in. Finished by moving the rest in.
    MovingIn,
    /// Moving in has failed: the new files are being removed from the folder.
    MovingBack,
    /// The new store is in place. The old one may still get its name beside it.
    Placed,
}

/// What is being done, and how far it has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Intent {
    pub(super) state: State,
    /// The folder of the old files, within the store's.
    pub(super) kept: String,
    /// What is added to the store's name for the name of the old store beside it; without it the old
    /// files stay within.
    pub(super) beside: Option<String>,
    /// The names at the top of the new store.
    pub(super) new: Vec<String>,
    /// The files of the log are set aside within the log's own folder, which cannot be moved.
    pub(super) log_stays: bool,
    /// The store whose pages are being overwritten.
    pub(super) store: Option<String>,
}

impl Intent {
    fn path(dir: &Path) -> PathBuf {
        dir.join(WORK_DIR).join(INTENT_FILE)
    }

    /// The record in the store's folder `dir`, where there is one.
    pub(super) fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<Intent>> {
        let path = Intent::path(dir);
        let bytes = match read_whole(disk, &path, MAX_INTENT) {
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            bytes => bytes.map_err(|e| Error::io("read the record of a replacement", &path, e))?,
        };
        let intent: Option<Intent> = serde_json::from_slice(&bytes).ok();
        let sound = |intent: &Intent| {
            let mut names = intent.new.iter().chain([&intent.kept]).chain(&intent.beside);
            names.all(|name| is_name(name)) && intent.new.iter().all(|name| !is_reserved(name))
        };
        intent.filter(sound).map(Some).ok_or_else(|| {
            Error::corrupt(&path, "the record of an interrupted replacement is damaged").hint(
                "Restore an archive into a new folder. The old files lie in the folders \
                 \"set-aside\" and \"replacement\" of this one.",
            )
        })
    }

    /// Makes `state` the durable one.
    pub(super) fn save(&mut self, disk: &dyn Disk, dir: &Path, state: State) -> Result<()> {
        let path = Intent::path(dir);
        let failed = |e| Error::io("write the record of a replacement", &path, e);
        let next = Intent { state, ..self.clone() };
        let text = serde_json::to_vec_pretty(&next).map_err(|e| failed(e.into()))?;
        write_atomically(disk, &path, &text).map_err(failed)?;
        *self = next;
        Ok(())
    }

    /// Removes the record; the rest of the working folder is junk then.
    pub(super) fn remove(disk: &dyn Disk, dir: &Path) -> Result<()> {
        let path = Intent::path(dir);
        match disk.remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove the record of a replacement", &path, e));
            }
            _ => {}
        }
        let work = dir.join(WORK_DIR);
        disk.sync_dir(&work).map_err(|e| Error::io("sync the folder", &work, e))
    }

    /// The folder of the old files.
    pub(super) fn kept_dir(&self, dir: &Path) -> PathBuf {
        dir.join(KEPT_DIR).join(&self.kept)
    }

    /// The store that an interrupted delta restore was of.
    pub(super) fn store(&self) -> Option<StoreId> {
        self.store.as_ref().and_then(|id| u128::from_str_radix(id, 16).ok())
    }

    /// Why a store in this state cannot be used.
    pub(super) fn unfinished(&self, dir: &Path) -> Error {
        if self.state == State::Rewriting {
            let message = "a delta restore of the store was interrupted";
            return Error::new(ErrorKind::NotFound, message)
                .at(dir)
                .hint("Run it again: it goes on with what is there.");
        }
        Error::new(ErrorKind::NotFound, "a replacement of the store was interrupted")
            .at(dir)
            .hint("Open the store where it can be written: that finishes or undoes it.")
    }
}

/// Whether it is one name, which leads neither up nor down.
fn is_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let one = matches!(parts.next(), Some(Component::Normal(part)) if part == OsStr::new(name));
    one && parts.next().is_none()
}

/// Names in a store's folder that a new store never brings along.
pub(super) fn is_reserved(name: impl AsRef<OsStr>) -> bool {
    [WORK_DIR, KEPT_DIR, crate::engine::LOCK_FILE].iter().any(|other| name.as_ref() == *other)
}
