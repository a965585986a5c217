//! What of the log is durable, and how it becomes so.
//!
//! Invariants:
//! - The durable LSN moves only after *every* segment with older unsynced bytes was synced, oldest
//!   first. Otherwise a crash could keep a later commit and lose an earlier one.
//! - Syncs go one after another. The operating system reports a lost write to one caller only; with
//!   two at a time the other one would acknowledge what is not there.
//! - A failed sync latches. It is never tried again: a second one may succeed on pages that were
//!   dropped.
//! - What recovery read may stand in the operating system's cache only, and may be marked there as
//!   written although it is not: that is what a failed sync leaves behind. So these bytes are written
//!   once more, just as they are, before the first sync.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::disk::{Disk, File, OpenMode};
use crate::engine::Lsn;
use crate::{Error, ErrorKind, Result};

/// A segment with bytes that no sync has covered.
struct Dirty {
    number: u64,
    path: PathBuf,
    /// `None` for a segment that recovery found: it is opened when it is synced.
    file: Option<Arc<dyn File>>,
    /// Bytes written.
    written: u64,
    /// Bytes known to be durable.
    synced: u64,
    /// Nothing will be written to it any more.
    closed: bool,
}

/// What was appended and not yet synced.
struct Pending {
    segments: Vec<Dirty>,
    last_lsn: Lsn,
    /// Closed and durable, with room behind the end that nobody needs.
    trimmable: Vec<Trim>,
}

/// A closed segment and its end.
pub(crate) struct Trim {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    pub(crate) end: u64,
}

/// The log's knowledge of what is durable.
pub(crate) struct SyncState {
    disk: Arc<dyn Disk>,
    pending: Mutex<Pending>,
    /// Held during a sync.
    turn: Mutex<()>,
    durable: AtomicU64,
    latched: AtomicBool,
}

/// One segment of a [`SyncSet`].
struct Target {
    number: u64,
    path: PathBuf,
    file: Option<Arc<dyn File>>,
    written: u64,
    synced: u64,
}

/// Part of a segment that recovery read and that is not known to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unproven {
    /// The segment.
    pub(crate) number: u64,
    /// Bytes before this one are durable.
    pub(crate) from: u64,
    /// Bytes from this one on do not matter.
    pub(crate) to: u64,
}

/// All that is to be synced so that everything through one LSN is durable. Usable on any thread.
pub(crate) struct SyncSet {
    state: Arc<SyncState>,
    targets: Vec<Target>,
    through: Lsn,
}

impl SyncState {
    /// The log is durable through `durable` and ends with `last_lsn`; the segments in `unproven` may
    /// have bytes that are only in the operating system's cache.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        last_lsn: Lsn,
        durable: Lsn,
        unproven: Vec<(Unproven, PathBuf)>,
    ) -> Arc<SyncState> {
        let segments = unproven
            .into_iter()
            .map(|(part, path)| Dirty {
                number: part.number,
                path,
                file: None,
                written: part.to,
                synced: part.from,
                closed: true,
            })
            .collect();
        Arc::new(SyncState {
            disk,
            pending: Mutex::new(Pending { segments, last_lsn, trimmable: Vec::new() }),
            turn: Mutex::new(()),
            durable: AtomicU64::new(durable),
            latched: AtomicBool::new(false),
        })
    }

    /// The highest LSN that is known to be durable.
    pub(crate) fn durable(&self) -> Lsn {
        self.durable.load(Ordering::Acquire)
    }

    /// From now on the log refuses everything.
    pub(crate) fn latch(&self) {
        self.latched.store(true, Ordering::Release);
    }

    /// # Errors
    /// [`ErrorKind::ReadOnly`] where the log is latched.
    pub(crate) fn check(&self) -> Result<()> {
        if self.latched.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorKind::ReadOnly,
                "the log failed and takes no more commits",
            )
            .hint("Close the store and open it again."));
        }
        Ok(())
    }

    /// A segment is written to from now on.
    pub(crate) fn opened(&self, number: u64, path: PathBuf, file: Arc<dyn File>) {
        self.pending.lock().segments.push(Dirty {
            number,
            path,
            file: Some(file),
            written: 0,
            synced: 0,
            closed: false,
        });
    }

    /// The newest segment now has `written` bytes, and ends with `lsn`.
    pub(crate) fn wrote(&self, written: u64, lsn: Lsn) {
        let mut pending = self.pending.lock();
        pending.last_lsn = lsn;
        if let Some(newest) = pending.segments.last_mut() {
            newest.written = written;
        }
    }

    /// The newest segment has `written` bytes, and will have no more.
    pub(crate) fn closed(&self, written: u64) {
        let mut pending = self.pending.lock();
        if let Some(newest) = pending.segments.last_mut() {
            newest.written = written;
            newest.closed = true;
        }
        pending.forget_what_is_done();
    }

    /// What is to be synced for all that was appended until now.
    pub(crate) fn unsynced(self: &Arc<SyncState>) -> SyncSet {
        let pending = self.pending.lock();
        let targets = pending
            .segments
            .iter()
            .filter(|segment| segment.synced < segment.written)
            .map(|segment| Target {
                number: segment.number,
                path: segment.path.clone(),
                file: segment.file.clone(),
                written: segment.written,
                synced: segment.synced,
            })
            .collect();
        SyncSet { state: Arc::clone(self), targets, through: pending.last_lsn }
    }

    /// The closed segments that may be cut at their ends. Each is told once.
    pub(crate) fn take_trimmable(&self) -> Vec<Trim> {
        std::mem::take(&mut self.pending.lock().trimmable)
    }

    /// Whether `target` was synced by someone else in the meantime.
    fn done(&self, target: &Target) -> bool {
        let pending = self.pending.lock();
        let segment = pending.segments.iter().find(|segment| segment.number == target.number);
        segment.is_none_or(|segment| segment.synced >= target.written)
    }

    fn sync_one(&self, target: &Target) -> Result<()> {
        let failed = |e| Error::io("sync the log", &target.path, e);
        match &target.file {
            Some(file) => file.sync().map_err(failed)?,
            None => {
                let file = self.disk.open(&target.path, OpenMode::Write).map_err(failed)?;
                write_again(&*file, target.synced, target.written).map_err(failed)?;
                file.sync().map_err(failed)?;
            }
        }
        let mut pending = self.pending.lock();
        let segment = pending.segments.iter_mut().find(|segment| segment.number == target.number);
        if let Some(segment) = segment {
            segment.synced = segment.synced.max(target.written);
        }
        pending.forget_what_is_done();
        Ok(())
    }
}

/// Writes the bytes `from..to` of `file` over themselves.
fn write_again(file: &dyn File, from: u64, to: u64) -> std::io::Result<()> {
    let mut buffer = vec![0; usize::try_from(to - from).unwrap_or(usize::MAX).min(1 << 20)];
    let mut at = from;
    while at < to {
        let part = usize::try_from(to - at).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact_at(&mut buffer[..part], at)?;
        file.write_at(&buffer[..part], at)?;
        at += part as u64;
    }
    Ok(())
}

impl Pending {
    fn forget_what_is_done(&mut self) {
        let done = |segment: &mut Dirty| segment.closed && segment.synced >= segment.written;
        for segment in self.segments.extract_if(.., done) {
            if let Some(file) = segment.file {
                let (path, end) = (segment.path, segment.written);
                self.trimmable.push(Trim { path, file, end });
            }
        }
    }
}

impl SyncSet {
    /// Makes it durable, and returns the highest LSN that now is.
    ///
    /// # Errors
    /// The first failure, which latches the log. Whether the commits are durable is then unknown.
    pub(crate) fn sync(self) -> Result<Lsn> {
        let state = &self.state;
        let _turn = state.turn.lock();
        state.check()?;
        for target in &self.targets {
            if !state.done(target) {
                state.sync_one(target).inspect_err(|_| state.latch())?;
            }
        }
        state.durable.fetch_max(self.through, Ordering::AcqRel);
        Ok(state.durable())
    }

    /// What will be durable after [`SyncSet::sync`].
    #[cfg(test)]
    pub(crate) fn through(&self) -> Lsn {
        self.through
    }
}
