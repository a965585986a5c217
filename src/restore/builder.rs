//! What a restore is asked to do, and doing it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::archive::{Archive, numbered};
use super::target::Target;
use crate::archive::Progress;
use crate::engine::Lsn;
use crate::error::Result;

type Tell<'a> = Box<dyn FnMut(Progress) -> ControlFlow<()> + 'a>;

/// The options of a restore; [`run`](RestoreBuilder::run) it.
#[must_use = "nothing is restored before it is run"]
pub struct RestoreBuilder<'a> {
    archive: &'a Archive,
    dir: PathBuf,
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
    /// Bytes that were restored.
    pub bytes: u64,
    /// Files that were restored, attachments included.
    pub files: usize,
    /// How long it took.
    pub duration: Duration,
}

impl<'a> RestoreBuilder<'a> {
    pub(super) fn new(archive: &'a Archive, dir: &Path) -> RestoreBuilder<'a> {
        RestoreBuilder { archive, dir: dir.to_path_buf(), workers: 0, progress: None }
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
        let mut silent: Tell<'_> = Box::new(|_| ControlFlow::Continue(()));
        let mut tell = self.progress;
        let tell = tell.as_mut().unwrap_or(&mut silent);
        let mut target = Target::begin(&disk, &self.dir, self.archive.header().source_bytes)?;
        let restored = self
            .archive
            .file()
            .extract(|_| true, self.workers, &mut target, tell)
            .map_err(numbered)
            .and_then(|()| target.make_structure(&self.archive.header().tables))
            .and_then(|()| target.finish());
        match restored {
            Ok((files, bytes)) => Ok(RestoreReport {
                dir: self.dir,
                lsn: self.archive.header().lsn,
                bytes,
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
