//! Rollback: a store goes back to an earlier commit of its own history.
//!
//! The newest archive from which logs lead to the point is restored in a working folder and brought
//! forward through log archives and the store's own segments, along the way that the store came; where
//! it is damaged, an older one does. Then it replaces the store (`engine/replacement`).
//!
//! Invariants: the store is locked from the look at where it is to the end. It is kept under another
//! name, and a rollback that fails leaves it where it is.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::{Archive, numbered};
use super::builder::{RestoreBuilder, RestoreReport};
use super::carried::carry;
use super::point::RestorePoint;
use crate::archive::{Keys, Progress};
use crate::destination::Catalogue;
use crate::disk::{Disk, RealDisk};
use crate::engine::replacement::{self, KeepAs, Replacement, Scope};
use crate::engine::{History, LOG_DIR, Located, StoreId, locate};
use crate::error::{Error, ErrorKind, Result, code};

/// What the store that is kept is called, after the name of the store where it can lie beside it.
const BEFORE: &str = "before-rollback";

/// A rollback of the store in a folder; [`run`](Rollback::run) it.
#[must_use = "nothing is rolled back before it is run"]
pub struct Rollback {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    folders: Vec<PathBuf>,
    point: RestorePoint,
    keys: Keys,
    attachments: bool,
    progress: Option<SharedTell>,
}

/// Told how far the work is; `Break` stops it.
type SharedTell = Box<dyn Fn(Progress) -> ControlFlow<()>>;

/// What a rollback did.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub struct RollbackReport {
    /// The archive that it began with.
    pub archive: PathBuf,
    /// Where the store is now that was there before: beside the new one, as `NAME.before-rollback`, or,
    /// where the system lets no folder be renamed to there, in the folder `set-aside` of the new one.
    pub old: PathBuf,
    /// What was restored.
    pub restored: RestoreReport,
    /// Files of the application that the archive holds.
    pub attachments: usize,
    /// Whether they were brought back, into the folder `attachments` of the store. They are as of the
    /// archive's commit, [`restored.archive_lsn`](RestoreReport::archive_lsn): no log has them.
    pub attachments_restored: bool,
}

impl Rollback {
    /// A rollback of the store in `dir`, which nobody may have open, to `point`.
    pub fn new(dir: impl Into<PathBuf>, point: RestorePoint) -> Rollback {
        Rollback {
            disk: RealDisk::new(),
            dir: dir.into(),
            folders: Vec::new(),
            point,
            keys: Keys::none(),
            attachments: false,
            progress: None,
        }
    }

    /// Looks for archives and log archives in this folder. May be called for several.
    pub fn archives(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folders.push(folder.into());
        self
    }

    /// What opens archives that are encrypted.
    pub fn keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }

    /// Brings the attachments of the archive back too, into the folder `attachments` of the store: by
    /// default those of the application stay as they are, where they are. The application moves them to
    /// their places, or does so in [`Participant::restored`](crate::Participant::restored).
    pub fn attachments(mut self, attachments: bool) -> Self {
        self.attachments = attachments;
        self
    }

    /// Told how far the restore beside the store is; `Break` stops it (1406), and the store is as it
    /// was.
    pub fn on_progress(mut self, tell: impl Fn(Progress) -> ControlFlow<()> + 'static) -> Self {
        self.progress = Some(Box::new(tell));
        self
    }

    /// On another disk, for tests of an application on a simulated one.
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// Does it. The store as it was is kept; remove it when it is not needed any more. A log that lies on
    /// another disk stays there, and the old one is set aside in its folder.
    ///
    /// # Durability
    /// When it returns, the store survives a power loss. After a crash the old store or the new one is
    /// there; where the crash came between the two, the next opening finishes or undoes it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where no archive of this history before the point is there;
    /// [`ErrorKind::Invalid`] where there is nothing to roll back, and (2010) for a gap in the logs;
    /// [`ErrorKind::InUse`]; those of a restore. The store is as it was.
    pub fn run(mut self) -> Result<RollbackReport> {
        if self.dir.file_name().is_none() {
            let whole = self.disk.canonical(&self.dir);
            self.dir = whole.map_err(|e| Error::io("find the store", &self.dir, e))?;
        }
        replacement::settle(&self.disk, &self.dir)?;
        // What is found holds as long as nobody else can write.
        let Located { store, position, history, lock } = locate(&self.disk, &self.dir)?;
        if self.point.last() >= position.lsn && self.point.allows(position.time) {
            let why =
                format!("the store is at LSN {}: there is nothing to roll back", position.lsn);
            return Err(Error::new(ErrorKind::Invalid, why).at(&self.dir));
        }
        let replacement = Replacement::begin(&self.dir, &lock)?;
        let new = replacement.new_store();
        let made = self
            .restore(store, &history, &new)
            .and_then(|made| carry(&*self.disk, &self.dir, &new).map(|()| made));
        // What was built may be what the disk has no room for.
        let (archive, attachments, restored) = made.inspect_err(|_| replacement.cancel())?;
        let keep = KeepAs { within: BEFORE.to_owned(), beside: Some(format!(".{BEFORE}")) };
        let old = replacement.put_in_place(Scope::Everything, &keep)?;
        drop(lock);
        Ok(RollbackReport {
            archive,
            old,
            restored: RestoreReport { dir: self.dir, ..restored },
            attachments,
            attachments_restored: self.attachments && attachments > 0,
        })
    }

    /// Restores the newest archive from which the logs lead to the point.
    fn restore(
        &self,
        store: StoreId,
        history: &History,
        new: &Path,
    ) -> Result<(PathBuf, usize, RestoreReport)> {
        let mut problem = None;
        for archive in self.candidates(store, &mut problem)? {
            let builder = self.builder(&archive, history, new);
            match builder.plan() {
                Ok(_) => match self.builder(&archive, history, new).run() {
                    // An older archive may do.
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        problem.get_or_insert(error);
                    }
                    restored => {
                        let path = archive.path().to_path_buf();
                        return Ok((path, archive.attachments(), restored?));
                    }
                },
                Err(error) => {
                    problem.get_or_insert(error);
                }
            }
        }
        let none = Error::new(ErrorKind::NotFound, "no archive of the store leads to the point")
            .with_code(code::ARCHIVE_MISSING)
            .at(&self.dir)
            .hint("Name the folder that holds an archive from before the point.");
        Err(problem.map_or(none.clone(), |problem| match problem.code() {
            code::LOG_GAP | code::FOREIGN_LOG => problem,
            _ => none.because(problem),
        }))
    }

    fn builder<'a>(
        &'a self,
        archive: &'a Archive,
        history: &History,
        new: &Path,
    ) -> RestoreBuilder<'a> {
        let own = archive.restore(new).attachments(self.attachments).settings(false);
        let own = own.to(self.point).along(history.clone());
        let own = own.logs_in(self.dir.join(LOG_DIR));
        let own = self.folders.iter().fold(own, |builder, folder| builder.logs_in(folder));
        match &self.progress {
            Some(tell) => own.on_progress(tell),
            None => own,
        }
    }

    /// The archives of the store in the folders that are not past the point, newest first. The first
    /// that cannot be opened becomes the `problem`.
    fn candidates(&self, store: StoreId, problem: &mut Option<Error>) -> Result<Vec<Archive>> {
        let mut found = Vec::new();
        for folder in &self.folders {
            let catalogue = Arc::new(Catalogue::of_folder(&self.disk, folder, &self.keys)?);
            for stored in catalogue.archives().iter().filter(|stored| !stored.is_log()) {
                // One that is damaged is none to begin with; another may do.
                if let Some(error) = stored.problem() {
                    problem.get_or_insert(numbered(error.clone()));
                }
                let Some(header) = stored.backup().map(|backup| &backup.header) else { continue };
                let before =
                    header.lsn <= self.point.last() && self.point.allows(header.commit_time);
                if header.store_id == store && header.data && before {
                    match Archive::of_catalogue(&self.disk, &catalogue, stored) {
                        Ok(archive) => found.push(archive),
                        Err(error) => drop(problem.get_or_insert(error)),
                    }
                }
            }
        }
        // Of several at one commit the last is kept longest, for incremental backups to go on from.
        found.sort_by_key(|archive| {
            std::cmp::Reverse((archive.header().lsn, archive.header().started))
        });
        Ok(found)
    }
}
