//! What a restore is asked to do, and doing it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::archive::{Archive, numbered};
use super::delta;
use super::job::{Choice, Job, Part};
use super::only;
use super::pour::{bytes_to_unpack, pour};
use super::target::{Target, check_pages};
use crate::archive::Progress;
use crate::engine::Lsn;
use crate::error::Result;
use crate::lock::Contents;

pub(super) type Tell<'a> = Box<dyn FnMut(Progress) -> ControlFlow<()> + 'a>;

/// The options of a restore; [`run`](RestoreBuilder::run) it.
#[must_use = "nothing is restored before it is run"]
pub struct RestoreBuilder<'a> {
    archive: &'a Archive,
    dir: PathBuf,
    choice: Choice,
    delta: bool,
    workers: usize,
    progress: Option<Tell<'a>>,
}

/// What a restore did.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct RestoreReport {
    /// The store that it made.
    pub dir: PathBuf,
    /// The commit that the store is at.
    pub lsn: Lsn,
    /// Bytes that were written.
    pub bytes: u64,
    /// Bytes that were right already, and kept: of a delta restore.
    pub kept_bytes: u64,
    /// Files that were restored, attachments included.
    pub files: usize,
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

    /// Structure, data (which brings its structure along), both, or neither: then only the
    /// attachments are restored. Without data the store has its tables, and no records.
    pub fn contents(mut self, contents: Contents) -> Self {
        self.choice.contents = contents;
        self
    }

    /// Whether the attachments are restored; they are by default.
    pub fn attachments(mut self, attachments: bool) -> Self {
        self.choice.attachments = attachments;
        self
    }

    /// Restores into the folder of an older copy of the store, which nobody may have open: pages
    /// that are right there are kept, the others are written. The log of that copy, and attachments
    /// that the archive has too, are set aside in the folder under another name.
    ///
    /// From the first page that is written until the end there is no store in the folder; after a
    /// crash or an error the same restore, run again, finishes it. What is only needed for as long
    /// as nothing fails should not be restored this way: the old copy is gone.
    pub fn delta(mut self, delta: bool) -> Self {
        self.delta = delta;
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

    /// Makes the store.
    ///
    /// # Durability
    /// When it returns, the store survives a power loss. A crash before that leaves no store.
    ///
    /// # Errors
    /// [`Exists`](crate::ErrorKind::Exists) where `dir` is there; [`StorageFull`](crate::ErrorKind::StorageFull); damage (1411).
    /// Nothing is left behind.
    pub fn run(self) -> Result<RestoreReport> {
        let disk = self.archive.disk().clone();
        let start = disk.elapsed();
        let job = Job::of(self.archive, &self.choice)?;
        let mut silent: Tell<'_> = Box::new(|_| ControlFlow::Continue(()));
        let mut tell = self.progress;
        let tell = tell.as_mut().unwrap_or(&mut silent);
        if self.delta {
            let done = delta::run(&job, &self.dir, self.workers, tell).map_err(numbered)?;
            return Ok(RestoreReport {
                lsn: self.archive.header().lsn,
                bytes: done.bytes,
                kept_bytes: done.kept,
                files: done.files,
                duration: disk.elapsed().saturating_sub(start),
                dir: self.dir,
            });
        }
        let mut target = Target::begin(&disk, &self.dir, job.data_bytes() + job.entry_bytes())?;
        let restored = fill(&job, &mut target, self.workers, tell)
            .map_err(numbered)
            .and_then(|()| target.finish());
        match restored {
            Ok((files, bytes)) => Ok(RestoreReport {
                dir: self.dir,
                lsn: self.archive.header().lsn,
                bytes,
                kept_bytes: 0,
                files,
                duration: disk.elapsed().saturating_sub(start),
            }),
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
                check_pages(&**disk, &path, archive.header())?;
            }
        }
        Part::Tables(tables) => {
            let read = archive.read()?;
            target.make_store(|dir| {
                only::make_store(disk, dir, archive, tables, Some(&read), tell)
            })?;
        }
        Part::Structure(tables) => {
            target.make_store(|dir| only::make_store(disk, dir, archive, tables, None, tell))?;
        }
        Part::Nothing => {}
    }
    archive.file().extract(|entry| job.takes(entry), workers, target, &mut |progress| {
        tell(Progress { done: before + progress.done, total: before + entries })
    })?;
    match job.as_parent() {
        Some(parent) => target.remember(parent),
        None => Ok(()),
    }
}
