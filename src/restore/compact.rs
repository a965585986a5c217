//! Compaction: a store is rewritten without free pages, in its folder or into a new one.
//!
//! Invariants: the store is locked from its opening to the end, and recovered first. The new data file
//! is checked page by page and compared with the store record by record before anything is replaced; the
//! old one is removed only after the compacted store has been opened. Log, settings, journal and
//! attachments stay as they are. The pages of the new file are in no archive, so the next incremental
//! backup is a full one.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::carried::carry;
use super::target::Target;
use crate::archive::Progress;
use crate::disk::atomic::{parent, remove_tree, with_name};
use crate::disk::{Access, Disk, RealDisk};
use crate::engine::replacement::{KeepAs, Replacement, Scope};
use crate::engine::tree::verify_data_file;
use crate::engine::{
    AncestryFile, DATA_FILE, DirLock, Engine, LOG_DIR, Lsn, Snapshot, compare_compacted,
    locate_locked, write_compacted,
};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::{BackupState, RestoredTo, Store};

/// What the old files are called where they are kept.
const BEFORE: &str = "before-compact";
/// Records between two reports of progress.
const STEP: u64 = 4096;

type Report = Box<dyn Fn(Progress) -> ControlFlow<()>>;

/// A compaction of the store in a folder; [`run`](Compact::run) it.
///
/// ```
/// use stillpoint::{Compact, Store, TableDef};
///
/// const VISITS: TableDef<u64, String> = TableDef::new("visits");
///
/// # fn main() -> stillpoint::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let dir = folder.path().join("shop");
/// let store = Store::create(&dir)?;
/// store.transact(|write| {
///     let visits = write.table(VISITS)?;
///     (0..5000).try_for_each(|n| visits.put(&n, &"a visit".to_owned()).map(drop))
/// })?;
/// store.checkpoint()?;
/// store.transact(|write| {
///     let visits = write.table(VISITS)?;
///     (0..4900).try_for_each(|n| visits.delete(&n).map(drop))
/// })?;
/// store.close()?;
///
/// let report = Compact::new(&dir).run()?;
/// assert!(report.bytes_after < report.bytes_before);
/// assert_eq!(report.records, 100);
/// # Ok(()) }
/// ```
#[must_use = "nothing is compacted before it is run"]
pub struct Compact {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    to: Option<PathBuf>,
    keep_old: bool,
    progress: Option<Report>,
}

/// What a compaction did.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub struct CompactReport {
    /// The compacted store.
    pub dir: PathBuf,
    /// The commit that it is at: the same as before.
    pub lsn: Lsn,
    /// Tables in it.
    pub tables: u64,
    /// Records in them, each of which was compared with the old one.
    pub records: u64,
    /// Bytes of the data file before.
    pub bytes_before: u64,
    /// Bytes of the data file now.
    pub bytes_after: u64,
    /// The folder of the old data file, where it was kept.
    pub old: Option<PathBuf>,
    /// How long it took.
    pub duration: Duration,
}

impl Compact {
    /// A compaction of the store in `dir`, which nobody may have open.
    pub fn new(dir: impl Into<PathBuf>) -> Compact {
        let disk = RealDisk::new();
        Compact { disk, dir: dir.into(), to: None, keep_old: false, progress: None }
    }

    /// Makes a compacted copy in this new folder, and leaves the store as it is. The copy begins with an
    /// empty log; its next commit begins a timeline of its own, as that of a restored store does.
    pub fn to(mut self, new_dir: impl Into<PathBuf>) -> Self {
        self.to = Some(new_dir.into());
        self
    }

    /// Keeps the old data file beside the store (`NAME.before-compact`), or in its folder
    /// `set-aside` where no folder can be renamed. By default it is removed once the compacted
    /// store has been opened.
    pub fn keep_old(mut self, keep: bool) -> Self {
        self.keep_old = keep;
        self
    }

    /// Calls `report` with the records that were written, and then compared; `Break` stops the
    /// compaction (1406), and the store is as it was.
    pub fn on_progress(mut self, report: impl Fn(Progress) -> ControlFlow<()> + 'static) -> Self {
        self.progress = Some(Box::new(report));
        self
    }

    /// On another disk, for tests of an application on a simulated one.
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// Does it. In place it needs room for the compacted data file beside the old one.
    ///
    /// # Durability
    /// When it returns, the compacted store survives a power loss. After a crash the old store or the
    /// compacted one is there, complete; both are at the same commit.
    ///
    /// # Locks
    /// The store is locked as by an opening.
    ///
    /// # Errors
    /// Those of opening the store, of which [`ErrorKind::Corrupt`] for a damaged one (see
    /// [`StoreRepair`](crate::StoreRepair)); [`ErrorKind::Exists`] for a new folder that is there;
    /// [`ErrorKind::StorageFull`]; [`ErrorKind::Stopped`] (1406). The store is as it was.
    pub fn run(mut self) -> Result<CompactReport> {
        self.dir = with_name(&*self.disk, self.dir);
        let began = self.disk.elapsed();
        let store = Store::builder(&self.dir).disk(self.disk.clone()).open()?;
        store.checkpoint()?;
        let engine = &store.inner().engine;
        let lock = engine.keep_folder().ok_or_else(|| {
            Error::new(ErrorKind::Closed, "the store was closed meanwhile").at(&self.dir)
        })?;
        let before = self.length(&self.dir)?;
        let made = match &self.to {
            Some(to) => self.copy(engine, to)?,
            None => {
                let replacement = Replacement::begin(&self.dir, &lock)?;
                let made = self.rebuild(engine, &replacement);
                let made = made.inspect_err(|_| replacement.cancel())?;
                store.close()?;
                self.replace(replacement, made, &lock)?
            }
        };
        let dir = self.to.clone().unwrap_or_else(|| self.dir.clone());
        Ok(CompactReport {
            bytes_after: self.length(&dir)?,
            dir,
            lsn: made.lsn,
            tables: made.tables,
            records: made.records,
            bytes_before: before,
            old: made.old,
            duration: self.disk.elapsed().saturating_sub(began),
        })
    }

    fn length(&self, dir: &Path) -> Result<u64> {
        let path = dir.join(DATA_FILE);
        let found = self.disk.metadata(&path).map_err(|e| Error::io("look at", &path, e))?;
        Ok(found.len)
    }

    /// Writes the data file at `path` of `disk`, which gives it its owner, and proves it.
    fn write(
        &self,
        disk: &Arc<dyn Disk>,
        engine: &Engine,
        path: &Path,
        as_copy: bool,
    ) -> Result<Made> {
        let snapshot = engine.snapshot()?;
        let (position, history) = (engine.position(), engine.history());
        let records = count(&snapshot)?;
        let mut progress = Progress { done: 0, total: 2 * records };
        self.tell(progress)?;
        let mut step = || {
            progress.done += 1;
            match progress.done.is_multiple_of(STEP) {
                true => self.tell(progress),
                false => Ok(()),
            }
        };
        let disk = &**disk;
        write_compacted(disk, path, &snapshot, (&position, &history), as_copy, &mut step)?;
        let mut checked = |_, _| ControlFlow::Continue(());
        verify_data_file(disk, path, &mut checked)?.into_result(path)?;
        let (tables, records) = compare_compacted(disk, path, &snapshot, &mut step)?;
        Ok(Made { lsn: position.lsn, tables, records, old: None })
    }

    fn tell(&self, progress: Progress) -> Result<()> {
        match self.progress.as_ref().map(|report| report(progress)) {
            Some(ControlFlow::Break(())) => {
                let stopped = Error::new(ErrorKind::Stopped, "the compaction was stopped");
                Err(stopped.with_code(code::STOPPED).at(&self.dir))
            }
            _ => Ok(()),
        }
    }

    /// Makes the files that replace those of the store.
    fn rebuild(&self, engine: &Engine, replacement: &Replacement) -> Result<Made> {
        let new = replacement.new_store();
        let disk = engine.disk();
        disk.create_dir(&new).map_err(|e| Error::io("create the folder", &new, e))?;
        let made = self.write(disk, engine, &new.join(DATA_FILE), false)?;
        let mut state = BackupState::load(&*self.disk, &self.dir)?;
        // Incremental backups go by pages, and these are in no archive.
        state.parents.clear();
        state.save(&**disk, &new)?;
        for folder in [&*new, parent(&new)] {
            let synced = disk.sync_dir(folder);
            synced.map_err(|e| Error::io("sync the folder", folder, e))?;
        }
        Ok(made)
    }

    fn replace(&self, replacement: Replacement, made: Made, lock: &DirLock) -> Result<Made> {
        let beside = self.keep_old.then(|| format!(".{BEFORE}"));
        let keep = KeepAs { within: BEFORE.to_owned(), beside };
        let old = replacement.put_in_place(Scope::SameNames, &keep)?;
        let kept =
            |error: Error| error.hint(format!("The old files are kept in \"{}\".", old.display()));
        let opened = locate_locked(&self.dir, lock).map_err(kept)?;
        if opened.position.lsn != made.lsn {
            let what = format!("it is at LSN {}", opened.position.lsn);
            let message = format!("the compacted store is not at LSN {}: {what}", made.lsn);
            return Err(kept(Error::corrupt(self.dir.join(DATA_FILE), message)));
        }
        if self.keep_old {
            return Ok(Made { old: Some(old), ..made });
        }
        remove_tree(&*self.disk, &old).map_err(|e| Error::io("remove the old files", &old, e))?;
        // It may hold what others have set aside.
        let _holds_others = self.disk.remove_dir(parent(&old));
        Ok(made)
    }

    /// Makes a store in the folder `to`.
    fn copy(&self, engine: &Engine, to: &Path) -> Result<Made> {
        let mut target = Target::begin(&self.disk, to, 0, model_of(&*self.disk, &self.dir)?)?;
        let made = self.fill(engine, &mut target).and_then(|made| {
            target.finish()?;
            Ok(made)
        });
        made.inspect_err(|_| target.give_up())
    }

    fn fill(&self, engine: &Engine, target: &mut Target) -> Result<Made> {
        target.make_folder_of(LOG_DIR)?;
        let made = self.write(target.disk(), engine, &target.folder().join(DATA_FILE), true)?;
        let history = engine.history();
        AncestryFile::write(&**target.disk(), target.folder(), &history.ancestry)?;
        carry(&*self.disk, &self.dir, target.folder())?;
        target.remember(RestoredTo { lsn: made.lsn, timeline: history.tip().into() }, None)?;
        Ok(made)
    }
}

fn count(snapshot: &Snapshot) -> Result<u64> {
    snapshot.catalogue().iter().map(|table| snapshot.len(table.id)).sum()
}

/// What was made.
struct Made {
    lsn: Lsn,
    tables: u64,
    records: u64,
    old: Option<PathBuf>,
}

/// A copy belongs to whom the data file belongs to.
fn model_of(disk: &dyn Disk, dir: &Path) -> Result<Option<Access>> {
    let path = dir.join(DATA_FILE);
    Access::at(disk, &path).map_err(|e| Error::io("look at", &path, e))
}
