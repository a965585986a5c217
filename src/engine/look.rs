//! Looking at a store: its place in history, or all of it at its last commit; and opening it to be read only.
//!
//! Invariants: nothing is written to the store and no thread is started. The folder is locked while
//! anybody looks. Where it cannot be written the lock is a shared one of the lock file that is there;
//! without such a file nobody can have it open for writing there either. How much of the log is held in
//! memory is bounded: nothing where only its end matters, else the memory budget. An opening to read
//! takes the shared lock at once, so that it does not even note who reads.

use std::path::Path;
use std::sync::Arc;

use super::budget::{Budget, DELTAS};
use super::core::Core;
use super::folder::{self, DirLock, lock_dir};
use super::log::{self, Recovered};
use super::open::{DATA_FILE, LOG_DIR, LogRead, Opened, base_of, go_on, look_for};
use super::options::EngineOptions;
use super::replay::too_long_to_read;
use super::snapshot::Snapshot;
use super::tree::{Checkpoint, DataFile};
use super::view::View;
use super::{ClosedSegment, History, Lsn, Position, StoreId};
use crate::disk::Disk;
use crate::error::{Error, Result, code};

/// Reads the store in `dir` as an opening would, log and all, writes nothing and starts nothing.
///
/// # Errors
/// As an opening; `Limit` where the log holds more than the memory budget.
pub(crate) fn inspect(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &EngineOptions,
) -> Result<Snapshot> {
    let Looked { checkpoint, folder, .. } = Looked::at(disk, dir)?;
    let (read, _) = read_log(dir, options, &checkpoint, &folder)?;
    let last_lsn = read.recovered.last_lsn;
    let deltas = read.replay.deltas();
    let catalogue = Arc::new(read.replay.catalogue);
    let view = View { checkpoint, deltas, catalogue, lock: Some(folder.clone()) };
    Ok(Snapshot::new((Arc::new(view), last_lsn)))
}

/// Reads the log into memory, as far as the budget allows.
///
/// # Errors
/// `Limit` where it holds more.
fn read_log(
    dir: &Path,
    options: &EngineOptions,
    checkpoint: &Checkpoint,
    folder: &DirLock,
) -> Result<(LogRead, Budget)> {
    let disk = folder.folder().disk();
    let budget = Budget::new(options.memory_budget, disk.memory());
    budget.set_data_bytes(checkpoint.meta().bytes());
    let bounds = (budget.bytes() / DELTAS, DELTAS - 1);
    let read = LogRead::new(disk, dir, options, checkpoint, bounds)?;
    match read.replay.overflowed {
        true => Err(too_long_to_read(dir, budget.bytes())),
        false => Ok((read, budget)),
    }
}

/// Opens the store in `dir` to be read only: the engine's shared state, which gets no threads.
///
/// # Errors
/// As an opening; `Limit` where the log holds more than the memory budget.
pub(super) fn open_to_read(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: EngineOptions,
) -> Result<Arc<Core>> {
    // To give up a lost log is to make another one.
    let options = EngineOptions { read_only: true, accept_lost_log: false, ..options };
    let data_path = dir.join(DATA_FILE);
    look_for(disk, dir, &data_path)?;
    let lock = folder::hold_to_read(disk, dir)?;
    let folder = lock.folder().clone();
    // Somebody may have begun to replace the store before it was held.
    look_for(folder.disk(), dir, &data_path)?;
    let (data, checkpoint) = DataFile::open_to_read(&**folder.disk(), &data_path)?;
    folder.keep_log()?;
    let (read, budget) = read_log(dir, &options, &checkpoint, &lock)?;
    let opened = Opened { data, checkpoint, lock, budget };
    let found = go_on(folder.disk(), dir, &options, opened, read)?;
    Ok(Arc::new(Core::new(folder, dir.to_path_buf(), options, found)))
}

/// A store whose log was judged, and nothing more.
pub(crate) struct Surveyed {
    /// The last commit, in tree or log.
    pub(crate) lsn: Lsn,
    /// The newest checkpoint.
    pub(crate) checkpoint: Arc<Checkpoint>,
    /// The segments of the log that nothing will be written to any more.
    pub(crate) closed: Vec<ClosedSegment>,
    /// Keeps others out; `None` where the folder cannot be written and has no lock file.
    pub(crate) lock: Option<DirLock>,
}

/// Reads and judges the log of the store in `dir` as an opening would. Holds none of it in memory,
/// writes nothing and starts nothing.
pub(crate) fn survey(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Surveyed> {
    let looked = Looked::at(disk, dir)?;
    let Looked { checkpoint, folder, is_locked } = looked;
    let disk = folder.folder().disk();
    let recovered = judge(disk, dir, &checkpoint)?;
    let closed = log::closed_segments(&**disk, &dir.join(LOG_DIR), recovered.end, false)?;
    let lsn = recovered.last_lsn;
    Ok(Surveyed { lsn, checkpoint, closed, lock: is_locked.then_some(folder) })
}

fn judge(disk: &Arc<dyn Disk>, dir: &Path, checkpoint: &Checkpoint) -> Result<Recovered> {
    let (_, base) = base_of(disk, dir, checkpoint)?;
    log::recover(&**disk, &dir.join(LOG_DIR), &base, &mut |_, _, _| Ok(()))
}

/// The data file of a store that is only looked at, and its folder, locked where that can be.
struct Looked {
    checkpoint: Arc<Checkpoint>,
    folder: DirLock,
    is_locked: bool,
}

impl Looked {
    fn at(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Looked> {
        let data_path = dir.join(DATA_FILE);
        look_for(disk, dir, &data_path)?;
        // There may be a lock file that can be written where no name can be made: it stays as it is then.
        let folder = match disk.is_writable(dir) {
            Ok(false) => folder::hold_to_read(disk, dir)?,
            _ => match lock_dir(disk, dir) {
                Err(error) if cannot_be_written(&error) => folder::hold_to_read(disk, dir)?,
                lock => lock?,
            },
        };
        let is_locked = folder.is_locked();
        let (_, checkpoint) = DataFile::open_to_read(&**folder.folder().disk(), &data_path)?;
        Ok(Looked { checkpoint, folder, is_locked })
    }
}

/// Whether it failed because its file lies where nothing can be written.
fn cannot_be_written(error: &Error) -> bool {
    error.code() == code::READ_ONLY
}

/// Where the store in `dir` is, found as an opening would: log and all, and nothing is started. With it the
/// lock of the folder: as long as that is held, it stays there.
pub(crate) fn locate(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Located> {
    look_for(disk, dir, &dir.join(DATA_FILE))?;
    locate_locked(dir, &lock_dir(disk, dir)?)
}

/// The same for whoever holds the lock of the folder.
pub(crate) fn locate_locked(dir: &Path, lock: &DirLock) -> Result<Located> {
    let disk = lock.folder().disk();
    let data_path = dir.join(DATA_FILE);
    look_for(disk, dir, &data_path)?;
    let (_, checkpoint) = DataFile::open(&**disk, &data_path)?;
    let recovered = judge(disk, dir, &checkpoint)?;
    let era = recovered.era();
    let position = Position {
        lsn: recovered.last_lsn,
        time: recovered.last_time,
        timeline: era.ancestry.tip(),
        foreign: era.foreign || recovered.tail_cut.is_some(),
    };
    let history = History::new(era.ancestry.clone(), recovered.last_lsn);
    let (store, page_size) = (checkpoint.meta().store_id, checkpoint.meta().page_size);
    Ok(Located { store, page_size, position, history, lock: lock.clone() })
}

/// Where a store is.
pub(crate) struct Located {
    pub(crate) store: StoreId,
    pub(crate) page_size: usize,
    pub(crate) position: Position,
    /// All commits through that.
    pub(crate) history: History,
    pub(crate) lock: DirLock,
}
