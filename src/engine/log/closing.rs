//! The end of a log that is closed: what the tree has need not stay in it.
//!
//! The newest segment with a durable commit stays while the store is open, so that a store that has
//! committed is never found without a log. At the close a *marker* can take its place: a segment
//! without commits, whose header says where the one before it ended, and whose trailer says that
//! everything through there was durable. Recovery reads it as a log that ends there.
//!
//! Invariants: the marker is durable, with its name, before anything is removed; nothing is removed
//! that an archive still needs, or while a [`super::Hold`] is there; for want of room, of file handles
//! or of a permission everything stays as it was, since the next close can do it too.

use std::sync::Arc;

use super::format::{GROUP_HEAD, SEGMENT_HEADER};
use super::segment::SegmentInfo;
use super::writer::Log;
use crate::engine::Lsn;
use crate::{Error, Result};

/// Segments that are not longer than this together are left where they are: a marker costs two syncs.
const WORTH_A_MARKER: u64 = 1 << 20;

impl Log {
    /// Ends the log cleanly: all durable, a trailer that says so, nothing prepared and no room that
    /// was allocated ahead left behind. The next recovery then need not look for lost commits behind
    /// the end. Commits through `checkpoint` are in the tree: if those are all, and no archive needs
    /// them, the segments give way to a marker.
    pub(crate) fn close(&mut self, checkpoint: Lsn) -> Result<()> {
        self.sync()?;
        self.roll()?;
        self.sync()?;
        self.shared.trim()?;
        // Nothing is lost where it fails: the segments stay.
        let _stay = self.leave_marker(checkpoint);
        self.shared.trim()?;
        self.shared.supply.discard()
    }

    fn leave_marker(&mut self, checkpoint: Lsn) -> Result<()> {
        let Some(end) = self.end().filter(|end| end.lsn == checkpoint) else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let holds = shared.keep.removal.lock();
        if *holds > 0 || shared.keep.from().is_some_and(|from| from < end.lsn) {
            return Ok(());
        }
        let old: Vec<SegmentInfo> = self.upkeep().segments()?;
        let old: Vec<_> = old.into_iter().filter(|segment| segment.number <= end.number).collect();
        if old.iter().map(|segment| segment.len).sum::<u64>() <= WORTH_A_MARKER {
            return Ok(());
        }
        self.write_marker((SEGMENT_HEADER + GROUP_HEAD) as u64)?;
        for segment in old {
            let removed = shared.disk.remove_file(&segment.path);
            removed.map_err(|e| Error::io("remove a log segment", &segment.path, e))?;
        }
        shared.keep.forget(end.lsn);
        Ok(())
    }
}
