//! The check of a whole store: every page of its data file, every group of its log: of the part that an
//! opening reads, and of all that is kept for the next log archive.
//!
//! It takes the store's lock, reads with `read_at`, and writes nothing else. Where the lock cannot
//! be made because nothing can be written there, it does without, and says so. A store that is open
//! elsewhere in this process is checked at its newest checkpoint by `Store::verify` instead.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::archive::{Progress, stopped};
use crate::disk::{Disk, RealDisk};
use crate::engine::tree::{TreeReport, verify_data_file};
use crate::engine::{ClosedSegment, DATA_FILE, LOG_DIR, Lsn, Surveyed, survey};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::{BackupState, Store};

/// What a check has read.
#[non_exhaustive]
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct StoreCheck {
    /// The newest commit, in tree or log.
    pub lsn: Lsn,
    /// The commit of the checkpoint whose pages were read.
    pub checkpoint_lsn: Lsn,
    /// Tables in it.
    pub tables: u64,
    /// Records in it.
    pub records: u64,
    /// Number of that checkpoint.
    pub checkpoint: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages of the file up to the last one that the checkpoint reaches.
    pub pages: u64,
    /// Pages that it reaches.
    pub live_pages: u64,
    /// Pages that are free: what is in them does not matter, and was not read.
    pub free_pages: u64,
    /// Closed segments of the log whose every group was read.
    pub log_segments: u64,
    /// Bytes of them.
    pub log_bytes: u64,
    /// Whether nobody was kept from the store meanwhile, since its folder cannot be written (a
    /// read-only medium, or no permission) and has no lock file. If somebody had it open, what was
    /// told may be of a store that changed.
    pub unlocked: bool,
}

/// Checks the store in the folder `dir`, which nobody may have open. On a read-only medium, or without
/// permission to write there, a lock file that is there is locked for reading; without one nobody can be
/// kept out meanwhile: [`StoreCheck::unlocked`] says so.
///
/// # Errors
/// The first damage, with file and place; what opening the store gives.
pub fn verify_store(dir: impl AsRef<Path>) -> Result<StoreCheck> {
    verify_store_with(dir, |_| ControlFlow::Continue(()))
}

/// The same, telling `progress` of the bytes of data file and log (of pages that are free it reads
/// none), which may stop it (1406).
///
/// # Errors
/// As [`verify_store`].
pub fn verify_store_with(
    dir: impl AsRef<Path>,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<StoreCheck> {
    let disk: Arc<dyn Disk> = RealDisk::new();
    check(&disk, dir.as_ref(), &mut progress)
}

/// The same as [`verify_store`] on another disk, for tests of an application on a simulated one.
///
/// # Errors
/// As [`verify_store`].
pub fn verify_store_on(disk: Arc<dyn Disk>, dir: impl AsRef<Path>) -> Result<StoreCheck> {
    check(&disk, dir.as_ref(), &mut |_| ControlFlow::Continue(()))
}

/// The same, telling `tell`, on any disk.
pub(crate) fn check(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    tell: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<StoreCheck> {
    let Surveyed { lsn, checkpoint, closed, lock } = survey(disk, dir)?;
    let path = dir.join(DATA_FILE);
    let page = checkpoint.meta().page_size as u64;
    let log_bytes = closed.iter().map(|segment| segment.bytes).sum::<u64>();
    let mut data_bytes = 0;
    let report = verify_data_file(&**disk, &path, &mut |read, pages| {
        data_bytes = pages * page;
        tell(Progress { done: read * page, total: data_bytes + log_bytes })
    })?;
    let report = report.into_result(&path)?;
    // What is kept for the next log archive need not be read to open the store.
    let state = BackupState::load(&**disk, dir)?;
    check_kept(&closed, state.kept_log().map(|kept| kept.from), lsn, &dir.join(LOG_DIR))?;
    check_log(&**disk, &closed, &mut |read| {
        tell(Progress { done: data_bytes + read, total: data_bytes + log_bytes })
    })?;
    let log_segments = closed.len() as u64;
    let unlocked = lock.is_none();
    let of = StoreCheck::of(lsn, &report);
    Ok(StoreCheck { unlocked, log_segments, log_bytes, ..of })
}

/// Reads every group of the closed segments.
fn check_log(
    disk: &dyn Disk,
    closed: &[ClosedSegment],
    tell: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<()> {
    let mut read = 0;
    for segment in closed {
        segment.measure(disk).map_err(damaged_log)?;
        read += segment.bytes;
        if tell(read).is_break() {
            return Err(stopped(&segment.path));
        }
    }
    Ok(())
}

/// Sees that the closed segments hold every commit after `from`, where the log is kept.
fn check_kept(closed: &[ClosedSegment], from: Option<Lsn>, last: Lsn, log: &Path) -> Result<()> {
    let Some(from) = from else { return Ok(()) };
    let mut held = from;
    for segment in closed.iter().filter(|segment| segment.last > from) {
        if segment.after > held {
            return Err(missing(log, held, segment.after));
        }
        held = held.max(segment.last);
    }
    match held < last {
        true => Err(missing(log, held, last)),
        false => Ok(()),
    }
}

fn missing(log: &Path, after: Lsn, last: Lsn) -> Error {
    let (first, is) = (after + 1, "is kept for the next log archive, and they are missing");
    let message = format!("commits {first} to {last}: the log of them {is}");
    Error::corrupt(log, message).with_code(code::LOG_CHECK).hint(
        "Put the segments back, or make a backup: it saves the store, and reports the gap in the log.",
    )
}

/// Damage of a segment that is kept for the next log archive.
pub(crate) fn damaged_log(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Corrupt => error.with_code(code::LOG_CHECK).hint(
            "Back up with accept_log_damage() (--accept-log-damage): the store is saved, and the \
             commits that cannot be read become a gap that is reported.",
        ),
        _ => error,
    }
}

impl Store {
    /// Reads and checks every page of the newest checkpoint, and every closed segment of the log, while
    /// the store is in use.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) with the first damage.
    pub fn verify(&self) -> Result<StoreCheck> {
        self.inner().check_open()?;
        let engine = &self.inner().engine;
        let snapshot = engine.snapshot()?;
        let path = engine.dir().join(DATA_FILE);
        let report = snapshot.checkpoint().verify()?.into_result(&path)?;
        let _kept = engine.hold_log();
        let closed = engine.closed_segments().map_err(damaged_log)?;
        check_log(&**engine.disk(), &closed, &mut |_| ControlFlow::Continue(()))?;
        let log_segments = closed.len() as u64;
        let log_bytes = closed.iter().map(|segment| segment.bytes).sum();
        Ok(StoreCheck { log_segments, log_bytes, ..StoreCheck::of(snapshot.lsn(), &report) })
    }
}

impl StoreCheck {
    fn of(lsn: Lsn, report: &TreeReport) -> StoreCheck {
        StoreCheck {
            lsn,
            checkpoint_lsn: report.lsn,
            tables: report.tables.len() as u64,
            records: report.tables.iter().map(|(_, records)| records).sum(),
            checkpoint: report.checkpoint,
            page_size: report.page_size as u64,
            pages: report.page_count,
            live_pages: report.live_pages,
            free_pages: report.dead.iter().map(|run| run.end - run.start).sum(),
            log_segments: 0,
            log_bytes: 0,
            unlocked: false,
        }
    }
}

#[cfg(test)]
mod tests;
