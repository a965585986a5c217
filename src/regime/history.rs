//! The history of backups: `backupHistory.json` in the destination.
//!
//! What was done there for each store, oldest first, and the authority on the next number.
//! `docs/backup-records.md` has every field. It is a second truth beside the archives, so it never
//! wins against them: an archive of this store that it does not list (a crash came between the two,
//! or somebody lost the file) is listed from its own header and manifest; a number is never given out
//! while any file carries it; and a file that is no history is set aside under another name, not lost.
//!
//! Invariants: the file is replaced as a whole or not at all. What stands under other stores' names,
//! and fields that this version does not know, are kept as they are. One process writes at a time
//! (`backupHistory.lock`); each change reads the file anew, so that stores share a destination.

mod document;
mod operation;
mod rebuild;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::document::{Document, Found};
use super::journal::{JournalEvent, JournalItem};
use super::retention::{self, Judged, RetentionPlan, RetentionRule, Witnesses};
use crate::archive::Keys;
use crate::destination::Catalogue;
use crate::disk::{Disk, FileLock, atomic};
use crate::engine::{self, AncestryFile, Lsn, StoreId};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{ArchiveRef, BackupState};

pub(super) use operation::archive_name;
pub use operation::{ArchivePart, Operation, OperationKind, OperationStatus};
pub(super) use rebuild::{facts, parts};

/// The file in the destination.
pub const HISTORY_FILE: &str = "backupHistory.json";
/// Whoever changes the file has the lock of this one.
const LOCK_FILE: &str = "backupHistory.lock";
/// How often, and after which waits, the lock is asked for.
const TRIES: u32 = 200;
const WAIT: Duration = Duration::from_millis(20);

/// What a store knows itself: the archives that it remembers to have made, and the commits that led to
/// where it is.
pub(super) struct StoreAccount {
    pub(super) made: Vec<ArchiveRef>,
    pub(super) history: engine::History,
}

impl StoreAccount {
    fn load(disk: &dyn Disk, dir: &Path) -> Result<StoreAccount> {
        let state = BackupState::load(disk, dir)?;
        let ancestry = AncestryFile::load(disk, dir)?;
        // A store that was restored stands there until it has a commit of its own, on a new timeline.
        let stands = state.restored_to.filter(|to| to.timeline.id == ancestry.tip().id);
        let last = stands.map_or(Lsn::MAX, |to| to.lsn);
        Ok(StoreAccount { made: state.made(), history: engine::History::new(ancestry, last) })
    }
}

/// The history of one store in one destination. Holds nothing open; its methods may be called by
/// several threads at once.
pub struct History {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    set: String,
    store: StoreId,
    keys: Keys,
    /// What the store itself knows, where it was asked.
    own: Option<StoreAccount>,
    /// What the backup that runs has written.
    spared: Vec<PathBuf>,
    remarks: Mutex<Vec<JournalItem>>,
}

impl History {
    /// The history of the store `store`, whose archives are named `set`, in `destination`. The file is
    /// not read yet. Paths in it are absolute, so that it says the same to every process.
    pub fn at(disk: Arc<dyn Disk>, destination: &Path, set: &str, store: StoreId) -> History {
        // One that is not there is told by whoever looks into it.
        let folder = disk.canonical(destination).unwrap_or_else(|_| destination.to_path_buf());
        let set = set.to_owned();
        History {
            disk,
            folder,
            set,
            store,
            keys: Keys::none(),
            own: None,
            spared: Vec::new(),
            remarks: Mutex::default(),
        }
    }

    /// The same with keys for archives that are encrypted: without them, the ones that the file does
    /// not list stay unlisted.
    pub fn with_keys(mut self, keys: Keys) -> History {
        self.keys = keys;
        self
    }

    /// The same with what the store in `dir` remembers of its archives, which is a witness beside the
    /// history, and with the line of timelines that it came through. A store whose memory cannot be read
    /// is no witness.
    pub fn with_store(self, dir: &Path) -> History {
        match StoreAccount::load(&*self.disk, dir) {
            Ok(own) => self.with_account(own),
            Err(_) => self,
        }
    }

    pub(super) fn with_account(mut self, own: StoreAccount) -> History {
        self.own = Some(own);
        self
    }

    /// The same, and retention deletes none of these files, which were just written.
    pub(super) fn sparing(mut self, files: Vec<PathBuf>) -> History {
        self.spared = files;
        self
    }

    /// What the file in `destination` lists for the archives named `set`, and nothing else: for those
    /// who know the store by its folder only.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no file; as [`History::read`] otherwise.
    pub fn list(disk: &dyn Disk, destination: &Path, set: &str) -> Result<Vec<Operation>> {
        let path = destination.join(HISTORY_FILE);
        let found = Document::read(disk, destination)?;
        if matches!(found, Found::Nothing) {
            let error = Error::new(ErrorKind::NotFound, "there is no history of backups").at(&path);
            return Err(
                error.hint("The next backup writes it, from the archives if there are any.")
            );
        }
        let (document, damage) = found.understood();
        let (operations, wrong) = document.operations(set);
        damage.or(wrong).map_or(Ok(operations), |error| Err(error.at(path)))
    }

    /// Where the file is.
    pub fn path(&self) -> PathBuf {
        self.folder.join(HISTORY_FILE)
    }

    /// The operations, oldest first, with the archives that the file does not list. Changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for what is no history; those of the disk.
    pub fn read(&self) -> Result<Vec<Operation>> {
        let (document, damage) = Document::read(&*self.disk, &self.folder)?.understood();
        let (mut operations, wrong) = document.operations(&self.set);
        if let Some(error) = damage.or(wrong) {
            return Err(error.at(self.path()));
        }
        self.complete(&mut operations, None)?;
        Ok(operations)
    }

    /// The same, and the file is put right: made anew from the archives where it is missing or
    /// malformed (what was there is set aside), completed where it lacks some.
    ///
    /// # Errors
    /// Those of the disk; [`ErrorKind::Busy`] while another process changes the file.
    pub fn load(&self) -> Result<Vec<Operation>> {
        self.change(None, |operations| Ok(operations.clone()))
    }

    /// What was found wrong with the file and done about it since the last call, for the journal.
    pub fn take_remarks(&self) -> Vec<JournalItem> {
        std::mem::take(&mut self.remarks.lock())
    }

    /// The number of the next backup: one more than that of the last archive whose header agrees with
    /// its name, and than what the history and other files of the set say within reason. No file has it.
    /// Files that have the name of a later archive and are none become remarks.
    ///
    /// # Errors
    /// As [`History::load`]; [`ErrorKind::Limit`] when no number is left.
    pub fn next_number(&self) -> Result<u32> {
        let operations = self.load()?;
        let backups = operations.iter().filter(|operation| operation.is_backup());
        let known = backups.filter_map(|operation| operation.backup_number);
        let next = self.catalogue()?.next_number(&self.set, known)?;
        for error in next.passed_over {
            let item = JournalItem::note(JournalEvent::History, "").with_error(&error);
            self.remark(item);
        }
        Ok(next.number)
    }

    /// Adds an operation. The history then has those of the last `keep` sets, and as many that left
    /// no archive; `None` keeps all.
    ///
    /// # Durability
    /// When it returns, the operation survives a power loss; a crash before leaves the old history.
    ///
    /// # Errors
    /// As [`History::load`].
    pub fn record(&self, operation: Operation, keep: Option<u32>) -> Result<()> {
        self.add(operation, keep, false)
    }

    /// The same for one integration of many: it becomes part of the last operation where that was such
    /// a one, of the same logs by the same hand, and both went well.
    ///
    /// # Durability, Errors
    /// As [`History::record`].
    pub(super) fn record_next(&self, operation: Operation, keep: Option<u32>) -> Result<()> {
        self.add(operation, keep, true)
    }

    /// What retention would delete now. Changes nothing.
    ///
    /// # Errors
    /// As [`History::read`].
    pub fn plan(&self, rule: &RetentionRule) -> Result<RetentionPlan> {
        Ok(retention::plan(self.judge(&self.catalogue()?, &self.read()?), rule, self.line()).0)
    }

    /// Deletes the sets that are too many, and says so for the journal: a line for each archive that
    /// was deleted, left alone, or could not be deleted. None of the latter is an error of this call.
    ///
    /// # Errors
    /// As [`History::load`]: nothing was deleted then that the history does not tell of.
    pub fn retire(&self, rule: &RetentionRule) -> Result<Vec<JournalItem>> {
        let mut lines = Vec::new();
        let found = self.catalogue()?;
        let plan = self.change(None, |operations| {
            let (plan, reasons) =
                retention::plan(self.judge(&found, operations), rule, self.line());
            lines = reasons.iter().map(retention::left_alone).collect();
            // Told before it is done: what a crash leaves half-deleted is known as such.
            retention::mark(&plan, operations);
            Ok(plan)
        })?;
        if plan.deletions.is_empty() {
            return Ok(lines);
        }
        self.change(None, |operations| {
            lines.extend(retention::delete(&plan, &found, operations));
            Ok(())
        })?;
        Ok(lines)
    }

    fn add(&self, mut operation: Operation, keep: Option<u32>, joins: bool) -> Result<()> {
        self.settle(&mut operation);
        self.change(Some(&operation.clone()), |operations| {
            if joins && operations.last_mut().is_some_and(|last| last.takes_in(&operation)) {
                return Ok(());
            }
            // A crash came after the archive had its name, and it was listed from that already.
            let same = |o: &Operation| {
                o.rebuilt && operation.is_backup() && o.seal.is_some() && o.seal == operation.seal
            };
            operations.retain(|listed| !same(listed));
            operations.push(operation);
            if let Some(keep) = keep {
                retention::trim(operations, keep, &|part| self.stands(part));
            }
            Ok(())
        })
    }

    /// The commits that led to where the store is.
    fn line(&self) -> Option<&engine::History> {
        self.own.as_ref().map(|own| &own.history)
    }

    /// What of this store lies in the destination, and what of it may go. Another store whose archives
    /// have the same name, or one that was here before, keeps its own.
    fn judge(&self, found: &Catalogue, operations: &[Operation]) -> Judged {
        let (disk, set, store) = (&*self.disk, &*self.set, self.store);
        let (made, spared) = (self.own.as_ref().map(|own| &*own.made), &*self.spared);
        Witnesses { disk, found, set, store, operations, made, spared }.judge()
    }

    /// Gives the files of an operation that lie in the destination the paths that listing gives them,
    /// however the destination was named to the backup: no file may stand here twice. What was saved gets the
    /// paths that it has for every process.
    fn settle(&self, operation: &mut Operation) {
        let settle = |path: &mut PathBuf| {
            let folder = self.disk.canonical(atomic::parent(path));
            if let Some(name) = path.file_name()
                && folder.is_ok_and(|folder| folder == self.folder)
            {
                *path = self.folder.join(name);
            }
        };
        operation.backup_path.iter_mut().for_each(settle);
        operation.log_path.iter_mut().for_each(settle);
        let files = operation.backup_files.iter_mut().chain(&mut operation.log_files);
        files.map(|part| &mut part.path).for_each(settle);
        let sources = operation.saved_files.iter_mut().filter_map(|file| file.source.as_mut());
        sources.for_each(|source| *source = atomic::absolute(&*self.disk, source));
    }

    /// Whether a file is at its place and as long as it was.
    fn stands(&self, part: &ArchivePart) -> bool {
        let found = self.disk.metadata(&part.path);
        found.is_ok_and(|found| {
            found.kind == crate::disk::EntryKind::File && found.len == part.bytes
        })
    }

    /// Reads the file, puts it right, changes it, and writes it if there is anything new in it.
    /// `coming` is listed by `change` itself.
    fn change<T>(
        &self,
        coming: Option<&Operation>,
        change: impl FnOnce(&mut Vec<Operation>) -> Result<T>,
    ) -> Result<T> {
        let _lock = self.lock()?;
        let found = Document::read(&*self.disk, &self.folder)?;
        let missing = matches!(found, Found::Nothing);
        let (mut document, damage) = found.understood();
        let (mut operations, wrong) = document.operations(&self.set);
        let was = operations.clone();
        let malformed = damage.or(wrong);
        if let Some(error) = &malformed {
            let aside = document::set_aside(&*self.disk, &self.folder)?;
            let hint = format!("It is kept as \"{}\".", aside.display());
            let error = error.clone().at(self.path()).hint(hint);
            self.remark(JournalItem::note(JournalEvent::History, "").with_error(&error));
        }
        let added = self.complete(&mut operations, coming)?;
        if added > 0 {
            let why = if missing { "the file was not there: " } else { "" };
            let message =
                format!("{why}{added} archives were listed from what they say themselves");
            let mut item = JournalItem::note(JournalEvent::History, message);
            item.path = Some(self.path());
            self.remark(item);
        }
        let result = change(&mut operations)?;
        if malformed.is_some() || operations != was {
            document.put(&self.set, &operations)?;
            document.write(&*self.disk, &self.folder)?;
        }
        Ok(result)
    }

    fn complete(
        &self,
        operations: &mut Vec<Operation>,
        coming: Option<&Operation>,
    ) -> Result<usize> {
        let found = self.catalogue()?;
        rebuild::complete(&*self.disk, &found, &self.set, self.store, operations, coming)
    }

    fn catalogue(&self) -> Result<Catalogue> {
        Catalogue::of_folder(&self.disk, &self.folder, &self.keys)
    }

    fn remark(&self, item: JournalItem) {
        self.remarks.lock().push(item);
    }

    fn lock(&self) -> Result<Box<dyn FileLock>> {
        let path = self.folder.join(LOCK_FILE);
        for _ in 0..TRIES {
            match self.disk.lock(&path, "the history of backups is being changed") {
                Ok(lock) => return Ok(lock),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => std::thread::sleep(WAIT),
                Err(e) => return Err(Error::io("lock the history of backups", &path, e)),
            }
        }
        let message = "another process keeps the history of backups locked";
        Err(Error::new(ErrorKind::Busy, message).at(&path))
    }
}
