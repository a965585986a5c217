//! A restore into the folder of an older copy of the store: what is right there already is kept.
//!
//! Every page of the archive is compared with the one at its place, byte by byte, and only those that
//! differ are written. So it saves writing, which wears a disk and takes most of the time, and not
//! the reading of the archive.
//!
//! Invariants: the archives are verified, and the logs read, before anything is touched. From the
//! moment when the first page may change until all are right, durable and checked, and the logs are
//! applied, the data file has another name: the folder holds no store then, whatever happens, and
//! running the restore again finishes it. Logs of the old history, and attachments that would be
//! replaced, are set aside under another name and not removed; a log on another disk stays there.

mod compared;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use compared::Compared;

use super::archive::{Archive, damage};
use super::builder::Tell;
use super::chain::Chain;
use super::job::Job;
use super::overlay::Piece;
use super::point::{Roll, Rolled};
use super::pour::{bytes_to_unpack, pour};
use super::target::{Target, check_free_space, check_pages};
use crate::archive::{HEADER_NAME, MANIFEST_NAME, Progress};
use crate::disk::atomic::{read_whole, remove_tree, write_atomically};
use crate::disk::{Disk, EntryKind, File, OpenMode};
use crate::engine::tree::store_of;
use crate::engine::{DATA_FILE, DATA_RESTORING, Engine, EngineOptions, LOG_DIR, lock_dir};
use crate::error::{Error, ErrorKind, Result};

/// The folder, within the store's, of what is not in its place yet.
const WORK: &str = "restoring";
/// Says in it which store the renamed data file is of.
const NOTE: &str = "restoring.json";
/// What is set aside is called so, after its own name.
const BEFORE: &str = "before-restore";
/// The note is never longer.
const MAX_NOTE: u64 = 4096;

/// What a delta restore did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) files: usize,
    pub(super) bytes: u64,
    pub(super) kept: u64,
}

#[derive(Serialize, Deserialize)]
struct Note {
    /// In hexadecimal, as the papers write it.
    store: String,
}

/// The folder of the older copy.
pub(super) struct Folder<'d> {
    disk: &'d Arc<dyn Disk>,
    dir: &'d Path,
    /// Whether an interrupted restore left it without a store.
    interrupted: bool,
}

impl<'d> Folder<'d> {
    /// Sees that there is a copy of the archive's store in `dir`, or what an interrupted delta restore
    /// made of one. Changes nothing.
    ///
    /// # Errors
    /// `NotFound` where there is none, `Foreign` where it is another store's.
    pub(super) fn look(archive: &'d Archive, dir: &'d Path) -> Result<Folder<'d>> {
        let disk = archive.disk();
        let there = |name: &str| disk.metadata(&dir.join(name)).is_ok();
        let interrupted = !there(DATA_FILE) && there(DATA_RESTORING);
        if !there(DATA_FILE) && !interrupted {
            let message = "there is no copy of the store whose pages could be kept";
            let missing = Error::new(ErrorKind::NotFound, message).at(dir);
            return Err(missing.hint("Restore into a new folder, without delta."));
        }
        let store = match interrupted {
            true => read_note(&**disk, dir)?,
            false => store_of(&**disk, &dir.join(DATA_FILE))?,
        };
        if store != archive.header().store_id {
            let message = "the folder holds another store than the archive";
            return Err(Error::new(ErrorKind::Foreign, message).at(dir));
        }
        Ok(Folder { disk, dir, interrupted })
    }

    fn data(&self) -> PathBuf {
        self.dir.join(if self.interrupted { DATA_RESTORING } else { DATA_FILE })
    }

    /// Bytes that the restore needs: what the file grows by, and all attachments.
    pub(super) fn bytes_needed(&self, job: &Job<'_>) -> Result<u64> {
        let data = self.data();
        let there = self.disk.metadata(&data).map_err(|e| Error::io("look at", &data, e))?.len;
        Ok(job.data_bytes().saturating_sub(there) + job.entry_bytes())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.dir.join(from), self.dir.join(to));
        self.disk.rename_new(&from, &to).map_err(|e| Error::io("rename", &from, e))?;
        self.sync()
    }

    fn sync(&self) -> Result<()> {
        self.disk.sync_dir(self.dir).map_err(|e| Error::io("sync the folder", self.dir, e))
    }

    /// Gives what is at `name` another name beside it.
    fn set_aside(&self, name: &str) -> Result<()> {
        let from = self.dir.join(name);
        let to = self.free_name(self.dir, &format!("{name}.{BEFORE}"));
        self.disk.rename_new(&from, &to).map_err(|e| Error::io("set aside", &from, e))
    }

    /// `name` in `dir`, with a number where that is taken.
    fn free_name(&self, dir: &Path, name: &str) -> PathBuf {
        let numbered = (2u32..).map(|number| dir.join(format!("{name}-{number}")));
        let mut names = std::iter::once(dir.join(name)).chain(numbered);
        names.find(|path| self.disk.metadata(path).is_err()).expect("some name is free")
    }

    /// Sets the old log aside; an empty one is as good as new. A link to a folder elsewhere stays, and
    /// the folder too: it may be all of a disk.
    fn renew_log(&self) -> Result<()> {
        let log = self.dir.join(LOG_DIR);
        let found = self.disk.metadata(&log);
        if found.as_ref().is_ok_and(|found| found.kind == EntryKind::Symlink)
            && let Ok(elsewhere) = self.disk.canonical(&log)
        {
            return self.clear_log(&elsewhere);
        }
        if self.disk.list(&log).is_ok_and(|names| names.is_empty()) {
            return Ok(());
        }
        if found.is_ok() {
            self.set_aside(LOG_DIR)?;
        }
        self.disk.create_dir(&log).map_err(|e| Error::io("create the log folder", &log, e))?;
        self.disk.sync_dir(&log).map_err(|e| Error::io("sync the log folder", &log, e))
    }

    /// Moves the files of a log into a folder of their own, within theirs.
    fn clear_log(&self, log: &Path) -> Result<()> {
        let mut old = self.disk.list(log).map_err(|e| Error::io("list", log, e))?;
        let is_file =
            |path: &Path| self.disk.metadata(path).is_ok_and(|m| m.kind == EntryKind::File);
        old.retain(|name| is_file(&log.join(name)));
        if old.is_empty() {
            return Ok(());
        }
        let aside = self.free_name(log, BEFORE);
        self.disk.create_dir(&aside).map_err(|e| Error::io("create the folder", &aside, e))?;
        for name in old {
            let (from, to) = (log.join(&name), aside.join(&name));
            self.disk.rename_new(&from, &to).map_err(|e| Error::io("set aside", &from, e))?;
        }
        for dir in [&aside, log] {
            self.disk.sync_dir(dir).map_err(|e| Error::io("sync the log folder", dir, e))?;
        }
        Ok(())
    }

    /// Puts what the work folder holds into its place.
    fn move_in(&self, work: &Path) -> Result<()> {
        for old in [HEADER_NAME, MANIFEST_NAME] {
            let path = self.dir.join(old);
            if self.disk.metadata(&path).is_ok() {
                self.disk.remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
            }
        }
        let names = self.disk.list(work).map_err(|e| Error::io("list", work, e))?;
        for name in names.iter().filter(|name| name.as_os_str() != NOTE) {
            let (from, to) = (work.join(name), self.dir.join(name));
            let old = self.disk.metadata(&to);
            if old.is_ok_and(|old| old.kind != EntryKind::File) {
                self.set_aside(&name.to_string_lossy())?;
            }
            self.disk.rename(&from, &to).map_err(|e| Error::io("move", &from, e))?;
        }
        self.disk.sync_dir(work).map_err(|e| Error::io("sync the folder", work, e))?;
        self.sync()
    }
}

fn read_note(disk: &dyn Disk, dir: &Path) -> Result<u128> {
    let path = dir.join(WORK).join(NOTE);
    let bytes = read_whole(disk, &path, MAX_NOTE)
        .map_err(|e| Error::io("read what an interrupted restore left", &path, e))?;
    let note: Result<Note, _> = serde_json::from_slice(&bytes);
    note.ok().and_then(|note| u128::from_str_radix(&note.store, 16).ok()).ok_or_else(|| {
        Error::corrupt(&path, "this is not what an interrupted restore leaves")
            .hint("Restore into a new folder, without delta.")
    })
}

/// Bytes that the restore would need, where it can begin.
pub(super) fn bytes_needed(job: &Job<'_>, dir: &Path) -> Result<u64> {
    Folder::look(job.archive, dir)?.bytes_needed(job)
}

/// Brings the folder to the archive's commit, and from there through `logs`, of which there are that
/// many bytes.
pub(super) fn run(
    job: &Job<'_>,
    dir: &Path,
    logs: Option<(&Roll<'_>, u64)>,
    workers: usize,
    tell: &mut Tell<'_>,
) -> Result<(Done, Rolled)> {
    let (archive, disk) = (job.archive, job.archive.disk());
    let chain = job.check_whole().map_err(damage)?;
    Folder::look(archive, dir).map_err(damage)?;
    if let Some((roll, _)) = logs {
        roll.check()?;
    }
    // Nobody has the store open, and nobody opens it meanwhile.
    let lock = lock_dir(disk, dir)?;
    let folder = Folder::look(archive, dir).map_err(damage)?;
    let needed = folder.bytes_needed(job)? + logs.map_or(0, |(_, bytes)| bytes);
    check_free_space(disk, dir, needed)?;
    let done = bring(job, &folder, chain, workers, tell).map_err(damage)?;
    let mut rolled = Rolled { lsn: archive.header().lsn, ..Rolled::default() };
    if let Some((roll, bytes)) = logs {
        let open = |options: EngineOptions| {
            let options = EngineOptions { data_file: DATA_RESTORING, ..options };
            Engine::open_held(disk.clone(), dir, options, lock.clone())
        };
        rolled = roll.forward(dir, bytes, tell, open).map_err(unfinished)?;
    }
    folder.rename(DATA_RESTORING, DATA_FILE).map_err(unfinished)?;
    let work = dir.join(WORK);
    remove_tree(&**disk, &work).map_err(|e| Error::io("remove", &work, e))?;
    folder.sync()?;
    Ok((done, rolled))
}

/// Makes a store at the archive's commit of the folder, but for the name of its data file.
fn bring(
    job: &Job<'_>,
    folder: &Folder<'_>,
    chain: &Chain,
    workers: usize,
    tell: &mut Tell<'_>,
) -> Result<Done> {
    let (archive, disk, dir) = (job.archive, folder.disk, folder.dir);
    let pieces = chain.pieces()?;
    let total = job.entry_bytes() + bytes_to_unpack(chain, &pieces)?;
    for link in chain.links() {
        link.file.verify(workers, &mut |_| tell(Progress { done: 0, total }))?;
    }
    let file = make_room(folder, job)?;
    let work = dir.join(WORK);
    begin(folder, archive, &work)?;
    let mut target = Target::within(disk, dir, &work);
    let done = fill(job, chain, &pieces, file, &mut target, workers, tell).map_err(unfinished)?;
    folder.renew_log().and_then(|()| folder.move_in(&work)).map_err(unfinished)?;
    Ok(done)
}

/// An error that leaves no store.
fn unfinished(error: Error) -> Error {
    error.hint("Run the restore again: until it is finished there is no store there.")
}

/// Opens the data file and makes it long enough; what is behind its pages means nothing to a store.
fn make_room(folder: &Folder<'_>, job: &Job<'_>) -> Result<Arc<dyn File>> {
    let data = folder.data();
    let failed = |e| Error::io("make room in the data file", &data, e);
    let file = folder.disk.open(&data, OpenMode::Write).map_err(failed)?;
    let (len, wanted) = (file.len().map_err(failed)?, job.data_bytes());
    if wanted > len {
        file.allocate(len, wanted - len).map_err(failed)?;
    }
    Ok(file)
}

/// Makes the work folder anew with its note, and takes the name of a store from the data file.
fn begin(folder: &Folder<'_>, archive: &Archive, work: &Path) -> Result<()> {
    let disk = &**folder.disk;
    if !folder.interrupted {
        remove_tree(disk, work).map_err(|e| Error::io("remove an unfinished restore", work, e))?;
    }
    if disk.metadata(work).is_err() {
        disk.create_dir(work).map_err(|e| Error::io("create the folder", work, e))?;
    }
    for name in disk.list(work).map_err(|e| Error::io("list", work, e))? {
        if name.as_os_str() != NOTE {
            let path = work.join(name);
            remove_tree(disk, &path).map_err(|e| Error::io("remove", &path, e))?;
        }
    }
    if folder.interrupted {
        return Ok(());
    }
    let note = format!("{{ \"store\": \"{:032x}\" }}\n", archive.header().store_id);
    let path = work.join(NOTE);
    write_atomically(disk, &path, note.as_bytes()).map_err(|e| Error::io("write", &path, e))?;
    folder.sync()?;
    folder.rename(DATA_FILE, DATA_RESTORING)
}

/// Makes the pages right, and unpacks all else beside them.
fn fill(
    job: &Job<'_>,
    chain: &Chain,
    pieces: &[Piece],
    file: Arc<dyn File>,
    target: &mut Target,
    workers: usize,
    tell: &mut Tell<'_>,
) -> Result<Done> {
    let (archive, disk) = (job.archive, job.archive.disk());
    let (entries, pages) = (job.entry_bytes(), bytes_to_unpack(chain, pieces)?);
    let total = entries + pages;
    let path = archive_path(target);
    let mut sink = Compared::new(file, path.clone(), chain.page_size());
    pour(chain, pieces, workers, &mut sink, &mut |progress| {
        tell(Progress { done: progress.done, total })
    })?;
    sink.clear_between(pieces, chain)?;
    let written = sink.end(job.data_bytes())?;
    let mut poured = |_, _| tell(Progress { done: pages, total });
    check_pages(&**disk, &path, archive.header(), &mut poured)?;
    archive.file().extract(|entry| job.takes(entry), workers, target, &mut |progress| {
        tell(Progress { done: pages + progress.done, total })
    })?;
    if let Some(to) = job.restored_to() {
        target.remember(to, job.as_parent())?;
    }
    let (files, bytes) = target.settle()?;
    Ok(Done { files: files + 1, bytes: bytes + written, kept: job.data_bytes() - written })
}

fn archive_path(target: &Target) -> PathBuf {
    target.dir().join(DATA_RESTORING)
}
