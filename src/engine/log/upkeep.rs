//! What a background thread does for the log: prepare, sync, trim, remove.
//!
//! An [`Upkeep`] is a cheap handle. None of its calls takes a lock that an append holds during I/O,
//! but for one: an append that needs a new segment waits for the one that is just being made.

use std::path::PathBuf;
use std::sync::Arc;

use super::prepare::Supply;
use super::segment::{SegmentInfo, list_segments};
use super::sync::{SyncSet, SyncState};
use crate::disk::Disk;
use crate::engine::Lsn;
use crate::{Error, Result};

/// What the writer and its helpers share.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) supply: Supply,
    pub(crate) sync: Arc<SyncState>,
}

impl Shared {
    /// Cuts the segments that are closed and durable at their ends.
    pub(crate) fn trim(&self) -> Result<()> {
        for trim in self.sync.take_trimmable() {
            let cut = trim.file.set_len(trim.end);
            cut.map_err(|e| Error::io("cut a log segment at its end", &trim.path, e))?;
        }
        Ok(())
    }
}

/// A handle for the upkeep of a log; any number of them, on any threads.
#[derive(Clone)]
pub(crate) struct Upkeep(pub(crate) Arc<Shared>);

impl Upkeep {
    /// Makes the next segment ready, and cuts closed ones at their ends.
    ///
    /// # Errors
    /// [`crate::ErrorKind::StorageFull`] where there is no room: nothing is latched, and a later call
    /// may succeed.
    pub(crate) fn prepare(&self) -> Result<()> {
        self.0.trim()?;
        self.0.supply.prepare()
    }

    /// Whether the next segment is ready.
    #[cfg(test)]
    pub(crate) fn is_prepared(&self) -> bool {
        self.0.supply.is_ready()
    }

    /// What is to be synced for all that was appended until now.
    pub(crate) fn unsynced(&self) -> SyncSet {
        self.0.sync.unsynced()
    }

    /// The highest LSN that is known to be durable.
    pub(crate) fn durable_lsn(&self) -> Lsn {
        self.0.sync.durable()
    }

    /// All segments that there are.
    pub(crate) fn segments(&self) -> Result<Vec<SegmentInfo>> {
        list_segments(&*self.0.disk, &self.0.dir)
    }

    /// Removes, oldest first, the segments that hold nothing later than `lsn`; returns how many.
    ///
    /// The newest segment with durable commits always stays, so that a store that has committed is
    /// never found without a log.
    pub(crate) fn remove_before(&self, lsn: Lsn) -> Result<usize> {
        let durable = self.durable_lsn();
        let mut removed = 0;
        for segment in self.segments()? {
            // What follows must hold a durable commit: `last_lsn` is the one before its first.
            if segment.last_lsn.is_none_or(|last| last > lsn || last >= durable) {
                break;
            }
            let remove = self.0.disk.remove_file(&segment.path);
            remove.map_err(|e| Error::io("remove a log segment", &segment.path, e))?;
            removed += 1;
        }
        Ok(removed)
    }
}
