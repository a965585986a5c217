//! What a background thread does for the log: prepare, sync, trim, remove.
//!
//! An [`Upkeep`] is a cheap handle. None of its calls takes a lock that an append holds during I/O,
//! but for one: an append that needs a new segment waits for the one that is just being made.

use std::path::PathBuf;
use std::sync::Arc;

use super::keep::{ClosedSegment, Hold, Keep, closed_segments};
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
    pub(crate) keep: Keep,
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
    /// Those that [`super::passes`] where there is no room, or file handles are short: nothing is
    /// latched, and a later call may succeed.
    pub(crate) fn prepare(&self) -> Result<()> {
        self.0.trim()?;
        self.0.supply.keep_reserve();
        self.0.supply.prepare()
    }

    /// Makes the reserve where it is missing and there is room for it again.
    pub(crate) fn keep_reserve(&self) {
        self.0.supply.keep_reserve();
    }

    /// Gives the room of the reserve back to the disk; whether there was any.
    pub(crate) fn spend_reserve(&self) -> bool {
        self.0.supply.spend_reserve()
    }

    /// Whether there is no reserve: what needs room should not be taken.
    pub(crate) fn lacks_reserve(&self) -> bool {
        self.0.supply.lacks_reserve()
    }

    /// Makes segments of another length from now on.
    pub(crate) fn set_segment_bytes(&self, bytes: u64) {
        self.0.supply.set_segment_bytes(bytes);
    }

    /// Whether the next segment is ready.
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

    /// The segments that nothing will be written to any more, oldest first.
    ///
    /// # Errors
    /// Where one of them cannot be read; damage of a header.
    pub(crate) fn closed(&self) -> Result<Vec<ClosedSegment>> {
        closed_segments(&*self.0.disk, &self.0.dir, self.0.keep.end(), false)
    }

    /// The same without those whose header is damaged.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn closed_and_sound(&self) -> Result<Vec<ClosedSegment>> {
        closed_segments(&*self.0.disk, &self.0.dir, self.0.keep.end(), true)
    }

    /// The last commit in a segment that nothing will be written to any more; `None` before the first.
    pub(crate) fn closed_through(&self) -> Option<Lsn> {
        self.0.keep.end().map(|end| end.lsn)
    }

    /// Keeps every segment where it is while the value lives.
    pub(crate) fn hold(&self) -> Hold {
        Hold::new(Arc::clone(&self.0))
    }

    /// Keeps the commits after `lsn`, whatever the checkpoints hold; `None` keeps none for their own
    /// sake.
    pub(crate) fn keep_from(&self, lsn: Option<Lsn>) {
        self.0.keep.set_from(lsn);
    }

    /// From which commit on the log is kept.
    pub(crate) fn kept_from(&self) -> Option<Lsn> {
        self.0.keep.from()
    }

    /// Bytes of what is kept, the segment that is written to included.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.0.keep.bytes()
    }

    /// What the oldest kept segments hold that together have at least `surplus` bytes, or as much of
    /// that as is not later than `upto`: the commits after the first LSN, up to the second. `None`
    /// where that is nothing, and while segments are held.
    pub(crate) fn droppable(&self, upto: Lsn, surplus: u64) -> Option<(Lsn, Lsn)> {
        let is_held = self.0.keep.removal.try_lock().is_none_or(|holds| *holds > 0);
        if is_held { None } else { self.0.keep.droppable(upto, surplus) }
    }

    /// Looks at the disk for what is kept.
    ///
    /// # Errors
    /// As [`Upkeep::closed`].
    pub(crate) fn count(&self) -> Result<()> {
        self.0.keep.set_closed(&self.closed()?);
        Ok(())
    }

    /// Removes, oldest first, the segments that hold nothing later than `lsn` and nothing that is to
    /// be kept; returns how many.
    ///
    /// The newest segment with durable commits always stays, so that a store that has committed is
    /// never found without a log.
    pub(crate) fn remove_before(&self, lsn: Lsn) -> Result<usize> {
        let holds = self.0.keep.removal.lock();
        if *holds > 0 { Ok(0) } else { self.remove_unheld(lsn) }
    }

    /// Makes what is kept at most `cap` bytes long, as far as the checkpoint at `checkpoint` has what
    /// goes: the oldest segments go once `note` has said yes to the commits after the first LSN, up to
    /// the second. Nothing goes while segments are held.
    ///
    /// # Locks
    /// That of removals, also around `note`: a [`Hold`] is had before, and nothing is noted, or
    /// afterwards, when what was noted is gone.
    pub(crate) fn drop_oldest(
        &self,
        checkpoint: Lsn,
        cap: u64,
        note: impl FnOnce(Lsn, Lsn) -> bool,
    ) -> Result<()> {
        let holds = self.0.keep.removal.lock();
        let surplus = self.kept_bytes().saturating_sub(cap);
        if *holds > 0 || surplus == 0 {
            return Ok(());
        }
        match self.0.keep.droppable(checkpoint, surplus) {
            Some((after, last)) if note(after, last) => {
                self.keep_from(Some(last));
                self.remove_unheld(checkpoint).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// As [`Upkeep::remove_before`], for whoever has the lock of removals and sees no hold.
    fn remove_unheld(&self, lsn: Lsn) -> Result<usize> {
        let lsn = self.0.keep.from().map_or(lsn, |from| from.min(lsn));
        let durable = self.durable_lsn();
        let mut removed = 0;
        if self.0.keep.has_nothing_through(lsn) {
            return Ok(removed);
        }
        for segment in self.segments()? {
            // What follows must hold a durable commit: `last_lsn` is the one before its first.
            let Some(last) = segment.last_lsn.filter(|&last| last <= lsn && last < durable) else {
                break;
            };
            let remove = self.0.disk.remove_file(&segment.path);
            remove.map_err(|e| Error::io("remove a log segment", &segment.path, e))?;
            self.0.keep.forget(last);
            removed += 1;
        }
        Ok(removed)
    }
}
