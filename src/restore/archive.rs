//! An archive, and what can be done with it.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::target::Target;
use crate::archive::{ArchiveFile, Progress, Verified};
use crate::disk::{Disk, RealDisk};
use crate::engine::tree::open_read_only;
use crate::engine::{DATA_FILE, Lsn, Snapshot};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::ReadHandle;
use crate::store::papers::{BackupHeader, BackupResults};

/// An archive that a backup wrote, opened read-only.
///
/// Opening reads its ends and its papers, not its content: damage elsewhere shows when it is read,
/// and [`verify`](Archive::verify) reads all.
#[derive(Clone)]
pub struct Archive {
    disk: Arc<dyn Disk>,
    file: Arc<ArchiveFile>,
    header: BackupHeader,
    results: BackupResults,
}

impl Archive {
    /// Opens the archive at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] (1410); [`ErrorKind::Unsupported`] for what is no archive;
    /// [`ErrorKind::Corrupt`] (1411) for one that is cut short or damaged where it was looked at.
    pub fn open(path: impl AsRef<Path>) -> Result<Archive> {
        Archive::open_on(RealDisk::new(), path)
    }

    /// The same on another disk, for tests of an application on a simulated one.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open_on(disk: Arc<dyn Disk>, path: impl AsRef<Path>) -> Result<Archive> {
        let path = path.as_ref();
        let file = ArchiveFile::open(&*disk, path).map_err(numbered)?;
        let header = serde_json::from_value(file.header().app.clone());
        let results = serde_json::from_value(file.manifest().results.clone());
        let (header, results) = header.and_then(|header| Ok((header, results?))).map_err(|e| {
            Error::new(ErrorKind::Unsupported, "the archive was not written by a backup of a store")
                .at(path)
                .because(e)
        })?;
        Ok(Archive { disk, file, header, results })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// What was known when the commit was pinned.
    pub fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// What was known at the end of the backup.
    pub fn results(&self) -> &BackupResults {
        &self.results
    }

    /// Paths and lengths of the files in it.
    pub fn files(&self) -> impl Iterator<Item = (String, u64)> {
        self.file.entries().iter().map(|entry| {
            (entry.meta.path.as_path().to_string_lossy().into_owned(), entry.meta.size)
        })
    }

    /// Reads and checks every byte.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] (1411) with the place of the first damage.
    pub fn verify(&self) -> Result<Verified> {
        self.verify_with(|_| ControlFlow::Continue(()))
    }

    /// The same, telling `progress`, which may stop it (1406).
    ///
    /// # Errors
    /// As [`Archive::verify`].
    pub fn verify_with(
        &self,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Verified> {
        self.file.verify(0, &mut progress).map_err(numbered)
    }

    /// The store in it, read in place: nothing is unpacked but the pages that are read.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an archive of the structure alone; [`ErrorKind::Corrupt`].
    pub fn read(&self) -> Result<ReadHandle> {
        let entry = self.file.find(DATA_FILE).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "the archive holds the structure only, and no records")
                .at(self.path())
        })?;
        let data = self.file.entry_file(entry)?;
        let checkpoint = open_read_only(data, self.path().join(DATA_FILE))?;
        if checkpoint.lsn() != self.header.lsn {
            return Err(Error::corrupt(
                self.path(),
                "header and data file are of different commits",
            ));
        }
        Ok(ReadHandle::unguarded(Snapshot::of_checkpoint(checkpoint)?))
    }

    /// A restore into the folder `dir`, which must not be there.
    pub fn restore(&self, dir: impl AsRef<Path>) -> RestoreBuilder<'_> {
        RestoreBuilder {
            archive: self,
            dir: dir.as_ref().to_path_buf(),
            workers: 0,
            progress: None,
        }
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(super) fn file(&self) -> &Arc<ArchiveFile> {
        &self.file
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("path", &self.path())
            .field("lsn", &self.header.lsn)
            .finish_non_exhaustive()
    }
}

/// Damage and absence of an archive have numbers of their own.
fn numbered(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => {
            error.with_code(code::ARCHIVE_MISSING).hint("Check the path of the archive.")
        }
        ErrorKind::Corrupt => error.with_code(code::CHECK),
        _ => error,
    }
}

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
    /// [`ErrorKind::Exists`] where `dir` is there; [`ErrorKind::StorageFull`]; damage (1411).
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
