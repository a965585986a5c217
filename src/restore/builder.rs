//! What a restore is asked to do, and doing it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::archive::{Archive, damage};
use super::chain::ChainLink;
use super::delta::{self, DiscardedCommits};
use super::job::{Choice, Job, Part};
use super::log_file::LogFile;
use super::only;
use super::point::{Logs, RestorePoint, Roll, Rolled, Start};
use super::pour::{bytes_to_unpack, pour};
use super::target::{Target, check_free_space, check_pages};
use crate::archive::{Progress, ReadRepair, merged};
use crate::disk::Access;
use crate::engine::{Engine, History, Lsn, Timeline};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::Contents;
use crate::store::TablePaper;

pub(super) type Tell<'a> = Box<dyn FnMut(Progress) -> ControlFlow<()> + 'a>;

/// The options of a restore; [`run`](RestoreBuilder::run) it.
#[must_use = "nothing is restored before it is run"]
pub struct RestoreBuilder<'a> {
    archive: &'a Archive,
    dir: PathBuf,
    choice: Choice,
    delta: bool,
    discard_newer: bool,
    /// The logs that are named, and the folders in which others may lie.
    logs: Vec<PathBuf>,
    log_folders: Vec<PathBuf>,
    /// The history that is meant, where there are several.
    along: Option<History>,
    point: RestorePoint,
    workers: usize,
    progress: Option<Tell<'a>>,
}

/// What a restore would do.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RestorePlan {
    /// The folder of the store that it would make.
    pub dir: PathBuf,
    /// Whether pages of an older copy there would be kept.
    pub delta: bool,
    /// Commits of that copy which the restored store would not have: [`RestoreBuilder::run`] refuses
    /// to throw them away unless [`discard_newer`](RestoreBuilder::discard_newer) was asked for.
    pub discards: Option<DiscardedCommits>,
    /// The commit of the archive.
    pub archive_lsn: Lsn,
    /// The archives that would be read, the newest first: it, and what it goes on from.
    pub chain: Vec<ChainLink>,
    /// The tables that the store would have.
    pub tables: Vec<TablePaper>,
    /// The parts of logs that would be applied, in order.
    pub logs: Vec<PlannedLog>,
    /// The commit that the store would be at.
    pub lsn: Lsn,
    /// Whether archive and logs go on until the point. They may end before a time: what was committed
    /// between is in none of them.
    pub reaches_point: bool,
    /// Bytes that are needed at the target.
    pub bytes_needed: u64,
    /// Bytes that are free there.
    pub bytes_free: u64,
}

/// Part of a log that a restore would apply.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PlannedLog {
    /// The segment.
    pub path: PathBuf,
    /// The commits after this one,
    pub after: Lsn,
    /// through this one.
    pub last: Lsn,
}

/// What a restore did.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub struct RestoreReport {
    /// The store that it made.
    pub dir: PathBuf,
    /// The commit that the store is at.
    pub lsn: Lsn,
    /// The timeline of that commit; `None` where it is no store or one of its own: of chosen tables, or of
    /// the structure alone.
    pub timeline: Option<Timeline>,
    /// The commit that the archive was at.
    pub archive_lsn: Lsn,
    /// The number of the backup that the archive is.
    pub number: u32,
    /// Whether records are in the archive.
    pub data: bool,
    /// Whether archive and logs went on until the point. They may end before a time: what was committed
    /// between is in none of them.
    pub reached_point: bool,
    /// Commits that were applied from logs.
    pub commits: u64,
    /// Operations in them.
    pub operations: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// Bytes that were right already, and kept: of a delta restore.
    pub kept_bytes: u64,
    /// Commits of the older copy that a delta restore threw away.
    pub discarded: Option<DiscardedCommits>,
    /// Files that were restored, attachments included.
    pub files: usize,
    /// Archives that are damaged, and that were read through their parity.
    pub read_repairs: Vec<ReadRepair>,
    /// How long it took.
    pub duration: Duration,
}

impl<'a> RestoreBuilder<'a> {
    pub(super) fn new(archive: &'a Archive, dir: &Path) -> RestoreBuilder<'a> {
        RestoreBuilder {
            archive,
            dir: dir.to_path_buf(),
            choice: Choice::default(),
            delta: false,
            discard_newer: false,
            logs: Vec::new(),
            log_folders: Vec::new(),
            along: None,
            point: RestorePoint::Newest,
            workers: 0,
            progress: None,
        }
    }

    /// Restores these tables only, into a store of their own with another identity: no log and no
    /// incremental archive of the store that they come from applies to it.
    pub fn only_tables<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.choice.tables = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Structure, data (which brings its structure along), both, or neither: then only attachments
    /// and settings are restored. Without data the store has its tables, and no records.
    pub fn contents(mut self, contents: Contents) -> Self {
        self.choice.contents = contents;
        self
    }

    /// Whether the attachments are restored; they are by default.
    pub fn attachments(mut self, attachments: bool) -> Self {
        self.choice.attachments = attachments;
        self
    }

    /// Whether the settings that the archive holds are restored into the folder `Settings` of the
    /// store; they are by default. They say where the store is backed up to, and what is kept there: a
    /// copy that goes its own way needs others.
    pub fn settings(mut self, settings: bool) -> Self {
        self.choice.settings = settings;
        self
    }

    /// Restores into the folder of an older copy of the store, which nobody may have open: pages
    /// that are right there are kept, the others are written. The log of that copy, and attachments
    /// that the archive has too, are kept in its folder `set-aside`. Commits of the copy that the restored
    /// store would not have are thrown away only where
    /// [`discard_newer`](RestoreBuilder::discard_newer) is asked for.
    ///
    /// Archives and logs are read, and all files but the pages are in place, before the first page is
    /// written; a failure until then leaves the old copy as it is. From then on there is no store in the
    /// folder until the end; after a crash or an error the same restore, run again, finishes it. A log
    /// that lies on another disk stays there: what it holds is set aside in its folder.
    pub fn delta(mut self, delta: bool) -> Self {
        self.delta = delta;
        self
    }

    /// Lets a delta restore throw away commits of the older copy that are not in the restored store; by
    /// default it is refused then. [`RestorePlan::discards`] tells which they are.
    pub fn discard_newer(mut self, discard: bool) -> Self {
        self.discard_newer = discard;
        self
    }

    /// Applies this log too: a segment, a log archive, or a folder of them. It must belong to the
    /// history of the archive. May be called for several; the order is found out.
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.logs.push(path.into());
        self
    }

    /// Applies what belongs to the history of the archive of the logs in this folder.
    pub fn logs_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.log_folders.push(folder.into());
        self
    }

    /// Takes only what is of this history of what lies in the folders.
    pub(super) fn along(mut self, history: History) -> Self {
        self.along = Some(history);
        self
    }

    /// How far the logs are applied; by default, all of them.
    pub fn to(mut self, point: RestorePoint) -> Self {
        self.point = point;
        self
    }

    /// Threads that unpack; 0, the default, takes one for each processor.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Told how far the restore is; `Break` stops it (1406) and leaves nothing behind.
    pub fn on_progress(mut self, tell: impl FnMut(Progress) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Some(Box::new(tell));
        self
    }

    /// Says what [`run`](RestoreBuilder::run) would do, and finds what can be found wrong before it.
    /// Reads the logs, which say how far a time leads, and writes nothing.
    ///
    /// # Errors
    /// As [`RestoreBuilder::run`], but for damage in the archives, whose bodies are not read:
    /// [`Archive::verify`] and [`Archive::verify_chain`] do that.
    pub fn plan(&self) -> Result<RestorePlan> {
        let disk = self.archive.disk();
        let job = Job::of(self.archive, &self.choice)?;
        let logs = self.open_logs()?;
        let roll = self.roll(&job, &logs)?;
        let (bytes, discards) = match self.delta {
            true => {
                job.check_whole()?;
                delta::plan(&job, &self.dir, roll.as_ref())?
            }
            false => (job.data_bytes() + job.entry_bytes(), None),
        };
        let bytes_needed = bytes + logs.bytes();
        let bytes_free = match self.delta {
            true => check_free_space(disk, &self.dir, bytes_needed)?,
            false => Target::check(disk, &self.dir, bytes_needed)?,
        };
        let archive_lsn = self.archive.header().lsn;
        let lsn = roll.as_ref().map_or(Ok(archive_lsn), Roll::end)?;
        let leg = |leg: &super::log_file::Leg<'_>| PlannedLog {
            path: leg.segment.path().to_path_buf(),
            after: leg.after,
            last: leg.upto.min(lsn),
        };
        Ok(RestorePlan {
            dir: self.dir.clone(),
            delta: self.delta,
            discards,
            archive_lsn,
            chain: match job.part {
                Part::Whole(_) | Part::Tables(_) => self.archive.chain()?,
                Part::Structure(_) | Part::Nothing => Vec::new(),
            },
            tables: job.tables().to_vec(),
            lsn,
            reaches_point: roll.as_ref().is_none_or(Roll::reaches_point),
            logs: roll
                .iter()
                .flat_map(|roll| &roll.course.legs)
                .filter(|leg| leg.after < lsn)
                .map(leg)
                .collect(),
            bytes_needed,
            bytes_free,
        })
    }

    fn open_logs(&self) -> Result<Logs> {
        let (disk, keys) = (self.archive.disk(), self.archive.keys());
        let open = |path: &PathBuf| LogFile::open_on_with(disk.clone(), path, keys);
        let named = self.logs.iter().map(open).collect::<Result<_>>()?;
        let mut unread = Vec::new();
        let mut at_hand = Vec::new();
        for folder in &self.log_folders {
            at_hand.push(LogFile::at_hand(disk, folder, keys, &mut unread)?);
        }
        Ok(Logs { named, at_hand, along: self.along.clone(), unread })
    }

    /// The way from the archive to the point; `None` where the archive is the point.
    fn roll<'l>(&self, job: &Job<'_>, logs: &'l Logs) -> Result<Option<Roll<'l>>> {
        if logs.is_empty() && logs.unread.is_empty() && self.point == RestorePoint::Newest {
            return Ok(None);
        }
        if !matches!(job.part, Part::Whole(_)) {
            let why = "logs are applied to a whole store only";
            let error = Error::new(ErrorKind::Invalid, why).at(self.archive.path());
            return Err(error.hint("Restore all of it, and take out of the copy what is wanted."));
        }
        let header = self.archive.header();
        let start = Start {
            store: header.store_id,
            history: self.archive.history()?,
            time: header.commit_time,
            // Its commit was pinned after it had begun.
            complete_until: header.started,
        };
        Roll::plan(logs, &start, self.point).map(Some)
    }

    /// Makes the store.
    ///
    /// # Durability
    /// When it returns, the store survives a power loss. A crash before that leaves no store.
    ///
    /// # Errors
    /// [`Exists`](crate::ErrorKind::Exists) where something is at `dir`, unless it is an empty folder;
    /// [`Invalid`](crate::ErrorKind::Invalid) where a delta restore would throw commits away and was not
    /// asked to; [`StorageFull`](crate::ErrorKind::StorageFull);
    /// damage of the archive (1411) or of a log (1413); where the logs do not lead to the point:
    /// 2010 for a gap, 1416 for another history. Nothing is left behind.
    pub fn run(self) -> Result<RestoreReport> {
        let disk = self.archive.disk().clone();
        let start = disk.elapsed();
        let job = Job::of(self.archive, &self.choice)?;
        let logs = self.open_logs()?;
        let roll = self.roll(&job, &logs)?;
        let header = self.archive.header();
        let (archive_lsn, number, data) = (header.lsn, header.number, header.data);
        let whole = matches!(job.part, Part::Whole(_));
        let report = |rolled: &Rolled, (files, bytes, kept_bytes), discarded| RestoreReport {
            dir: self.dir.clone(),
            lsn: rolled.lsn,
            timeline: whole.then(|| rolled.timeline.unwrap_or_else(|| header.timeline.into())),
            archive_lsn,
            number,
            data,
            reached_point: roll.as_ref().is_none_or(Roll::reaches_point),
            commits: rolled.commits,
            operations: rolled.operations,
            bytes,
            kept_bytes,
            discarded,
            files,
            read_repairs: merged(
                self.archive.read_repairs().into_iter().chain(logs.read_repairs()),
            ),
            duration: disk.elapsed().saturating_sub(start),
        };
        let mut rolled = Rolled { lsn: archive_lsn, ..Rolled::default() };
        let mut silent: Tell<'_> = Box::new(|_| ControlFlow::Continue(()));
        let mut tell = self.progress;
        let tell = tell.as_mut().unwrap_or(&mut silent);
        if self.delta {
            let onward = roll.as_ref().map(|roll| (roll, logs.bytes()));
            let (done, rolled) =
                delta::run(&job, &self.dir, onward, self.discard_newer, self.workers, tell)?;
            return Ok(report(&rolled, (done.files, done.bytes, done.kept), done.discarded));
        }
        let needed = job.data_bytes() + job.entry_bytes() + logs.bytes();
        // Nobody reads in the store what he may not read in the archive.
        let path = self.archive.path();
        let model = Access::at(&*disk, path);
        let model = model.map_err(|e| Error::io("look at the archive", path, e))?;
        let mut target = Target::begin(&disk, &self.dir, needed, model)?;
        let restored = fill(&job, &mut target, self.workers, tell)
            .map_err(damage)
            .and_then(|()| match &roll {
                Some(roll) => {
                    let (dir, lock) = (target.folder(), target.lock()?);
                    let open = |options| Engine::open_held(disk.clone(), dir, options, lock);
                    rolled = roll.forward(&*disk, dir, logs.bytes(), tell, open)?;
                    Ok(())
                }
                None => Ok(()),
            })
            .and_then(|()| target.finish());
        match restored {
            Ok((files, bytes)) => Ok(report(&rolled, (files, bytes, 0), None)),
            Err(error) => {
                target.give_up();
                Err(error)
            }
        }
    }
}

/// Unpacks into the restore's own folder.
fn fill(job: &Job<'_>, target: &mut Target, workers: usize, tell: &mut Tell<'_>) -> Result<()> {
    let (archive, disk) = (job.archive, job.archive.disk());
    let entries = job.entry_bytes();
    let mut before = 0;
    match &job.part {
        Part::Whole(chain) => {
            let pieces = chain.pieces()?;
            before = bytes_to_unpack(chain, &pieces)?;
            let mut data = target.data_file(job.data_bytes())?;
            pour(chain, &pieces, workers, &mut data, &mut |progress| {
                tell(Progress { done: progress.done, total: before + entries })
            })?;
            let path = target.end_data_file(data)?;
            if !chain.is_single() {
                let mut poured = |_, _| tell(Progress { done: before, total: before + entries });
                check_pages(&**disk, &path, archive.header(), &mut poured)?;
            }
        }
        Part::Tables(tables) => {
            let read = archive.read()?;
            target.make_store(|disk, dir| {
                only::make_store(disk, dir, archive, tables, Some(&read), tell)
            })?;
        }
        Part::Structure(tables) => {
            target
                .make_store(|disk, dir| only::make_store(disk, dir, archive, tables, None, tell))?;
        }
        Part::Nothing => {}
    }
    archive.file().extract(|entry| job.takes(entry), workers, target, &mut |progress| {
        tell(Progress { done: before + progress.done, total: before + entries })
    })?;
    match job.restored_to() {
        Some(to) => target.remember(to, job.as_parent()),
        None => Ok(()),
    }
}
