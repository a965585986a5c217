//! Creating, opening and closing an engine.
//!
//! Creation builds the data file under a temporary name and renames it as its last act: a folder
//! without `store.data` is no store, whatever else a killed creation left in it. Opening reads the
//! newest good meta, rebuilds the deltas from the log and writes nothing, so an open costs no sync. The
//! one exception is a log that holds more than the memory budget: once it is judged sound, it is synced
//! and turned into checkpoints (`replay.rs`). Whoever only looks never writes.
//!
//! Here it is found out whether the next local commit leaves the history that the store knows: after
//! a discarded tail, in a store that came out of an archive, and in one that applied another store's
//! log. That commit then mints a new timeline, and makes it durable in the ancestry file and in the
//! header of its log segment.

use std::path::Path;
use std::sync::Arc;

use super::budget::Budget;
use super::core::{Core, Found};
use super::folder::{self, DirLock, lock_dir};
use super::leader::{FIRST_CONTEXT, Leader};
use super::log::{Context, Log, LogParams, Recovered, RecoveryBase};
use super::log_folder;
use super::log_guard::LogCap;
use super::options::{EngineOptions, OnOpen};
use super::origin::ancestry;
use super::replacement;
use super::replay::{Judged, Replay};
use super::tree::{Checkpoint, DataFile, DataParams};
use super::view::{View, Views};
use super::{ANCESTRY_FILE, Ancestry, AncestryFile};
use crate::disk::atomic::{parent, sync_names};
use crate::disk::{Disk, EntryKind, Metadata};
use crate::error::{Error, ErrorKind, Result, code};

/// The data file of a store.
pub(crate) const DATA_FILE: &str = "store.data";
/// The data file while it is being created.
pub(super) const DATA_PARTIAL: &str = "store.data.partial";
/// The folder of the log segments.
pub(crate) const LOG_DIR: &str = "log";
/// The file whose lock says who has the store.
pub(crate) const LOCK_FILE: &str = "lock";

/// What the root of a fresh file system has in it.
pub(crate) const LOST_FOUND: &str = "lost+found";

/// Makes an empty store in `dir`, which must not hold one. The folder itself may exist.
pub(super) fn create(disk: &Arc<dyn Disk>, dir: &Path, options: &EngineOptions) -> Result<()> {
    let there = match disk.metadata(dir).and_then(|found| follow(&**disk, dir, found)) {
        Ok(found) if found.kind == EntryKind::Dir => true,
        Ok(_) => return Err(not_a_folder(dir)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
        Err(e) => return Err(Error::io("look at the store's folder", dir, e)),
    };
    // It has a store, which its data file does not show.
    replacement::refuse_unfinished(&**disk, dir)?;
    if !there {
        disk.create_dir(dir).map_err(|e| Error::io("create the store's folder", dir, e))?;
        let above = parent(dir);
        disk.sync_dir(above).map_err(|e| Error::io("sync the folder", above, e))?;
    }
    // Also where it was there: whoever made it may have been killed before its name was durable.
    sync_names(&**disk, dir).map_err(|e| Error::io("sync the folders above", dir, e))?;
    // Looked at before the lock, whose file would be put among the files of others, and again under it.
    refuse_foreign_files(disk, dir)?;
    let lock = lock_dir(disk, dir)?;
    let disk = lock.folder().disk();
    refuse_foreign_files(disk, dir)?;
    let data = dir.join(DATA_FILE);
    remove_if_there(disk, &dir.join(DATA_PARTIAL))?;
    log_folder::make(disk, dir, options.log_folder.as_deref())?;
    let partial = dir.join(DATA_PARTIAL);
    let store_id = random_id(disk);
    let ancestry = Ancestry::first(random_id(disk));
    AncestryFile::write(&**disk, dir, &ancestry)?;
    let params = DataParams {
        page_size: options.page_size as usize,
        store_id,
        timeline: ancestry.tip(),
        ancestry_digest: ancestry.digest(),
        foreign: false,
    };
    DataFile::create(&**disk, &partial, params)?;
    folder::give_to_owner(&**disk, dir)?;
    lock.folder().check()?;
    disk.rename_new(&partial, &data).map_err(|e| Error::io("name the data file", &data, e))?;
    disk.sync_dir(dir).map_err(|e| Error::io("sync the store's folder", dir, e))
}

/// What is at the end of the link, where `found` is one.
fn follow(disk: &dyn Disk, path: &Path, found: Metadata) -> std::io::Result<Metadata> {
    match found.kind {
        EntryKind::Symlink => disk.metadata(&disk.canonical(path)?),
        _ => Ok(found),
    }
}

/// A folder with other things in it is somebody's work: nothing is put among them.
fn refuse_foreign_files(disk: &Arc<dyn Disk>, dir: &Path) -> Result<()> {
    if disk.metadata(&dir.join(DATA_FILE)).is_ok() {
        return Err(Error::new(ErrorKind::Exists, "there is a store already").at(dir));
    }
    let names = disk.list(dir).map_err(|e| Error::io("list the store's folder", dir, e))?;
    let partial = format!("{ANCESTRY_FILE}.partial");
    let ours = [DATA_PARTIAL, LOG_DIR, LOCK_FILE, LOST_FOUND, ANCESTRY_FILE, &partial];
    let foreign = names.iter().find(|name| {
        let name = name.file_name().map(|n| n.to_string_lossy().into_owned());
        name.is_none_or(|name| !ours.contains(&name.as_str()))
    });
    match foreign {
        None => Ok(()),
        Some(name) => Err(Error::new(ErrorKind::Exists, "the folder is not empty")
            .at(dir.join(name))
            .hint("Choose a new folder for the store.")),
    }
}

fn remove_if_there(disk: &Arc<dyn Disk>, path: &Path) -> Result<()> {
    match disk.remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove what a killed creation left", path, e))
        }
        _ => Ok(()),
    }
}

fn not_a_folder(dir: &Path) -> Error {
    Error::new(ErrorKind::Invalid, "a store is a folder, and this is a file")
        .at(dir)
        .hint("Name the folder of the store.")
}

pub(crate) fn random_id(disk: &Arc<dyn Disk>) -> u128 {
    let mut bytes = [0; 16];
    disk.random(&mut bytes);
    // Zero means "none" in the formats.
    u128::from_le_bytes(bytes).max(1)
}

/// Opens the store in `dir`: the engine's shared state, ready for its threads. `held` is the lock of
/// the folder where this process has it already.
pub(super) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: EngineOptions,
    held: Option<DirLock>,
) -> Result<Arc<Core>> {
    let data_path = dir.join(DATA_FILE);
    look_for(&disk, dir, &data_path)?;
    let lock = held.map_or_else(|| lock_dir(&disk, dir), Ok)?;
    let folder = lock.folder().clone();
    let disk = folder.disk();
    let (data, checkpoint) = DataFile::open(&**disk, &data_path)?;
    let budget = Budget::new(options.memory_budget, disk.memory());
    budget.set_data_bytes(checkpoint.meta().bytes());
    folder.keep_log()?;
    let read = LogRead::new(disk, dir, &options, &checkpoint, (budget.delta_bytes(), 1))?;
    if read.lost {
        // There is another one now.
        folder.keep_log()?;
    }
    if let Some(OnOpen(tell)) = &options.on_open {
        tell(&folder, checkpoint.number())?;
    }
    let found = go_on(disk, dir, &options, Opened { data, checkpoint, lock, budget }, read)?;
    Ok(Arc::new(Core::new(folder, dir.to_path_buf(), options, found)))
}

/// Sees that there is a store in `dir`.
pub(super) fn look_for(disk: &Arc<dyn Disk>, dir: &Path, data_path: &Path) -> Result<()> {
    match disk.metadata(dir) {
        Ok(found) if found.kind == EntryKind::File => return Err(not_a_folder(dir)),
        Ok(_) => {}
        Err(e) => return Err(no_store(dir, e)),
    }
    replacement::refuse_unfinished(&**disk, dir)?;
    disk.metadata(data_path).map(drop).map_err(|e| no_store(dir, e))
}

/// Why the store cannot be seen: it is not there, or the system does not let us look.
fn no_store(dir: &Path, cause: std::io::Error) -> Error {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    if !matches!(cause.kind(), NotFound | NotADirectory) {
        return Error::io("look at the store's folder", dir, cause);
    }
    no_store_at(dir).because(cause)
}

fn no_store_at(dir: &Path) -> Error {
    Error::new(ErrorKind::NotFound, "there is no store")
        .at(dir)
        .hint("Opening never creates a store: check the path, or create one.")
}

/// What the data file says about the log; and what the ancestry file holds, where it can be read.
pub(super) fn base_of(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    checkpoint: &Checkpoint,
) -> Result<(Option<Ancestry>, RecoveryBase)> {
    let meta = checkpoint.meta();
    let (stored, ancestry) = ancestry(disk, dir, meta)?;
    let base = RecoveryBase {
        store_id: meta.store_id,
        ancestry,
        checkpoint_lsn: meta.lsn,
        checkpoint_time: meta.time,
        // An archive brings no log along.
        durable_hint: if meta.from_archive { 0 } else { meta.durable_log_lsn },
        foreign: meta.foreign || meta.from_archive,
    };
    Ok((stored, base))
}

/// A log that was read and judged, and the deltas that were filled from it.
pub(super) struct LogRead {
    base: RecoveryBase,
    /// What the ancestry file holds, where it can be read.
    stored: Option<Ancestry>,
    pub(super) replay: Replay,
    pub(super) recovered: Recovered,
    /// Whether the log was missing, and given up.
    lost: bool,
}

impl LogRead {
    /// Reads the log; fills deltas of at most so many bytes, and so many beside the active one.
    pub(super) fn new(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        options: &EngineOptions,
        checkpoint: &Checkpoint,
        (delta_bytes, most_sealed): (usize, usize),
    ) -> Result<LogRead> {
        let log_dir = dir.join(LOG_DIR);
        let (stored, mut base) = base_of(disk, dir, checkpoint)?;
        let mut replay = Replay::new(delta_bytes, most_sealed, checkpoint)?;
        match replay.fill(&**disk, &log_dir, &base) {
            Err(error) if options.accept_lost_log && error.code() == code::LOG_UNAVAILABLE => {
                base.durable_hint = 0;
                log_folder::replace_lost(disk, dir, options)?;
                let mut replay = Replay::new(delta_bytes, most_sealed, checkpoint)?;
                let recovered = replay.fill(&**disk, &log_dir, &base)?;
                Ok(LogRead { base, stored, replay, recovered, lost: true })
            }
            recovered => Ok(LogRead { base, stored, replay, recovered: recovered?, lost: false }),
        }
    }
}

/// An open data file whose log is still to be taken up.
pub(super) struct Opened {
    pub(super) data: Arc<DataFile>,
    pub(super) checkpoint: Arc<Checkpoint>,
    pub(super) lock: DirLock,
    pub(super) budget: Budget,
}

/// Takes up the log where it ended. Writes nothing where all of it is in memory.
pub(super) fn go_on(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &EngineOptions,
    opened: Opened,
    read: LogRead,
) -> Result<Found> {
    let Opened { data, mut checkpoint, lock, budget } = opened;
    let LogRead { base, stored, mut replay, recovered, lost } = read;
    let ancestry_file = Arc::new(AncestryFile::new(disk.clone(), dir, stored));
    let mut log = start_log(disk, dir, options, (&base, &recovered, &ancestry_file))?;
    let upkeep = log.upkeep();
    upkeep.keep_from(options.keep_log.map(|kept| kept.from));
    let (last_lsn, eras) = (recovered.last_lsn, &recovered.eras[..]);
    let judged =
        Judged { eras, last_lsn, data: &data, ancestry_file: &ancestry_file, upkeep: &upkeep };
    let mut durable_checkpoint = 0;
    if replay.overflowed {
        // A checkpoint holds nothing that the log could still lose.
        let durable_hint = log.sync()?;
        let base = RecoveryBase { durable_hint, ..base.clone() };
        checkpoint = replay.fill_rest(&**disk, &dir.join(LOG_DIR), &base, &judged, checkpoint)?;
        durable_checkpoint = checkpoint.lsn();
        budget.set_data_bytes(checkpoint.meta().bytes());
    }
    if options.keep_log.is_some() {
        // A segment of old commits that cannot be read is no reason not to open: it counts nothing,
        // and the backup that is to archive it tells of it.
        let _uncounted = upkeep.count();
    }
    replay.note_peak();
    let era = recovered.era().clone();
    let deltas = replay.deltas();
    let sealed = replay.sealed(&judged);
    let catalogue = Arc::new(replay.catalogue);
    let next_table_id = checkpoint.meta().next_table_id.max(replay.highest_table.saturating_add(1));
    let views = Views::new(View { checkpoint, deltas, catalogue, lock: Some(lock) }, last_lsn);
    let leader = Leader {
        log,
        writer: replay.writer,
        active: replay.active,
        next_lsn: last_lsn + 1,
        last_time: recovered.last_time,
        ancestry: era.ancestry,
        foreign: era.foreign || recovered.tail_cut.is_some() || lost,
    };
    Ok(Found {
        store_id: base.store_id,
        data,
        ancestry_file,
        views,
        leader,
        next_table_id,
        sealed,
        lost_log: lost,
        budget,
        peak_delta_bytes: replay.peak_bytes,
        durable_checkpoint,
    })
}

/// The writing end of the log that was read.
fn start_log(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &EngineOptions,
    (base, recovered, ancestry_file): (&RecoveryBase, &Recovered, &Arc<AncestryFile>),
) -> Result<Log> {
    let era = recovered.era();
    let params = LogParams {
        store_id: base.store_id,
        ancestry: era.ancestry.clone(),
        ancestry_file: ancestry_file.clone(),
        applied: era.foreign,
        segment_bytes: LogCap::segment_bytes(options.log_cap, options.segment_bytes),
        next_lsn: recovered.last_lsn + 1,
        last_time: recovered.last_time,
        prev: recovered.end,
        durable_lsn: recovered.durable_lsn,
        unproven: recovered.unproven.clone(),
    };
    let mut log = Log::start(disk.clone(), dir.join(LOG_DIR), params)?;
    let pairs = options.context.iter().map(|(name, value)| (name.clone(), value.clone()));
    let context = log.define_context(&Context { pairs: pairs.collect() })?;
    debug_assert_eq!(context, FIRST_CONTEXT);
    Ok(log)
}
