//! Repair: all that can be trusted of a damaged store goes into a new one.
//!
//! Records come, in this order, from the pages that are reached from the newest meta; from the kept log,
//! for keys in the ranges of pages that cannot be read; from leaves without a readable way to them
//! (`engine/tree/salvage`); and from the log after the checkpoint. Operations of the log are whole
//! records, so the later one counts, also where commits between are missing.
//!
//! Invariants: nothing of the damaged store is changed, but for the file of its lock. The new store has
//! an identity of its own: it is not known to be at any commit of the old one, so no log and no archive
//! of the old one applies to it. What is missing is in the report, or is not known to be missing.

mod writer;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use self::writer::Writer;
use super::carried::carry;
use super::log_file::LogFile;
use super::target::Target;
use crate::archive::{Keys, Progress};
use crate::disk::{Access, Disk, RealDisk};
use crate::engine::tree::{Salvage, is_page_size};
use crate::engine::{
    CATALOGUE, DATA_FILE, Engine, EngineOptions, LOG_DIR, Lsn, StoreId, TableId, lock_dir,
    replacement,
};
use crate::error::{Error, ErrorKind, Result, code};

/// Most ranges, and most big values, that a report names for one table.
const MOST: usize = 100;

type Report = Box<dyn Fn(Progress) -> ControlFlow<()>>;

/// A repair of the damaged store in a folder, into a new folder; [`run`](StoreRepair::run) it.
///
/// A repair is for a store that no backup can bring back: a restored backup with its logs has every
/// commit, a repaired store only what was still readable.
///
/// ```
/// use stillpoint::{Store, StoreRepair, TableDef};
///
/// const VISITS: TableDef<u64, String> = TableDef::new("visits");
///
/// # fn main() -> stillpoint::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let (dir, new) = (folder.path().join("shop"), folder.path().join("repaired"));
/// let store = Store::create(&dir)?;
/// store.transact(|write| write.table(VISITS)?.put(&7, &"a visit".to_owned()).map(drop))?;
/// store.close()?;
///
/// let report = StoreRepair::new(&dir, &new).run()?;
/// assert!(report.is_complete());
/// assert_eq!((&*report.tables[0].name, report.tables[0].records), ("visits", 1));
/// # Ok(()) }
/// ```
#[must_use = "nothing is repaired before it is run"]
pub struct StoreRepair {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    new_dir: PathBuf,
    progress: Option<Report>,
}

/// What a repair found, and what is missing.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub struct StoreRepairReport {
    /// The new store.
    pub dir: PathBuf,
    /// The tables, by name.
    pub tables: Vec<RepairedTable>,
    /// The commit of the checkpoint that the pages are of; `None` where no meta can be read.
    pub checkpoint_lsn: Option<Lsn>,
    /// Leaf pages that were reached.
    pub reached_leaves: u64,
    /// Leaf pages that were found without a way to them.
    pub found_leaves: u64,
    /// Commits of the log that were applied after the checkpoint.
    pub log_commits: u64,
    /// The last commit of the log that was applied.
    pub log_end: Option<Lsn>,
    /// What of the log cannot be read, or is missing.
    pub log_problems: Vec<Error>,
    /// Whether records that were deleted long ago may be among those that were found: nothing tells any
    /// more which pages were in use.
    pub uncertain: bool,
    /// How long it took.
    pub duration: Duration,
}

/// A table of a repaired store.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub struct RepairedTable {
    /// Its name in the new store.
    pub name: String,
    /// Whether its definition is lost: its keys and values are bytes then.
    pub definition_lost: bool,
    /// Records in the new store.
    pub records: u64,
    /// Records of the checkpoint that neither a page that can be read nor the log holds; `None` where
    /// nothing tells how many there were.
    pub missing: Option<u64>,
    /// Where records are missing, or may be: the first 100 ranges.
    pub missing_ranges: Vec<MissingRange>,
    /// Keys whose big values cannot be read: the first 100.
    pub lost_values: Vec<Json>,
}

/// Keys of a table between which records may be missing, as JSON, or in hexadecimal digits where they are
/// no keys of the table's type: page bounds are as short as they can be.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MissingRange {
    /// The first key of the range; `None` for the beginning of the table.
    pub from: Option<Json>,
    /// The key before which it ends; `None` for the end of the table.
    pub to: Option<Json>,
}

impl StoreRepairReport {
    /// Whether everything is there that the store had, as far as that can be known.
    pub fn is_complete(&self) -> bool {
        let complete = |table: &RepairedTable| {
            table.missing_ranges.is_empty()
                && table.lost_values.is_empty()
                && !table.definition_lost
        };
        self.log_problems.is_empty()
            && self.checkpoint_lsn.is_some()
            && self.tables.iter().all(complete)
    }
}

impl StoreRepair {
    /// A repair of the store in `dir`, which nobody may have open, into the new folder `new_dir`.
    pub fn new(dir: impl Into<PathBuf>, new_dir: impl Into<PathBuf>) -> StoreRepair {
        let disk = RealDisk::new();
        StoreRepair { disk, dir: dir.into(), new_dir: new_dir.into(), progress: None }
    }

    /// Calls `report` with the pages that were looked at; `Break` stops the repair (1406) and leaves
    /// nothing behind.
    pub fn on_progress(mut self, report: impl Fn(Progress) -> ControlFlow<()> + 'static) -> Self {
        self.progress = Some(Box::new(report));
        self
    }

    /// On another disk, for tests of an application on a simulated one.
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// Makes the new store.
    ///
    /// # Durability
    /// When it returns, the new store survives a power loss. A crash before that leaves none.
    ///
    /// # Locks
    /// The damaged store is locked, where its folder can be written.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] where the new folder is there; [`ErrorKind::Corrupt`] where no page
    /// vouches for itself; [`ErrorKind::Unsupported`] for a file of another version;
    /// [`ErrorKind::StorageFull`]; [`ErrorKind::Stopped`] (1406). Nothing is left behind.
    pub fn run(self) -> Result<StoreRepairReport> {
        let began = self.disk.elapsed();
        replacement::refuse_unfinished(&*self.disk, &self.dir)?;
        let _lock = match lock_dir(&self.disk, &self.dir) {
            Err(error) if error.kind() == ErrorKind::InUse => return Err(error),
            // On a medium that cannot be written nobody can have it open for writing either.
            lock => lock.ok(),
        };
        let path = self.dir.join(DATA_FILE);
        let mut watch = |read, pages| match &self.progress {
            Some(report) => report(Progress { done: read, total: pages }),
            None => ControlFlow::Continue(()),
        };
        let mut salvage = Salvage::open(&*self.disk, &path, &mut watch)?;
        debug_assert!(is_page_size(salvage.page_size()));
        let model = Access::at(&*self.disk, &path).map_err(|e| Error::io("look at", &path, e))?;
        let mut target = Target::begin(&self.disk, &self.new_dir, 0, model)?;
        let made = self.fill(&mut salvage, &mut target).and_then(|report| {
            target.finish()?;
            Ok(report)
        });
        let report = made.inspect_err(|_| target.give_up())?;
        let duration = self.disk.elapsed().saturating_sub(began);
        Ok(StoreRepairReport { duration, ..report })
    }

    fn fill(&self, salvage: &mut Salvage<'_>, target: &mut Target) -> Result<StoreRepairReport> {
        let mut report = None;
        target.make_store(|disk, dir| {
            let options =
                EngineOptions { page_size: salvage.page_size() as u32, ..EngineOptions::default() };
            let engine = Engine::create(disk.clone(), dir, options)?;
            let made = self.move_records(salvage, &engine);
            // A failed repair is removed with its folder; closing it well matters only where it is kept.
            let closed = engine.close();
            report = Some(made?);
            closed
        })?;
        carry(&*self.disk, &self.dir, target.folder())?;
        report.ok_or_else(|| Error::new(ErrorKind::Invalid, "the repair made no store"))
    }

    fn move_records(
        &self,
        salvage: &mut Salvage<'_>,
        engine: &Engine,
    ) -> Result<StoreRepairReport> {
        let mut writer = Writer::new(engine);
        salvage.find_tables()?;
        for (id, table) in &salvage.tables {
            writer.define(*id, table.definition.as_deref())?;
        }
        salvage.walk(&mut |table, key, value| writer.put(table, key, Some(value)))?;
        let log = Log::open(&self.disk, &self.dir, salvage.store());
        let checkpoint = salvage.meta().map(|meta| meta.lsn);
        let mut in_log = BTreeSet::new();
        log.before(checkpoint.unwrap_or(0), &mut |table, key, value| {
            if !salvage.is_lost(table, key) {
                return Ok(());
            }
            match value {
                Some(_) => in_log.insert((table, key.to_vec())),
                None => in_log.remove(&(table, key.to_vec())),
            };
            writer.put(table, key, value)
        })?;
        salvage.take_lost(&mut |table, key, value| {
            in_log.remove(&(table, key.to_vec()));
            writer.put(table, key, Some(value))
        })?;
        let mut problems = log.problems.clone();
        let applied = log.after(checkpoint.unwrap_or(0), &mut writer, &mut problems)?;
        writer.flush()?;
        Ok(StoreRepairReport {
            dir: self.new_dir.clone(),
            tables: writer.report(salvage, &in_log, MOST)?,
            checkpoint_lsn: checkpoint,
            reached_leaves: salvage.leaves,
            found_leaves: salvage.orphans,
            log_commits: applied.commits,
            log_end: applied.last,
            log_problems: problems,
            uncertain: salvage.is_uncertain(),
            duration: Duration::ZERO,
        })
    }
}

/// The log of the damaged store, as far as it can be read.
struct Log {
    files: Option<LogFile>,
    store: Option<StoreId>,
    problems: Vec<Error>,
}

/// What was applied of it.
#[derive(Default)]
struct Applied {
    commits: u64,
    last: Option<Lsn>,
}

/// Takes an operation of the log: table, key, and the value or `None` for a removal.
type TakeOp<'t> = &'t mut dyn FnMut(TableId, &[u8], Option<&[u8]>) -> Result<()>;

impl Log {
    fn open(disk: &Arc<dyn Disk>, dir: &Path, store: Option<StoreId>) -> Log {
        let mut problems = Vec::new();
        let files = LogFile::at_hand(disk, &dir.join(LOG_DIR), &Keys::none(), &mut problems);
        let files = files.map_err(|error| problems.push(error)).ok();
        Log { files, store, problems }
    }

    /// Hands out the groups of commits from `from` to `to`, in order, and gives what cannot be read.
    fn groups(
        &self,
        (from, to): (Lsn, Lsn),
        take: &mut dyn FnMut(Lsn, &[crate::engine::Batch]) -> Result<()>,
    ) -> Result<Vec<Error>> {
        let mut damage = Vec::new();
        let mut done = from.saturating_sub(1);
        let segments = self.files.iter().flat_map(|files| files.parts());
        for segment in segments {
            let ours = self.store.is_none_or(|store| segment.header().store_id == store);
            if !ours || segment.last() <= done {
                continue;
            }
            let mut taking = Ok(());
            let read = segment.read(&mut |group, contexts| {
                if let Some(group) = segment.foreign(group, contexts, done, to)? {
                    let last = group.last_lsn();
                    let first = group.first_lsn;
                    let batches: Vec<_> =
                        group.commits.into_iter().map(|(_, batch)| batch).collect();
                    taking = take(first, &batches);
                    done = last;
                }
                match taking.is_err() || done >= to {
                    true => Ok(ControlFlow::Break(())),
                    false => Ok(ControlFlow::Continue(())),
                }
            });
            taking?;
            if let Err(error) = read {
                damage.push(error);
            }
        }
        Ok(damage)
    }

    /// Hands out the operations up to the commit `checkpoint`. What cannot be read of them is in pages.
    fn before(&self, checkpoint: Lsn, take: TakeOp<'_>) -> Result<()> {
        if checkpoint == 0 {
            return Ok(());
        }
        let _in_pages = self.groups((1, checkpoint), &mut |_, batches| {
            for op in batches.iter().flat_map(|batch| batch.ops()) {
                if op.table != CATALOGUE {
                    take(op.table, &op.key, op.value.as_ref().map(|value| value.bytes()))?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Applies the commits after `checkpoint`.
    fn after(
        &self,
        checkpoint: Lsn,
        writer: &mut Writer<'_>,
        problems: &mut Vec<Error>,
    ) -> Result<Applied> {
        let mut applied = Applied::default();
        let mut next = checkpoint + 1;
        let mut gaps = Vec::new();
        let damage = self.groups((checkpoint + 1, Lsn::MAX), &mut |first, batches| {
            if first > next && checkpoint > 0 {
                let message = format!("the log's commits {next} to {} are missing", first - 1);
                gaps.push(Error::new(ErrorKind::Corrupt, message).with_code(code::LOG_GAP));
            }
            for batch in batches {
                batch.ops().iter().try_for_each(|op| {
                    let value = op.value.as_ref().map(|value| value.bytes());
                    writer.apply(op.table, &op.key, value)
                })?;
            }
            next = first + batches.len() as u64;
            applied.commits += batches.len() as u64;
            applied.last = Some(next - 1);
            Ok(())
        })?;
        problems.extend(damage);
        problems.append(&mut gaps);
        Ok(applied)
    }
}
