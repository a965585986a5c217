//! Rollback: a store goes back to an earlier commit of its own history.
//!
//! An archive from which logs lead to the point is restored in a working folder and brought forward
//! through log archives and the store's own segments, along the history of the store; where it is
//! damaged, an older one does. Where no archive leads there, and the store has its whole log since it
//! was created, the log alone does. Then it replaces the store (`engine/replacement`).
//!
//! What of the log is in no log archive yet goes along: the rollback begins at or before the commit from
//! which the store keeps its log, and the new store keeps what was applied. So every commit up to the
//! point can still be restored.
//!
//! Invariants: the store is locked from the look at where it is to the end. It is kept under another
//! name, and a rollback that fails leaves it where it is.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::{Archive, numbered};
use super::builder::{RestoreBuilder, RestoreReport, Tell};
use super::carried::carry;
use super::log_file::LogFile;
use super::point::{Logs, RestorePoint, Roll, Start};
use super::target::Target;
use crate::archive::{Keys, Progress};
use crate::destination::Catalogue;
use crate::disk::atomic::with_name;
use crate::disk::{Access, Disk, RealDisk};
use crate::engine::replacement::{self, KeepAs, Replacement, Scope};
use crate::engine::{Engine, History, LOG_DIR, Located, Lsn, StoreId, locate, make_unborn};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::{BackupState, RestoredTo};

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

/// The archive that it began with, the attachments in that, and what was restored.
type Made = (Option<PathBuf>, usize, RestoreReport);

/// What a rollback did.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub struct RollbackReport {
    /// The archive that it began with; `None` where it began with the empty store.
    pub archive: Option<PathBuf>,
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

    /// Does it. The store as it was is kept; remove it when it is not needed any more. A log that
    /// lies on another disk stays there, and the old one is set aside in its folder.
    ///
    /// # Durability
    /// When it returns, the store survives a power loss. After a crash the old store or the new one is
    /// there; where the crash came between the two, the next opening finishes or undoes it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where no archive leads to the point, and the store does not have its
    /// whole log; [`ErrorKind::Invalid`] where there is nothing to roll back, and (2010) for a gap
    /// in the logs; [`ErrorKind::InUse`]; those of a restore. The store is as it was.
    pub fn run(mut self) -> Result<RollbackReport> {
        self.dir = with_name(&*self.disk, self.dir);
        replacement::settle(&self.disk, &self.dir)?;
        // What is found holds as long as nobody else can write.
        let here = locate(&self.disk, &self.dir)?;
        let position = here.position;
        if self.point.last() >= position.lsn && self.point.allows(position.time) {
            let why =
                format!("the store is at LSN {}: there is nothing to roll back", position.lsn);
            return Err(Error::new(ErrorKind::Invalid, why).at(&self.dir));
        }
        let replacement = Replacement::begin(&self.dir, &here.lock)?;
        let new = replacement.new_store();
        let made = self
            .restore(&here, &new)
            .and_then(|made| carry(&*self.disk, &self.dir, &new).map(|()| made));
        // What was built may be what the disk has no room for.
        let (archive, attachments, restored) = made.inspect_err(|_| replacement.cancel())?;
        let keep = KeepAs { within: BEFORE.to_owned(), beside: Some(format!(".{BEFORE}")) };
        let old = replacement.put_in_place(Scope::Everything, &keep)?;
        drop(here.lock);
        Ok(RollbackReport {
            archive,
            old,
            restored: RestoreReport { dir: self.dir, ..restored },
            attachments,
            attachments_restored: self.attachments && attachments > 0,
        })
    }

    /// Restores an archive from which the logs lead to the point, or replays the whole log.
    fn restore(&self, here: &Located, new: &Path) -> Result<Made> {
        let history = &here.history;
        let mut problem = None;
        for archive in self.candidates(here.store, &mut problem)? {
            let builder = self.builder(&archive, history, new);
            match builder.plan() {
                Ok(_) => match self.builder(&archive, history, new).run() {
                    // An older archive may do.
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        problem.get_or_insert(error);
                    }
                    restored => {
                        let path = archive.path().to_path_buf();
                        return Ok((Some(path), archive.attachments(), restored?));
                    }
                },
                Err(error) => {
                    problem.get_or_insert(error);
                }
            }
        }
        match self.replay_whole_log(here, new) {
            // The log does not lead there either.
            Err(error) if matches!(error.code(), code::LOG_GAP | code::FOREIGN_LOG) => {}
            replayed => return Ok((None, 0, replayed?)),
        }
        let none = Error::new(ErrorKind::NotFound, "no archive of the store leads to the point")
            .with_code(code::ARCHIVE_MISSING)
            .at(&self.dir)
            .hint(
                "Name the folder that holds an archive from before the point. Without one the store \
                 must have its whole log since it was created.",
            );
        Err(problem.map_or(none.clone(), |problem| match problem.code() {
            code::LOG_GAP | code::FOREIGN_LOG => problem,
            _ => none.because(problem),
        }))
    }

    /// Replays the log since the store was created, as far as the point.
    ///
    /// # Errors
    /// 2010 where the store does not have all of it.
    fn replay_whole_log(&self, here: &Located, new: &Path) -> Result<RestoreReport> {
        let (disk, began) = (&self.disk, self.disk.elapsed());
        let mut logs = Logs { along: Some(here.history.clone()), ..Logs::default() };
        let own = self.dir.join(LOG_DIR);
        for folder in std::iter::once(&own).chain(&self.folders) {
            let found = LogFile::at_hand(disk, folder, &self.keys, &mut logs.unread)?;
            logs.at_hand.push(found);
        }
        let history = History::new(here.history.ancestry.birth(), 0);
        let start = Start { store: here.store, history, time: i64::MIN, complete_until: i64::MIN };
        let roll = Roll::plan(&logs, &start, self.point)?;
        if roll.course.legs.is_empty() {
            let why = "there is nothing before the first commit of the store";
            return Err(Error::new(ErrorKind::Invalid, why).with_code(code::LOG_GAP));
        }
        let model = Access::at(&**disk, &self.dir)
            .map_err(|e| Error::io("look at the store", &self.dir, e))?;
        let mut target = Target::begin(disk, new, logs.bytes(), model)?;
        let mut tell: Tell<'_> = Box::new(|progress| match &self.progress {
            Some(tell) => tell(progress),
            None => ControlFlow::Continue(()),
        });
        let replayed = make_unborn(disk, target.folder(), here).and_then(|birth| {
            let timeline = birth.tip().into();
            target.remember(RestoredTo { lsn: 0, timeline }, None)?;
            let (dir, lock) = (target.folder(), target.lock()?);
            let open = |options| Engine::open_held(disk.clone(), dir, options, lock);
            let rolled = roll.forward(&**disk, dir, logs.bytes(), &mut tell, open)?;
            Ok((rolled, target.finish()?))
        });
        let (rolled, (files, bytes)) = replayed.inspect_err(|_| target.give_up())?;
        Ok(RestoreReport {
            dir: new.to_path_buf(),
            lsn: rolled.lsn,
            timeline: rolled.timeline,
            reached_point: roll.reaches_point(),
            archive_lsn: 0,
            number: 0,
            data: true,
            commits: rolled.commits,
            operations: rolled.operations,
            bytes,
            kept_bytes: 0,
            discarded: None,
            read_repairs: Vec::new(),
            files,
            duration: disk.elapsed().saturating_sub(began),
        })
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
        // What follows this commit may be in no log archive: it is to be applied, and so kept.
        let state = BackupState::load(&*self.disk, &self.dir).unwrap_or_default();
        let kept = state.kept_log().map_or(Lsn::MAX, |kept| kept.from);
        // Of several at one commit the last is kept longest, for incremental backups to go on from.
        found.sort_by_key(|archive| {
            let header = archive.header();
            std::cmp::Reverse((header.lsn <= kept, header.lsn, header.started))
        });
        Ok(found)
    }
}
