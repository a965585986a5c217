//! A store that is only read: opened without threads, and pinned for a backup without writing to it.
//!
//! Invariants: nothing is written where the store lies. A backup copies the pages of one checkpoint, and
//! the commits that the log has beyond the newest one can become pages only in a file that may be
//! written: all records are put into a new data file in the destination then. It loses its name as soon
//! as it is open, so a killed process leaves nothing of it there once it is made.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::compacted::write_compacted;
use super::engine::Engine;
use super::look;
use super::options::EngineOptions;
use super::pin::{Pin, PinSlot};
use super::snapshot::Snapshot;
use super::tree::{Checkpoint, DataFile};
use crate::disk::{Access, Disk};
use crate::error::{Error, Result};

/// The file that a backup of a store that is only read may need.
pub(crate) struct Scratch<'s> {
    /// Its folder, which is not the store's.
    pub(crate) folder: &'s Path,
    /// Where it is written. Nothing is there yet.
    pub(crate) path: &'s Path,
    /// Whose it is: nobody else may read it.
    pub(crate) owner: Option<Access>,
}

impl Engine {
    /// Opens the store in `dir` to be read only.
    ///
    /// # Errors
    /// As [`Engine::open`], but that others who only read are in nobody's way; `Limit` where the commits
    /// beyond the newest checkpoint take more than the memory budget.
    pub(crate) fn open_to_read(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        options: EngineOptions,
    ) -> Result<Engine> {
        let core = look::open_to_read(disk, dir, options)?;
        Ok(Engine { core, running: Mutex::new(None) })
    }

    /// Whether it was opened so.
    pub(crate) fn is_read_only(&self) -> bool {
        self.core.folder.is_read_only()
    }

    /// Whether the log has commits that no checkpoint has.
    pub(crate) fn is_ahead_of_pages(&self) -> bool {
        let (view, lsn) = self.core.views.current();
        view.checkpoint.lsn() != lsn
    }

    /// Pins the newest commit of a store that is only read. `go_on` is asked at each record that is
    /// written to `scratch`; its error ends the work.
    ///
    /// # Errors
    /// `Closed`; `Corrupt` for a damaged page; those of writing to `scratch`.
    pub(crate) fn pin_to_read(
        &self,
        scratch: &Scratch<'_>,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Pin> {
        self.core.check_folder()?;
        let lock = self.keep_folder();
        let snapshot = self.snapshot()?;
        let checkpoint = match self.is_ahead_of_pages() {
            true => self.checkpoint_in(&snapshot, scratch, go_on)?,
            false => snapshot.checkpoint().clone(),
        };
        let slot = PinSlot::new(snapshot.lsn());
        slot.fill(Ok(checkpoint));
        Ok(Pin::new(slot, Duration::ZERO, lock))
    }

    fn checkpoint_in(
        &self,
        snapshot: &Snapshot,
        Scratch { folder, path, owner }: &Scratch<'_>,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Arc<Checkpoint>> {
        let disk = self.core.disk.handle();
        let private = owner.map(|owner| Access { mode: 0o600, ..owner });
        let anchored = disk.anchor(folder, private);
        anchored.map_err(|e| Error::io("open the folder", folder, e))?;
        let place = (&self.position(), &self.history());
        let made = write_compacted(&*disk, path, snapshot, place, false, go_on)
            .and_then(|_bytes| DataFile::open_to_read(&*disk, path));
        // What was opened stays for as long as it is open.
        let removed = disk.remove_file(path);
        let (_, checkpoint) = made?;
        removed.map_err(|e| Error::io("remove the pages of the backup", path, e))?;
        Ok(checkpoint)
    }
}
