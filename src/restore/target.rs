//! The folder that a restore fills.
//!
//! It is built beside its place under another name, made durable file by file, and renamed as the
//! last act; where its place is an empty folder that is there, in a folder within (`vacant`). Links
//! come last of all, so that nothing is ever written through one. While it is built it is locked as
//! a store is: a second restore to the same place neither takes it for what a killed one left, nor
//! gives the other's half-done work its name.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pour::Fresh;
use super::vacant::{self, Place};
use crate::archive::{Entry, EntryKind, MANIFEST_NAME, Unpack};
use crate::disk::atomic::{parent, remove_tree, sync_names};
use crate::disk::{self, Access, Disk, File, OpenMode, create_dir_like};
use crate::engine::tree::{Watch, verify_data_file};
use crate::engine::{DATA_FILE, DirLock, LOCK_FILE, LOG_DIR, lock_dir};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{ATTACHMENTS, ArchiveRef, BackupHeader, BackupState, RestoredTo, SETTINGS};

/// Pieces of an entry are gathered to writes of about this size.
const WRITE_BYTES: usize = 1 << 20;

/// The permission bits that are restored: none that give somebody the rights of another.
const PLAIN_BITS: u32 = 0o777;

/// Zeros of this length or more are left as a hole: shorter ones would cost more in writes than they
/// save in space.
const HOLE: usize = 16 << 10;
/// Holes begin and end at multiples of this, as the blocks of file systems do.
const HOLE_GRID: usize = 4 << 10;

/// The ranges of `bytes` that are to be written; what lies between is zeros.
fn filled(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (number, block) in bytes.chunks(HOLE_GRID).enumerate() {
        if block.iter().fold(0, |any, byte| any | byte) == 0 {
            continue;
        }
        let (start, end) = (number * HOLE_GRID, number * HOLE_GRID + block.len());
        match ranges.last_mut() {
            Some(last) if start - last.end < HOLE => last.end = end,
            // A short run of zeros at the beginning may go on from the piece before.
            _ => ranges.push(start..end),
        }
    }
    ranges
}

/// Whether the entry keeps its mode and its time: the store makes its own files itself.
fn is_kept_as_it_was(entry: &Entry) -> bool {
    let path = entry.meta.path.as_path();
    path.starts_with(ATTACHMENTS) || path.starts_with(SETTINGS)
}

pub(super) struct Target {
    disk: Arc<dyn Disk>,
    /// Where the store will be.
    dir: PathBuf,
    /// Where it is built.
    partial: PathBuf,
    /// That nobody else builds there; `None` where the folder is another's to lock.
    lock: Option<DirLock>,
    /// It is built within its place, which is there.
    within: bool,
    open: Option<Open>,
    /// In their order those above come before those within.
    folders: BTreeSet<PathBuf>,
    links: Vec<(PathBuf, PathBuf)>,
    /// Folders of the archive, each with its permission bits and time: given to them at the end, since
    /// what is put into a folder changes its time, and its bits may forbid it.
    folder_attributes: Vec<(PathBuf, u32, i64)>,
    files: usize,
    bytes: u64,
    /// Small attachments that are not durable yet.
    unsynced: Vec<Open>,
    /// There are more of them than are kept open: all are made durable at once.
    many_unsynced: bool,
}

/// Attachments up to this length are made durable together at the end, more than so many by one call:
/// a sync of each takes a commit of the file system's journal.
const SMALL: u64 = 1 << 20;
const MOST_OPEN: usize = 32;

struct Open {
    file: Arc<dyn File>,
    path: PathBuf,
    at: u64,
    gathered: Vec<u8>,
}

impl Open {
    fn sync(&self) -> Result<()> {
        self.file.sync().map_err(|e| Error::io("sync a restored file", &self.path, e))
    }
}

impl Target {
    /// Sees that a restore of `bytes` bytes into `dir` can begin, and tells how many are free.
    pub(super) fn check(disk: &Arc<dyn Disk>, dir: &Path, bytes: u64) -> Result<u64> {
        match vacant::look(&**disk, dir)? {
            Place::Free => check_free_space(disk, parent(dir), bytes),
            Place::Vacant => check_free_space(disk, dir, bytes),
            Place::Taken => {
                let message = "there is something at the restore's target";
                Err(Error::new(ErrorKind::Exists, message).at(dir).hint(
                    "A restore makes a new folder or fills an empty one; it writes over nothing.",
                ))
            }
        }
    }

    /// A target that is filled for the store at `dir`. What is made in it belongs to whom `model` says,
    /// and to nobody more; `None` for what new files get.
    pub(super) fn begin(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        bytes: u64,
        model: Option<Access>,
    ) -> Result<Target> {
        Target::check(disk, dir, bytes)?;
        let within = vacant::look(&**disk, dir)? == Place::Vacant;
        let partial = match within {
            true => dir.join(vacant::WITHIN),
            false => beside(dir)?,
        };
        // What a killed restore left: it has this name only while it is unfinished.
        let theirs = match disk.metadata(&partial).map(|found| found.kind) {
            Ok(disk::EntryKind::Dir) => Some(lock(disk, &partial)?),
            _ => None,
        };
        match within {
            true => vacant::clear(&**disk, dir)?,
            false => remove_tree(&**disk, &partial)
                .map_err(|e| Error::io("remove an unfinished restore", &partial, e))?,
        }
        create_dir_like(&**disk, &partial, model)
            .map_err(|e| Error::io("create the folder", &partial, e))?;
        drop(theirs);
        let lock = lock(disk, &partial)?;
        // From here on the folder is meant, and not what its name may come to mean.
        let disk = lock.folder().disk();
        let kept = disk.anchor(&partial, model);
        kept.map_err(|e| Error::io("open the folder", &partial, e))?;
        if let Some(model) = model {
            let path = partial.join(LOCK_FILE);
            let given = model.for_file().give(&**disk, &path);
            given.map_err(|e| Error::io("give the lock its owner", &path, e))?;
        }
        lock.folder().check()?;
        let mut target = Target::within(disk, dir, &partial);
        (target.lock, target.within) = (Some(lock), within);
        Ok(target)
    }

    /// The lock of the folder, for whoever opens the store in it.
    pub(super) fn lock(&self) -> Result<DirLock> {
        self.lock.clone().ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "the folder is another's to lock").at(&self.partial)
        })
    }

    /// The disk, which gives what is made in the folder its owner.
    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The folder that is filled.
    pub(super) fn folder(&self) -> &Path {
        &self.partial
    }

    /// A target for the store at `dir` that is filled in the folder `partial`, which is there.
    pub(super) fn within(disk: &Arc<dyn Disk>, dir: &Path, partial: &Path) -> Target {
        Target {
            disk: disk.clone(),
            dir: dir.to_path_buf(),
            folders: BTreeSet::from([partial.to_path_buf()]),
            partial: partial.to_path_buf(),
            lock: None,
            within: false,
            open: None,
            links: Vec::new(),
            folder_attributes: Vec::new(),
            files: 0,
            bytes: 0,
            unsynced: Vec::new(),
            many_unsynced: false,
        }
    }

    /// Where an entry goes. The papers of the archive are kept, out of the store's way.
    fn place(&self, entry: &Entry) -> PathBuf {
        let path = entry.meta.path.as_path();
        match path.to_str() {
            Some(MANIFEST_NAME) => self.partial.join(crate::store::RESTORED_FROM),
            _ => self.partial.join(path),
        }
    }

    fn make_folders_above(&mut self, path: &Path) -> Result<()> {
        let above = parent(path).to_path_buf();
        if above == self.partial || self.disk.metadata(&above).is_ok() {
            return Ok(());
        }
        self.make_folders_above(&above)?;
        self.make_folder(above)
    }

    fn make_folder(&mut self, path: PathBuf) -> Result<()> {
        if self.disk.metadata(&path).is_err() {
            self.disk.create_dir(&path).map_err(|e| Error::io("create a folder", &path, e))?;
        }
        self.folders.insert(path);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        for data in filled(&open.gathered) {
            open.file
                .write_at(&open.gathered[data.clone()], open.at + data.start as u64)
                .map_err(|e| Error::io("write a restored file", &open.path, e))?;
        }
        open.at += open.gathered.len() as u64;
        open.gathered.clear();
        Ok(())
    }

    /// Makes a folder within that of the store.
    pub(super) fn make_folder_of(&mut self, name: &str) -> Result<()> {
        self.make_folder(self.partial.join(name))
    }

    /// Creates the data file and its log folder.
    pub(super) fn data_file(&mut self, bytes: u64) -> Result<Fresh> {
        self.make_folder(self.partial.join(LOG_DIR))?;
        let path = self.partial.join(DATA_FILE);
        let opened = self.disk.open(&path, OpenMode::CreateNew);
        let file = opened.map_err(|e| Error::io("create the restored data file", &path, e))?;
        file.allocate(0, bytes)
            .map_err(|e| Error::io("make room for the restored data file", &path, e))?;
        Ok(Fresh { file, path })
    }

    /// Makes the data file durable; gives its path.
    pub(super) fn end_data_file(&mut self, fresh: Fresh) -> Result<PathBuf> {
        let Fresh { file, path } = fresh;
        file.sync().map_err(|e| Error::io("sync the restored data file", &path, e))?;
        self.files += 1;
        self.bytes += file.len().map_err(|e| Error::io("measure", &path, e))?;
        Ok(path)
    }

    /// Makes a store by `make` in a folder of its own, and takes over what is in it.
    pub(super) fn make_store(
        &mut self,
        make: impl FnOnce(&Arc<dyn Disk>, &Path) -> Result<()>,
    ) -> Result<()> {
        // Within the partial folder, so that nothing else can have the name, and it goes with it.
        let store = self.partial.join("store.partial");
        make(&self.disk, &store)?;
        for name in self.disk.list(&store).map_err(|e| Error::io("list", &store, e))? {
            let (from, to) = (store.join(&name), self.partial.join(&name));
            if name.file_name().is_some_and(|name| name == LOCK_FILE) {
                // There is one, and it is taken.
                self.disk.remove_file(&from).map_err(|e| Error::io("remove", &from, e))?;
                continue;
            }
            self.disk.rename(&from, &to).map_err(|e| Error::io("move", &from, e))?;
            self.files += 1;
        }
        self.folders.insert(self.partial.join(LOG_DIR));
        self.disk.remove_dir(&store).map_err(|e| Error::io("remove", &store, e))
    }

    /// Lets the restored store remember that it is at the commit `to`, and that `archive` holds pages of
    /// its data file.
    pub(super) fn remember(&mut self, to: RestoredTo, archive: Option<ArchiveRef>) -> Result<()> {
        let mut state = BackupState {
            restored_to: Some(to),
            // The archive is what the log of the restored store follows.
            kept_from: Some(to.lsn),
            ..BackupState::default()
        };
        archive.into_iter().for_each(|archive| state.add_parent(archive));
        state.save(&*self.disk, &self.partial)
    }

    /// Makes everything durable where it is; gives the number of files and their bytes.
    pub(super) fn settle(&mut self) -> Result<(usize, u64)> {
        self.sync_small()?;
        for (path, target) in std::mem::take(&mut self.links) {
            self.make_folders_above(&path)?;
            self.disk
                .symlink(&target, &path)
                .map_err(|e| Error::io("make a symbolic link", &path, e))?;
        }
        for folder in self.folders.iter().rev() {
            self.disk.sync_dir(folder).map_err(|e| Error::io("sync a folder", folder, e))?;
        }
        // Afterwards: the bits may forbid to open it.
        for (path, mode, time) in self.folder_attributes.drain(..).rev() {
            self.disk
                .set_attributes(&path, mode, time)
                .map_err(|e| Error::io("set the attributes of", &path, e))?;
        }
        Ok((self.files, self.bytes))
    }

    /// Makes the small attachments durable.
    fn sync_small(&mut self) -> Result<()> {
        if std::mem::take(&mut self.many_unsynced) {
            let path = self.partial.join(ATTACHMENTS);
            let synced = self.disk.sync_below(&path);
            synced.map_err(|e| Error::io("sync the restored attachments", &path, e))?;
        }
        self.unsynced.drain(..).try_for_each(|open| open.sync())
    }

    /// Makes everything durable and gives it its name.
    pub(super) fn finish(&mut self) -> Result<(usize, u64)> {
        self.settle()?;
        let data = self.partial.join(DATA_FILE);
        if self.lock.is_some() && self.disk.metadata(&data).is_err() {
            // A store keeps the file of its lock; what is none has no use for it.
            let path = self.partial.join(LOCK_FILE);
            self.disk.remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
        if let Some(lock) = &self.lock {
            lock.folder().check_path()?;
        }
        let (from, to) = (&self.partial, &self.dir);
        if self.within {
            vacant::move_out(&*self.disk, from, to)?;
            sync_names(&*self.disk, to).map_err(|e| Error::io("sync the folders above", to, e))?;
            return Ok((self.files, self.bytes));
        }
        // While it can still be taken back.
        let above = parent(to);
        sync_names(&*self.disk, above)
            .map_err(|e| Error::io("sync the folders above", above, e))?;
        self.disk.rename_new(from, to).map_err(|e| Error::io("name the restored store", to, e))?;
        self.disk.sync_dir(above).map_err(|e| {
            // What is told to have failed may not lie there as what has not: it gets back the name
            // under which it is removed.
            let _stays = self.disk.rename_new(to, from);
            Error::io("sync the folder", above, e)
        })?;
        Ok((self.files, self.bytes))
    }

    /// Leaves nothing behind, as far as the disk lets it.
    pub(super) fn give_up(&mut self) {
        self.open = None;
        if self.within && vacant::look(&*self.disk, &self.dir).is_ok_and(|p| p == Place::Vacant) {
            let _left_over = vacant::clear(&*self.disk, &self.dir);
        }
        let _left_over = remove_tree(&*self.disk, &self.partial);
    }
}

/// Where a store for `dir` is built.
fn beside(dir: &Path) -> Result<PathBuf> {
    match dir.file_name() {
        Some(_) => Ok(disk::beside(dir, ".stillpoint-restoring")),
        None => Err(Error::new(ErrorKind::Invalid, "the restore's target has no name").at(dir)),
    }
}

/// Takes the folder in which a store is built.
fn lock(disk: &Arc<dyn Disk>, partial: &Path) -> Result<DirLock> {
    lock_dir(disk, partial).map_err(|error| match error.kind() {
        ErrorKind::InUse => {
            let message = "another restore to the same place is under way";
            let refused = Error::new(ErrorKind::InUse, message).at(partial).because(error);
            refused.hint("Wait for it, or restore to another place.")
        }
        _ => error,
    })
}

/// Sees that the disk that holds `folder` has room for `bytes`; gives the room that there is.
pub(super) fn check_free_space(disk: &Arc<dyn Disk>, folder: &Path, bytes: u64) -> Result<u64> {
    let free = disk.free_space(folder).map_err(|e| {
        let error = Error::io("measure the restore's target", folder, e);
        match error.kind() {
            ErrorKind::NotFound => error.hint("Make the folder that the store is to lie in."),
            _ => error,
        }
    })?;
    if free < bytes {
        let message = format!("the restore needs {bytes} bytes, and {free} are free");
        return Err(Error::new(ErrorKind::StorageFull, message).at(folder));
    }
    Ok(free)
}

/// Sees that the data file at `path`, which several archives made, is sound in every page and at the
/// commit of the header.
pub(super) fn check_pages(
    disk: &dyn Disk,
    path: &Path,
    header: &BackupHeader,
    watch: Watch<'_>,
) -> Result<()> {
    let report = verify_data_file(disk, path, watch)?.into_result(path)?;
    let number = if header.checkpoint == 0 { report.checkpoint } else { header.checkpoint };
    match (report.lsn, report.checkpoint) == (header.lsn, number) {
        true => Ok(()),
        false => Err(Error::corrupt(path, "header and data file are of different commits")),
    }
}

impl Unpack for Target {
    fn begin(&mut self, entry: &Entry) -> Result<()> {
        let path = self.place(entry);
        match &entry.meta.kind {
            EntryKind::Dir => {
                self.make_folders_above(&path)?;
                if is_kept_as_it_was(entry) {
                    let (mode, time) = (entry.meta.mode & PLAIN_BITS, entry.meta.mtime);
                    self.folder_attributes.push((path.clone(), mode, time));
                }
                self.make_folder(path)
            }
            EntryKind::Symlink(target) => {
                self.links.push((path, target.as_path().to_path_buf()));
                Ok(())
            }
            EntryKind::File => {
                self.make_folders_above(&path)?;
                let opened = self.disk.open(&path, OpenMode::CreateNew);
                let file = opened.map_err(|e| Error::io("create a restored file", &path, e))?;
                self.open = Some(Open { file, path, at: 0, gathered: Vec::new() });
                Ok(())
            }
        }
    }

    fn content(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.gathered.extend_from_slice(bytes);
        if open.gathered.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn end(&mut self, entry: &Entry) -> Result<()> {
        self.flush()?;
        if let Some(open) = self.open.take() {
            // It may end with a hole.
            if entry.meta.size > 0 {
                open.file
                    .set_len(entry.meta.size)
                    .map_err(|e| Error::io("set the length of a restored file", &open.path, e))?;
            }
            if is_kept_as_it_was(entry) {
                self.disk
                    .set_attributes(&open.path, entry.meta.mode & PLAIN_BITS, entry.meta.mtime)
                    .map_err(|e| Error::io("set the attributes of", &open.path, e))?;
            }
            if !is_kept_as_it_was(entry) || entry.meta.size > SMALL {
                open.sync()?;
            } else if !self.many_unsynced {
                self.unsynced.push(open);
                if self.unsynced.len() > MOST_OPEN {
                    self.unsynced.clear();
                    self.many_unsynced = true;
                }
            }
            self.files += 1;
            self.bytes += entry.meta.size;
        }
        Ok(())
    }
}
