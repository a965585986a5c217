//! What the modules above ask of the log that is kept for archives.

use std::sync::atomic::Ordering;

use super::Lsn;
use super::engine::Engine;
use super::log::{ClosedSegment, Hold};
use super::log_guard::{KeptLog, LogCap};
use crate::error::Result;

impl Engine {
    /// Keeps the log for archives; what neither that nor a checkpoint needs is removed. `None` keeps
    /// what the checkpoints lack.
    pub(crate) fn keep_log(&self, kept: Option<KeptLog>) {
        self.core.keep_log(kept);
        self.trim_log();
    }

    /// The commit before the oldest in the log, of those that lead to the newest without a gap.
    pub(crate) fn log_begins_after(&self) -> Result<Lsn> {
        let oldest = self.closed_segments()?.first().map(|segment| segment.after);
        Ok(oldest.unwrap_or_else(|| self.log_closed_through()))
    }

    /// The commit that the store was restored to, where it came out of an archive and has made no
    /// checkpoint since.
    pub(crate) fn restored_at(&self) -> Option<Lsn> {
        let checkpoint = self.core.views.current().0.checkpoint.clone();
        checkpoint.meta().from_archive.then(|| checkpoint.lsn())
    }

    /// Removes the log segments that nobody needs. None before the first checkpoint of this session: a
    /// killed process may have written the one that was opened, and not synced it.
    pub(crate) fn trim_log(&self) {
        if self.is_read_only() {
            return;
        }
        let checkpoint = self.core.durable_checkpoint.load(Ordering::Acquire);
        // What cannot be removed now is tried again after the next checkpoint, which tells of it.
        let _later = self.core.upkeep.remove_before(checkpoint);
    }

    /// From which commit on the log is kept for archives.
    pub(crate) fn log_kept_from(&self) -> Option<Lsn> {
        self.core.upkeep.kept_from()
    }

    /// A backup of the data was made: a store that gave up its log takes writes again.
    pub(crate) fn backed_up(&self) {
        self.core.awaits_backup.store(false, Ordering::Release);
    }

    /// Bounds the kept log otherwise than at the opening, from the next commit on.
    pub(crate) fn set_log_cap(&self, cap: Option<LogCap>) {
        self.core.set_log_cap(cap);
    }

    /// The segments of the log that nothing will be written to any more, oldest first. They may go
    /// at any time, unless a [`Engine::hold_log`] is there.
    pub(crate) fn closed_segments(&self) -> Result<Vec<ClosedSegment>> {
        self.core.upkeep.closed()
    }

    /// The same without those whose header is damaged.
    pub(crate) fn sound_segments(&self) -> Result<Vec<ClosedSegment>> {
        self.core.upkeep.closed_and_sound()
    }

    /// The last commit in such a segment, be it still there or not; 0 before the first.
    pub(crate) fn log_closed_through(&self) -> Lsn {
        self.core.upkeep.closed_through().unwrap_or(0)
    }

    /// Keeps every log segment where it is while the value lives.
    pub(crate) fn hold_log(&self) -> Hold {
        self.core.upkeep.hold()
    }
}
